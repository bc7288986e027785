// SPDX-License-Identifier: MIT
// Job control for the terminal. See terminal.hpp.
#include "linux/terminal.hpp"

#include "linux/task/pid.hpp"

namespace linux {

namespace {

constinit Terminal the_terminal RT_GUARDED_BY(process_tree);
constinit u64 attachments RT_GUARDED_BY(process_tree) = 0;

void signal_members(PidEntry& group, u32 sig) RT_REQUIRES(process_tree) {
    for (Process& p : group.members) (void)send_signal(p, kernel_signal(sig));
}

// Null: there is none, or it has gone.
PidEntry* foreground_of(const Terminal& terminal) RT_REQUIRES(process_tree) {
    PidEntry* e = pid_entry(terminal.tty->foreground.load(std::memory_order_relaxed));
    return e && e->serial == terminal.foreground ? e : nullptr;
}
void set_foreground(Terminal& terminal, const PidEntry& group) RT_REQUIRES(process_tree) {
    terminal.foreground = group.serial;
    terminal.tty->foreground.store(group.number, std::memory_order_relaxed);
}

void signal_foreground(fs::Tty& tty, u32 sig) {
    rt::LockGuard guard{process_tree};
    if (the_terminal.tty != &tty || the_terminal.attachment == 0) return;
    if (PidEntry* group = foreground_of(the_terminal)) signal_members(*group, sig);
}

// The terminal becomes that of the leader's session.
void attach(fs::Tty& tty, Process& leader) RT_REQUIRES(process_tree) {
    the_terminal = {.tty = &tty, .attachment = ++attachments};
    fs::Tty::hooks.signal_foreground = &signal_foreground;
    leader.terminal = the_terminal.attachment;
    tty.session.store(leader.session.value, std::memory_order_relaxed);
    set_foreground(the_terminal, *pid_entry(leader.group.value));
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
void detach(fs::Tty& tty) RT_REQUIRES(process_tree) {
    the_terminal.attachment = the_terminal.foreground = 0;
    tty.session.store(0, std::memory_order_relaxed);
    tty.foreground.store(0, std::memory_order_relaxed);
}
}  // namespace

void hang_up_session(Process& leader, LeaderDoes what) {
    if (!is_leader(leader)) return;
    fs::Tty* tty;
    {
        rt::LockGuard guard{process_tree};
        const Terminal* terminal = terminal_of(leader);
        if (!terminal) return;
        tty = terminal->tty;
        PidEntry* group = foreground_of(*terminal);
        detach(*tty);
        if (group) signal_members(*group, kSigHup);
        if (group && what == LeaderDoes::kGivesUp) signal_members(*group, kSigCont);
    }
    // Who still has it open shall not read what its next user types.
    if (what == LeaderDoes::kEnds) tty->hang_up();
}

void hang_up_terminal(fs::Tty& tty) {
    Ref<Process> leader;
    {
        rt::LockGuard guard{process_tree};
        PidEntry* session = pid_entry(tty.session.load(std::memory_order_relaxed));
        detach(tty);
        if (session && session->process && session->process->try_ref()) leader = Ref<Process>::adopt(session->process);
    }
    tty.hang_up();
    if (!leader) return;
    (void)send_signal(*leader, kernel_signal(kSigHup));
    (void)send_signal(*leader, kernel_signal(kSigCont));
}

fs::Tty* controlling_terminal(Process& p) {
    rt::LockGuard guard{process_tree};
    const Terminal* terminal = terminal_of(p);
    return terminal ? terminal->tty : nullptr;
}

void take_opened_terminal(fs::Tty& tty, const void* caller) {
    Process& p = static_cast<Caller*>(const_cast<void*>(caller))->process();
    rt::LockGuard guard{process_tree};
    if (!is_leader(p) || terminal_of(p) || tty.session.load(std::memory_order_relaxed) != 0) return;
    attach(tty, p);
}

Result<void> check_terminal_access(Caller& c, fs::Tty& tty, TerminalAccess how) {
    Process& p = c.process();
    rt::LockGuard guard{process_tree};
    const Terminal* terminal = terminal_of(p);
    if (!terminal || terminal->tty != &tty) return lib::kOk;  // not ours: no job control
    PidEntry& group = *pid_entry(p.group.value);
    if (terminal->foreground == 0 || terminal->foreground == group.serial) return lib::kOk;
    if (how == TerminalAccess::kWrite && (tty.local_flags() & fs::kLocalToStop) == 0) return lib::kOk;
    u32 sig = how == TerminalAccess::kRead ? kSigTtin : kSigTtou;
    // Linux: __tty_check_change(), job_control()
    if (ignores_or_blocks(c.thread(), sig)) {
        if (how == TerminalAccess::kRead) return Errno::kIo;
        return lib::kOk;
    }
    if (orphaned_without(group.number, nullptr)) return Errno::kIo;
    signal_members(group, sig);
    return Errno::kRestartSys;
}

Leaf<i64> terminal_ioctl(Caller& c, const fs::File& file, fs::Tty& tty, u32 request, u64 argument, bool& handled) {
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
            if (auto r = check_terminal_access(c, tty, TerminalAccess::kChange); !r.ok())
                return r.error() == Errno::kIo ? Errno::kNoTty : r.error();  // of an orphaned group
            rt::LockGuard guard{process_tree};
            Terminal* terminal = terminal_of(p);
            if (!terminal || terminal->tty != &tty) return Errno::kNoTty;
            if (group < 0) return Errno::kInval;
            PidEntry* e = pid_entry(group);
            if (!e || e->members.empty()) return Errno::kSrch;
            if (e->members.front()->session != p.session) return Errno::kPerm;
            set_foreground(*terminal, *e);
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
            if (!file.readable() && !c.creds().capable(fs::kCapSysAdmin)) return Errno::kPerm;
            attach(tty, p);
            return i64{0};
        }
        case fs::kTiocNotty: {
            if (!ours) return Errno::kNoTty;
            if (is_leader(p)) {
                hang_up_session(p, LeaderDoes::kGivesUp);
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
        case fs::kTiocSetd:
        case fs::kTcSbrk:
        case fs::kTcSbrkp: TRY(check_terminal_access(c, tty, TerminalAccess::kChange)); break;
        // Input as if it were typed.
        case fs::kTiocSti:
            if (!ours && !c.creds().capable(fs::kCapSysAdmin)) return Errno::kPerm;
            break;
        default: break;
    }
    handled = false;
    return i64{0};
}

}  // namespace linux
