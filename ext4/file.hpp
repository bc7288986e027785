// SPDX-License-Identifier: MIT
// Contents of files and links, and extended attributes: reading around any page cache. The caller holds the inode's lock.
#pragma once
#include <string_view>

#include "ext4/inode.hpp"
#include "ext4/volume.hpp"

namespace ext4 {

// Up to `to.size()` bytes from `offset`; fewer at the end. Holes read as zeros. kIsDir, kUClean, kIo, kNoMem.
Task<Result<u64>> read(Inode& i, u64 offset, std::span<std::byte> to);
// The target of a symbolic link, up to the buffer's size. Returns its whole length. kInval: not a link.
Task<Result<u32>> read_link(Inode& i, std::span<char> to);

// What a file with inline data has in its inode: 60 bytes in the block words, the rest as an attribute.
struct InlineData {
    std::span<std::byte> part[2];
    BufferRef table;  // holds the second part
};
Task<Result<void>> read_inline(Inode& i, InlineData& data);

// Extended attributes by their whole name ("user.x"). get: the value's size, which is only copied if it fits; with an empty
// buffer the size is asked for. kNoData: none of this name; kRange: the buffer is too small; kOpNotSupp: a name without a
// known prefix, or a value in an inode of its own.
Task<Result<u32>> get_xattr(Inode& i, std::string_view name, std::span<std::byte> to);
// All names, each with a zero byte at its end. As above.
Task<Result<u32>> list_xattrs(Inode& i, std::span<char> to);

}  // namespace ext4
