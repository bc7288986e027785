// SPDX-License-Identifier: MIT
#include "port/kernel/trap.hpp"

namespace port {

// Third tier: the thread's coroutine takes the trap. It runs until it waits, ends, or has made the thread ready.
template <class Trace>
void TrapTiers<Trace>::run_task(UserThread& t, const Trap& trap) {
    rt::Executor& ex = rt::Executor::current();
    t.trap_ = trap;
    t.kicked.store(false, std::memory_order_relaxed);  // the coroutine checks everything before it returns
    t.job_.set_home(ex);
    ex.set_running(&t);  // "in the trap of t", see to_user()
    t.job_.resume();     // t may be gone afterwards
    ex.set_running(nullptr);
}
template <class Trace>
void TrapTiers<Trace>::start_task(UserThread& t, const Trap& trap) {
    rt::Executor& ex = rt::Executor::current();
    Trace::needs_task(t);
    ex.leave_user_state();
    t.trapped_ = hal::Machine::now();
    t.account_user(t.trapped_);
    run_task(t, trap);
    ex.run_forever();
}
// Out of line, so that the leaf tier needs no stack for the trap.
template <class Trace>
void TrapTiers<Trace>::start_call(UserThread& t) {
    start_task(t, Trap{.kind = Trap::Kind::kSyscall});
}

// Between the tiers: a leaf that must wait for one queue and then runs again. No coroutine takes part unless the wait
// is interrupted or the leaf needs one after all.
template <class Trace>
void TrapTiers<Trace>::start_block(UserThread& t) {
    rt::Executor& ex = rt::Executor::current();
    ex.leave_user_state();
    Nanoseconds now = hal::Machine::now();
    t.account_user(now);
    t.trapped_ = now;
    block(t, ex);
    ex.run_forever();
}
template <class Trace>
void TrapTiers<Trace>::block(UserThread& t, rt::Executor& ex) {
    t.job_.set_home(ex);
    while (!t.block_.begin(t.job_, &woken)) {
        LeafOutcome outcome = personality.again(t, rt::Wake::kWoken);
        if (outcome == LeafOutcome::kBlocked) continue;
        return finish_block(t, ex, outcome);
    }
    Trace::waits(t);
    t.stop_system_clock(hal::Machine::now());
}
// On the executor where it blocked.
template <class Trace>
void TrapTiers<Trace>::woken(rt::Schedulable& s) {
    UserThread& t = UserThread::owner_of(static_cast<rt::Job&>(s));
    rt::Executor& ex = rt::Executor::current();
    rt::Wake why = t.block_.end(t.job_);
    t.trapped_ = hal::Machine::now();
    Trace::runs_again(t);
    // Where the thread is about to run, its space is wanted anyway, and copies are cheaper in it.
    if (&t.home() == &ex && !ex.queue.has(rt::Priority::kUser)) t.space->load();
    LeafOutcome outcome = personality.again(t, why);
    if (outcome == LeafOutcome::kBlocked) return block(t, ex);
    finish_block(t, ex, outcome);
}
template <class Trace>
void TrapTiers<Trace>::finish_block(UserThread& t, rt::Executor& ex, LeafOutcome outcome) {
    if (outcome == LeafOutcome::kNeedsTask) {
        Trace::needs_task(t);
        return run_task(t, Trap{.kind = Trap::Kind::kSyscall});
    }
    Trace::ends(t);
    t.stop_system_clock(hal::Machine::now());
    if (&t.home() == &ex && !ex.queue.has(rt::Priority::kUser) && !ex.needs_attention()) {
        Trace::enters_user(t);
        t.enter();
        return;
    }
    t.return_to_queue();
}

template <class Trace>
[[gnu::always_inline]] inline void TrapTiers<Trace>::finish(UserThread& t, LeafOutcome outcome) {
    if (outcome == LeafOutcome::kDone || outcome == LeafOutcome::kDoneChanged) Trace::ends(t);
    if (outcome == LeafOutcome::kDone) [[likely]]
        return core::leave_trap(t);
    if (outcome == LeafOutcome::kDoneChanged) core::leave_trap_changed(t);
    if (outcome == LeafOutcome::kBlocked) start_block(t);
    start_call(t);
}

template <class Trace>
void TrapTiers<Trace>::syscall(core::Thread& thread) {
    UserThread& t = user_thread(thread);
    Trace::leaf_begins(t);
    finish(t, personality.syscall(t));
}

template <class Trace>
void TrapTiers<Trace>::trap(core::Thread& thread, const Trap& trap) {
    UserThread& t = user_thread(thread);
    Trace::fault_begins(t, trap);
    if (trap.kind == Trap::Kind::kPageFault && personality.fault(t, trap) == LeafOutcome::kDone) [[likely]] {
        Trace::ends(t);
        return core::leave_trap(t);
    }
    start_task(t, trap);
}

template <class Trace>
void TrapTiers<Trace>::kicked(core::Thread& thread) {
    UserThread& t = user_thread(thread);
    Trace::kicked(t);
    t.trapped_ = hal::Machine::now();
    run_task(t, Trap{});
}

template struct TrapTiers<NoTrace>;
template struct TrapTiers<BufferTrace>;

}  // namespace port
