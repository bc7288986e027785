// SPDX-License-Identifier: MIT
// The shipped kernel's binding of core/checks.hpp: no check can be switched off. The test kernel binds
// tests/kernel/include/core/switched_off.hpp instead (cmake/kernel.cmake, by include path).
#pragma once
#include "core/check_names.hpp"

namespace core::checks {

consteval bool switched_off(Check) { return false; }

}  // namespace core::checks
