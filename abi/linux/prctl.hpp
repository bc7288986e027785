// SPDX-License-Identifier: MIT
// Settings of a process (linux/prctl.h, asm/prctl.h of x86): prctl(2), arch_prctl(2); and personality(2)
// (linux/personality.h).
#pragma once
#include <cstdint>

namespace abi {

// PR_*.
enum Prctl : uint32_t {
    kPrSetPdeathsig = 1,
    kPrGetPdeathsig = 2,
    kPrGetDumpable = 3,
    kPrSetDumpable = 4,
    kPrGetKeepcaps = 7,
    kPrSetKeepcaps = 8,
    kPrGetTiming = 13,
    kPrSetTiming = 14,
    kPrSetName = 15,
    kPrGetName = 16,
    kPrGetSeccomp = 21,
    kPrCapbsetRead = 23,
    kPrCapbsetDrop = 24,
    kPrGetTsc = 25,
    kPrSetTsc = 26,
    kPrGetSecurebits = 27,
    kPrSetSecurebits = 28,
    kPrSetTimerslack = 29,
    kPrGetTimerslack = 30,
    kPrPerfEventsDisable = 31,
    kPrPerfEventsEnable = 32,
    kPrMceKill = 33,
    kPrMceKillGet = 34,
    kPrSetChildSubreaper = 36,
    kPrGetChildSubreaper = 37,
    kPrSetNoNewPrivs = 38,
    kPrGetNoNewPrivs = 39,
    kPrGetTidAddress = 40,
    kPrSetThpDisable = 41,
    kPrGetThpDisable = 42,
    kPrCapAmbient = 47,
    kPrGetSpeculation = 52,
    kPrSetSpeculation = 53,
    kPrSetIoFlusher = 57,
    kPrGetIoFlusher = 58,
    kPrSetSyscallUserDispatch = 59,
    kPrSetPtracer = 0x59616d61  // of Yama
};
inline constexpr uint64_t kPrMceClear = 0, kPrMceSet = 1, kPrMceDefault = 2;  // PR_MCE_KILL_CLEAR, _SET, _DEFAULT
inline constexpr uint64_t kPrTscEnable = 1;
enum PrCapAmbient : uint64_t {
    kPrCapAmbientIsSet = 1,
    kPrCapAmbientRaise = 2,
    kPrCapAmbientLower = 3,
    kPrCapAmbientClearAll = 4
};
// PR_GET_SPECULATION_CTRL and PR_SET_SPECULATION_CTRL: which (PR_SPEC_*), and its states.
enum PrSpeculation : uint64_t { kPrSpecStoreBypass, kPrSpecIndirectBranch, kPrSpecL1dFlush };
inline constexpr uint64_t kPrSpecEnable = 2, kPrSpecDisable = 4, kPrSpecForceDisable = 8;

// arch_prctl(2), ARCH_*.
enum ArchPrctl : int32_t {
    kArchSetGs = 0x1001,
    kArchSetFs = 0x1002,
    kArchGetFs = 0x1003,
    kArchGetGs = 0x1004,
    kArchGetCpuid = 0x1011,
    kArchSetCpuid = 0x1012
};

// personality(2). kPersonalityQuery changes nothing. Set-user-ID programs start without the flags of
// kPersonalityClearOnSetId: ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC (PER_CLEAR_ON_SETID).
inline constexpr uint32_t kPersonalityQuery = 0xffffffff, kPersonalityStickyTimeouts = 0x4000000;
inline constexpr uint32_t kPersonalityClearOnSetId = 0x0040000 | 0x0100000 | 0x0200000 | 0x0400000;

}  // namespace abi
