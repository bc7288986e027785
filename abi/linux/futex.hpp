// SPDX-License-Identifier: MIT
// Futexes and robust lists (linux/futex.h): futex(2), get_robust_list(2).
#pragma once
#include <cstdint>

namespace abi {

// FUTEX_*: operations, and the two flags beside them.
inline constexpr uint32_t kFutexWait = 0, kFutexWake = 1, kFutexFd = 2, kFutexRequeue = 3, kFutexCmpRequeue = 4,
                          kFutexWakeOp = 5, kFutexLockPi = 6, kFutexUnlockPi = 7, kFutexTrylockPi = 8,
                          kFutexWaitBitset = 9, kFutexWakeBitset = 10, kFutexWaitRequeuePi = 11,
                          kFutexCmpRequeuePi = 12, kFutexLockPi2 = 13, kFutexPrivate = 128, kFutexClockRealtime = 256;

// FUTEX_WAKE_OP: FUTEX_OP_* changes the second word, FUTEX_OP_CMP_* compares its old value.
enum FutexOp : uint32_t { kFutexOpSet, kFutexOpAdd, kFutexOpOr, kFutexOpAndNot, kFutexOpXor };
enum FutexCompare : uint32_t {
    kFutexCompareEq,
    kFutexCompareNe,
    kFutexCompareLt,
    kFutexCompareLe,
    kFutexCompareGt,
    kFutexCompareGe
};
inline constexpr uint32_t kFutexOpArgumentShift = 1u << 31;  // FUTEX_OP_OPARG_SHIFT: the argument is a bit number

// The word of a robust or priority-inheriting lock: FUTEX_TID_MASK, FUTEX_OWNER_DIED, FUTEX_WAITERS.
inline constexpr uint32_t kFutexTidMask = 0x3fffffff, kFutexOwnerDied = 0x40000000, kFutexWaiters = 0x80000000;
inline constexpr uint32_t kRobustListLimit = 2048;  // ROBUST_LIST_LIMIT: a list may be circular
inline constexpr uint64_t kRobustHeadSize = 24;     // struct robust_list_head

}  // namespace abi
