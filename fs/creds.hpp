// SPDX-License-Identifier: MIT
// The identity of a caller, as permission checks use it (credentials(7)). Immutable once shared; replaced as a whole.
#pragma once
#include <span>

#include "abi/linux/capability.hpp"
#include "abi/linux/limits.hpp"
#include "fs/abi.hpp"
#include "fs/user_account.hpp"
#include "lib/ref.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace fs {

// Supplementary groups in ascending order; shared by the identities that have them.
class GroupList : public RefCounted<GroupList> {
public:
    // Room for `count` groups, which the caller fills and sorts before it shares the list. ENOMEM.
    static Result<Ref<GroupList>> make(u32 count);
    static void last_ref(GroupList* list);
    std::span<u32> all() { return {reinterpret_cast<u32*>(this + 1), count_}; }
    std::span<const u32> all() const { return {reinterpret_cast<const u32*>(this + 1), count_}; }
    bool has(u32 group) const;

private:
    explicit GroupList(u32 count) : count_(count) {}
    u32 count_;
};

struct Creds : RefCounted<Creds> {
    u32 uid = 0, euid = 0, suid = 0, fsuid = 0;
    u32 gid = 0, egid = 0, sgid = 0, fsgid = 0;
    u64 cap_effective = ~u64{0}, cap_permitted = ~u64{0}, cap_inheritable = 0;  // capabilities(7), bit = number
    u64 cap_bounding = ~u64{0};                                                 // what execve may give
    u64 cap_ambient = 0;    // what execve keeps; always of cap_permitted & cap_inheritable
    u32 securebits = 0;     // but for SECBIT_KEEP_CAPS, which is Thread::keep_capabilities
    Ref<GroupList> groups;  // null: none
    Ref<UserAccount> user;  // of `uid`; null: nothing is charged (before the first program)

    bool capable(u32 cap) const { return (cap_effective >> cap) & 1; }
    bool in_group(u32 g) const { return g == fsgid || (groups && groups->has(g)); }
};

}  // namespace fs
