// SPDX-License-Identifier: MIT
// The initial root file system: "newc" cpio archives (Linux Documentation/driver-api/early-userspace/buffer-format.rst).
#pragma once
#include <span>

#include "fs/path.hpp"

namespace fs {

struct CpioStats {
    u32 entries = 0;
    u64 bytes = 0;           // of file data
    u64 adopted_frames = 0;  // used in place
    u64 error_offset = 0;    // where the archive is damaged
    const char* error = nullptr;
};

// Unpacks several archives, one after the other with zeros between, below `root` (on a tmpfs). Names that exist are
// replaced, directories kept. kInval: damaged, stats says where; what came before stays. kNoMem, kNoSpc.
// `frames`: the physical address of the archive, if its frames are the caller's to give (rt::mem_add_used_range). Then whole
// pages of files that are page-aligned there become page cache without a copy, all other frames are freed, and the
// archive must not be used any more.
Result<void> unpack_cpio(std::span<const std::byte> archive, const Path& root, PhysAddr frames = PhysAddr{},
                         CpioStats* stats = nullptr);

// The contents of one regular file (path without leading slash), in place. kNoEnt; kInval: damaged.
Result<std::string_view> find_in_cpio(std::span<const std::byte> archive, std::string_view name);

}  // namespace fs
