// SPDX-License-Identifier: MIT
// Timers of one CPU. A Timer may be armed and cancelled from any CPU. Its callback runs on the CPU that owns the queue,
// under the queue's lock (Rank::timer), and may only wake or post a job: it takes no lock of a smaller rank.
#pragma once
#include "lib/tree.hpp"
#include "lib/types.hpp"
#include "rt/spinlock.hpp"

namespace rt {

class TimerQueue;

struct Timer {
    using FireFn = void (*)(Timer&);
    explicit constexpr Timer(FireFn f) : fire(f) {}
    lib::TreeHook hook;
    Nanoseconds deadline{};
    FireFn fire;
    TimerQueue* queue = nullptr;  // the queue it is armed in; written under that queue's lock
    bool armed = false;
};

class TimerQueue {
public:
    // Fires at `deadline` (absolute, on the clock of Machine::now()) or soon after. The timer must not be armed. From
    // any CPU.
    void arm(Timer& t, Nanoseconds deadline) RT_EXCLUDES(lock_);
    // By the owner: fires all due timers; returns the next deadline, or Nanoseconds::never().
    Nanoseconds run_due(Nanoseconds now) RT_EXCLUDES(lock_);
    Nanoseconds next_deadline() RT_EXCLUDES(lock_);
    // For a dump of a machine that may be stuck: the next deadline, and that which the CPU's timer is set to.
    struct Peek {
        Nanoseconds next, set;
    };
    Peek peek() RT_UNCHECKED_LOCKING;

private:
    friend bool cancel_timer(Timer& t);
    struct Key {
        Nanoseconds operator()(const Timer& t) const { return t.deadline; }
    };
    SpinLock<Rank::timer> lock_;
    lib::Tree<Timer, &Timer::hook, Key> tree_ RT_GUARDED_BY(lock_);
    Nanoseconds hardware_ RT_GUARDED_BY(lock_){Nanoseconds::never()};  // the deadline that the CPU's timer is set to
};

// True: the timer was armed and will not fire. False: it has fired (its callback has returned) or was never armed. From
// any CPU.
bool cancel_timer(Timer& t);

}  // namespace rt
