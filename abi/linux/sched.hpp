// SPDX-License-Identifier: MIT
// Threads and their scheduling (linux/sched.h): clone(2), sched(7).
#pragma once
#include <cstdint>

namespace abi {

// clone(2), CLONE_*; the lowest byte of clone's flags is the exit signal (CSIGNAL).
inline constexpr uint64_t kCloneSignalMask = 0xff, kCloneNewTime = 0x80, kCloneVm = 0x100, kCloneFs = 0x200,
                          kCloneFiles = 0x400, kCloneSighand = 0x800, kClonePidfd = 0x1000, kClonePtrace = 0x2000,
                          kCloneVfork = 0x4000, kCloneParent = 0x8000, kCloneThread = 0x10000, kCloneNewNs = 0x20000,
                          kCloneSysvSem = 0x40000, kCloneSetTls = 0x80000, kCloneParentSetTid = 0x100000,
                          kCloneChildClearTid = 0x200000, kCloneDetached = 0x400000, kCloneUntraced = 0x800000,
                          kCloneChildSetTid = 0x1000000, kCloneNewCgroup = 0x2000000, kCloneNewUts = 0x4000000,
                          kCloneNewIpc = 0x8000000, kCloneNewUser = 0x10000000, kCloneNewPid = 0x20000000,
                          kCloneNewNet = 0x40000000, kCloneIo = 0x80000000, kCloneClearSighand = 0x100000000,
                          kCloneIntoCgroup = 0x200000000;
inline constexpr uint64_t kCloneArgsSize0 = 64;  // CLONE_ARGS_SIZE_VER0
inline constexpr uint64_t kCloneMaxSetTid = 32;  // MAX_PID_NS_LEVEL: most numbers of set_tid

// sched_setscheduler(2), SCHED_*.
enum SchedPolicy : uint32_t {
    kSchedOther,
    kSchedFifo,
    kSchedRoundRobin,
    kSchedBatch,
    kSchedIdle = 5,
    kSchedDeadline = 6
};
inline constexpr uint32_t kSchedResetOnFork = 0x40000000;
inline constexpr int32_t kSchedMinPriority = 1, kSchedMaxPriority = 99;  // of the real-time policies

// sched_setattr(2): SCHED_FLAG_*, SCHED_ATTR_SIZE_VER0.
inline constexpr uint64_t kSchedFlagResetOnFork = 1, kSchedFlagKeepPolicy = 8, kSchedFlagKeepParams = 0x10,
                          kSchedFlagUtilClamp = 0x60, kSchedFlagAll = 0x7f;
inline constexpr uint32_t kSchedAttrSize0 = 48;

inline constexpr uint32_t kCommLength = 16;  // TASK_COMM_LEN, with the NUL (prctl(2), PR_SET_NAME)

// The flags in /proc/PID/stat (proc(5)), PF_RANDOMIZE.
inline constexpr uint32_t kTaskRandomize = 0x400000;

}  // namespace abi
