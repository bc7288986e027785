// SPDX-License-Identifier: MIT
#include "port/kernel/remote_home.hpp"

#include "core/sched.hpp"
#include "port/kernel/controller.hpp"
#include "port/kernel/route.hpp"
#include "rt/remote/home.hpp"

namespace port {

// The steps of a call of which the trace buffer hears nothing.
struct HandOver {
    // The server wants a part of a copy done here, where the space is loaded.
    [[gnu::noinline]] static void help(rt::CopyShare& share) {
        hal::Machine::poll_mailbox();  // no user memory by a translation that was taken away
        share.help([](std::byte* kernel, UserAddr user, size_t n, bool to_user) {
            return Space::copy_loaded(kernel, user, n, to_user);
        });
    }
    using CallHome = rt::CallHome<&help>;

    // True: the call is done. False: this CPU no longer owns the thread, and another makes it ready later.
    [[gnu::noinline]] static bool call(UserThread& t, rt::Executor& where, u64 wanted) {
        rt::Executor& ex = rt::Executor::current();
        if (wanted & rt::kCallSampled) t.trapped_ = hal::Machine::now();
        if (t.lane_server.load(std::memory_order_relaxed) != where.cpu().value && !claim(t, where, ex)) [[unlikely]]
            return send(t, where, ex, wanted);
        t.call_.frame = t.context.frame();
        t.call_.word.store(wanted, std::memory_order_release);
        return finish_call(t, ex, wanted);
    }
    [[gnu::noinline]] static bool finish_call(UserThread& t, rt::Executor& ex, u64 wanted) {
        rt::CallWord& word = t.call_.word;
        const bool done = rt::finish_call(
            word, ex,
            [&](u64 now, rt::Executor& where) { return leave_at_once(t, ex, now) ? now : spin(word, where, ex); },
            [&] { leave(t, ex); });
        if (done && !(wanted & rt::kCallFault)) t.context.set_syscall_result(t.call_.frame.syscall_result());
        return done;
    }

    // Somebody else could use the CPU, and the call takes longer than letting him.
    static bool leave_at_once(const UserThread& t, rt::Executor& ex, u64 word) {
        const rt::Schedulable* first = ex.queue.first(rt::kBackFromWait);
        if (!first) first = ex.queue.first(rt::Priority::kUser);
        const auto* next = !first || rt::Job::is_one(*first) ? nullptr : static_cast<const core::Thread*>(first);
        u64 number = t.context.syscall_number();
        if (!next || (word & rt::kCallFault) || number >= route::kClasses) return false;
        u32 limit = next->space.get() == t.space.get() ? route::kSwitchNs : route::kSwitchSpaceNs;
        return route::classes[number].service_ns.load(std::memory_order_relaxed) > limit;
    }
    static u64 spin(rt::CallWord& word, rt::Executor& where, rt::Executor& ex) {
        const bool others = ex.queue.has(rt::Priority::kUser);
        return CallHome::spin(word, where, ex, others ? route::kSpinWithOthers : route::kSpinAlone, others);
    }

    [[gnu::noinline]] static bool claim(UserThread& t, rt::Executor& where, rt::Executor& ex) {
        if (rt::Executor::spin_budget.value == 0) return false;
        t.lane_servers_ |= 1u << where.cpu().value;
        t.lane_homes_ |= 1u << ex.cpu().value;
        rt::Claim claim = rt::lane_claim(rt::lane(where.cpu(), ex.cpu()), t.call_.word);
        // If that thread has another home by now, it claims again without effect.
        if (claim.lost)
            UserThread::of_word(*claim.lost).lane_server.store(core::Thread::kNoCpu, std::memory_order_relaxed);
        if (claim.ok) t.lane_server.store(u8(where.cpu().value), std::memory_order_relaxed);
        return claim.ok;
    }

