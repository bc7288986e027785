// SPDX-License-Identifier: MIT
// The queues of endpoints and notifications, and their ends.
#include "core/ipc/wait.hpp"

#include "core/ipc/ipc.hpp"

namespace core {

void Waitable::insert(NativeThread& t) {
    NativeThread* after = last_;
    while (after && after->priority > t.priority) after = after->wait_prev;
    t.wait_prev = after;
    t.wait_next = after ? after->wait_next : first_;
    (t.wait_prev ? t.wait_prev->wait_next : first_) = &t;
    (t.wait_next ? t.wait_next->wait_prev : last_) = &t;
    changed();
}

void Waitable::take_out(NativeThread& t) {
    (t.wait_prev ? t.wait_prev->wait_next : first_) = t.wait_next;
    (t.wait_next ? t.wait_next->wait_prev : last_) = t.wait_prev;
    t.wait_prev = t.wait_next = nullptr;
    changed();
}

void Endpoint::changed() {
    NativeThread* t = first();
    if (t && t->state.load(std::memory_order_relaxed) != native::kStateReceiving) t = nullptr;
    receiver.store(t, std::memory_order_relaxed);
    closed.store(dead || (first() && !t), std::memory_order_relaxed);
}

ObjectLock* lock_of(Object& o) {
    switch (o.type) {
        case native::kTypeEndpoint:
        case native::kTypeNotification: return &static_cast<Waitable&>(o).lock;
        case native::kTypeSched: return &static_cast<Sched&>(o).lock;
        default: return nullptr;
    }
}

namespace {

// Ends the waits of all; false: more to do.
bool end_waits(Waitable& at, u32& budget) {
    for (;;) {
        NativeThread* t;
        bool trapped;
        {
            ObjectGuard guard{at.lock};
            at.mark_dead();
            t = at.first();
            if (!t) return true;
            if (budget == 0) return false;
            --budget;
            at.take_out(*t);
            trapped = t->state.load(std::memory_order_relaxed) == native::kStateSending &&
                      t->queued_as != NativeThread::Expects::kMessage;
            t->state.store(native::kStateReady, std::memory_order_relaxed);
        }
        t->drop_timeout();
        if (trapped) t->trap_again(t->queued_as);
        if (trapped)
            t->stop();
        else
            t->wake_with(Errno::kIdRm);
    }
}

}  // namespace

bool Endpoint::end(u32& budget, Endings&) { return end_waits(*this, budget); }

bool Notification::end(u32& budget, Endings&) { return end_waits(*this, budget); }

bool Reply::end(u32&, Endings&) {
    close(slot);
    return true;
}

}  // namespace core
