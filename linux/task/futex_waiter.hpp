// SPDX-License-Identifier: MIT
// A thread's place in a futex queue, and what a futex is named by. The rest is linux/task/futex.cpp's.
#pragma once
#include "rt/spinlock.hpp"
#include "rt/wait.hpp"

namespace linux {

// What a futex is: a word of one address space, which a waiter's thread keeps, or of an object that several map. That
// one may go while a thread waits: it is identified by its number (fs::Mapping::serial), and no other object inherits
// the waiter.
struct FutexKey {
    const void* object = nullptr;  // an address space; an odd address is a number
    u64 offset = 0;
    static FutexKey shared(u64 number, u64 offset) {
        return {reinterpret_cast<const void*>(number << 6 | 1), offset};  // FutexBucket::of() drops six bits
    }
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

// A queue of waiters for all futexes of one hash value: linux/task/futex.cpp.
struct FutexBucket {
    std::atomic<u32> waiters{0};
    rt::SpinLock<rt::Rank::futex> lock;
    lib::List<FutexWaiter, &FutexWaiter::hook> list RT_GUARDED_BY(lock);

    // May a thread be waiting? seq_cst: pairs with waiters, which count themselves before they read the word.
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
