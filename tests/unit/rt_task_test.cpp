// SPDX-License-Identifier: MIT
// rt/task without memory, rt/async_mutex, rt/fair_semaphore, and the checker of the lock order.
#include "rt/task.hpp"

#include "rt/async_mutex.hpp"
#include "rt/fair_semaphore.hpp"
#include "tests/unit/hosted_cpus.hpp"
#include "tests/unit/mem_support.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;

class RtTask : public mem_test::MemTest {};

Task<Result<u32>> depth(u32 n) {
    if (n == 0) co_return 1u;
    u32 below = CO_TRY(co_await depth(n - 1));
    co_return below + 1;
}
Task<void> run_depth(u32 n, Result<u32>* out, bool* ended) {
    *out = co_await depth(n);
    *ended = true;
}

TEST_F(RtTask, AFrameThatCannotBeHadIsNoMemory) {
    Cpus cpus(1);
    constexpr u32 kDepth = 6;
    // The first frame is run_depth's; depth() makes kDepth + 1.
    for (u64 n = 0; n <= kDepth + 2; ++n) {
        u64 live = rt::frames_live();
        Result<u32> got = Errno::kIo;
        bool ended = false;
        auto root = run_depth(kDepth, &got, &ended);
        ASSERT_TRUE(root.valid());
        hosted_test::TestJob job;
        ASSERT_TRUE(job.start(std::move(root), cpus[0]));
        rt::mem_fail_after(n);
        cpus[0].run_until_idle();
        u64 failures = rt::mem_injected_failures();
        rt::mem_fail_never();
        ASSERT_TRUE(ended) << "allocation " << n;
        if (n <= kDepth) {
            EXPECT_EQ(failures, 1u);
            EXPECT_EQ(got.error(), Errno::kNoMem) << "allocation " << n;
        } else {
            EXPECT_EQ(failures, 0u);
            EXPECT_EQ(got.value(), kDepth + 1);
        }
        EXPECT_EQ(rt::frames_live(), live + 1);  // the root's goes with its job
    }
}

TEST_F(RtTask, SpawnWithoutMemoryFailsAndLeaksNothing) {
    Cpus cpus(1);
    bool started = false;
    u64 n = 0;
    for (; !started; ++n) {
        ASSERT_LT(n, 16u);
        u64 live = rt::frames_live();
        Result<u32> got = Errno::kIo;
        bool ended = false;
        rt::mem_fail_after(n);
        started = rt::spawn("test", run_depth(0, &got, &ended), cpus[0]);
        rt::mem_fail_never();
        cpus[0].run_until_idle();
        EXPECT_EQ(ended, started);
        EXPECT_EQ(rt::frames_live(), live);
    }
    EXPECT_GE(n, 3u);  // the coroutine's frame and the Job can fail
}

