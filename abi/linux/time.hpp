// SPDX-License-Identifier: MIT
// Clocks and timers (linux/time.h, linux/timerfd.h): clock_gettime(2), clock_nanosleep(2), setitimer(2), timerfd_create(2).
#pragma once
#include <cstdint>

namespace abi {

// CLOCK_*.
enum ClockId : int32_t {
    kClockRealtime,
    kClockMonotonic,
    kClockProcessCpu,
    kClockThreadCpu,
    kClockMonotonicRaw,
    kClockRealtimeCoarse,
    kClockMonotonicCoarse,
    kClockBoottime,
    kClockRealtimeAlarm,
    kClockBoottimeAlarm,
    kClockTai = 11
};
// CPU clocks by number (linux/posix-timers.h): ~pid << 3, a thread's or a process's, and which time.
inline constexpr uint32_t kCpuClockMask = 3, kCpuClockPerThread = 4, kCpuClockShift = 3;
inline constexpr uint32_t kCpuClockProf = 0, kCpuClockVirtual = 1, kCpuClockSched = 2, kCpuClockFd = 3;

inline constexpr uint32_t kTimerAbsolute = 1;                             // TIMER_ABSTIME
inline constexpr uint32_t kTimerfdAbsolute = 1, kTimerfdCancelOnSet = 2;  // TFD_TIMER_*

enum ItimerKind : uint32_t { kItimerReal, kItimerVirtual, kItimerProf, kItimerKinds };  // ITIMER_*

inline constexpr uint64_t kTicksPerSecond = 100;  // USER_HZ, sysconf(_SC_CLK_TCK)

}  // namespace abi
