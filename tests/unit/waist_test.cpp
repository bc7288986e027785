// SPDX-License-Identifier: MIT
// port/hosted against the contract of the waist (port/api), with a toy personality: leaf tier first, then the coroutine;
// faults; kicks; copies that check rights; routes; copies of threads.
#include "port/hosted/script.hpp"
#include "rt/mem/slab.hpp"
#include "tests/unit/hosted_cpus.hpp"
#include "tests/unit/mem_support.hpp"

namespace {

using hosted_test::Cpus;
using port::LeafOutcome;
using port::Trap;
using port::hosted::add_code;
using port::hosted::Script;
using port::hosted::User;

constexpr UserAddr kLeafPage{0x10000000}, kTaskPage{0x20000000};
enum Number : u32 { kAddOne = 1, kSlow = 2, kWhere = 3, kSpawn = 4, kTake = 5, kGive = 6, kExit = 231 };

class Toy : public port::UserThread {
public:
    std::atomic<u32> leaf_calls{0}, task_calls{0}, leaf_faults{0}, task_faults{0}, kicks{0};
    std::atomic<i64> exit_status{-1};
    std::atomic<bool> over{false};
    std::atomic<u32> call_cpu{99};
    Ref<port::Space> mine;
    std::vector<PhysAddr> frames;

