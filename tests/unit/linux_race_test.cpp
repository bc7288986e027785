// SPDX-License-Identifier: MIT
// Two CPUs in one place of the personality: each test brings its threads to one point again and again and has them go
// on from there at once, on CPUs that are held up before they take locks (hal::Machine::disturb_one_in).
#include "port/api/streams.hpp"
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;

// Where `count` threads wait for one another.
struct Meeting {
    u32 count = 0;
    std::atomic<u32> here{0}, turn{0};
    void of(u32 n) {
        count = n;
        here = turn = 0;
    }
};
Script meet(User& u, Meeting& m) {
    const u32 turn = m.turn.load();
    if (m.here.fetch_add(1) + 1 == m.count) {
        m.here = 0;
        m.turn.fetch_add(1);
    }
    UserAddr time = u.scratch(16);
    co_await u.store<u64>(time, 0);
    co_await u.store<u64>(time + 8, 20'000);
    while (m.turn.load() == turn) co_await u.sys(abi::kNrNanosleep, time, 0);
    co_return 0;
}
// The calling thread goes on there alone: a thread in a call keeps its CPU.
Script stay_on(User& u, u32 cpu) {
    UserAddr mask = u.scratch(8);
    co_await u.store<u64>(mask, u64{1} << cpu);
    EXPECT_EQ(co_await u.sys(abi::kNrSchedSetaffinity, 0, 8, mask), 0);
    co_return 0;
}
// Left out by a thread at its start: each thread's scratch memory begins at the same place.
constexpr size_t kOthersScratch = 0x8000;
// A thread of the caller's process, with memory, descriptors and signal actions in common.
Script start_thread(User& u, UserAddr code) {
    UserAddr stack{u64(co_await map_pages(u, 2 * kPageSize))};
    co_return co_await u.fork_into(code, abi::kNrClone, 0x50f00, stack + 2 * kPageSize, 0, 0, 0);
}

class LinuxRace : public testing::TestWithParam<u64> {
protected:
    void SetUp() override {
        cpus();
        port::hosted::set_schedule(GetParam() + 1);
        hal::Machine::disturb_one_in(4 + u32(GetParam()) * 4);
    }
    void TearDown() override {
        hal::Machine::disturb_one_in(0);
        port::hosted::set_schedule(0);
    }
    Spread spread_;
};
INSTANTIATE_TEST_SUITE_P(Seeds, LinuxRace, testing::Range(u64{0}, u64{8}));

// ---- The terminal: two threads of a session's leader give it up at once, while another leader takes it.

struct NoKeys final : port::Stream {
    size_t try_read(std::span<std::byte>) override { return 0; }
    size_t try_write(std::span<const std::byte> from) override { return from.size(); }
    bool readable() const override { return false; }
    bool writable() const override { return true; }
    bool at_end() const override { return false; }
};

constexpr u64 kTakeTerminal = 0x540e, kGroupOfTerminal = 0x540f, kGiveTerminalUp = 0x5422;
constexpr u32 kRounds = 60;
Meeting meeting;
std::atomic<u32> lost{0};
std::atomic<i64> terminal{-1};

Script open_terminal(User& u) {
    EXPECT_GT(co_await u.sys(abi::kNrSetsid), 1);
    EXPECT_EQ(co_await set_handler(u, 1, 1), 0);  // SIGHUP is ignored
    terminal = co_await u.sys(abi::kNrOpen, "/dev/console", 2);
    EXPECT_GE(terminal.load(), 0);
    co_return 0;
}
UserAddr code_that(Script (*script)(User&)) { return add_code(script); }

Script waits_for_ever(User& u) {
    for (;;) co_await u.sys(abi::kNrPause);
}
Script also_gives_up(User& u) {
    u.scratch(kOthersScratch);
    co_await stay_on(u, 1);
    for (u32 round = 0; round < kRounds; ++round) {
        co_await meet(u, meeting);
        co_await u.sys(abi::kNrIoctl, terminal.load(), kGiveTerminalUp);
        co_await meet(u, meeting);
        co_await meet(u, meeting);
    }
    co_await u.sys(abi::kNrExit, 0);
    co_return 0;
}
Script first_leader(User& u) {
    static const UserAddr member = code_that(waits_for_ever), second = code_that(also_gives_up);
    co_await open_terminal(u);
    i64 members[3];  // whom a hang-up is told to
    for (i64& pid : members) pid = co_await u.fork_into(member, abi::kNrFork);
    EXPECT_GT(co_await start_thread(u, second), 1);
    co_await stay_on(u, 0);
    for (u32 round = 0; round < kRounds; ++round) {
        EXPECT_EQ(co_await u.sys(abi::kNrIoctl, terminal.load(), kTakeTerminal, 1), 0);
        co_await meet(u, meeting);
        co_await u.sys(abi::kNrIoctl, terminal.load(), kGiveTerminalUp);
        co_await meet(u, meeting);
        co_await meet(u, meeting);
    }
    for (i64 pid : members) co_await u.sys(abi::kNrKill, pid, 9);
    for (i64 pid : members) co_await wait_for(u, pid);
    co_return 0;
}
Script second_leader(User& u) {
    UserAddr group = u.scratch(4);
    co_await open_terminal(u);
    co_await stay_on(u, 2);
    const i64 mine = co_await u.sys(abi::kNrGetpid);
    for (u32 round = 0; round < kRounds; ++round) {
        co_await meet(u, meeting);
        while (co_await u.sys(abi::kNrIoctl, terminal.load(), kTakeTerminal, 0) != 0) {
        }
        co_await meet(u, meeting);
        if (co_await u.sys(abi::kNrIoctl, terminal.load(), kGroupOfTerminal, group) != 0 ||
            co_await u.load<i32>(group) != mine)
            lost.fetch_add(1);
        co_await u.sys(abi::kNrIoctl, terminal.load(), kGiveTerminalUp);
        co_await meet(u, meeting);
    }
    co_return 0;
}

TEST_P(LinuxRace, ATerminalThatIsTakenStaysTaken) {
    // One terminal for all seeds: it lives as long as the program.
    static NoKeys keys, screen;
    struct Streams {
        port::Stream* before[2] = {port::streams.standard[0], port::streams.standard[1]};
        Streams() {
            port::streams.standard[0] = &keys;
            port::streams.standard[1] = &screen;
            port::streams.tty = true;
        }
        ~Streams() {
            port::streams.tty = false;
            port::streams.standard[0] = before[0];
            port::streams.standard[1] = before[1];
        }
    };
    static const UserAddr first = code_that(first_leader), second = code_that(second_leader);
    meeting.of(3);
    lost = 0;
    // run() speaks to the first program by the standard streams.
    std::unique_ptr<Streams> streams;
    static std::unique_ptr<Streams>* at;
    at = &streams;
    EXPECT_EQ(run([](User& u) -> Script {
                  *at = std::make_unique<Streams>();
                  i64 pids[] = {co_await u.fork_into(first, abi::kNrFork), co_await u.fork_into(second, abi::kNrFork)};
                  for (i64 pid : pids) EXPECT_EQ(co_await wait_for(u, pid), exited(0));
                  at->reset();
                  co_return 0;
              }),
              exited(0));
    EXPECT_EQ(lost.load(), 0u);
}

// ---- execve while another thread makes a process that shares the signal actions: the new program has its own.

std::atomic<u32> ready{0}, not_alone{0}, pause_ns{0};

// The new program, or whoever was made by the old one, may be first.
Script uses_its_actions(User& u) {
    const i64 usr1 = 10;
    EXPECT_EQ(co_await set_handler(u, usr1, 1), 0);
    ready = 1;
    while (co_await u.sys(abi::kNrWait4, -1, 0, 0, 0) != error(Errno::kChild)) {
    }
    UserAddr action = u.scratch(32);
    EXPECT_EQ(co_await u.sys(abi::kNrRtSigaction, usr1, 0, action, 8), 0);
    co_return co_await u.load<u64>(action) == 1 ? 0 : 1;
}
Script changes_its_actions(User& u) {
    UserAddr time{u64(co_await map_pages(u, kPageSize))};
    co_await u.store<u64>(time + 8, 50'000);
    while (ready.load() == 0) co_await u.sys(abi::kNrNanosleep, time, 0);
    UserAddr none = time + 64;
    co_await u.store<u64>(none, 0);
    EXPECT_EQ(co_await u.sys(abi::kNrRtSigaction, 10, none, 0, 8), 0);
    co_await u.sys(abi::kNrExit, 0);
    co_return 0;
}
Script makes_a_process(User& u) {
    static const UserAddr child = code_that(changes_its_actions);
    u.scratch(kOthersScratch);
    co_await stay_on(u, 1);
    UserAddr stack{u64(co_await map_pages(u, 2 * kPageSize))};
    // A little later in each round: when execve decides what it shares is not known.
    UserAddr time = u.scratch(16);
    co_await u.store<u64>(time, 0);
    co_await u.store<u64>(time + 8, pause_ns.load());
    co_await meet(u, meeting);
    co_await u.sys(abi::kNrNanosleep, time, 0);
    co_await u.fork_into(child, abi::kNrClone, 0x900 | 17, stack + 2 * kPageSize, 0, 0, 0);  // CLONE_VM | CLONE_SIGHAND
    co_await u.sys(abi::kNrExit, 0);
    co_return 0;
}
Script executes(User& u) {
    static const UserAddr second = code_that(makes_a_process);
    EXPECT_GT(co_await start_thread(u, second), 1);
    co_await stay_on(u, 2);
    UserAddr argv = u.scratch(16), name = u.scratch(32);
    co_await u.store_bytes(name, "/tmp/alone", 11);
    co_await u.store<u64>(argv, name.value);
    co_await u.store<u64>(argv + 8, 0);
    co_await meet(u, meeting);
    EXPECT_EQ(co_await u.sys(abi::kNrExecve, name, argv, argv + 8), 0);
    co_return 2;
}

TEST_P(LinuxRace, AProgramSharesItsSignalActionsWithNobody) {
    static const UserAddr before = code_that(executes), after = code_that(uses_its_actions);
    not_alone = 0;
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await write_file(u, "/tmp/alone", port::hosted::image(after)), 0);
                  for (u32 round = 0; round < 100; ++round) {
                      meeting.of(2);
                      ready = 0;
                      pause_ns = round % 20 * 30'000;
                      const i64 status = co_await wait_for(u, co_await u.fork_into(before, abi::kNrFork));
                      if (status == exited(1)) not_alone.fetch_add(1);
                      EXPECT_TRUE(status == exited(0) || status == exited(1)) << status;
                  }
                  co_return 0;
              }),
              exited(0));
    EXPECT_EQ(not_alone.load(), 0u);
}

