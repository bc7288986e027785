// SPDX-License-Identifier: MIT
// Delivery: how a thread handles signals, stops and its group's end before it returns to user mode (signal(7)).
//
// A signal leaves its queue only after its frame is on the program's stack, so that a stack page that has to be waited
// for loses nothing. Restart kinds are resolved here (abi/linux/errno.hpp).
#include "linux/arch/machine.hpp"
#include "linux/signal/signal_queue.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"

namespace linux {
namespace {

// The next signal to deliver and the queue it is in; 0: none. Those of the thread's own come first.
u32 next_signal(Process& p, Thread& t, PendingSignals*& from) RT_REQUIRES(p.signals.lock) {
    PendingSignals& shared = p.signals.pending;
    u64 own = t.pending.set.bits & ~t.blocked.bits;
    if (own) {
        from = &t.pending;
        return first_signal(own);
    }
    u64 all = shared.set.bits & ~t.blocked.bits;
    if (!all) return 0;
    from = &shared;
    return first_signal(all);
}

// The interrupted call's outcome, now that it is known whether a handler runs.
void resolve_restart(Thread& t, bool handler, u64 action_flags) {
    Errno kind = std::exchange(t.restart_kind, Errno::kOk);
    if (kind == Errno::kOk) return;
    auto& regs = t.regs();
    bool again =
        kind == Errno::kRestartNoIntr || (!handler) || (kind == Errno::kRestartSys && (action_flags & kSaRestart));
    if (!again)
        regs.set_syscall_result(-i64(Errno::kIntr));
    else if (kind == Errno::kRestartBlock)
        arch::restart_through_block(regs);
    else
        regs.restart_syscall();
}

// Reports a completed stop or a continuation to the parent, if that is still to be done.
void report_to_parent(Process& p) {
    rt::LockGuard tree{process_tree};
    u8 report;
    u32 sig;
    {
        rt::LockGuard guard{p.signals.lock};
        report = std::exchange(p.signals.report, u8(0));
        sig = p.signals.stop_signal;
    }
    if (report == SignalState::kReportStopped && sig != 0)
        tell_parent(p, kCldStopped, i32(sig));
    else if (report == SignalState::kReportContinued)
        tell_parent(p, kCldContinued, kSigCont);
}

// The thread of p joins the group stop that it was asked to join.
void join_stop(Process& p, Thread& t) RT_REQUIRES(p.signals.lock) {
    t.stop_pending = false;
    t.in_stop = true;
    one_less_to_stop(p);
}

void begin_stop(Process& p, u32 sig) RT_REQUIRES(p.signals.lock) {
    p.signals.stop_signal = sig;
    p.signals.to_stop = 0;
    p.signals.stopped = p.signals.stop_unreported = p.signals.continue_unreported = false;
    for (Thread& other : p.threads) {
        other.in_stop = false;
        if (other.exiting) continue;
        other.stop_pending = true;
        ++p.signals.to_stop;
    }
    p.signals.stop_next = p.threads.front();
}

enum class Push : u8 { kPushed, kAgain, kFailed };

Push push_frame(Thread& t, const SignalAction& action, u32 sig, const SignalInfo* info) {
    SignalSet old = t.restore_blocked ? t.saved_blocked : t.blocked;
    auto r = arch::push_signal_frame(t, action, sig, info, old);
    if (r.ok()) return Push::kPushed;
    if (r.error() != kNeedsFault) return Push::kFailed;
    return Push::kAgain;
}

// The frame is there: what the handler runs with.
[[gnu::always_inline]] inline void enter_handler(Thread& t, u32 sig, const SignalAction& action) {
    t.restore_blocked = false;
    t.blocked.bits |= action.mask.bits;
    if (!(action.flags & kSaNoDefer)) t.blocked.add(sig);
    t.blocked.bits &= ~kUnblockable.bits;
}

}  // namespace

bool is_stopped(Thread& t) {
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    bool still = t.in_stop && p.signals.stop_signal != 0 && !p.group_exiting && (!p.execing || p.execing == &t);
    if (!still) t.in_stop = false;
    return still;
}

void report_stop(Process& p) { report_to_parent(p); }

// Then other threads run: as many signals as a user may queue can be deliverable at once, or have become ignored in a
// table that several processes share.
constexpr u32 kFramesAtOnce = 16, kIgnoredAtOnce = 64;

SignalOutcome deliver_signals(Thread& t) {
    u32 frames = 0, ignored = 0;
    Process& p = t.process();
    // In this order: a notification in between is seen, at worst twice.
    t.job().clear_interrupt();
    t.work.fetch_and(kWorkExit, std::memory_order_seq_cst);
    u32 orphan_checked = 0;  // the signal that `orphaned` is about
    bool orphaned = false;
    for (;;) {
        rt::LockGuard guard{p.signals.lock};
        if (p.group_exiting || (p.execing && p.execing != &t) || (t.work.load(std::memory_order_relaxed) & kWorkExit))
            return SignalOutcome::kExit;
        if (t.in_stop) {
            if (p.signals.stop_signal != 0) return SignalOutcome::kStopped;
            t.in_stop = false;
        }
        if (t.stop_pending) {
            join_stop(p, t);
            bool tell = p.signals.report != 0;
            guard.unlock();
            if (tell) report_to_parent(p);
            return SignalOutcome::kStopped;
        }
        if (p.signals.report != 0) [[unlikely]] {
            guard.unlock();
            report_to_parent(p);
            continue;
        }
        PendingSignals* from = nullptr;
        u32 sig = next_signal(p, t, from);
        if (sig == 0) {
            guard.unlock();
            resolve_restart(t, false, 0);
            if (t.restore_blocked) {
                t.restore_blocked = false;
                set_blocked(t, t.saved_blocked);
                if (t.work.load(std::memory_order_relaxed) != 0) continue;
            }
            return SignalOutcome::kDone;
        }
        SignalAction action = get_action(p, sig);
        if (action.handler == kSigIgnore || (action.handler == kSigDefault && kIgnoredByDefault.has(sig))) {
            dequeue_signal(p, *from, sig, nullptr);
            if (++ignored < kIgnoredAtOnce) continue;
            t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
            return SignalOutcome::kMore;
        }
        if (action.handler == kSigDefault) {
            if (kStopSignals.has(sig)) {
                if (sig != kSigStop) {
                    // Orphaned groups are not stopped by the terminal: no process could continue them.
                    if (orphan_checked != sig) {
                        guard.unlock();
                        orphaned = group_is_orphaned(p.group_seen().value);
                        orphan_checked = sig;
                        continue;
                    }
                    orphan_checked = 0;
                    if (orphaned) {
                        dequeue_signal(p, *from, sig, nullptr);
                        continue;
                    }
                }
                dequeue_signal(p, *from, sig, nullptr);
                if (p.signals.stop_signal == 0 || p.signals.stopped) begin_stop(p, sig);
                continue;
            }
            dequeue_signal(p, *from, sig, nullptr);
            end_group_locked(p, i32(sig));
            return SignalOutcome::kExit;
        }
        // A handler.
        resolve_restart(t, true, action.flags);
        Push pushed;
        const SignalInfo* kept = first_info(*from, sig);
        if (kept || !(action.flags & kSaSigInfo)) {
            pushed = push_frame(t, action, sig, (action.flags & kSaSigInfo) ? kept : nullptr);
        } else {
            SignalInfo none = user_signal(sig, kSiUser, 0, 0);
            pushed = push_frame(t, action, sig, &none);
        }
        if (pushed == Push::kAgain) {
            guard.unlock();
            switch (fault_in_now(t, t.user().fault())) {
                case FaultIn::kReady: continue;
                case FaultIn::kMustWait: return SignalOutcome::kFault;
                case FaultIn::kBad: break;
            }
            signal_frame_failed(t);
            continue;
        }
        if (pushed == Push::kFailed) {
            guard.unlock();
            signal_frame_failed(t);
            continue;
        }
        dequeue_signal(p, *from, sig, nullptr);
        if (action.flags & kSaResetHand) {
            ActionTable& table = *p.signals.actions;
            rt::LockGuard actions{table.lock};
            table.at[sig].handler = kSigDefault;
        }
        enter_handler(t, sig, action);
        // What the process has pending and the handler keeps from this thread, another may take.
        if (u64 left = p.signals.pending.set.bits & (action.mask.bits | signals_of(sig).bits); left != 0) [[unlikely]]
            find_takers(p, left, &t);
        // Others that are deliverable now get frames on top of this one.
        if (!has_deliverable(p, t)) return SignalOutcome::kDone;
        if (++frames < kFramesAtOnce) continue;
        t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
        return SignalOutcome::kMore;
    }
}

bool signal_self(Thread& t, u32 sig, i32 code, bool to_process) {
    // Real-time signals queue, and these act on others that are pending, or on the whole group.
    constexpr SignalSet kMore = {kStopSignals.bits | signals_of(kSigCont, kSigKill).bits | ~u64{0} << 31};
    if (kMore.has(sig) || !t.at_home().await_ready()) return false;
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    // Everything that a thread has to look at sets a bit in `work`, under this lock.
    if (t.work.load(std::memory_order_relaxed) != 0 || t.blocked.has(sig) || has_deliverable(p, t)) return false;
    // A process has its first thread take a signal, and others may wait for it.
    if (to_process && (p.threads.front() != &t || p.threads.next(t))) return false;
    ActionTable& table = *p.signals.actions;
    rt::LockGuard actions{table.lock};
    SignalAction& action = table.at[sig];
    if (action.handler <= 1) return false;
    auto& regs = t.regs();
    const i64 number = regs.syscall_result();
    regs.set_syscall_result(0);  // what the call will have given when the handler returns
    Push pushed;
    if (action.flags & kSaSigInfo) {
        SignalInfo info = user_signal(sig, code, p.pid.value, t.creds().uid);
        pushed = push_frame(t, action, sig, &info);
    } else {
        pushed = push_frame(t, action, sig, nullptr);
    }
    if (pushed != Push::kPushed) {
        regs.set_syscall_result(number);
        return false;
    }
    if (to_process && sig == kSigAlrm) alarm_taken(p);
    enter_handler(t, sig, action);
    if (action.flags & kSaResetHand) action.handler = kSigDefault;
    t.work.fetch_or(kWorkRegisters, std::memory_order_relaxed);
    return true;
}

void signal_frame_failed(Thread& t) {
    Process& p = t.process();
    u32 sig;
    {
        rt::LockGuard guard{p.signals.lock};
        PendingSignals* from = nullptr;
        sig = next_signal(p, t, from);
        if (sig != 0) dequeue_signal(p, *from, sig, nullptr);
        if (sig == kSigSegv) {
            // A handler for SIGSEGV that cannot be entered: the default action.
            end_group_locked(p, kSigSegv);
            return;
        }
    }
    force_signal(t, kernel_signal(kSigSegv));
}

}  // namespace linux
