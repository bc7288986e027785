// SPDX-License-Identifier: MIT
// The tiers of a trap where it happened: leaf, wait without a coroutine, the thread's coroutine. A part of user_thread.cpp,
// which adds the calls that another CPU executes.
//
// Everything here runs at the top of the CPU's kernel stack with interrupts off. A function that does not return has
// handed the CPU on; the stack below it is abandoned.
//
// kTraced: the twin that leaves records in the trace buffer (call_trace.hpp), in use if that was asked for at boot.
#pragma once
#include "core/trap.hpp"
#include "port/bind.hpp"

namespace port {

inline constinit Personality<UserThread> personality{};

struct TrapPath {
    using Path = CallTrace::Path;
    using Reason = CallTrace::Reason;
    static UserThread& of(core::Thread& t) { return static_cast<UserThread&>(t); }

    // Third tier: the thread's coroutine takes the trap. It runs until it waits, ends, or has made the thread ready.
    static void run_task(UserThread& t, const Trap& trap) {
        t.trapped_ = hal::Machine::now();
        go_on_in_task(t, trap);
    }
    static void go_on_in_task(UserThread& t, const Trap& trap) {
        rt::Executor& ex = rt::Executor::current();
        t.trap_ = trap;
        t.kicked.store(false, std::memory_order_relaxed);  // the coroutine looks at everything before it comes back
        t.job_.set_home(ex);
        ex.set_running(&t);  // "in the trap of t", see to_user()
        t.job_.resume();     // t may be gone afterwards
        ex.set_running(nullptr);
    }
    template <bool kTraced>
    [[noreturn]] static void start_task(UserThread& t, const Trap& trap) {
        rt::Executor& ex = rt::Executor::current();
        if constexpr (kTraced) t.trace_.go_on(Reason::kNeedsTask, Path::kTask);
        ex.leave_user_state();
        t.trapped_ = hal::Machine::now();
        t.account_user(t.trapped_);
        go_on_in_task(t, trap);
        ex.run_forever();
    }

    // Between the tiers: a leaf that must wait for one queue and then runs again. No coroutine takes part unless the wait
    // is interrupted or the leaf needs one after all.
    template <bool kTraced>
    [[gnu::noinline, noreturn]] static void start_block(UserThread& t) {
        rt::Executor& ex = rt::Executor::current();
        ex.leave_user_state();
        Nanoseconds now = hal::Machine::now();
        t.account_user(now);
        t.trapped_ = now;
        block<kTraced>(t, ex);
        ex.run_forever();
    }
    template <bool kTraced>
    static void block(UserThread& t, rt::Executor& ex) {
        t.job_.set_home(ex);
        while (!t.block_.begin(t.job_, &TrapPath::woken<kTraced>)) {
            LeafOutcome outcome = personality.again(t, rt::Wake::kWoken);
            if (outcome == LeafOutcome::kBlocked) continue;
            return finish_block<kTraced>(t, ex, outcome);
        }
        if constexpr (kTraced) t.trace_.pause();
        t.stop_system_clock(hal::Machine::now());
    }
    // On the executor where it blocked.
    template <bool kTraced>
    static void woken(rt::Schedulable& s) {
        UserThread& t = static_cast<UserThread::OwnJob&>(static_cast<rt::Job&>(s)).owner;
        rt::Executor& ex = rt::Executor::current();
        rt::Wake why = t.block_.end(t.job_);
        t.trapped_ = hal::Machine::now();
        if constexpr (kTraced) t.trace_.resume(Path::kLeafAgain);
        // Where the thread is about to run, its space is wanted anyway, and copies are cheaper in it.
        if (&t.home() == &ex && ex.ready_count(rt::Priority::kUser) == 0) t.space->load();
        LeafOutcome outcome = personality.again(t, why);
        if (outcome == LeafOutcome::kBlocked) return block<kTraced>(t, ex);
        finish_block<kTraced>(t, ex, outcome);
    }
    template <bool kTraced>
    static void finish_block(UserThread& t, rt::Executor& ex, LeafOutcome outcome) {
        if (outcome == LeafOutcome::kNeedsTask) {
            if constexpr (kTraced) t.trace_.go_on(Reason::kNeedsTask, Path::kTask);
            return go_on_in_task(t, Trap{.kind = Trap::Kind::kSyscall});
        }
        if constexpr (kTraced) t.trace_.finish(t.context);
        t.stop_system_clock(hal::Machine::now());
        if (&t.home() == &ex && !ex.has_ready(rt::Priority::kUser) && !ex.needs_attention()) {
            if constexpr (kTraced) core::trace::enter(personality.number_of(t));
            t.enter();
            return;
        }
        t.make_ready();
    }

