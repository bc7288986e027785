// SPDX-License-Identifier: MIT
// The end of processes, for linux/task/exit.cpp, wait.cpp and init.cpp.
#pragma once
#include "linux/task/process.hpp"

namespace linux {

// A zombie leaves the tree and the table of numbers; its usage goes to its parent. The caller then
// owns the table's reference, and drops it without the lock.
void reap_locked(Process& p) RT_REQUIRES(process_tree);
// The other half, without locks: drops what the process still has and the reference that the table of numbers had.
void let_go_of(Process& reaped);

// When this one ends, everything ends: the others are killed and `on_exit` is called.
void set_first_program(Process& p, void (*on_exit)(i32 wait_status));

bool is_first_program(const Process& p);

// Kills every process and calls on_exit: the first program has ended, or reboot(2).
void end_machine(i32 wait_status);

}  // namespace linux
