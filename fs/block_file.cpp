// SPDX-License-Identifier: MIT
#include "fs/block_file.hpp"

#include "abi/linux/block.hpp"
#include "fs/creds.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

constexpr u32 kBufferPages = 32;

// Frames that the device reads or writes, as pieces of a page each; the last may be shorter.
class BlockBuffer {
public:
    BlockBuffer() = default;
    BlockBuffer(const BlockBuffer&) = delete;
    ~BlockBuffer() {
        for (u32 i = 0; i < count_; ++i) rt::free_frame(frames_[i]);
    }
    // Once. kNoMem.
    Result<void> allocate(u64 bytes) {
        while (bytes != 0) {
            frames_[count_] = TRY(rt::alloc_frame());
            const u64 n = bytes < kPageSize ? bytes : kPageSize;
            pieces_[count_] = {static_cast<std::byte*>(rt::frame_info(frames_[count_]).bytes()), n};
            ++count_;
            bytes -= n;
        }
        return lib::kOk;
    }
    std::span<const block::Piece> pieces() const { return {pieces_, count_}; }
    // Calls part(memory, its place in the buffer) for what of each page lies in [from, from + n).
    template <class F>
    Leaf<void> each(u64 from, u64 n, F&& part) const {
        for (u64 at = from; at < from + n;) {
            const block::Piece& piece = pieces_[at / kPageSize];
            const u64 in_piece = at % kPageSize, left = from + n - at;
            const u64 here = piece.size() - in_piece < left ? piece.size() - in_piece : left;
            TRY(part(piece.subspan(in_piece, here), at));
            at += here;
        }
        return lib::kOk;
    }

private:
    PhysAddr frames_[kBufferPages];
    block::Piece pieces_[kBufferPages];
    u32 count_ = 0;
};

namespace {

// A transfer of whole blocks that holds [at, at + size).
struct Window {
    u64 start, bytes;  // on the device
    u64 skip;          // of the first block
    u64 size;
    Window(u64 at, u64 n, u64 block)
        : start(at - at % block), bytes((at + n + block - 1) / block * block - start), skip(at % block), size(n) {}
    bool whole() const { return skip == 0 && bytes == size; }
};

Task<Result<void>> run(block::Disk& disk, block::Op op, const Window& w, const BlockBuffer& buffer) {
    block::Request r{.op = op,
                     .sector = w.start / block::kSectorBytes,
                     .sectors = w.bytes / block::kSectorBytes,
                     .pieces = buffer.pieces()};
    co_return co_await block::transfer(disk, r);
}

// Of the window's block at `start`, the bytes [from, from + n) of the window are not written: they become what the device
// has there.
Task<Result<void>> complete_block(block::Disk& disk, const Window& w, const BlockBuffer& buffer, u64 start, u64 from,
                                  u64 n) {
    const u64 block = disk.limits().block_bytes;
    BlockBuffer old;
    CO_TRY(old.allocate(block));
    CO_TRY(co_await run(disk, block::Op::kRead, Window{w.start + start, block, block}, old));
    (void)buffer.each(from, n, [&](block::Piece to, u64 at) -> Leaf<void> {
        std::memcpy(to.data(), old.pieces()[0].data() + (at - start), to.size());
        return lib::kOk;
    });
    co_return lib::kOk;
}

Task<Result<void>> complete_blocks(block::Disk& disk, const Window& w, const BlockBuffer& buffer) {
    const u64 last = w.bytes - disk.limits().block_bytes, end = w.skip + w.size;
    if (w.skip != 0) CO_TRY(co_await complete_block(disk, w, buffer, 0, 0, w.skip));
    if (end != w.bytes) CO_TRY(co_await complete_block(disk, w, buffer, last, end, w.bytes - end));
    co_return lib::kOk;
}

}  // namespace

u64 BlockFile::piece_bytes() const {
    const block::Limits& l = disk_.limits();
    u64 most = kBufferPages * kPageSize;
    if (u64{l.most_pieces} * kPageSize < most) most = l.most_pieces * kPageSize;
    if (l.most_bytes < most) most = l.most_bytes;
    return most - most % l.block_bytes;
}

// Linux: block/fops.c, blkdev_read_iter and blkdev_write_iter.
Result<u64> BlockFile::transferable(u64 at, u64 size, bool write) const {
    if (write && disk_.limits().read_only) return Errno::kPerm;
    if (size == 0) return u64{0};
    if (at >= bytes()) return write ? Result<u64>(Errno::kNoSpc) : Result<u64>(u64{0});
    const u64 n = size < bytes() - at ? size : bytes() - at;
    if (direct() && (at | n) % disk_.limits().block_bytes != 0) return Errno::kInval;
    return n;
}

BlockFile::Held::~Held() { delete buffer_; }

