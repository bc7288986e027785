// SPDX-License-Identifier: MIT
// Job control for the terminal. See terminal.hpp.
#include "linux/terminal.hpp"

#include "linux/task/pid.hpp"

namespace linux {

namespace {

constinit Terminal the_terminal RT_GUARDED_BY(process_tree);
constinit u64 attachments RT_GUARDED_BY(process_tree) = 0;

void signal_foreground(i32 group, u32 sig) { (void)signal_group(group, kernel_signal(sig)); }

// The terminal becomes that of the leader's session.
void attach(fs::Tty& tty, Process& leader) RT_REQUIRES(process_tree) {
    the_terminal = {.tty = &tty, .attachment = ++attachments};
    fs::Tty::hooks.signal_group = &signal_foreground;
    leader.terminal = the_terminal.attachment;
    tty.session.store(leader.session.value, std::memory_order_relaxed);
    tty.foreground.store(leader.group.value, std::memory_order_relaxed);
}

bool is_leader(const Process& p) { return p.session_seen() == p.pid; }

}  // namespace

void attach_first_terminal(Process& leader) {
    auto tty = fs::Tty::get();
    if (!tty.ok()) return;
    rt::LockGuard guard{process_tree};
    attach(*tty.value(), leader);
}

Terminal* terminal_of(const Process& p) {
    return p.terminal != 0 && p.terminal == the_terminal.attachment ? &the_terminal : nullptr;
}

namespace {
// Its session has no terminal any more, nor has any of its processes. The terminal's fields change under the lock, together:
// another leader may ask for it at once.
struct Detached {
    i32 session = 0, group = 0;  // 0: it was no session's
};
Detached detach(fs::Tty& tty) RT_REQUIRES(process_tree) {
    the_terminal.attachment = 0;
    return {tty.session.exchange(0, std::memory_order_relaxed), tty.foreground.exchange(0, std::memory_order_relaxed)};
}
}  // namespace

void hang_up_session(Process& leader) {
    if (!is_leader(leader)) return;
    Detached from;
    {
        rt::LockGuard guard{process_tree};
        const Terminal* terminal = terminal_of(leader);
        if (!terminal) return;
        from = detach(*terminal->tty);
    }
    if (from.group == 0) return;
    (void)signal_group(from.group, kernel_signal(kSigHup));
    (void)signal_group(from.group, kernel_signal(kSigCont));
}

void hang_up_terminal(fs::Tty& tty) {
    Detached from;
    {
        rt::LockGuard guard{process_tree};
        from = detach(tty);
    }
    tty.hang_up();
    if (from.session == 0) return;
    if (Ref<Process> leader = find_process(Pid{from.session})) {
        (void)send_signal(*leader, kernel_signal(kSigHup));
        (void)send_signal(*leader, kernel_signal(kSigCont));
    }
}

fs::Tty* controlling_terminal(Process& p) {
    rt::LockGuard guard{process_tree};
    const Terminal* terminal = terminal_of(p);
    return terminal ? terminal->tty : nullptr;
}

Result<void> check_terminal_access(Caller& c, fs::Tty& tty, TerminalAccess how) {
    Process& p = c.process();
    i32 group;
    {
        rt::LockGuard guard{process_tree};
        const Terminal* terminal = terminal_of(p);
        if (!terminal || terminal->tty != &tty) return lib::kOk;  // not ours: no job control
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
            rt::LockGuard guard{process_tree};
            if (tty.session.load(std::memory_order_relaxed) != p.session.value) return Errno::kNoTty;
            if (group < 0) return Errno::kInval;
            PidEntry* e = pid_entry(group);
            if (!e || e->members.empty()) return Errno::kSrch;
            if (e->members.front()->session != p.session) return Errno::kPerm;
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
            rt::LockGuard guard{process_tree};
            i32 session = tty.session.load(std::memory_order_relaxed);
            if (is_leader(p) && session == p.session.value) return i64{0};
            if (!is_leader(p) || terminal_of(p)) return Errno::kPerm;
            if (session != 0) {
                // Another session's: taken from it only by force and by root.
                if (argument != 1 || !c.creds().capable(fs::kCapSysAdmin)) return Errno::kPerm;
            }
            attach(tty, p);
            return i64{0};
        }
        case fs::kTiocNotty: {
            if (!ours) return Errno::kNoTty;
            if (is_leader(p)) {
                hang_up_session(p);
            } else {
                rt::LockGuard guard{process_tree};
                lose_terminal(p);
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
