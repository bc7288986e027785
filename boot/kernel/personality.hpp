// SPDX-License-Identifier: MIT
// Linux inside the kernel. An image either has it (boot/with_linux) or leaves it to a user-level server
// (boot/without_linux); see cmake/kernel.cmake.
#pragma once
#include <span>

#include "boot/kernel/cmdline.hpp"
#include "port/bind.hpp"
#include "rt/task.hpp"

namespace boot::personality {

// Before the job "boot": routes look into the table of calls before the first program starts.
void add();
// Places its modules as the command line says; gives up if that cannot be, and without Linux.
void configure(const CommandLine& words);
// Starts the first program from the root archive, or gives up.
Task<void> start(const hal::BootInfo& info, std::span<const std::byte> cpio);

}  // namespace boot::personality
