// SPDX-License-Identifier: MIT
// The trap path of the personality's threads: leaf tier, routes, and the hand-over to the thread's coroutine.
#include <cstring>

#include "core/sched.hpp"
#include "core/trap.hpp"
#include "port/bind.hpp"
#include "port/kernel/controller.hpp"
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
    [[noreturn]] static void start_task(UserThread& t, const Trap& trap) {
        rt::Executor& ex = rt::Executor::current();
        ex.leave_user_state();
        t.trapped_ = hal::Machine::now();
        t.account_user(t.trapped_);
        go_on_in_task(t, trap);
        ex.run_forever();
    }

    // Between the tiers: a leaf that must wait for one queue and then runs again. No coroutine takes part unless the wait
    // is interrupted or the leaf needs one after all.
    [[gnu::noinline, noreturn]] static void start_block(UserThread& t) {
        rt::Executor& ex = rt::Executor::current();
        ex.leave_user_state();
        Nanoseconds now = hal::Machine::now();
        t.account_user(now);
        t.trapped_ = now;
        block(t, ex);
        ex.run_forever();
    }
    static void block(UserThread& t, rt::Executor& ex) {
        t.job_.set_home(ex);
        while (!t.block_.begin(t.job_, &TrapPath::woken)) {
            LeafOutcome outcome = personality.again(t, rt::Wake::kWoken);
            if (outcome == LeafOutcome::kBlocked) continue;
            return finish_block(t, ex, outcome);
        }
        t.stop_system_clock(hal::Machine::now());
    }
    // On the executor where it blocked.
    static void woken(rt::Schedulable& s) {
        UserThread& t = static_cast<UserThread::OwnJob&>(static_cast<rt::Job&>(s)).owner;
        rt::Executor& ex = rt::Executor::current();
        rt::Wake why = t.block_.end(t.job_);
        t.trapped_ = hal::Machine::now();
        // Where the thread is about to run, its space is wanted anyway, and copies are cheaper in it.
        if (&t.home() == &ex && ex.ready_count(rt::Priority::kUser) == 0) t.space->load();
        LeafOutcome outcome = personality.again(t, why);
        if (outcome == LeafOutcome::kBlocked) return block(t, ex);
        finish_block(t, ex, outcome);
    }
    static void finish_block(UserThread& t, rt::Executor& ex, LeafOutcome outcome) {
        if (outcome == LeafOutcome::kNeedsTask) return go_on_in_task(t, Trap{.kind = Trap::Kind::kSyscall});
        t.stop_system_clock(hal::Machine::now());
        if (&t.home() == &ex && !ex.has_ready(rt::Priority::kUser) && !ex.needs_attention()) {
            t.enter();
            return;
        }
        t.make_ready();
    }

    static void syscall_inline(core::Thread& thread) {
        UserThread& t = of(thread);
        finish_inline(t, personality.syscall(t));
    }
    [[gnu::always_inline]] static void finish_inline(UserThread& t, LeafOutcome outcome) {
        if (outcome == LeafOutcome::kDone) [[likely]]
            return core::leave_trap(t);
        if (outcome == LeafOutcome::kDoneChanged) core::leave_trap_changed(t);
        if (outcome == LeafOutcome::kBlocked) start_block(t);
        start_call(t);
    }
    // Out of line, so that the leaf tier needs no stack for the trap.
    [[gnu::noinline, noreturn]] static void start_call(UserThread& t) {
        start_task(t, Trap{.kind = Trap::Kind::kSyscall});
    }

    // ---- Calls that another CPU executes (rt/lane.hpp) ----

    static constexpr u64 kOver = rt::kCallDone | rt::kCallAsync;

    static void syscall_routed(core::Thread& thread) {
        UserThread& t = of(thread);
        u64 number = t.regs().syscall_number();
        if (number >= std::size(route::word_of_call)) [[unlikely]]
            return syscall_inline(thread);
        u64 wanted = route::word_of_call[number].load(std::memory_order_relaxed);
        // No CPU that this one hands calls to is itself, or one of the special places.
        if (route::server_in(wanted) != t.lane_server.load(std::memory_order_relaxed)) [[unlikely]]
            return call_elsewhere(t, wanted);
        if (rt::Executor::current().count_call()) [[unlikely]]
            return call_timed(t, wanted);
        // All of the line at once: the server is looking at it. Release: pairs with its look.
        t.call_.frame = t.context.frame();
        t.call_.word.store(wanted, std::memory_order_release);
        if (!(spin_briefly(t.call_.word) & rt::kCallDone)) [[unlikely]]
            return finish_or_leave(t);
        t.context.set_syscall_result(t.call_.frame.syscall_result());
        core::leave_trap(t);
    }
    [[gnu::noinline]] static void finish_or_leave(UserThread& t) {
        rt::Executor& ex = rt::Executor::current();
        if (finish_call(t, ex, 0)) return core::leave_trap(t);
        ex.run_forever();
    }
    [[gnu::noinline]] static void call_timed(UserThread& t, u64 wanted) {
        rt::Executor& ex = rt::Executor::current();
        ex.next_sample();
        call_or_leave(t, rt::Executor::of(CpuId{route::server_in(wanted)}), wanted | rt::kCallSampled);
    }
    static void call_or_leave(UserThread& t, rt::Executor& where, u64 wanted) {
        if (call(t, where, wanted)) return core::leave_trap(t);
        rt::Executor::current().run_forever();
    }
    // Inline after all, one of several CPUs, or the first call there.
    [[gnu::noinline]] static void call_elsewhere(UserThread& t, u64 wanted) {
        rt::Executor& ex = rt::Executor::current();
        Module module = route::module_in(wanted);
        if (module == Module::kHome) return syscall_inline(t);
        u64 kind = count(ex);
        u8 server = route::server_in(wanted);
        rt::Executor* where = server == route::kHere     ? nullptr
                              : server == route::kSpread ? route::executor_of(module, t.space.get())
                                                         : &rt::Executor::of(CpuId{server});
        if (!where || where == &ex) {
            keep(ex);
            return syscall_inline(t);
        }
        call_or_leave(t, *where, rt::call_for(where->cpu(), u32(module)) | kind);
    }
    // One in so many calls has its times taken.
    static u64 count(rt::Executor& ex) {
        if (!ex.count_call()) return 0;
        ex.next_sample();
        return rt::kCallSampled;
    }
    static void keep(rt::Executor& ex) {
        ex.calls_kept.store(ex.calls_kept.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    // route=adaptive, while some class of calls is better off elsewhere.
    static void syscall_adaptive(core::Thread& thread) {
        UserThread& t = of(thread);
        u64 number = t.regs().syscall_number();
        if (number < route::kClasses && route::classes[number].remote.load(std::memory_order_relaxed)) {
            rt::Executor& ex = rt::Executor::current();
            rt::Executor* where = route::idle_cpu(ex);
            if (where) {
                return call_or_leave(t, *where, rt::call_for(where->cpu(), u32(personality.module_of(number))));
            }
        }
        syscall_inline(thread);
    }
    // route=adaptive, at the start of a period: a few calls are timed on either road.
    static void syscall_sampled(core::Thread& thread) {
        UserThread& t = of(thread);
        rt::Executor& ex = rt::Executor::current();
        route::Samples& left = route::samples[ex.cpu().value];
        u32 here = left.here.load(std::memory_order_relaxed), there = left.there.load(std::memory_order_relaxed);
        u64 number = t.regs().syscall_number();
        if (here == 0) {
            route::use_entry(route::settled_entry());
            return syscall_adaptive(thread);
        }
        if (number >= route::kClasses || personality.module_of(number) == Module::kHome) return syscall_inline(thread);
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
        LeafOutcome outcome = personality.syscall(t);
        if (outcome == LeafOutcome::kDone) route::record(c, false, (hal::Machine::now() - start).value);
        finish_inline(t, outcome);
    }

    // Has `where` execute the thread's system call or fault. True: it is done. False: the thread has left this CPU's
    // hands, and somebody makes it ready later.
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
        u64 now = word.load(std::memory_order_acquire);
        // While it is not over, the server is in it.
        rt::Executor& where = (now & kOver) ? ex : rt::Executor::of(CpuId{route::server_in(now)});
        if (!(now & kOver) && !leave_at_once(t, ex, now)) now = spin(word, where, ex);
        if (!(now & kOver)) [[unlikely]]
            now = word.fetch_or(rt::kCallDetached, std::memory_order_seq_cst);
        if (now & rt::kCallDone) {
            if (!(wanted & rt::kCallFault)) t.context.set_syscall_result(t.call_.frame.syscall_result());
            return true;
        }
        leave(t, ex);
        if (!(now & rt::kCallAsync) && where.must_be_told()) where.attract(rt::kAttnInbox);
        return false;
    }

    // Looks at the word until the call has ended, or too long. The usual case first, without anything around it.
    [[gnu::noinline, gnu::section(".text.farcall_spin")]] static u64 spin_briefly(rt::CallWord& word) {
        u64 v = 0;
        for (u32 n = 0; n < 256; ++n) {
            // Acquire: pairs with the server's exchange; the result is seen.
            v = word.load(std::memory_order_acquire);
            if (v & kOver) break;
        }
        return v;
    }
    // Somebody else could use the CPU, and the call takes longer than letting him.
    static bool leave_at_once(const UserThread& t, rt::Executor& ex, u64 word) {
        const auto* next = static_cast<const core::Thread*>(ex.next(rt::Priority::kUser));
        u64 number = t.context.syscall_number();
        if (!next || (word & rt::kCallFault) || number >= route::kClasses) return false;
        u32 limit = next->space.get() == t.space.get() ? route::kSwitchNs : route::kSwitchSpaceNs;
        return route::classes[number].service_ns.load(std::memory_order_relaxed) > limit;
    }
    [[gnu::noinline, gnu::section(".text.farcall_spin")]] static u64 spin(rt::CallWord& word, rt::Executor& where,
                                                                          rt::Executor& ex) {
        u64 v = 0;
        bool others = ex.ready_count(rt::Priority::kUser) != 0;
        u32 limit = others ? route::kSpinWithOthers : route::kSpinAlone;
        for (u32 n = 0; n < limit; ++n) {
            v = word.load(std::memory_order_acquire);
            if (v & kOver) return v;
            if ((n & 63) != 0) continue;
            if (where.must_be_told()) {
                where.attract(rt::kAttnInbox);
                if (others) return v;
            }
            // Somebody may wait for this CPU as this one waits for `where`.
            if (ex.requests_pending()) return v;
            hal::Machine::poll_mailbox();
        }
        return v;
    }

    [[gnu::noinline]] static bool claim(UserThread& t, rt::Executor& where, rt::Executor& ex) {
        if (rt::Executor::spin_budget.value == 0) return false;
        t.lane_servers_ |= 1u << where.cpu().value;
        t.lane_homes_ |= 1u << ex.cpu().value;
        rt::Claim claim = rt::lane_claim(rt::lane(where.cpu(), ex.cpu()), t.call_.word);
        // If that thread has another home by now, it claims once more for nothing.
        if (claim.lost) of_word(*claim.lost).lane_server.store(core::Thread::kNoCpu, std::memory_order_relaxed);
        if (claim.ok) t.lane_server.store(u8(where.cpu().value), std::memory_order_relaxed);
        return claim.ok;
    }

    // By the inbox: no slot is free, or nobody should spin.
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

    // ---- On the module's CPU ----

    // One that waits in this CPU's lanes: served at once, unless others wait too and the module's policy puts them in order.
    // Inlined: into the loop that looks for words.
    [[gnu::always_inline]] static void serve_word(rt::Executor& ex, rt::CallWord& word) {
        UserThread& t = of_word(word);
        u64 asked = word.load(std::memory_order_relaxed);
        rt::Shard& shard = *ex.shards[u32(route::module_in(asked))];
        if (asked & (rt::kCallSampled | rt::kCallFault | rt::kCallDetached)) [[unlikely]]
            return serve_carefully(ex, t, shard);
        if (shard.ordered.load(std::memory_order_relaxed)) [[unlikely]]
            return serve_carefully(ex, t, shard);
        shard.direct.add(1);
        finish_serving(t, word, asked, personality.syscall_elsewhere(t, t.call_.frame));
    }
    [[gnu::noinline]] static void serve_carefully(rt::Executor& ex, UserThread& t, rt::Shard& shard) {
        if (shard.ordered.load(std::memory_order_relaxed)) return accept_all(ex, t, shard);
        shard.batches.add(1);
        serve(t, shard);
    }
    [[gnu::always_inline]] static void finish_serving(UserThread& t, rt::CallWord& word, u64 asked,
                                                      LeafOutcome outcome) {
        if (outcome != LeafOutcome::kDone) [[unlikely]]
            return serve_in_task(t, word, asked, outcome);
        // Acquire and release: the home sees the result, or this sees that the home has left.
        if (word.exchange(rt::kCallActive | rt::kCallDone, std::memory_order_acq_rel) & rt::kCallDetached)
            [[unlikely]] {
            if (!(asked & rt::kCallFault)) t.context.set_syscall_result(t.call_.frame.syscall_result());
            t.make_ready();
        }
    }
    [[gnu::noinline]] static void accept_all(rt::Executor& ex, UserThread& first, rt::Shard& shard) {
        bool several = false;
        rt::lane_poll(ex.cpu(), rt::executor_count(), [&](rt::CallWord& word) {
            UserThread& t = of_word(word);
            if (&t == &first) return true;
            several = true;
            accept(t);
            return true;
        });
        if (several || shard.queue.size() != 0) return accept(first);
        shard.settle();
        shard.batches.add(1);
        serve(first, shard);
    }
    static UserThread& of_word(rt::CallWord& word) {
        return *reinterpret_cast<UserThread*>(reinterpret_cast<std::byte*>(&word) - offsetof(UserThread, call_.word));
    }
    static void arrive(rt::Schedulable& s) { accept(static_cast<UserThread::Remote&>(s).owner); }
    static void accept(UserThread& t) {
        // Taken: no other look at the lanes finds it.
        u64 word = t.call_.word.fetch_and(~u64{rt::kCallPending}, std::memory_order_relaxed);
        UserThread::Remote& r = t.remote_;
        r.call = (word & rt::kCallFault) ? ~0u : u32(t.call_.frame.syscall_number());
        r.space = t.space.get();
        r.nice = personality.nice_of(t);
        rt::Executor::current().shards[u32(route::module_in(word))]->accept(r);
    }

    static void serve_queued(rt::Request& r, rt::Shard& shard) {
        serve(static_cast<UserThread::Remote&>(r).owner, shard);
    }
    // A CPU that serves one address space for some time loads it: handlers reach user memory without walking its tables.
    // Not for a few calls, for loading drops all translations; and not asleep, for it would be woken for each flush.
    struct alignas(64) Near {
        const Space* space = nullptr;  // of the last timed call; never followed
        u32 times = 0;                 // of timed calls that came from it in a row
        bool loaded = false;
    };
    static constexpr u32 kNear = 4;
    static constinit Near nears[lib::kMaxCpus];
    static void bring_near(UserThread& t) {
        Near& near = nears[rt::Executor::current().cpu().value];
        if (near.space != t.space.get()) {
            near.space = t.space.get();
            near.times = 0;
        } else if (++near.times >= kNear) {
            t.space->load();
            near.loaded = true;
        }
    }
    static void before_sleep(rt::Executor& ex) {
        if (std::exchange(nears[ex.cpu().value].loaded, false)) Space::unload();
    }
    static void serve(UserThread& t, rt::Shard& shard) {
        rt::CallWord& word = t.call_.word;
        u64 asked = word.load(std::memory_order_relaxed);
        shard.calls.add(1);
        Nanoseconds start{};
        if (asked & (rt::kCallSampled | rt::kCallDetached)) start = hal::Machine::now();
        if (asked & rt::kCallSampled) {
            shard.wait.add((start - t.trapped_).value);
            bring_near(t);
            start = hal::Machine::now();
        }
        u64 number = t.call_.frame.syscall_number() % route::kClasses;  // the result takes its place
        LeafOutcome outcome =
            (asked & rt::kCallFault) ? personality.fault(t, t.trap_) : personality.syscall_elsewhere(t, t.call_.frame);
        if (asked & rt::kCallSampled) [[unlikely]] {
            u64 took = (hal::Machine::now() - start).value;
            shard.service.add(took);
            if (!(asked & rt::kCallFault)) route::classes[number].served(took);
            shard.busy_ns.add(took * rt::Executor::kSampleWeight);
            rt::Executor::current().served_ns += took * rt::Executor::kSampleWeight;
        }
        // A home that waits counts the call as it counts its own leaves. One that does not leaves it to this CPU.
        if (asked & rt::kCallDetached) t.add_system(hal::Machine::now() - start);
        finish_serving(t, word, asked, outcome);
    }
    [[gnu::noinline]] static void serve_in_task(UserThread& t, rt::CallWord& word, u64 asked, LeafOutcome outcome) {
        rt::Executor& ex = rt::Executor::current();
        t.trapped_ = hal::Machine::now();
        word.exchange(rt::kCallActive | rt::kCallAsync, std::memory_order_acq_rel);
        if (outcome == LeafOutcome::kBlocked) return block(t, ex);
        if (outcome == LeafOutcome::kDoneChanged) return t.make_ready();
        if (!(asked & rt::kCallFault)) t.trap_ = Trap{.kind = Trap::Kind::kSyscall};
        t.job_.set_home(ex);
        t.job_.resume();
    }

    static void trap_routed(core::Thread& thread, const Trap& trap) {
        if (trap.kind == Trap::Kind::kPageFault) {
            UserThread& t = of(thread);
            rt::Executor& ex = rt::Executor::current();
            u64 kind = rt::kCallFault | count(ex);
            rt::Executor* where = route::executor_of(Module::kMm, t.space.get());
            if (where && where != &ex) {
                t.trap_ = trap;
                return call_or_leave(t, *where, rt::call_for(where->cpu(), u32(Module::kMm)) | kind);
            }
            keep(ex);
        }
        TrapPath::trap(thread, trap);
    }
    static void trap(core::Thread& thread, const Trap& trap) {
        UserThread& t = of(thread);
        if (trap.kind == Trap::Kind::kPageFault && personality.fault(t, trap) == LeafOutcome::kDone) [[likely]]
            return core::leave_trap(t);
        start_task(t, trap);
    }

    static void kicked(core::Thread& thread) { run_task(of(thread), Trap{}); }

    // A server may be looking at the thread's call word in this moment.
    static void ended(UserThread& t) {
        if (t.lane_servers_ == 0) return personality.ended(t);
        rt::lane_forget(t.call_.word, t.lane_servers_, t.lane_homes_);
        t.gone_.owner = &t;
        t.gone_.free = [](rt::Retired& r) { personality.ended(*static_cast<UserThread::Gone&>(r).owner); };
        rt::retire(t.gone_);
    }
    // One for all threads; the first two change with the routes.
    static constinit core::Abi abi;
};
constinit TrapPath::Near TrapPath::nears[lib::kMaxCpus];
constinit core::Abi TrapPath::abi{&TrapPath::syscall_inline, &TrapPath::trap, &TrapPath::kicked};

