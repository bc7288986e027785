// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/journal.hpp"
#include "ext4/orphans.hpp"
#include "ext4/volume.hpp"

namespace ext4 {

Volume::Volume(block::Device& device) : disk(device), cache(disk) {}

Volume::~Volume() {
    drop_orphans(*this);
    RT_ASSERT(inodes.empty(), "ext4: an inode is in use at the end");
    if (descriptors) {
        for (u32 i = 0; i < geo.descriptor_blocks; ++i) descriptors[i].~BufferRef();
        rt::deallocate(descriptors, sizeof(BufferRef) * geo.descriptor_blocks);
    }
    super_buffer = {};
}

Errno Volume::damaged(const char* what) {
    if (!damage) damage = what;
    failed.store(true, std::memory_order_relaxed);
    return Errno::kUClean;
}

namespace {

// The superblock, before the size of blocks is known: the first 4 KiB, which every size of sectors divides.
Task<Result<void>> probe(Volume& v, bool replayed, MountReport& report) {
    constexpr u32 kBytes = 4096;
    auto* head = static_cast<std::byte*>(rt::allocate(kBytes));
    if (!head) co_return Errno::kNoMem;
    const u64 sectors = v.disk.limits().sectors;
    Result<void> r = Errno::kInval;
    if (sectors >= kBytes / block::kSectorBytes)
        r = co_await transfer(v.disk, block::Op::kRead, 0, block::Piece(head, kBytes));
    if (r.ok()) {
        const auto& raw = *reinterpret_cast<const RawSuper*>(head + kSuperOffset);
        const auto geo = read_geometry(raw, sectors, replayed, report);
        if (geo.ok())
            v.geo = geo.value();
        else
            r = geo.error();
    }
    rt::deallocate(head, kBytes);
    co_return r;
}

Task<Result<void>> read_metadata(Volume& v, bool replayed, MountReport& report) {
    v.super_buffer = {};
    for (u32 i = 0; v.descriptors && i < v.geo.descriptor_blocks; ++i) v.descriptors[i] = {};
    v.cache.drop_clean();
    v.super_buffer = CO_TRY(co_await v.cache.read(kSuperOffset / v.geo.block_bytes));
    v.super = v.super_buffer->as<RawSuper>(kSuperOffset % v.geo.block_bytes);
    co_return co_await read_descriptors(v, replayed, report);
}

// Writes the superblock as it is in memory, which no transaction has changed since it was written.
Task<Result<void>> write_super(Volume& v) {
    set_super_checksum(v);
    const block::Piece memory{v.super_buffer->data, v.geo.block_bytes};
    CO_TRY(co_await transfer(v.disk, block::Op::kWrite, v.disk.sector_of(v.super_buffer->block), memory));
    co_return co_await flush(v.disk);
}

void set_recover(Volume& v, bool on) {
    const u32 features = v.super->feature_incompat & ~u32{incompat::kRecover};
    v.super->feature_incompat = on ? features | incompat::kRecover : features;
}

Task<Result<void>> replay_journal(Volume& v, MountReport& report) {
    v.journal = CO_TRY(rt::make_owned<Journal>(v));
    CO_TRY(co_await v.journal->open(report));
    if (!v.journal->needs_replay()) co_return lib::kOk;
    if (v.options.read_only && v.options.no_replay) co_return lib::kOk;
    if (v.disk.limits().read_only) {
        report.problem = "the journal must be replayed, and the device is read-only";
        co_return Errno::kRoFs;
    }
    CO_TRY(co_await v.journal->replay(report));
    const Geometry before = v.geo;
    CO_TRY(co_await probe(v, true, report));
    if (v.geo.block_bytes != before.block_bytes || v.geo.descriptor_blocks != before.descriptor_blocks) {
        report.problem = "the journal changes the size of the file system";
        co_return Errno::kOpNotSupp;
    }
    v.cache.set_blocks(v.geo.blocks);
    if (v.geo.incompat & incompat::kRecover && v.options.read_only) {
        // Nothing else will say that the journal is empty now.
        CO_TRY(co_await read_metadata(v, true, report));
        set_recover(v, false);
        CO_TRY(co_await write_super(v));
    }
    co_return lib::kOk;
}

Task<Result<void>> begin_writing(Volume& v, MountReport& report) {
    v.read_only = false;
    v.allocator = CO_TRY(rt::make_owned<Allocator>(v));
    v.generation.store(crc32c(v.geo.seed, v.super, sizeof *v.super) ^ u32(v.now().nanoseconds));
    if (v.journal) {
        set_recover(v, true);
        CO_TRY(co_await v.journal->begin(report));
    } else {
        v.super->state = u16(v.super->state & ~u32{kStateValid});
    }
    CO_TRY(co_await write_super(v));
    auto cleaned = co_await clean_up_orphans(v);
    // What cannot be cleaned up stays on the list; the volume has been damaged then, and is not written.
    if (!cleaned.ok()) report.problem = v.damage ? v.damage : "orphans cannot be removed";
    co_return lib::kOk;
}

Task<Result<void>> mount_in(Volume& v, MountReport& report) {
    CO_TRY(co_await probe(v, false, report));
    if (v.geo.block_bytes < v.disk.limits().block_bytes || v.geo.block_bytes > v.disk.limits().most_bytes) {
        report.problem = "blocks that the device cannot transfer";
        co_return Errno::kOpNotSupp;
    }
    v.disk.set_block_bytes(v.geo.block_bytes);
    CO_TRY(v.cache.start(v.geo.blocks, v.options.most_buffers));
    const bool has_journal = v.geo.compat & compat::kHasJournal;
    CO_TRY(co_await read_metadata(v, !has_journal, report));
    if (has_journal) {
        CO_TRY(co_await replay_journal(v, report));
        CO_TRY(co_await read_metadata(v, !v.options.no_replay, report));
    }
    bool writing = !v.options.read_only && !v.disk.limits().read_only;
    if (const char* name = writing ? unsupported_feature(v.geo, true) : nullptr) {
        report.feature = name;
        report.problem = "mounted read-only because of a feature";
        writing = false;
    }
    Ref<Inode> root = CO_TRY(co_await get_inode(v, kRootInode));
    if (!root->is_directory()) {
        report.problem = "the root is no directory";
        co_return Errno::kUClean;
    }
    if (writing) co_return co_await begin_writing(v, report);
    v.journal.reset();
    co_return lib::kOk;
}

// What the superblock counts; transactions leave it alone.
Task<Result<void>> write_counts(Volume& v) {
    Handle h = CO_TRY(co_await start(v, 1));
    CO_TRY(h.change(*v.super_buffer));
    const u64 blocks = v.allocator->free_blocks();
    v.super->free_blocks_lo = u32(blocks);
    if (v.geo.incompat & incompat::k64Bit) v.super->free_blocks_hi = u32(blocks >> 32);
    v.super->free_inodes = u32(v.allocator->free_inodes());
    v.super->write_time = u32(v.now().seconds);
    if (!v.journal) v.super->state = u16(v.super->state | kStateValid);
    set_super_checksum(v);
    co_return lib::kOk;
}

}  // namespace

Task<Result<rt::Owned<Volume>>> mount(block::Device& device, MountOptions options, MountReport& report) {
    rt::Owned<Volume> v = CO_TRY(rt::make_owned<Volume>(device));
    v->options = options;
    auto r = co_await mount_in(*v, report);
    if (!r.ok()) co_return r.error();
    co_return std::move(v);
}

Task<Result<void>> unmount(Volume& v) {
    drop_orphans(v);
    if (v.read_only) co_return lib::kOk;
    if (v.failed.load(std::memory_order_relaxed)) co_return Errno::kIo;
    CO_TRY(co_await write_counts(v));
    if (v.journal) {
        CO_TRY(co_await v.journal->checkpoint_all());
        CO_TRY(co_await v.journal->finish());
        set_recover(v, false);
        CO_TRY(co_await write_super(v));
    } else {
        CO_TRY(co_await v.cache.write_dirty());
        CO_TRY(co_await flush(v.disk));
    }
    v.read_only = true;
    co_return lib::kOk;
}

Task<Result<void>> sync(Volume& v) {
    if (v.read_only) co_return lib::kOk;
    if (v.journal)
        CO_TRY(co_await v.journal->commit_all());
    else {
        auto guard = CO_TRY(co_await v.change_lock.lock());
        CO_TRY(co_await v.cache.write_dirty());
    }
    co_return co_await flush(v.disk);
}

VolumeStats stats(const Volume& v) {
    VolumeStats s{};
    const Geometry& g = v.geo;
    s.free_blocks = v.allocator ? v.allocator->free_blocks() : v.free_blocks;
    s.free_inodes = u32(v.allocator ? v.allocator->free_inodes() : v.free_inodes);
    const u64 reserved =
        join(v.super->reserved_blocks_lo, g.incompat & incompat::k64Bit ? u32(v.super->reserved_blocks_hi) : 0);
    s.blocks = g.blocks - std::min(v.overhead_blocks, g.blocks);
    s.available_blocks = s.free_blocks > reserved ? s.free_blocks - reserved : 0;
    s.inodes = g.inodes;
    s.block_bytes = g.block_bytes;
    for (u32 i = 0; i < 8; ++i) s.id |= u64{u8(g.uuid[i] ^ g.uuid[i + 8])} << (i * 8);
    return s;
}

}  // namespace ext4
