// SPDX-License-Identifier: MIT
// Mounts (linux/mount.h): mount(2), umount2(2), and the flags that statfs(2) reports.
#pragma once
#include <cstdint>

namespace abi {

// mount(2), MS_*.
inline constexpr uint32_t kMountReadOnly = 1, kMountNoSuid = 2, kMountNoDev = 4, kMountNoExec = 8, kMountRemount = 32,
                          kMountNoAtime = 1024, kMountNoDirAtime = 2048, kMountBind = 4096, kMountMove = 8192,
                          kMountRecursive = 16384, kMountSilent = 32768, kMountRelAtime = 1 << 21,
                          kMountStrictAtime = 1 << 24;
// MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE and MS_SHARED.
inline constexpr uint32_t kMountPropagation = 0x1e0000;
// Programs from before Linux 2.4 put a magic number into the upper half (MS_MGC_VAL, MS_MGC_MSK).
inline constexpr uint32_t kMountMagic = 0xc0ed0000, kMountMagicMask = 0xffff0000;

// umount2(2): MNT_FORCE, MNT_DETACH, MNT_EXPIRE, UMOUNT_NOFOLLOW.
inline constexpr uint32_t kUmountForce = 1, kUmountDetach = 2, kUmountExpire = 4, kUmountNoFollow = 8;

// statfs(2), ST_*; those up to ST_NODIRATIME that are not here have the values of MS_*.
inline constexpr uint32_t kStatfsReadOnly = 1, kStatfsValid = 0x20, kStatfsRelAtime = 0x1000;

}  // namespace abi
