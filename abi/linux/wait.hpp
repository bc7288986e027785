// SPDX-License-Identifier: MIT
// Waiting for children (linux/wait.h): wait4(2), waitid(2).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr uint32_t kWaitNoHang = 1, kWaitUntraced = 2, kWaitExited = 4, kWaitContinued = 8,
                          kWaitNoWait = 0x01000000, kWaitNoThread = 0x20000000, kWaitAll = 0x40000000,
                          kWaitClone = 0x80000000;

// waitid(2): whom (P_ALL, P_PID, P_PGID, P_PIDFD).
enum WaitId : int32_t { kWaitByAll, kWaitById, kWaitByGroup, kWaitByPidfd };

// The status word: an exit code, or the signal that ended the process; a stop; a continuation.
constexpr int32_t exit_status_of(int32_t code) { return (code & 0xff) << 8; }
constexpr int32_t exit_code_of(int32_t status) { return (status >> 8) & 0xff; }
inline constexpr int32_t kStatusSignalMask = 0x7f, kStatusStopped = 0x7f, kStatusContinued = 0xffff;

}  // namespace abi
