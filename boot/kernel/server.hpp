// SPDX-License-Identifier: MIT
// route=server: the Linux personality runs as a user-level server; the kernel keeps only core/ and the drivers.
#pragma once
#include <span>

#include "hal/bind.hpp"
#include "lib/result.hpp"

namespace boot {

// Starts /.farcall/linux-server of the initial RAM disk with half of the free memory.
Result<void> start_linux_server(const hal::BootInfo& info, std::span<const std::byte> image);

}  // namespace boot
