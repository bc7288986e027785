// SPDX-License-Identifier: MIT
// What the program loader needs to know about this machine.
#pragma once
#include "lib/types.hpp"

namespace linux::arch {

inline constexpr u16 kElfMachine = 62;  // EM_X86_64 (System V ABI, AMD64 supplement)

}  // namespace linux::arch
