// SPDX-License-Identifier: MIT
// The terminal and numbers that come again: a group that has ended is not in the foreground, whoever gets its number.
#include "abi/linux/fcntl.hpp"
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;

constexpr u32 kTiocSctty = 0x540e, kTiocGpgrp = 0x540f, kTiocSpgrp = 0x5410;
constexpr u32 kTiocExcl = 0x540c, kTiocNxcl = 0x540d, kTiocGexcl = 0x80045440, kTiocSti = 0x5412, kTiocSetd = 0x5423,
              kTiocGetd = 0x5424;
constexpr u32 kReadWrite = 2, kWriteOnly = 1, kNoControl = 0400, kNonBlocking = 04000;
constexpr i32 kTerminate = 15;

// Of one test.
std::atomic<i64> group{0};
std::atomic<bool> owned{false}, ended{false}, leave{false}, victim_ready{false};

Script wait_until(User& u, std::atomic<bool>& that) {
    while (!that.load()) co_await u.sys(abi::kNrSchedYield);
    co_return 0;
}

Script ends(User&) { co_return 0; }

Script in_the_foreground(User& u) {
    EXPECT_EQ(co_await u.sys(abi::kNrSetpgid, 0, 0), 0);
    co_await wait_until(u, owned);
    co_return 0;
}

Script leads(User& u) {
    static const UserAddr member = add_code(&in_the_foreground);
    EXPECT_GT(co_await u.sys(abi::kNrSetsid), 0);
    const i64 fd = co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite | kNoControl, 0);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocSctty, 0), 0);
    const i64 child = co_await u.fork_into(member, abi::kNrFork);
    (void)co_await u.sys(abi::kNrSetpgid, child, child);
    UserAddr word = u.scratch(8);
    co_await u.store<i32>(word, i32(child));
    EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocSpgrp, word), 0);
    group = child;
    EXPECT_EQ(co_await wait_for(u, child), exited(0));
    EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocGpgrp, word), 0);
    EXPECT_EQ(co_await u.load<i32>(word), i32(child));  // the number is still shown
    ended = true;
    co_await wait_until(u, leave);
    co_return 0;
}

// The process that gets the number, in a session of its own.
Script may_be_victim(User& u) {
    if (co_await u.sys(abi::kNrGetpid) != group.load()) co_return 0;
    EXPECT_EQ(co_await u.sys(abi::kNrSetsid), group.load());
    victim_ready = true;
    for (;;) co_await u.sys(abi::kNrPause);
}

TEST(LinuxTerminal, ANumberThatComesAgainIsNotInTheForeground) {
    static const UserAddr short_code = add_code(&ends), leader_code = add_code(&leads),
                          other_code = add_code(&may_be_victim);
    cpus();
    give_terminal();
    EXPECT_EQ(run([](User& u) -> Script {
                  // Beyond the first numbers, which do not come again.
                  for (i64 n = 0; n < 320;) {
                      n = co_await u.fork_into(short_code, abi::kNrFork);
                      EXPECT_EQ(co_await u.sys(abi::kNrWait4, n, 0, 0, 0), n);
                  }
                  UserAddr pair = u.scratch(8);
                  EXPECT_EQ(co_await u.sys(abi::kNrPipe2, pair, 0), 0);
                  const i32 end = co_await u.load<i32>(pair);
                  const i64 leader = co_await u.fork_into(leader_code, abi::kNrFork);
                  while (group.load() == 0) co_await u.sys(abi::kNrSchedYield);
                  EXPECT_EQ(co_await u.sys(abi::kNrFcntl, end, abi::kFcntlSetOwn, -group.load()), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrFcntl, end, abi::kFcntlGetOwn, 0), -group.load());
                  owned = true;
                  co_await wait_until(u, ended);
                  for (;;) {
                      const i64 n = co_await u.fork_into(other_code, abi::kNrFork);
                      EXPECT_GT(n, 0);
                      if (n == group.load() || n < 0) break;
                      EXPECT_EQ(co_await u.sys(abi::kNrWait4, n, 0, 0, 0), n);
                  }
                  co_await wait_until(u, victim_ready);
                  EXPECT_EQ(co_await u.sys(abi::kNrFcntl, end, abi::kFcntlGetOwn, 0), 0);
                  leave = true;
                  EXPECT_EQ(co_await wait_for(u, leader), exited(0));
                  EXPECT_EQ(co_await u.sys(abi::kNrKill, group.load(), kTerminate), 0);
                  EXPECT_EQ(co_await wait_for(u, group.load()), killed_by(kTerminate));
                  co_return 0;
              }),
              exited(0));
}

TEST(LinuxTerminal, WhoMayNotReadItDoesNotGetIt) {
    cpus();
    give_terminal();
    static const UserAddr asks = add_code([](User& u) -> Script {
        EXPECT_GT(co_await u.sys(abi::kNrSetsid), 0);
        const i64 write = co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kWriteOnly | kNoControl, 0);
        const i64 both = co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite | kNoControl, 0);
        EXPECT_GE(both, 0);
        EXPECT_EQ(co_await u.sys(abi::kNrSetuid, 1000), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, write, kTiocSctty, 0), error(Errno::kPerm));
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, both, kTiocSctty, 0), 0);
        co_return 0;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(asks, abi::kNrFork)), exited(0));
                  co_return 0;
              }),
              exited(0));
}

