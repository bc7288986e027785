// SPDX-License-Identifier: MIT
#include "core/ipc/lock.hpp"

namespace core {

constinit LockTotals lock_totals;

void ObjectLock::spin() {
    do {
        for (u32 n = 1; held_.load(std::memory_order_relaxed) != 0; ++n) {
            if (n % 64 == 0) hal::Machine::poll_mailbox();
            if (n % 256 == 0) hal::Machine::relax();
        }
    } while (hal::Machine::test_and_set(held_));
}

[[gnu::noinline]] void ObjectLock::wait() {
    u64 start = hal::Machine::cycles();
    spin();
    u64 waited = hal::Machine::cycles() - start;
    ++statistics_.contended;
    if (waited > statistics_.longest) statistics_.longest = waited;
    lock_totals.contended.fetch_add(1, std::memory_order_relaxed);
    u64 longest = lock_totals.longest.load(std::memory_order_relaxed);
    while (waited > longest && !lock_totals.longest.compare_exchange_weak(longest, waited, std::memory_order_relaxed)) {
    }
}

ObjectLock::Statistics ObjectLock::all() {
    return {.taken = 0,
            .contended = lock_totals.contended.load(std::memory_order_relaxed),
            .longest = lock_totals.longest.load(std::memory_order_relaxed)};
}

void ObjectLock::lock_uncounted() {
    if constexpr (kDebug) rt::lock_check::acquire(rt::Rank::object, this);
    if (hal::Machine::test_and_set(held_)) spin();
}

ObjectLock::Statistics ObjectLock::statistics() {
    lock_uncounted();
    Statistics now = statistics_;
    unlock();
    return now;
}

}  // namespace core
