// SPDX-License-Identifier: MIT
// A thread's place in a futex queue, and what a futex is named by. The rest is linux/futex.cpp's.
#pragma once
#include "rt/wait.hpp"

namespace linux {

// What a futex is: a word of one address space, or of an object that several map.
struct FutexKey {
    const void* object = nullptr;
    u64 offset = 0;
    friend bool operator==(const FutexKey&, const FutexKey&) = default;
};

// Guarded by the bucket's lock, but for `bucket`, which is changed under both buckets' locks, and the queue.
struct FutexWaiter {
    lib::ListHook hook;
    FutexKey key;
    u32 bits = ~0u;
    bool woken = false;
    std::atomic<struct FutexBucket*> bucket{nullptr};
    rt::WaitQueue queue;
};

}  // namespace linux
