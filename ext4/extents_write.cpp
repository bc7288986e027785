// SPDX-License-Identifier: MIT
// Changing trees of extents.
#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/map_write.hpp"

namespace ext4 {

namespace {

constexpr u32 kMaxUnwritten = kMaxExtentBlocks - 1;

void set_extent(RawExtent& e, FileBlock logical, BlockNo start, u32 length, bool unwritten) {
    e.block = logical;
    e.start_lo = u32(start);
    e.start_hi = u16(start >> 32);
    e.length = u16(length + (unwritten ? kMaxExtentBlocks : 0));
}

void set_index(RawExtentIndex& e, FileBlock first, BlockNo leaf) {
    e.block = first;
    e.leaf_lo = u32(leaf);
    e.leaf_hi = u16(leaf >> 32);
    e.unused = 0;
}

// The level will be changed. The root is part of the inode, which the caller saves.
Result<void> change_level(Handle& h, ExtentPath::Level& at) {
    return at.buffer ? h.change(*at.buffer) : Result<void>{};
}
void level_changed(const Inode& i, ExtentPath::Level& at) {
    if (at.buffer && i.volume.geo.has_checksums()) *extent_checksum_place(at.header) = extent_checksum(i, at.header);
}

// The first block of a node has become `first`: the nodes above say so.
Task<Result<void>> set_first(Handle& h, Inode& i, ExtentPath& path, u32 level, FileBlock first) {
    while (level-- != 0) {
        ExtentPath::Level& above = path.level[level];
        CO_TRY(EXT4_INSIST(change_level(h, above)));
        above.indexes()[above.index].block = first;
        level_changed(i, above);
        if (above.index != 0) break;
    }
    co_return lib::kOk;
}

// A new block of the tree, in use, with a header.
Task<Result<BufferRef>> new_node(Handle& h, Inode& i, u32 depth) {
    Volume& v = i.volume;
    const BlockNo block = CO_TRY(EXT4_INSIST(co_await v.allocator->allocate_block(h, allocation_goal(i))));
    BufferRef b = CO_TRY(EXT4_INSIST(co_await v.cache.fresh(block)));
    CO_TRY(EXT4_INSIST(h.change(*b)));
    auto* header = b->as<RawExtentHeader>();
    header->magic = kExtentMagic;
    header->max = u16(extents_in_block(v.geo.block_bytes));
    header->depth = u16(depth);
    i.add_blocks(1);
    co_return std::move(b);
}

// The root's entries move into a block; the tree becomes one deeper.
Task<Result<void>> grow(Handle& h, Inode& i, ExtentPath& path) {
    ExtentPath::Level& root = path.level[0];
    if (path.depth == kMaxExtentDepth) co_return Errno::kFBig;
    BufferRef b = CO_TRY(EXT4_MUST(new_node(h, i, path.depth)));
    ExtentPath::Level child{.buffer = b, .header = b->as<RawExtentHeader>()};
    std::memcpy(child.extents(), root.extents(), root.entries() * sizeof(RawExtent));
    child.header->entries = u16(root.entries());
    level_changed(i, child);
    const FileBlock first = root.extents()[0].block;
    root.header->depth = u16(path.depth + 1);
    root.header->entries = 1;
    std::memset(root.extents(), 0, kExtentsInInode * sizeof(RawExtent));
    set_index(root.indexes()[0], first, b->block);
    co_return lib::kOk;
}

// Half of a full node moves into a new one. Its parent, of level - 1, has room.
Task<Result<void>> split(Handle& h, Inode& i, ExtentPath& path, u32 level) {
    ExtentPath::Level& at = path.level[level];
    ExtentPath::Level& above = path.level[level - 1];
    const u32 entries = at.entries();
    // A file that grows at its end keeps full nodes.
    const bool at_end = u32(at.index + 1) >= entries;
    const u32 moved = at_end ? 1 : entries / 2;
    BufferRef b = CO_TRY(EXT4_MUST(new_node(h, i, path.depth - level)));
    ExtentPath::Level node{.buffer = b, .header = b->as<RawExtentHeader>()};
    CO_TRY(EXT4_INSIST(change_level(h, at)));
    CO_TRY(EXT4_INSIST(change_level(h, above)));
    std::memcpy(node.extents(), at.extents() + (entries - moved), moved * sizeof(RawExtent));
    node.header->entries = u16(moved);
    at.header->entries = u16(entries - moved);
    std::memset(at.extents() + (entries - moved), 0, moved * sizeof(RawExtent));
    level_changed(i, node);
    level_changed(i, at);
    const u32 place = u32(above.index + 1);
    std::memmove(above.indexes() + place + 1, above.indexes() + place,
                 (above.entries() - place) * sizeof(RawExtentIndex));
    set_index(above.indexes()[place], node.extents()[0].block, b->block);
    above.header->entries = u16(above.entries() + 1);
    level_changed(i, above);
    co_return lib::kOk;
}

// One step towards room in the leaf; the path is out of date afterwards.
Task<Result<void>> make_room(Handle& h, Inode& i, ExtentPath& path) {
    u32 level = path.depth;
    while (level != 0 && path.level[level].full()) --level;
    if (path.level[level].full()) co_return EXT4_MUST(grow(h, i, path));
    co_return EXT4_MUST(split(h, i, path, level + 1));
}

bool continues(const RawExtent& e, const Run& run) {
    const u32 length = extent_length(e);
    return u64{e.block} + length == run.logical && extent_start(e) + length == run.block &&
           extent_unwritten(e) == run.unwritten &&
           length + run.count <= (run.unwritten ? kMaxUnwritten : kMaxExtentBlocks);
}
bool precedes(const Run& run, const RawExtent& e) {
    const u32 length = extent_length(e);
    return run.logical + run.count == e.block && run.block + run.count == extent_start(e) &&
           extent_unwritten(e) == run.unwritten &&
           length + run.count <= (run.unwritten ? kMaxUnwritten : kMaxExtentBlocks);
}

// Whether the run fits between what is mapped.
bool is_hole(const ExtentPath& path, const Run& run) {
    const ExtentPath::Level& leaf = path.level[path.depth];
    if (leaf.index >= 0) {
        const RawExtent& e = leaf.extents()[leaf.index];
        if (u64{e.block} + extent_length(e) > run.logical) return false;
    }
    return u64{run.logical} + run.count <= path.next_start();
}

}  // namespace

Task<Result<void>> insert_extent(Handle& h, Inode& i, Run run) {
    for (u32 round = 0; round < 2 * kMaxExtentDepth + 4; ++round) {
        ExtentPath path;
        CO_TRY(EXT4_INSIST(co_await find_extent(i, run.logical, path)));
        if (!is_hole(path, run)) co_return i.volume.damaged("a block of a file is mapped twice");
        ExtentPath::Level& leaf = path.leaf();
        const u32 place = u32(leaf.index + 1);
        RawExtent* before = leaf.index >= 0 ? &leaf.extents()[leaf.index] : nullptr;
        RawExtent* after = place < leaf.entries() ? &leaf.extents()[place] : nullptr;
        const bool left = before && continues(*before, run), right = !left && after && precedes(run, *after);
        if (!left && !right && leaf.full()) {
            CO_TRY(EXT4_MUST(make_room(h, i, path)));
            continue;
        }
        CO_TRY(EXT4_INSIST(change_level(h, leaf)));
        if (left) {
            before->length = u16(before->length + run.count);
        } else if (right) {
            set_extent(*after, run.logical, run.block, extent_length(*after) + run.count, run.unwritten);
        } else {
            std::memmove(leaf.extents() + place + 1, leaf.extents() + place,
                         (leaf.entries() - place) * sizeof(RawExtent));
            set_extent(leaf.extents()[place], run.logical, run.block, run.count, run.unwritten);
            leaf.header->entries = u16(leaf.entries() + 1);
        }
        level_changed(i, leaf);
        if (!left && place == 0) CO_TRY(EXT4_MUST(set_first(h, i, path, path.depth, run.logical)));
        co_return lib::kOk;
    }
    co_return i.volume.damaged("no room in a tree of extents");
}

Task<Result<void>> mark_written(Handle& h, Inode& i, FileBlock logical, u32 count) {
    ExtentPath path;
    CO_TRY(EXT4_INSIST(co_await find_extent(i, logical, path)));
    ExtentPath::Level& leaf = path.leaf();
    if (leaf.index < 0) co_return i.volume.damaged("no extent to mark as written");
    RawExtent& e = leaf.extents()[leaf.index];
    const u32 length = extent_length(e), into = logical - e.block;
    const BlockNo start = extent_start(e);
    if (!extent_unwritten(e) || into >= length || count > length - into)
        co_return i.volume.damaged("no extent to mark as written");
    const FileBlock first = e.block;
    CO_TRY(EXT4_INSIST(change_level(h, leaf)));
    // What was one extent becomes up to three: the first stays here, the others are inserted.
    if (into == 0)
        set_extent(e, first, start, count, false);
    else
        set_extent(e, first, start, into, true);
    level_changed(i, leaf);
    if (into != 0) CO_TRY(EXT4_MUST(insert_extent(h, i, {logical, count, start + into, false})));
    if (const u32 rest = length - into - count)
        CO_TRY(EXT4_MUST(insert_extent(h, i, {logical + count, rest, start + into + count, true})));
    co_return lib::kOk;
}

namespace {

// The leaf has become empty: it goes, and what above it becomes empty with it.
Task<Result<void>> remove_empty_nodes(Handle& h, Inode& i, ExtentPath& path) {
    Volume& v = i.volume;
    for (u32 l = path.depth; l != 0 && path.level[l].entries() == 0; --l) {
        const BlockNo block = path.level[l].buffer->block;
        ExtentPath::Level& above = path.level[l - 1];
        CO_TRY(EXT4_INSIST(change_level(h, above)));
        path.level[l].buffer = {};
        CO_TRY(EXT4_INSIST(h.forget(block)));
        CO_TRY(EXT4_MUST(v.allocator->free(h, block, 1)));
        i.add_blocks(-1);
        // It was the last one.
        above.header->entries = u16(above.entries() - 1);
        level_changed(i, above);
    }
    RawExtentHeader* root = path.level[0].header;
    if (root->entries == 0) {
        root->depth = 0;
        root->max = u16(kExtentsInInode);
    }
    co_return lib::kOk;
}

}  // namespace

Task<Result<bool>> remove_some_extents(Handle& h, Inode& i, FileBlock from) {
    constexpr u32 kMostExtents = 4;  // each may lie in several groups
    Volume& v = i.volume;
    ExtentPath path;
    CO_TRY(EXT4_INSIST(co_await find_extent(i, ~0u - 1, path)));
    ExtentPath::Level& leaf = path.leaf();
    bool more = false, changed = false;
    for (u32 n = 0;; ++n) {
        if (leaf.entries() == 0) {
            more = path.depth != 0;
            break;
        }
        RawExtent& e = leaf.extents()[leaf.entries() - 1];
        const u32 length = extent_length(e);
        if (u64{e.block} + length <= from) break;
        if (n == kMostExtents) {
            more = true;
            break;
        }
        if (!changed) CO_TRY(EXT4_INSIST(change_level(h, leaf)));
        changed = true;
        // At most three groups at a time, and few blocks of a directory: each is revoked.
        const u32 most = i.is_directory() ? kMostRevoked : 2 * v.geo.blocks_per_group;
        const u32 wanted = from > e.block ? from - e.block : 0;
        const u32 keep = std::max(wanted, length - std::min(length, most));
        CO_TRY(EXT4_MUST(free_contents(h, i, extent_start(e) + keep, length - keep)));
        i.add_blocks(-i64(length - keep));
        if (keep != 0) {
            set_extent(e, e.block, extent_start(e), keep, extent_unwritten(e));
        } else {
            e = {};
            leaf.header->entries = u16(leaf.entries() - 1);
        }
        level_changed(i, leaf);
        if (keep != wanted) {
            more = true;
            break;
        }
    }
    if (leaf.entries() == 0) CO_TRY(EXT4_MUST(remove_empty_nodes(h, i, path)));
    co_return more;
}

// ---- Both kinds of maps ----

Task<Result<void>> free_contents(Handle& h, Inode& i, BlockNo start, u32 count) {
    if (i.is_directory())
        for (u32 n = 0; n < count; ++n) CO_TRY(EXT4_INSIST(h.forget(start + n)));
    co_return EXT4_MUST(i.volume.allocator->free(h, start, count));
}

void make_empty_map(Inode& i) {
    std::memset(i.raw.block, 0, sizeof i.raw.block);
    if (!(i.volume.geo.incompat & incompat::kExtents)) return;
    i.raw.flags = i.raw.flags | kInodeExtents;
    auto* root = reinterpret_cast<RawExtentHeader*>(i.raw.block);
    root->magic = kExtentMagic;
    root->max = u16(kExtentsInInode);
}

BlockNo allocation_goal(const Inode& i) {
    if (i.last_allocated != 0) return i.last_allocated + 1;
    return i.volume.geo.group_start(i.volume.geo.group_of_inode(i.number));
}

Task<Result<void>> insert_run(Handle& h, Inode& i, Run run) {
    i.last_allocated = run.block + run.count - 1;
    if (i.has(kInodeExtents)) co_return EXT4_MUST(insert_extent(h, i, run));
    co_return EXT4_MUST(insert_indirect(h, i, run));
}

Task<Result<bool>> remove_some(Handle& h, Inode& i, FileBlock from) {
    if (i.has(kInodeExtents)) co_return EXT4_MUST(remove_some_extents(h, i, from));
    co_return EXT4_MUST(remove_some_indirect(h, i, from));
}

}  // namespace ext4
