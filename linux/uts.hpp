// SPDX-License-Identifier: MIT
// The system's names (uname(2)), for the call and for /proc/sys/kernel.
#pragma once
#include <string_view>

#include "lib/result.hpp"
#include "rt/spinlock.hpp"

namespace linux {

inline constexpr const char* kSystemName = "Linux";
inline constexpr const char* kRelease = "6.1.0-farcall";
inline constexpr const char* kVersion = "#1 SMP Farcall";

struct HostNames {
    char node[65] = "farcall";
    char domain[65] = "(none)";
};
extern rt::Guarded<HostNames, rt::Rank::log> host_names;

}  // namespace linux
