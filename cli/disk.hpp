// SPDX-License-Identifier: MIT
// The disks of a machine: files that the guest reads and writes as virtio block devices (run --disk).
#pragma once
#include <string>
#include <vector>

#include "cli/util.hpp"

namespace cli {

struct DiskSpec {
    fs::path file;
    bool read_only = false;
};

// "FILE" or "FILE,ro".
DiskSpec parse_disk(const std::string& text);

// Files as disks, checked and locked for as long as this lives (flock(2); QEMU takes locks of its own in addition). Throws
// Failure, one line, for a file that is missing, cannot be opened, is empty, not whole sectors, in use, or given twice.
class DiskFiles {
public:
    explicit DiskFiles(const std::vector<DiskSpec>& disks);

private:
    std::vector<UniqueFd> locks_;
};

// QEMU's words for them.
std::vector<std::string> disk_arguments(const std::vector<DiskSpec>& disks, int cpus, bool microvm);

}  // namespace cli