Personality<UserThread>& route::personality_in_use() { return personality; }
void route::serve_request(rt::Request& r, rt::Shard& shard) { TrapPath::serve_queued(r, shard); }
// Each thread's next trap takes the new way; what is under way ends as it began.
void route::use_entry(Entry e) {
    constexpr void (*kSyscall[])(core::Thread&) = {&TrapPath::syscall_inline, &TrapPath::syscall_routed,
                                                   &TrapPath::syscall_adaptive, &TrapPath::syscall_sampled};
    if (!rt::Executor::serving().word) rt::Executor::serve_with<&TrapPath::serve_word, &TrapPath::before_sleep>();
    TrapPath::abi.syscall.store(kSyscall[u32(e)], std::memory_order_relaxed);
    TrapPath::abi.trap.store(e == Entry::kRouted ? &TrapPath::trap_routed : &TrapPath::trap, std::memory_order_relaxed);
}

void set_personality(const Personality<UserThread>& p) {
    personality = p;
    route::module_of_call = p.modules;
}

UserThread::Remote::Remote(UserThread& t) : Request(&TrapPath::arrive), owner(t) {}

UserThread::UserThread() : job_(*this), remote_(*this) {
    // System time is what the coroutine runs, without its waits.
    job_.set_on_switch([](rt::Job& job, bool runs) {
        UserThread& t = static_cast<OwnJob&>(job).owner;
        Nanoseconds now = hal::Machine::now();
        if (runs)
            t.trapped_ = now;
        else
            t.stop_system_clock(now);
    });
    abi = &TrapPath::abi;
}

Result<void> UserThread::init(Ref<Space> in) {
    space = std::move(in);
    set_home(rt::Executor::current());  // who finds it before it starts may kick it
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
    stop_system_clock(hal::Machine::now());
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
