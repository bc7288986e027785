// SPDX-License-Identifier: MIT
// The queues of pending signals: see QueuedSignal. The owner's SignalState::lock is held.
#include "linux/signal/signal_queue.hpp"

#include "linux/task/itimer.hpp"
#include "rt/mem/slab.hpp"
#include "rt/reclaim.hpp"
#include "rt/schedulable.hpp"

namespace linux {
namespace {

// Of one number; null: none came with information.
QueuedSignal* oldest_of(PendingSignals& q, u32 sig) {
    for (QueuedSignal& e : q.oldest)  // at most kSignals
        if (e.info.signo == i32(sig)) return &e;
    return nullptr;
}

constexpr u32 kFreedAtOnce = 16;         // of one chain
constexpr u32 kCountedOutAtOnce = 4096;  // of all; the counts of what is beyond go down with its memory

// Frees a chain that is not used any more; a long one by a job, some entries per run.
class Drop {
public:
    void add(QueuedSignal& oldest) {
        QueuedSignal* last = oldest.last;
        QueuedSignal* e = &oldest;
        const bool later = rt::Reclaimer::later.load(std::memory_order_relaxed);
        for (u32 n = 0; e && (n < kFreedAtOnce || !later); ++n) delete std::exchange(e, e->next);
        if (!e) return;
        count_out(e);
        free_later(*e, *last);
    }

private:
    // About 13 instructions each: nearly all of a chain are one user's.
    void count_out(QueuedSignal* e) {
        fs::UserAccount* account = nullptr;
        u64 n = 0;
        for (; e && left_ != 0; e = e->next, --left_, ++n) {
            e->counted = false;
            if (e->account.get() == account) [[likely]]
                continue;
            if (account) account->signals.fetch_sub(n, std::memory_order_relaxed);
            account = e->account.get();
            n = 0;
        }
        if (account) account->signals.fetch_sub(n, std::memory_order_relaxed);
    }

    static constinit std::atomic<QueuedSignal*> first;
    static constinit std::atomic<bool> working;  // the job is in a queue, or runs

    static void free_later(QueuedSignal& from, QueuedSignal& to) {
        static constinit rt::Schedulable job{&Drop::work};
        QueuedSignal* head = first.load(std::memory_order_relaxed);
        do {
            to.next = head;
        } while (!first.compare_exchange_weak(head, &from, std::memory_order_seq_cst));
        if (!working.exchange(true, std::memory_order_seq_cst)) rt::Executor::current().enqueue(job);
    }
    static void work(rt::Schedulable& self) {
        static constinit QueuedSignal* in_work = nullptr;
        constexpr u32 kPiece = 256;
        if (!in_work) in_work = first.exchange(nullptr, std::memory_order_acq_rel);
        for (u32 n = 0; in_work && n < kPiece; ++n) delete std::exchange(in_work, in_work->next);
        if (!in_work && !first.load(std::memory_order_acquire)) {
            working.store(false, std::memory_order_seq_cst);
            // Pairs with free_later(), which adds and then checks for a job. One of them sees the other.
            if (!first.load(std::memory_order_seq_cst) || working.exchange(true, std::memory_order_seq_cst)) return;
        }
        rt::Executor& ex = rt::Executor::current();
        ex.let_interrupts_in();
        ex.enqueue(self);
    }

    u32 left_ = kCountedOutAtOnce;
};
constinit std::atomic<QueuedSignal*> Drop::first{nullptr};
constinit std::atomic<bool> Drop::working{false};

}  // namespace

void PendingSignals::drop(SignalSet which) {
    if ((set.bits & which.bits) == 0) return;
    set.bits &= ~which.bits;
    Drop drop;
    for (QueuedSignal* e = oldest.front(); e;) {
        QueuedSignal* next = oldest.next(*e);
        if (which.has(u32(e->info.signo))) {
            e->hook.unlink();
            drop.add(*e);
        }
        e = next;
    }
}

Result<void> enqueue_signal(Process& p, PendingSignals& q, const SignalInfo& info) {
    u32 sig = u32(info.signo);
    bool realtime = sig >= 32;
    if (!realtime && q.set.has(sig)) return lib::kOk;
    QueuedSignal* e = nullptr;
    const fs::UserAccount* account = p.signals.account;
    const u64 queued = account ? account->signals.load(std::memory_order_relaxed) : 0;
    if (queued < p.limit(kRlimSigpending) || (!realtime && info.code >= 0))
        e = rt::make<QueuedSignal>(info, Ref<fs::UserAccount>{p.signals.account});
    if (e) {
        if (QueuedSignal* oldest = q.set.has(sig) ? oldest_of(q, sig) : nullptr)
            oldest->last = oldest->last->next = e;
        else
            q.oldest.push_back(*e);
    } else if (realtime && info.code != kSiUser && info.code != kSiKernel) {
        return Errno::kAgain;
    }
    q.set.add(sig);
    return lib::kOk;
}

void dequeue_signal(Process& p, PendingSignals& q, u32 sig, SignalInfo* out) {
    QueuedSignal* found = oldest_of(q, sig);
    if (out) *out = found ? found->info : user_signal(sig, kSiUser, 0, 0);
    if (sig == kSigAlrm && &q == &p.signals.pending) alarm_taken(p);
    if (!found || !found->next) q.set.remove(sig);
    if (!found) return;
    if (QueuedSignal* next = found->next) {
        next->last = found->last;
        q.oldest.insert_before(*found, *next);
    }
    found->hook.unlink();
    delete found;
}

const SignalInfo* first_info(PendingSignals& q, u32 sig) {
    const QueuedSignal* e = oldest_of(q, sig);
    return e ? &e->info : nullptr;
}

}  // namespace linux
