// SPDX-License-Identifier: MIT
// One executor per CPU: a run queue of Schedulable nodes, an inbox that other CPUs push to, the CPU's timers, and its service
// for calls of other CPUs. Each part has its own file and invariants; what needs several of them at once is here.
//
// The run queue is touched by its own CPU only, without a lock; other CPUs reach it through post(). Nothing here allocates.
//
// Sleep and wake: the executor publishes its UserState (user or sleeping) and then looks at the inbox and at the attention
// bits once more; a sender pushes, or sets its bit, and then reads the state. Both sides are seq_cst, so one of them sees the
// other (tests/models/inbox.pml). A bit that is set while the CPU is in user mode or asleep therefore has an interrupt under
// way, and later senders of that bit may rely on it. kick() of a thread counts as a bit: the flag is set before.
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
#include "rt/timer.hpp"
#include "rt/user_state.hpp"

namespace rt {

// Why a CPU should look up before it goes back to user mode. Set by any CPU, cleared by the owner.
enum Attention : u32 {
    kAttnInbox = 1,       // something was posted
    kAttnTimer = 2,       // the timer interrupt came
    kAttnReschedule = 4,  // give the next thread a turn
    kAttnEpoch = 8,       // somebody waits for this CPU to be quiescent
};

// What a CPU did, nanoseconds; the rest is kernel. Written by the owner, read anywhere.
struct CpuTimes {
    Atomic<u64> user_ns{0}, idle_ns{0};
    Atomic<u64> asleep_since{0};  // 0: awake
    u64 user() const { return user_ns.load(std::memory_order_relaxed); }
    void add_user(u64 ns) { user_ns.store(user() + ns, std::memory_order_relaxed); }
    void add_idle(u64 ns) { idle_ns.store(idle_ns.load(std::memory_order_relaxed) + ns, std::memory_order_relaxed); }
    // With the sleep that goes on.
    u64 idle_until(Nanoseconds now) const {
        u64 since = asleep_since.load(std::memory_order_relaxed);
        return idle_ns.load(std::memory_order_relaxed) + (since != 0 && since < now.value ? now.value - since : 0);
    }
};

class alignas(64) Executor {
public:
    static Executor& current() { return *static_cast<Executor*>(hal::Machine::local()); }
    static Executor& of(CpuId cpu);
    // Binds the calling CPU to its executor; once per CPU, before anything else of rt/.
    static Executor& start(CpuId cpu);

    CpuId cpu() const { return cpu_; }
    u32 cpu_bit() const { return cpu_bit_; }  // in a set of CPUs

    // What the layer above keeps for each CPU: one trivial type, zero at first, the owner's alone.
    template <class T>
    T& above() {
        static_assert(sizeof(T) <= sizeof above_ && alignof(T) <= 8 && std::is_trivially_copyable_v<T>);
        return *std::launder(reinterpret_cast<T*>(above_));
    }

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

    // This CPU only: long work of the kernel gives way (Yield). Pending interrupts are taken, due timers run, and the node
    // goes to the end of its queue, so that what is ready at its level or above runs first. Work that has kept ready user
    // threads waiting for kWorkTurn goes behind them instead: the caller restores the node's priority when it runs again.
    void give_way(Schedulable& node);
    static constexpr Nanoseconds kWorkTurn{1'000'000};
    // It was behind the user threads and has its turn again, which begins now.
    void restore(Schedulable& node, Priority priority) {
        node.priority = priority;
        work_since_ = hal::Machine::now();
    }

    // About to enter user mode: returns false (and stays busy) if work has come meanwhile.
    bool enter_user_state() {
        UserState::State to = own_turn_goes_on() ? UserState::kOwnTurn : UserState::kUser;
        user_state.enter(to);
        if (undisturbed() && (to == UserState::kOwnTurn || left_out<Step::kLaneLook>() || !service.pending()))
            [[likely]]
            return true;
        user_state.leave();
        return false;
    }
    // The same after a short absence, on a CPU that serves nobody.
    bool enter_user_state_again() {
        if (service.serves()) return enter_user_state();
        user_state.enter(UserState::kUser);
        if (undisturbed()) [[likely]]
            return true;
        user_state.leave();
        return false;
    }
    void leave_user_state() { user_state.leave(); }
    // A user thread could not enter user mode, or has left it, because of calls of other CPUs. Its time is accounted.
    void keep_out();
    // Calls of other CPUs are pending, and it is not a user thread's turn.
    bool must_serve() { return service.pending() && !own_turn_goes_on(); }
    // Does a turn end now?
    bool own_turn_over() { return own_turn_.granted() && !look_at_turn(); }

    bool needs_attention() const { return !hal::Machine::is_zero(queue.attention); }
    u32 take_attention() { return queue.attention.exchange(0, std::memory_order_acquire); }
    // From any CPU. The IPI is sent only if the bit was not set and the CPU would not look by itself.
    void attract(Attention bit);

    TimerQueue& timers() { return timers_; }
    void run_due_timers();
    // On this CPU, in work that goes on for long: pending interrupts are taken, and due timers run; returns the time then.
    // The only way to take interrupts in the kernel: that of the timer says nothing by itself, and who takes it and does not
    // look at the queue loses every timer of the CPU. No spinlock is held.
    Nanoseconds let_interrupts_in();
    void drain_inbox();

    Schedulable* running() const { return running_; }
    void set_running(Schedulable* s) { running_ = s; }

    // Nothing to do here: asleep, or looking for work.
    bool idles() const { return user_state.get() == UserState::kSleeping || service.looks(); }
    // Waits for a thread by hand-off, for spin_budget at most; null as soon as there is anything else to do. Not in user
    // state.
    Schedulable* await_handoff();

    // Spins for spin_budget before it sleeps, though it serves nobody.
    bool polls = false;
    // A CPU that serves looks for work this long before it sleeps. Zero: it sleeps at once (more CPUs than the host has).
    static Nanoseconds spin_budget;

    // Called when there is nothing to do, with work that may be done ahead (zeroing frames); true: it did some.
    bool (*idle_work)() = nullptr;
    u64 idle_entries = 0;

    CpuTimes times;
    CallSampler sampler;
    CallService service;
    PerCpuEpoch epoch;

private:
    friend class CallService;
    struct Found {
        CallWord* word;  // pending; or null:
        bool other;      // there is something else to do
    };
    Found look_for_work();
    // The last look before user mode, after the state says so: neither a node in the inbox nor an attention bit. Both in one
    // branch. seq_cst: pairs with post() and attract().
    bool undisturbed() const {
        const u64 node = reinterpret_cast<u64>(inbox_.look());
        const u64 bits = left_out<Step::kAttentionLook>() ? 0 : queue.attention.load(std::memory_order_seq_cst);
        return (node | bits) == 0;
    }
    bool own_turn_goes_on() { return own_turn_.granted() && look_at_turn(); }
    // Out of line, and with this object's address alone: its callers are counted in single instructions.
    bool look_at_turn();
    bool look_around();
    bool serve_while_idle();
    // Serves words as they come, until there is something else to do, or nothing came for a while.
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
    Nanoseconds work_since_{};  // when the work that gives way began to keep user threads waiting
    Schedulable* running_ = nullptr;
    TimerQueue timers_;

    // What other CPUs write or look at: a line each.
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
