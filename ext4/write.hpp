// SPDX-License-Identifier: MIT
// Contents, sizes and attributes of inodes: writing. The caller holds the inode's lock.
//
// Contents reach the disk before the transaction that maps their blocks is started: a crash never shows what a block held before.
#pragma once
#include "ext4/file.hpp"
#include "ext4/journal.hpp"

namespace ext4 {

// Writes whole blocks from `first` on; `memory`: pieces of whole sectors, at most as large as the device takes, in all a multiple
// of a block. Holes get blocks, unwritten ones become written. The size becomes `size` if that is larger; 0: as it is. What the
// transaction that maps them is: Inode::changed_in. kNoSpc: the blocks before were written; kFBig, kRoFs, kIo, kNoMem.
Task<Result<void>> write_blocks(Inode& i, FileBlock first, std::span<const block::Piece> memory, u64 size);
// Reads whole blocks; holes as zeros.
Task<Result<void>> read_blocks(Inode& i, FileBlock first, std::span<const block::Piece> memory);
// Any bytes, around any page cache. The size grows with them. Returns how many: all.
Task<Result<u64>> write(Inode& i, u64 offset, std::span<const std::byte> from);
// The size; blocks beyond it are freed, and the rest of the last block is zeros. kFBig, kRoFs, kIo, kNoMem.
Task<Result<void>> truncate(Inode& i, u64 size);
// Allocates unwritten blocks for the range, in holes only (volumes with extents; kOpNotSupp). The size stays.
Task<Result<void>> preallocate(Inode& i, FileBlock first, u32 count);

struct InodeChange {
    bool mode = false, owner = false, accessed = false, modified = false;  // which
    u32 to_mode = 0, to_uid = 0, to_gid = 0;
    Time to_accessed, to_modified, changed;  // the last one always
};
Task<Result<void>> change_inode(Inode& i, const InodeChange& c);
// Extended attributes, by their whole names. The name and the value stay as they are until the end. kExist, kNoData (by `how`);
// kNoSpc: they would not fit; kRange: the name is too long; kOpNotSupp: no known prefix; kRoFs, kIo, kNoMem, kUClean.
enum class XattrHow : u8 { kAny, kCreate, kReplace };
Task<Result<void>> set_xattr(Inode& i, std::string_view name, std::span<const std::byte> value, XattrHow how);
Task<Result<void>> remove_xattr(Inode& i, std::string_view name);
// What was changed so far is durable: contents, and the transaction that the inode was changed in.
Task<Result<void>> fsync(Inode& i);
// The last byte that a file of this kind can have, plus one.
u64 largest_size(const Inode& i);

}  // namespace ext4
