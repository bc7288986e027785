// SPDX-License-Identifier: MIT
// The walking skeleton over port/hosted: output, fork, a fresh page, SIGALRM, exec, threads, the ways to end. Every
// test by every route: what a program sees does not depend on where its calls run.
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;

struct Route {
    const char* name;
    i32 task, mm, fs, sync, time;  // CPU of each module, -1: where the call trapped
    u64 schedule;                  // slices of the user threads
};
class LinuxSkeleton : public testing::TestWithParam<Route> {
protected:
    void SetUp() override {
        cpus();
        const Route& r = GetParam();
        port::hosted::set_route(port::Module::kTask, r.task);
        port::hosted::set_route(port::Module::kMm, r.mm);
        port::hosted::set_route(port::Module::kFs, r.fs);
        port::hosted::set_route(port::Module::kSync, r.sync);
        port::hosted::set_route(port::Module::kTime, r.time);
        port::hosted::set_schedule(r.schedule);
    }
    void TearDown() override {
        port::hosted::reset_route();
        port::hosted::set_schedule(0);
    }
};
INSTANTIATE_TEST_SUITE_P(Routes, LinuxSkeleton,
                         testing::Values(Route{"inline", -1, -1, -1, -1, -1, 0},
                                         Route{"inline_short_slices", -1, -1, -1, -1, -1, 7},
                                         Route{"remote", 2, 2, 2, 2, 2, 0}, Route{"split", -1, 1, 2, -1, 1, 3},
                                         Route{"mixed", 1, 2, 1, 2, 1, 11}),
                         [](const auto& info) { return info.param.name; });

TEST_P(LinuxSkeleton, WritesAndExits) {
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await u.sys(abi::kNrWrite, 1, "hello\n", 6), 6);
                  EXPECT_EQ(co_await u.sys(abi::kNrWrite, 77, "x", 1), error(Errno::kBadF));
                  EXPECT_EQ(co_await u.sys(abi::kNrWrite, 1, u64{0x10}, 1), error(Errno::kFault));
                  co_return 7;
              }),
              exited(7));
    EXPECT_EQ(take_output(), "hello\n");
}

TEST_P(LinuxSkeleton, ForkedChildrenHaveTheirOwnMemoryAndIdentity) {
    static UserAddr page;
    static std::atomic<i64> parent{0};
    static const UserAddr child_code = add_code([](User& u) -> Script {
        EXPECT_EQ(co_await u.sys(abi::kNrGetppid), parent.load());
        EXPECT_EQ(co_await u.load<u64>(page), 1u);
        co_await u.store<u64>(page, 2);
        EXPECT_EQ(co_await u.load<u64>(page), 2u);
        co_return 3;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  parent = co_await u.sys(abi::kNrGetpid);
                  EXPECT_GT(parent.load(), 1);
                  page = UserAddr{u64(co_await map_pages(u, kPageSize))};
                  EXPECT_EQ(co_await u.load<u64>(page), 0u);  // a fresh page is zero
                  co_await u.store<u64>(page, 1);
                  i64 child = co_await u.fork_into(child_code, abi::kNrFork);
                  EXPECT_GT(child, parent.load());
                  EXPECT_EQ(co_await wait_for(u, child), exited(3));
                  EXPECT_EQ(co_await u.load<u64>(page), 1u);
                  EXPECT_EQ(co_await wait_for(u, -1), error(Errno::kChild));
                  co_return 0;
              }),
              exited(0));
}

TEST_P(LinuxSkeleton, AnAlarmInterruptsAndItsHandlerReturns) {
    static std::atomic<u32> alarms{0};
    alarms = 0;
    static const UserAddr handler = add_code(
        [](User& u) -> Script {
            EXPECT_EQ(u.argument(0), 14u);
            alarms.fetch_add(1);
            EXPECT_GT(co_await u.sys(abi::kNrGetpid), 1);  // a handler may call
            co_return 0;
        },
        CodeKind::kHandler);
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await set_handler(u, 14, handler.value), 0);
                  UserAddr timer = u.scratch(32);
                  u64 value[4] = {0, 0, 0, 3000};  // it_interval, it_value: 3 ms
                  co_await u.store_bytes(timer, value, sizeof value);
                  // In a blocking call: held back until the call is there.
                  UserAddr mask = u.scratch(16);
                  co_await u.store<u64>(mask, 1 << 13);
                  co_await u.store<u64>(mask + 8, 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrRtSigprocmask, 0, mask, 0, 8), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrSetitimer, 0, timer, 0), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrRtSigsuspend, mask + 8, 8), error(Errno::kIntr));
                  EXPECT_EQ(co_await u.sys(abi::kNrRtSigprocmask, 1, mask, 0, 8), 0);
                  EXPECT_EQ(alarms.load(), 1u);
                  // In user mode.
                  EXPECT_EQ(co_await u.sys(abi::kNrSetitimer, 0, timer, 0), 0);
                  while (alarms.load() == 1) co_await u.pause();
                  EXPECT_EQ(alarms.load(), 2u);
                  // SA_RESTART: the read continues after the handler.
                  EXPECT_EQ(co_await set_handler(u, 14, handler.value, 0x10000000), 0);
                  UserAddr fds = u.scratch(8);
                  EXPECT_EQ(co_await u.sys(abi::kNrPipe, fds), 0);
                  i32 from = co_await u.load<i32>(fds), to = co_await u.load<i32>(fds + 4);
                  static i32 out;
                  out = to;
                  static const UserAddr writer = add_code([](User& w) -> Script {
                      while (alarms.load() < 3) co_await w.pause();
                      EXPECT_EQ(co_await w.sys(abi::kNrWrite, out, "z", 1), 1);
                      co_return 0;
                  });
                  i64 child = co_await u.fork_into(writer, abi::kNrFork);
                  EXPECT_EQ(co_await u.sys(abi::kNrSetitimer, 0, timer, 0), 0);
                  UserAddr byte = u.scratch(1);
                  EXPECT_EQ(co_await u.sys(abi::kNrRead, from, byte, 1), 1);
                  EXPECT_EQ(co_await u.load<char>(byte), 'z');
                  EXPECT_EQ(alarms.load(), 3u);
                  EXPECT_EQ(co_await wait_for(u, child), exited(0));
                  co_return 0;
              }),
              exited(0));
}

