// SPDX-License-Identifier: MIT
// The queues of pending signals: see QueuedSignal. The owner's SignalState::lock is held.
#include "linux/signal/signal_queue.hpp"

#include "linux/task/itimer.hpp"
#include "rt/mem/slab.hpp"
#include "rt/teardown.hpp"

namespace linux {
namespace {

// Of one number; null: none came with information.
QueuedSignal* oldest_of(PendingSignals& q, u32 sig) {
    for (QueuedSignal& e : q.oldest)  // at most kSignals
        if (e.info.signo == i32(sig)) return &e;
    return nullptr;
}

constexpr u32 kFreedAtOnce = 16;  // of one chain
constexpr u32 kFreedInATurn = 256;
constexpr u32 kCountedOutAtOnce = 4096;  // of all; the counts of what is beyond go down with its memory

// Chains that no thread looks at any more; some entries of one a turn.
constinit rt::TeardownList<QueuedSignal, &QueuedSignal::last> ending{[](QueuedSignal& oldest) {
    for (u32 n = 0; oldest.next; ++n) {
        if (n == kFreedInATurn) return true;
        QueuedSignal* e = oldest.next;
        oldest.next = e->next;
        delete e;
    }
    delete &oldest;
    return false;
}};

// Frees chains; what is long, later.
class Drop {
public:
    void add(QueuedSignal& oldest) {
        QueuedSignal* e = &oldest;
        const bool later = rt::Teardown::later();
        for (u32 n = 0; e && (n < kFreedAtOnce || !later); ++n) delete std::exchange(e, e->next);
        if (!e) return;
        count_out(e);
        ending.add(*e);
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

    u32 left_ = kCountedOutAtOnce;
};

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
