// SPDX-License-Identifier: MIT
#include "tests/kernel/checks.hpp"

#include "core/switched_off.hpp"

namespace core::checks {

constinit Check off = Check::none;

bool switch_off(std::string_view name) {
    for (u32 i = 1; i < std::size(kCheckNames); ++i)
        if (name == kCheckNames[i]) {
            off = Check(i);
            return true;
        }
    return false;
}

}  // namespace core::checks
