// SPDX-License-Identifier: MIT
// Changing where a file's blocks are. The caller holds the inode's lock and a handle, and saves the inode afterwards.
#pragma once
#include "ext4/journal.hpp"
#include "ext4/map.hpp"

namespace ext4 {

// What an insertion may change at most: on each level a block and a new one, of which each changes a bitmap and a descriptor.
inline constexpr u32 kInsertCredits = (kMaxExtentDepth + 1) * 4 + 4;
inline constexpr u32 kInsertBlocks = kMaxExtentDepth + 1;  // of metadata that it may need
inline constexpr u32 kMaxRun = 16384;                      // blocks in one insertion

// Maps a hole to blocks that are in use already. The run lies within a hole.
Task<Result<void>> insert_run(Handle& h, Inode& i, Run run);
// Unwritten blocks hold data now.
Task<Result<void>> mark_written(Handle& h, Inode& i, FileBlock logical, u32 count);
// Frees some of the blocks at or after `from`, last ones first, as many as kRemoveCredits allow. True: there are more.
inline constexpr u32 kRemoveCredits = 72;
Task<Result<bool>> remove_some(Handle& h, Inode& i, FileBlock from);
// An empty map, of the kind that the volume uses.
void make_empty_map(Inode& i);
// Where the file's next block should be.
BlockNo allocation_goal(const Inode& i);

// ---- extents_write.cpp, indirect_write.cpp ----

// Frees blocks that a file's map named. Those of a directory are metadata, and are revoked: kMostRevoked at a time.
inline constexpr u32 kMostRevoked = 16;
Task<Result<void>> free_contents(Handle& h, Inode& i, BlockNo start, u32 count);
Task<Result<void>> insert_extent(Handle& h, Inode& i, Run run);
Task<Result<bool>> remove_some_extents(Handle& h, Inode& i, FileBlock from);
Task<Result<void>> insert_indirect(Handle& h, Inode& i, Run run);
Task<Result<bool>> remove_some_indirect(Handle& h, Inode& i, FileBlock from);

}  // namespace ext4
