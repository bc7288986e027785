// SPDX-License-Identifier: MIT
// Who asks: the identity that permission checks look at (credentials(7)). Immutable once shared; replaced as a whole.
#pragma once
#include "lib/ref.hpp"
#include "lib/types.hpp"

namespace fs {

inline constexpr u32 kMaxGroups = 32;

struct Creds : RefCounted<Creds> {
    u32 uid = 0, euid = 0, suid = 0, fsuid = 0;
    u32 gid = 0, egid = 0, sgid = 0, fsgid = 0;
    u32 group_count = 0;
    u32 groups[kMaxGroups] = {};
    u64 cap_effective = ~u64{0}, cap_permitted = ~u64{0}, cap_inheritable = 0;  // capabilities(7), bit = number

    bool capable(u32 cap) const { return (cap_effective >> cap) & 1; }
    bool in_group(u32 g) const {
        if (g == fsgid) return true;
        for (u32 i = 0; i < group_count; ++i)
            if (groups[i] == g) return true;
        return false;
    }
};
// capabilities(7), the ones that are checked.
inline constexpr u32 kCapChown = 0, kCapDacOverride = 1, kCapDacReadSearch = 2, kCapFowner = 3, kCapFsetid = 4,
                     kCapKill = 5, kCapSetgid = 6, kCapSetuid = 7, kCapLinuxImmutable = 9, kCapSysPtrace = 19,
                     kCapSysAdmin = 21, kCapSysNice = 23, kCapSysResource = 24, kCapMknod = 27;

}  // namespace fs
