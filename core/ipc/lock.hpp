// SPDX-License-Identifier: MIT
// The lock of one native object, with its statistics: how often it was taken, how often another CPU had it, and the
// longest wait in cycles. Test and test-and-set: held for some dozens of instructions, by CPUs that cannot be
// interrupted. The statistics are counted under the lock, so they cost a plain increment.
#pragma once
#include "rt/lock_check.hpp"
#include "rt/spinlock.hpp"

namespace core {

class RT_CAPABILITY("object lock") ObjectLock {
public:
    struct Statistics {
        u64 taken = 0, contended = 0, longest = 0;
    };
    ObjectLock() = default;
    ObjectLock(const ObjectLock&) = delete;

    [[gnu::always_inline]] void lock() RT_ACQUIRE() {
        if constexpr (kDebug) rt::lock_check::acquire(rt::Rank::object, this);
        // Acquire: pairs with the release in unlock().
        if (hal::Machine::test_and_set(held_)) [[unlikely]]
            wait();
        ++statistics_.taken;
    }
    // False: another CPU has it.
    [[gnu::always_inline]] bool try_lock() RT_TRY_ACQUIRE(true) {
        if (hal::Machine::test_and_set(held_)) [[unlikely]]
            return false;
        if constexpr (kDebug) rt::lock_check::acquire(rt::Rank::object, this);
        ++statistics_.taken;
        return true;
    }
    [[gnu::always_inline]] void unlock() RT_RELEASE() {
        if constexpr (kDebug) rt::lock_check::release(rt::Rank::object, this);
        held_.store(0, std::memory_order_release);
    }
    // As of now; the look at them is not counted.
    Statistics statistics() RT_EXCLUDES(this);
    // Of all locks together (lock_totals).
    static Statistics all();
    // For a lock that is held in a way that the analysis does not see.
    void assume_held() const RT_ASSERTS_HELD() {}

private:
    void lock_uncounted() RT_ACQUIRE();
    void wait() RT_ACQUIRE();
    void spin();
    std::atomic<u32> held_{0};
    Statistics statistics_ RT_GUARDED_BY(this);
};

class [[nodiscard]] RT_SCOPED_CAPABILITY ObjectGuard {
public:
    [[gnu::always_inline]] explicit ObjectGuard(ObjectLock& l) RT_ACQUIRE(l) : lock_(&l) { l.lock(); }
    ObjectGuard(const ObjectGuard&) = delete;
    [[gnu::always_inline]] ~ObjectGuard() RT_RELEASE() {
        if (lock_) lock_->unlock();
    }
    [[gnu::always_inline]] void unlock() RT_RELEASE() {
        if (lock_) std::exchange(lock_, nullptr)->unlock();
    }

private:
    ObjectLock* lock_;
};

// All of them together, for the statistics of a run. How often they were taken is not counted here: it would be one
// more shared line to write on every path.
struct LockTotals {
    std::atomic<u64> contended{0}, longest{0};
};
extern LockTotals lock_totals;

}  // namespace core
