// SPDX-License-Identifier: MIT
// One executor per CPU: a run queue of Schedulable nodes, an inbox that other CPUs push to, the CPU's timers.
//
// Invariants: the run queue is touched by its own CPU only, without a lock; other CPUs reach it through post(). A node is
// in at most one queue or inbox. Nothing here allocates.
//
// A CPU that serves others' calls lets its own user threads wait while calls are pending, but not for ever: after kKeptOut
// without progress a thread has the CPU for kTurn, and calls wait (keep_out).
//
// Sleep and wake: the executor publishes `state_` (user or sleeping) and then looks at the inbox and at the attention bits
// once more; a sender pushes, or sets its bit, and then reads `state_`. Both sides are seq_cst, so one of them sees the other
// (tests/models/inbox.pml). A bit that is set while the CPU is in user mode or asleep therefore has an interrupt under way,
// and later senders of that bit may rely on it. kick() of a thread counts as a bit: the flag is set before.
#pragma once
#include <utility>

#include "hal/bind.hpp"
#include "lib/list.hpp"
#include "lib/types.hpp"
#include "rt/assert.hpp"
#include "rt/atomic.hpp"
#include "rt/epoch.hpp"
#include "rt/share.hpp"
#include "rt/timer.hpp"

namespace rt {

// Lower numbers first. Between kHighest and kLowest are the levels of user threads; Linux threads have kUser.
enum class Priority : u8 { kUrgent, kKernel, kHighest, kUser = 16, kLowest = 30, kBackground };
inline constexpr u32 kPriorities = 32;

// Something a CPU can run: a coroutine (Job), a user thread, a module's request.
struct Schedulable {
    using RunFn = void (*)(Schedulable&);
    explicit constexpr Schedulable(RunFn fn, Priority p = Priority::kKernel) : run(fn), priority(p) {}
    lib::ListHook run_hook;
    Schedulable* inbox_next = nullptr;
    RunFn run;
    Priority priority;
};

// Why a CPU should look up before it goes back to user mode. Set by any CPU, cleared by the owner.
enum Attention : u32 {
    kAttnInbox = 1,       // something was posted
    kAttnTimer = 2,       // the timer interrupt came
    kAttnReschedule = 4,  // give the next thread a turn
    kAttnEpoch = 8,       // somebody waits for this CPU to be quiescent
};

struct Shard;

class alignas(64) Executor {
public:
    // kOwnTurn: in user mode, and looks at its lanes by itself when the turn is over.
    enum State : u32 { kBusy, kUser, kOwnTurn, kSleeping };

    static Executor& current() { return *static_cast<Executor*>(hal::Machine::local()); }
    static Executor& of(CpuId cpu);
    // Binds the calling CPU to its executor; once per CPU, before anything else of rt/.
    static Executor& start(CpuId cpu);

    CpuId cpu() const { return cpu_; }

    // From any CPU: make `node` run here. Never blocks, never allocates.
    void post(Schedulable& node);
    // On this CPU: to the end (or the front) of its priority's queue.
    void enqueue(Schedulable& node);
    void enqueue_front(Schedulable& node);

    // Runs the best node, if any. False: there is nothing to do now.
    bool run_one();
    // Until nothing is ready (server and host: then the caller waits for the next event itself).
    void run_until_idle() {
        while (run_one()) {
        }
    }
    [[noreturn]] void run_forever();
    // Sleeps until something is posted, a timer is due, or an interrupt came.
    void wait_for_work();

