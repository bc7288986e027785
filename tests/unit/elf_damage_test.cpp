// SPDX-License-Identifier: MIT
// elf/: for all headers of a file, what is accepted can be mapped; nothing beyond the given bytes is read (ASan).
#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "elf/image.hpp"
#include "port/hosted/script.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace {

constexpr u16 kX86_64 = 62;
constexpr u64 kLimit = 0x7fff'ffff'f000;

// As the loader does it: the header, then the table, each from exactly as many bytes as there are.
Result<elf::Layout> parse(std::span<const std::byte> file) {
    auto header = std::make_unique<elf::Header>();
    if (file.size() < sizeof *header) return Errno::kNoExec;
    std::memcpy(header.get(), file.data(), sizeof *header);
    TRY(elf::check_header(*header, kX86_64));
    u64 bytes = elf::table_bytes(*header);
    if (header->table_offset > file.size() || bytes > file.size() - header->table_offset) return Errno::kNoExec;
    auto table = std::make_unique<elf::ProgramHeader[]>(header->entry_count);
    std::memcpy(table.get(), file.data() + header->table_offset, bytes);
    auto layout = elf::examine(*header, {table.get(), header->entry_count}, kLimit);
    if (!layout.ok()) return layout;
    // What was accepted is sane.
    EXPECT_LT(layout.value().low, layout.value().high);
    EXPECT_LE(layout.value().high - layout.value().low, kLimit);
    EXPECT_TRUE(std::has_single_bit(layout.value().alignment));
    for (u32 i = 0; i < header->entry_count; ++i) {
        if (table[i].type != elf::kLoad) continue;
        auto s = elf::segment(table[i], kLimit);
        EXPECT_TRUE(s.ok());
        if (!s.ok()) continue;
        EXPECT_EQ(s.value().start % kPageSize, 0u);
        EXPECT_EQ(s.value().end % kPageSize, 0u);
        EXPECT_LE(s.value().start, s.value().file_end);
        EXPECT_LE(s.value().file_end, s.value().end);
        EXPECT_LE(s.value().data_end, s.value().zero_end);
        EXPECT_LE(s.value().zero_end, s.value().end);
        EXPECT_EQ(s.value().file_offset % kPageSize, 0u);
    }
    return layout;
}

std::vector<std::byte> headers() {
    auto file = port::hosted::image(UserAddr{port::hosted::kText + 16});
    file.resize(176);  // all that the parser looks at
    return file;
}

TEST(ElfDamage, TheWholeFileIsAccepted) {
    auto layout = parse(headers());
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout.value().segments, 2u);
    EXPECT_EQ(layout.value().low, port::hosted::kText);
    EXPECT_EQ(layout.value().high, port::hosted::kData + port::hosted::kDataSize);
    EXPECT_EQ(layout.value().table_address, port::hosted::kText + 64);
}

TEST(ElfDamage, EveryCutIsRefused) {
    auto file = headers();
    for (size_t n = 0; n < file.size(); ++n) {
        std::vector<std::byte> cut(file.begin(), file.begin() + long(n));
        cut.shrink_to_fit();
        EXPECT_FALSE(parse(cut).ok()) << n << " bytes";
    }
}

TEST(ElfDamage, EveryByteChangedIsSurvived) {
    auto file = headers();
    for (size_t at = 0; at < file.size(); ++at)
        for (u32 v = 0; v < 256; ++v) {
            auto damaged = file;
            damaged[at] = std::byte(v);
            (void)parse(damaged);
        }
}

TEST(ElfDamage, RandomDamageIsSurvived) {
    for (u64 seed = 0; seed < 20'000; ++seed) {
        hosted_test::Random random(seed);
        auto file = headers();
        for (u64 i = 0, n = 1 + random() % 8; i < n; ++i) {
            size_t at = random() % file.size();
            switch (random() % 4) {
                case 0: file[at] = std::byte(random()); break;
                case 1: file[at] = std::byte{0xff}; break;
                case 2: file[at] ^= std::byte(1 << random() % 8); break;
                default: {
                    // A whole word of a program header: sizes and offsets near the limits.
                    constexpr u64 kEdges[] = {0,      1,       0xfff,       0x1000,      kLimit - 1,
                                              kLimit, ~u64{0}, ~u64{0xfff}, u64{1} << 63};
                    size_t word = 64 + random() % 14 * 8;
                    std::memcpy(file.data() + word, &kEdges[random() % std::size(kEdges)], 8);
                }
            }
        }
        (void)parse(file);
    }
}

}  // namespace
