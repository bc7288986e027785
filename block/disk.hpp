// SPDX-License-Identifier: MIT
// The disks of the machine: drivers add them at boot, and they live for ever. Found by name or by device number.
#pragma once
#include "block/queue.hpp"
#include "rt/fair_semaphore.hpp"

namespace block {

// virtblk's numbers on Linux 6.1: a dynamic major, and 16 minors for each disk (drivers/block/virtio_blk.c, PART_BITS).
inline constexpr u32 kDiskMajor = 254, kMinorsEach = 16;

class Disk : public Device {
public:
    std::string_view name() const final { return {name_, name_length_}; }
    const Limits& limits() const final { return limits_; }
    u32 minor() const { return number_ * kMinorsEach; }
    virtual Stats stats() = 0;
    // Exclusive use (O_EXCL, a mounted file system). False: it is in use so.
    bool claim() { return !claimed_.exchange(true, std::memory_order_acquire); }
    void release() { claimed_.store(false, std::memory_order_release); }
    // Held by who writes a part of a block, which takes a read and a write, and by every other write through a buffer.
    rt::FairSemaphore writing{1};
    // One for each transfer between the disk and a program, which has a buffer of the kernel's: what all programs
    // together can make it hold is bounded.
    static constexpr u32 kMostBuffers = 32;
    rt::FairSemaphore buffers{kMostBuffers};

protected:
    Limits limits_;

private:
    friend Result<void> add_disk(Disk& disk);
    char name_[16] = {};
    u32 name_length_ = 0, number_ = 0;
    rt::Atomic<bool> claimed_{false};
};

inline constexpr u32 kMostDisks = 26;  // vda to vdz
// Gives it a name and a number. kNoSpc: there are as many as can be.
Result<void> add_disk(Disk& disk);
u32 disk_count();
Disk& disk_at(u32 number);  // below disk_count()
// Null: none.
Disk* find_disk(std::string_view name);
Disk* find_disk(u32 major, u32 minor);
// Flushes all of them, one after the other. The first error; the others are flushed all the same.
Task<Result<void>> flush_all();
// Unit tests: the disks are forgotten.
void forget_disks();

}  // namespace block
