// SPDX-License-Identifier: MIT
// The page cache's tree against std::map, and file data against a byte vector.
#include <map>
#include <random>
#include <set>

#include "fs/regular.hpp"
#include "fs_support.hpp"
#include "port/api/modules.hpp"
#include "rt/remote/module.hpp"

namespace {

using fs_test::FsTest;
using fs_test::kernel_spans;

struct User : fs::MappingUser {
    void unmap_pages(u64 first, u64 count) override { calls.push_back({first, count}); }
    bool drop_copies(u64) override { return true; }
    std::vector<std::pair<u64, u64>> calls;
};

TEST_F(FsTest, TreeOfPagesAgreesWithModel) {
    std::mt19937_64 random(7);
    for (int round = 0; round < 20; ++round) {
        Ref<fs::Mapping> m = rt::make_ref<fs::Mapping>().take();
        std::map<u64, fs::Page*> model;
        for (int step = 0; step < 2000; ++step) {
            u64 index = random() % 4 == 0 ? random() % (u64{1} << (random() % 50)) : random() % 200;
            switch (random() % 8) {
                case 0: {
                    u64 count = random() % 3 ? random() % 50 : ~u64{0} - index;
                    m->drop_range(index, count);
                    auto end = index + count < index ? model.end() : model.lower_bound(index + count);
                    model.erase(model.lower_bound(index), end);
                    break;
                }
                case 1: {
                    auto next = model.lower_bound(index);
                    ASSERT_EQ(m->next_resident(index), next == model.end() ? ~u64{0} : next->first);
                    break;
                }
                case 2:
                case 3: {
                    auto p = m->get(index);
                    ASSERT_TRUE(p.ok());
                    auto [at, fresh] = model.emplace(index, p.value().get());
                    ASSERT_EQ(at->second, p.value().get());
                    ASSERT_EQ(p.value()->index, index);
                    break;
                }
                default: {
                    Ref<fs::Page> p = m->find(index);
                    auto at = model.find(index);
                    ASSERT_EQ(p.get(), at == model.end() ? nullptr : at->second);
                }
            }
            ASSERT_EQ(m->page_count(), model.size());
            if (step % 64 == 0) fs_test::settle_epochs();
        }
    }
}

TEST_F(FsTest, TruncationTellsUsersAfterThePagesHaveLeft) {
    Ref<fs::Mapping> m = rt::make_ref<fs::Mapping>().take();
    struct Watcher : fs::MappingUser {
        bool drop_copies(u64) override { return true; }
        void unmap_pages(u64 first, u64 count) override {
            seen = true;
            EXPECT_EQ(first, 1u);
            EXPECT_EQ(held->mapping, nullptr);
        }
        Ref<fs::Page> held;
        bool seen = false;
    } user;
    ASSERT_TRUE(m->get(0).ok());
    user.held = m->get(1).take();
    m->add_user(user);
    m->truncate_pages(1);
    EXPECT_TRUE(user.seen);
    EXPECT_EQ(m->page_count(), 1u);
    m->remove_user(user);
    user.held = nullptr;
}

// Many pages that are removed at once are freed later; holders keep theirs, and the pages put in their place are new.
TEST_F(FsTest, ManyPagesThatWereCutOffAreReclaimedInPieces) {
    static auto& module = *new rt::Module;
    rt::Reclaimer& fs = port::reclaimer(port::Module::kFs);
    module.init("fs", nullptr);
    fs.belong_to(&module);
    std::mt19937_64 random(5);
    for (int round = 0; round < 40; ++round) {
        module.move_to(CpuSet{round % 4 ? 1u : 0u});
        Ref<fs::Mapping> m = rt::make_ref<fs::Mapping>().take();
        u64 pages = 16 + random() % 300, first = random() % 3 ? 0 : random() % pages;
        std::vector<Ref<fs::Page>> held;
        for (u64 i = 0; i < pages; ++i) {
            Ref<fs::Page> p = m->get(i * 3).take();
            std::memset(p->bytes(), 0x5a, kPageSize);
            if (random() % 8 == 0) held.push_back(std::move(p));
        }
        u64 items = fs.items.load(), frames = fs.frames.load();
        if (random() % 2)
            m->truncate_pages(first * 3);
        else
            m->drop_range(first * 3, pages * 3);
        EXPECT_EQ(m->page_count(), first);
        EXPECT_EQ(m->next_resident(first * 3), ~u64{0});
        bool left = fs.defers(pages - first);
        EXPECT_EQ(fs.items.load() - items, left ? 1u : 0u);
        EXPECT_EQ(fs.frames.load() - frames, left ? pages - first : 0u);
        // New pages at once, while the old ones wait.
        for (u64 i = first; i < pages; ++i) {
            Ref<fs::Page> p = m->get(i * 3).take();
            for (const auto& old : held) ASSERT_NE(p.get(), old.get());
            ASSERT_EQ(p->bytes()[17], std::byte{0});
        }
        if (random() % 2) m = {};
        rt::Executor::current().run_until_idle();
        fs_test::settle_epochs();
        EXPECT_EQ(rt::reclaim_pending(), 0u);
        for (const auto& old : held) EXPECT_EQ(old->bytes()[99], std::byte{0x5a});
        held.clear();
        m = {};
        rt::Executor::current().run_until_idle();
        fs_test::settle_epochs();
    }
    module.move_to({});
    fs.belong_to(nullptr);
    fs.forget();
}

TEST_F(FsTest, FileDataAgreesWithModel) {
    std::mt19937_64 random(11);
    for (u64 seed = 0; seed < 12; ++seed) {
        std::string name = "f" + std::to_string(seed);
        ASSERT_EQ(file(name), Errno::kOk);
        Ref<fs::File> f = open(name).take();
        fs::Inode& inode = *f->inode();
        std::vector<u8> model, buffer(100'000);
        for (int step = 0; step < 400; ++step) {
            u64 at = random() % 60'000, n = random() % 3 ? random() % 200 : random() % 30'000;
            switch (random() % 7) {
                case 0: {  // truncate(2)
                    fs::AttributeChange c;
                    c.size = true;
                    c.to.size = at;
                    ASSERT_TRUE(inode.set_attributes(c).ok());
                    model.resize(at);
                    break;
                }
                case 1: {  // punch a hole
                    ASSERT_TRUE(inode.allocate_range(3, at, n + 1).ok());
                    for (u64 i = at; i < at + n + 1 && i < model.size(); ++i) model[i] = 0;
                    break;
                }
                case 2:
                case 3: {
                    for (u64 i = 0; i < n; ++i) buffer[i] = u8(random());
                    auto w = f->try_write(kernel_spans(buffer.data(), n), at);
                    ASSERT_TRUE(w.ok());
                    ASSERT_EQ(w.value(), n);
                    if (n && at + n > model.size()) model.resize(at + n);
                    std::copy_n(buffer.begin(), n, model.begin() + i64(n ? at : 0));
                    break;
                }
                default: {
                    auto r = f->try_read(kernel_spans(buffer.data(), n), at);
                    ASSERT_TRUE(r.ok());
                    u64 want = at < model.size() ? std::min<u64>(n, model.size() - at) : 0;
                    ASSERT_EQ(r.value(), want);
                    ASSERT_TRUE(
                        std::equal(buffer.begin(), buffer.begin() + i64(want), model.begin() + i64(want ? at : 0)));
                }
            }
            ASSERT_EQ(inode.attributes().size, model.size());
            // Every byte outside of holes is found by SEEK_DATA.
            auto data = f->seek(0, 3);
            if (data.ok())
                for (u64 i = 0; i < data.value(); ++i) ASSERT_EQ(model[i], 0);
            else
                for (u8 b : model) ASSERT_EQ(b, 0);
        }
        f = nullptr;
        ASSERT_EQ(remove(name), Errno::kOk);
    }
}

TEST_F(FsTest, AppendFindsTheEndAndOffsetsMove) {
    ASSERT_EQ(file("f"), Errno::kOk);
    Ref<fs::File> a = open("f", fs::kOpenWriteOnly | fs::kOpenAppend).take(), b = open("f").take();
    char text[] = "abcdef";
    EXPECT_EQ(a->try_write(kernel_spans(text, 3), fs::kAtOffset).value(), 3u);
    EXPECT_EQ(b->try_write(kernel_spans(text, 1), fs::kAtOffset).value(), 1u);
    EXPECT_EQ(b->try_write(kernel_spans(text + 3, 3), 10).value(), 3u);
    EXPECT_EQ(a->try_write(kernel_spans(text, 2), fs::kAtOffset).value(), 2u);
    EXPECT_EQ(a->seek(0, 1).value(), 15u);
    EXPECT_EQ(b->seek(0, 1).value(), 1u);
    EXPECT_EQ(b->seek(-2, 2).value(), 13u);
    EXPECT_EQ(b->seek(-20, 1).error(), Errno::kInval);
    EXPECT_EQ(b->seek(0, 9).error(), Errno::kInval);
    EXPECT_EQ(b->seek(100, 3).error(), Errno::kNxIo);
    char back[16] = {};
    EXPECT_EQ(b->try_read(kernel_spans(back, 16), 0).value(), 15u);
    EXPECT_EQ(std::string(back, 15), std::string("abc\0\0\0\0\0\0\0defab", 15));
}

TEST_F(FsTest, WritesEndAtTheLimits) {
    drop_root();
    make_root({.max_pages = 8});
    ASSERT_EQ(file("f"), Errno::kOk);
    Ref<fs::File> f = open("f").take();
    std::vector<u8> data(20 * kPageSize, 1);
    EXPECT_EQ(f->try_write(kernel_spans(data.data(), data.size()), 0).value(), 8 * kPageSize);
    EXPECT_EQ(f->try_write(kernel_spans(data.data(), 1), 8 * kPageSize).error(), Errno::kNoSpc);
    EXPECT_EQ(root.inode()->super->statfs().free, 0u);
    // Beyond the last offset there is: EINVAL, as Linux's rw_verify_area().
    EXPECT_EQ(f->try_write(kernel_spans(data.data(), 1), fs::kMaxFileSize).error(), Errno::kInval);
    f = nullptr;
    ASSERT_EQ(remove("f"), Errno::kOk);
    EXPECT_EQ(root.inode()->super->statfs().free, 8u);
}

}  // namespace
