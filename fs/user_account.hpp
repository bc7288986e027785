// SPDX-License-Identifier: MIT
// What one user, by real uid, holds of resources that are limited per user (pipe(7), "/proc files"). An account exists as
// long as an identity or an object charged to it does.
#pragma once
#include <atomic>

#include "lib/ref.hpp"
#include "lib/result.hpp"
#include "lib/tree.hpp"
#include "lib/types.hpp"

namespace fs {

struct UserAccount : RefCounted<UserAccount> {
    explicit UserAccount(u32 user) : uid(user) {}
    // That of `uid`, made if there is none. ENOMEM.
    static Result<Ref<UserAccount>> of(u32 uid);
    static void last_ref(UserAccount* account);

    const u32 uid;
    // Relaxed: only counted.
    std::atomic<u64> pipe_pages{0};   // room of all pipes that the user made, in pages
    std::atomic<u64> threads{0};      // RLIMIT_NPROC
    std::atomic<u64> signals{0};      // that are queued: RLIMIT_SIGPENDING
    std::atomic<u64> epoll_items{0};  // files in all sets that the user made
    std::atomic<u64> epoll_waits{0};  // memory of his threads' waits on sets, in bytes
    lib::TreeHook hook;
};

}  // namespace fs
