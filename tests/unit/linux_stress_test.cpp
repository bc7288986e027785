// SPDX-License-Identifier: MIT
// Processes and threads on all CPUs at once, by seed: fork, pipes, signals, shared memory, descriptors. Under
// ThreadSanitizer this is the test that what crosses CPUs in linux/ and fs/ is ordered.
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;

class LinuxStress : public testing::TestWithParam<u64> {
protected:
    void SetUp() override {
        cpus();
        port::hosted::set_schedule(GetParam() + 1);
        if (GetParam() % 3 == 1)
            for (port::Module m : {port::Module::kTask, port::Module::kMm, port::Module::kFs, port::Module::kSync})
                port::hosted::set_route(m, 2);
    }
    void TearDown() override {
        port::hosted::reset_route();
        port::hosted::set_schedule(0);
    }
    Spread spread_;
};
INSTANTIATE_TEST_SUITE_P(Seeds, LinuxStress, testing::Range(u64{0}, u64{12}));

std::atomic<u64> children_run{0};

UserAddr leaf_child() {
    static const UserAddr at = add_code([](User& u) -> Script {
        children_run.fetch_add(1);
        i64 page = co_await map_pages(u, 3 * kPageSize);
        co_await u.store<u64>(UserAddr{u64(page)}, 1);
        co_await u.store<u64>(UserAddr{u64(page) + 2 * kPageSize}, 2);
        co_return 21;
    });
    return at;
}
UserAddr branch_child() {
    static const UserAddr at = add_code([](User& u) -> Script {
        i64 pids[3];
        for (i64& pid : pids) pid = co_await u.fork_into(leaf_child(), abi::kNrFork);
        for (i64 pid : pids) EXPECT_EQ(co_await wait_for(u, pid), exited(21));
        co_return 22;
    });
    return at;
}

TEST_P(LinuxStress, ATreeOfProcesses) {
    children_run = 0;
    EXPECT_EQ(run([](User& u) -> Script {
                  for (u32 round = 0; round < 3; ++round) {
                      i64 pids[4];
                      for (i64& pid : pids) pid = co_await u.fork_into(branch_child(), abi::kNrFork);
                      for (i64 pid : pids) EXPECT_EQ(co_await wait_for(u, pid), exited(22));
                  }
                  co_return 0;
              }),
              exited(0));
    EXPECT_EQ(children_run.load(), 3u * 4 * 3);
}

i32 pipe_in, pipe_out;  // set by the parent

TEST_P(LinuxStress, ManyWritersOnePipe) {
    static const UserAddr writer = add_code([](User& u) -> Script {
        co_await u.sys(abi::kNrClose, pipe_in);
        for (u32 i = 0; i < 40; ++i) EXPECT_EQ(co_await u.sys(abi::kNrWrite, pipe_out, "0123456789abcdef", 16), 16);
        co_return 0;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  UserAddr fds = u.scratch(8), buffer = u.scratch(256);
                  EXPECT_EQ(co_await u.sys(abi::kNrPipe, fds), 0);
                  pipe_in = co_await u.load<i32>(fds);
                  pipe_out = co_await u.load<i32>(fds + 4);
                  for (u32 i = 0; i < 5; ++i) co_await u.fork_into(writer, abi::kNrFork);
                  co_await u.sys(abi::kNrClose, pipe_out);
                  u64 total = 0;
                  char text[256];
                  for (;;) {
                      i64 n = co_await u.sys(abi::kNrRead, pipe_in, buffer, 256);
                      if (n == error(Errno::kIntr)) continue;
                      EXPECT_GE(n, 0);
                      if (n <= 0) break;
                      co_await u.load_bytes(buffer, text, size_t(n));
                      // Writes of up to PIPE_BUF bytes are whole.
                      for (i64 i = 0; i < n; ++i) EXPECT_EQ(text[i], "0123456789abcdef"[(total + u64(i)) % 16]);
                      total += u64(n);
                  }
                  EXPECT_EQ(total, 5u * 40 * 16);
                  for (u32 i = 0; i < 5; ++i) EXPECT_EQ(co_await wait_for(u, -1), exited(0));
                  co_return 0;
              }),
              exited(0));
}

std::atomic<u32> handled{0};