    // Through the inbox: no slot is free, or spinning is not wanted.
    [[gnu::noinline]] static bool send(UserThread& t, rt::Executor& where, rt::Executor& ex, u64 wanted) {
        t.call_.frame = t.context.frame();
        t.call_.word.store((wanted & ~u64{rt::kCallPending}) | rt::kCallDetached, std::memory_order_relaxed);
        leave(t, ex);
        where.post(t.remote_);
        return false;
    }
    static void leave(UserThread& t, rt::Executor& ex) {
        ex.leave_user_state();
        t.account_user(hal::Machine::now());
    }
    // One in so many calls has its times taken.
    static u64 count(rt::Executor& ex) {
        if (!ex.sampler.count()) return 0;
        ex.sampler.next();
        return rt::kCallSampled;
    }
};

// If it is not done, the thread is in other hands.
template <class Trace>
void RemoteHome<Trace>::trace_end(UserThread& t, bool done) {
    if (done)
        Trace::answered(t);
    else
        Trace::left();
}
template <class Trace>
bool RemoteHome<Trace>::call(UserThread& t, rt::Executor& where, u64 wanted) {
    Trace::sends(t, (wanted & rt::kCallFault) ? abi::trace::kPageFault : t.context.syscall_number(), where.cpu());
    bool done = HandOver::call(t, where, wanted);
    trace_end(t, done);
    return done;
}
template <class Trace>
void RemoteHome<Trace>::call_or_leave(UserThread& t, rt::Executor& where, u64 wanted) {
    bool done = call(t, where, wanted);
    if (done) return core::leave_trap(t);
    rt::Executor::current().run_forever();
}
template <class Trace>
[[gnu::noinline]] void RemoteHome<Trace>::finish_or_leave(UserThread& t) {
    rt::Executor& ex = rt::Executor::current();
    bool done = HandOver::finish_call(t, ex, 0);
    trace_end(t, done);
    if (done) return core::leave_trap(t);
    ex.run_forever();
}
template <class Trace>
[[gnu::noinline]] void RemoteHome<Trace>::call_timed(UserThread& t, u64 wanted) {
    rt::Executor::current().sampler.next();
    call_or_leave(t, rt::Executor::of(CpuId{route::server_in(wanted)}), wanted | rt::kCallSampled);
}
// Inline after all, one of several CPUs, or the first call there.
template <class Trace>
[[gnu::noinline]] void RemoteHome<Trace>::call_elsewhere(UserThread& t, u64 wanted) {
    rt::Executor& ex = rt::Executor::current();
    Module module = route::module_in(wanted);
    if (module == Module::kHome) return TrapTiers<Trace>::syscall(t);
    u64 kind = HandOver::count(ex);
    u8 server = route::server_in(wanted);
    rt::Executor* where = server == route::kHere     ? nullptr
                          : server == route::kSpread ? route::executor_of(module, t.space.get())
                                                     : &rt::Executor::of(CpuId{server});
    if (!where || where == &ex) {
        ex.sampler.keep();
        return TrapTiers<Trace>::syscall(t);
    }
    call_or_leave(t, *where, rt::call_for(where->cpu(), u32(module)) | kind);
}

// Aligned: its entry and the place where it continues after the wait must not collide in QEMU's jump cache
// (docs/debugging.md), which costs a call 40 ns.
template <class Trace>
[[gnu::aligned(128)]] void RemoteHome<Trace>::syscall(core::Thread& thread) {
    UserThread& t = user_thread(thread);
    u64 number = t.regs().syscall_number();
    if (number >= std::size(route::word_of_call)) [[unlikely]]
        return TrapTiers<Trace>::syscall(thread);
    u64 wanted = route::word_of_call[number].load(std::memory_order_relaxed);
    // No CPU that this one hands calls to is itself, or one of the special places.
    if (route::server_in(wanted) != t.lane_server.load(std::memory_order_relaxed)) [[unlikely]]
        return call_elsewhere(t, wanted);
    if (rt::Executor::current().sampler.count()) [[unlikely]]
        return call_timed(t, wanted);
    Trace::sends(t, number, CpuId{route::server_in(wanted)});
    // All of the line at once: the server is looking at it. Release: pairs with its look.
    t.call_.frame = t.context.frame();
    t.call_.word.store(wanted, std::memory_order_release);
    if (!(HandOver::CallHome::spin_briefly(t.call_.word) & rt::kCallDone)) [[unlikely]]
        return finish_or_leave(t);
    t.context.set_syscall_result(t.call_.frame.syscall_result());
    Trace::answered(t);
    core::leave_trap(t);
}
template <class Trace>
void RemoteHome<Trace>::syscall_adaptive(core::Thread& thread) {
    UserThread& t = user_thread(thread);
    u64 number = t.regs().syscall_number();
    if (number < route::kClasses && route::classes[number].remote.load(std::memory_order_relaxed)) {
        rt::Executor& ex = rt::Executor::current();
        rt::Executor* where = route::idle_cpu(ex);
        if (where) return call_or_leave(t, *where, rt::call_for(where->cpu(), u32(personality.module_of(number))));
    }
    TrapTiers<Trace>::syscall(thread);
}
template <class Trace>
void RemoteHome<Trace>::syscall_sampled(core::Thread& thread) {
    UserThread& t = user_thread(thread);
    rt::Executor& ex = rt::Executor::current();
    route::Samples& left = route::samples[ex.cpu().value];
    u32 here = left.here.load(std::memory_order_relaxed), there = left.there.load(std::memory_order_relaxed);
    u64 number = t.regs().syscall_number();
    route::finish_sample(t.sampled_, t.system_time());
    if (here == 0) {
        route::use_entry(route::settled_entry());
        return syscall_adaptive(thread);
    }
    if (number >= route::kClasses || personality.module_of(number) == Module::kHome)
        return TrapTiers<Trace>::syscall(thread);
    route::CallClass& c = route::classes[number];
    Nanoseconds start = hal::Machine::now();
    rt::Executor* where = there != 0 && here % 4 == 0 ? route::idle_cpu(ex) : nullptr;
    left.here.store(here - 1, std::memory_order_relaxed);
    if (where) {
        left.there.store(there - 1, std::memory_order_relaxed);
        bool done = call(t, *where, rt::call_for(where->cpu(), u32(personality.module_of(number))));
        // A call that outlasted the spinning has held its caller up that long, at least.
        route::record(c, true, (hal::Machine::now() - start).value);
        if (done) return core::leave_trap(t);
        ex.run_forever();
    }
    Trace::leaf_begins(t);
    LeafOutcome outcome = personality.syscall(t);
    u64 taken = (hal::Machine::now() - start).value;
    if (outcome == LeafOutcome::kDone)
        route::record(c, false, taken);
    else  // the rest of it is work and waits in the task tier, which counts as time of the thread in the kernel
        t.sampled_ = {route::round(), u32(number), t.system_time() - taken};
    TrapTiers<Trace>::finish(t, outcome);
}
template <class Trace>
void RemoteHome<Trace>::trap(core::Thread& thread, const Trap& trap) {
    if (trap.kind == Trap::Kind::kPageFault) {
        UserThread& t = user_thread(thread);
        rt::Executor& ex = rt::Executor::current();
        u64 kind = rt::kCallFault | HandOver::count(ex);
        rt::Executor* where = route::executor_of(Module::kMm, t.space.get());
        if (where && where != &ex) {
            t.trap_ = trap;
            return call_or_leave(t, *where, rt::call_for(where->cpu(), u32(Module::kMm)) | kind);
        }
        ex.sampler.keep();
    }
    TrapTiers<Trace>::trap(thread, trap);
}

template struct RemoteHome<NoTrace>;
template struct RemoteHome<BufferTrace>;

}  // namespace port
