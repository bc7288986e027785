// SPDX-License-Identifier: MIT
// The host tool's parts that can be checked without a guest: archives, encodings, sizes, differences.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "cli/cpio.hpp"
#include "cli/diff.hpp"
#include "cli/util.hpp"

namespace cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

uint64_t header_field(const std::string& archive, size_t at, size_t field) {
    return std::stoull(archive.substr(at + 6 + 8 * field, 8), nullptr, 16);
}

TEST(Cpio, NamesComeBackAndParentsAreCreated) {
    CpioWriter writer;
    writer.file("a/b/file", "hello", 0644);
    writer.symlink("a/link", "b/file");
    writer.file("a/b/file", "second one is ignored");
    EXPECT_THAT(cpio_names(writer.finish()), ElementsAre("a", "a/b", "a/b/file", "a/link"));
}

TEST(Cpio, EveryRecordIsAlignedAndTheArchiveCanBeFollowedByAnother) {
    CpioWriter one, two;
    one.file("x", "1");
    two.file("yy", "22");
    std::string archive = one.finish();
    EXPECT_EQ(archive.size() % 4, 0u);
    EXPECT_THAT(cpio_names(archive + two.finish()), ElementsAre("x", "yy"));
}

TEST(Cpio, AssumedNamesAreNotWrittenAgain) {
    CpioWriter writer;
    writer.assume({"bin", "bin/sh"});
    writer.file("bin/sh", "no");
    writer.file("bin/new", "yes");
    EXPECT_THAT(cpio_names(writer.finish()), ElementsAre("bin/new"));
}

TEST(Cpio, TreeKeepsHardLinksModesAndSymbolicLinks) {
    TempDir temp;
    fs::create_directory(temp.path() / "d");
    write_file(temp.path() / "d/file", "data");
    ASSERT_EQ(::chmod((temp.path() / "d/file").c_str(), 04751), 0);
    fs::create_hard_link(temp.path() / "d/file", temp.path() / "hard");
    fs::create_symlink("d/file", temp.path() / "soft");
    CpioWriter writer;
    writer.host_tree("", temp.path());
    std::string archive = writer.finish();
    EXPECT_THAT(cpio_names(archive), ElementsAre(".", "d", "d/file", "hard", "soft"));
    size_t first = archive.find(std::string("hard\0", 5)) - 110;
    // mode, then links: fields 1 and 4 of the header.
    EXPECT_EQ(header_field(archive, first, 1), static_cast<uint64_t>(S_IFREG | 04751));
    EXPECT_EQ(header_field(archive, first, 4), 2u);
}

TEST(Cpio, DamagedArchivesAreRefused) {
    CpioWriter writer;
    writer.file("name", "some data");
    std::string archive = writer.finish();
    EXPECT_THROW(cpio_names("this is no archive"), Failure);
    EXPECT_THROW(cpio_names(archive.substr(0, 115)), Failure);
    std::string bad_size = archive;
    bad_size.replace(6 + 8 * 6, 8, "fffffff0");
    EXPECT_THROW(cpio_names(bad_size), Failure);
    std::string bad_digit = archive;
    bad_digit[10] = 'x';
    bad_digit[6 + 8 * 6] = 'x';
    EXPECT_THROW(cpio_names(bad_digit), Failure);
}

TEST(Util, Base64IsReversibleForEveryLength) {
    std::string bytes;
    for (int i = 0; i < 10; ++i) {
        EXPECT_EQ(unbase64(base64(bytes)), bytes);
        bytes += static_cast<char>(250 + i);
    }
    EXPECT_EQ(base64("farcall"), "ZmFyY2FsbA==");
}

TEST(Util, Utf8TextIsToldFromBytes) {
    EXPECT_TRUE(is_utf8_text("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x99\x82\n"));
    EXPECT_FALSE(is_utf8_text("\xff"));
    EXPECT_FALSE(is_utf8_text("\xc0\x80"));
    EXPECT_FALSE(is_utf8_text("cut \xe2\x82"));
    EXPECT_FALSE(is_utf8_text(std::string_view("nul \0", 5)));
}

TEST(Util, SizesAreParsed) {
    EXPECT_EQ(parse_size("256M"), uint64_t{256} << 20);
    EXPECT_EQ(parse_size("2G"), uint64_t{2} << 30);
    EXPECT_EQ(parse_size("64"), uint64_t{64} << 20);
    for (const char* bad : {"", "lots", "-1", "0", "1T", "12Q"}) EXPECT_THROW(parse_size(bad), Failure) << bad;
}

TEST(Diff, EqualTextsHaveNone) { EXPECT_EQ(unified_diff("a\nb\n", "a\nb\n", "x", "y"), ""); }

TEST(Diff, ChangedLineIsShownWithItsNeighbours) {
    std::string diff = unified_diff("1\n2\n3\n4\n5\n", "1\n2\nthree\n4\n5\n", "want", "got");
    EXPECT_THAT(diff, HasSubstr("--- want\n+++ got\n"));
    EXPECT_THAT(diff, HasSubstr(" 2\n-3\n+three\n 4\n"));
}

TEST(Diff, MissingNewlineAtTheEndIsSaid) {
    EXPECT_THAT(unified_diff("a\n", "a", "want", "got"), HasSubstr("no newline at the end"));
}

TEST(Diff, BytesThatAreNoTextAreNotPrinted) {
    EXPECT_THAT(unified_diff("a\xff", "a\xfe", "want", "got"), HasSubstr("differ at byte 1"));
}

}  // namespace
}  // namespace cli
