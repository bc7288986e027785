// SPDX-License-Identifier: MIT
// From an initial archive to the first program: what every placement does at boot.
#pragma once
#include <span>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace linux {

// Tells the port about the personality. Before the first thread exists.
void register_personality();

// Unpacks the cpio archive into the root, mounts /dev and /proc, and starts the program that /.farcall/init names:
// the number of arguments in decimal, the arguments, the environment, each ended by a NUL.
// `frames` is the archive's physical address if its frames may be taken over (they are gone afterwards), else 0.
// on_exit gets the wait(2) status when it has ended. From a running job.
Result<void> start_from_archive(std::span<const std::byte> cpio, PhysAddr frames, void (*on_exit)(i32 wait_status));

}  // namespace linux
