// SPDX-License-Identifier: MIT
// Job control: sessions, the controlling terminal, the foreground group (termios(3), tty_ioctl(4), credentials(7)).
//
// There is one terminal. Its session and foreground group are fields of fs::Tty. Each time that it becomes a session's it is
// attached anew; Process::terminal, guarded by process_tree, says which attachment a process has: when the session loses the
// terminal, all its processes do at once.
#pragma once
#include "fs/tty.hpp"
#include "linux/task/process.hpp"

namespace linux {

struct Terminal {
    fs::Tty* tty = nullptr;
    u64 attachment = 0;  // the present one; 0: it is no session's
    // The entry of the group whose number is tty->foreground (PidEntry::serial). When the group has gone, others may get
    // the number: they are not in the foreground.
    u64 foreground = 0;
};
// The controlling terminal; null: it has none.
Terminal* terminal_of(const Process& p) RT_REQUIRES(process_tree);

// Gives the first process, a session leader, the machine's terminal if it has one.
void attach_first_terminal(Process& leader);
// A session leader gives its terminal up (TIOCNOTTY) or ends: the session loses it, the foreground group gets SIGHUP, and
// SIGCONT in the first case; in the second the terminal is hung up too (Linux: disassociate_ctty).
enum class LeaderDoes : bool { kGivesUp, kEnds };
void hang_up_session(Process& leader, LeaderDoes what);
// vhangup(2): the session loses the terminal, its leader gets SIGHUP and SIGCONT, and open files of the terminal end.
void hang_up_terminal(fs::Tty& tty);
// setsid(2): the process has no terminal any more.
inline void lose_terminal(Process& p) RT_REQUIRES(process_tree) { p.terminal = 0; }
// For open(2) of /dev/tty.
fs::Tty* controlling_terminal(Process& p);

// A terminal was opened, by `caller` (OpenContext): a session leader without one gets it, if it is no session's
// (Linux: tty_open_proc_set_tty).
void take_opened_terminal(fs::Tty& tty, const void* caller);

// The ioctls of job control; kNoTty if `request` is none of them (then it is the file's).
Leaf<i64> terminal_ioctl(Caller& c, const fs::File& file, fs::Tty& tty, u32 request, u64 argument, bool& handled);
// May the caller read, write or change its terminal now? Otherwise its group was signalled: kRestartSys, or EIO for a read
// that nobody would ever allow.
enum class TerminalAccess : u8 { kRead, kWrite, kChange };
Result<void> check_terminal_access(Caller& c, fs::Tty& tty, TerminalAccess how);

}  // namespace linux
