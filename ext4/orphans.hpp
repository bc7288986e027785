// SPDX-License-Identifier: MIT
// Inodes that a crash would leave without a name, or half truncated: the disk lists them, and a mount cleans up.
#pragma once
#include "ext4/journal.hpp"

namespace ext4 {

inline constexpr u32 kOrphanCredits = 4;
// Adds to the list on the disk; the list keeps a reference. Nothing if it is there. Changes 2 blocks.
Task<Result<void>> add_orphan(Handle& h, Inode& i);
// Changes 3 blocks.
Task<Result<void>> remove_orphan(Handle& h, Inode& i);
// At the end, after a failure: what is still on the list is let go.
void drop_orphans(Volume& v);
// At mount: what another time has left.
Task<Result<void>> clean_up_orphans(Volume& v);

// ---- write.cpp ----
// Frees what lies beyond the size, and takes the inode from the list of orphans.
Task<Result<void>> finish_truncate(Inode& i);
// Frees an inode without links that nothing uses any more: `i` is the last reference but that of the list of orphans.
Task<Result<void>> remove_inode(Ref<Inode> i);

// ---- xattr_write.cpp ----
// The inode's block of attributes: one user less, or free. Changes 3 blocks.
Task<Result<void>> release_xattr_block(Handle& h, Inode& i);

}  // namespace ext4
