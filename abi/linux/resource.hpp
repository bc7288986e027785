// SPDX-License-Identifier: MIT
// Resource limits (asm-generic/resource.h): getrlimit(2).
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

}  // namespace abi
