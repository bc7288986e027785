// SPDX-License-Identifier: MIT
// Requests of ioctl(2) to block devices (linux/fs.h, linux/hdreg.h).
#pragma once
#include <cstdint>

namespace abi {

inline constexpr uint32_t kBlkRoGet = 0x125e, kBlkGetSize = 0x1260, kBlkFlushBuffers = 0x1261,
                          kBlkReadAheadGet = 0x1263, kBlkSectorsGet = 0x1267, kBlkSectorSize = 0x1268,
                          kBlkDiscard = 0x1277, kBlkIoMin = 0x1278, kBlkIoBest = 0x1279, kBlkAlignmentOffset = 0x127a,
                          kBlkPhysicalSize = 0x127b, kBlkDiscardZeroes = 0x127c, kBlkRotational = 0x127e,
                          kBlkBlockSizeGet = 0x80081270, kBlkGetSize64 = 0x80081272;

}  // namespace abi