TEST_P(LinuxStress, SignalsBetweenProcesses) {
    handled = 0;
    static const UserAddr handler = add_code(
        [](User& u) -> Script {
            handled.fetch_add(1);
            co_await u.sys(abi::kNrGettid);
            co_return 0;
        },
        CodeKind::kHandler);
    static i64 target;
    static const UserAddr sender = add_code([](User& u) -> Script {
        for (u32 i = 0; i < 20; ++i) {
            EXPECT_EQ(co_await u.sys(abi::kNrKill, target, 10), 0);
            co_await u.pause();
        }
        co_return 0;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  target = co_await u.sys(abi::kNrGetpid);
                  EXPECT_EQ(co_await set_handler(u, 10, handler.value, 0x10000000), 0);
                  for (u32 i = 0; i < 3; ++i) co_await u.fork_into(sender, abi::kNrFork);
                  for (u32 i = 0; i < 3; ++i) EXPECT_EQ(co_await wait_for(u, -1), exited(0));
                  // One that was still pending is delivered before the call returns.
                  co_await u.sys(abi::kNrGetpid);
                  co_return 0;
              }),
              exited(0));
    EXPECT_GE(handled.load(), 1u);
    EXPECT_LE(handled.load(), 60u);
}

// Threads of one process: descriptors, mappings and faults on one address space, ended by exit_group from one of them.
TEST_P(LinuxStress, ThreadsOfOneProcess) {
    static std::atomic<u32> running;
    static const UserAddr worker = add_code([](User& u) -> Script {
        running.fetch_add(1);
        for (;;) {
            i64 page = co_await map_pages(u, 4 * kPageSize);
            if (page < 0) continue;
            co_await u.store<u64>(UserAddr{u64(page) + kPageSize}, 1);
            i64 fd = co_await u.sys(abi::kNrOpen, "/dev/null", 1);
            if (fd >= 0) {
                EXPECT_EQ(co_await u.sys(abi::kNrWrite, fd, page, 4 * kPageSize), i64(4 * kPageSize));
                EXPECT_EQ(co_await u.sys(abi::kNrClose, fd), 0);
            }
            EXPECT_EQ(co_await u.sys(abi::kNrMunmap, page, 4 * kPageSize), 0);
            co_await u.sys(abi::kNrSchedYield);
        }
    });
    running = 0;
    EXPECT_EQ(run([](User& u) -> Script {
                  for (u32 i = 0; i < 4; ++i) {
                      UserAddr stack{u64(co_await map_pages(u, 2 * kPageSize))};
                      EXPECT_GT(co_await u.fork_into(worker, abi::kNrClone, 0x50f00, stack + 2 * kPageSize, 0, 0, 0),
                                1);
                  }
                  while (running.load() < 4) co_await u.pause();
                  for (u32 i = 0; i < 300; ++i) {
                      co_await u.sys(abi::kNrGetpid);
                      co_await u.pause();
                  }
                  co_return 13;
              }),
              exited(13));
}

// Two threads whose faults have no area while a third one's changes follow each other: each waits for a turn of its
// own, and gets its answer in it. (Threads that released the right to change areas before they checked again waited for
// each other for ever.)
TEST_P(LinuxStress, FaultsOnNothingDuringChanges) {
    static std::atomic<u32> answered, at_work;
    static const UserAddr worker = add_code([](User& u) -> Script {
        for (u32 i = 0; i < 1000; ++i) {
            EXPECT_EQ(co_await u.sys(abi::kNrWrite, pipe_out, 0x5000, 8), error(Errno::kFault));
            answered.fetch_add(1);
        }
        at_work.fetch_sub(1);
        co_await u.sys(abi::kNrExit, 0);
        co_return 0;
    });
    static const UserAddr child = add_code([](User&) -> Script { co_return 0; });
    answered = 0;
    at_work = 2;
    EXPECT_EQ(
        run([](User& u) -> Script {
            UserAddr fds = u.scratch(8);
            EXPECT_EQ(co_await u.sys(abi::kNrPipe, fds), 0);
            pipe_out = co_await u.load<i32>(fds + 4);
            for (u32 i = 0; i < 2; ++i) {
                UserAddr stack{u64(co_await map_pages(u, 2 * kPageSize))};
                EXPECT_GT(co_await u.fork_into(worker, abi::kNrClone, 0x50f00, stack + 2 * kPageSize, 0, 0, 0), 1);
            }
            while (at_work.load() > 0) {
                const i64 pid = co_await u.fork_into(child, abi::kNrFork);  // a change of areas, for other threads
                EXPECT_EQ(co_await wait_for(u, pid), exited(0));
            }
            co_return 0;
        }),
        exited(0));
    EXPECT_EQ(answered.load(), 2000u);
}

}  // namespace
