// SPDX-License-Identifier: MIT
#include "core/checks.hpp"

namespace core::checks {

constinit Check off = Check::none;

namespace {
constexpr const char* kNames[] = {"none",
#define X(NAME) #NAME,
                                  FARCALL_CHECKS(X)
#undef X
};
}  // namespace

bool switch_off(std::string_view name) {
    for (u32 i = 1; i < std::size(kNames); ++i)
        if (name == kNames[i]) {
            off = Check(i);
            return true;
        }
    return false;
}

const char* name_of(u32 n) { return n < std::size(kNames) ? kNames[n] : nullptr; }

}  // namespace core::checks
