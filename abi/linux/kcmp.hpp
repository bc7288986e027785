// SPDX-License-Identifier: MIT
// What kcmp(2) compares (linux/kcmp.h).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr int32_t kKcmpFile = 0, kKcmpVm = 1, kKcmpFiles = 2, kKcmpFs = 3, kKcmpSighand = 4, kKcmpIo = 5,
                         kKcmpSysvsem = 6, kKcmpEpollTfd = 7;

}  // namespace abi
