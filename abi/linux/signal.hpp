// SPDX-License-Identifier: MIT
// Signals (asm/signal.h, asm-generic/siginfo.h): signal(7), sigaction(2), sigaltstack(2).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr uint32_t kSignals = 64;
enum Signal : uint32_t {
    kSigHup = 1,
    kSigInt,
    kSigQuit,
    kSigIll,
    kSigTrap,
    kSigAbrt,
    kSigBus,
    kSigFpe,
    kSigKill,
    kSigUsr1,
    kSigSegv,
    kSigUsr2,
    kSigPipe,
    kSigAlrm,
    kSigTerm,
    kSigStkflt,
    kSigChld,
    kSigCont,
    kSigStop,
    kSigTstp,
    kSigTtin,
    kSigTtou,
    kSigUrg,
    kSigXcpu,
    kSigXfsz,
    kSigVtalrm,
    kSigProf,
    kSigWinch,
    kSigIo,
    kSigPwr,
    kSigSys
};

// sigaction(2): handlers that are no address, SA_*.
inline constexpr uint64_t kSigDefault = 0, kSigIgnore = 1;
inline constexpr uint64_t kSaNoCldStop = 1, kSaNoCldWait = 2, kSaSigInfo = 4, kSaExposeTagBits = 0x800,
                          kSaRestorer = 0x04000000, kSaOnStack = 0x08000000, kSaRestart = 0x10000000,
                          kSaNoDefer = 0x40000000, kSaResetHand = 0x80000000;
struct SigAction {
    uint64_t handler, flags, restorer, mask;
};
inline constexpr uint64_t kSigSetSize = 8;  // sizeof(sigset_t) of the kernel

// rt_sigprocmask(2).
enum SigMaskHow : uint32_t { kSigBlock, kSigUnblock, kSigSetMask };

// sigaltstack(2), SS_* and the least size (MINSIGSTKSZ).
inline constexpr uint32_t kSsOnStack = 1, kSsDisable = 2, kSsAutoDisarm = 0x80000000;
inline constexpr uint64_t kMinSignalStack = 2048;
struct SigStack {
    uint64_t base;
    int32_t flags;
    uint32_t pad;
    uint64_t size;
};

// si_code values.
inline constexpr int32_t kSiUser = 0, kSiKernel = 0x80, kSiQueue = -1, kSiTimer = -2, kSiTkill = -6;
inline constexpr int32_t kCldExited = 1, kCldKilled = 2, kCldStopped = 5, kCldContinued = 6;
inline constexpr int32_t kSegvMapErr = 1, kSegvAccErr = 2, kBusAdrAln = 1, kBusAdrErr = 2, kFpeIntDiv = 1,
                         kFpeFltDiv = 3, kFpeFltOvf = 4, kFpeFltUnd = 5, kFpeFltRes = 6, kFpeFltInv = 7, kIllIllOpn = 2,
                         kTrapBrkpt = 1, kTrapTrace = 2;

}  // namespace abi
