// SPDX-License-Identifier: MIT
// Sending signals: queues, job control's side effects, and the choice of a thread (signal(7), kernel/signal.c's rules
// as the manual pages give them). Everything is done under the receiver's SignalState::lock.
#include "linux/signal/signal.hpp"

#include "linux/signal/signal_queue.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/process.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

SignalInfo kernel_signal(u32 sig) {
    SignalInfo i;
    i.signo = i32(sig);
    i.code = kSiKernel;
    return i;
}

SignalInfo user_signal(u32 sig, i32 code, i32 pid, u32 uid) {
    SignalInfo i;
    i.signo = i32(sig);
    i.code = code;
    i.from.pid = pid;
    i.from.uid = uid;
    return i;
}

SignalAction get_action(Process& p, u32 sig) {
    ActionTable& a = *p.signals.actions;
    rt::LockGuard guard{a.lock};
    return a.at[sig];
}

SignalAction look_up_action(Process& p, u32 sig) {
    rt::LockGuard guard{p.signals.lock};
    return get_action(p, sig);
}

namespace {

// Loops over the threads of a process hold its lock: they do a few instructions for each that has nothing to do.
void flush_everywhere(Process& p, SignalSet which) RT_REQUIRES(p.signals.lock) {
    p.signals.pending.drop(which);
    for (Thread& t : p.threads)
        if ((t.pending.set.bits & which.bits) != 0) [[unlikely]]
            t.pending.drop(which);
}

// Threads from signals.stop_next on learn that they are to stop. Each that does tells more: a notification is some hundred
// instructions. A vfork parent does not wake for it; it sees it when its child lets it go on.
void tell_some_to_stop(Process& p) RT_REQUIRES(p.signals.lock) {
    constexpr u32 kAtOnce = 64;
    for (u32 n = 0; n < kAtOnce && p.signals.stop_next;) {
        Thread& t = *p.signals.stop_next;
        p.signals.stop_next = p.threads.next(t);
        if (!t.stop_pending) continue;
        if (t.vforking) {
            t.work.fetch_or(kWorkStop, std::memory_order_seq_cst);
            continue;
        }
        t.notify(kWorkStop);
        ++n;
    }
}

// A stop signal removes a pending SIGCONT and the reverse, even if they are blocked or ignored.
void job_control(Process& p, u32 sig) RT_REQUIRES(p.signals.lock) {
    if (kStopSignals.has(sig)) {
        flush_everywhere(p, signals_of(kSigCont));
    } else if (sig == kSigCont) {
        flush_everywhere(p, kStopSignals);
        if (p.signals.stop_signal == 0) return;
        // Also of a stop that has only begun.
        p.signals.report = SignalState::kReportContinued;
        p.signals.continue_unreported = true;
        p.signals.stop_signal = 0;
        p.signals.to_stop = 0;
        p.signals.stop_next = nullptr;
        p.signals.stopped = p.signals.stop_unreported = false;
        for (Thread& t : p.threads) t.stop_pending = false;
        p.signals.resumed.wake_all();
    }
}

bool is_ignored(const SignalAction& a, u32 sig) {
    return a.handler == kSigIgnore || (a.handler == kSigDefault && kIgnoredByDefault.has(sig));
}

Result<void> send_locked(Process& p, Thread* target, const SignalInfo& info) RT_REQUIRES(p.signals.lock) {
    u32 sig = u32(info.signo);
    if (p.threads.empty() || p.group_exiting) return lib::kOk;
    job_control(p, sig);
    Thread& looked_at = target ? *target : *p.threads.front();
    SignalAction action = get_action(p, sig);
    if (!looked_at.blocked.has(sig) && is_ignored(action, sig)) {
        // SIGCONT has continued the group above; the signal itself need not be delivered.
        return lib::kOk;
    }
    if (sig == kSigKill) {
        end_group_locked(p, i32(sig));
        return lib::kOk;
    }
    TRY(enqueue_signal(p, target ? target->pending : p.signals.pending, info));
    p.signals.arrived.wake_all();
    if (p.signals.stopped) return lib::kOk;
    Thread* chosen = nullptr;
    if (target) {
        if (!target->exiting && !target->blocked.has(sig)) chosen = target;
    } else {
        for (Thread& t : p.threads)
            if (!t.exiting && !t.blocked.has(sig)) {
                chosen = &t;
                break;
            }
    }
    if (!chosen) return lib::kOk;
    // Another thread may have it blocked, so that even a signal that is ignored by default gets here.
    if (action.handler == kSigDefault && !kStopSignals.has(sig) && !kCoreSignals.has(sig) &&
        !kIgnoredByDefault.has(sig))
        end_group_locked(p, i32(sig));
    else
        chosen->notify(kWorkSignal);
    return lib::kOk;
}

}  // namespace

void find_takers(Process& p, u64 signals, const Thread* but) {
    for (Thread& t : p.threads) {
        if ((signals & ~t.blocked.bits) == 0 || &t == but || t.exiting) continue;
        signals &= t.blocked.bits;
        t.notify(kWorkSignal);
        if (signals == 0) return;
    }
}

void one_less_to_stop(Process& p) {
    if (--p.signals.to_stop == 0 && p.signals.stop_signal != 0) {
        p.signals.stopped = p.signals.stop_unreported = true;
        p.signals.report = SignalState::kReportStopped;
    }
    if (p.signals.stop_next) tell_some_to_stop(p);
}

