// SPDX-License-Identifier: MIT
// Making the objects of the native interface that need more than memory. Errors: kNoMem. Each has one reference, the
// caller's, and is charged by the caller.
#pragma once
#include "core/ipc/thread.hpp"

namespace core {

// Where a thread may run, and may let others run.
CpuSet cpus_of(NativeThread& t);
Result<Object*> make_space(Pool& pool, u64 slots);
// It begins with what its maker has: on the same CPU, of the same Sched, at the same priority or the highest of the Sched.
// `with_utcb`: it has a UTCB page, which kThreadConfigure maps.
Result<Object*> make_thread(NativeThread& maker, bool with_utcb);
// With the CPUs of its maker's, and no budget.
Result<Object*> make_sched(NativeThread& maker, u64 highest);

}  // namespace core