// ---- A mount becomes read-only while a file on it is opened for writing: never both.

std::atomic<i64> opened_as{0};
constexpr u32 kFileRounds = 60, kReadOnlyRemount = 33, kRemount = 32, kDetach = 2;
Script opens_for_writing(User& u) {
    u.scratch(kOthersScratch);
    co_await stay_on(u, 1);
    for (u32 round = 0; round < kFileRounds; ++round) {
        co_await meet(u, meeting);
        const i64 fd = co_await u.sys(abi::kNrOpen, "/tmp/mounted/file", 2, 0);
        opened_as = fd;
        co_await meet(u, meeting);
        if (fd >= 0) co_await u.sys(abi::kNrClose, fd);
        co_await meet(u, meeting);
    }
    co_await u.sys(abi::kNrExit, 0);
    co_return 0;
}

TEST_P(LinuxRace, AMountIsReadOnlyOrWrittenTo) {
    static const UserAddr other = code_that(opens_for_writing);
    meeting.of(2);
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await u.sys(abi::kNrMkdir, "/tmp/mounted", 0700), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrMount, "none", "/tmp/mounted", "tmpfs", 0, 0), 0);
                  EXPECT_EQ(co_await write_file(u, "/tmp/mounted/file", {std::byte{0}}), 0);
                  EXPECT_GT(co_await start_thread(u, other), 1);
                  co_await stay_on(u, 2);
                  for (u32 round = 0; round < kFileRounds; ++round) {
                      co_await meet(u, meeting);
                      const i64 r = co_await u.sys(abi::kNrMount, 0, "/tmp/mounted", 0, kReadOnlyRemount, 0);
                      co_await meet(u, meeting);
                      EXPECT_TRUE(r == 0 || r == error(Errno::kBusy)) << r;
                      EXPECT_TRUE(opened_as >= 0 || opened_as == error(Errno::kRoFs)) << opened_as;
                      EXPECT_FALSE(r == 0 && opened_as >= 0);
                      co_await meet(u, meeting);
                      EXPECT_EQ(co_await u.sys(abi::kNrMount, 0, "/tmp/mounted", 0, kRemount, 0), 0);
                  }
                  EXPECT_EQ(co_await u.sys(abi::kNrUmount2, "/tmp/mounted", kDetach), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrRmdir, "/tmp/mounted"), 0);
                  co_return 0;
              }),
              exited(0));
}

