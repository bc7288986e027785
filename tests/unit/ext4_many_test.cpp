// SPDX-License-Identifier: MIT
// Several jobs change one volume at the same time, on one CPU or on three: transactions that overlap, blocks that are changed while
// they are committed.
#include <cstdlib>

#include "ext4/journal.hpp"
#include "tests/unit/ext4_world.hpp"

namespace {

using namespace ext4_test;
using ext4::Inode;

// A worker has a directory of its own, and counts what it has done.
struct Worker {
    World* world;
    u64 seed;
    std::string dir;
    u32 steps;
    std::map<std::string, std::string> files;
    std::atomic<bool> ended{false};
    Errno failed = Errno::kOk;
};

Task<Result<Ref<Inode>>> child(Inode& dir, std::string_view name) {
    const ext4::FoundEntry e = CO_TRY(co_await ext4::lookup(dir, name));
    co_return co_await ext4::get_inode(dir.volume, e.inode);
}

Task<Result<void>> write_one(Inode& dir, const std::string* name, u64 offset, const std::string* text) {
    Ref<Inode> i = CO_TRY(co_await child(dir, *name));
    auto guard = CO_TRY(co_await i->lock.lock());
    (void)CO_TRY(co_await ext4::write(*i, offset, std::as_bytes(std::span(*text))));
    co_return co_await ext4::fsync(*i);
}

Task<Result<void>> step(Worker* w, Inode& dir, Random* random) {
    const std::string name = "f" + std::to_string((*random)() % 12);
    auto guard = CO_TRY(co_await dir.lock.lock());
    const bool there = w->files.count(name) != 0;
    const u64 kind = (*random)() % 10;
    if (!there) {
        (void)CO_TRY(co_await ext4::create(dir, name, {.mode = abi::kTypeRegular | 0600}));
        w->files[name] = "";
    } else if (kind < 6) {
        std::string& contents = w->files[name];
        const u64 offset = (*random)() % 20'000;
        const std::string text(1 + (*random)() % 5000, char('a' + (*random)() % 26));
        CO_TRY(co_await write_one(dir, &name, offset, &text));
        if (contents.size() < offset + text.size()) contents.resize(offset + text.size());
        contents.replace(offset, text.size(), text);
    } else if (kind < 8) {
        Ref<Inode> i = CO_TRY(co_await child(dir, name));
        CO_TRY(co_await ext4::unlink(dir, name, *i));
        CO_TRY(co_await ext4::release(std::move(i)));
        w->files.erase(name);
    } else {
        const std::string to = "f" + std::to_string((*random)() % 12);
        if (to == name) co_return lib::kOk;
        Ref<Inode> i = CO_TRY(co_await child(dir, name)), old;
        if (w->files.count(to)) old = CO_TRY(co_await child(dir, to));
        CO_TRY(co_await ext4::rename(dir, name, *i, dir, to, old.get()));
        if (old) CO_TRY(co_await ext4::release(std::move(old)));
        w->files[to] = w->files[name];
        w->files.erase(name);
    }
    co_return lib::kOk;
}

Task<Result<void>> work_in(Worker* w) {
    ext4::Volume& v = *w->world->volume;
    Ref<Inode> root = CO_TRY(co_await ext4::get_inode(v, ext4::kRootInode));
    Ref<Inode> dir;
    {
        auto guard = CO_TRY(co_await root->lock.lock());
        dir = CO_TRY(co_await ext4::create(*root, w->dir, {.mode = abi::kTypeDirectory | 0700}));
    }
    Random random(w->seed);
    for (u32 n = 0; n < w->steps; ++n) CO_TRY(co_await step(w, *dir, &random));
    co_return lib::kOk;
}

Task<void> work(Worker* w) {
    w->failed = (co_await work_in(w)).error();
    w->ended.store(true);
}

void run_workers(World& w, std::vector<std::unique_ptr<Worker>>& workers, u32 count, u32 steps, u64 seed) {
    for (u32 n = 0; n < count; ++n) {
        workers.push_back(std::make_unique<Worker>());
        Worker& each = *workers.back();
        each.world = &w;
        each.seed = seed * 100 + n;
        each.dir = "d" + std::to_string(n);
        each.steps = steps;
    }
    for (u32 n = 0; n < count; ++n)
        ASSERT_TRUE(rt::spawn("worker", work(workers[n].get()), w.runner.executor(n % w.runner.cpus())));
    w.runner.wait([&] {
        for (auto& each : workers)
            if (!each->ended.load()) return false;
        return true;
    });
    for (auto& each : workers)
        ASSERT_EQ(each->failed, Errno::kOk) << i32(each->failed) << (w.volume->damage ? w.volume->damage : "");
}

constexpr const char* kOptions[] = {
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,sparse_super,extra_isize",
    "-t ext3 -b 1024 -O has_journal,dir_index,filetype,sparse_super",
    "-t ext4 -b 4096 -O ^has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,sparse_super",
};
class Ext4Many : public testing::TestWithParam<const char*> {};

TEST_P(Ext4Many, JobsInDirectoriesOfTheirOwnDoNotDisturbOneAnother) {
    for (u32 cpus : {1u, 3u}) {
        World w(make_image(GetParam(), "16M"), cpus, cpus);
        ASSERT_EQ(w.mount(), Errno::kOk);
        std::vector<std::unique_ptr<Worker>> workers;
        run_workers(w, workers, 6, 120, cpus);
        for (auto& each : workers)
            for (const auto& [name, contents] : each->files)
                EXPECT_TRUE(w.read(each->dir + "/" + name) == contents) << each->dir << "/" << name;
        EXPECT_EQ(w.unmount(), Errno::kOk);
        EXPECT_EQ(check_image(w.disk.bytes), "");
        if (HasFailure()) return;
    }
}

TEST_P(Ext4Many, AfterACutWhileSeveralJobsWorkedTheVolumeIsWhole) {
    if (std::string(GetParam()).find("^has_journal") != std::string::npos)
        GTEST_SKIP() << "without a journal e2fsck repairs";
    World w(make_image(GetParam(), "12M"), 5);
    ASSERT_EQ(w.mount(), Errno::kOk);
    const auto before = w.disk.bytes;
    w.disk.logging = true;
    std::vector<std::unique_ptr<Worker>> workers;
    run_workers(w, workers, 6, 80, 5);
    w.disk.logging = false;
    w.volume.reset();
    const auto log = std::move(w.disk.log);
    Random random(6);
    const char* more = std::getenv("FARCALL_EXT4_CUTS");
    for (u32 c = 0; c < (more ? u32(std::atoi(more)) : 15); ++c) {
        const size_t at = 1 + random() % log.size();
        World after(cut(before, log, at, random), c);
        ASSERT_EQ(after.mount(), Errno::kOk) << "cut " << c << " at " << at << ": " << after.report.problem;
        EXPECT_STREQ(after.report.problem, "");
        after.each_file("", [&](const std::string& path, const std::string& contents) {
            EXPECT_EQ(contents.find(char(kStale)), std::string::npos) << path << " after cut " << c << " at " << at;
        });
        ASSERT_EQ(after.unmount(), Errno::kOk);
        ASSERT_EQ(check_image(after.disk.bytes), "") << "cut " << c << " at " << at;
    }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Ext4Many, testing::ValuesIn(kOptions));

}  // namespace
