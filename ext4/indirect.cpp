// SPDX-License-Identifier: MIT
// Reading the block maps of ext2 and ext3: 12 blocks in the inode, then blocks of numbers, up to three deep.
#include <algorithm>

#include "ext4/map.hpp"

namespace ext4 {

bool indirect_path(const Geometry& g, FileBlock logical, IndirectPath& path) {
    const u32 shift = g.block_shift - 2;  // numbers in a block
    const u32 mask = (1u << shift) - 1;
    if (logical < kDirectBlocks) {
        path = {.depth = 0, .offset = {logical}, .last = kDirectBlocks - logical};
        return true;
    }
    u64 n = logical - kDirectBlocks;
    for (u32 depth = 1; depth <= 3; ++depth) {
        const u64 here = u64{1} << (shift * depth);
        if (n >= here) {
            n -= here;
            continue;
        }
        path = {.depth = depth, .offset = {kDirectBlocks + depth - 1}};
        for (u32 l = 1; l <= depth; ++l) path.offset[l] = u32(n >> (shift * (depth - l))) & mask;
        path.last = mask + 1 - path.offset[depth];
        return true;
    }
    return false;
}

namespace {

// How many numbers of the array continue the run.
u32 run_length(const Le32* words, u32 most) {
    const BlockNo first = words[0];
    u32 n = 1;
    while (n < most && (first ? words[n] == first + n : words[n] == 0)) ++n;
    return n;
}

// From `logical` to the first block that lies beyond the word at `level` of the path, which is 0.
u64 hole_length(const Geometry& g, const IndirectPath& path, u32 level) {
    const u32 shift = g.block_shift - 2;
    u64 into = 0;
    for (u32 l = level + 1; l <= path.depth; ++l) into = into << shift | path.offset[l];
    return (u64{1} << (shift * (path.depth - level))) - into;
}

}  // namespace

Task<Result<Run>> map_indirect(Inode& i, FileBlock logical, u32 most) {
    const Geometry& g = i.volume.geo;
    IndirectPath path;
    if (!indirect_path(g, logical, path)) co_return Errno::kFBig;
    BufferRef held;
    const Le32* words = i.raw.block;
    for (u32 level = 0;; ++level) {
        const BlockNo block = words[path.offset[level]];
        if (block == 0 && level < path.depth)
            co_return Run{logical, u32(std::min<u64>(most, hole_length(g, path, level))), 0, false};
        if (level == path.depth) break;
        if (!g.in_volume(block, 1)) co_return Errno::kUClean;
        held = CO_TRY(co_await i.volume.cache.read(block));
        words = held->as<Le32>();
    }
    const u32 count = run_length(words + path.offset[path.depth], std::min(most, path.last));
    const BlockNo block = words[path.offset[path.depth]];
    if (block && !g.in_volume(block, count)) co_return Errno::kUClean;
    co_return Run{logical, count, block, false};
}

}  // namespace ext4
