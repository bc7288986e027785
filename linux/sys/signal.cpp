// SPDX-License-Identifier: MIT
// Signals: actions, masks, sending, waiting (signal(7)).
#include "abi/linux/task.hpp"
#include "linux/arch/machine.hpp"
#include "linux/signal/signal_queue.hpp"
#include "linux/sys/wait_set.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"
#include "linux/time.hpp"
#include "rt/async_mutex.hpp"
#include "rt/teardown.hpp"

namespace linux {
namespace {

using port::Module;

constexpr u64 kKnownFlags = kSaNoCldStop | kSaNoCldWait | kSaSigInfo | kSaExposeTagBits | kSaRestorer | kSaOnStack |
                            kSaRestart | kSaNoDefer | kSaResetHand;

// The change is made even if the old value cannot be copied out (Linux does that last): a handler that lacks a page
// changes nothing and is run again, and if the page is not accessible (`told` is kFault) it makes the change and
// returns EFAULT.

struct ActionCall {
    u32 sig;
    bool change;
    SignalAction to;
    static Leaf<ActionCall> decode(Caller& c, u32 sig, UserIn<abi::SigAction> to, u64 size) {
        if (size != kSigSetSize) return Errno::kInval;
        abi::SigAction wanted{};
        if (to) wanted = TRY(to.get(c.user()));
        if (sig < 1 || sig > kSignals || (to && kUnblockable.has(sig))) return Errno::kInval;
        return ActionCall{
            sig,
            bool(to),
            {wanted.handler, wanted.flags & kKnownFlags, wanted.restorer, {wanted.mask & ~kUnblockable.bits}}};
    }
    void commit(Process& p) const {
        if (!change) return;
        rt::LockGuard guard{p.signals.lock};
        {
            ActionTable& table = *p.signals.actions;
            rt::LockGuard actions{table.lock};
            table.at[sig] = to;
        }
        if (to.handler == kSigIgnore || (to.handler == kSigDefault && kIgnoredByDefault.has(sig))) flush_signal(p, sig);
    }
    abi::SigAction old(Process& p) const {
        SignalAction a = get_action(p, sig);
        return {a.handler, a.flags, a.restorer, a.mask.bits};
    }
};

[[gnu::noinline]] Leaf<i64> any_sigaction(Caller& c, u32 sig, UserIn<abi::SigAction> to, UserOut<abi::SigAction> old,
                                          u64 size) {
    ActionCall call = TRY(ActionCall::decode(c, sig, to, size));
    Leaf<void> told;
    if (old) told = old.put(c.user(), call.old(c.process()));
    if (told.error() == kNeedsFault) return told.error();
    call.commit(c.process());
    TRY(told);
    return 0;
}

// Only a query, without contention and with the page present: needs no stack.
Leaf<i64> sys_rt_sigaction(Caller& c, u32 sig, UserIn<abi::SigAction> to, UserOut<abi::SigAction> old, u64 size) {
    if (to || size != kSigSetSize || sig - 1 >= kSignals) [[unlikely]]
        return any_sigaction(c, sig, to, old, size);
    ActionTable& table = *c.process().signals.actions;
    if (!table.lock.try_lock()) [[unlikely]]
        return any_sigaction(c, sig, to, old, size);
    const SignalAction a = table.at[sig];
    table.lock.unlock();
    if (!c.user().store_now(old.at, a.handler, a.flags, a.restorer, a.mask.bits)) [[unlikely]]
        return any_sigaction(c, sig, to, old, size);
    return 0;
}

// The mask after rt_sigprocmask(2). EINVAL, EFAULT.
[[gnu::always_inline]] inline Leaf<u64> next_mask(Caller& c, u32 how, UserIn<u64> set, u64 size, u64 now) {
    if (size != kSigSetSize) return Errno::kInval;
    if (!set) return now;
    u64 bits;
    if (!c.user().load_now(set.at, bits)) [[unlikely]]
        bits = TRY(set.get(c.user()));
    bits &= ~kUnblockable.bits;
    switch (how) {
        case kSigBlock: return now | bits;
        case kSigUnblock: return now & ~bits;
        case kSigSetMask: return bits;
        default: return Errno::kInval;
    }
}
Leaf<i64> sys_rt_sigprocmask(Caller& c, u32 how, UserIn<u64> set, UserOut<u64> old, u64 size) {
    Thread& t = c.thread();
    u64 now = t.blocked.bits, next = TRY(next_mask(c, how, set, size, now));
    if (old && !c.user().store_now(old.at, now)) {
        auto told = old.put(c.user(), now);
        if (!told.ok()) [[unlikely]] {
            if (told.error() == Errno::kFault && next != now) set_blocked(t, SignalSet{next});
            return told.error();
        }
    }
    if (next != now) set_blocked(t, SignalSet{next});
    return 0;
}

Leaf<i64> sys_rt_sigpending(Caller& c, UserAddr to, u64 size) {
    if (size > kSigSetSize) return Errno::kInval;
    Thread& t = c.thread();
    u64 bits;
    {
        rt::LockGuard guard{c.process().signals.lock};
        bits = (t.pending.set.bits | c.process().signals.pending.set.bits) & t.blocked.bits;
    }
    TRY(c.user().write(to, &bits, size));
    return 0;
}

// Sleeps until something is to be done; the caller turns it into its own kind of restart.
TaskResult sleep_until_signal(Caller& c, Errno how) {
    while (!c.interrupted()) {
        rt::Wait wait{"a signal"};
        if (co_await wait == rt::Wake::kInterrupted) break;
    }
    co_return how;
}

TaskResult sys_rt_sigsuspend(Caller& c, UserIn<u64> mask, u64 size) {
    if (size != kSigSetSize) co_return Errno::kInval;
    u64 bits = CO_TRY(mask.get(c.user()));
    Thread& t = c.thread();
    t.saved_blocked = t.blocked;
    set_blocked(t, SignalSet{bits});
    t.restore_blocked = true;
    co_return co_await sleep_until_signal(c, Errno::kRestartNoHand);
}
TaskResult sys_pause(Caller& c) { return sleep_until_signal(c, Errno::kRestartNoHand); }

TaskResult sys_rt_sigtimedwait(Caller& c, UserIn<u64> set, UserOut<SignalInfo> to, UserIn<abi::Timespec> timeout,
                               u64 size) {
    if (size != kSigSetSize) co_return Errno::kInval;
    SignalSet wanted{CO_TRY(set.get(c.user())) & ~kUnblockable.bits};
    Nanoseconds deadline = Nanoseconds::never();
    bool poll = false;
    if (timeout) {
        u64 ns = CO_TRY(duration_of(CO_TRY(timeout.get(c.user()))));
        poll = ns == 0;
        deadline = deadline_in(ns);
    }
    Thread& t = c.thread();
    SignalInfo info;
    for (;;) {
        u32 seen = c.process().signals.arrived.sequence();
        if (take_signal(t, wanted, info)) break;
        if (poll) co_return Errno::kAgain;
        if (c.interrupted()) co_return Errno::kIntr;
        auto r = co_await rt::wait_on(c.process().signals.arrived, seen, "sigtimedwait", deadline);
        if (r.ok()) continue;
        if (take_signal(t, wanted, info)) break;
        co_return r.error() == Errno::kTimedOut ? Errno::kAgain : Errno::kIntr;
    }
    if (to) {
        // The signal has been taken: it is not to be lost to a page that is not there yet.
        for (;;) {
            auto r = to.put(c.user(), info);
            if (r.ok()) break;
            if (r.error() != kNeedsFault) co_return r.error();
            CO_TRY(co_await fault_in_range(t, c.user().fault()));
        }
    }
    co_return i64{info.signo};
}

// ---- Sending ----

bool valid(u32 sig) { return sig <= kSignals; }

// Checks, and sends unless sig is 0.
Result<void> signal_process(Caller& c, Process& p, u32 sig, const SignalInfo& info) {
    if (!valid(sig)) return Errno::kInval;
    TRY(may_signal(c, p, sig));
    return sig ? send_signal(p, info) : Result<void>(lib::kOk);
}

SignalInfo from_caller(Caller& c, u32 sig, i32 code) {
    return user_signal(sig, code, c.process().pid.value, c.creds().uid);
}

Ref<Process> process_of_number(i32 pid) {
    if (Ref<Process> p = find_process(Pid{pid})) return p;
    if (Ref<Thread> t = find_thread(Pid{pid})) return Ref<Process>(&t->process());
    return {};
}

// What becomes of a signal to many: to a group it succeeds if it does with one of them; to all, those that it must not be sent
// to do not count.
struct ToMany {
    const bool all;
    bool sent = false;
    Errno last = Errno::kSrch;

