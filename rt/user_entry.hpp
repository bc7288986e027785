// SPDX-License-Identifier: MIT
// The way of a user thread into user mode: what a CPU looks at, in which order, and what it does about it. Templates of
// the thread, so that tests/explore runs them with threads of its own; the kernel's thread is core::Thread.
//
// All of it runs on the thread's home CPU with interrupts off, and blocks nowhere. Others reach the thread by kick(),
// from any CPU, and its CPU by post() and attract().
#pragma once
#include "rt/executor.hpp"

namespace rt {

// Where a thread runs. set() by whoever owns the thread, which is in no queue and on no CPU then.
class Home {
public:
    Executor& get() const { return *at_.load(std::memory_order_relaxed); }
    // For a CPU that has just made a seq_cst store to the thread (kick): the new home of a thread that moves sees that
    // store, or this sees the new home.
    Executor& seen_now() const { return *at_.load(std::memory_order_seq_cst); }
    void set(Executor& ex) { at_.store(&ex, std::memory_order_release); }
    const Atomic<Executor*>& word() const { return at_; }

private:
    Atomic<Executor*> at_{nullptr};
};

// A thread. `kicked` is set by kick(), from any CPU, and looked at on every way to user mode.
template <class T>
concept EntersUser = std::is_base_of_v<Schedulable, T> && requires(T& t, Executor& ex, bool b) {
    t.kicked.load();
    t.home();
    t.home_seen_now();              // both of Home
    t.account_user(Nanoseconds{});  // its time in user mode ends
    t.handle_kick();                // its owner sees to `kicked`; it may be gone afterwards
    t.start_slice(ex);              // it is about to enter
    t.turn_ended(Nanoseconds{});    // it goes to the end of its queue
    bool{t.gives_turn(ex, b)};      // a turn is over, its slice (true) or one granted: does another thread get the CPU?
};

template <EntersUser T>
void kick(T& t) {
    t.kicked.store(true, std::memory_order_seq_cst);  // pairs with the look in enter_user()
    // In a trap of its own it looks on its way out.
    Executor& ex = t.home_seen_now();
    if (&ex == &Executor::current() && ex.running() == &t) return;
    ex.attract(kAttnInbox);
}

// From the executor's loop, everything of the thread in place. True: into user mode. False: it was kicked, and its
// owner has it; or something else comes first, and it is at the front of its queue.
template <EntersUser T>
[[gnu::always_inline]] inline bool enter_user(Executor& ex, T& t) {
    // From here on a sender that finds this CPU in user state sends an IPI; what came before is looked at again. A kick
    // may have come while the thread was queued: its attention bit is gone.
    if (ex.enter_user_state() && (left_out<Step::kKickLook>() || !t.kicked.load(std::memory_order_seq_cst))) [[likely]]
        return true;
    ex.leave_user_state();
    t.account_user(hal::Machine::now());
    if (t.kicked.load(std::memory_order_relaxed)) {
        t.handle_kick();
        return false;
    }
    ex.keep_out();
    ex.enqueue_front(t);
    return false;
}

// The same for one that another CPU has just given this one (Executor::await_handoff). ready() says whether anything of
// the thread itself stands in the way, a kick too: one that comes later has set the bit that is looked at behind it.
// False: the thread is queued, at its home.
template <EntersUser T, class Ready>
[[gnu::always_inline]] inline bool enter_given(Executor& ex, T& t, Ready&& ready) {
    if (ex.queue.pressing() == 0 && ready() && ex.enter_user_state_again()) [[likely]]
        return true;
    if (&t.home() == &ex)
        ex.enqueue_front(t);
    else
        t.home().post(t);
    return false;
}

// t, in a trap of its own, has made other threads ready, in user state. True: one of them is more urgent, and t waits at the
// front of its queue; the CPU is the executor's. Looked at behind that, not decided before: where a thread is ready, its home
// says, which may have changed until then.
template <EntersUser T>
[[gnu::always_inline]] inline bool gives_way(Executor& ex, T& t) {
    if (left_out<Step::kAboveLook>() || !ex.queue.has_above(t.priority)) [[likely]]
        return false;
    ex.leave_user_state();
    t.account_user(hal::Machine::now());
    ex.enqueue_front(t);
    return true;
}

// At the end of a trap, in user state: is there anything to be seen to first? Relaxed: what comes later sends an
// interrupt.
template <EntersUser T>
[[gnu::always_inline]] inline bool must_look_up(const T& t) {
    return Executor::current().needs_attention() || !hal::Machine::is_zero(t.kicked);
}

// The thread that trapped goes back, and there is (or it is time to look). True: back to user mode. False: the CPU is
// the executor's, the thread is queued or its owner has it.
template <EntersUser T>
[[gnu::always_inline]] inline bool return_to_user(Executor& ex, T& t) {
    do {
        ex.leave_user_state();
        u32 why = 0;
        while (u32 bits = ex.take_attention()) {
            why |= bits;
            if (bits & kAttnTimer) ex.run_due_timers();
            if (bits & kAttnEpoch) {
                quiescent();
                quiescent();
            }
        }
        ex.drain_inbox();
        if (t.kicked.load(std::memory_order_relaxed)) {
            t.account_user(hal::Machine::now());
            t.handle_kick();
            return false;
        }
        bool reschedule = false, turned = why & kAttnReschedule;
        if (turned || ex.own_turn_over()) reschedule = t.gives_turn(ex, turned);
        // Calls of other CPUs wait here too: the executor's loop serves them, with no trap of a thread around.
        bool serve = ex.must_serve();
        if (reschedule || ex.queue.has_above(t.priority) || serve) {
            const Nanoseconds now = hal::Machine::now();
            t.account_user(now);
            if (serve) ex.keep_out();
            if (reschedule) {
                t.turn_ended(now);
                ex.enqueue(t);
            } else {
                ex.enqueue_front(t);
            }
            return false;
        }
        t.start_slice(ex);
    } while (!ex.enter_user_state() || t.kicked.load(std::memory_order_seq_cst));
    hal::Machine::poll_mailbox();
    return true;
}

}  // namespace rt
