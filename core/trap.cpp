// SPDX-License-Identifier: MIT
// Traps from user mode: what the machine layer calls. Everything runs at the top of the CPU's kernel stack with
// interrupts off; a function that does not return has handed the CPU on, and the stack below it is abandoned.
#include "core/trap.hpp"

#include "core/sched.hpp"
#include "core/trace.hpp"
#include "rt/epoch.hpp"

namespace core {

[[gnu::noinline]] void leave_trap_slow(Thread& t) {
    rt::Executor& ex = rt::Executor::current();
    do {
        ex.leave_user_state();
        u32 why = 0;
        while (u32 bits = ex.take_attention()) {
            why |= bits;
            if (bits & rt::kAttnTimer) ex.run_due_timers();
            if (bits & rt::kAttnEpoch) {
                rt::quiescent();
                rt::quiescent();
            }
        }
        ex.drain_inbox();
        if (t.kicked.load(std::memory_order_relaxed)) {
            t.account_user(hal::Machine::now());
            t.abi->kicked(t);
            ex.run_forever();
        }
        bool reschedule = false, turned = why & rt::kAttnReschedule;
        if (turned || ex.own_turn_over()) {
            if (ex.queue.count(rt::Priority::kUser) != 0) sched::balance(ex);
            reschedule = ex.queue.count(t.priority) != 0 || (turned && t.abi->turn_over && t.abi->turn_over(t));
        }
        // Calls of other CPUs wait here too: the executor's loop serves them, with no trap of a thread around.
        bool serve = ex.must_serve();
        if (reschedule || ex.queue.has_above(t.priority) || serve) {
            const Nanoseconds now = hal::Machine::now();
            t.account_user(now);
            if (serve) ex.keep_out();
            if (reschedule) {
                t.turn_from = t.user_time(now);
                ex.enqueue(t);
            } else {
                ex.enqueue_front(t);
            }
            ex.run_forever();
        }
        sched::start_any_slice(ex);
    } while (!ex.enter_user_state() || t.kicked.load(std::memory_order_seq_cst));
    hal::Machine::poll_mailbox();
}

[[gnu::noinline]] void leave_trap_changed(Thread& t) {
    leave_trap(t);
    if (state_of(rt::Executor::current()).fpu_owner != &t) t.make_live();
    hal::Machine::enter_user(t.context);
}

namespace {

lib::Trap::Kind kind_of(hal::TrapInfo::Exception e) {
    using Exception = hal::TrapInfo::Exception;
    using Kind = lib::Trap::Kind;
    switch (e) {
        case Exception::kDivide: return Kind::kDivide;
        case Exception::kSingleStep: return Kind::kStep;
        case Exception::kBreakpoint: return Kind::kBreakpoint;
        case Exception::kIllegalInstruction: return Kind::kIllegal;
        case Exception::kStack: return Kind::kStack;
        case Exception::kAlignment: return Kind::kAlignment;
        case Exception::kFloatingPoint:
        case Exception::kVectorFloatingPoint: return Kind::kFloat;
        case Exception::kOverflow:
        case Exception::kBounds:
        case Exception::kProtection:
        case Exception::kFpuBarred:
        case Exception::kOther: break;
    }
    return Kind::kProtection;
}

// Apart, so that exceptions carry nothing for it.
[[gnu::noinline]] void leave_interrupt(Thread& t, bool timer, u32 vector) {
    if (timer) rt::Executor::current().attract(rt::kAttnTimer);
    trace::interrupt(vector);
    leave_trap_slow(t);
}

}  // namespace
}  // namespace core

extern "C" void farcall_syscall(hal::UserContext& context) {
    core::Thread& t = core::Thread::of(context);
    t.abi->syscall.load(std::memory_order_relaxed)(t);
}

// The handler may look at objects that other CPUs retire.
extern "C" void farcall_interrupt() { rt::epoch_interrupted(); }

extern "C" void farcall_trap(hal::UserContext& context, hal::TrapInfo info) {
    using Kind = hal::TrapInfo::Kind;
    core::Thread& t = core::Thread::of(context);
    lib::Trap trap;
    trap.vector = info.vector;
    trap.error_code = info.error_code;
    trap.address = UserAddr{info.address};
    switch (info.kind) {
        case Kind::kPageFault:
            trap.kind = lib::Trap::Kind::kPageFault;
            trap.access = info.exec ? lib::Access::kExec : info.write ? lib::Access::kWrite : lib::Access::kRead;
            trap.present = info.present;
            return t.abi->trap.load(std::memory_order_relaxed)(t, trap);
        case Kind::kException:
            if (info.exception == hal::TrapInfo::Exception::kFpuBarred) return t.fpu_barred();
            trap.kind = core::kind_of(info.exception);
            return t.abi->trap.load(std::memory_order_relaxed)(t, trap);
        case Kind::kTimer:
        case Kind::kInterrupt:
        case Kind::kWake: break;
    }
    core::leave_interrupt(t, info.kind == Kind::kTimer, info.vector);
}
