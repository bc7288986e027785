// SPDX-License-Identifier: MIT
// Switches off one check of the native calls, for tests of the tests (core/checks.hpp).
#pragma once
#include <string_view>

namespace core::checks {

// Before the first native call. False: no such check.
bool switch_off(std::string_view name);

}  // namespace core::checks
