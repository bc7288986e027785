// SPDX-License-Identifier: MIT
// Spinlocks with a rank, and Guarded<T, Rank>: data that can be reached only through its lock.
// Interrupts are off in kernel mode, so a lock never has to disable them. A spinlock is never held across co_await (the
// coroutine promise asserts it). A spinning CPU polls its mailbox, so that another CPU's request to it never has to
// wait for the lock.
#pragma once
#include <utility>

#include "rt/assert.hpp"
#include "rt/atomic.hpp"
#include "rt/lock_check.hpp"
#include "rt/rank.hpp"
#include "rt/thread_safety.hpp"

namespace rt {

template <Rank R>
class RT_CAPABILITY("spinlock") SpinLock {
public:
    constexpr SpinLock() = default;
    SpinLock(const SpinLock&) = delete;
    SpinLock& operator=(const SpinLock&) = delete;

    // Spins until the lock is free. Debug builds panic if the order of ranks is violated.
    void lock() RT_ACQUIRE() {
        if constexpr (kDebug) lock_check::acquire(R, this);
        // Pairs with the release in unlock().
        while (held_.exchange(true, std::memory_order_acquire)) [[unlikely]]
            wait_until_free();
    }
    // Never spins; false if the lock is held. May be called in any order of ranks.
    bool try_lock() RT_TRY_ACQUIRE(true) {
        if (held_.exchange(true, std::memory_order_acquire)) return false;
        if constexpr (kDebug) lock_check::acquire_unordered(R, this);
        return true;
    }
    void unlock() RT_RELEASE() {
        if constexpr (kDebug) lock_check::release(R, this);
        held_.store(false, std::memory_order_release);
    }

    // For a lock that is held in a way that the analysis cannot follow.
    void assume_held() const RT_ASSERTS_HELD() {}

private:
    [[gnu::noinline]] void wait_until_free() {
        for (u32 n = 1; held_.load(std::memory_order_relaxed); ++n) {
            hal::Machine::poll_mailbox();
            if (n % 256 == 0) hal::Machine::relax();  // a pause costs hundreds of loads under emulation
        }
    }
    Atomic<bool> held_{false};
};

template <Rank R>
class RT_SCOPED_CAPABILITY LockGuard {
public:
    explicit LockGuard(SpinLock<R>& l) RT_ACQUIRE(l) : lock_(&l) { lock_->lock(); }
    LockGuard(const LockGuard&) = delete;
    LockGuard& operator=(const LockGuard&) = delete;
    ~LockGuard() RT_RELEASE() {
        if (lock_) lock_->unlock();
    }
    void unlock() RT_RELEASE() {
        if (lock_) std::exchange(lock_, nullptr)->unlock();
    }

private:
    SpinLock<R>* lock_;
};

// Two locks of one rank, always taken in the order of their addresses.
template <Rank R>
class RT_SCOPED_CAPABILITY LockPair {
public:
    LockPair(SpinLock<R>& a, SpinLock<R>& b) RT_ACQUIRE(a, b) RT_UNCHECKED_LOCKING : first_(&a < &b ? &a : &b),
                                                                                     second_(&a == &b  ? nullptr
                                                                                             : &a < &b ? &b
                                                                                                       : &a) {
        first_->lock();
        if (second_) {
            if constexpr (kDebug) lock_check::allow_same_rank(R);
            second_->lock();
        }
    }
    LockPair(const LockPair&) = delete;
    ~LockPair() RT_RELEASE() RT_UNCHECKED_LOCKING {
        if (second_) second_->unlock();
        first_->unlock();
    }

private:
    SpinLock<R>*first_, *second_;
};

// Data that lives inside its lock: `auto d = table.lock(); d->count++;`
template <class T, Rank R>
class Guarded {
public:
    template <class... A>
    explicit constexpr Guarded(A&&... a) : data_(std::forward<A>(a)...) {}
    class Access {
    public:
        explicit Access(Guarded& g) : guard_(g.lock_), data_(&g.data_) {}
        T* operator->() { return data_; }
        T& operator*() { return *data_; }
        void unlock() RT_UNCHECKED_LOCKING { guard_.unlock(); }

    private:
        LockGuard<R> guard_;
        T* data_;
    };
    Access lock() { return Access{*this}; }
    // For code that holds the lock in another way (LockPair) or is the only user (construction, destruction).
    T& unguarded() RT_UNCHECKED_LOCKING { return data_; }
    const T& unguarded() const RT_UNCHECKED_LOCKING { return data_; }

private:
    SpinLock<R> lock_;
    T data_ RT_GUARDED_BY(lock_);
};

}  // namespace rt
