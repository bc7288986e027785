// SPDX-License-Identifier: MIT
// Inodes: which group gets a new one, and its bitmap.
#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"

namespace ext4 {

namespace {
enum : u64 { kVerifiedInodes = u64{6} << 32 };
}

void Allocator::set_inode_bitmap_checksum(GroupNo g, const std::byte* bits) {
    const GroupRef d = volume_.group(g);
    if (volume_.geo.has_checksums()) {
        const u32 sum = crc32c(volume_.geo.seed, bits, volume_.geo.inodes_per_group / 8);
        d.raw->inode_bitmap_csum_lo = u16(sum);
        if (d.wide) d.raw->inode_bitmap_csum_hi = u16(sum >> 16);
    }
    if (volume_.geo.has_group_checksums()) d.raw->checksum = volume_.group_checksum(g);
}

Task<Result<BufferRef>> Allocator::inode_bitmap(GroupNo g) {
    const Geometry& geo = volume_.geo;
    const GroupRef d = volume_.group(g);
    const u64 as = kVerifiedInodes | g;
    if (geo.has_group_checksums() && d.uninit(kInodeUninit)) {
        BufferRef b = volume_.cache.find(d.inode_bitmap());
        if (!b || b->verified.load(std::memory_order_relaxed) != as) {
            b = CO_TRY(co_await volume_.cache.fresh(d.inode_bitmap()));
            set_bits(b->data, geo.inodes_per_group, geo.block_bytes * 8);
            b->verified.store(as, std::memory_order_relaxed);
        }
        co_return std::move(b);
    }
    BufferRef b = CO_TRY(co_await volume_.cache.read(d.inode_bitmap()));
    if (b->verified.load(std::memory_order_relaxed) != as) {
        if (geo.has_checksums()) {
            const u32 sum = crc32c(geo.seed, b->data, geo.inodes_per_group / 8);
            const u32 stored = d.raw->inode_bitmap_csum_lo | (d.wide ? u32(d.raw->inode_bitmap_csum_hi) << 16 : 0);
            if ((d.wide ? sum : sum & 0xffff) != stored) co_return volume_.damaged("bad bitmap of inodes");
        }
        b->verified.store(as, std::memory_order_relaxed);
    }
    co_return std::move(b);
}

// Files lie in their directory's group. So do directories, but those in the root are spread: each goes where there is more room
// than elsewhere, and fewest directories.
GroupNo Allocator::choose_group(const Inode& parent, bool directory) const {
    const Geometry& geo = volume_.geo;
    const GroupNo near = geo.group_of_inode(parent.number);
    if (!directory || parent.number != kRootInode) return near;
    const u64 inodes = free_inodes() / geo.groups, blocks = free_blocks() / geo.groups;
    GroupNo best = near;
    u32 fewest = ~0u;
    constexpr u32 kMostGroups = 512;  // looked at
    for (u32 n = 0; n < std::min(geo.groups, kMostGroups); ++n) {
        const GroupNo g =
            geo.groups <= kMostGroups ? n : GroupNo((u64{near} + u64{n} * (geo.groups / kMostGroups)) % geo.groups);
        const GroupRef d = volume_.group(g);
        if (d.free_inodes() == 0 || d.free_inodes() < inodes || d.free_blocks() < blocks || d.used_dirs() >= fewest)
            continue;
        fewest = d.used_dirs();
        best = g;
    }
    return best;
}

// A free inode of the group, by its index; kNoSpc: none.
Task<Result<u32>> Allocator::claim_inode(Handle& h, GroupNo g, bool directory) {
    const Geometry& geo = volume_.geo;
    BufferRef bits = CO_TRY(co_await inode_bitmap(g));
    const u32 reserved = g == 0 ? geo.first_inode - 1 : 0;
    const u32 index = next_clear(bits->data, reserved, geo.inodes_per_group);
    if (index >= geo.inodes_per_group) co_return Errno::kNoSpc;
    GroupRef d = volume_.group(g);
    CO_TRY(h.change(*bits));
    CO_TRY(h.change(*d.buffer));
    set_bit(bits->data, index);
    if (geo.has_group_checksums()) {
        d.raw->flags = u16(d.raw->flags & ~u32{kInodeUninit});
        const u32 unused = geo.inodes_per_group - index - 1;
        if (d.unused_inodes() > unused) d.set_unused_inodes(unused);
    }
    d.set_free_inodes(d.free_inodes() - std::min(1u, d.free_inodes()));
    if (directory) d.set_used_dirs(d.used_dirs() + 1);
    set_inode_bitmap_checksum(g, bits->data);
    co_return index;
}

Task<Result<InodeNo>> Allocator::allocate_inode(Handle& h, const Inode& parent, bool directory) {
    const Geometry& geo = volume_.geo;
    auto guard = CO_TRY(co_await lock_.lock());
    const GroupNo first = choose_group(parent, directory);
    for (u32 n = 0; n < geo.groups; ++n) {
        const GroupNo g = GroupNo((u64{first} + n) % geo.groups);
        if (!group_has_inode(g)) continue;
        const auto index = co_await claim_inode(h, g, directory);
        if (index.ok()) {
            free_inodes_.fetch_sub(1, std::memory_order_relaxed);
            co_return g* geo.inodes_per_group + index.value() + 1;
        }
        if (index.error() != Errno::kNoSpc) co_return index.error();
        if (n % 16 == 15) co_await rt::Yield{};
    }
    co_return Errno::kNoSpc;
}

Task<Result<void>> Allocator::free_inode(Handle& h, InodeNo number, bool directory) {
    const Geometry& geo = volume_.geo;
    auto guard = CO_TRY(EXT4_INSIST(co_await lock_.lock()));
    const GroupNo g = geo.group_of_inode(number);
    const u32 index = (number - 1) % geo.inodes_per_group;
    BufferRef bits = CO_TRY(EXT4_INSIST(co_await inode_bitmap(g)));
    if (number < geo.first_inode || !bit_of(bits->data, index)) co_return volume_.damaged("an inode is freed twice");
    GroupRef d = volume_.group(g);
    CO_TRY(EXT4_INSIST(h.change(*bits)));
    CO_TRY(EXT4_INSIST(h.change(*d.buffer)));
    clear_bit(bits->data, index);
    d.set_free_inodes(d.free_inodes() + 1);
    if (directory && d.used_dirs() != 0) d.set_used_dirs(d.used_dirs() - 1);
    set_inode_bitmap_checksum(g, bits->data);
    free_inodes_.fetch_add(1, std::memory_order_relaxed);
    co_return lib::kOk;
}

}  // namespace ext4
