// SPDX-License-Identifier: MIT
// The life of a thread, for the files of linux/ that take part in it.
#pragma once
#include "linux/signal/signal.hpp"
#include "linux/task/process.hpp"

namespace linux {

// The root coroutine of every thread. Ends when the thread does; what is left is exit_thread's.
Task<void> thread_main(Thread& t);

// Makes a range accessible without waiting, page by page.
enum class FaultIn : u8 { kReady, kMustWait, kBad };
FaultIn fault_in_now(Thread& t, const fs::UserMemory::Fault& range);
// The same, as far as it can be, waiting if need be: for memory, too (FIND_MEMORY).
Task<Accessible> fault_in_patiently(Thread& t, fs::UserMemory::Fault range);
// All of it. kFault: it cannot be; kNoMem: there is no memory.
Task<Result<void>> fault_in_range(Thread& t, fs::UserMemory::Fault range);

// A copy to or from the program that may wait; errors are left to the caller (kFault).
Task<Result<void>> put_u32(Thread& t, UserAddr at, u32 value);

// Gives back all that the thread has. Cannot fail, does not wait. True: it was the last of its process, whose end is
// left: exit_process().
bool exit_thread(Thread& t);
// Takes descriptors and directories from the thread, before exit_thread() or as a part of it. The memory goes after them:
// while there is something to look at, its owner may have forbidden that (may_inspect).
void leave_files(Thread& t);
// Takes the thread's memory from it, the same way: from then on no lookup finds it through the thread.
Ref<AddressSpace> leave_address_space(Thread& t);
// The user-memory part of the end and of execve: robust futexes, clear_child_tid. A piece at a time: called until it is
// done.
enum class Leaving : u8 {
    kDone,
    kMore,      // give way, then continue
    kMustWait,  // wait_for_user_memory(), then continue; if there is no memory for that, forsake_user_memory()
};
Leaving leave_user_memory(Thread& t);
Task<void> wait_for_user_memory(Thread& t);
// The present part is not accessible: it is skipped, the rest is still done.
void forsake_user_memory(Thread& t);
// In a coroutine: all of it. A macro, because it must not need memory for a coroutine of its own.
#define LEAVE_USER_MEMORY(t)                                                 \
    for (Leaving left_; (left_ = leave_user_memory(t)) != Leaving::kDone;) { \
        if (left_ == Leaving::kMore) {                                       \
            co_await rt::Yield{};                                            \
        } else if (auto wait_ = wait_for_user_memory(t); wait_.valid()) {    \
            co_await wait_;                                                  \
        } else {                                                             \
            forsake_user_memory(t);                                          \
        }                                                                    \
    }
// The vfork parent continues.
void release_vfork_parent(Thread& t);
// The last thread of its process has gone: timers, orphans, zombie, SIGCHLD. True: there are more orphans, give way and
// call it again. `look` is 0 at first.
bool exit_process(Thread& last, u64& look);
void report_stop(Process& p);

// Ends every other thread of the group and waits until they have gone; the caller is the leader then, whatever it was
// before (execve). True: it already was, and alone. kAgain: another thread does the same, or the group is exiting.
Task<Result<bool>> end_other_threads(Thread& t);

// exit(2): the thread alone ends.
void begin_thread_exit(Thread& t, i32 wait_status);

// kOk with the call's value in the registers, or what leaf_outcome says.
void finish_syscall(Thread& t, Result<i64> r);

// Fills the table; before the first thread starts.
void build_syscall_table();
// An unknown call: counted, and logged once per number with the program's name.
void note_unknown_call(Thread& t, u64 number);

}  // namespace linux
