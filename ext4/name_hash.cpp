// SPDX-License-Identifier: MIT
// The hashes of names: "legacy", half MD4 and TEA, each over signed or unsigned characters.
#include <bit>
#include <cstring>

#include "ext4/directory.hpp"

namespace ext4 {

namespace {

// Packs up to `count` words of the name, big-endian, padded with its length.
void pack(std::string_view s, bool is_unsigned, u32* words, u32 count) {
    u32 pad = u32(s.size()) | u32(s.size()) << 8;
    pad |= pad << 16;
    const u32 n = s.size() < count * 4 ? u32(s.size()) : count * 4;
    for (u32 i = 0; i < count; ++i) words[i] = pad;
    u32 value = pad;
    for (u32 i = 0; i < n; ++i) {
        const u32 c = is_unsigned ? u32(u8(s[i])) : u32(i32(static_cast<signed char>(s[i])));
        value = c + (value << 8);
        words[i / 4] = value;
        if (i % 4 == 3) value = pad;
    }
}

u32 legacy(std::string_view s, bool is_unsigned) {
    u32 last = 0x37abe8f9, hash = 0x12a3fe2d;
    for (const char c : s) {
        const u32 value = is_unsigned ? u32(u8(c)) : u32(i32(static_cast<signed char>(c)));
        u32 next = last + (hash ^ (value * 7152373));
        if (next & 0x8000'0000) next -= 0x7fff'ffff;
        last = hash;
        hash = next;
    }
    return hash << 1;
}

void tea(u32 (&state)[4], const u32 (&in)[4]) {
    u32 sum = 0, x = state[0], y = state[1];
    for (u32 round = 0; round < 16; ++round) {
        sum += 0x9e37'79b9;
        x += ((y << 4) + in[0]) ^ (y + sum) ^ ((y >> 5) + in[1]);
        y += ((x << 4) + in[2]) ^ (x + sum) ^ ((x >> 5) + in[3]);
    }
    state[0] += x;
    state[1] += y;
}

// One of the three rounds of MD4 (RFC 1320), of half of its steps.
template <class F>
void md4_round(u32 (&s)[4], const u32 (&in)[8], F mix, u32 constant, const u8 (&order)[8], const u8 (&shifts)[4]) {
    for (u32 step = 0; step < 8; ++step) {
        u32& a = s[(4 - step % 4) % 4];
        const u32 b = s[(5 - step % 4) % 4], c = s[(6 - step % 4) % 4], d = s[(7 - step % 4) % 4];
        a = std::rotl(a + mix(b, c, d) + in[order[step]] + constant, shifts[step % 4]);
    }
}

void half_md4(u32 (&state)[4], const u32 (&in)[8]) {
    u32 s[4];
    std::memcpy(s, state, sizeof s);
    md4_round(s, in, [](u32 x, u32 y, u32 z) { return z ^ (x & (y ^ z)); }, 0, {0, 1, 2, 3, 4, 5, 6, 7},
              {3, 7, 11, 19});
    md4_round(s, in, [](u32 x, u32 y, u32 z) { return (x & y) + ((x ^ y) & z); }, 0x5a82'7999, {1, 3, 5, 7, 0, 2, 4, 6},
              {3, 5, 9, 13});
    md4_round(s, in, [](u32 x, u32 y, u32 z) { return x ^ y ^ z; }, 0x6ed9'eba1, {3, 7, 2, 6, 1, 5, 0, 4},
              {3, 9, 11, 15});
    for (u32 i = 0; i < 4; ++i) state[i] += s[i];
}

}  // namespace

bool known_hash(u8 version) { return version <= kTeaUnsigned; }

NameHash hash_name(const Geometry& g, u8 version, std::string_view name) {
    const bool is_unsigned = version >= kLegacyUnsigned || g.unsigned_hash;
    u32 state[4] = {0x6745'2301, 0xefcd'ab89, 0x98ba'dcfe, 0x1032'5476};
    if (g.hash_seed[0] | g.hash_seed[1] | g.hash_seed[2] | g.hash_seed[3])
        std::memcpy(state, g.hash_seed, sizeof state);
    NameHash h;
    switch (version % kLegacyUnsigned) {
        case kLegacyHash: h = {legacy(name, is_unsigned), 0}; break;
        case kHalfMd4:
            for (size_t at = 0; at < name.size(); at += 32) {
                u32 in[8];
                pack(name.substr(at), is_unsigned, in, 8);
                half_md4(state, in);
            }
            h = {state[1], state[2]};
            break;
        default:
            for (size_t at = 0; at < name.size(); at += 16) {
                u32 in[4];
                pack(name.substr(at), is_unsigned, in, 4);
                tea(state, in);
            }
            h = {state[0], state[1]};
            break;
    }
    h.major &= ~1u;
    constexpr u32 kEndOfDirectory = 0xffff'fffe;  // stands for the end of a directory in cookies
    if (h.major == kEndOfDirectory) h.major -= 2;
    return h;
}

}  // namespace ext4
