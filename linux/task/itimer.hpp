// SPDX-License-Identifier: MIT
// The three interval timers of a process (setitimer(2)) and its RLIMIT_CPU.
#pragma once
#include "abi/linux/time.hpp"
#include "linux/task/process.hpp"

namespace linux {

struct ItimerValue {
    u64 interval = 0, value = 0;  // nanoseconds; value: until the next expiry, 0 disarmed
};
// kNoMem. Returns the old value.
Result<ItimerValue> set_timer(Process& p, ItimerKind kind, ItimerValue to);
ItimerValue get_timer(Process& p, ItimerKind kind);
// SIGALRM, sent to the process, was taken out of its queue: a real-time timer with an interval, which has waited for this,
// runs again.
void alarm_taken(Process& p) RT_REQUIRES(p.signals.lock);
// At exit, before the process becomes a zombie: nothing fires afterwards. execve keeps them.
void stop_timers(Process& p);
void destroy_timers(IntervalTimers* timers);
// RLIMIT_CPU was changed (or inherited): watch it if it is finite.
Result<void> watch_cpu_limit(Process& p);

}  // namespace linux
