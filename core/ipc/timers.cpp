// SPDX-License-Identifier: MIT
// The timers of a native thread: that of the wait it is in (or of its Sched's next period), and its alarm.
#include "core/ipc/ipc.hpp"

namespace core {

using hal::Machine;

// --- Timeouts

void NativeThread::arm_timeout() {
    slow_switch_reasons |= kSlowTimed;
    // Once: other threads can write to the page.
    const u64 wanted = std::atomic_ref{utcb->timeout}.load(std::memory_order_relaxed);
    home().timers().arm(timeout_, Machine::now() + Nanoseconds{wanted < (u64{1} << 62) ? wanted : u64{1} << 62});
}

void NativeThread::drop_timeout() {
    if (!timed()) return;
    slow_switch_reasons &= u8(~kSlowTimed);
    rt::cancel_timer(timeout_);
}

void NativeThread::timed_out(rt::Timer& timer) {
    NativeThread& t = static_cast<Timeout&>(timer).owner;
    if (t.take(t.timeout_job_) == Taken::kNow) rt::Executor::current().enqueue(t.timeout_job_);
}

void NativeThread::run_timeout(rt::Schedulable& s) {
    Job& job = static_cast<Job&>(s);
    NativeThread& t = job.owner;
    if (&t.home() != &rt::Executor::current()) {
        t.home().post(job);
        return;
    }
    job.posted.store(false);
    t.time_out();
    // Its end may have waited for this job.
    bool ended = (t.control.load(std::memory_order_acquire) & kControlEnd) != 0 && t.control_here();
    t.unref();
    if (ended) t.publish_end();
}

void NativeThread::time_out() {
    NativeThread& t = *this;
    // Of an earlier wait? Then it does not concern this one.
    if (t.timeout_.armed) return;
    if (t.parked_) {
        t.parked_ = false;
        rt::Executor::current().enqueue(t);
        return;
    }
    if (!t.timed()) return;
    if (!t.cancel()) {
        // In the hands of another CPU: it is being woken, which ends the timeout, or received, and then it still has
        // one. tests/models/ipc.pml, MUTANT=9.
        if (t.take(t.timeout_job_) == Taken::kNow) rt::Executor::current().enqueue(t.timeout_job_);
        return;
    }
    t.slow_switch_reasons &= u8(~kSlowTimed);
    t.wake_with(Errno::kTimedOut);
}

// --- Alarms

void NativeThread::set_alarm(u64 deadline, u64 bits) {
    rt::cancel_timer(alarm_);
    alarm_.bits = bits;
    if (deadline == 0) return;
    home().timers().arm(alarm_, Nanoseconds{deadline < (u64{1} << 62) ? deadline : u64{1} << 62});
}

void NativeThread::alarm_rings(rt::Timer& timer) {
    Alarm& a = static_cast<Alarm&>(timer);
    a.rung.fetch_or(a.bits, std::memory_order_seq_cst);  // before the look whether the job is posted
    if (a.owner.take(a.owner.alarm_job_) == Taken::kNow) rt::Executor::current().enqueue(a.owner.alarm_job_);
}

// On the CPU where it was armed, wherever the thread is now.
void NativeThread::run_alarm(rt::Schedulable& s) {
    Job& job = static_cast<Job&>(s);
    NativeThread& t = job.owner;
    job.posted.store(false);
    const u64 bits = t.alarm_.rung.exchange(0, std::memory_order_seq_cst);
    if (Notification* n = t.bound.get(); n && bits != 0) ipc::notify(*n, bits);
    t.unref();
}

}  // namespace core
