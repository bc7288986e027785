// SPDX-License-Identifier: MIT
// A thread of the personality from its making to its end: its FPU, its place, and which way its traps take.
#include <cstring>

#include "core/sched.hpp"
#include "port/bind.hpp"
#include "port/kernel/controller.hpp"
#include "port/kernel/remote_home.hpp"
#include "port/kernel/remote_serve.hpp"
#include "port/kernel/route.hpp"

namespace port {
namespace {

// One for all threads; the first two change with the routes.
constinit core::Abi thread_abi{&TrapTiers<NoTrace>::syscall, &TrapTiers<NoTrace>::trap, &TrapTiers<NoTrace>::kicked};

template <class Trace>
void enter_by(route::Entry e) {
    constexpr void (*kSyscall[])(core::Thread&) = {&TrapTiers<Trace>::syscall, &RemoteHome<Trace>::syscall,
                                                   &RemoteHome<Trace>::syscall_adaptive,
                                                   &RemoteHome<Trace>::syscall_sampled};
    RemoteServe<Trace>::take_over();
    thread_abi.syscall.store(kSyscall[u32(e)], std::memory_order_relaxed);
    thread_abi.trap.store(e == route::Entry::kRouted ? &RemoteHome<Trace>::trap : &TrapTiers<Trace>::trap,
                          std::memory_order_relaxed);
}

}  // namespace

Personality<UserThread>& route::personality_in_use() { return personality; }
void route::serve_request(rt::Request& r, rt::Shard& shard) { RemoteServe<NoTrace>::queued(r, shard); }
void route::serve_traced(rt::Request& r, rt::Shard& shard) { RemoteServe<BufferTrace>::queued(r, shard); }

// Each thread's next trap takes the new way; what is under way ends as it began.
void route::use_entry(Entry e) {
    if (CallTrace::enabled) return enter_by<BufferTrace>(e);
    enter_by<NoTrace>(e);
}

void trace_calls() {
    CallTrace::enabled = true;
    thread_abi.kicked = &TrapTiers<BufferTrace>::kicked;
    route::use_entry(route::Entry::kInline);
}

void set_personality(const Personality<UserThread>& p) {
    personality = p;
    route::module_of_call = p.modules;
}

UserThread::Remote::Remote(UserThread& t) : Request(&accept_remote), owner(t) {}

UserThread::UserThread() : job_(*this), remote_(*this) {
    // System time is what the coroutine runs, without its waits.
    job_.set_on_switch([](rt::Job& job, bool runs) {
        UserThread& t = owner_of(job);
        Nanoseconds now = hal::Machine::now();
        if (runs)
            t.trapped_ = now;
        else
            t.stop_system_clock(now);
    });
    abi = &thread_abi;
    if (CallTrace::enabled) [[unlikely]]
        be_traced();
}

void UserThread::be_traced() {
    trace_.clear();
    // Its turn. Its coroutine, if that was at work, is done since it stopped the clock.
    run = [](rt::Schedulable& s) {
        UserThread& t = user_thread(static_cast<core::Thread&>(s));
        t.trace_.finish_late(t.context, t.trapped_);
        BufferTrace::enters_user(t);
        t.enter();
    };
    job_.set_on_switch([](rt::Job& job, bool runs) {
        UserThread& t = owner_of(job);
        Nanoseconds now = hal::Machine::now();
        if (runs) {
            t.trapped_ = now;
            t.trace_.resume(CallTrace::Path::kTask);
        } else {
            t.stop_system_clock(now);
            t.trace_.pause();
        }
    });
}

Result<void> UserThread::init(Ref<Space> in) {
    space = std::move(in);
    set_home(rt::Executor::current());  // a thread that finds it before it starts may kick it
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
    // They share what is left of the turn: new threads do not keep others from theirs.
    const u64 used = from.used(hal::Machine::now()), left = rt::Slice::kLength.value - (used - from.turn_from);
    const u64 half = left < rt::Slice::kLength.value ? left / 2 : 0;
    from.turn_from = used + half - rt::Slice::kLength.value;
    turn_from = half - rt::Slice::kLength.value;
}

Result<void> UserThread::set_fpu_state(std::span<const std::byte> state) {
    if (state.size() != hal::Machine::fpu_area_size()) return Errno::kInval;
    leave_cpu();
    if (state.data() != fpu_state().data()) std::memcpy(context.fpu_area, state.data(), state.size());
    hal::Machine::fpu_sanitize(context.fpu_area);
    return lib::kOk;
}

void UserThread::reset_fpu() {
    if (holds_fpu()) return hal::Machine::fpu_reset();
    registers_changed();
    hal::Machine::fpu_init(context.fpu_area);
}

void UserThread::job_done(rt::Job& job) {
    UserThread& t = owner_of(job);
    if (CallTrace::enabled) [[unlikely]]
        t.trace_.finish_ended();
    forget_remote(t);
}

void UserThread::to_user() {
    rt::Executor& ex = rt::Executor::current();
    stop_system_clock(hal::Machine::now());
    // Still in the trap of this thread, without having waited: it continues its time slice.
    if (ex.running() == this) return make_ready(true);
    return_to_queue();
}

void UserThread::request_yield() {
    turn_from = kTurnOver;  // also where it is not running: its home has left the call
    if (home().queue.has(rt::Priority::kUser)) home().attract(rt::kAttnReschedule);
}

void UserThread::set_affinity(CpuSet cpus) {
    affinity = cpus;
    kick();  // looked at on the way to user mode
}

}  // namespace port
