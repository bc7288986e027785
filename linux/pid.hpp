// SPDX-License-Identifier: MIT
// Numbers of threads, processes, groups and sessions (credentials(7), "Process ID"). One number may name all four at
// once; it is free again when it names none. Everything here is guarded by process_tree, but for the finders.
#pragma once
#include "linux/process.hpp"

namespace linux {

inline constexpr i32 kPidMax = 32768;       // /proc/sys/kernel/pid_max of a machine with few CPUs
inline constexpr i32 kFirstPidAgain = 300;  // after the first round

struct PidEntry {
    i32 number = 0;
    Thread* thread = nullptr;
    Process* process = nullptr;                        // until it was waited for
    lib::List<Process, &Process::group_hook> members;  // of the process group of this number
    u32 session_members = 0;
    u64 checked = 0;  // the last look for orphaned groups that came here
};

// kAgain: no number is free; kNoMem.
Result<PidEntry*> allocate_pid();
PidEntry* pid_entry(i32 number);  // null: names nothing
void release_pid_if_unused(PidEntry& e);

// Group and session of a process. The entry of `group` must exist (join: the caller checked; new: the process's own).
void join_group(Process& p, i32 group);
void leave_group(Process& p);
void join_session(Process& p, i32 session);
void leave_session(Process& p);

// The first process with a number >= from; null: there is none.
Ref<Process> next_process(i32 from);

// The process that adopts orphans, pid 1. It has no threads; what it adopts is reaped at once.
Process& init_process();
void set_init_process(Process& p);

// Threads and processes enter and leave.
void link_thread(Thread& t, PidEntry& e);
void unlink_thread(Thread& t);  // not a leader: its number names it until the process is reaped
// Counted no longer: at its end, of a leader when it is reaped or another has taken its number. False: it was not any more.
bool thread_released(Thread& t);
void link_process(Process& p, PidEntry& e);
void unlink_process(Process& p);  // reaped: the number may be used again

// Orphaned process groups (POSIX.1-2017, 3.264). `ignored` counts as gone. process_tree held.
bool orphaned_without(i32 group, Process* ignored);
bool has_stopped_member(i32 group);

}  // namespace linux
