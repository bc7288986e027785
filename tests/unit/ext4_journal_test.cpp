// SPDX-License-Identifier: MIT
// The journal: what debugfs has written into a log is replayed as e2fsck does it, and after a cut of the power at any write the
// volume is whole, with everything that was synced.
#include <cstdlib>

#include "ext4/journal.hpp"
#include "tests/unit/ext4_world.hpp"

namespace {

using namespace ext4_test;

constexpr const char* kOptions[] = {
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,sparse_super,extra_isize",
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,^64bit,^metadata_csum,filetype,sparse_super",
    "-t ext3 -b 4096 -O has_journal,dir_index,filetype,sparse_super",
};

// ---- Replay ----

// Blocks that no file has: 4 of them in a row.
u64 free_block(const std::string& path) {
    const std::string out = shell("debugfs -R 'ffb 4 3000' " + path);
    const size_t at = out.find("found: ");
    EXPECT_NE(at, std::string::npos) << out;
    return std::strtoull(out.c_str() + at + 7, nullptr, 10);
}

struct Written {
    std::vector<std::byte> image;
    u64 first = 0;
    u32 block_bytes = 0;
};

// A log with three transactions over four blocks; the second revokes the third block, the last is not committed. A block of the
// first begins like a block of the log itself.
Written image_with_log(const char* options, const std::string& checksum) {
    Written w;
    const std::string path = temporary("log.img"), block = temporary("block");
    write_file(path, make_image(options, "16M"));
    w.block_bytes = std::string(options).find("4096") != std::string::npos ? 4096 : 1024;
    w.first = free_block(path);
    const auto fill = [&](char c, bool magic, u32 blocks = 1) {
        std::string text(w.block_bytes * blocks, c);
        if (magic) text.replace(0, 4, std::string("\xc0\x3b\x39\x98", 4));
        write_text(block, text);
    };
    const std::string commands = temporary("commands");
    const auto number = [&](u32 n) { return std::to_string(w.first + n); };
    const auto run = [&](const std::string& text) {
        write_text(commands, text);
        shell("debugfs -w -f " + commands + " " + path);
    };
    fill('a', true, 3);
    run("jo " + checksum + "\njw -b " + number(0) + "," + number(1) + "," + number(2) + " " + block + "\njc\n");
    fill('b', false);
    run("jo " + checksum + "\njw -b " + number(1) + " " + block + "\njw -r " + number(2) + "\njc\n");
    fill('c', false);
    run("jo " + checksum + "\njw -b " + number(3) + " -c " + block + "\njc\n");  // -c: without a commit block
    w.image = read_file(path);
    return w;
}

TEST(Ext4Replay, WhatTheLogHoldsIsWrittenAsE2fsckDoesIt) {
    for (const char* options : kOptions)
        for (const char* checksum : {"", "-c", "-c -v 2"}) {
            // e2fsck 1.47.0 overlooks the revoked block in a journal with checksums of a volume without.
            if (*checksum && std::string(options).find(",metadata_csum") == std::string::npos) continue;
            const Written w = image_with_log(options, checksum);
            World world(w.image, 1);
            ASSERT_EQ(world.mount({.read_only = true}), Errno::kOk) << world.report.problem << options << checksum;
            world.volume.reset();
            const std::string path = temporary("replayed.img");
            write_file(path, w.image);
            int status = 0;
            shell("e2fsck -y -E journal_only " + path, &status);
            const auto theirs = read_file(path);
            for (u32 n = 0; n < 4; ++n) {
                const u64 at = (w.first + n) * w.block_bytes;
                EXPECT_EQ(std::memcmp(world.disk.bytes.data() + at, theirs.data() + at, w.block_bytes), 0)
                    << options << " " << checksum << " block " << n;
            }
            const char expected[] = {char(0xc0), 'b', char(kStale), char(kStale)};
            for (u32 n = 0; n < 4; ++n)
                EXPECT_EQ(char(world.disk.bytes[(w.first + n) * w.block_bytes]), expected[n])
                    << options << checksum << n;
            EXPECT_EQ(check_image(world.disk.bytes), "");
        }
}

TEST(Ext4Replay, ADamagedLogIsRefusedAndNothingIsWritten) {
    const Written w = image_with_log(kOptions[0], "-c");
    // A byte of the first block that the log holds.
    const std::string needle(200, 'a');  // behind the escaped word
    auto image = w.image;
    const std::string_view all(reinterpret_cast<const char*>(image.data()), image.size());
    const size_t at = all.find(needle);
    ASSERT_NE(at, std::string_view::npos);
    image[at] = std::byte{'z'};
    World world(image, 1);
    EXPECT_EQ(world.mount(), Errno::kBadMsg) << world.report.problem;
    EXPECT_EQ(world.disk.writes, 0u);
}

TEST(Ext4Replay, WithoutReplayAReadOnlyMountWritesNothing) {
    const Written w = image_with_log(kOptions[0], "-c");
    World world(w.image, 1);
    EXPECT_EQ(world.mount({.read_only = true, .no_replay = true}), Errno::kOk);
    EXPECT_EQ(world.disk.writes, 0u);
    world.volume.reset();
    world.disk.set_limits().read_only = true;
    EXPECT_EQ(world.mount(), Errno::kRoFs) << world.report.problem;
    EXPECT_EQ(world.disk.writes, 0u);
}

// ---- Cuts ----

class Ext4Cut : public testing::TestWithParam<const char*> {};

TEST_P(Ext4Cut, AfterACutAnywhereTheVolumeIsWholeAndHasWhatWasSynced) {
    const char* more = std::getenv("FARCALL_EXT4_CUTS");
    const u32 cuts = more ? u32(std::atoi(more)) : 20;
    World w(make_image(GetParam(), "12M"), 3);
    ASSERT_EQ(w.mount(), Errno::kOk);
    const auto before = w.disk.bytes;
    w.disk.logging = true;
    Operations ops(w, 7, 20'000);
    std::vector<std::pair<size_t, Model>> synced = {{0, ops.model}};
    for (u32 n = 0; n < 500; ++n) {
        ASSERT_TRUE(ops.step());
        if (n % 10 == 9) {
            ops.sync();
            // Otherwise a replay would cover up what was written to its place too early.
            if (n % 30 == 29) ASSERT_TRUE(w.run(w.volume->journal->checkpoint_all()).ok());
            synced.emplace_back(w.disk.log.size(), ops.model);
        }
    }
    w.disk.logging = false;
    w.volume.reset();  // as the power would
    const auto log = std::move(w.disk.log);
    Random random(11);
    u32 replayed = 0;
    for (u32 c = 0; c < cuts; ++c) {
        const size_t at = 1 + random() % log.size();
        const auto image = cut(before, log, at, random);
        World after(image, c);
        ASSERT_EQ(after.mount(), Errno::kOk) << "cut " << c << " at " << at << ": " << after.report.problem;
        EXPECT_STREQ(after.report.problem, "");
        if (after.disk.writes > 8) ++replayed;
        // No file shows what its blocks held before.
        after.each_file("", [&](const std::string& path, const std::string& contents) {
            EXPECT_EQ(contents.find(char(kStale)), std::string::npos) << path << " after cut " << c << " at " << at;
        });
        // Files that existed at the last sync and were not touched since are as they were.
        size_t last = 0;
        while (last + 1 < synced.size() && synced[last + 1].first <= at) ++last;
        const Model& old = synced[last].second;
        const Model& next = last + 1 < synced.size() ? synced[last + 1].second : ops.model;
        for (const auto& [path, node] : old) {
            const auto still = next.find(path);
            if (still == next.end() || still->second.contents != node.contents || still->second.file != node.file)
                continue;
            if (node.type == abi::kTypeRegular && after.read(path).size() == node.contents.size())
                EXPECT_TRUE(after.read(path) == node.contents) << path << " after cut " << c << " at " << at;
            EXPECT_TRUE(after.find(path).ok()) << path << " after cut " << c << " at " << at;
        }
        ASSERT_EQ(after.unmount(), Errno::kOk);
        ASSERT_EQ(check_image(after.disk.bytes), "") << "cut " << c << " at " << at;
        if (c % 4 == 0) {
            const std::string theirs = check_image(image, true);
            EXPECT_TRUE(theirs.empty() || theirs.find("orphan") != std::string::npos) << "cut " << c << ": " << theirs;
        }
        if (HasFailure()) return;
    }
    EXPECT_GT(replayed, cuts / 2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Ext4Cut, testing::ValuesIn(kOptions));

}  // namespace
