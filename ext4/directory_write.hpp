// SPDX-License-Identifier: MIT
// Changing directories. The caller holds the directory's lock and a handle, and saves the directory's inode afterwards.
#pragma once
#include "ext4/directory.hpp"
#include "ext4/journal.hpp"

namespace ext4 {

// What an insertion changes at most (a block of entries, and a block on each level of the index, are split), and how many
// blocks it may take.
inline constexpr u32 kEntryCredits = 96;
inline constexpr u32 kEntryBlocks = 10;

// The name is not there. kNoSpc: the index is full, as large as it can be; nothing has changed then.
Task<Result<void>> add_entry(Handle& h, Inode& dir, std::string_view name, InodeNo inode, u8 type);
// kNoEnt. Changes 1 block.
Task<Result<void>> remove_entry(Handle& h, Inode& dir, std::string_view name);
// The name leads to another inode. kNoEnt. Changes 1 block.
Task<Result<void>> set_entry(Handle& h, Inode& dir, std::string_view name, InodeNo inode, u8 type);
// The first block of a new directory, with "." and "..".
Task<Result<void>> make_first_block(Handle& h, Inode& dir, InodeNo parent);
u8 entry_type(u32 mode);

}  // namespace ext4