    template <bool kTraced>
    static void syscall_inline(core::Thread& thread) {
        UserThread& t = of(thread);
        if constexpr (kTraced) t.trace_.begin(Path::kLeaf, personality.number_of(t), number_of_call(t), t.context);
        finish_inline<kTraced>(t, personality.syscall(t));
    }
    template <bool kTraced>
    [[gnu::always_inline]] static void finish_inline(UserThread& t, LeafOutcome outcome) {
        if constexpr (kTraced)
            if (outcome == LeafOutcome::kDone || outcome == LeafOutcome::kDoneChanged) t.trace_.finish(t.context);
        if (outcome == LeafOutcome::kDone) [[likely]]
            return core::leave_trap(t);
        if (outcome == LeafOutcome::kDoneChanged) core::leave_trap_changed(t);
        if (outcome == LeafOutcome::kBlocked) start_block<kTraced>(t);
        start_call<kTraced>(t);
    }
    // Out of line, so that the leaf tier needs no stack for the trap.
    template <bool kTraced>
    [[gnu::noinline, noreturn]] static void start_call(UserThread& t) {
        start_task<kTraced>(t, Trap{.kind = Trap::Kind::kSyscall});
    }
    // For a record.
    static u64 number_of_call(const UserThread& t) {
        u64 number = u32(t.context.syscall_number());
        return abi::trace::detail(number < abi::trace::kKick ? number : abi::trace::kNoCall);
    }

    template <bool kTraced>
    static void trap(core::Thread& thread, const Trap& trap) {
        UserThread& t = of(thread);
        if constexpr (kTraced) {
            bool page = trap.kind == Trap::Kind::kPageFault;
            u16 kind = page ? abi::trace::kPageFault : abi::trace::kException;
            t.trace_.begin(Path::kFault, personality.number_of(t),
                           abi::trace::fault_detail(kind, page ? trap.address.value : 0), t.context);
        }
        if (trap.kind == Trap::Kind::kPageFault && personality.fault(t, trap) == LeafOutcome::kDone) [[likely]] {
            if constexpr (kTraced) t.trace_.finish(t.context);
            return core::leave_trap(t);
        }
        start_task<kTraced>(t, trap);
    }

    template <bool kTraced>
    static void kicked(core::Thread& thread) {
        UserThread& t = of(thread);
        if constexpr (kTraced) {
            t.trace_.finish_late(t.context, t.trapped_);
            t.trace_.begin(Path::kTask, personality.number_of(t), abi::trace::kKick, t.context);
        }
        run_task(t, Trap{});
    }

    // ---- What else a traced thread does ----

    // Its turn. Its coroutine, if that was at work, is done since it stopped the clock.
    static void run_traced(rt::Schedulable& s) {
        UserThread& t = of(static_cast<core::Thread&>(s));
        t.trace_.finish_late(t.context, t.trapped_);
        core::trace::enter(personality.number_of(t));
        t.enter();
    }
    static void switch_traced(rt::Job& job, bool runs) {
        UserThread& t = static_cast<UserThread::OwnJob&>(job).owner;
        Nanoseconds now = hal::Machine::now();
        if (runs) {
            t.trapped_ = now;
            t.trace_.resume(Path::kTask);
        } else {
            t.stop_system_clock(now);
            t.trace_.pause();
        }
    }
    [[gnu::cold, gnu::noinline]] static void be_traced(UserThread& t) {
        t.trace_.clear();
        t.run = &run_traced;
        t.job_.set_on_switch(&switch_traced);
    }
};

}  // namespace port
