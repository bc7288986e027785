// SPDX-License-Identifier: MIT
// The trap path of the personality's threads: leaf tier, routes, and the hand-over to the thread's coroutine.
#include <cstring>

#include "core/sched.hpp"
#include "core/trap.hpp"
#include "port/bind.hpp"
#include "port/kernel/route.hpp"

// Everything here runs at the top of the CPU's kernel stack with interrupts off. A function that does not return has
// handed the CPU on; the stack below it is abandoned.
namespace port {
namespace {

constinit Personality<UserThread> personality{};

UserThread& of(core::Thread& t) { return static_cast<UserThread&>(t); }

}  // namespace

struct TrapPath {
    // Third tier: the thread's coroutine takes the trap. It runs until it waits, ends, or has made the thread ready.
    static void run_task(UserThread& t, const Trap& trap) {
        rt::Executor& ex = rt::Executor::current();
        t.trapped_ = hal::Machine::now();
        t.trap_ = trap;
        t.kicked.store(false, std::memory_order_relaxed);  // the coroutine looks at everything before it comes back
        t.job_.set_home(ex);
        ex.set_running(&t);  // "in the trap of t", see to_user()
        t.job_.resume();     // t may be gone afterwards
        ex.set_running(nullptr);
    }
    [[noreturn]] static void start_task(UserThread& t, const Trap& trap) {
        rt::Executor& ex = rt::Executor::current();
        ex.leave_user_state();
        t.account_user(hal::Machine::now());
        run_task(t, trap);
        ex.run_forever();
    }

    static void syscall_inline(core::Thread& thread) {
        UserThread& t = of(thread);
        LeafOutcome outcome = personality.syscall(t);
        if (outcome == LeafOutcome::kDone) [[likely]]
            return core::leave_trap(t);
        if (outcome == LeafOutcome::kDoneChanged) core::leave_trap_changed(t);
        start_call(t);
    }
    // Out of line, so that the leaf tier needs no stack for the trap.
    [[gnu::noinline, noreturn]] static void start_call(UserThread& t) {
        start_task(t, Trap{.kind = Trap::Kind::kSyscall});
    }

    static void syscall_routed(core::Thread& thread) {
        UserThread& t = of(thread);
        rt::Executor* where = route::executor_of(personality.module_of(t.regs().syscall_number()));
        if (!where || where == &rt::Executor::current()) return syscall_inline(thread);
        rt::Executor& ex = rt::Executor::current();
        ex.leave_user_state();
        Nanoseconds now = hal::Machine::now();
        t.account_user(now);
        t.trapped_ = now;
        t.trap_ = Trap{.kind = Trap::Kind::kSyscall};
        route::count_remote();
        where->post(t.remote_);
        ex.run_forever();
    }

    // On the module's CPU: the leaf tier of a call that came from elsewhere.
    static void run_remote(rt::Schedulable& s) {
        UserThread& t = static_cast<UserThread::Remote&>(s).owner;
        if (personality.syscall(t) != LeafOutcome::kNeedsTask) {
            t.make_ready();
            return;
        }
        t.job_.set_home(rt::Executor::current());
        t.job_.resume();
    }

    static void trap(core::Thread& thread, const Trap& trap) {
        UserThread& t = of(thread);
        if (trap.kind == Trap::Kind::kPageFault && personality.fault(t, trap) == LeafOutcome::kDone) [[likely]]
            return core::leave_trap(t);
        start_task(t, trap);
    }

    static void kicked(core::Thread& thread) { run_task(of(thread), Trap{}); }

    static void ended(UserThread& t) { personality.ended(t); }
    static constinit const core::Abi kInline, kRouted;
};
constinit const core::Abi TrapPath::kInline{&TrapPath::syscall_inline, &TrapPath::trap, &TrapPath::kicked};
constinit const core::Abi TrapPath::kRouted{&TrapPath::syscall_routed, &TrapPath::trap, &TrapPath::kicked};

void set_personality(const Personality<UserThread>& p) { personality = p; }

UserThread::Remote::Remote(UserThread& t) : Schedulable(&TrapPath::run_remote, rt::Priority::kKernel), owner(t) {}

UserThread::UserThread() : job_(*this), remote_(*this) {
    // System time is what the coroutine runs, without its waits.
    job_.set_on_switch([](rt::Job& job, bool runs) {
        UserThread& t = static_cast<OwnJob&>(job).owner;
        Nanoseconds now = hal::Machine::now();
        if (!runs) t.system_time += (now - t.trapped_).value;
        t.trapped_ = now;
    });
    abi = route::any_remote() ? &TrapPath::kRouted : &TrapPath::kInline;
}

Result<void> UserThread::init(Ref<Space> in) {
    space = std::move(in);
    return allocate_fpu();
}

bool UserThread::start(Task<void> root) {
    rt::Executor& where = core::sched::choose_home(affinity, rt::Executor::current());
    set_home(where);
    return job_.start(std::move(root), where);
}

void UserThread::fork_state_from(UserThread& from) {
    from.save_state();
    void* area = context.fpu_area;
    context = from.context;
    context.fpu_area = area;
    std::memcpy(area, from.context.fpu_area, hal::Machine::fpu_area_size());
    affinity = from.affinity;
}

Result<void> UserThread::set_fpu_state(std::span<const std::byte> state) {
    if (state.size() != hal::Machine::fpu_area_size()) return Errno::kInval;
    leave_cpu();
    if (state.data() != fpu_state().data()) std::memcpy(context.fpu_area, state.data(), state.size());
    hal::Machine::fpu_sanitize(context.fpu_area);
    return lib::kOk;
}

void UserThread::reset_fpu() {
    registers_changed();
    hal::Machine::fpu_init(context.fpu_area);
}

void UserThread::job_done(rt::Job& job) { TrapPath::ended(static_cast<OwnJob&>(job).owner); }

void UserThread::to_user() {
    rt::Executor& ex = rt::Executor::current();
    Nanoseconds now = hal::Machine::now();
    system_time += (now - trapped_).value;
    trapped_ = now;
    // Still in the trap of this thread, without having waited: it goes on with its time slice.
    make_ready(ex.running() == this);
}

void UserThread::request_yield() {
    if (home().ready_count(rt::Priority::kUser) != 0) home().attract(rt::kAttnReschedule);
}

void UserThread::set_affinity(CpuSet cpus) {
    affinity = cpus;
    kick();  // looked at on the way to user mode
}

}  // namespace port
