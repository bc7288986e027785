// SPDX-License-Identifier: MIT
// Processes and threads: fork, wait, exit, groups and sessions, scheduling.
#include "abi/linux/task.hpp"
#include "linux/arch/machine.hpp"
#include "linux/signal/signal_queue.hpp"
#include "linux/sys/table.hpp"
#include "linux/task/clone.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"
#include "linux/task/usage.hpp"
#include "linux/task/wait.hpp"
#include "linux/terminal.hpp"

namespace linux {
namespace {

using port::Module;

// ---- Identification ----

Leaf<i64> sys_getpid(Caller& c) { return i64{c.process().pid.value}; }
Leaf<i64> sys_gettid(Caller& c) { return i64{c.thread().tid.value}; }
Leaf<i64> sys_getppid(Caller& c) {
    // Without the tree's lock: the parent may be ending on another CPU, and its number be replaced by that of the next.
    return i64{c.process().parent_pid.load(std::memory_order_relaxed)};
}
Leaf<i64> sys_set_tid_address(Caller& c, UserAddr at) {
    c.thread().clear_child_tid = at;
    return i64{c.thread().tid.value};
}

// ---- Exit ----

Leaf<i64> sys_exit(Caller& c, i32 code) {
    begin_thread_exit(c.thread(), exit_status_of(code));
    return 0;
}
Leaf<i64> sys_exit_group(Caller& c, i32 code) {
    c.thread().exit_status = exit_status_of(code);
    begin_group_exit(c.process(), exit_status_of(code));
    c.thread().work.fetch_or(kWorkExit, std::memory_order_relaxed);
    return 0;
}

// ---- fork ----

TaskResult sys_fork(Caller& c) { return do_clone(c, {.exit_signal = kSigChld}); }
TaskResult sys_vfork(Caller& c) { return do_clone(c, {.flags = kCloneVm | kCloneVfork, .exit_signal = kSigChld}); }
TaskResult sys_clone(Caller& c, u64 flags, u64 stack, UserAddr parent_tid, UserAddr child_tid, u64 tls) {
    return do_clone(c, {.flags = u64{u32(flags)} & ~kCloneSignalMask,
                        .exit_signal = i32(flags & kCloneSignalMask),
                        .stack = UserAddr{stack},
                        .parent_tid = parent_tid,
                        .child_tid = child_tid,
                        .tls = tls});
}

TaskResult sys_clone3(Caller& c, UserAddr at, u64 size) {
    if (size > kPageSize) co_return Errno::k2Big;
    if (size < kCloneArgsSize0) co_return Errno::kInval;
    abi::CloneArgs a{};
    CO_TRY(c.user().read(&a, at, size < sizeof a ? size : sizeof a));
    for (u64 i = sizeof a; i < size; ++i) {
        u8 byte = 0;
        CO_TRY(c.user().read(&byte, at + i, 1));
        if (byte) co_return Errno::k2Big;
    }
    if (a.set_tid_size > kCloneMaxSetTid || (a.set_tid == 0) != (a.set_tid_size == 0)) co_return Errno::kInval;
    if (a.exit_signal & ~kCloneSignalMask || a.exit_signal > kSignals) co_return Errno::kInval;
    if (a.flags & ~((kCloneIntoCgroup << 1) - 1)) co_return Errno::kInval;
    if (a.flags & (kCloneDetached | (kCloneSignalMask & ~kCloneNewTime))) co_return Errno::kInval;
    if ((a.flags & (kCloneThread | kCloneParent)) && a.exit_signal) co_return Errno::kInval;
    if (a.stack == 0 ? a.stack_size != 0 : a.stack_size == 0) co_return Errno::kInval;
    if (a.stack && !fs::UserMemory::inside(UserAddr{a.stack}, a.stack_size)) co_return Errno::kInval;
    if (a.set_tid) co_return Errno::kPerm;  // needs CAP_CHECKPOINT_RESTORE over a namespace of its own
    co_return co_await do_clone(c, {.flags = a.flags,
                                    .exit_signal = i32(a.exit_signal),
                                    .stack = UserAddr{a.stack ? a.stack + a.stack_size : 0},
                                    .parent_tid = UserAddr{a.parent_tid},
                                    .child_tid = UserAddr{a.child_tid},
                                    .tls = a.tls});
}

// ---- wait ----

struct Wait4Out {
    Caller& c;
    UserAddr status, usage;
    Leaf<void> write(UserAddr to, const void* from, size_t n) { return c.user().write(to, from, n); }
    Leaf<void> operator()(const WaitReport& r) {
        if (status.value) TRY(write(status, &r.status, sizeof r.status));
        if (usage.value) {
            abi::Rusage u = to_abi(r.usage);
            TRY(write(usage, &u, sizeof u));
        }
        return lib::kOk;
    }
};

// Checks until a child has a report, or there is a reason to stop. If the memory for the report is not accessible, the
// child is gone all the same, as on Linux (kFault). What the sink refers to must live as long.
Task<Result<i32>> wait_for_report(Caller& c, WaitRequest r, WaitSink sink) {
    Errno interrupted = Errno::kOk;
    WaitCursor cursor;
    for (u32 seen = 0;;) {
        if (!cursor.next) seen = c.process().child_changed.sequence();
        auto got = try_wait(c.process(), r, sink, &cursor);
        if (got.error() == kNeedsFault) {
            auto in = co_await fault_in_range(c.thread(), c.user().fault());
            if (!in.ok()) c.user().give_up_fault();
            continue;
        }
        if (got.error() != kNeedsTask) co_return got.ended();
        if (cursor.next) {
            co_await rt::Yield{};
            continue;
        }
        if (interrupted != Errno::kOk) co_return interrupted;
        auto woken = co_await rt::wait_on(c.process().child_changed, seen, "wait: a child");
        if (woken.ok()) continue;
        // The signal may be the child's own: a report takes precedence, as in Linux.
        interrupted = woken.error();
    }
}

const Thread* maker_of(Caller& c, u32 options) { return options & kWaitNoThread ? &c.thread() : nullptr; }

Result<WaitRequest> wait4_request(Caller& c, i32 pid, u32 options) {
    if (options & ~(kWaitNoHang | kWaitUntraced | kWaitContinued | kWaitNoThread | kWaitClone | kWaitAll))
        return Errno::kInval;
    if (pid == INT32_MIN) return Errno::kSrch;
    WaitRequest r{.options = options | kWaitExited, .maker = maker_of(c, options)};
    if (pid > 0)
        r.which = WaitRequest::Which::kPid, r.number = pid;
    else if (pid != -1)
        r.which = WaitRequest::Which::kGroup, r.number = pid == 0 ? c.process().group_seen().value : -pid;
    return r;
}

TaskResult wait4_patiently(WaitRequest r, Wait4Out out) {
    co_return i64{CO_TRY(co_await wait_for_report(out.c, r, out))};
}

Leaf<i64> sys_wait4(Caller& c, i32 pid, UserAddr status, u32 options, UserAddr usage) {
    WaitRequest r = TRY(wait4_request(c, pid, options));
    Wait4Out out{c, status, usage};
    auto child = try_wait(c.process(), r, out);
    if (child.error() == kNeedsTask) return c.later(wait4_patiently(r, out));
    return i64{TRY(child)};
}

struct WaitIdOut : Wait4Out {
    UserAddr info;
    Leaf<void> operator()(const WaitReport& r) {
        if (usage.value && r.pid != 0) {
            abi::Rusage u = to_abi(r.usage);
            TRY(write(usage, &u, sizeof u));
        }
        if (!info.value) return lib::kOk;
        // Only the fields that belong to the report are written.
        i32 status = r.code == kCldExited      ? exit_code_of(r.status)
                     : r.code == kCldKilled    ? r.status & kStatusSignalMask
                     : r.code == kCldStopped   ? r.status >> 8
                     : r.code == kCldContinued ? i32(kSigCont)
                                               : 0;
        i32 head[3] = {r.pid ? i32(kSigChld) : 0, 0, r.code};
        i32 tail[3] = {r.pid, i32(r.uid), status};
        TRY(write(info, head, sizeof head));
        return write(info + 16, tail, sizeof tail);
    }
    // Without a report the fields are cleared, whatever the outcome is.
    Leaf<i64> none(Errno outcome) {
        TRY((*this)(WaitReport{}));
        if (outcome != Errno::kOk) return outcome;
        return 0;
    }
};

Result<WaitRequest> waitid_request(Caller& c, i32 which, i32 id, u32 options) {
    if (options & ~(kWaitNoHang | kWaitNoWait | kWaitExited | kWaitUntraced | kWaitContinued | kWaitNoThread |
                    kWaitClone | kWaitAll))
        return Errno::kInval;
    if (!(options & (kWaitExited | kWaitUntraced | kWaitContinued))) return Errno::kInval;
    WaitRequest r{.options = options, .maker = maker_of(c, options)};
    switch (which) {
        case kWaitByAll: return r;
        case kWaitById:
            if (id <= 0) return Errno::kInval;
            r.which = WaitRequest::Which::kPid;
            r.number = id;
            return r;
        case kWaitByGroup:
            if (id < 0) return Errno::kInval;
            r.which = WaitRequest::Which::kGroup;
            r.number = id ? id : c.process().group.value;
            return r;
        case kWaitByPidfd:
            if (id < 0) return Errno::kInval;
            TRY(c.files().get(Fd{id}));
            return Errno::kBadF;  // no descriptor is a pidfd here
        default: return Errno::kInval;
    }
}

TaskResult waitid_patiently(WaitRequest r, WaitIdOut out) {
    auto pid = co_await wait_for_report(out.c, r, out);
    if (pid.ok() && pid.value() != 0) co_return i64{0};
    co_return out.none(pid.error());
}
Leaf<i64> sys_waitid(Caller& c, i32 which, i32 id, UserAddr info, u32 options, UserAddr usage) {
    WaitIdOut out{{c, {}, usage}, info};
    auto r = waitid_request(c, which, id, options);
    if (!r.ok()) return out.none(r.error());
    auto pid = try_wait(c.process(), r.value(), out);
    if (pid.ok() && pid.value() != 0) return 0;
    if (pid.error() == kNeedsTask) return c.later(waitid_patiently(r.value(), out));
    if (pid.error() == kNeedsFault) return pid.error();
    return out.none(pid.error().ended());
}

// ---- Groups and sessions ----

// Null: no such process.
Process* by_number(Caller& c, i32 pid) RT_REQUIRES(process_tree) {
    if (pid == 0) return &c.process();
    PidEntry* e = pid_entry(pid);
    if (!e) return nullptr;
    return e->process ? e->process : e->thread ? &e->thread->process() : nullptr;
}

Leaf<i64> sys_getpgid(Caller& c, i32 pid) {
    rt::LockGuard guard{process_tree};
    Process* p = by_number(c, pid);
    if (!p) return Errno::kSrch;
    return i64{p->group.value};
}
Leaf<i64> sys_getpgrp(Caller& c) { return i64{c.process().group_seen().value}; }
Leaf<i64> sys_getsid(Caller& c, i32 pid) {
    rt::LockGuard guard{process_tree};
    Process* p = by_number(c, pid);
    if (!p) return Errno::kSrch;
    return i64{p->session.value};
}

Leaf<i64> sys_setpgid(Caller& c, i32 pid, i32 group) {
    Process& mine = c.process();
    if (pid == 0) pid = mine.pid.value;
    if (group == 0) group = pid;
    if (group < 0) return Errno::kInval;
    rt::LockGuard guard{process_tree};
    PidEntry* e = pid_entry(pid);
    if (!e || (!e->process && !e->thread)) return Errno::kSrch;
    if (!e->process) return Errno::kInval;  // not a thread group leader
    Process& p = *e->process;
    if (p.parent == &mine) {
        if (p.session != mine.session) return Errno::kPerm;
        if (p.did_exec) return Errno::kAcces;
    } else if (&p != &mine) {
        return Errno::kSrch;
    }
    if (p.session == p.pid) return Errno::kPerm;
    if (group != pid) {
        PidEntry* g = pid_entry(group);
        Process* member = g && !g->members.empty() ? g->members.front() : nullptr;
        if (!member || member->session != mine.session) return Errno::kPerm;
    }
    if (p.group.value != group) {
        leave_group(p);
        join_group(p, group);
    }
    return 0;
}

Leaf<i64> sys_setsid(Caller& c) {
    Process& p = c.process();
    rt::LockGuard guard{process_tree};
    PidEntry* e = pid_entry(p.pid.value);
    if (p.session == p.pid || !e->members.empty()) return Errno::kPerm;
    leave_group(p);
    leave_session(p);
    join_group(p, p.pid.value);
    join_session(p, p.pid.value);
    lose_terminal(p);
    return i64{p.pid.value};
}

// ---- CPU ----

Leaf<i64> sys_sched_yield(Caller& c) {
    c.thread().request_yield();
    return 0;
}

Leaf<i64> sys_getcpu(Caller& c, UserAddr cpu, UserAddr node) {
    u32 here = port::Port::this_cpu(), none = 0;
    if (cpu.value) TRY(c.user().write(cpu, &here, sizeof here));
    if (node.value) TRY(c.user().write(node, &none, sizeof none));
    return 0;
}

}  // namespace

extern const std::span<const SyscallRow> task_rows;
constexpr SyscallRow kRows[] = {
    row<&sys_getpid>(abi::kNrGetpid, "getpid", Module::kTask, "process/fork_pids"),
    row<&sys_gettid>(abi::kNrGettid, "gettid", Module::kTask, "process/fork_pids"),
    row<&sys_getppid>(abi::kNrGetppid, "getppid", Module::kTask, "process/fork_pids"),
    row<&sys_set_tid_address>(abi::kNrSetTidAddress, "set_tid_address", Module::kTask, "clone/set_tid_address"),
    row<&sys_exit>(abi::kNrExit, "exit", Module::kHome, "calls/exit_ends_one_thread"),
    row<&sys_exit_group>(abi::kNrExitGroup, "exit_group", Module::kHome, "clone/exit_group_ends_threads"),
    row<&sys_fork>(abi::kNrFork, "fork", Module::kHome, "process/fork_pids"),
    row<&sys_vfork>(abi::kNrVfork, "vfork", Module::kHome, "process/vfork_exec"),
    row<&sys_clone>(abi::kNrClone, "clone", Module::kHome, "clone/vm_shared"),
    row<&sys_clone3>(abi::kNrClone3, "clone3", Module::kHome, "clone/bad_flags"),
    row<&sys_wait4>(abi::kNrWait4, "wait4", Module::kTask, "process/wait_nohang"),
    row<&sys_waitid>(abi::kNrWaitid, "waitid", Module::kTask, "process/waitid_fields"),
    row<&sys_getpgid>(abi::kNrGetpgid, "getpgid", Module::kTask, "job/get_errors"),
    row<&sys_getpgrp>(abi::kNrGetpgrp, "getpgrp", Module::kTask, "calls/group_number"),
    row<&sys_setpgid>(abi::kNrSetpgid, "setpgid", Module::kTask, "job/setpgid_errors"),
    row<&sys_getsid>(abi::kNrGetsid, "getsid", Module::kTask, "job/get_errors"),
    row<&sys_setsid>(abi::kNrSetsid, "setsid", Module::kTask, "job/setsid_makes_a_leader"),
    row<&sys_sched_yield>(abi::kNrSchedYield, "sched_yield", Module::kHome, "calls/yield"),
    row<&sys_getcpu>(abi::kNrGetcpu, "getcpu", Module::kHome, "misc/affinity"),
};
const std::span<const SyscallRow> task_rows{kRows};

}  // namespace linux
