// SPDX-License-Identifier: MIT
// eventfd(2) and timerfd_create(2).
#include "fs/eventfd.hpp"

#include "lib/format.hpp"

namespace fs {

// Without contention and missing pages this needs few instructions and no stack; the rest continues in the loops below.
Leaf<size_t> EventFile::try_read(const UserSpans& to, u64) {
    if (to.size() < sizeof(u64)) return Errno::kInval;
    u64 count = count_.load(std::memory_order_relaxed);
    if (count == 0) return kNeedsTask;
    u64 value = semaphore_ ? 1 : count;
    if (!to.store_now(value) || !count_.compare_exchange_strong(count, count - value, std::memory_order_acq_rel,
                                                                std::memory_order_relaxed)) [[unlikely]]
        return read_loop(to);
    changed_.wake_all();
    return sizeof(u64);
}

Leaf<size_t> EventFile::try_write(const UserSpans& from, u64) {
    if (from.size() < sizeof(u64)) return Errno::kInval;
    u64 value;
    if (!from.load_now(value)) [[unlikely]]
        return write_loop(from);
    if (value == ~u64{0}) return Errno::kInval;
    u64 count = count_.load(std::memory_order_relaxed);
    if (~u64{0} - count <= value) return kNeedsTask;
    if (!count_.compare_exchange_strong(count, count + value, std::memory_order_acq_rel, std::memory_order_relaxed))
        [[unlikely]]
        return write_loop(from);
    changed_.wake_all();
    return sizeof(u64);
}

[[gnu::noinline]] Leaf<size_t> EventFile::read_loop(const UserSpans& to) {
    u64 count = count_.load(std::memory_order_relaxed), value;
    do {
        if (count == 0) return kNeedsTask;
        value = semaphore_ ? 1 : count;
        TRY(to.copy_out(0, &value, sizeof value));
    } while (!count_.compare_exchange_weak(count, count - value, std::memory_order_acq_rel, std::memory_order_relaxed));
    changed_.wake_all();
    return sizeof(u64);
}

[[gnu::noinline]] Leaf<size_t> EventFile::write_loop(const UserSpans& from) {
    u64 value;
    TRY(from.copy_in(0, &value, sizeof value));
    if (value == ~u64{0}) return Errno::kInval;
    u64 count = count_.load(std::memory_order_relaxed);
    do {
        if (~u64{0} - count <= value) return kNeedsTask;
    } while (!count_.compare_exchange_weak(count, count + value, std::memory_order_acq_rel, std::memory_order_relaxed));
    changed_.wake_all();
    return sizeof(u64);
}

void EventFile::buffer_failed(void*, bool write, u64) {
    if (write) return;
    u64 count = count_.load(std::memory_order_relaxed);
    while (count != 0 && !count_.compare_exchange_weak(count, semaphore_ ? count - 1 : 0, std::memory_order_acq_rel,
                                                       std::memory_order_relaxed)) {
    }
    changed_.wake_all();
}

u32 EventFile::poll() {
    u64 count = count_.load(std::memory_order_acquire);
    u32 mask = 0;
    if (count > 0) mask |= kPollIn;
    if (count == ~u64{0}) mask |= kPollErr;
    if (count < ~u64{0} - 1) mask |= kPollOut;
    return mask;
}

u64 TimerFile::expirations(u64 now) const {
    if (next_ == 0 || now < next_) return due_;
    return due_ + (interval_ == 0 ? 1 : 1 + (now - next_) / interval_);
}

TimerFile::Setting TimerFile::remaining(u64 now) const {
    Setting s{interval_, 0};
    if (next_ == 0) return s;
    u64 passed = expirations(now) - due_;
    if (passed == 0)
        s.value = next_ - now;
    else if (interval_ != 0)
        s.value = next_ + passed * interval_ - now;
    return s;
}

TimerFile::Setting TimerFile::get() {
    u64 now = port::Port::now().value;
    rt::LockGuard guard{lock_};
    return remaining(now);
}

TimerFile::Setting TimerFile::set(Setting to, bool absolute) {
    u64 now = port::Port::now().value;
    u64 offset = realtime_ ? port::Port::realtime_offset().value : 0;
    Setting old;
    {
        rt::LockGuard guard{lock_};
        old = remaining(now);
        interval_ = to.interval;
        absolute_ = absolute;
        due_ = 0;
        if (to.value == 0)
            next_ = 0;
        else if (absolute && to.value <= offset && interval_ != 0) {
            // Before the machine started: what was due by then counts.
            due_ = 1 + (offset - to.value) / interval_;
            next_ = interval_ - (offset - to.value) % interval_;
        } else if (absolute)
            next_ = to.value > offset ? to.value - offset : 1;
        else
            next_ = now + to.value < now ? ~u64{0} : now + to.value;
    }
    changed_.wake_all();
    return old;
}

Leaf<size_t> TimerFile::try_read(const UserSpans& to, u64) {
    if (to.size() < sizeof(u64)) return Errno::kInval;
    u64 now = port::Port::now().value;
    rt::LockGuard guard{lock_};
    u64 count = expirations(now);
    if (count == 0) return kNeedsTask;
    TRY(to.copy_out(0, &count, sizeof count));
    take(count);
    const bool again = next_ != 0;
    guard.unlock();
    if (again) changed_.wake_all();  // waiters learn the next expiry
    return sizeof(u64);
}

void TimerFile::buffer_failed(void*, bool, u64) {
    u64 now = port::Port::now().value;
    rt::LockGuard guard{lock_};
    if (u64 count = expirations(now)) take(count);
    guard.unlock();
    changed_.wake_all();
}

// Linux's timer is at rest from its first end until that is read.
bool TimerFile::show_info(lib::StringBuilder& out, u64&) {
    constexpr u64 kSecond = 1'000'000'000;
    const u64 now = port::Port::now().value;
    rt::LockGuard guard{lock_};
    const bool ended = expirations(now) != 0;
    const u64 left = ended || next_ == 0 ? 0 : next_ - now, interval = interval_;
    const u32 flags = absolute_;
    guard.unlock();
    out.add("clockid: {}\nticks: {}\nsettime flags: 0{:o}\n", clock_, ended ? 1 : 0, flags);
    out.add("it_value: ({}, {})\nit_interval: ({}, {})\n", left / kSecond, left % kSecond, interval / kSecond,
            interval % kSecond);
    return false;
}

bool EventFile::show_info(lib::StringBuilder& out, u64&) {
    out.add("eventfd-count: {:>16x}\n", count_.load(std::memory_order_relaxed));
    return false;
}

u32 TimerFile::poll() {
    u64 now = port::Port::now().value;
    rt::LockGuard guard{lock_};
    return expirations(now) > 0 ? kPollIn : 0;
}

// After it has expired it wakes no waiter before it is read, so that a tiny period does not cause a wake-up for each
// expiry.
Nanoseconds TimerFile::wake_time(Nanoseconds after) {
    rt::LockGuard guard{lock_};
    return next_ > after.value && due_ == 0 ? Nanoseconds{next_} : Nanoseconds::never();
}

}  // namespace fs
