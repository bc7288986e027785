// SPDX-License-Identifier: MIT
// Structures of the calls on processes, time and resources of the Linux x86_64 ABI (getrusage(2), uname(2), sysinfo(2),
// times(2), getitimer(2), getrlimit(2), clone3(2), sched_getattr(2)).
#pragma once
#include "abi/linux/stat.hpp"

namespace abi {

struct Rusage {
    Timeval user, system;
    int64_t maxrss, ixrss, idrss, isrss, minflt, majflt, nswap, inblock, oublock, msgsnd, msgrcv, nsignals, nvcsw,
        nivcsw;
};
static_assert(sizeof(Rusage) == 144);

struct Utsname {
    char sysname[65], nodename[65], release[65], version[65], machine[65], domainname[65];
};
static_assert(sizeof(Utsname) == 390);

struct Sysinfo {
    int64_t uptime;
    uint64_t loads[3];
    uint64_t totalram, freeram, sharedram, bufferram, totalswap, freeswap;
    uint16_t procs, pad;
    uint64_t totalhigh, freehigh;
    uint32_t mem_unit;
};
static_assert(sizeof(Sysinfo) == 112);

struct Tms {
    int64_t user, system, child_user, child_system;  // clock ticks, 100 a second
};
struct Itimerval {
    Timeval interval, value;
};
struct Timezone {
    int32_t minutes_west, dst;
};
struct Rlimit64 {
    uint64_t soft, hard;
};
struct CloneArgs {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
static_assert(sizeof(CloneArgs) == 88);

struct SchedAttr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};
static_assert(sizeof(SchedAttr) == 56);

}  // namespace abi
