// SPDX-License-Identifier: MIT
#include "ext4/write.hpp"

#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/map_write.hpp"
#include "ext4/orphans.hpp"

namespace ext4 {

namespace {

constexpr u32 kWriteCredits = kInsertCredits * 3 + Allocator::kBlockCredits + 1;

// An operation that has changed something and cannot go on leaves a transaction that must not be committed.
Result<void> whole(Volume& v, const Result<void>& r) {
    if (!r.ok() && r.error() != Errno::kRoFs) (void)v.damaged("a change stopped in its middle");
    return r;
}

// A part of the pieces, by bytes.
class Pieces {
public:
    explicit Pieces(std::span<const block::Piece> all) : all_(all) {}
    // Transfers the next `bytes`, to or from the device at `block`.
    Task<Result<void>> transfer(Disk& disk, block::Op op, BlockNo block, u64 bytes) {
        const block::Limits& limits = disk.limits();
        u64 sector = disk.sector_of(block);
        while (bytes != 0) {
            block::Piece parts[kMost];
            u32 n = 0;
            u64 sum = 0;
            while (n < kMost && n < limits.most_pieces && sum < bytes && sum < limits.most_bytes) {
                const u64 most = std::min<u64>(bytes - sum, limits.most_bytes - sum);
                parts[n] = take(most);
                sum += parts[n++].size();
            }
            Batch batch{disk};
            Transfer t;
            t.prepare(op, sector, std::span<const block::Piece>(parts, n), sum);
            batch.start(t);
            while (!batch.ended()) co_await batch.change();
            if (batch.error() != Errno::kOk) co_return batch.error();
            sector += sum / block::kSectorBytes;
            bytes -= sum;
        }
        co_return lib::kOk;
    }
    void zero(u64 bytes) {
        while (bytes != 0) {
            const block::Piece p = take(bytes);
            std::memset(p.data(), 0, p.size());
            bytes -= p.size();
        }
    }

private:
    static constexpr u32 kMost = 16;
    block::Piece take(u64 most) {
        const block::Piece p = all_[at_].subspan(into_);
        const block::Piece part = p.first(std::min<u64>(p.size(), most));
        into_ += part.size();
        if (into_ == all_[at_].size()) {
            ++at_;
            into_ = 0;
        }
        return part;
    }
    std::span<const block::Piece> all_;
    size_t at_ = 0;
    u64 into_ = 0;
};

u64 total(std::span<const block::Piece> memory) {
    u64 n = 0;
    for (const block::Piece& p : memory) n += p.size();
    return n;
}

void grow_size(Inode& i, u64 size) {
    if (size > i.size()) i.set_size(size);
}

// Maps blocks that hold their contents now. `size`: what the file has with them.
Task<Result<void>> map_new(Inode& i, FileBlock logical, BusyExtent* e, u64 size) {
    Volume& v = i.volume;
    auto claim = co_await v.allocator->claim(kInsertBlocks * 3);
    if (!claim.ok()) {
        v.allocator->release(e);
        co_return claim.error();
    }
    auto h = co_await start(v, kWriteCredits);
    if (!h.ok()) {
        v.allocator->release(e);
        co_return h.error();
    }
    const Run run{logical, e->count, e->start, false};
    Result<void> r = EXT4_MUST(v.allocator->take(*h, e));
    if (r.ok()) r = EXT4_MUST(insert_run(*h, i, run));
    if (r.ok()) {
        i.add_blocks(run.count);
        grow_size(i, size);
        r = EXT4_MUST(save_inode(*h, i));
    }
    co_return whole(v, r);
}

Task<Result<void>> map_written(Inode& i, FileBlock logical, u32 count, u64 size) {
    Volume& v = i.volume;
    auto claim = CO_TRY(co_await v.allocator->claim(kInsertBlocks * 3));
    Handle h = CO_TRY(co_await start(v, kWriteCredits));
    Result<void> r = EXT4_MUST(mark_written(h, i, logical, count));
    grow_size(i, size);
    if (r.ok()) r = EXT4_MUST(save_inode(h, i));
    co_return whole(v, r);
}

// Free blocks for the file, at its end or between; commits once if only that sets some free.
Task<Result<BusyExtent*>> find_blocks(Inode& i, FileBlock logical, u32 count) {
    Volume& v = i.volume;
    BlockNo goal = allocation_goal(i);
    if (logical != 0 && i.last_allocated == 0) {
        const Run before = CO_TRY(co_await map(i, logical - 1, 1));
        if (before.block != 0) goal = before.block + 1;
    }
    auto r = co_await v.allocator->reserve(goal, std::min(count, kMaxRun), Allocator::For::kData);
    if (r.ok() || r.error() != Errno::kNoSpc || !v.allocator->has_pending() || !v.journal) co_return r;
    CO_TRY(co_await v.journal->commit_all());
    co_return co_await v.allocator->reserve(goal, std::min(count, kMaxRun), Allocator::For::kData);
}

}  // namespace

u64 largest_size(const Inode& i) {
    const Geometry& g = i.volume.geo;
    if (i.has(kInodeExtents)) return u64{0xffff'ffff} << g.block_shift;
    const u64 n = g.block_bytes / 4;
    const u64 blocks = std::min<u64>(kDirectBlocks + n + n * n + n * n * n, 0xffff'ffff);
    return g.ro_compat & ro_compat::kLargeFile ? blocks << g.block_shift
                                               : std::min<u64>(blocks << g.block_shift, 0x7fff'ffff);
}

Task<Result<void>> write_blocks(Inode& i, FileBlock first, std::span<const block::Piece> memory, u64 size) {
    Volume& v = i.volume;
    CO_TRY(v.check_writable());
    const u32 shift = v.geo.block_shift;
    u32 left = u32(total(memory) >> shift);
    if ((u64{first} + left) << shift > largest_size(i)) co_return Errno::kFBig;
    Pieces pieces{memory};
    for (FileBlock at = first; left != 0;) {
        Run run = CO_TRY(co_await map(i, at, std::min(left, kMaxRun)));
        BusyExtent* e = nullptr;
        if (run.block == 0) {
            e = CO_TRY(co_await find_blocks(i, at, run.count));
            run.count = e->count;
        }
        auto r = co_await pieces.transfer(v.disk, block::Op::kWrite, e ? e->start : run.block, u64{run.count} << shift);
        if (!r.ok()) {
            if (e) v.allocator->release(e);
            co_return r;
        }
        const u64 end = std::min(size, u64{at + run.count} << shift);
        if (e)
            CO_TRY(co_await map_new(i, at, e, end));
        else if (run.unwritten)
            CO_TRY(co_await map_written(i, at, run.count, end));
        at += run.count;
        left -= run.count;
    }
    if (size > i.size()) {
        Handle h = CO_TRY(co_await start(v, 1));
        grow_size(i, size);
        co_return whole(v, EXT4_MUST(save_inode(h, i)));
    }
    co_return lib::kOk;
}

Task<Result<void>> read_blocks(Inode& i, FileBlock first, std::span<const block::Piece> memory) {
    Volume& v = i.volume;
    const u32 shift = v.geo.block_shift;
    Pieces pieces{memory};
    u32 left = u32(total(memory) >> shift);
    for (FileBlock at = first; left != 0;) {
        const Run run = CO_TRY(co_await map(i, at, left));
        if (run.reads_as_zeros())
            pieces.zero(u64{run.count} << shift);
        else
            CO_TRY(co_await pieces.transfer(v.disk, block::Op::kRead, run.block, u64{run.count} << shift));
        at += run.count;
        left -= run.count;
    }
    co_return lib::kOk;
}

namespace {

struct Bounce {
    explicit Bounce(u32 n) : bytes(n), data(static_cast<std::byte*>(rt::allocate(n))) {}
    ~Bounce() {
        if (data) rt::deallocate(data, bytes);
    }
    Bounce(const Bounce&) = delete;
    block::Piece piece(u32 n) const { return {data, n}; }
    u32 bytes;
    std::byte* data;
};

}  // namespace

Task<Result<u64>> write(Inode& i, u64 offset, std::span<const std::byte> from) {
    CO_TRY(i.volume.check_writable());
    if (!i.is_regular()) co_return Errno::kInval;
    if (offset > largest_size(i) || from.size() > largest_size(i) - offset) co_return Errno::kFBig;
    const u32 bytes = i.volume.geo.block_bytes, shift = i.volume.geo.block_shift, most = 16 * bytes;
    Bounce bounce{most};
    if (!bounce.data) co_return Errno::kNoMem;
    for (u64 done = 0; done < from.size();) {
        const u64 at = offset + done;
        const u32 into = u32(at & (bytes - 1));
        const u64 n = std::min<u64>(most - into, from.size() - done);
        const u32 blocks = u32((into + n + bytes - 1) >> shift);
        const FileBlock first = FileBlock(at >> shift);
        // What the first and the last block had stays around the new bytes.
        if (into != 0 || n < bytes) {
            const block::Piece p = bounce.piece(bytes);
            CO_TRY(co_await read_blocks(i, first, std::span(&p, 1)));
        }
        if (blocks > 1 && (into + n) % bytes != 0) {
            const block::Piece p{bounce.data + u64{blocks - 1} * bytes, bytes};
            CO_TRY(co_await read_blocks(i, first + blocks - 1, std::span(&p, 1)));
        }
        std::memcpy(bounce.data + into, from.data() + done, n);
        const block::Piece p = bounce.piece(blocks * bytes);
        CO_TRY(co_await write_blocks(i, first, std::span(&p, 1), at + n));
        done += n;
    }
    co_return from.size();
}

// ---- Sizes ----

namespace {

// The bytes behind the size, in the last block.
Task<Result<void>> zero_tail(Inode& i, u64 size) {
    const u32 bytes = i.volume.geo.block_bytes, into = u32(size & (bytes - 1));
    if (into == 0) co_return lib::kOk;
    const FileBlock last = FileBlock(size >> i.volume.geo.block_shift);
    const Run run = CO_TRY(co_await map(i, last, 1));
    if (run.reads_as_zeros()) co_return lib::kOk;
    Bounce bounce{bytes};
    if (!bounce.data) co_return Errno::kNoMem;
    const u64 sector = i.volume.disk.sector_of(run.block);
    CO_TRY(co_await transfer(i.volume.disk, block::Op::kRead, sector, bounce.piece(bytes)));
    std::memset(bounce.data + into, 0, bytes - into);
    co_return co_await transfer(i.volume.disk, block::Op::kWrite, sector, bounce.piece(bytes));
}

Task<Result<bool>> remove_step(Inode& i, FileBlock from) {
    Volume& v = i.volume;
    Handle h = CO_TRY(co_await start(v, kRemoveCredits));
    const auto more = EXT4_MUST(remove_some(h, i, from));
    Result<void> r = more.error();
    if (r.ok()) r = EXT4_MUST(save_inode(h, i));
    CO_TRY(whole(v, r));
    co_return more.value();
}

}  // namespace

Task<Result<void>> finish_truncate(Inode& i) {
    Volume& v = i.volume;
    const u64 blocks = (i.size() + v.geo.block_bytes - 1) >> v.geo.block_shift;
    const FileBlock from = FileBlock(std::min<u64>(blocks, ~0u));
    while (CO_TRY(co_await remove_step(i, from))) co_await rt::Yield{};
    i.last_allocated = 0;
    Handle h = CO_TRY(co_await start(v, kOrphanCredits));
    co_return whole(v, EXT4_MUST(remove_orphan(h, i)));
}

Task<Result<void>> truncate(Inode& i, u64 size) {
    Volume& v = i.volume;
    CO_TRY(v.check_writable());
    if (!i.is_regular()) co_return Errno::kInval;
    if (size > largest_size(i)) co_return Errno::kFBig;
    const bool shrinks = size < i.size();
    if (shrinks) CO_TRY(co_await zero_tail(i, size));
    {
        Handle h = CO_TRY(co_await start(v, kOrphanCredits + 1));
        Result<void> r = lib::kOk;
        if (shrinks) r = EXT4_MUST(add_orphan(h, i));
        if (r.ok()) {
            i.set_size(size);
            set_time(i, TimeOf::kModified, v.now());
            set_time(i, TimeOf::kChanged, v.now());
            r = EXT4_MUST(save_inode(h, i));
        }
        CO_TRY(whole(v, r));
    }
    if (!shrinks) co_return lib::kOk;
    co_return co_await finish_truncate(i);
}

Task<Result<void>> preallocate(Inode& i, FileBlock first, u32 count) {
    Volume& v = i.volume;
    CO_TRY(v.check_writable());
    if (!i.has(kInodeExtents)) co_return Errno::kOpNotSupp;
    if ((u64{first} + count) << v.geo.block_shift > largest_size(i)) co_return Errno::kFBig;
    while (count != 0) {
        Run run = CO_TRY(co_await map(i, first, std::min(count, kMaxRun)));
        if (run.block == 0) {
            BusyExtent* e = CO_TRY(co_await find_blocks(i, first, run.count));
            run = {first, e->count, e->start, true};
            auto claim = co_await v.allocator->claim(kInsertBlocks);
            auto h = co_await start(v, kWriteCredits);
            if (!claim.ok() || !h.ok()) {
                v.allocator->release(e);
                co_return claim.ok() ? h.error() : claim.error();
            }
            Result<void> r = EXT4_MUST(v.allocator->take(*h, e));
            if (r.ok()) r = EXT4_MUST(insert_run(*h, i, run));
            i.add_blocks(run.count);
            if (r.ok()) r = EXT4_MUST(save_inode(*h, i));
            CO_TRY(whole(v, r));
        }
        first += run.count;
        count -= run.count;
        co_await rt::Yield{};
    }
    co_return lib::kOk;
}

// ---- Attributes, the end ----

Task<Result<void>> change_inode(Inode& i, const InodeChange& c) {
    Volume& v = i.volume;
    Handle h = CO_TRY(co_await start(v, 1));
    if (c.mode) i.raw.mode = u16((i.raw.mode & abi::kTypeMask) | (c.to_mode & abi::kModeMask));
    if (c.owner) {
        i.raw.uid_lo = u16(c.to_uid);
        i.raw.uid_hi = u16(c.to_uid >> 16);
        i.raw.gid_lo = u16(c.to_gid);
        i.raw.gid_hi = u16(c.to_gid >> 16);
    }
    if (c.accessed) set_time(i, TimeOf::kAccessed, c.to_accessed);
    if (c.modified) set_time(i, TimeOf::kModified, c.to_modified);
    set_time(i, TimeOf::kChanged, c.changed);
    co_return whole(v, EXT4_MUST(save_inode(h, i)));
}

Task<Result<void>> fsync(Inode& i) {
    Volume& v = i.volume;
    if (v.read_only) co_return lib::kOk;
    if (!v.journal) co_return co_await sync(v);
    CO_TRY(co_await v.journal->commit(i.changed_in));
    co_return co_await flush(v.disk);
}

Task<Result<void>> remove_inode(Ref<Inode> i) {
    Volume& v = i->volume;
    const bool directory = i->is_directory();
    const bool has_blocks =
        (i->is_regular() || directory || (i->is_symlink() && !i->is_fast_symlink())) && !i->has(kInodeInlineData);
    if (has_blocks)
        while (CO_TRY(co_await remove_step(*i, 0))) co_await rt::Yield{};
    Handle h = CO_TRY(co_await start(v, kOrphanCredits + Allocator::kInodeCredits + 4));
    Result<void> r = EXT4_MUST(release_xattr_block(h, *i));
    if (r.ok()) r = EXT4_MUST(remove_orphan(h, *i));
    if (r.ok()) {
        i->raw.deleted = u32(v.now().seconds);
        if (i->raw.deleted == 0) i->raw.deleted = 1;
        i->set_size(0);
        r = EXT4_MUST(save_inode(h, *i));
    }
    if (r.ok()) r = EXT4_MUST(v.allocator->free_inode(h, i->number, directory));
    v.inodes.remove(*i);
    co_return whole(v, r);
}

}  // namespace ext4
