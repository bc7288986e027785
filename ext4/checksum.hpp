// SPDX-License-Identifier: MIT
// The checksums of ext4 and jbd2: CRC-32C (without the final inversion, as ext4 uses it) and CRC-16. Plain functions.
#pragma once
#include <cstddef>

#include "ext4/format.hpp"

namespace ext4 {

u32 crc32c(u32 seed, const void* data, size_t bytes);
u16 crc16(u16 seed, const void* data, size_t bytes);
// Of a number in the byte order of the disk.
inline u32 crc32c_le32(u32 seed, u32 value) {
    Le32 v;
    v = value;
    return crc32c(seed, &v, sizeof v);
}

}  // namespace ext4
