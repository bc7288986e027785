// SPDX-License-Identifier: MIT
// The memory functions of the bare worlds, under other names, against the C library's: every size around the borders
// of their cases, every alignment, both directions of overlap, and nothing written outside.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "lib/copy_string.hpp"

#define memcpy bare_memcpy
#define memmove bare_memmove
#define memset bare_memset
#define memcmp bare_memcmp
#define bcmp bare_bcmp
#define memchr bare_memchr
#define strlen bare_strlen
#define strcmp bare_strcmp
#include "lib/bare/x86_64/string.cpp"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp
#undef bcmp
#undef memchr
#undef strlen
#undef strcmp

namespace {

using Bytes = std::vector<unsigned char>;

Bytes random_bytes(size_t n, unsigned seed) {
    std::mt19937 random(seed);
    Bytes b(n);
    for (auto& c : b) c = static_cast<unsigned char>(random());
    return b;
}

constexpr size_t kArea = 400;

TEST(BareString, MemcpyCopiesExactlyTheBytesAskedFor) {
    for (size_t n = 0; n <= 150; ++n)
        for (size_t shift = 0; shift < 9; ++shift) {
            Bytes from = random_bytes(kArea, 1), to = random_bytes(kArea, 2), expect = to;
            std::copy_n(from.begin() + 16 + shift, n, expect.begin() + 24);
            EXPECT_EQ(bare_memcpy(&to[24], &from[16 + shift], n), &to[24]);
            ASSERT_EQ(to, expect) << n << " " << shift;
        }
}

TEST(BareString, MemmoveHandlesEveryOverlap) {
    for (size_t n = 0; n <= 100; ++n)
        for (size_t d = 0; d <= 120; d += d % 16 < 9 ? 1 : 3) {
            Bytes a = random_bytes(kArea, 3), b = a;
            bare_memmove(&a[d], &a[60], n);
            std::memmove(&b[d], &b[60], n);
            ASSERT_EQ(a, b) << n << " " << d;
        }
}

TEST(BareString, MemsetFillsExactly) {
    for (size_t n = 0; n <= 150; ++n) {
        Bytes a = random_bytes(kArea, 4), b = a;
        bare_memset(&a[33], 0x1a5, n);
        std::memset(&b[33], 0x1a5, n);
        ASSERT_EQ(a, b) << n;
    }
}

TEST(BareString, MemcmpOrdersLikeTheCLibrary) {
    for (size_t n = 0; n <= 40; ++n)
        for (size_t at = 0; at <= n; ++at) {
            Bytes a = random_bytes(64, 5), b = a;
            if (at < n) b[at + 3] ^= 0x81;
            int got = bare_memcmp(&a[3], &b[3], n), want = std::memcmp(&a[3], &b[3], n);
            ASSERT_EQ(got < 0, want < 0);
            ASSERT_EQ(got == 0, want == 0);
            ASSERT_EQ(bare_bcmp(&a[3], &b[3], n) == 0, want == 0);
        }
}

TEST(BareString, StrlenStrcmpAndMemchrFindTheEnd) {
    for (size_t shift = 0; shift < 8; ++shift)
        for (size_t n = 0; n < 40; ++n) {
            alignas(8) char text[64];
            std::memset(text, 0x80, sizeof text);
            text[shift + n] = 0;
            ASSERT_EQ(bare_strlen(text + shift), n);
            ASSERT_EQ(bare_memchr(text + shift, 0, 50), text + shift + n);
        }
    EXPECT_EQ(bare_memchr("abc", 'd', 3), nullptr);
    EXPECT_EQ(bare_strcmp("abc", "abc"), 0);
    EXPECT_LT(bare_strcmp("ab", "abc"), 0);
    EXPECT_GT(bare_strcmp("b", "abc"), 0);
}

// Every length and place of the end; what comes after the end is not taken for it.
TEST(CopyString, EndsWhereTheZeroByteIs) {
    for (size_t n = 0; n <= 40; ++n)
        for (size_t at = 0; at < 8; ++at) {
            std::vector<std::byte> from(at + n + 24, std::byte{0x80});
            for (size_t i = 0; i < n; ++i) from[at + i] = std::byte(1 + i % 255);
            from[at + n] = std::byte{0};
            std::vector<char> to(from.size(), 'x');
            EXPECT_EQ(lib::copy_string(to.data(), from.data() + at, n + 16), n);
            EXPECT_EQ(memcmp(to.data(), from.data() + at, n + 1), 0);
            // Without it: all of them, and nothing beyond.
            std::fill(to.begin(), to.end(), 'x');
            EXPECT_EQ(lib::copy_string(to.data(), from.data() + at, n), n);
            EXPECT_EQ(to[n], 'x');
        }
}

}  // namespace
