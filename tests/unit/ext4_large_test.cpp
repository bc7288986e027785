// SPDX-License-Identifier: MIT
// A directory with very many names (FARCALL_EXT4_LARGE=100000; 10,000 without): the metadata that an operation looks at and changes
// does not grow with them.
#include <cstdlib>

#include "tests/unit/ext4_world.hpp"

namespace {

using namespace ext4_test;

Task<Result<void>> create_some(ext4::Volume* v, u32 from, u32 to) {
    Ref<ext4::Inode> root = CO_TRY(co_await ext4::get_inode(*v, ext4::kRootInode));
    for (u32 n = from; n < to; ++n) {
        const std::string name = "file with a number " + std::to_string(n);
        (void)CO_TRY(co_await ext4::create(*root, name, {.mode = abi::kTypeRegular | 0600}));
    }
    co_return lib::kOk;
}

Task<Result<void>> remove_some(ext4::Volume* v, u32 from, u32 to) {
    Ref<ext4::Inode> root = CO_TRY(co_await ext4::get_inode(*v, ext4::kRootInode));
    for (u32 n = from; n < to; ++n) {
        const std::string name = "file with a number " + std::to_string(n);
        const ext4::FoundEntry e = CO_TRY(co_await ext4::lookup(*root, name));
        Ref<ext4::Inode> i = CO_TRY(co_await ext4::get_inode(*v, e.inode));
        CO_TRY(co_await ext4::unlink(*root, name, *i));
        CO_TRY(co_await ext4::release(std::move(i)));
    }
    co_return lib::kOk;
}

TEST(Ext4Large, ADirectoryOfVeryManyNamesIsAsFastAtItsEndAsAtItsBeginning) {
    const char* more = std::getenv("FARCALL_EXT4_LARGE");
    const u32 count = more ? u32(std::atoi(more)) : 10'000, step = count / 10;
    World w(
        make_image(
            "-t ext4 -b 1024 -N 130000 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype -J size=8",
            "128M"),
        1);
    ASSERT_EQ(w.mount({.most_buffers = 20'000}), Errno::kOk);  // otherwise it measures the cache
    std::vector<u64> transfers;
    for (u32 n = 0; n < count; n += step) {
        const u64 before = w.disk.reads + w.disk.writes;
        ASSERT_TRUE(w.run(create_some(w.volume.get(), n, n + step)).ok()) << n;
        transfers.push_back(w.disk.reads + w.disk.writes - before);
    }
    // In a small directory several names share a block, which is written once for all of them; in a large one each name has
    // its own, at most.
    for (const u64 n : transfers) EXPECT_LT(n, step);
    for (u32 n = 0; n < count; n += 997) EXPECT_TRUE(w.find("file with a number " + std::to_string(n)).ok()) << n;
    for (u32 n = 0; n < count; n += step) ASSERT_TRUE(w.run(remove_some(w.volume.get(), n, n + step - 1)).ok()) << n;
    EXPECT_EQ(w.list("").size(), 3 + 10u);
    EXPECT_EQ(w.unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w.disk.bytes), "");
}

}  // namespace
