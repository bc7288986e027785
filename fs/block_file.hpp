// SPDX-License-Identifier: MIT
// Open block devices (/dev/vda). There is no page cache for disks yet: reads and writes go to the device in pieces,
// through a buffer of the kernel's, and wait for it; what does not begin or end at a block is read, changed and written.
//
// Lock: block::Disk::writing (it sleeps) is held by every such write while it is with the device, so that a changed block
// does not take back what another write has put there. O_DIRECT writes have whole blocks and do not take it.
#pragma once
#include "block/disk.hpp"
#include "fs/file.hpp"

namespace fs {

class BlockFile final : public File {
public:
    static constexpr u64 kMemoryAlignment = 512;  // of O_DIRECT (Linux: queue_dma_alignment, a default)
    BlockFile(Path path, u32 flags, block::Disk& disk) : File(std::move(path), flags | kOpenTaskOnly), disk_(disk) {
        kind_ = FileKind::kBlock;
    }
    ~BlockFile() override {
        if (claimed_) disk_.release();
    }
    block::Disk& disk() const { return disk_; }
    u64 bytes() const { return disk_.limits().sectors * block::kSectorBytes; }

    // O_EXCL, once: until the file is closed. False: another one has it.
    bool claim() { return claimed_ = disk_.claim(); }

    // How much of a transfer of `size` bytes at `at` is there. EPERM, ENOSPC: writes; EINVAL: it is not aligned as O_DIRECT
    // needs it. 0: the end of the device.
    Result<u64> transferable(u64 at, u64 size, bool write) const;
    // What was read and is not copied yet, because the memory must be faulted in first.
    class Held {
    public:
        Held() = default;
        Held(Held&&) = delete;
        ~Held();

    private:
        friend class BlockFile;
        rt::FairSemaphore::Guard permit_;  // of Disk::buffers
        class BlockBuffer* buffer_ = nullptr;
        u64 at_ = 0, size_ = 0;
    };
    // Moves the first piece of `memory`, of which at most transferable() is left, to or from the device, and waits for it:
    // how many bytes. kNeedsFault: call again; `held` belongs to the transfer. EIO, ENOMEM.
    Task<Leaf<size_t>> move(UserSpans memory, u64 at, bool write, Held& held);
    // The device's own cache, too. EIO.
    Task<Result<void>> flush() { return block::flush(disk_); }
    // BLKDISCARD: the first piece of [at, at + size), so that its caller can end in between. How many bytes, at most
    // kMostDiscard. EINVAL, EBADF, EOPNOTSUPP, EIO.
    Task<Result<u64>> discard(u64 at, u64 size);
    static constexpr u64 kMostDiscard = u64{256} << 20;

    // They wait for the device: for tasks.
    Leaf<size_t> try_read(const UserSpans&, u64) override { return kNeedsTask; }
    Leaf<size_t> try_write(const UserSpans&, u64) override { return kNeedsTask; }
    Leaf<void> sync() override { return kNeedsTask; }
    bool seekable() const override { return true; }
    bool splices() const override { return true; }
    Leaf<u64> seek(i64 to, u32 whence) override;
    // kNeedsTask: BLKDISCARD.
    Leaf<u64> ioctl(UserMemory& user, u32 request, u64 argument) override;

private:
    bool direct() const { return (flags() & kOpenDirect) != 0; }
    u64 piece_bytes() const;
    Task<Leaf<size_t>> put(UserSpans memory, u64 at, u64 size, class BlockBuffer& buffer);
    block::Disk& disk_;
    bool claimed_ = false;
};

// Opens the block device with this number: ENXIO if there is none. Never waits.
Leaf<Ref<File>> open_block_device(OpenContext& how, u64 device);

}  // namespace fs
