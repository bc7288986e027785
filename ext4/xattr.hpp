// SPDX-License-Identifier: MIT
// Extended attributes on the disk: in the inode behind its fields, and in one block of their own.
#pragma once
#include <string_view>

#include "ext4/volume.hpp"

namespace ext4 {

enum XattrIndex : u8 {
    kXattrUser = 1,
    kXattrAclAccess = 2,
    kXattrAclDefault = 3,
    kXattrTrusted = 4,
    kXattrSecurity = 6,
    kXattrSystem = 7,
};
// A name as the disk has it: the prefix as a number, the rest.
struct XattrName {
    u8 index;
    std::string_view rest;
};
Result<XattrName> split_xattr_name(std::string_view name);  // kOpNotSupp
std::string_view xattr_prefix(u8 index);                    // "": not known

// A set of attributes: entries from `first` on, values anywhere in [base, base + bytes).
struct XattrSet {
    std::byte* base = nullptr;  // value offsets count from here
    u32 bytes = 0;
    u32 first = 0;
};
// The entry at `offset`, checked; null: the end of the list. kUClean.
Result<RawXattrEntry*> xattr_at(const XattrSet& s, u32 offset);
inline u32 xattr_entry_bytes(const RawXattrEntry& e) { return (sizeof e + e.name_length + 3u) & ~3u; }
// Null: none of this name.
Result<RawXattrEntry*> find_xattr(const XattrSet& s, u8 index, std::string_view rest);
Result<std::span<std::byte>> xattr_value(const XattrSet& s, const RawXattrEntry& e);

struct XattrInInode {
    BufferRef table;
    XattrSet set;  // bytes 0: there are none
};
Task<Result<void>> open_inode_xattrs(Inode& i, XattrInInode& area);
struct XattrBlock {
    BufferRef buffer;
    XattrSet set;  // bytes 0: the inode has no such block
};
Task<Result<void>> open_xattr_block(Inode& i, XattrBlock& block);
u32 xattr_block_checksum(const Volume& v, BlockNo block, const std::byte* data);

}  // namespace ext4
