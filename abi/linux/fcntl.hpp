// SPDX-License-Identifier: MIT
// Opening, naming and locking files (asm-generic/fcntl.h, linux/fcntl.h, linux/fs.h, linux/falloc.h, linux/close_range.h):
// open(2), fcntl(2), flock(2), lseek(2), fallocate(2), renameat2(2), close_range(2), preadv2(2), utimensat(2).
#pragma once
#include <cstdint>

namespace abi {

// open(2), O_*.
inline constexpr uint32_t kOpenAccess = 3, kOpenReadOnly = 0, kOpenWriteOnly = 1, kOpenReadWrite = 2,
                          kOpenCreate = 0100, kOpenExclusive = 0200, kOpenNoCtty = 0400, kOpenTruncate = 01000,
                          kOpenAppend = 02000, kOpenNonblock = 04000, kOpenDsync = 010000, kOpenAsync = 020000,
                          kOpenDirect = 040000, kOpenLargeFile = 0100000, kOpenDirectory = 0200000,
                          kOpenNoFollow = 0400000, kOpenNoAtime = 01000000, kOpenCloexec = 02000000,
                          kOpenSync = 04010000, kOpenPath = 010000000, kOpenTmpfile = 020200000;

// openat(2) and the other calls that take a directory, AT_*.
inline constexpr int32_t kAtCwd = -100;
inline constexpr uint32_t kAtSymlinkNoFollow = 0x100, kAtRemoveDir = 0x200, kAtEffective = 0x200,
                          kAtSymlinkFollow = 0x400, kAtNoAutomount = 0x800, kAtEmptyPath = 0x1000,
                          kAtStatxSyncMask = 0x6000;

// fcntl(2), F_*.
enum FcntlCommand : uint32_t {
    kFcntlDupFd = 0,
    kFcntlGetFd = 1,
    kFcntlSetFd = 2,
    kFcntlGetFl = 3,
    kFcntlSetFl = 4,
    kFcntlGetLk = 5,
    kFcntlSetLk = 6,
    kFcntlSetLkW = 7,
    kFcntlSetOwn = 8,
    kFcntlGetOwn = 9,
    kFcntlSetSig = 10,
    kFcntlGetSig = 11,
    kFcntlSetOwnEx = 15,
    kFcntlGetOwnEx = 16,
    kFcntlGetOwnerUids = 17,
    kFcntlOfdGetLk = 36,
    kFcntlOfdSetLk = 37,
    kFcntlOfdSetLkW = 38,
    kFcntlGetLease = 1025,
    kFcntlDupFdCloexec = 1030,
    kFcntlSetPipeSize = 1031,
    kFcntlGetPipeSize = 1032,
    kFcntlGetRwHint = 1035,
    kFcntlSetRwHint = 1036,
};
inline constexpr uint32_t kFdCloexec = 1;  // FD_CLOEXEC, of F_GETFD and F_SETFD

inline constexpr uint64_t kMaxRwHint = 5;  // RWH_WRITE_LIFE_EXTREME

// struct f_owner_ex, and its types.
struct OwnerEx {
    int32_t type, pid;
};
inline constexpr int32_t kOwnerThread = 0, kOwnerProcess = 1, kOwnerGroup = 2;

// Record locks: struct flock of x86_64, and its types (F_RDLCK, F_WRLCK, F_UNLCK).
inline constexpr int kReadLock = 0, kWriteLock = 1, kUnlock = 2;
struct Flock {
    short type, whence;
    int32_t pad;
    int64_t start, length;
    int32_t pid, pad2;
};
static_assert(sizeof(Flock) == 32);

// flock(2), LOCK_*.
inline constexpr uint32_t kLockShared = 1, kLockExclusive = 2, kLockNoBlock = 4, kLockUnlock = 8, kLockMandatory = 32;

// lseek(2), SEEK_*; the first three also in struct flock.
inline constexpr uint32_t kSeekSet = 0, kSeekCur = 1, kSeekEnd = 2, kSeekData = 3, kSeekHole = 4;

// fallocate(2), FALLOC_FL_*.
inline constexpr uint32_t kFallocKeepSize = 1, kFallocPunchHole = 2, kFallocNoHideStale = 4, kFallocCollapseRange = 8,
                          kFallocZeroRange = 16, kFallocInsertRange = 32, kFallocUnshareRange = 64;

enum RenameFlags : uint32_t { kRenameNoReplace = 1, kRenameExchange = 2, kRenameWhiteout = 4 };  // renameat2(2)
enum CloseRangeFlags : uint32_t { kCloseRangeUnshare = 2, kCloseRangeCloexec = 4 };              // close_range(2)

// preadv2(2), RWF_*.
inline constexpr uint32_t kRwfHighPriority = 1, kRwfDsync = 2, kRwfSync = 4, kRwfNoWait = 8, kRwfAppend = 16;

// sync_file_range(2), SYNC_FILE_RANGE_*.
inline constexpr uint32_t kSyncRangeWaitBefore = 1, kSyncRangeWrite = 2, kSyncRangeWaitAfter = 4;

inline constexpr uint32_t kFadviseNoReuse = 5;  // posix_fadvise(2): POSIX_FADV_NOREUSE, the last

// utimensat(2): the nanoseconds that stand for the current time and for no change (UTIME_NOW, UTIME_OMIT).
inline constexpr int64_t kTimeNow = (1 << 30) - 1, kTimeOmit = (1 << 30) - 2;

}  // namespace abi