    // Is something ready that should run before a user thread that just trapped goes on?
    bool has_ready(Priority better_than_or_equal) const {
        return (ready_mask_ & ((2u << u32(better_than_or_equal)) - 1)) != 0;
    }
    // The same, without those of its own level.
    bool has_ready_above(Priority p) const { return (ready_mask_ & ((1u << u32(p)) - 1)) != 0; }
    u32 ready_count(Priority p) const { return counts_[u32(p)]; }
    // This CPU only: who is next.
    const Schedulable* next(Priority p) { return queues_[u32(p)].front(); }
    Schedulable* steal(Priority p);  // this CPU only: takes the last node of a queue, to post it elsewhere
    // The one that would run next, still in its queue; null: none.
    Schedulable* best_ready() { return ready_mask_ == 0 ? nullptr : queues_[u32(__builtin_ctz(ready_mask_))].front(); }
    void remove(Schedulable& node);  // this CPU only: out of the queue it is in
    // This CPU only: long work of the kernel gives way (Yield). Pending interrupts are taken, due timers run, and the node
    // goes to the end of its queue, so that what is ready at its level or above runs first. Work that has kept ready user
    // threads waiting for kWorkTurn goes behind them instead: the caller restores the node's priority when it runs again.
    void give_way(Schedulable& node);
    static constexpr Nanoseconds kWorkTurn{1'000'000};
    // This CPU only: is it in a queue of this CPU? (That it is linked does not say where.)
    bool holds(const Schedulable& node);

    // About to enter user mode: returns false (and stays busy) if work has come meanwhile.
    bool enter_user_state() {
        State to = own_turn_ && own_turn_goes_on() ? kOwnTurn : kUser;
        state_.store(to, std::memory_order_seq_cst);
        if (undisturbed() && (to == kOwnTurn || left_out<Step::kLaneLook>() || !requests_pending())) [[likely]]
            return true;
        state_.store(kBusy, std::memory_order_relaxed);
        return false;
    }
    // The same after a short absence, on a CPU that serves nobody.
    bool enter_user_state_again() {
        if (serves()) return enter_user_state();
        state_.store(kUser, std::memory_order_seq_cst);
        if (undisturbed()) [[likely]]
            return true;
        state_.store(kBusy, std::memory_order_relaxed);
        return false;
    }
    // A user thread could not enter user mode, or has left it, because of calls of other CPUs. Its time is accounted.
    void keep_out();
    // Calls of other CPUs are pending, and it is not a user thread's turn.
    bool must_serve() { return requests_pending() && !(own_turn_ && own_turn_goes_on()); }
    // Does a turn end now?
    bool own_turn_over() { return own_turn_ && !own_turn_goes_on(); }
    static constexpr Nanoseconds kKeptOut{4'000'000}, kTurn{1'000'000};
    static constexpr u64 kProgress = 20'000;  // ns in user mode, from one time to be kept out to the next: enough
    void leave_user_state() { state_.store(kBusy, std::memory_order_relaxed); }
    bool in_user_mode() const {
        State s = state();
        return s == kUser || s == kOwnTurn;
    }
    // For who has a call here: this CPU does not look at its lanes before it is told to.
    bool must_be_told() const {
        State s = state();
        return s == kUser || s == kSleeping;
    }
    State state() const { return State(state_.load(std::memory_order_seq_cst)); }

    // Which levels have something ready (low half, bit n: level n), and whether this CPU should look up (high half), in one
    // load: what a path through the kernel must know before it ignores both.
    u64 pressing() const {
        using Both [[gnu::may_alias]] = u64;
        return __atomic_load_n(reinterpret_cast<const Both*>(&ready_mask_), __ATOMIC_RELAXED);
    }
    bool needs_attention() const { return !hal::Machine::is_zero(attention_); }
    u32 take_attention() { return attention_.exchange(0, std::memory_order_acquire); }
    // From any CPU. The IPI is sent only if the bit was not set and the CPU would not look by itself.
    void attract(Attention bit);

    TimerQueue& timers() { return timers_; }
    void run_due_timers();
    void drain_inbox();

    // The thread whose FPU state and TLS bases are in the CPU (core/thread.hpp).
    void* live = nullptr;
    // The address space that is loaded (core/space.hpp), and this CPU's bit in a set of CPUs.
    void* space = nullptr;
    u32 cpu_bit = 0;
    // Whose clock counts this CPU's user time (core/thread.hpp).
    void* clocked = nullptr;

    Schedulable* running() const { return running_; }
    void set_running(Schedulable* s) { running_ = s; }