    Result<void> make_space() {
        mine = TRY(port::Space::create());
        for (u64 at = port::hosted::kText; at < port::hosted::kText + port::hosted::kTextSize; at += kPageSize)
            TRY(give(UserAddr{at}, {true, false, true}));
        for (u64 at = port::hosted::kData; at < port::hosted::kData + port::hosted::kDataSize; at += 16 * kPageSize)
            TRY(give(UserAddr{at}, {true, true, false}));
        return init(mine);
    }
    Result<void> give(UserAddr at, port::Prot p) {
        PhysAddr frame = TRY(rt::alloc_zeroed_frame());
        frames.push_back(frame);
        port::MapEntry e{at, frame, p};
        return mine->map({&e, 1});
    }
    ~Toy() {
        if (mine) mine->clear();
        for (PhysAddr f : frames) rt::free_frame(f);
    }
    void enter_at(UserAddr pc) {
        regs().reset();
        regs().set_pc(pc);
    }
};

rt::WaitQueue slow_queue;

// A counter that kTake waits for as a leaf, and kGive fills.
rt::WaitQueue given_queue;
std::atomic<i64> given{0};
bool take_one() {
    i64 n = given.load();
    while (n > 0)
        if (given.compare_exchange_weak(n, n - 1)) return true;
    return false;
}
LeafOutcome take(port::UserThread& t) {
    u32 seen = given_queue.sequence();
    if (!take_one()) {
        t.block_on(given_queue, seen, "test: something given");
        return LeafOutcome::kBlocked;
    }
    t.regs().set_syscall_result(7);
    return LeafOutcome::kDone;
}
LeafOutcome again(port::UserThread& t, rt::Wake why) {
    if (why == rt::Wake::kInterrupted) {
        t.job().clear_interrupt();
        t.regs().set_syscall_result(-4);
        return LeafOutcome::kDone;
    }
    return take(t);
}

LeafOutcome leaf(port::UserThread& thread) {
    Toy& t = static_cast<Toy&>(thread);
    t.leaf_calls.fetch_add(1);
    switch (t.regs().syscall_number()) {
        case kAddOne: t.regs().set_syscall_result(i64(t.regs().syscall_argument(0)) + 1); return LeafOutcome::kDone;
        case kWhere:
            t.call_cpu.store(hal::Machine::this_cpu().value);
            t.regs().set_syscall_result(0);
            return LeafOutcome::kDone;
        case kTake: return take(t);
        case kGive:
            given.fetch_add(1);
            t.regs().set_syscall_result(i64(given_queue.wake_one()));
            return LeafOutcome::kDone;
        default: return LeafOutcome::kNeedsTask;
    }
}
LeafOutcome leaf_elsewhere(port::UserThread& thread, hal::CallFrame& frame) {
    LeafOutcome outcome = leaf(thread);
    frame.set_syscall_result(thread.regs().syscall_result());
    return outcome;
}
LeafOutcome fault(port::UserThread& thread, const Trap& trap) {
    Toy& t = static_cast<Toy&>(thread);
    t.leaf_faults.fetch_add(1);
    if (trap.address.down(kPageSize) != kLeafPage) return LeafOutcome::kNeedsTask;
    EXPECT_TRUE(t.give(kLeafPage, {true, true, false}).ok());
    return LeafOutcome::kDone;
}
// All of the file system but kExit, which is out of range: at home.
constexpr u8 kModulesOfCalls[] = {u8(port::Module::kFs), u8(port::Module::kFs), u8(port::Module::kFs),
                                  u8(port::Module::kFs), u8(port::Module::kFs), u8(port::Module::kFs),
                                  u8(port::Module::kFs)};
void ended(port::UserThread& thread) { static_cast<Toy&>(thread).over.store(true, std::memory_order_release); }

Task<void> toy_main(Toy* t) {
    for (;;) {
        Trap trap = co_await t->user();
        if (trap.kind == Trap::Kind::kSyscall) {
            t->task_calls.fetch_add(1);
            if (t->regs().syscall_number() == kExit) {
                t->exit_status.store(i64(t->regs().syscall_argument(0)));
                co_return;
            }
            for (;;) {
                u32 seen = slow_queue.sequence();
                if (t->regs().syscall_argument(0) != 0) break;
                t->regs().rdi = 1;  // the second look succeeds
                auto r = co_await rt::wait_on(slow_queue, seen, "test: slow call",
                                              hal::Machine::now() + lib::milliseconds(1));
                EXPECT_EQ(r.error(), Errno::kTimedOut);
            }
            t->regs().set_syscall_result(42);
        } else if (trap.kind == Trap::Kind::kPageFault) {
            t->task_faults.fetch_add(1);
            if (trap.address.down(kPageSize) != kTaskPage) {
                t->exit_status.store(-11);
                co_return;
            }
            EXPECT_EQ(trap.access, port::Access::kWrite);
            EXPECT_TRUE(t->give(kTaskPage, {true, true, false}).ok());
        } else if (trap.kind == Trap::Kind::kKick) {
            t->kicks.fetch_add(1);
        } else {
            t->exit_status.store(-4);
            co_return;
        }
    }
}

class WaistTest : public mem_test::MemTest {
protected:
    void SetUp() override {
        MemTest::SetUp();
        port::set_personality({&leaf, &leaf_elsewhere, &again, &fault, kModulesOfCalls, u32(std::size(kModulesOfCalls)),
                               [](const port::UserThread&) { return i32{0}; }, &ended});
        port::hosted::set_program_maker(&User::make);
    }
    void TearDown() override {
        port::hosted::reset_route();
        port::hosted::set_schedule(0);
    }
    // Runs the code as one thread's program; its exit status.
    static i64 run(Cpus& cpus, Toy& t, port::hosted::Code code) {
        EXPECT_TRUE(t.make_space().ok());
        t.enter_at(add_code(std::move(code)));
        EXPECT_TRUE(t.start(toy_main(&t)));
        EXPECT_TRUE(cpus.run_until([&] { return t.over.load(std::memory_order_acquire); }, 20));
        return t.exit_status.load();
    }
};

TEST_F(WaistTest, ALeafCallNeedsNoCoroutineAndASlowOneDoes) {
    Cpus cpus(1);
    Toy t;
    EXPECT_EQ(run(cpus, t,
                  [](User& u) -> Script {
                      for (i64 i = 0; i < 100; ++i) EXPECT_EQ(co_await u.sys(kAddOne, i), i + 1);
                      EXPECT_EQ(co_await u.sys(kSlow, 0), 42);
                      co_return 5;
                  }),
              5);
    EXPECT_EQ(t.leaf_calls.load(), 102u);
    EXPECT_EQ(t.task_calls.load(), 2u);
}

// Two threads hand a token back and forth; each wait is a blocked leaf. `route`: where the calls run, or -1.
void pass_tokens(Cpus& cpus, i32 route) {
    given.store(0);
    port::hosted::set_route(port::Module::kFs, route);
    constexpr i64 kRounds = 500;
    Toy giver, taker;
    auto start = [&](Toy& t, u32 cpu, port::hosted::Code code) {
        ASSERT_TRUE(t.make_space().ok());
        t.set_affinity(CpuSet{1u << cpu % cpus.count()});
        t.enter_at(add_code(std::move(code)));
        ASSERT_TRUE(t.start(toy_main(&t)));
    };
    start(taker, 0, [](User& u) -> Script {
        for (i64 i = 0; i < kRounds; ++i) EXPECT_EQ(co_await u.sys(kTake), 7);
        co_return 1;
    });
    start(giver, 1, [](User& u) -> Script {
        for (i64 i = 0; i < kRounds; ++i) EXPECT_LE(co_await u.sys(kGive), 1);
        co_return 2;
    });
    ASSERT_TRUE(cpus.run_until([&] { return giver.over.load() && taker.over.load(); }, 20));
    EXPECT_EQ(given.load(), 0);
    EXPECT_EQ(taker.exit_status.load(), 1);
    EXPECT_EQ(taker.task_calls.load(), 1u) << "a blocked leaf went through the coroutine";
}

TEST_F(WaistTest, ABlockedLeafIsRunAgainWithoutTheCoroutine) {
    Cpus cpus(1);
    pass_tokens(cpus, -1);
}

TEST_F(WaistTest, BlockedLeavesWakeAcrossCpusAndRoutes) {
    Cpus cpus(3);
    pass_tokens(cpus, -1);
    pass_tokens(cpus, 2);
}

TEST_F(WaistTest, AnInterruptEndsABlockedLeaf) {
    given.store(0);
    for (i32 route : {-1, 1}) {
        port::hosted::set_route(port::Module::kFs, route);
        Cpus cpus(2);
        Toy t;
        ASSERT_TRUE(t.make_space().ok());
        t.enter_at(add_code([](User& u) -> Script { co_return co_await u.sys(kTake); }));
        ASSERT_TRUE(t.start(toy_main(&t)));
        ASSERT_TRUE(cpus.run_until([&] { return t.job().is_waiting(); }, 20));
        t.job().interrupt();
        ASSERT_TRUE(cpus.run_until([&] { return t.over.load(); }, 20));
        EXPECT_EQ(t.exit_status.load(), -4);
    }
}

TEST_F(WaistTest, FaultsGoToTheLeafFirstThenToTheTask) {
    Cpus cpus(1);
    Toy t;
    EXPECT_EQ(run(cpus, t,
                  [](User& u) -> Script {
                      co_await u.store<u64>(kLeafPage + 8, 3);
                      EXPECT_EQ(co_await u.load<u64>(kLeafPage + 8), 3u);
                      co_await u.store<u64>(kTaskPage, 4);
                      EXPECT_EQ(co_await u.load<u64>(kTaskPage), 4u);
                      co_await u.load<u64>(UserAddr{0x30000000});
                      ADD_FAILURE() << "went on behind a fault";
                      co_return 0;
                  }),
              -11);
    EXPECT_EQ(t.leaf_faults.load(), 3u);
    EXPECT_EQ(t.task_faults.load(), 2u);
}

TEST_F(WaistTest, CodeWhereNoneIsTraps) {
    Cpus cpus(1);
    Toy t;
    ASSERT_TRUE(t.make_space().ok());
    t.enter_at(UserAddr{port::hosted::kText + 0xfff0});
    ASSERT_TRUE(t.start(toy_main(&t)));
    ASSERT_TRUE(cpus.run_until([&] { return t.over.load(); }, 20));
    EXPECT_EQ(t.exit_status.load(), -4);
}

TEST_F(WaistTest, AKickEndsUserModeFromAnyCpu) {
    Cpus cpus(3);
    for (u64 seed = 0; seed < 200; ++seed) {
        port::hosted::set_schedule(seed);
        Toy t;
        static std::atomic<bool> stop;
        stop = false;
        struct Kicker : rt::Schedulable {
            Kicker() : Schedulable(&Kicker::go) {}
            static void go(rt::Schedulable& s) {
                Kicker& k = static_cast<Kicker&>(s);
                k.thread->kick();
                while (k.thread->kicks.load() == 0) std::this_thread::yield();
                stop.store(true);
            }
            Toy* thread = nullptr;
        } kicker;
        kicker.thread = &t;
        cpus[1 + seed % 2].post(kicker);
        EXPECT_EQ(run(cpus, t,
                      [](User& u) -> Script {
                          while (!stop.load()) co_await u.pause();
                          co_return 1;
                      }),
                  1);
        EXPECT_GE(t.kicks.load(), 1u);
    }
}

TEST_F(WaistTest, ACallRunsWhereItsModuleIs) {
    Cpus cpus(3);
    for (i32 cpu : {-1, 0, 1, 2}) {
        port::hosted::set_route(port::Module::kFs, cpu);
        Toy t;
        EXPECT_EQ(run(cpus, t,
                      [](User& u) -> Script {
                          for (u32 i = 0; i < 50; ++i) {
                              EXPECT_EQ(co_await u.sys(kWhere), 0);
                              EXPECT_EQ(hal::Machine::this_cpu().value, 0u);  // user code stays at home
                              EXPECT_EQ(co_await u.sys(kAddOne, 7), 8);
                          }
                          EXPECT_EQ(co_await u.sys(kSlow, 0), 42);
                          co_return 2;
                      }),
                  2);
        EXPECT_EQ(t.call_cpu.load(), u32(cpu < 0 ? 0 : cpu));
    }
}

TEST_F(WaistTest, AThreadIsCopiedWithItsRegisters) {
    Cpus cpus(1);
    Toy t, copy;
    copy.regs().r15 = 1;
    t.regs().r15 = 77;
    t.regs().set_tls_base(UserAddr{0x1000});
    copy.fork_state_from(t);
    EXPECT_EQ(copy.regs().r15, 77u);
    EXPECT_EQ(copy.regs().tls_base(), UserAddr{0x1000});
    std::vector<std::byte> state(t.fpu_state().begin(), t.fpu_state().end());
    state[100] = std::byte{9};
    EXPECT_TRUE(copy.set_fpu_state(state).ok());
    EXPECT_EQ(copy.fpu_state()[100], std::byte{9});
    state.pop_back();
    EXPECT_EQ(copy.set_fpu_state(state).error(), Errno::kInval);
}

TEST_F(WaistTest, CopiesStopAtTheFirstByteThatMayNotBeAccessed) {
    Cpus cpus(1);
    auto made = port::Space::create();
    ASSERT_TRUE(made.ok());
    Ref<port::Space> space = made.take();
    PhysAddr frames[3];
    for (PhysAddr& f : frames) f = rt::alloc_zeroed_frame().value();
    constexpr UserAddr kAt{0x5000'0000};
    port::MapEntry entries[] = {{kAt, frames[0], {true, true, false}},
                                {kAt + kPageSize, frames[1], {true, false, false}},
                                {kAt + 3 * kPageSize, frames[2], {false, false, false}}};
    ASSERT_TRUE(space->map(entries).ok());
    std::vector<char> buffer(4 * kPageSize, 'x');
    EXPECT_EQ(space->copy_out(kAt + 100, buffer.data(), 2 * kPageSize), kPageSize - 100);
    EXPECT_EQ(space->copy_in(buffer.data(), kAt, 4 * kPageSize), 2 * kPageSize);
    EXPECT_EQ(buffer[99], 0);
    EXPECT_EQ(buffer[100], 'x');
    EXPECT_EQ(space->copy_in(buffer.data(), kAt + 3 * kPageSize, 1), 0u);  // PROT_NONE
    EXPECT_EQ(space->zero_out(kAt + 200, kPageSize), kPageSize - 200);
    bool ended = true;
    EXPECT_EQ(space->copy_in_string(buffer.data(), kAt + 100, 4096, &ended), 100u);
    EXPECT_TRUE(ended);
    EXPECT_EQ(space->copy_in_string(buffer.data(), kAt + 150, 10, &ended), 10u);
    EXPECT_FALSE(ended);
    EXPECT_EQ(space->compare_exchange_u32(kAt + 8, 0, 5).value(), 0u);
    EXPECT_EQ(space->compare_exchange_u32(kAt + 8, 0, 6).value(), 5u);
    EXPECT_EQ(space->load_u32(kAt + 8).value(), 5u);
    EXPECT_EQ(space->compare_exchange_u32(kAt + kPageSize, 0, 5).error(), Errno::kFault);
    EXPECT_EQ(space->load_u32(kAt + 2 * kPageSize).error(), Errno::kFault);
    port::UserRange all{kAt, kAt + 4 * kPageSize};
    space->protect({&all, 1}, {true, true, false});
    EXPECT_EQ(space->copy_out(kAt + kPageSize, buffer.data(), kPageSize), kPageSize);
    EXPECT_EQ(space->mapped_pages(), 3u);
    space->unmap({&all, 1});
    EXPECT_EQ(space->copy_in(buffer.data(), kAt, 1), 0u);
    EXPECT_EQ(space->mapped_pages(), 0u);
    EXPECT_FALSE(space->stale());
    space->clear();
    for (PhysAddr f : frames) rt::free_frame(f);
}

TEST_F(WaistTest, ASpaceWithoutMemoryFailsAndLosesNothing) {
    Cpus cpus(1);
    for (u64 n = 0; n < 8; ++n) {
        u64 before = rt::free_frame_count();
        bool mapped = false;
        {
            rt::mem_fail_after(n);
            auto made = port::Space::create();
            if (made.ok()) {
                port::MapEntry e{UserAddr{0x1000}, PhysAddr{0x5000}, {true, false, false}};
                auto r = made.value()->map({&e, 1});
                mapped = r.ok();
                if (!r.ok()) EXPECT_EQ(r.error(), Errno::kNoMem);
            } else {
                EXPECT_EQ(made.error(), Errno::kNoMem);
            }
            rt::mem_fail_never();
        }
        EXPECT_EQ(mapped, n >= 5);  // the Space and four levels of tables
        EXPECT_EQ(rt::free_frame_count(), before);
    }
}

}  // namespace