TEST_P(LinuxSkeleton, ExecStartsAnotherProgram) {
    static const UserAddr entry = add_code([](User& u) -> Script {
        EXPECT_EQ(co_await u.load<u64>(u.thread().regs().sp()), 2u);         // argc
        EXPECT_EQ(co_await u.load<u64>(UserAddr{port::hosted::kData}), 0u);  // memory is its own
        EXPECT_EQ(co_await u.sys(abi::kNrWrite, 1, "exec\n", 5), 5);
        co_return 9;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await write_file(u, "/tmp/program", port::hosted::image(entry)), 0);
                  co_await u.store<u64>(UserAddr{port::hosted::kData}, 5);
                  UserAddr name = u.scratch(32), argv = u.scratch(24), none = u.scratch(8);
                  co_await u.store_bytes(name, "/tmp/program", 13);
                  u64 pointers[3] = {name.value, name.value, 0};
                  co_await u.store_bytes(argv, pointers, sizeof pointers);
                  co_await u.store<u64>(none, 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrExecve, "/tmp/absent", argv, none), error(Errno::kNoEnt));
                  EXPECT_EQ(co_await u.sys(abi::kNrExecve, "/tmp", argv, none), error(Errno::kAcces));
                  co_await u.sys(abi::kNrExecve, "/tmp/program", argv, none);
                  ADD_FAILURE() << "execve has returned";
                  co_return 0;
              }),
              exited(9));
    EXPECT_EQ(take_output(), "exec\n");
}

TEST_P(LinuxSkeleton, AFaultKillsOrIsHandled) {
    EXPECT_EQ(run([](User& u) -> Script {
                  co_await u.load<u64>(UserAddr{0x10});
                  co_return 0;
              }),
              killed_by(11));
    EXPECT_EQ(run([](User& u) -> Script {
                  co_await u.raise(Trap::Kind::kIllegal);
                  co_return 0;
              }),
              killed_by(4));
    EXPECT_EQ(run([](User& u) -> Script {
                  co_await u.store<u64>(UserAddr{port::hosted::kText}, 1);  // read-only
                  co_return 0;
              }),
              killed_by(11));
    // The handler makes the page accessible; the access is tried again.
    static UserAddr page;
    static const UserAddr handler = add_code(
        [](User& u) -> Script {
            EXPECT_EQ(co_await u.load<u64>(UserAddr{u.argument(1)} + 16), page.value);  // si_addr
            EXPECT_EQ(co_await u.sys(abi::kNrMprotect, page, kPageSize, 3), 0);
            co_return 0;
        },
        CodeKind::kHandler);
    EXPECT_EQ(run([](User& u) -> Script {
                  page = UserAddr{u64(co_await map_pages(u, kPageSize, 0))};
                  EXPECT_EQ(co_await set_handler(u, 11, handler.value, 4), 0);
                  co_await u.store<u64>(page, 77);
                  EXPECT_EQ(co_await u.load<u64>(page), 77u);
                  co_return 1;
              }),
              exited(1));
}

TEST_P(LinuxSkeleton, ThreadsShareMemoryAndWakeEachOtherByFutex) {
    Spread all_cpus;
    static UserAddr word, tid, stack;
    static const UserAddr thread_code = add_code([](User& u) -> Script {
        for (;;) {
            i64 r = co_await u.sys(abi::kNrFutex, word, 128, 0, 0);  // FUTEX_WAIT | PRIVATE while it is 0
            if (r == error(Errno::kAgain)) break;
            EXPECT_TRUE(r == 0 || r == error(Errno::kIntr)) << r;
        }
        EXPECT_EQ(co_await u.load<u32>(word), 5u);
        co_await u.sys(abi::kNrExit, 0);
        co_return 1;
    });
    for (u32 i = 0; i < 30; ++i) {
        EXPECT_EQ(run([](User& u) -> Script {
                      word = u.scratch(64), tid = word + 32;
                      co_await u.store<u32>(word, 0);
                      co_await u.store<u32>(tid, 1);
                      stack = UserAddr{u64(co_await map_pages(u, 4 * kPageSize))};
                      // VM FS FILES SIGHAND THREAD SYSVSEM CHILD_CLEARTID
                      i64 t =
                          co_await u.fork_into(thread_code, abi::kNrClone, 0x250f00, stack + 4 * kPageSize, 0, tid, 0);
                      EXPECT_GT(t, 1);
                      for (u32 n = 0; n < 20; ++n) co_await u.pause();
                      co_await u.store<u32>(word, 5);
                      i64 woken = co_await u.sys(abi::kNrFutex, word, 129, 1);
                      EXPECT_TRUE(woken == 0 || woken == 1);
                      // As pthread_join: the kernel clears and wakes.
                      while (co_await u.load<u32>(tid) != 0) {
                          i64 r = co_await u.sys(abi::kNrFutex, tid, 0, 1, 0);
                          EXPECT_TRUE(r == 0 || r == error(Errno::kAgain) || r == error(Errno::kIntr)) << r;
                      }
                      co_return 0;
                  }),
                  exited(0));
    }
}

}  // namespace
