// SPDX-License-Identifier: MIT
// Numbers of file systems (linux/magic.h), statfs(2).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr uint32_t kMagicAnonInodes = 0x09041934, kMagicPipeFs = 0x50495045, kMagicProc = 0x9fa0,
                          kMagicTmpfs = 0x01021994;

}  // namespace abi
