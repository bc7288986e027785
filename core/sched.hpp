// SPDX-License-Identifier: MIT
// The policy of the run queues: time slices, placement of new threads, balancing.
//
// Round robin within a priority. A slice is armed only while another user thread waits on the same CPU. At the end of a
// slice the CPU gives surplus threads to idle CPUs (they are pushed, never stolen), so that run queues need no lock.
#pragma once
#include "core/thread.hpp"

namespace core::sched {

// The CPUs that run user threads; a CPU that a module owns is not among them. Set before the first thread starts.
void set_user_cpus(CpuSet cpus);
extern CpuSet user_set;
inline CpuSet user_cpus() { return user_set & CpuSet::first(rt::executor_count()); }

// Where a new thread, or one whose affinity changed, should run.
rt::Executor& choose_home(CpuSet affinity, rt::Executor& preferred);

// Before user mode is entered: arms the slice if a thread of its priority waits.
void start_slice(rt::Executor& ex, rt::Priority level = rt::Priority::kUser);
// The same if a user thread of any priority waits: a native thread may work for another of a lower priority, whose turn it
// is, and to which a fastpath returns.
void start_any_slice(rt::Executor& ex);
// The running thread's turn ends then at the latest.
void end_turn_at(rt::Executor& ex, Nanoseconds when);
// The slice is over (kAttnReschedule was seen): offers surplus threads to idle CPUs.
void balance(rt::Executor& ex);

}  // namespace core::sched
