// SPDX-License-Identifier: MIT
// Where a CPU is, as the others see it, and how its own user threads get their share of it from the calls of other CPUs.
#pragma once
#include "rt/atomic.hpp"
#include "rt/timer.hpp"

namespace rt {

// Written by the owner, read by any CPU. The stores of enter() are seq_cst: see "sleep and wake" in rt/executor.hpp.
class UserState {
public:
    // kOwnTurn: in user mode, and looks at its lanes by itself when the turn is over.
    enum State : u32 { kBusy, kUser, kOwnTurn, kSleeping };

    // About to leave the kernel, or to sleep: visible before whatever the owner reads next.
    void enter(State to) { state_.store(to, std::memory_order_seq_cst); }
    void leave() { state_.store(kBusy, std::memory_order_relaxed); }
    State get() const { return State(state_.load(std::memory_order_seq_cst)); }
    bool in_user_mode() const {
        State s = get();
        return s == kUser || s == kOwnTurn;
    }
    // For who has a call there: this CPU does not look at its lanes before it is told to.
    bool must_be_told() const {
        State s = get();
        return s == kUser || s == kSleeping;
    }

private:
    Atomic<u32> state_{kBusy};
};

// A CPU that serves others' calls lets its own user threads wait while calls are pending, but not for ever: after kKeptOut
// without progress a thread has the CPU for kTurn, and calls wait. The owner's alone; the turn's timer is in its queue.
class OwnTurn {
public:
    static constexpr Nanoseconds kKeptOut{4'000'000}, kTurn{1'000'000};
    static constexpr u64 kProgress = 20'000;  // ns in user mode, from one time to be kept out to the next: enough

    bool granted() const { return granted_; }
    // Of one that is granted: is it not over? It begins when user mode is entered first.
    bool look(TimerQueue& timers);
    // A user thread was kept out of user mode; user_ns: the CPU's time in user mode so far. How often, counted from the
    // start of the present spell.
    u64 kept_out() { return ++times_; }
    void judge(Nanoseconds now, u64 user_ns);

private:
    bool granted_ = false;
    Nanoseconds until_{};         // zero: not begun
    Timer timer_{[](Timer&) {}};  // its interrupt is all that is wanted
    Nanoseconds kept_out_since_{};
    u64 times_ = 0, user_ns_then_ = 0;
};

}  // namespace rt
