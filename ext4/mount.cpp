// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "ext4/volume.hpp"

namespace ext4 {

Volume::Volume(block::Device& device) : disk(device), cache(disk) {}

Volume::~Volume() {
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
Task<Result<void>> probe(Volume& v, MountReport& report) {
    constexpr u32 kBytes = 4096;
    auto* head = static_cast<std::byte*>(rt::allocate(kBytes));
    if (!head) co_return Errno::kNoMem;
    Result<void> r = lib::kOk;
    if (v.disk.limits().sectors < kBytes / block::kSectorBytes)
        r = Errno::kInval;
    else
        r = co_await transfer(v.disk, block::Op::kRead, 0, block::Piece(head, kBytes));
    if (r.ok()) {
        const auto geo =
            read_geometry(*reinterpret_cast<const RawSuper*>(head + kSuperOffset), v.disk.limits().sectors, report);
        if (geo.ok())
            v.geo = geo.value();
        else
            r = geo.error();
    }
    rt::deallocate(head, kBytes);
    co_return r;
}

Task<Result<void>> read_super(Volume& v) {
    v.super_buffer = CO_TRY(co_await v.cache.read(kSuperOffset / v.geo.block_bytes));
    v.super = v.super_buffer->as<RawSuper>(kSuperOffset % v.geo.block_bytes);
    co_return lib::kOk;
}

Task<Result<void>> mount_in(Volume& v, MountReport& report) {
    CO_TRY(co_await probe(v, report));
    if (v.geo.block_bytes < v.disk.limits().block_bytes || v.geo.block_bytes > v.disk.limits().most_bytes) {
        report.problem = "blocks that the device cannot transfer";
        co_return Errno::kOpNotSupp;
    }
    v.disk.set_block_bytes(v.geo.block_bytes);
    CO_TRY(v.cache.start(v.geo.blocks, v.options.most_buffers));
    CO_TRY(co_await read_super(v));
    CO_TRY(co_await read_descriptors(v, report));
    Ref<Inode> root = CO_TRY(co_await get_inode(v, kRootInode));
    if (!root->is_directory()) {
        report.problem = "the root is no directory";
        co_return Errno::kUClean;
    }
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

Task<Result<void>> unmount(Volume& v) { co_return lib::kOk; }

Task<Result<void>> sync(Volume& v) { co_return lib::kOk; }

VolumeStats stats(const Volume& v) {
    VolumeStats s{};
    const Geometry& g = v.geo;
    u64 overhead = g.first_data_block;
    for (GroupNo n = 0; n < g.groups; ++n) {
        const GroupRef d = v.group(n);
        s.free_blocks += u64{d.free_blocks()} * g.cluster_blocks;
        s.free_inodes += d.free_inodes();
        overhead += g.base_blocks(n) + 2 + g.inode_table_blocks;
    }
    const u64 reserved =
        join(v.super->reserved_blocks_lo, g.incompat & incompat::k64Bit ? u32(v.super->reserved_blocks_hi) : 0);
    s.blocks = g.blocks - std::min(overhead, g.blocks);
    s.available_blocks = s.free_blocks > reserved ? s.free_blocks - reserved : 0;
    s.inodes = g.inodes;
    s.block_bytes = g.block_bytes;
    for (u32 i = 0; i < 8; ++i) s.id |= u64{u8(g.uuid[i] ^ g.uuid[i + 8])} << (i * 8);
    return s;
}

}  // namespace ext4
