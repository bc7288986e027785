// SPDX-License-Identifier: MIT
// Resource limits (asm-generic/resource.h, linux/resource.h): getrlimit(2), getrusage(2), getpriority(2).
#pragma once
#include <cstdint>

namespace abi {

// RLIMIT_*.
enum Rlimit : uint32_t {
    kRlimCpu,
    kRlimFsize,
    kRlimData,
    kRlimStack,
    kRlimCore,
    kRlimRss,
    kRlimNproc,
    kRlimNofile,
    kRlimMemlock,
    kRlimAs,
    kRlimLocks,
    kRlimSigpending,
    kRlimMsgqueue,
    kRlimNice,
    kRlimRtprio,
    kRlimRttime,
    kRlimCount
};

enum RusageWho : int32_t { kRusageChildren = -1, kRusageSelf, kRusageThread };     // RUSAGE_*
enum PriorityWhich : int32_t { kPriorityProcess, kPriorityGroup, kPriorityUser };  // PRIO_*

}  // namespace abi
