// SPDX-License-Identifier: MIT
// struct stat, statx, dirent64 of the Linux x86_64 ABI (stat(2), statx(2), getdents64(2)).
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

constexpr uint64_t make_dev(uint32_t major, uint32_t minor) {
    return (uint64_t(major & 0xfff) << 8) | (minor & 0xff) | (uint64_t(minor & ~0xffu) << 12) |
           (uint64_t(major & ~0xfffu) << 32);
}
constexpr uint32_t dev_major(uint64_t d) { return uint32_t((d >> 8) & 0xfff) | uint32_t((d >> 32) & ~0xfffu); }
constexpr uint32_t dev_minor(uint64_t d) { return uint32_t(d & 0xff) | uint32_t((d >> 12) & ~0xffu); }

}  // namespace abi