    // Requests from the lanes of this CPU (rt/lane.hpp). From any CPU; for good.
    void serve_requests() { serves_.store(true, std::memory_order_seq_cst); }
    bool serves() const { return serves_.load(std::memory_order_relaxed); }
    // Nothing to do here: asleep, or looking for work.
    bool idles() const { return state() == kSleeping || looks_.load(std::memory_order_relaxed); }
    bool requests_pending() const { return serves() && lane_pending(cpu_, executor_total()); }
    // A thread for a CPU that waits for one: straight from hand to hand, one cache line. False: it does not wait, post() it.
    bool hand_off(Schedulable& s) {
        if (handoff_.load(std::memory_order_relaxed) != nullptr) return false;
        Schedulable* none = nullptr;
        return handoff_.compare_exchange_strong(none, &s, std::memory_order_acq_rel, std::memory_order_relaxed);
    }
    bool awaits_handoff() const { return handoff_.load(std::memory_order_relaxed) == nullptr; }
    // Waits for that, for spin_budget at most; null as soon as there is anything else to do. Not in user state.
    Schedulable* await_handoff();

    // Looks at its inbox: what is posted needs no interrupt.
    bool looks_for_work() const { return looks_.load(std::memory_order_relaxed); }
    // Spins for spin_budget before it sleeps, though it serves nobody.
    bool polls = false;
    // Says how the call of a word that is pending in a CPU's lanes is executed, and what such a CPU does when for the length
    // of the spin budget nothing came. Whoever makes requests, before any CPU finds a word. Returns what held before.
    struct Served {
        bool other, any;
    };
    struct Serving {
        void (*word)(Executor&, CallWord&);
        Served (*words)(Executor&);  // serves words as they come
        void (*rest)(Executor&);
    };
    static const Serving& serving() { return serving_; }  // nobody yet: no `word`
    static Serving serve_with(const Serving& to) { return std::exchange(serving_, to); }
    template <void (*kServe)(Executor&, CallWord&), void (*kRest)(Executor&) = nullptr>
    static Serving serve_with() {
        return serve_with({kServe, &Executor::serve_words<kServe>, kRest});
    }
    // A CPU that serves looks for work this long before it sleeps. Zero: it sleeps at once (more CPUs than the host has).
    static Nanoseconds spin_budget;

    // What the CPU did, nanoseconds; the rest is kernel.
    Atomic<u64> user_ns{0}, idle_ns{0};
    Atomic<u64> asleep_since{0};  // 0: awake
    // With the sleep that goes on.
    u64 idle_until(Nanoseconds now) const {
        u64 since = asleep_since.load(std::memory_order_relaxed);
        return idle_ns.load(std::memory_order_relaxed) + (since != 0 && since < now.value ? now.value - since : 0);
    }
    u64 served_ns = 0;  // in calls of other CPUs, about

    // Called when there is nothing to do, with work that may be done ahead (zeroing frames); true: it did some.
    bool (*idle_work)() = nullptr;
    u64 idle_entries = 0;

    // System calls and faults that threads of this CPU made while a route was set; one in so many has its times taken, the
    // next one after that sooner, by chance, for programs make the same few calls in turn. So a sample stands for
    // kSampleWeight calls. Counted down, for that is one instruction. Written here, read anywhere.
    static constexpr u32 kSampleEvery = 64, kSampleSooner = 32, kSampleWeight = kSampleEvery - kSampleSooner / 2;
    bool count_call() {  // true: this one is timed
        u32 left = sample_in_.load(std::memory_order_relaxed) - 1;
        sample_in_.store(left, std::memory_order_relaxed);
        return left == 0;
    }
    void next_sample() {  // behind a count_call() that said true
        u32 in = kSampleEvery - u32(hal::Machine::now().value >> 3) % kSampleSooner;
        samples_until_.store(samples_until_.load(std::memory_order_relaxed) + in, std::memory_order_relaxed);
        sample_in_.store(in, std::memory_order_relaxed);
    }
    u64 calls_made() const {
        return samples_until_.load(std::memory_order_relaxed) - sample_in_.load(std::memory_order_relaxed);
    }
    // Those of them that were executed here, because their module is here or nowhere.
    Atomic<u64> calls_kept{0};
    // Serving: whose home may copy a part (rt/share.hpp), if it is one of `cpus`, those that have the caller's space loaded: of
    // the call that was found last, which waits at its home. Null: nobody. Valid until this CPU is quiescent.
    CopyShare* copy_partner(u32 cpus) {
        if ((cpus >> lane_place_ / kLaneSlots & 1) == 0) return nullptr;
        CallWord* word = lane_at(cpu_, lane_place_);
        const u64 now = word->load(std::memory_order_relaxed);
        return (now & (kLaneMask | kCallDetached)) == lane_wanted(cpu_) ? &share_of(*word) : nullptr;
    }
    ShareLead share_lead;
    Atomic<u64> copies_shared{0}, copies_taken_back{0};  // written here, read anywhere
    // This CPU's shards of the modules, by the number in a call word (rt/module.hpp).
    static constexpr u32 kShards = 8;
    Shard* shards[kShards] = {};