    void one(Caller& c, Process& p, u32 sig, const SignalInfo& info) {
        const Errno e = signal_process(c, p, sig, info).error();
        if (all && last == Errno::kSrch) last = Errno::kOk;
        if (!all || e != Errno::kPerm) last = e;
        sent |= e == Errno::kOk;
    }
    Leaf<i64> result() const {
        if ((sent && !all) || last == Errno::kOk) return 0;
        return last;
    }
};

// With more processes than this a signal to many is sent in pieces.
constexpr u32 kFewProcesses = 64;

// One step of a signal to many; false: there is no other.
bool kill_next_member() {
    rt::LockGuard guard{process_tree};
    Process* p = signal_walk.next_member();
    if (p) signal_walk.reach(*p);
    return p != nullptr;
}
bool kill_next(Caller& c, i32& from, u32 sig, SignalWalk::Send send) {
    Ref<Process> p = next_process(from);
    if (!p) return false;
    from = p->pid.value + 1;
    rt::LockGuard guard{process_tree};
    if (sig != 0) {
        if (signal_walk.has(*p)) signal_walk.reach(*p);
    } else if (p.get() != &init_process() && p.get() != &c.process()) {
        send(*p);
    }
    return true;
}

// To all (`group` 0) in the order of numbers. Signal 0 to all reaches nobody: no fork has to take note of it.
TaskResult kill_long(Caller& c, i32 group, u32 sig) {
    static constinit rt::AsyncMutex one_at_a_time;
    const SignalInfo info = from_caller(c, sig, kSiUser);
    ToMany many{.all = group == 0};
    auto send = [&](Process& p) { many.one(c, p, sig, info); };
    const SignalWalk::Send sender{send};
    rt::AsyncMutex::Guard turn;
    const bool walks = group != 0 || sig != 0;
    if (walks) {
        turn = CO_TRY(co_await one_at_a_time.lock());
        rt::LockGuard guard{process_tree};
        signal_walk.begin(group, c.process(), sender);
    }
    i32 from = 1;
    for (bool more = true; more;) {
        rt::Stretch stretch;
        do {
            more = group != 0 ? kill_next_member() : kill_next(c, from, sig, send);
        } while (more && !stretch.over());
        if (more) co_await rt::Yield{};
    }
    if (walks) {
        rt::LockGuard guard{process_tree};
        signal_walk.end();
    }
    co_return many.result();
}

Leaf<i64> kill_few(Caller& c, i32 group, u32 sig) {
    SignalInfo info = from_caller(c, sig, kSiUser);
    ToMany many{.all = false};
    rt::LockGuard guard{process_tree};
    PidEntry* e = pid_entry(group);
    if (!e) return Errno::kSrch;
    for (Process& p : e->members) many.one(c, p, sig, info);
    return many.result();
}
Leaf<i64> kill_all_few(Caller& c, u32 sig) {
    SignalInfo info = from_caller(c, sig, kSiUser);
    ToMany many{.all = true};
    rt::LockGuard guard{process_tree};
    for_each_process_locked([&](Process& p) {
        if (&p != &init_process() && &p != &c.process()) many.one(c, p, sig, info);
    });
    return many.result();
}

[[gnu::noinline]] Leaf<i64> kill_any(Caller& c, i32 pid, u32 sig) {
    if (pid > 0) {
        SignalInfo info = from_caller(c, sig, kSiUser);
        if (pid == c.process().pid.value) {
            TRY(signal_process(c, c.process(), sig, info));
            return 0;
        }
        Ref<Process> p = process_of_number(pid);
        if (!p) return Errno::kSrch;
        TRY(signal_process(c, *p, sig, info));
        return 0;
    }
    if (pid == INT32_MIN) return Errno::kSrch;
    const i32 group = pid == -1 ? 0 : pid == 0 ? c.process().group_seen().value : -pid;
    if (process_count() > kFewProcesses && (group == 0 || has_more_members(group, kFewProcesses)))
        return c.later(kill_long(c, group, sig));
    return group == 0 ? kill_all_few(c, sig) : kill_few(c, group, sig);
}

Leaf<i64> sys_kill(Caller& c, i32 pid, u32 sig) {
    if (pid == c.process().pid.value && sig - 1 < kSignals && signal_self(c.thread(), sig, kSiUser, true)) return 0;
    return kill_any(c, pid, sig);
}

Leaf<i64> signal_thread(Caller& c, i32 group, i32 tid, u32 sig, const SignalInfo& info) {
    Ref<Thread> t = find_thread(Pid{tid});
    if (!t || (group > 0 && t->process().pid.value != group)) return Errno::kSrch;
    if (!valid(sig)) return Errno::kInval;
    TRY(may_signal(c, *t, sig));
    if (sig) TRY(send_signal(*t, info));
    return 0;
}
bool is_self(Caller& c, i32 tid, u32 sig) { return tid == c.thread().tid.value && sig - 1 < kSignals; }
Leaf<i64> sys_tgkill(Caller& c, i32 group, i32 tid, u32 sig) {
    if (group <= 0 || tid <= 0) return Errno::kInval;
    if (is_self(c, tid, sig) && group == c.process().pid.value && signal_self(c.thread(), sig, kSiTkill, false))
        return 0;
    return signal_thread(c, group, tid, sig, from_caller(c, sig, kSiTkill));
}
Leaf<i64> sys_tkill(Caller& c, i32 tid, u32 sig) {
    if (tid <= 0) return Errno::kInval;
    if (is_self(c, tid, sig) && signal_self(c.thread(), sig, kSiTkill, false)) return 0;
    return signal_thread(c, 0, tid, sig, from_caller(c, sig, kSiTkill));
}

Leaf<SignalInfo> info_from_user(Caller& c, UserIn<SignalInfo> from, u32 sig) {
    SignalInfo info = TRY(from.get(c.user()));
    info.signo = i32(sig);
    return info;
}
// Codes reserved for the kernel are refused, except to the caller itself.
Result<void> may_say(Caller& c, const SignalInfo& info, i32 to) {
    if ((info.code >= 0 || info.code == kSiTkill) && to != c.thread().tid.value) return Errno::kPerm;
    return lib::kOk;
}
Leaf<i64> sys_rt_sigqueueinfo(Caller& c, i32 pid, u32 sig, UserIn<SignalInfo> from) {
    SignalInfo info = TRY(info_from_user(c, from, sig));
    TRY(may_say(c, info, pid));
    Ref<Process> p = pid > 0 ? process_of_number(pid) : Ref<Process>{};
    if (!p) return Errno::kSrch;
    TRY(signal_process(c, *p, sig, info));
    return 0;
}
Leaf<i64> sys_rt_tgsigqueueinfo(Caller& c, i32 group, i32 tid, u32 sig, UserIn<SignalInfo> from) {
    SignalInfo info = TRY(info_from_user(c, from, sig));
    if (group <= 0 || tid <= 0) return Errno::kInval;
    TRY(may_say(c, info, tid));
    return signal_thread(c, group, tid, sig, info);
}

// ---- Frames and stacks ----

// A frame that cannot be read is the program's fault (sigreturn(2)).
[[gnu::noinline]] i64 bad_frame(Thread& t) {
    force_signal(t, kernel_signal(kSigSegv));
    t.regs().set_syscall_result(0);
    return 0;
}
Leaf<i64> sys_rt_sigreturn(Caller& c) {
    Thread& t = c.thread();
    auto popped = arch::pop_signal_frame(t);
    if (!popped.ok()) [[unlikely]] {
        if (popped.error().needs_more()) return popped.error();
        return bad_frame(t);
    }
    set_blocked(t, popped.value().mask);
    if (popped.value().bad) [[unlikely]]
        return bad_frame(t);
    return t.regs().syscall_result();
}

struct StackCall {
    SignalStack next;
    abi::SigStack old;
    static Leaf<StackCall> decode(Caller& c, UserIn<abi::SigStack> to) {
        Thread& t = c.thread();
        const SignalStack& s = t.alternate_stack;
        abi::SigStack wanted{};
        if (to) wanted = TRY(to.get(c.user()));
        bool on = arch::on_stack(s, t.call_regs().sp());
        StackCall call{s, {}};
        if (to) {
            if (on) return Errno::kPerm;
            u32 mode = u32(wanted.flags) & ~kSsAutoDisarm;
            if (mode != 0 && mode != kSsOnStack && mode != kSsDisable) return Errno::kInval;
            if (mode == kSsDisable)
                call.next = {0, 0, u32(wanted.flags)};
            else if (wanted.size < kMinSignalStack)
                return Errno::kNoMem;
            else
                call.next = {wanted.base, wanted.size, u32(wanted.flags)};
        }
        u32 flags = s.size == 0 ? kSsDisable : on ? kSsOnStack : 0;
        call.old = {s.base, i32(flags | (s.flags & kSsAutoDisarm)), 0, s.size};
        return call;
    }
};

Leaf<i64> sys_sigaltstack(Caller& c, UserIn<abi::SigStack> to, UserOut<abi::SigStack> old) {
    StackCall call = TRY(StackCall::decode(c, to));
    Leaf<void> told;
    if (old) told = old.put(c.user(), call.old);
    if (told.error() == kNeedsFault) return told.error();
    c.thread().alternate_stack = call.next;
    TRY(told);
    return 0;
}

TaskResult sys_restart_syscall(Caller& c) {
    Thread& t = c.thread();
    if (!t.restart.run) co_return Errno::kIntr;
    co_return co_await t.restart.run(c, t.restart);
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_rt_sigaction>(abi::kNrRtSigaction, "rt_sigaction", Module::kTask, "signal/sigaction_results"),
    row<&sys_rt_sigprocmask>(abi::kNrRtSigprocmask, "rt_sigprocmask", Module::kTask, "signal/mask_operations"),
    row<&sys_rt_sigpending>(abi::kNrRtSigpending, "rt_sigpending", Module::kTask, "signal/mask_operations"),
    row<&sys_rt_sigsuspend>(abi::kNrRtSigsuspend, "rt_sigsuspend", Module::kTask, "signal/sigsuspend_waits"),
    row<&sys_pause>(abi::kNrPause, "pause", Module::kTask, "signal/pause_ends"),
    row<&sys_rt_sigtimedwait>(abi::kNrRtSigtimedwait, "rt_sigtimedwait", Module::kTask, "signal/sigtimedwait_results"),
    row<&sys_kill>(abi::kNrKill, "kill", Module::kTask, "signal/kill_errors"),
    row<&sys_tkill>(abi::kNrTkill, "tkill", Module::kTask, "clone/tgkill_reaches_one_thread"),
    row<&sys_tgkill>(abi::kNrTgkill, "tgkill", Module::kTask, "clone/tgkill_reaches_one_thread"),
    row<&sys_rt_sigqueueinfo>(abi::kNrRtSigqueueinfo, "rt_sigqueueinfo", Module::kTask, "signal/siginfo_of_senders"),
    row<&sys_rt_tgsigqueueinfo>(abi::kNrRtTgsigqueueinfo, "rt_tgsigqueueinfo", Module::kTask, "calls/queue_to_thread"),
    row<&sys_rt_sigreturn>(abi::kNrRtSigreturn, "rt_sigreturn", Module::kHome, "signal/altstack_use"),
    row<&sys_sigaltstack>(abi::kNrSigaltstack, "sigaltstack", Module::kHome, "signal/altstack"),
    row<&sys_restart_syscall>(abi::kNrRestartSyscall, "restart_syscall", Module::kHome, "calls/restart_syscall"),
};
const std::span<const SyscallRow> signal_rows{kRows};

}  // namespace linux
