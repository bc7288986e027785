// SPDX-License-Identifier: MIT
#include "port/kernel/remote_serve.hpp"

#include "port/kernel/controller.hpp"
#include "port/kernel/route.hpp"

namespace port {
namespace {

// A CPU that serves one address space for some time loads it: handlers reach user memory without walking its tables.
// Not for a few calls, because loading drops all translations; and not asleep, because it would be woken for each
// flush.
struct alignas(64) Near {
    const Space* space = nullptr;  // of the last timed call; never followed
    u32 times = 0;                 // of timed calls that came from it in a row
    bool loaded = false;
};
constexpr u32 kNear = 4;
constinit Near nears[lib::kMaxCpus];
void bring_near(UserThread& t) {
    Near& near = nears[rt::Executor::current().cpu().value];
    if (near.space != t.space.get()) {
        near.space = t.space.get();
        near.times = 0;
    } else if (++near.times >= kNear) {
        t.space->load();
        near.loaded = true;
    }
}
void before_sleep(rt::Executor& ex) {
    if (std::exchange(nears[ex.cpu().value].loaded, false)) Space::unload();
}

}  // namespace

// The steps of which the trace buffer hears nothing.
struct RemoteQueue {
    static void accept(UserThread& t) {
        // Taken: no other look at the lanes finds it.
        u64 word = t.call_.word.fetch_and(~u64{rt::kCallPending}, std::memory_order_relaxed);
        UserThread::Remote& r = t.remote_;
        r.call = (word & rt::kCallFault) ? ~0u : u32(t.call_.frame.syscall_number());
        r.space = t.space.get();
        r.nice = personality.nice_of(t);
        rt::Executor::current().service.shards[u32(route::module_in(word))]->accept(r);
    }
    static void end(UserThread& t) {
        t.release_machine();
        personality.ended(t);
    }
    static void forget(UserThread& t) {
        if (t.lane_servers_ == 0) return end(t);
        rt::lane_forget(t.call_.word, t.lane_servers_, t.lane_homes_);
        t.gone_.owner = &t;
        t.gone_.free = [](rt::Retired& r) { end(*static_cast<UserThread::Gone&>(r).owner); };
        rt::retire(t.gone_);
    }
};
void accept_remote(rt::Schedulable& s) { RemoteQueue::accept(static_cast<UserThread::Remote&>(s).owner); }
void forget_remote(UserThread& t) { RemoteQueue::forget(t); }

// One that waits in this CPU's lanes: served at once, unless others wait too and the module's policy puts them in
// order. Inlined: into the loop that looks for words.
template <class Trace>
[[gnu::always_inline]] inline void RemoteServe<Trace>::word(rt::Executor& ex, rt::CallWord& word) {
    UserThread& t = UserThread::of_word(word);
    u64 asked = word.load(std::memory_order_relaxed);
    rt::Shard& shard = *ex.service.shards[u32(route::module_in(asked))];
    if (asked & (rt::kCallSampled | rt::kCallFault | rt::kCallDetached)) [[unlikely]]
        return carefully(ex, t, shard);
    if (shard.ordered.load(std::memory_order_relaxed)) [[unlikely]]
        return carefully(ex, t, shard);
    shard.direct.add(1);
    Trace::serves(t, asked, 0);
    finish(t, word, asked, personality.syscall_elsewhere(t, t.call_.frame));
}
template <class Trace>
[[gnu::noinline]] void RemoteServe<Trace>::carefully(rt::Executor& ex, UserThread& t, rt::Shard& shard) {
    if (shard.ordered.load(std::memory_order_relaxed)) return accept_all(ex, t, shard);
    shard.batches.add(1);
    serve(t, shard);
}
template <class Trace>
[[gnu::always_inline]] inline void RemoteServe<Trace>::finish(UserThread& t, rt::CallWord& word, u64 asked,
                                                              LeafOutcome outcome) {
    if (outcome != LeafOutcome::kDone) [[unlikely]]
        return in_task(t, word, asked, outcome);
    Trace::served(t);
    // Acquire and release: the home sees the result, or this sees that the home has left.
    if (word.exchange(rt::kCallActive | rt::kCallDone, std::memory_order_acq_rel) & rt::kCallDetached) [[unlikely]] {
        if (!(asked & rt::kCallFault)) t.context.set_syscall_result(t.call_.frame.syscall_result());
        t.return_to_queue();
    }
}
template <class Trace>
[[gnu::noinline]] void RemoteServe<Trace>::accept_all(rt::Executor& ex, UserThread& first, rt::Shard& shard) {
    bool several = false;
    rt::lane_poll(ex.cpu(), rt::executor_count(), [&](rt::CallWord& word) {
        UserThread& t = UserThread::of_word(word);
        if (&t == &first) return true;
        several = true;
        RemoteQueue::accept(t);
        return true;
    });
    if (several || shard.queue.size() != 0) return RemoteQueue::accept(first);
    shard.settle();
    shard.batches.add(1);
    serve(first, shard);
}
template <class Trace>
void RemoteServe<Trace>::queued(rt::Request& r, rt::Shard& shard) {
    serve(static_cast<UserThread::Remote&>(r).owner, shard);
}
template <class Trace>
void RemoteServe<Trace>::serve(UserThread& t, rt::Shard& shard) {
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
    Trace::serves(t, asked, shard.queue.size());
    LeafOutcome outcome =
        (asked & rt::kCallFault) ? personality.fault(t, t.trap_) : personality.syscall_elsewhere(t, t.call_.frame);
    if (asked & rt::kCallSampled) [[unlikely]] {
        u64 took = (hal::Machine::now() - start).value;
        shard.service.add(took);
        if (!(asked & rt::kCallFault)) route::classes[number].served(took);
        shard.busy_ns.add(took * rt::CallSampler::kWeight);
        rt::Executor::current().service.served_ns += took * rt::CallSampler::kWeight;
    }
    // A home that waits counts the call as it counts its own leaves. One that does not leaves it to this CPU.
    if (asked & rt::kCallDetached) t.add_system(hal::Machine::now() - start);
    finish(t, word, asked, outcome);
}
template <class Trace>
[[gnu::noinline]] void RemoteServe<Trace>::in_task(UserThread& t, rt::CallWord& word, u64 asked, LeafOutcome outcome) {
    rt::Executor& ex = rt::Executor::current();
    t.trapped_ = hal::Machine::now();
    word.exchange(rt::kCallActive | rt::kCallAsync, std::memory_order_acq_rel);
    if (outcome == LeafOutcome::kBlocked) return TrapTiers<Trace>::block(t, ex);
    if (outcome == LeafOutcome::kDoneChanged) {
        Trace::ends(t);
        return t.return_to_queue();
    }
    Trace::needs_task(t);
    if (!(asked & rt::kCallFault)) t.trap_ = Trap{.kind = Trap::Kind::kSyscall};
    t.job_.set_home(ex);
    t.job_.resume();
}
template <class Trace>
void RemoteServe<Trace>::take_over() {
    if (!rt::CallService::how().word) rt::CallService::serve_with<&RemoteServe::word, &before_sleep>();
}

template struct RemoteServe<NoTrace>;
template struct RemoteServe<BufferTrace>;

}  // namespace port
