// SPDX-License-Identifier: MIT
// Sockets (linux/socket.h, linux/net.h): socket(2), sendmsg(2).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr uint32_t kSocketFamilies = 46;             // NPROTO
inline constexpr uint32_t kSocketTypeMax = 10;              // SOCK_PACKET
inline constexpr uint32_t kSocketTypeMask = 0xf;            // SOCK_TYPE_MASK; the rest are flags
inline constexpr uint32_t kMessageCompatible = 0x80000000;  // MSG_CMSG_COMPAT: for the kernel's own use

}  // namespace abi