Task<Leaf<size_t>> BlockFile::put(UserSpans memory, u64 at, u64 size, BlockBuffer& buffer) {
    const Window w{at, size, disk_.limits().block_bytes};
    auto copied = buffer.each(w.skip, w.size, [&](block::Piece to, u64 place) {
        return memory.copy_in(place - w.skip, to.data(), to.size());
    });
    if (copied.error() == kNeedsFault) memory.expect(w.size);
    if (!copied.ok()) co_return copied.error();
    rt::FairSemaphore::Guard guard;
    if (!direct() || !w.whole()) {
        auto locked = co_await disk_.writing.take();
        if (!locked.ok()) co_return locked.error();
        guard = locked.take();
        if (!w.whole())
            if (auto r = co_await complete_blocks(disk_, w, buffer); !r.ok()) co_return r.error();
    }
    if (auto r = co_await run(disk_, block::Op::kWrite, w, buffer); !r.ok()) co_return r.error();
    co_return size_t(w.size);
}

Task<Leaf<size_t>> BlockFile::move(UserSpans memory, u64 at, bool write, Held& held) {
    const u64 block = disk_.limits().block_bytes;
    // The first piece ends where the others do.
    const u64 room = piece_bytes() - at % block;
    const Window w{at, memory.size() < room ? memory.size() : room, block};
    if (!held.buffer_ || held.at_ != at || held.size_ < w.size) {
        if (!held.permit_) {
            auto permit = co_await disk_.buffers.take();
            if (!permit.ok()) co_return permit.error();
            held.permit_ = permit.take();
        }
        delete std::exchange(held.buffer_, rt::make<BlockBuffer>());
        if (!held.buffer_) co_return Errno::kNoMem;
        held.at_ = at;
        held.size_ = 0;  // it holds nothing yet
        if (auto r = held.buffer_->allocate(w.bytes); !r.ok()) co_return r.error();
        if (!write) {
            if (auto r = co_await run(disk_, block::Op::kRead, w, *held.buffer_); !r.ok()) co_return r.error();
            held.size_ = w.size;
        }
    }
    if (write) co_return co_await put(memory, at, w.size, *held.buffer_);
    auto copied = held.buffer_->each(w.skip, w.size, [&](block::Piece from, u64 place) {
        return memory.copy_out(place - w.skip, from.data(), from.size());
    });
    if (copied.error() == kNeedsFault) memory.expect(w.size);
    if (!copied.ok()) co_return copied.error();
    co_return size_t(w.size);
}

Task<Result<u64>> BlockFile::discard(u64 at, u64 size) {
    const block::Limits& l = disk_.limits();
    if (!writable()) co_return Errno::kBadF;
    if (!l.has_discard) co_return Errno::kOpNotSupp;
    if ((at | size) % l.block_bytes != 0 || size == 0 || at + size < at || at + size > bytes()) co_return Errno::kInval;
    u64 sectors = size / block::kSectorBytes;
    if (sectors > l.most_discard) sectors = l.most_discard;
    if (sectors > kMostDiscard / block::kSectorBytes) sectors = kMostDiscard / block::kSectorBytes;
    block::Request r{.op = block::Op::kDiscard, .sector = at / block::kSectorBytes, .sectors = sectors};
    CO_TRY(co_await block::transfer(disk_, r));
    co_return sectors* block::kSectorBytes;
}

// Linux: fixed_size_llseek.
Leaf<u64> BlockFile::seek(i64 to, u32 whence) {
    rt::LockGuard guard{offset_lock};
    i64 base = 0;
    switch (whence) {
        case kSeekSet: break;
        case kSeekCur: base = i64(offset); break;
        case kSeekEnd: base = i64(bytes()); break;
        default: return Errno::kInval;
    }
    i64 place;
    if (__builtin_add_overflow(base, to, &place) || place < 0 || u64(place) > bytes()) return Errno::kInval;
    return offset = u64(place);
}

Leaf<u64> BlockFile::ioctl(UserMemory& user, u32 request, u64 argument) {
    const block::Limits& l = disk_.limits();
    auto put = [&](auto value) -> Leaf<u64> {
        TRY(user.write(UserAddr{argument}, &value, sizeof value));
        return u64{0};
    };
    switch (request) {
        case kBlkRoGet: return put(i32{l.read_only});
        case kBlkGetSize: return put(u64{l.sectors});
        case kBlkGetSize64: return put(u64{bytes()});
        case kBlkSectorSize: return put(i32(l.block_bytes));
        case kBlkBlockSizeGet: return put(i32(kPageSize < l.block_bytes ? l.block_bytes : kPageSize));
        case kBlkPhysicalSize:
        case kBlkIoMin: return put(u32{l.block_bytes});
        case kBlkIoBest:
        case kBlkAlignmentOffset:
        case kBlkDiscardZeroes: return put(u32{0});
        case kBlkReadAheadGet: return put(u64{0});  // there is none
        case kBlkRotational: return put(u16{1});
        case kBlkSectorsGet: return put(u16(l.most_bytes / block::kSectorBytes));
        case kBlkDiscard: return kNeedsTask;
        default: return Errno::kNoTty;
    }
}

Leaf<Ref<File>> open_block_device(OpenContext& how, u64 device) {
    block::Disk* disk = block::find_disk(dev_major(device), dev_minor(device));
    if (!disk) return Errno::kNxIo;
    auto file = TRY(make_file<BlockFile>(how.path, how.flags & ~kOpenOnce, *disk));
    if ((how.flags & kOpenExclusive) && !static_cast<BlockFile&>(*file).claim()) return Errno::kBusy;
    return file;
}

}  // namespace fs
