// SPDX-License-Identifier: MIT
// Commands of fcntl(2) about owners of open files and hints of the Linux ABI (asm-generic/fcntl.h, linux/fcntl.h).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr uint32_t kFSetOwn = 8, kFGetOwn = 9, kFSetSig = 10, kFGetSig = 11, kFSetOwnEx = 15, kFGetOwnEx = 16,
                          kFGetOwnerUids = 17;
inline constexpr uint32_t kFGetRwHint = 1035, kFSetRwHint = 1036;
inline constexpr uint64_t kMostRwHint = 5;  // RWH_WRITE_LIFE_EXTREME

// struct f_owner_ex
struct OwnerEx {
    int32_t type, pid;
};
inline constexpr int32_t kOwnerThread = 0, kOwnerProcess = 1, kOwnerGroup = 2;

}  // namespace abi
