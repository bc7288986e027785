// SPDX-License-Identifier: MIT
// A thread's place in a futex queue, and what a futex is named by. The rest is linux/futex.cpp's.
#pragma once
#include "rt/spinlock.hpp"
#include "rt/wait.hpp"

namespace linux {

// What a futex is: a word of one address space, or of an object that several map.
struct FutexKey {
    const void* object = nullptr;
    u64 offset = 0;
    friend bool operator==(const FutexKey&, const FutexKey&) = default;
};

// All belongs to the bucket's lock, but for `bucket`, which is changed under both buckets' locks, and the queue.
struct FutexWaiter {
    lib::ListHook hook;
    FutexKey key;
    u32 bits = ~0u;
    bool woken = false;
    std::atomic<struct FutexBucket*> bucket{nullptr};
    rt::WaitQueue queue;
};

// A queue of waiters for all futexes of one hash value: linux/futex.cpp.
struct FutexBucket {
    std::atomic<u32> waiters{0};
    rt::SpinLock<rt::Rank::futex> lock;
    lib::List<FutexWaiter, &FutexWaiter::hook> list RT_GUARDED_BY(lock);

    // May somebody wait? seq_cst: pairs with those who do, who count themselves before they look at the word.
    bool has_waiters() const { return waiters.load(std::memory_order_seq_cst) != 0; }

    static constexpr u32 kCount = 256;
    static FutexBucket& of(const FutexKey& k);
};
extern FutexBucket futex_buckets[FutexBucket::kCount];
inline FutexBucket& FutexBucket::of(const FutexKey& k) {
    u64 h = (reinterpret_cast<u64>(k.object) >> 6) ^ (k.offset >> 2);
    h *= 0x9e3779b97f4a7c15;  // Fibonacci hashing
    static_assert(kCount == 256);
    return futex_buckets[h >> 56];
}

}  // namespace linux
