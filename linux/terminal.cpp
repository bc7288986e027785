// SPDX-License-Identifier: MIT
// Job control for the terminal. See terminal.hpp.
#include "linux/terminal.hpp"

#include "linux/task/pid.hpp"

namespace linux {

namespace {

constinit Terminal the_terminal;

void signal_foreground(i32 group, u32 sig) { (void)signal_group(group, kernel_signal(sig)); }

// No process of this session has a terminal any more. Takes process_tree for each.
void detach_session(i32 session) {
    for_each_process([session](Process& p) {
        rt::LockGuard guard{process_tree};
        if (p.session.value == session) p.terminal = nullptr;
        return true;
    });
}

bool is_leader(const Process& p) { return p.session_seen() == p.pid; }

}  // namespace

void attach_first_terminal(Process& leader) {
    auto tty = fs::Tty::get();
    if (!tty.ok()) return;
    fs::Tty::hooks.signal_group = &signal_foreground;
    the_terminal.tty = tty.value();
    rt::LockGuard guard{process_tree};
    leader.terminal = &the_terminal;
    the_terminal.tty->session.store(leader.session.value, std::memory_order_relaxed);
    the_terminal.tty->foreground.store(leader.group.value, std::memory_order_relaxed);
}

void hang_up_session(Process& leader) {
    fs::Tty* tty = controlling_terminal(leader);
    if (!tty || !is_leader(leader)) return;
    i32 group = tty->foreground.load(std::memory_order_relaxed);
    if (group != 0) {
        (void)signal_group(group, kernel_signal(kSigHup));
        (void)signal_group(group, kernel_signal(kSigCont));
    }
    tty->session.store(0, std::memory_order_relaxed);
    tty->foreground.store(0, std::memory_order_relaxed);
    detach_session(leader.session_seen().value);
}

void hang_up_terminal(fs::Tty& tty) {
    const i32 session = tty.session.exchange(0, std::memory_order_relaxed);
    tty.foreground.store(0, std::memory_order_relaxed);
    tty.hang_up();
    if (session == 0) return;
    detach_session(session);
    if (Ref<Process> leader = find_process(Pid{session})) {
        (void)send_signal(*leader, kernel_signal(kSigHup));
        (void)send_signal(*leader, kernel_signal(kSigCont));
    }
}

fs::Tty* controlling_terminal(Process& p) {
    rt::LockGuard guard{process_tree};
    return p.terminal ? p.terminal->tty : nullptr;
}

Result<void> check_terminal_access(Caller& c, fs::Tty& tty, TerminalAccess how) {
    Process& p = c.process();
    i32 group;
    {
        rt::LockGuard guard{process_tree};
        if (!p.terminal || p.terminal->tty != &tty) return lib::kOk;  // not ours: no job control
        group = p.group.value;
    }
    i32 foreground = tty.foreground.load(std::memory_order_relaxed);
    if (foreground == 0 || foreground == group) return lib::kOk;
    if (how == TerminalAccess::kWrite && (tty.local_flags() & fs::kLocalToStop) == 0) return lib::kOk;
    u32 sig = how == TerminalAccess::kRead ? kSigTtin : kSigTtou;
    // Linux: __tty_check_change(), job_control()
    if (ignores_or_blocks(c.thread(), sig)) {
        if (how == TerminalAccess::kRead) return Errno::kIo;
        return lib::kOk;
    }
    if (group_is_orphaned(group)) return Errno::kIo;
    (void)signal_group(group, kernel_signal(sig));
    return Errno::kRestartSys;
}

Leaf<i64> terminal_ioctl(Caller& c, fs::Tty& tty, u32 request, u64 argument, bool& handled) {
    Process& p = c.process();
    UserAddr at{argument};
    handled = true;
    bool ours = controlling_terminal(p) == &tty;
    switch (request) {
        case fs::kTiocGpgrp: {
            if (!ours) return Errno::kNoTty;
            i32 group = tty.foreground.load(std::memory_order_relaxed);
            TRY(c.user().write(at, &group, sizeof group));
            return i64{0};
        }
        case fs::kTiocSpgrp: {
            if (!ours) return Errno::kNoTty;
            i32 group;
            TRY(c.user().read(&group, at, sizeof group));
            TRY(check_terminal_access(c, tty, TerminalAccess::kChange));
            if (tty.session.load(std::memory_order_relaxed) != p.session_seen().value) return Errno::kNoTty;
            if (group < 0) return Errno::kInval;
            {
                rt::LockGuard guard{process_tree};
                PidEntry* e = pid_entry(group);
                if (!e || e->members.empty()) return Errno::kSrch;
                if (e->members.front()->session != p.session) return Errno::kPerm;
            }
            tty.foreground.store(group, std::memory_order_relaxed);
            return i64{0};
        }
        case fs::kTiocGsid: {
            if (!ours) return Errno::kNoTty;
            i32 session = tty.session.load(std::memory_order_relaxed);
            if (session == 0) return Errno::kNoTty;
            TRY(c.user().write(at, &session, sizeof session));
            return i64{0};
        }
        case fs::kTiocSctty: {
            i32 session = tty.session.load(std::memory_order_relaxed);
            if (is_leader(p) && session == p.session_seen().value) return i64{0};
            if (!is_leader(p) || controlling_terminal(p)) return Errno::kPerm;
            if (session != 0) {
                // Another session's: taken from it only by force and by root.
                if (argument != 1 || !c.creds().capable(fs::kCapSysAdmin)) return Errno::kPerm;
                detach_session(session);
            }
            the_terminal.tty = &tty;
            fs::Tty::hooks.signal_group = &signal_foreground;
            rt::LockGuard guard{process_tree};
            p.terminal = &the_terminal;
            tty.session.store(p.session.value, std::memory_order_relaxed);
            tty.foreground.store(p.group.value, std::memory_order_relaxed);
            return i64{0};
        }
        case fs::kTiocNotty: {
            if (!ours) return Errno::kNoTty;
            if (is_leader(p)) {
                hang_up_session(p);
            } else {
                rt::LockGuard guard{process_tree};
                p.terminal = nullptr;
            }
            return i64{0};
        }
        // Changes of the terminal from the background stop the caller.
        case fs::kTcSets:
        case fs::kTcSetsW:
        case fs::kTcSetsF:
        case fs::kTcFlsh:
        case fs::kTcXonc:
        case fs::kTcSbrk:
        case fs::kTcSbrkp: TRY(check_terminal_access(c, tty, TerminalAccess::kChange)); break;
        default: break;
    }
    handled = false;
    return i64{0};
}

}  // namespace linux
