// SPDX-License-Identifier: MIT
// Traps from user mode: what the machine layer calls. Everything runs at the top of the CPU's kernel stack with
// interrupts off; a function that does not return has handed the CPU on, and the stack below it is abandoned.
#include "core/trap.hpp"

#include "core/sched.hpp"
#include "core/trace.hpp"
#include "rt/epoch.hpp"

namespace core {

// Here, where it is used: the end of a turn is counted by the instruction.
inline bool Thread::gives_turn(rt::Executor& ex, bool slice_over) {
    if (ex.queue.count(rt::Priority::kUser) != 0) sched::balance(ex);
    return ex.queue.has(priority) || (slice_over && abi->turn_over && abi->turn_over(*this));
}

[[gnu::noinline]] void leave_trap_slow(Thread& t) {
    rt::Executor& ex = rt::Executor::current();
    if (!rt::return_to_user(ex, t)) ex.run_forever();
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
