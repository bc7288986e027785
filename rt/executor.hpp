// SPDX-License-Identifier: MIT
// One executor per CPU: a run queue of Schedulable nodes, an inbox that other CPUs push to, the CPU's timers, and its
// service for calls of other CPUs. Each part has its own file and invariants; operations that need several of them are
// here.
//
// Only its own CPU uses the run queue, without a lock; other CPUs reach it through post(). Nothing here allocates.
//
// Sleep and wake-up: the executor publishes its UserState (user or sleeping) and then checks the inbox and the
// attention bits once more; a sender pushes, or sets its bit, and then reads the state. Both sides are seq_cst, so one
// of them sees the other (tests/models/inbox.pml). If a bit is set while the CPU is in user mode or asleep, an
// interrupt is therefore under way, and later senders of that bit may rely on it. kick() of a thread counts as a bit:
// its flag is set first.
#pragma once
#include <new>
#include <type_traits>

#include "hal/bind.hpp"
#include "rt/assert.hpp"
#include "rt/atomic.hpp"
#include "rt/cpus.hpp"
#include "rt/epoch.hpp"
#include "rt/handoff.hpp"
#include "rt/inbox.hpp"
#include "rt/remote/service.hpp"
#include "rt/run_queue.hpp"
#include "rt/slice.hpp"
#include "rt/timer.hpp"
#include "rt/user_state.hpp"

namespace rt {

// Why a CPU should run the executor before it goes back to user mode. Set by any CPU, cleared by the owner.
enum Attention : u32 {
    kAttnInbox = 1,       // something was posted
    kAttnTimer = 2,       // the timer interrupt came
    kAttnReschedule = 4,  // another thread is to run
    kAttnEpoch = 8,       // another CPU waits for this CPU to be quiescent
};

// Time of a CPU by use, in nanoseconds; the rest is kernel time. Written by the owner, read by any CPU.
struct CpuTimes {
    Atomic<u64> user_ns{0}, idle_ns{0};
    Atomic<u64> asleep_since{0};  // 0: awake
    u64 user() const { return user_ns.load(std::memory_order_relaxed); }
    void add_user(u64 ns) { user_ns.store(user() + ns, std::memory_order_relaxed); }
    void add_idle(u64 ns) { idle_ns.store(idle_ns.load(std::memory_order_relaxed) + ns, std::memory_order_relaxed); }
    // Including the current sleep.
    u64 idle_until(Nanoseconds now) const {
        u64 since = asleep_since.load(std::memory_order_relaxed);
        return idle_ns.load(std::memory_order_relaxed) + (since != 0 && since < now.value ? now.value - since : 0);
    }
};

// What this CPU has freed at once lately, see Reclaimer.
struct FreedAtOnce {
    Nanoseconds since{};
    u64 frames = 0;
};

class alignas(64) Executor {
public:
    static Executor& current() { return *static_cast<Executor*>(hal::Machine::local()); }
    static Executor& of(CpuId cpu);
    // Binds the calling CPU to its executor; once per CPU, before anything else of rt/.
    static Executor& start(CpuId cpu);

    CpuId cpu() const { return cpu_; }
    u32 cpu_bit() const { return cpu_bit_; }  // this CPU's bit in a CPU mask

    // Per-CPU data of the layer above: one trivially copyable type, initially zero, used by the owner only.
    template <class T>
    T& above() {
        static_assert(sizeof(T) <= sizeof above_ && alignof(T) <= 8 && std::is_trivially_copyable_v<T>);
        return *std::launder(reinterpret_cast<T*>(above_));
    }

    // From any CPU: makes `node` run on this executor. Never blocks, never allocates; no lock of rank `timer` or above is held
    // in a trap of a user thread. A user thread of this CPU that posts in a
    // trap of its own goes on until it waits, or for a slice.
    void post(Schedulable& node);
    // On this CPU: adds the node at the end (or the front) of its priority's queue.
    void enqueue(Schedulable& node);
    void enqueue_front(Schedulable& node);

    // Runs the first node of the highest priority, if any. Returns false if there is nothing to do now.
    bool run_one();
    // Runs until nothing is ready. For the server and the host, where the caller then waits for the next event itself.
    void run_until_idle() {
        while (run_one()) {
        }
    }
    // The loop of a CPU: runs nodes, serves calls of other CPUs, does idle work, and sleeps.
    [[noreturn]] void run_forever();
    // Sleeps until something is posted, a timer is due, or an interrupt arrives. Returns at once if there is work
    // already.
    void wait_for_work();

    // This CPU only: long kernel work yields (Yield). Pending interrupts are taken, due timers run, and the node goes
    // to the end of its queue, so that ready nodes of its level or above run first. If the work has kept ready user
    // threads waiting for kWorkTurn, the node is queued behind them instead, at their priority; the caller restores its
    // priority when it runs again.
    void give_way(Schedulable& node);
    static constexpr Nanoseconds kWorkTurn{1'000'000};
    // The node was queued behind user threads and runs again; its next turn begins now.
    void restore(Schedulable& node, Priority priority) {
        node.priority = priority;
        work_since_ = hal::Machine::now();
    }

