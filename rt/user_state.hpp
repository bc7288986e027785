// SPDX-License-Identifier: MIT
// The state of a CPU as other CPUs see it, and the share of its time that its own user threads get besides the calls of
// other CPUs.
#pragma once
#include "rt/atomic.hpp"
#include "rt/timer.hpp"

namespace rt {

// Written by the owner, read by any CPU. The stores of enter() are seq_cst: see "Sleep and wake-up" in rt/executor.hpp.
class UserState {
public:
    // kUser and kOwnTurn: in user mode, or in a trap or an interrupt that came from there. kOwnTurn: the CPU checks its lanes by
    // itself when the turn is over. The order makes each question below one comparison.
    enum State : u32 { kBusy, kSleeping, kUser, kOwnTurn };

    // Before the owner enters user mode or sleeps: visible before the owner's next read.
    void enter(State to) { state_.store(to, std::memory_order_seq_cst); }
    void leave() { state_.store(kBusy, std::memory_order_relaxed); }
    State get() const { return State(state_.load(std::memory_order_seq_cst)); }
    bool in_user_mode() const { return get() >= kUser; }
    // For a CPU that has a call for this one: this CPU does not check its lanes until it gets an interrupt.
    bool must_be_told() const {
        State s = get();
        return s == kUser || s == kSleeping;
    }

private:
    Atomic<u32> state_{kBusy};
};

// A CPU that serves calls of other CPUs makes its own user threads wait while calls are pending, but not for ever:
// after kKeptOut without progress, a thread gets the CPU for kTurn while calls wait. Used by the owner only; the turn's
// timer is in its queue.
class OwnTurn {
public:
    static constexpr Nanoseconds kKeptOut{4'000'000}, kTurn{1'000'000};
    // Nanoseconds in user mode between two calls of keep_out() that count as progress.
    static constexpr u64 kProgress = 20'000;

    bool granted() const { return granted_; }
    // For a turn that is granted: true while it is not over. It begins at the first call, before user mode is entered.
    bool look(TimerQueue& timers);
    // A user thread was kept out of user mode. Returns how often that has happened in the present period.
    u64 kept_out() { return ++times_; }
    // Ends the present period if it is kKeptOut long, and grants a turn if there was no progress. `user_ns`: the CPU's
    // time in user mode so far.
    void judge(Nanoseconds now, u64 user_ns);

private:
    bool granted_ = false;
    Nanoseconds until_{};         // zero: not begun
    Timer timer_{[](Timer&) {}};  // only its interrupt is needed
    Nanoseconds kept_out_since_{};
    u64 times_ = 0, user_ns_then_ = 0;
};

}  // namespace rt
