// SPDX-License-Identifier: MIT
// Attributes of files (linux/stat.h, asm/stat.h, asm/statfs.h of x86): stat(2), statx(2), statfs(2), inode(7); device
// numbers (makedev(3)).
#pragma once
#include <cstdint>

namespace abi {

struct Timespec {
    int64_t seconds;
    int64_t nanoseconds;
};
struct Timeval {
    int64_t seconds;
    int64_t microseconds;
};

struct Stat {  // x86_64
    uint64_t dev, ino, nlink;
    uint32_t mode, uid, gid, pad0;
    uint64_t rdev;
    int64_t size, blksize, blocks;
    Timespec atime, mtime, ctime;
    int64_t unused[3];
};
static_assert(sizeof(Stat) == 144);

// st_mode (inode(7)): S_IF*, S_ISUID, S_ISGID, S_ISVTX, and the sets of permissions.
inline constexpr uint32_t kTypeMask = 0170000, kTypeSocket = 0140000, kTypeLink = 0120000, kTypeRegular = 0100000,
                          kTypeBlock = 0060000, kTypeDirectory = 0040000, kTypeChar = 0020000, kTypeFifo = 0010000;
inline constexpr uint32_t kSetUid = 04000, kSetGid = 02000, kSticky = 01000;
inline constexpr uint32_t kModeMask = 07777, kPermissionMask = 0777, kAnyExec = 0111, kGroupExec = 010;
inline constexpr uint32_t kMayExec = 1, kMayWrite = 2, kMayRead = 4;  // access(2): X_OK, W_OK, R_OK

struct Statfs {  // statfs(2), x86_64
    int64_t type, block_size;
    uint64_t blocks, free, available, files, free_files;
    int32_t fsid[2];
    int64_t name_length, fragment_size, flags, spare[4];
};
static_assert(sizeof(Statfs) == 120);

struct StatxTime {
    int64_t seconds;
    uint32_t nanoseconds;
    int32_t pad;
};
struct Statx {  // statx(2)
    uint32_t mask, block_size;
    uint64_t attributes;
    uint32_t links, uid, gid;
    uint16_t mode, pad;
    uint64_t inode, size, blocks, attributes_mask;
    StatxTime accessed, born, changed, modified;
    uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
    uint64_t mount_id, spare[13];
};
static_assert(sizeof(Statx) == 256);
// STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID, STATX__RESERVED; STATX_ATTR_*.
inline constexpr uint32_t kStatxBasic = 0x7ff, kStatxBorn = 0x800, kStatxMountId = 0x1000, kStatxReserved = 0x80000000;
inline constexpr uint64_t kStatxImmutable = 0x10, kStatxAppend = 0x20, kStatxNoDump = 0x40, kStatxAutomount = 0x1000,
                          kStatxMountRoot = 0x2000, kStatxDax = 0x200000;

constexpr uint64_t make_dev(uint32_t major, uint32_t minor) {
    return (uint64_t(major & 0xfff) << 8) | (minor & 0xff) | (uint64_t(minor & ~0xffu) << 12) |
           (uint64_t(major & ~0xfffu) << 32);
}
constexpr uint32_t dev_major(uint64_t d) { return uint32_t((d >> 8) & 0xfff) | uint32_t((d >> 32) & ~0xfffu); }
constexpr uint32_t dev_minor(uint64_t d) { return uint32_t(d & 0xff) | uint32_t((d >> 12) & ~0xffu); }

}  // namespace abi
