// SPDX-License-Identifier: MIT
// The auxiliary vector (linux/auxvec.h, asm/auxvec.h of x86): getauxval(3).
#pragma once
#include <cstdint>

namespace abi {

// AT_*.
enum Aux : uint64_t {
    kAtNull,
    kAtPhdr = 3,
    kAtPhent,
    kAtPhnum,
    kAtPagesz,
    kAtBase,
    kAtFlags,
    kAtEntry,
    kAtUid = 11,
    kAtEuid,
    kAtGid,
    kAtEgid,
    kAtPlatform,
    kAtHwcap,
    kAtClktck,
    kAtSecure = 23,
    kAtRandom = 25,
    kAtHwcap2,
    kAtExecfn = 31,
    kAtSysinfoEhdr = 33,
    kAtMinSigStkSz = 51
};

}  // namespace abi
