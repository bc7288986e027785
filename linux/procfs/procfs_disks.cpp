// SPDX-License-Identifier: MIT
// Files of /proc that are about devices and disks (proc(5); Linux Documentation/admin-guide/iostats.rst).
#include "block/disk.hpp"
#include "linux/procfs/procfs.hpp"

namespace linux {

using fs::ProcContext;
using lib::StringBuilder;

Leaf<void> show_devices(StringBuilder& out, const ProcContext&) {
    out.put("Character devices:\n  1 mem\n  4 ttyS\n  5 /dev/tty\n  5 /dev/console\n\nBlock devices:\n");
    if (block::disk_count() != 0) out.add("{:>3} virtblk\n", block::kDiskMajor);
    return lib::kOk;
}

Leaf<void> show_partitions(StringBuilder& out, const ProcContext&) {
    if (block::disk_count() == 0) return lib::kOk;
    out.put("major minor  #blocks  name\n\n");
    constexpr u64 kSectorsPerBlock = 2;  // of 1 KiB
    for (u32 i = 0; i < block::disk_count(); ++i) {
        const block::Disk& disk = block::disk_at(i);
        out.add("{:>4}  {:>7} {:>10} {}\n", block::kDiskMajor, disk.minor(), disk.limits().sectors / kSectorsPerBlock,
                disk.name());
    }
    return lib::kOk;
}

Leaf<void> show_disk_stats(StringBuilder& out, const ProcContext&) {
    auto milliseconds = [](u64 ns) { return ns / 1'000'000; };
    for (u32 i = 0; i < block::disk_count(); ++i) {
        block::Disk& disk = block::disk_at(i);
        const block::Stats s = disk.stats();
        const block::OpStats& flush = s.of[u32(block::Op::kFlush)];
        // Linux counts a flush as a write of no sectors, too.
        auto transfers = [&](block::Op op) {
            const block::OpStats& of = s.of[u32(op)];
            out.add(" {} {} {} {}", of.done + (op == block::Op::kWrite ? flush.done : 0), of.merged, of.sectors,
                    milliseconds(of.nanoseconds));
        };
        out.add("{:>4} {:>7} {}", block::kDiskMajor, disk.minor(), disk.name());
        transfers(block::Op::kRead);
        transfers(block::Op::kWrite);
        out.add(" {} {} {}", s.in_flight, milliseconds(s.busy_nanoseconds), milliseconds(s.weighted_nanoseconds));
        transfers(block::Op::kDiscard);
        out.add(" {} {}\n", flush.done, milliseconds(flush.nanoseconds));
    }
    return lib::kOk;
}

}  // namespace linux
