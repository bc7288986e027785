// SPDX-License-Identifier: MIT
// Capabilities of the Linux ABI (capabilities(7)): linux/capability.h, and what prctl(2) does with the ambient set.
#pragma once
#include <cstdint>

namespace abi {

// The second argument of prctl(PR_CAP_AMBIENT).
inline constexpr uint64_t kAmbientIsSet = 1, kAmbientRaise = 2, kAmbientLower = 3, kAmbientClearAll = 4;

// Numbers that are looked at besides those of fs/creds.hpp.
inline constexpr uint32_t kCapSysModule = 16, kCapSysRawio = 17, kCapSysPacct = 20, kCapSysBoot = 22,
                          kCapSysTtyConfig = 26, kCapSyslog = 34, kCapBpf = 39;

}  // namespace abi