struct Guarded {
    rt::AsyncMutex mutex;
    u64 value = 0;  // plain: ThreadSanitizer sees an unordered access
    bool inside = false;
    std::atomic<u32> left{0};
};
Task<void> add_some(Guarded* g, u64 seed, u32 rounds) {
    Random random(seed);
    for (u32 i = 0; i < rounds; ++i) {
        auto guard = co_await g->mutex.lock();
        EXPECT_TRUE(guard.ok());
        EXPECT_FALSE(std::exchange(g->inside, true));
        if (random() % 3 == 0) co_await rt::Yield{};
        if (random() % 16 == 0) {
            rt::Wait nap{"test: a nap under a sleeping lock"};
            nap.until(hal::Machine::now() + Nanoseconds{random() % 20'000});
            (void)co_await nap;
        }
        ++g->value;
        g->inside = false;
    }
    g->left.fetch_sub(1);
}

TEST(RtAsyncMutex, HoldsOneAtATimeAndForgetsNobody) {
    Cpus cpus(4);
    for (u64 seed = 0; seed < 50; ++seed) {
        Guarded g;
        g.left.store(8);
        for (u32 i = 0; i < 8; ++i) ASSERT_TRUE(rt::spawn("adder", add_some(&g, seed * 8 + i, 20), cpus[i % 4]));
        ASSERT_TRUE(cpus.run_until([&] { return g.left.load() == 0; }, 30)) << "seed " << seed;
        auto guard = g.mutex.try_lock();
        ASSERT_TRUE(bool(guard));
        EXPECT_EQ(g.value, 8u * 20);
        EXPECT_FALSE(bool(g.mutex.try_lock()));
    }
}

Task<void> hold_again_and_again(rt::AsyncMutex* m, const bool* over, u32* rounds) {
    while (!*over && *rounds < 1000) {
        auto guard = co_await m->lock();
        EXPECT_TRUE(guard.ok());
        ++*rounds;
        for (int i = 0; i < 3; ++i) co_await rt::Yield{};
    }
}
Task<void> hold_once(rt::AsyncMutex* m, u32* left) {
    co_await rt::Yield{};
    auto guard = co_await m->lock();
    EXPECT_TRUE(guard.ok());
    co_await rt::Yield{};
    --*left;
}

// The holder that comes back at once is on its CPU when the lock is free; who was woken is only ready.
TEST(RtAsyncMutex, NobodyIsPassedOverTwice) {
    Cpus cpus(1);
    rt::AsyncMutex m;
    bool over = false;
    u32 rounds = 0, left = 5;
    ASSERT_TRUE(rt::spawn("greedy", hold_again_and_again(&m, &over, &rounds), cpus[0]));
    for (u32 i = 0; i < 5; ++i) ASSERT_TRUE(rt::spawn("modest", hold_once(&m, &left), cpus[0]));
    ASSERT_TRUE(cpus.run_until([&] { return left == 0; }, 30));
    EXPECT_LT(rounds, 20u);
    over = true;
    cpus[0].run_until_idle();
    EXPECT_TRUE(bool(m.try_lock()));
}

struct Queued {
    rt::FairSemaphore permits;
    std::vector<u32> order;
    u32 inside = 0, most_inside = 0, left = 0;
    explicit Queued(u32 count) : permits(count) {}
};
Task<void> take_often(Queued* q, u32 number, u32 times) {
    for (u32 i = 0; i < times; ++i) {
        auto held = co_await q->permits.take();
        if (!held.ok()) co_return;
        q->order.push_back(number);
        if (++q->inside > q->most_inside) q->most_inside = q->inside;
        co_await rt::Yield{};
        --q->inside;
    }
    --q->left;
}

TEST(RtFairSemaphore, GoesToTheFirstThatWaits) {
    Cpus cpus(1);
    for (u32 permits : {1u, 3u}) {
        Queued q{permits};
        q.left = 5;
        for (u32 i = 0; i < 5; ++i) ASSERT_TRUE(rt::spawn("taker", take_often(&q, i, 20), cpus[0]));
        ASSERT_TRUE(cpus.run_until([&] { return q.left == 0; }, 30));
        EXPECT_EQ(q.most_inside, permits);
        ASSERT_EQ(q.order.size(), 100u);
        // Who gives it back and wants it again comes after all that waited: they take turns.
        for (u32 i = 0; i < 100; ++i) EXPECT_EQ(q.order[i], i % 5) << i;
    }
}

Task<void> add_some_in_turn(Guarded* g, rt::FairSemaphore* lock, u32 times) {
    for (u32 i = 0; i < times; ++i) {
        auto held = co_await lock->take();
        if (!held.ok()) break;
        const u64 before = g->value;
        if (i % 3 == 0) co_await rt::Yield{};
        g->value = before + 1;
    }
    g->left.fetch_sub(1);
}

TEST(RtFairSemaphore, OfOnePermitExcludesOtherCpusAndForgetsNobody) {
    Cpus cpus(4);
    for (u32 round = 0; round < 50; ++round) {
        Guarded g;
        rt::FairSemaphore lock{1};
        g.left.store(8);
        for (u32 i = 0; i < 8; ++i) ASSERT_TRUE(rt::spawn("adder", add_some_in_turn(&g, &lock, 50), cpus[i % 4]));
        ASSERT_TRUE(cpus.run_until([&] { return g.left.load() == 0; }, 30)) << "round " << round;
        EXPECT_EQ(g.value, 8u * 50);
    }
}

TEST(RtSpinLock, ExcludesOtherCpus) {
    static constinit rt::SpinLock<rt::Rank::pipe> lock;
    static u64 value;
    value = 0;
    mem_test::on_cpus(4, [](u32) {
        for (u32 i = 0; i < 5000; ++i) {
            rt::LockGuard guard{lock};
            ++value;
        }
    });
    EXPECT_EQ(value, 4u * 5000);
}

using RtLockOrderDeathTest = testing::Test;
rt::SpinLock<rt::Rank::inode> inode_lock, other_inode;
rt::SpinLock<rt::Rank::pipe> pipe_lock;

TEST(RtLockOrderDeathTest, AWrongOrderStopsTheMachine) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    hal::Machine::bind_cpu(CpuId{0});
    EXPECT_DEATH(
        {
            rt::LockGuard high{pipe_lock};
            rt::LockGuard low{inode_lock};
        },
        "lock order: a lock of higher rank is held");
    EXPECT_DEATH(
        {
            rt::LockGuard one{inode_lock};
            rt::LockGuard two{other_inode};
        },
        "lock order: the same rank twice");
}

Task<void> wait_with_a_lock(rt::WaitQueue* q) {
    rt::LockGuard guard{pipe_lock};
    (void)co_await rt::wait_on(*q, q->sequence(), "test: must not happen");
}

TEST(RtLockOrderDeathTest, NoSuspensionWithASpinlockHeld) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(
        {
            Cpus cpus(1);
            rt::WaitQueue q;
            rt::spawn("bad", wait_with_a_lock(&q), cpus[0]);
            cpus[0].run_until_idle();
        },
        "co_await with a spinlock held");
}

TEST(RtLockOrder, TheRightOrderAndPairsPass) {
    hal::Machine::bind_cpu(CpuId{0});
    {
        rt::LockPair pair{other_inode, inode_lock};
        rt::LockGuard above{pipe_lock};
        EXPECT_TRUE(rt::lock_check::holds_any());
    }
    EXPECT_FALSE(rt::lock_check::holds_any());
}

}  // namespace
