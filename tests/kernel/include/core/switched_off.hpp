// SPDX-License-Identifier: MIT
// The test kernel's binding of core/checks.hpp: one check may be switched off (`check=NAME` on the command line), before any
// other CPU makes a native call. Read without a lock.
#pragma once
#include "core/check_names.hpp"

namespace core::checks {

extern Check off;  // none unless a test asks; tests/kernel/checks.cpp
inline bool switched_off(Check check) { return off == check; }

}  // namespace core::checks
