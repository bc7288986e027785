// SPDX-License-Identifier: MIT
// What ext2, ext3 and ext4 write on a disk (Linux: Documentation/filesystems/ext4). Little-endian; every field may hold any value:
// who reads one checks it. Structures have no alignment, because a directory entry or an attribute may begin anywhere.
#pragma once
#include <bit>
#include <span>

#include "lib/types.hpp"

namespace ext4 {

using BlockNo = u64;    // a block of the file system
using FileBlock = u32;  // a block of a file, counted from its beginning
using InodeNo = u32;    // from 1; 0: none
using GroupNo = u32;

// A number in a fixed byte order and without alignment.
template <class T, std::endian Order>
struct Ordered {
    u8 bytes[sizeof(T)];
    constexpr T get() const {
        const T raw = std::bit_cast<T>(*this);
        return Order == std::endian::native ? raw : std::byteswap(raw);
    }
    constexpr operator T() const { return get(); }  // NOLINT: reads like the number that it is
    constexpr Ordered& operator=(T v) {             // NOLINT
        *this = std::bit_cast<Ordered>(Order == std::endian::native ? v : std::byteswap(v));
        return *this;
    }
};
using Le16 = Ordered<u16, std::endian::little>;
using Le32 = Ordered<u32, std::endian::little>;
using Le64 = Ordered<u64, std::endian::little>;
using Be16 = Ordered<u16, std::endian::big>;
using Be32 = Ordered<u32, std::endian::big>;
using Be64 = Ordered<u64, std::endian::big>;

inline constexpr u32 kSuperOffset = 1024;  // bytes from the beginning of the device
inline constexpr u16 kSuperMagic = 0xef53;
inline constexpr u32 kMaxBlockBytes = 4096;  // larger blocks than pages are not supported
inline constexpr InodeNo kRootInode = 2;
inline constexpr InodeNo kJournalInode = 8;
inline constexpr u32 kGoodOldInodeBytes = 128;
inline constexpr InodeNo kGoodOldFirstInode = 11;

// s_feature_compat: a system that does not know one may still write.
namespace compat {
enum : u32 {
    kHasJournal = 0x4,
    kExtAttr = 0x8,
    kResizeInode = 0x10,
    kDirIndex = 0x20,
    kSparseSuper2 = 0x200,
    kFastCommit = 0x400,
    kOrphanFile = 0x1000,
};
}
// s_feature_incompat: a system that does not know one may not even read.
namespace incompat {
enum : u32 {
    kCompression = 0x1,
    kFileType = 0x2,
    kRecover = 0x4,
    kJournalDevice = 0x8,
    kMetaBg = 0x10,
    kExtents = 0x40,
    k64Bit = 0x80,
    kMmp = 0x100,
    kFlexBg = 0x200,
    kEaInode = 0x400,
    kDirData = 0x1000,
    kCsumSeed = 0x2000,
    kLargeDir = 0x4000,
    kInlineData = 0x8000,
    kEncrypt = 0x10000,
    kCasefold = 0x20000,
};
}
// s_feature_ro_compat: a system that does not know one may read.
namespace ro_compat {
enum : u32 {
    kSparseSuper = 0x1,
    kLargeFile = 0x2,
    kBtreeDir = 0x4,
    kHugeFile = 0x8,
    kGdtCsum = 0x10,
    kDirNlink = 0x20,
    kExtraIsize = 0x40,
    kQuota = 0x100,
    kBigalloc = 0x200,
    kMetadataCsum = 0x400,
    kReadonly = 0x1000,
    kProject = 0x2000,
    kSharedBlocks = 0x4000,
    kVerity = 0x8000,
    kOrphanPresent = 0x10000,
};
}

enum SuperState : u16 { kStateValid = 1, kStateErrors = 2, kStateOrphans = 4 };
enum SuperFlags : u32 { kFlagSignedHash = 1, kFlagUnsignedHash = 2 };

struct RawSuper {
    Le32 inodes_count, blocks_count_lo, reserved_blocks_lo, free_blocks_lo;
    Le32 free_inodes, first_data_block, log_block_size, log_cluster_size;
    Le32 blocks_per_group, clusters_per_group, inodes_per_group, mount_time;
    Le32 write_time;
    Le16 mount_count, max_mount_count, magic, state;
    Le16 errors, minor_revision;
    Le32 last_check, check_interval, creator_os, revision;
    Le16 default_uid, default_gid;
    Le32 first_inode;
    Le16 inode_size, block_group;
    Le32 feature_compat, feature_incompat, feature_ro_compat;
    u8 uuid[16], volume_name[16], last_mounted[64];
    Le32 algorithm_usage;
    u8 prealloc_blocks, prealloc_dir_blocks;
    Le16 reserved_gdt_blocks;
    u8 journal_uuid[16];
    Le32 journal_inode, journal_device, last_orphan, hash_seed[4];
    u8 default_hash, journal_backup_type;
    Le16 desc_size;
    Le32 default_mount_options, first_meta_bg, make_time, journal_blocks[17];
    Le32 blocks_count_hi, reserved_blocks_hi, free_blocks_hi;
    Le16 min_extra_isize, want_extra_isize;
    Le32 flags;
    Le16 raid_stride, mmp_interval;
    Le64 mmp_block;
    Le32 raid_stripe_width;
    u8 log_groups_per_flex, checksum_type;
    Le16 reserved_pad;
    Le64 kbytes_written;
    Le32 snapshot_inode, snapshot_id;
    Le64 snapshot_reserved;
    Le32 snapshot_list, error_count, first_error_time, first_error_inode;
    Le64 first_error_block;
    u8 first_error_function[32];
    Le32 first_error_line, last_error_time, last_error_inode, last_error_line;
    Le64 last_error_block;
    u8 last_error_function[32], mount_options[64];
    Le32 user_quota_inode, group_quota_inode, overhead_blocks, backup_bgs[2];
    u8 encrypt_algorithms[4], encrypt_salt[16];
    Le32 lost_found_inode, project_quota_inode, checksum_seed;
    u8 time_hi[6], first_error_code, last_error_code;
    Le16 encoding, encoding_flags;
    Le32 orphan_file_inode, reserved[94], checksum;
};
static_assert(sizeof(RawSuper) == 1024);

enum GroupFlags : u16 { kInodeUninit = 1, kBlockUninit = 2, kInodeZeroed = 4 };
struct RawGroup {
    Le32 block_bitmap_lo, inode_bitmap_lo, inode_table_lo;
    Le16 free_blocks_lo, free_inodes_lo, used_dirs_lo, flags;
    Le32 exclude_bitmap_lo;
    Le16 block_bitmap_csum_lo, inode_bitmap_csum_lo, unused_inodes_lo, checksum;
    // Only in descriptors of 64 bytes or more.
    Le32 block_bitmap_hi, inode_bitmap_hi, inode_table_hi;
    Le16 free_blocks_hi, free_inodes_hi, used_dirs_hi, unused_inodes_hi;
    Le32 exclude_bitmap_hi;
    Le16 block_bitmap_csum_hi, inode_bitmap_csum_hi;
    Le32 reserved;
};
static_assert(sizeof(RawGroup) == 64);
inline constexpr u32 kSmallGroupBytes = 32;

enum InodeFlags : u32 {
    kInodeSync = 0x8,
    kInodeImmutable = 0x10,
    kInodeAppend = 0x20,
    kInodeEncrypt = 0x800,
    kInodeIndex = 0x1000,
    kInodeHugeFile = 0x40000,
    kInodeExtents = 0x80000,
    kInodeVerity = 0x100000,
    kInodeEaInode = 0x200000,
    kInodeInlineData = 0x10000000,
    kInodeCasefold = 0x40000000,
};
inline constexpr u32 kBlockWords = 15;  // of an inode
inline constexpr u32 kDirectBlocks = 12;
struct RawInode {
    Le16 mode, uid_lo;
    Le32 size_lo, accessed, changed, modified, deleted;
    Le16 gid_lo, links;
    Le32 blocks_lo, flags, version;
    Le32 block[kBlockWords];
    Le32 generation, file_acl_lo, size_hi, fragment;
    Le16 blocks_hi, file_acl_hi, uid_hi, gid_hi, checksum_lo, reserved;
    // Only in inodes of more than 128 bytes, as far as extra_size says.
    Le16 extra_size, checksum_hi;
    Le32 changed_extra, modified_extra, accessed_extra, born, born_extra, version_hi, project;
};
static_assert(sizeof(RawInode) == 160);
inline constexpr u32 kRawBlockBytes = sizeof(RawInode::block);  // 60

// The tree of extents: a header, then entries; the root is in the inode's block words.
inline constexpr u16 kExtentMagic = 0xf30a;
inline constexpr u32 kMaxExtentDepth = 5;
inline constexpr u32 kMaxExtentBlocks = 32768;  // a length beyond it means unwritten: its length is what is more
struct RawExtentHeader {
    Le16 magic, entries, max, depth;
    Le32 generation;
};
struct RawExtent {
    Le32 block;
    Le16 length, start_hi;
    Le32 start_lo;
};
struct RawExtentIndex {
    Le32 block, leaf_lo;
    Le16 leaf_hi, unused;
};
static_assert(sizeof(RawExtentHeader) == 12 && sizeof(RawExtent) == 12 && sizeof(RawExtentIndex) == 12);

struct RawDirEntry {
    Le32 inode;
    Le16 record_length;
    u8 name_length, type;
    char name[0];
};
static_assert(sizeof(RawDirEntry) == 8);
inline constexpr u32 kMaxName = 255;
constexpr u32 dir_entry_bytes(u32 name_length) { return (8 + name_length + 3) & ~3u; }
// At the end of a directory block with checksums: looks like an entry without a name.
struct RawDirTail {
    Le32 zero;
    Le16 record_length;
    u8 zero_name, type;
    Le32 checksum;
};
static_assert(sizeof(RawDirTail) == 12);
inline constexpr u8 kDirTailType = 0xde;

struct RawHashInfo {
    Le32 zero;
    u8 hash_version, info_length, levels, flags;
};
struct RawHashEntry {
    Le32 hash, block;
};
struct RawHashLimit {  // in the place of the first entry's hash
    Le16 limit, count;
};
struct RawHashTail {
    Le32 reserved, checksum;
};

inline constexpr u32 kXattrMagic = 0xea020000;
struct RawXattrHeader {  // of a block of attributes
    Le32 magic, refcount, blocks, hash, checksum, reserved[3];
};
static_assert(sizeof(RawXattrHeader) == 32);
struct RawXattrEntry {
    u8 name_length, name_index;
    Le16 value_offset;
    Le32 value_inode, value_size, hash;
    char name[0];
};
static_assert(sizeof(RawXattrEntry) == 16);

inline constexpr u32 kOrphanBlockMagic = 0x0b10ca04;
struct RawOrphanTail {
    Le32 magic, checksum;
};

// File types in directory entries; the same numbers as DT_* after conversion (directory.cpp).
enum DirType : u8 {
    kTypeUnknown,
    kTypeRegularFile,
    kTypeDir,
    kTypeCharDevice,
    kTypeBlockDevice,
    kTypeFifo,
    kTypeSocket,
    kTypeSymlink
};

// ---- The journal (jbd2): big-endian ----

inline constexpr u32 kJournalMagic = 0xc03b3998;
enum JournalBlockType : u32 {
    kDescriptorBlock = 1,
    kCommitBlock = 2,
    kSuperV1Block = 3,
    kSuperV2Block = 4,
    kRevokeBlock = 5
};
enum JournalIncompat : u32 {
    kJournalRevoke = 1,
    kJournal64Bit = 2,
    kJournalAsyncCommit = 4,
    kJournalCsumV2 = 8,
    kJournalCsumV3 = 16,
    kJournalFastCommit = 32,
};
enum JournalTagFlags : u32 { kTagEscape = 1, kTagSameUuid = 2, kTagDeleted = 4, kTagLast = 8 };
struct RawJournalHeader {
    Be32 magic, type, sequence;
};
struct RawJournalSuper {
    RawJournalHeader header;
    Be32 block_size, length, first, sequence, start, error;
    Be32 feature_compat, feature_incompat, feature_ro_compat;
    u8 uuid[16];
    Be32 users_count, dynamic_super, max_transaction, max_transaction_data;
    u8 checksum_type, padding[3];
    Be32 fast_commit_blocks, head, reserved[40], checksum;
    u8 users[16 * 48];
};
static_assert(sizeof(RawJournalSuper) == 1024);
struct RawJournalTag3 {
    Be32 block_lo, flags, block_hi, checksum;
};
struct RawJournalTag {
    Be32 block_lo;
    Be16 checksum, flags;
    Be32 block_hi;
};
struct RawJournalCommit {
    RawJournalHeader header;
    u8 checksum_type, checksum_size, padding[2];
    Be32 checksum[8];
    Be64 seconds;
    Be32 nanoseconds;
};
struct RawJournalRevoke {
    RawJournalHeader header;
    Be32 bytes;  // used, this header included
};
static_assert(sizeof(RawJournalTag3) == 16 && sizeof(RawJournalTag) == 12 && sizeof(RawJournalRevoke) == 16);

constexpr u64 join(u32 low, u32 high) { return u64{high} << 32 | low; }

}  // namespace ext4
