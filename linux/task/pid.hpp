// SPDX-License-Identifier: MIT
// Numbers of threads, processes, groups and sessions (credentials(7), "Process ID"). One number may name all four at
// once; it is free again when it names none.
#pragma once
#include "linux/task/process.hpp"

namespace linux {

inline constexpr i32 kPidMax = 32768;       // /proc/sys/kernel/pid_max of a machine with few CPUs
inline constexpr i32 kFirstPidAgain = 300;  // after the first round

struct PidEntry {
    i32 number = 0;
    u64 serial = 0;  // from 1: no two entries since boot have the same, as those of one number
    Thread* thread = nullptr;
    Process* process = nullptr;                        // until it was waited for
    lib::List<Process, &Process::group_hook> members;  // of the process group of this number
    u32 session_members = 0;
    u64 checked = 0;  // the last look for orphaned groups that came here
};

// kAgain: no number is free; kNoMem.
Result<PidEntry*> allocate_pid() RT_REQUIRES(process_tree);
PidEntry* pid_entry(i32 number) RT_REQUIRES(process_tree);  // null: names nothing
void release_pid_if_unused(PidEntry& e) RT_REQUIRES(process_tree);

// Group and session of a process. The entry of `group` must exist (join: the caller checked; new: the process's own).
void join_group(Process& p, i32 group) RT_REQUIRES(process_tree);
void leave_group(Process& p) RT_REQUIRES(process_tree);
void join_session(Process& p, i32 session) RT_REQUIRES(process_tree);
void leave_session(Process& p) RT_REQUIRES(process_tree);

// The first process with a number >= from; null: there is none.
Ref<Process> next_process(i32 from) RT_EXCLUDES(process_tree);
// All, in the order of their numbers.
void for_each_process_locked(lib::FunctionRef<void(Process&)> out) RT_REQUIRES(process_tree);

// A signal to more processes than are looked at in one go. It is as if it was sent to all at one moment: who was made by one that
// it had reached does not get it, and who it has not reached sends it to itself before it makes a process. One at a time.
class SignalWalk {
public:
    bool has(const Process& p) const RT_REQUIRES(process_tree) {
        return group_ >= 0 && p.reached != number_ && in_scope(p);
    }
    // Of a group: those that were reached are at the end of its list, so that the walk costs its members alone.
    void reach(Process& p) RT_REQUIRES(process_tree);
    // The next one of the group; null: all were reached.
    Process* next_member() const RT_REQUIRES(process_tree);
    using Send = lib::FunctionRef<void(Process&)>;
    // `group` 0: all but pid 1. `sender` counts as reached then. `send` is called under process_tree, by any CPU, until end().
    void begin(i32 group, Process& sender, const Send& send) RT_REQUIRES(process_tree);
    void end() RT_REQUIRES(process_tree) { group_ = -1; }

private:
    bool in_scope(const Process& p) const RT_REQUIRES(process_tree);
    u64 number_ = 0;
    i32 group_ = -1;  // there is none
    const Send* send_ = nullptr;
};
extern SignalWalk signal_walk RT_GUARDED_BY(process_tree);

// The process that adopts orphans, pid 1. It has no threads; what it adopts is reaped at once.
Process& init_process();
void set_init_process(Process& p);

// Threads and processes enter and leave.
void link_thread(Thread& t, PidEntry& e) RT_REQUIRES(process_tree);
void unlink_thread(Thread& t)
    RT_REQUIRES(process_tree);  // not a leader: its number names it until the process is reaped
// Counted no longer: at its end, of a leader when it is reaped or another has taken its number. False: it was not any more.
bool thread_released(Thread& t) RT_REQUIRES(process_tree);
void link_process(Process& p, PidEntry& e) RT_REQUIRES(process_tree);
void unlink_process(Process& p) RT_REQUIRES(process_tree);  // reaped: the number may be used again

// Orphaned process groups (POSIX.1-2017, 3.264). `ignored` counts as gone.
bool orphaned_without(i32 group, Process* ignored) RT_REQUIRES(process_tree);
bool has_stopped_member(i32 group) RT_REQUIRES(process_tree);
// Has the group more members than that? Looks at so many.
bool has_more_members(i32 group, u32 than) RT_EXCLUDES(process_tree);

}  // namespace linux