// ---- A waiter looks at a file that is taken out of its set and closed: the file ends at once.

constexpr u32 kTakeOut = 2, kAdd = 1, kPollInput = 1, kNonBlocking = 04000;
std::atomic<i64> set_fd{-1}, wake_fd{-1};
Script waits_on_the_set(User& u) {
    u.scratch(kOthersScratch);
    co_await stay_on(u, 1);
    UserAddr event = u.scratch(16);
    for (u32 round = 0; round < kFileRounds; ++round) {
        co_await meet(u, meeting);
        EXPECT_EQ(co_await u.sys(abi::kNrEpollWait, set_fd.load(), event, 1, 60'000), 1);
        EXPECT_EQ(co_await u.sys(abi::kNrRead, wake_fd.load(), event, 8), 8);
        co_await meet(u, meeting);
    }
    co_await u.sys(abi::kNrExit, 0);
    co_return 0;
}

TEST_P(LinuxRace, FilesOfASetEndBesideItsWaiters) {
    static const UserAddr other = code_that(waits_on_the_set);
    meeting.of(2);
    EXPECT_EQ(run([](User& u) -> Script {
                  set_fd = co_await u.sys(abi::kNrEpollCreate1, 0);
                  UserAddr pair = u.scratch(8), event = u.scratch(16), byte = u.scratch(8);
                  co_await u.store<u32>(event, kPollInput);
                  wake_fd = co_await u.sys(abi::kNrEventfd2, 0, 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrEpollCtl, set_fd.load(), kAdd, wake_fd.load(), event), 0);
                  EXPECT_GT(co_await start_thread(u, other), 1);
                  co_await stay_on(u, 2);
                  for (u32 round = 0; round < kFileRounds; ++round) {
                      EXPECT_EQ(co_await u.sys(abi::kNrPipe2, pair, kNonBlocking), 0);
                      const i64 from = co_await u.load<i32>(pair), to = co_await u.load<i32>(pair + 4);
                      EXPECT_EQ(co_await u.sys(abi::kNrEpollCtl, set_fd.load(), kAdd, to, event), 0);
                      co_await meet(u, meeting);
                      if (round % 2 == 0)
                          EXPECT_EQ(co_await u.sys(abi::kNrEpollCtl, set_fd.load(), kTakeOut, to, 0), 0);
                      EXPECT_EQ(co_await u.sys(abi::kNrClose, to), 0);
                      // A look under way has a reference for a moment.
                      i64 got;
                      u32 tries = 0;
                      do got = co_await u.sys(abi::kNrRead, from, byte, 1);
                      while (got == error(Errno::kAgain) && ++tries < 20'000);
                      EXPECT_EQ(got, 0);
                      co_await u.store<u64>(byte, 1);
                      EXPECT_EQ(co_await u.sys(abi::kNrWrite, wake_fd.load(), byte, 8), 8);
                      co_await meet(u, meeting);
                      EXPECT_EQ(co_await u.sys(abi::kNrClose, from), 0);
                  }
                  co_return 0;
              }),
              exited(0));
}

// ---- A look in /proc at a process that ends keeps none of its descriptors open.

std::atomic<i64> looked_at{0};
std::atomic<bool> no_more_looks{false};
Script looks_in_proc(User& u) {
    u.scratch(kOthersScratch);
    co_await stay_on(u, 1);
    UserAddr text = u.scratch(64);
    while (!no_more_looks) {
        const std::string name = "/tmp/proc/" + std::to_string(looked_at.load()) + "/fd/0";
        co_await u.sys(abi::kNrReadlink, name, text, 64);
    }
    co_await u.sys(abi::kNrExit, 0);
    co_return 0;
}
Script ends_with_a_pipe(User& u) {
    co_await stay_on(u, 2);
    co_return 0;
}

TEST_P(LinuxRace, DescriptorsOfAProcessGoWithIt) {
    static const UserAddr looker = code_that(looks_in_proc), child = code_that(ends_with_a_pipe);
    no_more_looks = false;
    EXPECT_EQ(run([](User& u) -> Script {
                  EXPECT_EQ(co_await u.sys(abi::kNrMkdir, "/tmp/proc", 0700), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrMount, "none", "/tmp/proc", "proc", 0, 0), 0);
                  EXPECT_GT(co_await start_thread(u, looker), 1);
                  co_await stay_on(u, 0);
                  UserAddr pair = u.scratch(8), byte = u.scratch(8);
                  for (u32 round = 0; round < 4 * kFileRounds; ++round) {
                      EXPECT_EQ(co_await u.sys(abi::kNrPipe2, pair, kNonBlocking), 0);
                      const i64 from = co_await u.load<i32>(pair), to = co_await u.load<i32>(pair + 4);
                      const i64 pid = co_await u.fork_into(child, abi::kNrFork);
                      looked_at = pid;
                      EXPECT_EQ(co_await u.sys(abi::kNrClose, to), 0);
                      EXPECT_EQ(co_await wait_for(u, pid), exited(0));
                      EXPECT_EQ(co_await u.sys(abi::kNrRead, from, byte, 1), 0);
                      EXPECT_EQ(co_await u.sys(abi::kNrClose, from), 0);
                  }
                  no_more_looks = true;
                  EXPECT_EQ(co_await u.sys(abi::kNrUmount2, "/tmp/proc", kDetach), 0);
                  EXPECT_EQ(co_await u.sys(abi::kNrRmdir, "/tmp/proc"), 0);
                  co_return 0;
              }),
              exited(0));
}

// ---- The first comparison of all makes the order of objects, from random bytes.

TEST_P(LinuxRace, ObjectsAreCompared) {
    EXPECT_EQ(run([](User& u) -> Script {
                  const i64 me = co_await u.sys(abi::kNrGetpid);
                  EXPECT_EQ(co_await u.sys(abi::kNrKcmp, me, me, 0, 0, 0), 0);
                  const i64 order = co_await u.sys(abi::kNrKcmp, me, me, 0, 0, 1);
                  EXPECT_TRUE(order == 1 || order == 2);
                  EXPECT_EQ(co_await u.sys(abi::kNrKcmp, me, me, 0, 1, 0), 3 - order);
                  co_return 0;
              }),
              exited(0));
}

}  // namespace
