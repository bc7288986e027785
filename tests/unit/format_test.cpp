// SPDX-License-Identifier: MIT
// lib/format.hpp: every kind of argument and field, truncation, and wrong format strings.
#include "lib/format.hpp"

#include <gtest/gtest.h>

#include <string>

#include "abi/linux/errno.hpp"

namespace {

template <class... A>
std::string text(const char* fmt, const A&... a) {
    char buffer[256];
    size_t n = lib::format_to(buffer, fmt, a...);
    EXPECT_EQ(buffer[n], '\0');
    return std::string(buffer, n);
}

TEST(Format, PrintsIntegersOfEveryWidthAndSign) {
    EXPECT_EQ(text("{} {} {}", 0, -1, 42u), "0 -1 42");
    EXPECT_EQ(text("{}", INT64_MIN), "-9223372036854775808");
    EXPECT_EQ(text("{}", UINT64_MAX), "18446744073709551615");
    EXPECT_EQ(text("{} {}", u8{200}, static_cast<signed char>(-7)), "200 -7");
}

TEST(Format, PrintsHexadecimalAndOctalWithFields) {
    EXPECT_EQ(text("{:x} {:X} {:08x} {:o}", 255, 255, 0xbeef, 0644), "ff FF 0000beef 644");
    EXPECT_EQ(text("{:016x}", UINT64_MAX), "ffffffffffffffff");
    EXPECT_EQ(text("{:06}", -42), "-00042");
}

TEST(Format, AlignsNumbersRightAndTextLeftUnlessTold) {
    EXPECT_EQ(text("[{:6}] [{:<6}] [{:>6}]", 42, 42, 42), "[    42] [42    ] [    42]");
    EXPECT_EQ(text("[{:6}] [{:<6}] [{:>6}]", "ab", "ab", "ab"), "[ab    ] [ab    ] [    ab]");
    EXPECT_EQ(text("{:>40}", 7).size(), 40u);
}

TEST(Format, PrintsTextCharactersAndBooleans) {
    EXPECT_EQ(text("{} {} {}", std::string_view("view"), "array", static_cast<const char*>(nullptr)),
              "view array (null)");
    EXPECT_EQ(text("{}{:c}{:d}", 'a', 98, 'c'), "ab99");
    EXPECT_EQ(text("{} {} {:d}", true, false, true), "true false 1");
    EXPECT_EQ(text("{:.3}", "abcdef"), "abc");
}

TEST(Format, PrintsStrongTypesAddressesPointersAndEnumerations) {
    EXPECT_EQ(text("{} {}", CpuId{3}, Nanoseconds{17}), "3 17");
    EXPECT_EQ(text("{} {:x}", PhysAddr{0x1000}, UserAddr{0x2000}), "0x1000 2000");
    EXPECT_EQ(text("{} {}", reinterpret_cast<void*>(0xabc), nullptr), "0xabc (null)");
    EXPECT_EQ(text("{}", Errno::kNoMem), "12");
}

TEST(Format, TruncatesAndTerminates) {
    char four[4];
    EXPECT_EQ(lib::format_to(four, "{}", 123456), 3u);
    EXPECT_STREQ(four, "123");
    EXPECT_EQ(lib::format_to(std::span<char>(four, 1), "{}", 1), 0u);
    EXPECT_EQ(four[0], '\0');
    EXPECT_EQ(lib::format_to(std::span<char>(), "{}", 1), 0u);
}

TEST(Format, SurvivesWrongFormatStrings) {
    EXPECT_EQ(text("{} {}", 1), "1 {?}");
    EXPECT_EQ(text("{{{}}}", 1), "{1}");
    EXPECT_EQ(text("open { only", 1), "open { only");
    EXPECT_EQ(text("stray } here"), "stray } here");
    EXPECT_LE(text("{:99999999999}", 1).size(), 255u);
    EXPECT_EQ(text("too many", 1, 2), "too many");
}

TEST(StringBuilder, AppendsPiecesUntilOneFails) {
    struct Limited {
        std::string text;
        size_t limit;
    } out{{}, 12};
    lib::StringBuilder b{[](void* context, std::string_view piece) {
                             auto* o = static_cast<Limited*>(context);
                             if (o->text.size() + piece.size() > o->limit) return false;
                             o->text += piece;
                             return true;
                         },
                         &out};
    b.add("pid {}\n", 12);
    EXPECT_FALSE(b.failed);
    b.add("{}", "far too long for what is left");
    EXPECT_TRUE(b.failed);
    b.add("x");
    EXPECT_EQ(out.text, "pid 12\n");
}

TEST(ParseU64, AcceptsExactlyTheNumbersThatFit) {
    u64 n = 0;
    EXPECT_TRUE(lib::parse_u64("18446744073709551615", n));
    EXPECT_EQ(n, UINT64_MAX);
    EXPECT_FALSE(lib::parse_u64("18446744073709551616", n));
    EXPECT_FALSE(lib::parse_u64("", n));
    EXPECT_FALSE(lib::parse_u64("12x", n));
}

}  // namespace
