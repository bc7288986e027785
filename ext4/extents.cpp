// SPDX-License-Identifier: MIT
// Reading trees of extents.
#include <algorithm>

#include "ext4/map.hpp"

namespace ext4 {

Le32* extent_checksum_place(RawExtentHeader* h) {
    return reinterpret_cast<Le32*>(reinterpret_cast<RawExtent*>(h + 1) + h->max);
}
u32 extent_checksum(const Inode& i, const RawExtentHeader* h) {
    return crc32c(i.checksum_seed(), h, sizeof *h + h->max * sizeof(RawExtent));
}

FileBlock ExtentPath::next_start() const {
    for (u32 l = depth + 1; l-- != 0;) {
        const Level& at = level[l];
        if (u32(at.index + 1) >= at.entries()) continue;
        return l == depth ? at.extents()[at.index + 1].block : at.indexes()[at.index + 1].block;
    }
    return ~0u;
}

namespace {

enum : u64 { kVerifiedExtents = u64{1} << 32 };

// What every use of a node needs.
Result<void> check_header(const RawExtentHeader* h, u32 depth, u32 room) {
    if (h->magic != kExtentMagic || h->max == 0 || h->max > room || h->entries > h->max || h->depth != depth)
        return Errno::kUClean;
    return lib::kOk;
}

// The entries ascend, and name blocks of the volume.
Result<void> check_entries(const Volume& v, const ExtentPath::Level& at, u32 depth) {
    u64 least = 0;
    for (u32 n = 0; n < at.entries(); ++n) {
        if (depth == 0) {
            const RawExtent& e = at.extents()[n];
            const u32 length = extent_length(e);
            if (length == 0 || e.block < least || u64{e.block} + length > 0xffff'ffff ||
                !v.geo.in_volume(extent_start(e), length))
                return Errno::kUClean;
            least = u64{e.block} + length;
        } else {
            const RawExtentIndex& e = at.indexes()[n];
            if ((n != 0 && e.block < least) || !v.geo.in_volume(index_leaf(e), 1)) return Errno::kUClean;
            least = u64{e.block} + 1;
        }
    }
    return lib::kOk;
}

// The last entry that begins at or before `logical`.
i32 search(const ExtentPath::Level& at, FileBlock logical) {
    i32 low = 0, high = i32(at.entries());
    while (low < high) {
        const i32 middle = low + (high - low) / 2;
        // Both kinds of entries begin with the block.
        if (at.extents()[middle].block <= logical)
            low = middle + 1;
        else
            high = middle;
    }
    return low - 1;
}

Result<void> check_block(Inode& i, ExtentPath::Level& at, u32 depth) {
    const Volume& v = i.volume;
    TRY(check_header(at.header, depth, extents_in_block(v.geo.block_bytes)));
    const u64 as = kVerifiedExtents | i.number;
    if (at.buffer->verified.load(std::memory_order_relaxed) == as) return lib::kOk;
    if (v.geo.has_checksums() && *extent_checksum_place(at.header) != extent_checksum(i, at.header))
        return Errno::kBadMsg;
    if (at.entries() == 0) return Errno::kUClean;
    TRY(check_entries(v, at, depth));
    at.buffer->verified.store(as, std::memory_order_relaxed);
    return lib::kOk;
}

}  // namespace

Task<Result<void>> find_extent(Inode& i, FileBlock logical, ExtentPath& path) {
    ExtentPath::Level& root = path.level[0];
    root.buffer = {};
    root.header = reinterpret_cast<RawExtentHeader*>(i.raw.block);
    if (root.header->depth > kMaxExtentDepth) co_return Errno::kUClean;
    path.depth = root.header->depth;
    CO_TRY(check_header(root.header, path.depth, kExtentsInInode));
    if (path.depth != 0 && root.entries() == 0) co_return Errno::kUClean;
    CO_TRY(check_entries(i.volume, root, path.depth));
    root.index = search(root, logical);
    for (u32 l = 1; l <= path.depth; ++l) {
        ExtentPath::Level& above = path.level[l - 1];
        ExtentPath::Level& at = path.level[l];
        // What lies before the first entry is looked for below it.
        if (above.index < 0) above.index = 0;
        const BlockNo block = index_leaf(above.indexes()[above.index]);
        if (!i.volume.geo.in_volume(block, 1)) co_return Errno::kUClean;
        at.buffer = CO_TRY(co_await i.volume.cache.read(block));
        at.header = at.buffer->as<RawExtentHeader>();
        CO_TRY(check_block(i, at, path.depth - l));  // the depth falls: a tree that contains itself ends here
        at.index = search(at, logical);
    }
    co_return lib::kOk;
}

Task<Result<Run>> map(Inode& i, FileBlock logical, u32 most) {
    if (logical == ~0u) co_return Errno::kFBig;
    most = std::min(most, ~0u - logical);
    if (!i.has(kInodeExtents)) co_return co_await map_indirect(i, logical, most);
    ExtentPath path;
    CO_TRY(co_await find_extent(i, logical, path));
    ExtentPath::Level& leaf = path.leaf();
    if (leaf.index >= 0) {
        const RawExtent& e = leaf.extents()[leaf.index];
        const u32 into = logical - e.block, length = extent_length(e);
        if (into < length) {
            const u32 count = std::min(most, length - into);
            const BlockNo block = extent_start(e) + into;
            if (!i.volume.geo.in_volume(block, count)) co_return Errno::kUClean;
            co_return Run{logical, count, block, extent_unwritten(e)};
        }
    }
    const FileBlock next = path.next_start();
    if (next <= logical) co_return Errno::kUClean;
    co_return Run{logical, std::min(most, next - logical), 0, false};
}

Task<Result<BlockNo>> map_one(Inode& i, FileBlock logical) {
    const Run r = CO_TRY(co_await map(i, logical, 1));
    co_return r.reads_as_zeros() ? BlockNo{0} : r.block;
}

}  // namespace ext4
