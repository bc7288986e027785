// SPDX-License-Identifier: MIT
// Where a CPU goes when its thread waits: straight to the partner, to the next thread that is ready, or to one that
// another CPU switches directly; the executor's loop where there is anything else to do.
#include "core/ipc/ipc.hpp"
#include "core/sched.hpp"
#include "core/trace.hpp"

namespace core::ipc {

using hal::Machine;

namespace {

// Nothing stands between this CPU and user mode in `to`, which is this CPU's, ready, and in no queue.
bool may_switch_to(rt::Executor& ex, NativeThread& to) {
    return (ex.queue.pressing() & to.gives_way_to) == 0 && to.control.load(std::memory_order_relaxed) == 0 &&
           to.renew.load(std::memory_order_relaxed) == 0 && !to.kicked.load(std::memory_order_relaxed);
}

[[noreturn]] void switch_to(rt::Executor& ex, NativeThread& to) {
    trace::enter(to.number);
    to.space->load();
    to.go_live(ex);
    ex.set_running(&to);
    if (ex.queue.count(to.priority) != 0) sched::start_slice(ex, to.priority);
    if (to.context.entered_by_syscall()) Machine::resume_syscall(to.context);
    Machine::enter_user(to.context);
}

}  // namespace

[[noreturn]] void leave(NativeThread& t) {
    rt::Executor& ex = rt::Executor::current();
    // The next thread without an iteration of the executor's loop, if it is a native thread and nothing else is to be
    // done.
    if (!ex.needs_attention()) {
        if (rt::Schedulable* best = ex.queue.best(); best && NativeThread::is_one(*best)) {
            NativeThread& next = static_cast<NativeThread&>(static_cast<Thread&>(*best));
            NativeThread& payer = next.payer();
            if (next.control.load(std::memory_order_relaxed) == 0 && next.renew.load(std::memory_order_relaxed) == 0 &&
                !payer.has_budget() && !next.kicked.load(std::memory_order_relaxed)) {
                ex.queue.remove(next);
                // The clock counts for a scheduling object: whose thread it is on matters only where it is asked.
                auto& time_payer = static_cast<NativeThread&>(*state_of(ex).time_payer);
                if (payer.sched.get() != time_payer.sched.get() ||
                    (payer.time_is_asked.load(std::memory_order_relaxed) |
                     time_payer.time_is_asked.load(std::memory_order_relaxed))) {
                    Nanoseconds now = Machine::now();
                    t.account_user(now);
                    Thread::start_clock(ex, payer, now);
                }
                switch_to(ex, next);
            }
        }
    }
    // What comes next is waiting, or another thread's.
    if (ex.queue.best() == nullptr) trace::end_slow(trace::Reason::kWaits);
    ex.leave_user_state();
    t.account_user(Machine::now());
    ex.run_forever();
}

[[noreturn]] void wait_for_other_cpu(NativeThread& t) {
    rt::Executor& ex = rt::Executor::current();
    if (ex.queue.pressing() != 0 || !ex.polls || rt::Executor::spin_budget.value == 0) leave(t);
    trace::end_slow(trace::Reason::kWaits);
    ex.leave_user_state();
    Nanoseconds before = Machine::now();
    t.account_user(before);
    rt::Schedulable* got = ex.await_handoff();
    if (!got) ex.run_forever();
    NativeThread& next = static_cast<NativeThread&>(static_cast<Thread&>(*got));
    NativeThread& payer = next.payer();
    if (!rt::enter_given(ex, next, [&] {
            return may_switch_to(ex, next) && next.is_at_home(ex) && !payer.has_budget();
        })) [[unlikely]]
        ex.run_forever();
    Nanoseconds now = Machine::now();
    ex.times.add_idle((now - before).value);
    Thread::start_clock(ex, payer, now);
    switch_to(ex, next);
}

[[noreturn]] void hand_over(NativeThread& t, NativeThread& to) {
    rt::Executor& ex = rt::Executor::current();
    if (to.is_at_home(ex)) {
        to.state.store(native::kStateReady, std::memory_order_relaxed);
        // Charged to the payer of t: it donates the rest of its time slice.
        if (may_switch_to(ex, to)) switch_to(ex, to);
    } else {
        to.state.store(native::kStateReady, std::memory_order_relaxed);
        if (to.home().handoff.give(to)) {
            trace::end_slow(trace::Reason::kWaits);
            wait_for_other_cpu(t);
        }
    }
    to.wake(true);
    trace::end_slow(trace::Reason::kWaits);
    wait_for_other_cpu(t);
}

}  // namespace core::ipc
