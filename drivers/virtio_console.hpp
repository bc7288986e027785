// SPDX-License-Identifier: MIT
// The virtio console with several ports (5.3): each named port is a port::Stream.
// Names used: farcall.stdin, farcall.stdout, farcall.stderr, farcall.control.
#pragma once
#include "drivers/virtio.hpp"

namespace drivers {

// Takes over a console device. kNoMem, kNoDev (no multiport feature).
Result<void> start_virtio_console(VirtioDevice& device);
// The port with this name once the host has announced it; null before.
port::Stream* find_console_port(std::string_view name);
// Handles what the device has done, as the interrupt handler would (boot: before interrupts can be taken).
void poll_virtio_console();

}  // namespace drivers