    // Before user mode is entered. Returns false, and the state stays kBusy, if work has arrived.
    bool enter_user_state() {
        UserState::State to = own_turn_goes_on() ? UserState::kOwnTurn : UserState::kUser;
        user_state.enter(to);
        if (undisturbed() && (to == UserState::kOwnTurn || left_out<Step::kLaneLook>() || !service.pending()))
            [[likely]]
            return true;
        user_state.leave();
        return false;
    }
    // The same after a short time in the kernel; cheaper on a CPU that does not serve calls of other CPUs.
    bool enter_user_state_again() {
        if (service.serves()) return enter_user_state();
        user_state.enter(UserState::kUser);
        if (undisturbed()) [[likely]]
            return true;
        user_state.leave();
        return false;
    }
    void leave_user_state() { user_state.leave(); }
    // A user thread could not enter user mode, or left it, because of calls of other CPUs. The caller has
    // already accounted for its time in user mode.
    void keep_out();
    // Calls of other CPUs are pending, and no user thread has its own turn.
    bool must_serve() { return service.pending() && !own_turn_goes_on(); }
    // True when a turn that was granted has ended.
    bool own_turn_over() { return own_turn_.granted() && !look_at_turn(); }

    bool needs_attention() const { return !hal::Machine::is_zero(queue.attention); }
    // By the owner: reads and clears the attention bits. Acquire: pairs with attract().
    u32 take_attention() { return queue.attention.exchange(0, std::memory_order_acquire); }
    // From any CPU. The IPI is sent only if the bit was not set and the CPU would not check by itself.
    void attract(Attention bit);

    TimerQueue& timers() { return timers_; }
    // On this CPU: what is ready here has the CPU in a slice's time at the latest. The slice must not be armed.
    void start_slice();
    Slice slice;
    void run_due_timers();
    // On this CPU, during long work: takes pending interrupts and runs due timers; returns the current time. This is
    // the only way to take interrupts in the kernel: the timer interrupt only says that a timer may be due, and taking
    // it without running the timer queue would lose every timer of the CPU. The caller holds no spinlock.
    Nanoseconds let_interrupts_in();
    // By the owner: moves what other CPUs have posted into the run queue.
    void drain_inbox();

    Schedulable* running() const { return running_; }
    void set_running(Schedulable* s) { running_ = s; }

    // This CPU has nothing to do: it is asleep or looks for work.
    bool idles() const { return user_state.get() == UserState::kSleeping || service.looks(); }
    // Waits for a thread to be handed over, for spin_budget at most; null as soon as there is anything else to do. The
    // CPU is not in user state.
    Schedulable* await_handoff();

    // This CPU spins for spin_budget before it sleeps, although it serves no calls.
    bool polls = false;
    // How long a CPU that serves calls looks for work before it sleeps. Zero: it sleeps at once (more CPUs than the
    // host has).
    static Nanoseconds spin_budget;

    // Called when there is nothing to do, for work that may be done ahead (zeroing frames). Returns true if it did
    // some.
    bool (*idle_work)() = nullptr;
    u64 idle_entries = 0;

    CpuTimes times;
    FreedAtOnce freed_at_once;
    CallSampler sampler;
    CallService service;
    PerCpuEpoch epoch;

private:
    friend class CallService;
    struct Found {
        CallWord* word;  // a pending call, or null
        bool other;      // without a call: there is something else to do
    };
    Found look_for_work();
    // The last check before user mode, after the state is published: no node in the inbox and no attention bit, tested
    // in one branch. seq_cst: pairs with post() and attract().
    bool undisturbed() const {
        const u64 node = reinterpret_cast<u64>(inbox_.look());
        const u64 bits = left_out<Step::kAttentionLook>() ? 0 : queue.attention.load(std::memory_order_seq_cst);
        return (node | bits) == 0;
    }
    bool own_turn_goes_on() { return own_turn_.granted() && look_at_turn(); }
    // Out of line, with this object's address as its only argument: every instruction of its callers counts.
    bool look_at_turn();
    bool look_around();
    bool serve_while_idle();
    // Serves calls as they arrive, until there is something else to do or nothing has arrived for a while.
    template <void (*kServe)(Executor&, CallWord&)>
    [[gnu::aligned(64)]] static CallService::Served serve_words(Executor& ex) {
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

    CpuId cpu_{};
    u32 cpu_bit_ = 0;
    alignas(8) std::byte above_[32] = {};

public:
    RunQueue queue;

private:
    OwnTurn own_turn_;
    Nanoseconds work_since_{};  // when the present long work began to keep user threads waiting
    Schedulable* running_ = nullptr;
    TimerQueue timers_;

    // Fields that other CPUs write or poll: each has a cache line of its own.
public:
    alignas(64) Handoff handoff;

private:
    alignas(64) Inbox inbox_;

public:
    alignas(64) UserState user_state;
};

extern Executor executor_table[lib::kMaxCpus];
inline Executor& Executor::of(CpuId cpu) { return executor_table[cpu.value]; }

template <void (*kServe)(Executor&, CallWord&), void (*kRest)(Executor&)>
CallService::How CallService::serve_with() {
    return serve_with({kServe, &Executor::serve_words<kServe>, kRest});
}

}  // namespace rt
