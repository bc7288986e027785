// SPDX-License-Identifier: MIT
#include "ext4/checksum.hpp"

#include <array>
#include <cstring>

namespace ext4 {

namespace {

constexpr u32 kCastagnoli = 0x82f63b78;  // reflected
constexpr u16 kCrc16 = 0xa001;           // reflected

// tables[k][b]: byte b followed by k zero bytes. Eight bytes are taken at a time.
constexpr auto make_tables() {
    std::array<std::array<u32, 256>, 8> t{};
    for (u32 b = 0; b < 256; ++b) {
        u32 c = b;
        for (int i = 0; i < 8; ++i) c = c & 1 ? c >> 1 ^ kCastagnoli : c >> 1;
        t[0][b] = c;
    }
    for (u32 k = 1; k < 8; ++k)
        for (u32 b = 0; b < 256; ++b) t[k][b] = t[k - 1][b] >> 8 ^ t[0][t[k - 1][b] & 0xff];
    return t;
}
constexpr auto make_table16() {
    std::array<u16, 256> t{};
    for (u32 b = 0; b < 256; ++b) {
        u16 c = u16(b);
        for (int i = 0; i < 8; ++i) c = u16(c & 1 ? c >> 1 ^ kCrc16 : c >> 1);
        t[b] = c;
    }
    return t;
}
constinit const auto tables = make_tables();
constinit const auto table16 = make_table16();

}  // namespace

u32 crc32c(u32 seed, const void* data, size_t bytes) {
    const auto* p = static_cast<const u8*>(data);
    u32 c = seed;
    for (; bytes >= 8; bytes -= 8, p += 8) {
        Le64 word;
        std::memcpy(&word, p, 8);
        const u64 v = word ^ c;
        c = tables[7][v & 0xff] ^ tables[6][v >> 8 & 0xff] ^ tables[5][v >> 16 & 0xff] ^ tables[4][v >> 24 & 0xff] ^
            tables[3][v >> 32 & 0xff] ^ tables[2][v >> 40 & 0xff] ^ tables[1][v >> 48 & 0xff] ^ tables[0][v >> 56];
    }
    for (; bytes != 0; --bytes) c = c >> 8 ^ tables[0][(c ^ *p++) & 0xff];
    return c;
}

u16 crc16(u16 seed, const void* data, size_t bytes) {
    const auto* p = static_cast<const u8*>(data);
    u16 c = seed;
    for (; bytes != 0; --bytes) c = u16(c >> 8 ^ table16[(c ^ *p++) & 0xff]);
    return c;
}

}  // namespace ext4
