// SPDX-License-Identifier: MIT
// The trap path of the personality's threads: leaf tier, routes, and the hand-over to the thread's coroutine.
#include <cstring>

#include "core/sched.hpp"
#include "port/bind.hpp"
#include "port/kernel/controller.hpp"
#include "port/kernel/route.hpp"
#include "port/kernel/trap_path.hpp"

namespace port {

struct RemotePath : TrapPath {
    // ---- Calls that another CPU executes (rt/lane.hpp) ----

    static constexpr u64 kOver = rt::kCallDone | rt::kCallAsync;

    // Aligned: where it is entered and where it goes on after the wait must not be each other's neighbours in QEMU's jump
    // cache (docs/debugging.md), which costs a call 40 ns.
    template <bool kTraced>
    [[gnu::aligned(128)]] static void syscall_routed(core::Thread& thread) {
        UserThread& t = of(thread);
        u64 number = t.regs().syscall_number();
        if (number >= std::size(route::word_of_call)) [[unlikely]]
            return syscall_inline<kTraced>(thread);
        u64 wanted = route::word_of_call[number].load(std::memory_order_relaxed);
        // No CPU that this one hands calls to is itself, or one of the special places.
        if (route::server_in(wanted) != t.lane_server.load(std::memory_order_relaxed)) [[unlikely]]
            return call_elsewhere<kTraced>(t, wanted);
        if (rt::Executor::current().count_call()) [[unlikely]]
            return call_timed<kTraced>(t, wanted);
        if constexpr (kTraced) CallTrace::send(personality.number_of(t), number, route::server_in(wanted));
        // All of the line at once: the server is looking at it. Release: pairs with its look.
        t.call_.frame = t.context.frame();
        t.call_.word.store(wanted, std::memory_order_release);
        if (!(spin_briefly(t.call_) & rt::kCallDone)) [[unlikely]]
            return finish_or_leave<kTraced>(t);
        t.context.set_syscall_result(t.call_.frame.syscall_result());
        if constexpr (kTraced) CallTrace::answered(t.context.syscall_result());
        core::leave_trap(t);
    }
    template <bool kTraced>
    [[gnu::noinline]] static void finish_or_leave(UserThread& t) {
        rt::Executor& ex = rt::Executor::current();
        bool done = finish_call(t, ex, 0);
        if constexpr (kTraced) trace_sent(t, done);
        if (done) return core::leave_trap(t);
        ex.run_forever();
    }
    // If it is not done, the thread is in other hands.
    static void trace_sent(UserThread& t, bool done) {
        if (done)
            CallTrace::answered(t.context.syscall_result());
        else
            CallTrace::left();
    }
    template <bool kTraced>
    [[gnu::noinline]] static void call_timed(UserThread& t, u64 wanted) {
        rt::Executor& ex = rt::Executor::current();
        ex.next_sample();
        call_or_leave<kTraced>(t, rt::Executor::of(CpuId{route::server_in(wanted)}), wanted | rt::kCallSampled);
    }
    template <bool kTraced>
    static void call_or_leave(UserThread& t, rt::Executor& where, u64 wanted) {
        bool done = call<kTraced>(t, where, wanted);
        if (done) return core::leave_trap(t);
        rt::Executor::current().run_forever();
    }
    // Inline after all, one of several CPUs, or the first call there.
    template <bool kTraced>
    [[gnu::noinline]] static void call_elsewhere(UserThread& t, u64 wanted) {
        rt::Executor& ex = rt::Executor::current();
        Module module = route::module_in(wanted);
        if (module == Module::kHome) return syscall_inline<kTraced>(t);
        u64 kind = count(ex);
        u8 server = route::server_in(wanted);
        rt::Executor* where = server == route::kHere     ? nullptr
                              : server == route::kSpread ? route::executor_of(module, t.space.get())
                                                         : &rt::Executor::of(CpuId{server});
        if (!where || where == &ex) {
            keep(ex);
            return syscall_inline<kTraced>(t);
        }
        call_or_leave<kTraced>(t, *where, rt::call_for(where->cpu(), u32(module)) | kind);
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
    template <bool kTraced>
    static void syscall_adaptive(core::Thread& thread) {
        UserThread& t = of(thread);
        u64 number = t.regs().syscall_number();
        if (number < route::kClasses && route::classes[number].remote.load(std::memory_order_relaxed)) {
            rt::Executor& ex = rt::Executor::current();
            rt::Executor* where = route::idle_cpu(ex);
            if (where) {
                return call_or_leave<kTraced>(t, *where,
                                              rt::call_for(where->cpu(), u32(personality.module_of(number))));
            }
        }
        syscall_inline<kTraced>(thread);
    }
    // route=adaptive, at the start of a period: a few calls are timed on either road.
    template <bool kTraced>
    static void syscall_sampled(core::Thread& thread) {
        UserThread& t = of(thread);
        rt::Executor& ex = rt::Executor::current();
        route::Samples& left = route::samples[ex.cpu().value];
        u32 here = left.here.load(std::memory_order_relaxed), there = left.there.load(std::memory_order_relaxed);
        u64 number = t.regs().syscall_number();
        if (here == 0) {
            route::use_entry(route::settled_entry());
            return syscall_adaptive<kTraced>(thread);
        }
        if (number >= route::kClasses || personality.module_of(number) == Module::kHome)
            return syscall_inline<kTraced>(thread);
        route::CallClass& c = route::classes[number];
        Nanoseconds start = hal::Machine::now();
        rt::Executor* where = there != 0 && here % 4 == 0 ? route::idle_cpu(ex) : nullptr;
        left.here.store(here - 1, std::memory_order_relaxed);
        if (where) {
            left.there.store(there - 1, std::memory_order_relaxed);
            bool done = call<kTraced>(t, *where, rt::call_for(where->cpu(), u32(personality.module_of(number))));
            // A call that outlasted the spinning has held its caller up that long, at least.
            route::record(c, true, (hal::Machine::now() - start).value);
            if (done) return core::leave_trap(t);
            ex.run_forever();
        }
        if constexpr (kTraced) t.trace_.begin(Path::kLeaf, personality.number_of(t), number_of_call(t), t.context);
        LeafOutcome outcome = personality.syscall(t);
        if (outcome == LeafOutcome::kDone) route::record(c, false, (hal::Machine::now() - start).value);
        finish_inline<kTraced>(t, outcome);
    }

    // Has `where` execute the thread's system call or fault. True: it is done. False: the thread has left this CPU's
    // hands, and somebody makes it ready later.
    template <bool kTraced>
    static bool call(UserThread& t, rt::Executor& where, u64 wanted) {
        if constexpr (kTraced) {
            u64 number = (wanted & rt::kCallFault) ? abi::trace::kPageFault : t.context.syscall_number();
            CallTrace::send(personality.number_of(t), number, where.cpu().value);
            bool done = call(t, where, wanted);
            trace_sent(t, done);
            return done;
        }
        return call(t, where, wanted);
    }
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
        if (!(now & kOver) && !leave_at_once(t, ex, now)) now = spin(t.call_, where, ex);
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
    [[gnu::noinline, gnu::section(".text.farcall_spin")]] static u64 spin_briefly(UserThread::CallLine& call) {
        u64 v = 0;
        for (u32 n = 0; n < 256; ++n) {
            // Acquire: pairs with the server's exchange; the result is seen.
            v = call.word.load(std::memory_order_acquire);
            if (v & kOver) break;
            if (call.share.offered()) [[unlikely]]
                help(call.share);
        }
        return v;
    }
    // The server wants a part of a copy done here, where the space is loaded.
    [[gnu::noinline]] static void help(rt::CopyShare& share) {
        hal::Machine::poll_mailbox();  // no user memory by a translation that was taken away
        share.help([](std::byte* kernel, UserAddr user, size_t n, bool to_user) {
            return Space::copy_loaded(kernel, user, n, to_user);
        });
    }
    // Somebody else could use the CPU, and the call takes longer than letting him.
    static bool leave_at_once(const UserThread& t, rt::Executor& ex, u64 word) {
        const rt::Schedulable* first = ex.next(rt::Priority::kUser);
        const auto* next = !first || rt::Job::is_one(*first) ? nullptr : static_cast<const core::Thread*>(first);
        u64 number = t.context.syscall_number();
        if (!next || (word & rt::kCallFault) || number >= route::kClasses) return false;
        u32 limit = next->space.get() == t.space.get() ? route::kSwitchNs : route::kSwitchSpaceNs;
        return route::classes[number].service_ns.load(std::memory_order_relaxed) > limit;
    }
    [[gnu::noinline, gnu::section(".text.farcall_spin")]] static u64 spin(UserThread::CallLine& call,
                                                                          rt::Executor& where, rt::Executor& ex) {
        u64 v = 0;
        bool others = ex.ready_count(rt::Priority::kUser) != 0;
        u32 limit = others ? route::kSpinWithOthers : route::kSpinAlone;
        for (u32 n = 0; n < limit; ++n) {
            v = call.word.load(std::memory_order_acquire);
            if (v & kOver) return v;
            if (call.share.offered()) [[unlikely]]
                help(call.share);
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
    template <bool kTraced>
    [[gnu::always_inline]] static void serve_word(rt::Executor& ex, rt::CallWord& word) {
        UserThread& t = of_word(word);
        u64 asked = word.load(std::memory_order_relaxed);
        rt::Shard& shard = *ex.shards[u32(route::module_in(asked))];
        if (asked & (rt::kCallSampled | rt::kCallFault | rt::kCallDetached)) [[unlikely]]
            return serve_carefully<kTraced>(ex, t, shard);
        if (shard.ordered.load(std::memory_order_relaxed)) [[unlikely]]
            return serve_carefully<kTraced>(ex, t, shard);
        shard.direct.add(1);
        if constexpr (kTraced) begin_serving(t, asked, 0);
        finish_serving<kTraced>(t, word, asked, personality.syscall_elsewhere(t, t.call_.frame));
    }
    static void begin_serving(UserThread& t, u64 asked, u32 queue) {
        u64 number = (asked & rt::kCallFault) ? abi::trace::kPageFault : t.call_.frame.syscall_number();
        t.trace_.begin(Path::kService, personality.number_of(t), abi::trace::detail(number, queue), t.context,
                       t.home().cpu().value);
    }
    template <bool kTraced>
    [[gnu::noinline]] static void serve_carefully(rt::Executor& ex, UserThread& t, rt::Shard& shard) {
        if (shard.ordered.load(std::memory_order_relaxed)) return accept_all<kTraced>(ex, t, shard);
        shard.batches.add(1);
        serve<kTraced>(t, shard);
    }
    template <bool kTraced>
    [[gnu::always_inline]] static void finish_serving(UserThread& t, rt::CallWord& word, u64 asked,
                                                      LeafOutcome outcome) {
        if (outcome != LeafOutcome::kDone) [[unlikely]]
            return serve_in_task<kTraced>(t, word, asked, outcome);
        if constexpr (kTraced) t.trace_.finish_served(t.call_.frame.syscall_result());
        // Acquire and release: the home sees the result, or this sees that the home has left.
        if (word.exchange(rt::kCallActive | rt::kCallDone, std::memory_order_acq_rel) & rt::kCallDetached)
            [[unlikely]] {
            if (!(asked & rt::kCallFault)) t.context.set_syscall_result(t.call_.frame.syscall_result());
            t.make_ready();
        }
    }
    template <bool kTraced>
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
        serve<kTraced>(first, shard);
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

    template <bool kTraced>
    static void serve_queued(rt::Request& r, rt::Shard& shard) {
        serve<kTraced>(static_cast<UserThread::Remote&>(r).owner, shard);
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
    template <bool kTraced>
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
        if constexpr (kTraced) begin_serving(t, asked, shard.queue.size());
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
        finish_serving<kTraced>(t, word, asked, outcome);
    }
    template <bool kTraced>
    [[gnu::noinline]] static void serve_in_task(UserThread& t, rt::CallWord& word, u64 asked, LeafOutcome outcome) {
        rt::Executor& ex = rt::Executor::current();
        t.trapped_ = hal::Machine::now();
        word.exchange(rt::kCallActive | rt::kCallAsync, std::memory_order_acq_rel);
        if (outcome == LeafOutcome::kBlocked) return block<kTraced>(t, ex);
        if constexpr (kTraced) {
            if (outcome == LeafOutcome::kDoneChanged)
                t.trace_.finish(t.context);
            else
                t.trace_.go_on(Reason::kNeedsTask, Path::kTask);
        }
        if (outcome == LeafOutcome::kDoneChanged) return t.make_ready();
        if (!(asked & rt::kCallFault)) t.trap_ = Trap{.kind = Trap::Kind::kSyscall};
        t.job_.set_home(ex);
        t.job_.resume();
    }

    template <bool kTraced>
    static void trap_routed(core::Thread& thread, const Trap& trap) {
        if (trap.kind == Trap::Kind::kPageFault) {
            UserThread& t = of(thread);
            rt::Executor& ex = rt::Executor::current();
            u64 kind = rt::kCallFault | count(ex);
            rt::Executor* where = route::executor_of(Module::kMm, t.space.get());
            if (where && where != &ex) {
                t.trap_ = trap;
                return call_or_leave<kTraced>(t, *where, rt::call_for(where->cpu(), u32(Module::kMm)) | kind);
            }
            keep(ex);
        }
        TrapPath::trap<kTraced>(thread, trap);
    }
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
constinit RemotePath::Near RemotePath::nears[lib::kMaxCpus];
constinit core::Abi RemotePath::abi{&RemotePath::syscall_inline<false>, &RemotePath::trap<false>,
                                    &RemotePath::kicked<false>};

Personality<UserThread>& route::personality_in_use() { return personality; }
void route::serve_request(rt::Request& r, rt::Shard& shard) { RemotePath::serve_queued<false>(r, shard); }
void route::serve_traced(rt::Request& r, rt::Shard& shard) { RemotePath::serve_queued<true>(r, shard); }
template <bool kTraced>
static void enter_by(route::Entry e) {
    constexpr void (*kSyscall[])(core::Thread&) = {
        &RemotePath::syscall_inline<kTraced>, &RemotePath::syscall_routed<kTraced>,
        &RemotePath::syscall_adaptive<kTraced>, &RemotePath::syscall_sampled<kTraced>};
    if (!rt::Executor::serving().word)
        rt::Executor::serve_with<&RemotePath::serve_word<kTraced>, &RemotePath::before_sleep>();
    RemotePath::abi.syscall.store(kSyscall[u32(e)], std::memory_order_relaxed);
    RemotePath::abi.trap.store(
        e == route::Entry::kRouted ? &RemotePath::trap_routed<kTraced> : &RemotePath::trap<kTraced>,
        std::memory_order_relaxed);
}
// Each thread's next trap takes the new way; what is under way ends as it began.
void route::use_entry(Entry e) {
    if (CallTrace::enabled) return enter_by<true>(e);
    enter_by<false>(e);
}

void trace_calls() {
    CallTrace::enabled = true;
    RemotePath::abi.kicked = &RemotePath::kicked<true>;
    route::use_entry(route::Entry::kInline);
}

void set_personality(const Personality<UserThread>& p) {
    personality = p;
    route::module_of_call = p.modules;
}

UserThread::Remote::Remote(UserThread& t) : Request(&RemotePath::arrive), owner(t) {}

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
    abi = &RemotePath::abi;
    if (CallTrace::enabled) [[unlikely]]
        TrapPath::be_traced(*this);
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
    if (holds_fpu()) return hal::Machine::fpu_reset();
    registers_changed();
    hal::Machine::fpu_init(context.fpu_area);
}

void UserThread::job_done(rt::Job& job) {
    UserThread& t = static_cast<OwnJob&>(job).owner;
    if (CallTrace::enabled) [[unlikely]]
        t.trace_.finish_ended();
    RemotePath::ended(t);
}

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
