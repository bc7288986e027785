// SPDX-License-Identifier: MIT
// Where a file's blocks are: trees of extents, and the indirect blocks of ext2 and ext3.
#pragma once
#include "ext4/inode.hpp"
#include "ext4/volume.hpp"

namespace ext4 {

// Blocks of a file that follow one another, on the disk too.
struct Run {
    FileBlock logical = 0;
    u32 count = 0;           // at least 1
    BlockNo block = 0;       // 0: a hole
    bool unwritten = false;  // allocated, reads as zeros
    bool reads_as_zeros() const { return block == 0 || unwritten; }
};

// The run that begins at `logical`, of at most `most` blocks (at least 1). Files have no block 2^32 - 1. kUClean: the map is
// damaged; kIo; kNoMem.
Task<Result<Run>> map(Inode& i, FileBlock logical, u32 most);
// The physical block; 0: a hole or unwritten.
Task<Result<BlockNo>> map_one(Inode& i, FileBlock logical);

// ---- extents.cpp ----

// From the root to a leaf. The levels' memory is the inode's or the buffers'.
struct ExtentPath {
    struct Level {
        BufferRef buffer;  // empty: the root
        RawExtentHeader* header = nullptr;
        i32 index = -1;  // the last entry at or before the block looked for; -1: none
        RawExtent* extents() const { return reinterpret_cast<RawExtent*>(header + 1); }
        RawExtentIndex* indexes() const { return reinterpret_cast<RawExtentIndex*>(header + 1); }
        u32 entries() const { return header->entries; }
        u32 max() const { return header->max; }
        bool full() const { return entries() >= max(); }
    };
    u32 depth = 0;
    Level level[kMaxExtentDepth + 1];
    Level& leaf() { return level[depth]; }
    // The first block after `index` of each level at which another entry begins; 2^32 - 1: none.
    FileBlock next_start() const;
};
Task<Result<void>> find_extent(Inode& i, FileBlock logical, ExtentPath& path);

inline BlockNo extent_start(const RawExtent& e) { return join(e.start_lo, e.start_hi); }
inline u32 extent_length(const RawExtent& e) {
    return e.length > kMaxExtentBlocks ? e.length - kMaxExtentBlocks : u32(e.length);
}
inline bool extent_unwritten(const RawExtent& e) { return e.length > kMaxExtentBlocks; }
inline BlockNo index_leaf(const RawExtentIndex& e) { return join(e.leaf_lo, e.leaf_hi); }
inline u32 extents_in_block(u32 block_bytes) { return (block_bytes - sizeof(RawExtentHeader)) / sizeof(RawExtent); }
inline constexpr u32 kExtentsInInode = (kRawBlockBytes - sizeof(RawExtentHeader)) / sizeof(RawExtent);  // 4
// The checksum behind the last entry that a block has room for.
u32 extent_checksum(const Inode& i, const RawExtentHeader* h);
Le32* extent_checksum_place(RawExtentHeader* h);

// ---- indirect.cpp ----

// The words on the way to a block: level 0 is in the inode.
struct IndirectPath {
    u32 depth = 0;  // 0: direct
    u32 offset[4] = {};
    u32 last = 0;  // blocks from this one to the end of its last array
};
// False: beyond what 15 words can map.
bool indirect_path(const Geometry& g, FileBlock logical, IndirectPath& path);
Task<Result<Run>> map_indirect(Inode& i, FileBlock logical, u32 most);

}  // namespace ext4
