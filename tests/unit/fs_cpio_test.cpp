// SPDX-License-Identifier: MIT
// Unpacking archives: what is in them arrives, and damaged ones are refused without harm.
#include <cstdio>

#include "fs/cpio.hpp"
#include "fs_support.hpp"

namespace {

using fs_test::FsTest;

struct Entry {
    std::string name, data;
    u32 mode = fs::kTypeRegular | 0644, inode = 1, links = 1, uid = 0, gid = 0, mtime = 0, major = 0, minor = 0;
    size_t pad_name = 0;
};

std::string record(const Entry& e) {
    char header[111];
    std::snprintf(header, sizeof header, "070701%08X%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", e.inode, e.mode,
                  e.uid, e.gid, e.links, e.mtime, u32(e.data.size()), 0u, 0u, e.major, e.minor,
                  u32(e.name.size() + 1 + e.pad_name), 0u);
    std::string out = std::string(header) + e.name + std::string(1 + e.pad_name, '\0');
    out.resize((out.size() + 3) & ~size_t{3});
    out += e.data;
    out.resize((out.size() + 3) & ~size_t{3});
    return out;
}
std::string archive(std::initializer_list<Entry> entries) {
    std::string out;
    for (const Entry& e : entries) out += record(e);
    out += record({.name = "TRAILER!!!"});
    out.resize((out.size() + 511) & ~size_t{511});
    return out;
}

class CpioTest : public FsTest {
protected:
    Errno unpack(const std::string& a) {
        return fs::unpack_cpio(std::as_bytes(std::span(a)), root, PhysAddr{}, &stats).error();
    }
    std::string contents(const std::string& path) {
        Ref<fs::File> f = open(path, fs::kOpenReadOnly).take();
        std::string out(100'000, '\0');
        out.resize(f->try_read(fs_test::kernel_spans(out.data(), out.size()), 0).take());
        return out;
    }
    fs::CpioStats stats;
};

std::string text(size_t n) {
    std::string s(n, ' ');
    for (size_t i = 0; i < n; ++i) s[i] = char('a' + i % 26 + i / 4096);
    return s;
}

std::string sample() {
    return archive({{.name = ".", .mode = fs::kTypeDirectory | 0755},
                    {.name = "bin", .mode = fs::kTypeDirectory | 0755},
                    {.name = "bin/one", .data = "", .mode = fs::kTypeRegular | 0755, .inode = 5, .links = 2},
                    {.name = "bin/two",
                     .data = text(9000),
                     .mode = fs::kTypeRegular | 04755,
                     .inode = 5,
                     .links = 2,
                     .uid = 3,
                     .gid = 4,
                     .mtime = 77},
                    {.name = "bin/sh", .data = "one", .mode = fs::kTypeLink | 0777, .inode = 6},
                    {.name = "dev/null", .mode = fs::kTypeChar | 0666, .inode = 7, .major = 1, .minor = 3},
                    {.name = "empty", .inode = 8}}) +
           archive({{.name = "./bin/sh", .data = "two", .mode = fs::kTypeLink | 0777, .inode = 5},
                    {.name = "/etc/x/y", .data = "deep", .inode = 6, .links = 2},
                    {.name = "etc/z", .data = "", .inode = 6, .links = 2}});
}

TEST_F(CpioTest, EverythingArrives) {
    ASSERT_EQ(unpack(sample()), Errno::kOk) << stats.error << " at " << stats.error_offset;
    EXPECT_EQ(contents("bin/one"), text(9000));
    EXPECT_EQ(find("bin/one").value().inode(), find("bin/two").value().inode());
    fs::Attributes a = find("bin/one").value().inode()->attributes();
    EXPECT_EQ(a.mode, fs::kTypeRegular | 04755u);
    EXPECT_EQ(a.links, 2u);
    EXPECT_EQ(a.uid, 3u);
    EXPECT_EQ(a.gid, 4u);
    EXPECT_EQ(a.modified.seconds, 77);
    EXPECT_EQ(find("bin/sh", 0).value().inode()->read_link({}, creds).value(), "two");
    EXPECT_EQ(find("dev/null").value().inode()->attributes().device, abi::make_dev(1, 3));
    EXPECT_EQ(contents("empty"), "");
    EXPECT_EQ(contents("etc/z"), "deep");
    EXPECT_EQ(contents("etc/x/y"), "deep");
}

TEST_F(CpioTest, FilesReplaceFiles) {
    ASSERT_EQ(unpack(archive({{.name = "f", .data = "first"}})), Errno::kOk);
    ASSERT_EQ(
        unpack(archive({{.name = "f", .data = "2nd"}, {.name = "g", .data = std::string(5000, 'p'), .pad_name = 99}})),
        Errno::kOk);
    EXPECT_EQ(contents("f"), "2nd");
    EXPECT_EQ(contents("g"), std::string(5000, 'p'));
}

TEST_F(CpioTest, EveryCutIsRefused) {
    std::string whole = sample();
    for (size_t n = 0; n < whole.size(); n += n < 1500 ? 1 : 61) {
        // A heap block of exactly this size: the address sanitizer sees a read beyond it.
        std::vector<char> cut(whole.begin(), whole.begin() + long(n));
        auto r = fs::unpack_cpio(std::as_bytes(std::span(cut)), root, PhysAddr{}, &stats);
        if (!r.ok()) EXPECT_EQ(r.error(), Errno::kInval) << n;
        if (n % 64 == 0) fs_test::settle_epochs();
    }
}

TEST_F(CpioTest, EveryChangedByteIsSurvived) {
    std::string whole = sample();
    for (size_t n = 0; n < 1200; ++n)
        for (char c : {'0', 'f', '\0', '\xff', '/'}) {
            std::string bad = whole;
            bad[n] = c;
            drop_root();
            make_root();
            (void)unpack(bad);
        }
}

TEST_F(CpioTest, FramesAreTakenOverAndTheRestIsFreed) {
    u64 before = used();
    // The archive in frames of its own, as the initial RAM disk is.
    std::string big = text(3 * kPageSize + 100);
    Entry e{.name = "big", .data = big};
    size_t header = record({.name = "big"}).size();
    e.pad_name = kPageSize - header;  // the data starts on a page boundary
    std::string a = record(e) + archive({{.name = "d/small", .data = "s", .inode = 2}});
    ASSERT_LE(a.size(), kRamDiskSize);
    PhysAddr at = kRamDisk;
    std::memcpy(hal::Machine::phys_to_virt(at), a.data(), a.size());
    std::span bytes{static_cast<const std::byte*>(hal::Machine::phys_to_virt(at)), a.size()};
    ASSERT_TRUE(fs::unpack_cpio(bytes, root, at, &stats).ok());
    EXPECT_EQ(stats.adopted_frames, 3u);
    EXPECT_EQ(contents("big"), big);
    EXPECT_EQ(contents("d/small"), "s");
    ASSERT_EQ(remove("big"), Errno::kOk);
    ASSERT_EQ(remove("d/small"), Errno::kOk);
    ASSERT_EQ(remove("d", true), Errno::kOk);
    EXPECT_EQ(used(), before - lib::pages_for(a.size()) * kPageSize);
    given_away = lib::pages_for(a.size()) * kPageSize;
}

}  // namespace
