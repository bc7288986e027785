// SPDX-License-Identifier: MIT
// The shipped kernel's binding of core/checks.hpp: no check can be switched off. The test kernel binds
// tests/kernel/include/core/switched_off.hpp instead (cmake/kernel.cmake, by include path).
#pragma once
#include "core/check_names.hpp"

namespace core::checks {

// Called only where a check has failed. The empty statement keeps the compiler from computing the error beside the
// result of a check that holds (if-conversion), which costs instructions on the path that counts.
[[gnu::always_inline]] inline bool switched_off(Check) {
    __asm__ volatile("");
    return false;
}

}  // namespace core::checks