// After the leader has ended nobody reads what the next user types, but through the console.
std::atomic<i64> left_fd{-1}, console_fd{-1};
Script stays(User& u) {
    co_await wait_until(u, ended);
    UserAddr bytes = u.scratch(8);
    EXPECT_EQ(co_await u.sys(abi::kNrRead, left_fd.load(), bytes, 1), 0);
    EXPECT_EQ(co_await u.sys(abi::kNrWrite, left_fd.load(), bytes, 1), error(Errno::kIo));
    EXPECT_EQ(co_await u.sys(abi::kNrWrite, console_fd.load(), bytes, 1), 1);
    const i64 again = co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite | kNoControl, 0);
    EXPECT_GE(again, 0);
    EXPECT_EQ(co_await u.sys(abi::kNrWrite, again, bytes, 1), 1);
    leave = true;
    co_return 0;
}
Script leads_and_leaves(User& u) {
    static const UserAddr rest = add_code(&stays);
    EXPECT_GT(co_await u.sys(abi::kNrSetsid), 0);
    left_fd = co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite | kNoControl | kNonBlocking, 0);
    console_fd = co_await u.sys(abi::kNrOpen, "/dev/console", kReadWrite | kNoControl, 0);
    EXPECT_EQ(co_await u.sys(abi::kNrIoctl, left_fd.load(), kTiocSctty, 0), 0);
    const i64 child = co_await u.fork_into(rest, abi::kNrFork);
    EXPECT_EQ(co_await u.sys(abi::kNrSetpgid, child, child), 0);  // not in the foreground: it gets no SIGHUP
    co_return 0;
}

TEST(LinuxTerminal, TheEndOfItsLeaderHangsItUp) {
    static const UserAddr leader_code = add_code(&leads_and_leaves);
    cpus();
    give_terminal();
    ended = leave = false;
    EXPECT_EQ(run([](User& u) -> Script {
                  const i64 leader = co_await u.fork_into(leader_code, abi::kNrFork);
                  EXPECT_EQ(co_await wait_for(u, leader), exited(0));
                  ended = true;
                  co_await wait_until(u, leave);
                  co_return 0;
              }),
              exited(0));
}

// As Linux: not by opening it for writing alone, not with O_NOCTTY, not the console, not who leads no session.
TEST(LinuxTerminal, ALeaderWithoutOneGetsTheOneThatItOpens) {
    cpus();
    give_terminal();
    static const UserAddr follows = add_code([](User& u) -> Script {
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite, 0), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrOpen, "/dev/tty", kReadWrite, 0), error(Errno::kNxIo));
        co_return 0;
    });
    static const UserAddr opens = add_code([](User& u) -> Script {
        EXPECT_GT(co_await u.sys(abi::kNrSetsid), 0);
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kWriteOnly, 0), 0);
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite | kNoControl, 0), 0);
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/console", kReadWrite, 0), 0);
        EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(follows, abi::kNrFork)), exited(0));
        EXPECT_EQ(co_await u.sys(abi::kNrOpen, "/dev/tty", kReadWrite, 0), error(Errno::kNxIo));
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite, 0), 0);
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/tty", kReadWrite, 0), 0);
        co_return 0;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(opens, abi::kNrFork)), exited(0));
                  co_return 0;
              }),
              exited(0));
}

TEST(LinuxTerminal, ExclusiveUseLineDisciplineAndSimulatedInput) {
    cpus();
    give_terminal();
    static const UserAddr user = add_code([](User& u) -> Script {
        EXPECT_EQ(co_await u.sys(abi::kNrSetuid, 1000), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrOpen, "/dev/tty", kReadWrite, 0), error(Errno::kBusy));
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, left_fd.load(), kTiocNxcl, 0), 0);
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/tty", kReadWrite, 0), 0);
        EXPECT_GT(co_await u.sys(abi::kNrSetsid), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, left_fd.load(), kTiocSti, u.scratch(8)), error(Errno::kPerm));
        co_return 0;
    });
    static const UserAddr owner = add_code([](User& u) -> Script {
        EXPECT_GT(co_await u.sys(abi::kNrSetsid), 0);
        const i64 fd = co_await u.sys(abi::kNrOpen, "/dev/ttyS0", kReadWrite | kNonBlocking, 0);
        left_fd = fd;
        UserAddr word = u.scratch(8);
        co_await u.store<i32>(word, 7);
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocSetd, word), error(Errno::kInval));
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocGetd, word), 0);
        EXPECT_EQ(co_await u.load<i32>(word), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocSetd, word), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocExcl, 0), 0);
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocGexcl, word), 0);
        EXPECT_EQ(co_await u.load<i32>(word), 1);
        EXPECT_GE(co_await u.sys(abi::kNrOpen, "/dev/tty", kReadWrite, 0), 0);
        EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(user, abi::kNrFork)), exited(0));
        for (const char c : {'a', '\n'}) {
            EXPECT_EQ(co_await u.sys(abi::kNrRead, fd, word, 8), error(Errno::kAgain));
            co_await u.store<i32>(word, c);
            EXPECT_EQ(co_await u.sys(abi::kNrIoctl, fd, kTiocSti, word), 0);
        }
        EXPECT_EQ(co_await u.sys(abi::kNrRead, fd, word, 8), 2);
        co_return 0;
    });
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(owner, abi::kNrFork)), exited(0));
                  co_return 0;
              }),
              exited(0));
}

}  // namespace
