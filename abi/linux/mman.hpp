// SPDX-License-Identifier: MIT
// Memory mappings (asm-generic/mman-common.h, asm-generic/mman.h, linux/mman.h, linux/memfd.h): mmap(2), mprotect(2),
// msync(2), mremap(2), madvise(2), mlock2(2), mlockall(2), memfd_create(2).
#pragma once
#include <cstdint>

namespace abi {

// PROT_*.
inline constexpr uint32_t kProtRead = 1, kProtWrite = 2, kProtExec = 4, kProtSem = 8, kProtGrowsDown = 0x01000000,
                          kProtGrowsUp = 0x02000000;

// MAP_*. kMapType: the bits of the first three.
inline constexpr uint32_t kMapShared = 1, kMapPrivate = 2, kMapSharedValidate = 3, kMapType = 0xf, kMapFixed = 0x10,
                          kMapAnonymous = 0x20, kMap32Bit = 0x40, kMapGrowsDown = 0x100, kMapDenyWrite = 0x800,
                          kMapExecutable = 0x1000, kMapLocked = 0x2000, kMapNoReserve = 0x4000, kMapPopulate = 0x8000,
                          kMapNonBlock = 0x10000, kMapStack = 0x20000, kMapHugeTlb = 0x40000,
                          kMapFixedNoReplace = 0x100000;
inline constexpr uint32_t kMapSync = 0x80000;
// Sizes of huge pages, MAP_HUGE_2MB | MAP_HUGE_1GB.
inline constexpr uint32_t kMapHugeSizes = 31u << 26;

// msync(2): MS_ASYNC, MS_INVALIDATE, MS_SYNC.
inline constexpr uint32_t kSyncAsync = 1, kSyncInvalidate = 2, kSyncNow = 4;

// mremap(2), MREMAP_*.
inline constexpr uint32_t kRemapMayMove = 1, kRemapFixed = 2, kRemapDontUnmap = 4;

// madvise(2), MADV_*.
enum Advice : int32_t {
    kMadvNormal,
    kMadvRandom,
    kMadvSequential,
    kMadvWillNeed,
    kMadvDontNeed,
    kMadvFree = 8,
    kMadvRemove,
    kMadvDontFork,
    kMadvDoFork,
    kMadvMergeable,
    kMadvUnmergeable,
    kMadvHugePage,
    kMadvNoHugePage,
    kMadvDontDump,
    kMadvDoDump,
    kMadvWipeOnFork,
    kMadvKeepOnFork,
    kMadvCold,
    kMadvPageOut,
    kMadvPopulateRead,
    kMadvPopulateWrite,
    kMadvDontNeedLocked,
    kMadvCollapse
};

inline constexpr uint32_t kMlockOnFault = 1;                                    // mlock2(2), MLOCK_ONFAULT
inline constexpr uint32_t kLockCurrent = 1, kLockFuture = 2, kLockOnFault = 4;  // mlockall(2), MCL_*
inline constexpr uint32_t kMemfdCloexec = 1;                                    // memfd_create(2), MFD_CLOEXEC

}  // namespace abi