void flush_signal(Process& p, u32 sig) { flush_everywhere(p, signals_of(sig)); }

// ---- Sending ----

Result<void> send_signal(Process& to, const SignalInfo& info) {
    rt::LockGuard guard{to.signals.lock};
    return send_locked(to, nullptr, info);
}

Result<void> send_signal(Thread& to, const SignalInfo& info) {
    rt::LockGuard guard{to.process().signals.lock};
    if (to.exiting) return lib::kOk;
    return send_locked(to.process(), &to, info);
}

void force_signal(Thread& t, const SignalInfo& info) {
    Process& p = t.process();
    u32 sig = u32(info.signo);
    rt::LockGuard guard{p.signals.lock};
    bool blocked = t.blocked.has(sig);
    {
        ActionTable& a = *p.signals.actions;
        rt::LockGuard actions{a.lock};
        if (blocked || a.at[sig].handler == kSigIgnore) a.at[sig].handler = kSigDefault;
    }
    if (blocked) t.blocked.remove(sig);
    (void)enqueue_signal(p, t.pending, info);
    t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
}

void end_group_locked(Process& p, i32 wait_status) {
    if (p.group_exiting) return;
    p.group_exiting = true;
    p.group_exit_status = wait_status;
    p.signals.report = 0;
    p.signals.exit_next = p.threads.front();
    tell_some_to_exit(p);
    p.signals.resumed.wake_all();
}

void tell_some_to_exit(Process& p) {
    constexpr u32 kAtOnce = 64;
    for (u32 n = 0; n < kAtOnce && p.signals.exit_next; ++n) {
        Thread& t = *p.signals.exit_next;
        p.signals.exit_next = p.threads.next(t);
        if (&t == p.execing && !p.group_exiting) continue;
        t.notify(kWorkExit);
        if (t.vforking) t.vforking->queue.wake_all();
    }
}

void begin_group_exit(Process& p, i32 wait_status) {
    rt::LockGuard guard{p.signals.lock};
    end_group_locked(p, wait_status);
}

void tell_parent(Process& child, i32 code, i32 status) {
    Process* parent = child.parent;
    if (!parent) return;
    SignalInfo info;
    info.signo = kSigChld;
    info.code = code;
    info.child.pid = child.pid.value;
    info.child.status = status;
    {
        rt::LockGuard guard{child.lock};
        info.child.uid = child.creds->uid;
    }
    Usage u = child.usage();
    info.child.utime = u.times.user / 10'000'000;
    info.child.stime = u.times.system / 10'000'000;
    SignalAction action = look_up_action(*parent, kSigChld);
    if (action.handler != 1 && !(action.flags & kSaNoCldStop)) (void)send_signal(*parent, info);
    parent->child_changed.wake_all();
}

// ---- Masks and questions ----

bool has_deliverable(Process& p, Thread& t) {
    return ((t.pending.set.bits | p.signals.pending.set.bits) & ~t.blocked.bits) != 0;
}

void set_blocked(Thread& t, SignalSet to) {
    to.bits &= ~kUnblockable.bits;
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    u64 newly = to.bits & ~t.blocked.bits;
    t.blocked = to;
    if (has_deliverable(p, t)) t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
    // What the process has pending and this thread no longer takes, another may.
    if (u64 left = newly & p.signals.pending.set.bits; left != 0) [[unlikely]]
        find_takers(p, left, &t);
}

void leave_signals(Thread& t) {
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    t.exiting = true;
    if (t.stop_pending) {
        t.stop_pending = false;
        one_less_to_stop(p);
    }
    if (p.signals.pending.set.bits != 0) find_takers(p, p.signals.pending.set.bits, &t);
}

bool has_pending(Thread& t, SignalSet wanted) {
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    return ((t.pending.set.bits | p.signals.pending.set.bits) & wanted.bits) != 0;
}

bool take_signal(Thread& t, SignalSet wanted, SignalInfo& out) {
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    for (PendingSignals* q : {&t.pending, &p.signals.pending}) {
        u64 ready = q->set.bits & wanted.bits;
        if (!ready) continue;
        dequeue_signal(p, *q, first_signal(ready), &out);
        return true;
    }
    return false;
}

bool ignores_or_blocks(Thread& t, u32 sig) {
    rt::LockGuard guard{t.process().signals.lock};
    return t.blocked.has(sig) || get_action(t.process(), sig).handler == kSigIgnore;
}

SignalSummary signal_summary(Process& p, const Thread* t) {
    SignalSummary r;
    rt::LockGuard guard{p.signals.lock};
    r.shared_pending = p.signals.pending.set;
    if (p.signals.account) r.queued = p.signals.account->signals.load(std::memory_order_relaxed);
    if (!t) t = p.threads.front();
    if (t) {
        r.pending = t->pending.set;
        r.blocked = t->blocked;
    }
    ActionTable& a = *p.signals.actions;
    rt::LockGuard actions{a.lock};
    for (u32 sig = 1; sig <= kSignals; ++sig) {
        if (a.at[sig].handler == kSigIgnore)
            r.ignored.add(sig);
        else if (a.at[sig].handler != 0)
            r.caught.add(sig);
    }
    return r;
}

}  // namespace linux
