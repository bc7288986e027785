// SPDX-License-Identifier: MIT
// The tool's readers of ELF files (cli/elf_file.hpp, cli/elf_layout.hpp): what they find in a program of this host, and that damage is survived.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "cli/elf_file.hpp"
#include "cli/elf_layout.hpp"
#include "cli/util.hpp"

namespace {

using namespace cli;

// A dynamic program that is there wherever this test runs: itself.
std::string program() { return read_file("/proc/self/exe"); }

TEST(ToolElf, finds_the_interpreter_and_the_needed_libraries) {
    auto elf = read_elf(program());
    ASSERT_TRUE(elf.has_value());
    EXPECT_NE(elf->interpreter.find("ld-linux"), std::string::npos);
    EXPECT_THAT(elf->needed, ::testing::Contains("libc.so.6"));
}

TEST(ToolElf, refuses_what_is_no_program) {
    EXPECT_FALSE(read_elf("").has_value());
    EXPECT_FALSE(read_elf("#!/bin/sh\n").has_value());
    std::string other = program();
    other[18] = 40;  // e_machine: another architecture
    EXPECT_FALSE(read_elf(other).has_value());
}

TEST(ToolElf, reads_nothing_beyond_a_file_that_is_cut_off) {
    const std::string whole = program();
    for (size_t length = 0; length < std::min<size_t>(whole.size(), 4096); ++length) {
        std::string cut(whole.data(), length);  // its own memory, so that a sanitizer sees its end
        (void)read_elf(cut);
        EXPECT_FALSE(elf_layout(cut).has_value());
    }
}

TEST(ToolElf, survives_damage) {
    const std::string whole = program();
    std::mt19937 random(1);
    for (int round = 0; round < 300; ++round) {
        std::string bytes(whole.data(), std::min<size_t>(whole.size(), 1 << 20));
        // The header and the program headers are in the first kilobyte.
        for (int i = 0; i < 8; ++i) bytes[random() % 1024 + (i == 0 ? 0 : 16)] = static_cast<char>(random());
        (void)read_elf(bytes);
        (void)elf_layout(bytes);
    }
}

TEST(ToolElf, layout_counts_what_is_loaded) {
    auto layout = elf_layout(program());
    ASSERT_TRUE(layout.has_value());
    EXPECT_GT(layout->text, 0u);
    EXPECT_GT(layout->bss, 0u);
    EXPECT_LE(layout->bytes(), layout->end - layout->start);
    EXPECT_FALSE(elf_layout("#!/bin/sh\n").has_value());
}

TEST(ToolElf, the_loaded_part_is_a_program_of_the_same_layout) {
    const std::string whole = program(), part = loaded_part(whole);
    auto before = elf_layout(whole), after = elf_layout(part);
    ASSERT_TRUE(after.has_value());
    EXPECT_LT(part.size(), whole.size());
    EXPECT_EQ(part.size(), after->file_end);
    EXPECT_EQ(after->start, before->start);
    EXPECT_EQ(after->end, before->end);
    EXPECT_EQ(after->bytes(), 0u);  // no sections
    EXPECT_EQ(read_elf(part)->needed, read_elf(whole)->needed);
    EXPECT_EQ(loaded_part("no program"), "no program");
}

}  // namespace
