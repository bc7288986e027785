// SPDX-License-Identifier: MIT
#include "block/disk.hpp"

namespace block {

namespace {

// Written at boot, by one job; the count is published last.
constinit Disk* disks[kMostDisks] = {};
constinit rt::Atomic<u32> count{0};

}  // namespace

Result<void> add_disk(Disk& disk) {
    const u32 number = count.load(std::memory_order_relaxed);
    if (number == kMostDisks) return Errno::kNoSpc;
    disk.number_ = number;
    disk.name_[0] = 'v';
    disk.name_[1] = 'd';
    disk.name_[2] = char('a' + number);
    disk.name_length_ = 3;
    disks[number] = &disk;
    count.store(number + 1, std::memory_order_release);
    return lib::kOk;
}

u32 disk_count() { return count.load(std::memory_order_acquire); }
Disk& disk_at(u32 number) { return *disks[number]; }
void forget_disks() { count.store(0, std::memory_order_relaxed); }

Disk* find_disk(std::string_view name) {
    for (u32 i = 0; i < disk_count(); ++i)
        if (disks[i]->name() == name) return disks[i];
    return nullptr;
}

Disk* find_disk(u32 major, u32 minor) {
    if (major != kDiskMajor || minor % kMinorsEach != 0 || minor / kMinorsEach >= disk_count()) return nullptr;
    return disks[minor / kMinorsEach];
}

Task<Result<void>> flush_all() {
    Errno first = Errno::kOk;
    for (u32 i = 0; i < disk_count(); ++i) {
        auto r = co_await flush(*disks[i]);
        if (!r.ok() && first == Errno::kOk) first = r.error();
    }
    if (first != Errno::kOk) co_return first;
    co_return lib::kOk;
}

}  // namespace block
