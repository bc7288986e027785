// SPDX-License-Identifier: MIT
// Timer queues: a tree ordered by deadline; the CPU's one-shot timer is set to the first.
#include "rt/timer.hpp"

#include "rt/executor.hpp"

namespace rt {

void TimerQueue::arm(Timer& t, Nanoseconds deadline) {
    LockGuard guard{lock_};
    RT_ASSERT(!t.armed, "timer armed twice");
    t.deadline = deadline;
    t.queue = this;
    t.armed = true;
    tree_.insert(t);
    // Only the owner may program its timer; another CPU asks the owner to do so.
    if (deadline < hardware_) {
        if (this == &Executor::current().timers()) {
            hardware_ = deadline;
            hal::Machine::arm_timer(deadline);
        } else {
            for (u32 i = 0; i < executor_count(); ++i)
                if (Executor& ex = Executor::of(CpuId{i}); &ex.timers() == this) ex.attract(kAttnTimer);
        }
    }
}

Nanoseconds TimerQueue::run_due(Nanoseconds now) {
    // In a trap of a user thread, what a timer posts would arm the slice, under the lock that is taken here.
    RT_ASSERT(Executor::current().user_state.get() == UserState::kBusy, "timers run in user state");
    LockGuard guard{lock_};
    Timer* t;
    while ((t = tree_.first()) && t->deadline <= now) {
        tree_.remove(*t);
        t->armed = false;
        t->fire(*t);
    }
    Nanoseconds next = t ? t->deadline : Nanoseconds::never();
    if (next != hardware_ || next <= now) {
        hardware_ = next;
        if (next == Nanoseconds::never())
            hal::Machine::disarm_timer();
        else
            hal::Machine::arm_timer(next);
    } else if (t) {
        hal::Machine::arm_timer(next);  // one-shot: it may have fired early
    }
    return next;
}

Nanoseconds TimerQueue::next_deadline() {
    LockGuard guard{lock_};
    Timer* t = tree_.first();
    return t ? t->deadline : Nanoseconds::never();
}

TimerQueue::Peek TimerQueue::peek() {
    Timer* t = tree_.first();
    return {t ? t->deadline : Nanoseconds::never(), hardware_};
}

bool cancel_timer(Timer& t) {
    TimerQueue* q = t.queue;
    if (!q) return false;
    LockGuard guard{q->lock_};
    if (!t.armed) return false;
    q->tree_.remove(t);
    t.armed = false;
    return true;
}

}  // namespace rt
