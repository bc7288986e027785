// SPDX-License-Identifier: MIT
// Memory of ended processes while the modules have a CPU: nothing leaks and nothing is freed twice, whatever moves
// concurrently. The tests of what other threads see of it are guest cases (tests/linux/programs/reclaim.c).
#include "port/api/modules.hpp"
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;
using port::Module;

class LinuxReclaim : public testing::TestWithParam<u64> {
protected:
    void SetUp() override {
        cpus();
        port::hosted::set_schedule(GetParam() + 1);
        place(0);
    }
    void TearDown() override {
        port::hosted::reset_route();
        port::hosted::set_schedule(0);
    }
    static void place(u64 n) {
        port::hosted::set_route(Module::kMm, 1 + n % 2);
        port::hosted::set_route(Module::kFs, 2 - n % 2);
    }
    // CPUs that sleep keep what they have retired until they are asked for it.
    static bool all_is_back() {
        return cpus().run_until([] {
            rt::epoch_hurry_all();
            return rt::reclaim_pending() == 0;
        });
    }
    static u64 items(Module m) { return port::reclaimer(m).items.load(); }
    Spread spread_;
};
INSTANTIATE_TEST_SUITE_P(Seeds, LinuxReclaim, testing::Range(u64{0}, u64{6}));

constexpr u64 kPages = 130;  // of each kind: two chunks, several nodes

std::atomic<u32> children{0};

// Leaves private pages, an unlinked file that is mapped, a large pipe with data; a part is unmapped before.
Script leave_much(User& u) {
    u32 n = children.fetch_add(1);
    i64 pages = co_await map_pages(u, kPages * kPageSize);
    for (u64 i = 0; i < kPages; ++i) co_await u.store<u64>(UserAddr{u64(pages) + i * kPageSize}, n + 1);
    if (n % 2 == 0) EXPECT_EQ(co_await u.sys(abi::kNrMunmap, pages + i64(3 * kPageSize), 100 * kPageSize), 0);
    std::string name = "/left" + std::to_string(n);
    i64 fd = co_await u.sys(abi::kNrOpen, name, 0102, 0600);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(co_await u.sys(abi::kNrFtruncate, fd, kPages * kPageSize), 0);
    i64 shared = co_await u.sys(abi::kNrMmap, 0, kPages * kPageSize, 3, 1, fd, 0);
    for (u64 i = 0; i < kPages; ++i) co_await u.store<u64>(UserAddr{u64(shared) + i * kPageSize}, n);
    EXPECT_EQ(co_await u.sys(abi::kNrUnlink, name), 0);
    UserAddr fds = u.scratch(8);
    EXPECT_EQ(co_await u.sys(abi::kNrPipe, fds), 0);
    i32 in = co_await u.load<i32>(fds), out = co_await u.load<i32>(fds + 4);
    constexpr u64 kSetPipeSize = 1031;
    EXPECT_EQ(co_await u.sys(abi::kNrFcntl, out, kSetPipeSize, 32 * kPageSize), i64(32 * kPageSize));
    EXPECT_EQ(co_await u.sys(abi::kNrWrite, out, shared, 32 * kPageSize), i64(32 * kPageSize));
    if (n % 3 == 0) {
        EXPECT_EQ(co_await u.sys(abi::kNrClose, out), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrClose, in), 0);
    }
    co_return 5;
}

TEST_P(LinuxReclaim, ProcessesLeaveNothingBehindWhileModulesMove) {
    children = 0;
    static const UserAddr child = add_code([](User& u) -> Script { co_return co_await leave_much(u); });
    auto all = [](User& u) -> Script {
        for (u32 round = 0; round < 4; ++round) {
            i64 pids[3];
            for (i64& pid : pids) pid = co_await u.fork_into(child, abi::kNrFork);
            for (i64 pid : pids) EXPECT_EQ(co_await wait_for(u, pid), exited(5));
            place(round + 1);
        }
        co_return 0;
    };
    EXPECT_EQ(run(all), exited(0));  // what stays: names, slabs
    ASSERT_TRUE(all_is_back());
    u64 used = frames_in_use(), mm = items(Module::kMm), fs = items(Module::kFs);
    EXPECT_EQ(run(all), exited(0));
    EXPECT_TRUE(all_is_back());
    // Per-CPU lists of slabs keep some more. One child has 400 frames.
    EXPECT_TRUE(cpus().run_until([&] {
        rt::epoch_hurry_all();
        return frames_in_use() <= used + 300;
    })) << frames_in_use()
        << ", before " << used;
    // 12 children: the memory of each, of half the unmapped part; a file each; a pipe each.
    EXPECT_GE(items(Module::kMm) - mm, 12u);
    EXPECT_GE(items(Module::kFs) - fs, 24u);
}

}  // namespace