    struct PerCpuEpoch epoch;

private:
    friend class ExecutorTable;
    static u32 executor_total();
    struct Found {
        CallWord* word;  // pending; or null:
        bool other;      // there is something else to do
    };
    Found look_for_work();
    // The last look before user mode, after `state_` says so: neither a node in the inbox nor an attention bit. Both in one
    // branch. seq_cst: pairs with post() and attract().
    bool undisturbed() const {
        const u64 node =
            left_out<Step::kInboxLook>() ? 0 : reinterpret_cast<u64>(inbox_.load(std::memory_order_seq_cst));
        const u64 bits = left_out<Step::kAttentionLook>() ? 0 : attention_.load(std::memory_order_seq_cst);
        return (node | bits) == 0;
    }
    bool look_around();
    bool serve_while_idle();
    // Serves words as they come, until there is something else to do, or nothing came for a while.
    template <void (*kServe)(Executor&, CallWord&)>
    [[gnu::aligned(64)]] static Served serve_words(Executor& ex) {
        for (u32 rounds = 0;;) {
            for (u32 left = kRound; left > 0; --left) {
                Found found = ex.look_for_work();
                if (!found.word) [[unlikely]]
                    return {found.other, rounds != 0 || left != kRound};
                kServe(ex, *found.word);
            }
            if (ex.between_rounds(++rounds)) return {true, true};
        }
    }
    static constexpr u32 kRound = 32;
    bool between_rounds(u32 round);
    static Serving serving_;
    alignas(8) u32 ready_mask_ = 0;  // before attention_: pressing()
    Atomic<u32> attention_{0};
    Atomic<bool> serves_{false};
    Atomic<bool> looks_{false};  // in serve_while_idle()
    Atomic<u32> sample_in_{kSampleEvery};
    Atomic<u64> samples_until_{kSampleEvery};
    // Threads that are kept out of user mode: since when, how often, and the CPU's user time then.
    Nanoseconds kept_out_since_{};
    u64 kept_out_times_ = 0, user_ns_then_ = 0;
    Nanoseconds work_since_{};             // when the work that gives way began to keep user threads waiting
    bool own_turn_ = false;                // granted
    Nanoseconds own_turn_until_{};         // zero: not begun
    Timer own_turn_timer_{[](Timer&) {}};  // its interrupt is all that is wanted
    bool own_turn_goes_on();
    u32 lane_place_ = 0;  // of the last call that was found, see lane_first
    CpuId cpu_{};
    Schedulable* running_ = nullptr;
    u32 counts_[kPriorities] = {};
    lib::List<Schedulable, &Schedulable::run_hook> queues_[kPriorities];
    TimerQueue timers_;
    // Null: this CPU waits for a thread. Closed: it does not. Else the thread that it got.
    alignas(64) Atomic<Schedulable*> handoff_{&closed_};
    static Schedulable closed_;
    alignas(64) Atomic<Schedulable*> inbox_{nullptr};
    alignas(64) Atomic<u32> state_{kBusy};
};

extern Executor executor_table[lib::kMaxCpus];
inline Executor& Executor::of(CpuId cpu) { return executor_table[cpu.value]; }
// How many executors have been started so far.
extern Atomic<u32> executors_started;
inline u32 executor_count() { return executors_started.load(std::memory_order_acquire); }
inline u32 Executor::executor_total() { return executor_count(); }

}  // namespace rt
