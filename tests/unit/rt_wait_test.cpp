// SPDX-License-Identifier: MIT
// rt/wait: no wake-up is lost, one cause ends a wait, everything is undone afterwards. A thousand seeds each.
#include "rt/wait.hpp"

#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;
using hosted_test::TestJob;
using rt::Wake;

struct Channel {
    rt::WaitQueue queue;
    std::atomic<u32> available{0};
    std::atomic<u32> taken{0}, consumers{0};
    std::atomic<bool> closed{false};

    bool take() {
        u32 n = available.load();
        while (n != 0)
            if (available.compare_exchange_weak(n, n - 1)) return true;
        return false;
    }
};

Task<void> consume(Channel* c, u64 seed) {
    Random random(seed);
    for (;;) {
        u32 seen = c->queue.sequence();
        if (c->take()) {
            c->taken.fetch_add(1);
            if (random() % 4 == 0) co_await rt::Yield{};
            continue;
        }
        if (c->closed.load()) break;
        if (random() % 4 == 0) std::this_thread::yield();  // between the check and the wait
        auto r = co_await rt::wait_on(c->queue, seen, "test: an item");
        EXPECT_TRUE(r.ok());
    }
    c->consumers.fetch_sub(1);
}

Task<void> produce(Channel* c, u32 items, u64 seed, std::atomic<u32>* left) {
    Random random(seed);
    for (u32 i = 0; i < items; ++i) {
        c->available.fetch_add(1);
        if (random() % 2)
            c->queue.wake_one();
        else
            c->queue.wake_all();
        if (random() % 3 == 0) co_await rt::Yield{};
        if (random() % 8 == 0) std::this_thread::yield();
    }
    if (left->fetch_sub(1) == 1) {
        c->closed.store(true);
        c->queue.wake_all();
    }
}

TEST(RtWait, NoWakeUpIsLostInAThousandSeeds) {
    Cpus cpus(3);
    for (u64 seed = 0; seed < 1000; ++seed) {
        Channel channel;
        std::atomic<u32> left{3};
        channel.consumers.store(3);
        for (u32 i = 0; i < 3; ++i) ASSERT_TRUE(rt::spawn("consumer", consume(&channel, seed * 7 + i), cpus[i]));
        for (u32 i = 0; i < 3; ++i)
            ASSERT_TRUE(rt::spawn("producer", produce(&channel, 10, seed * 11 + i, &left), cpus[(seed + i) % 3]));
        ASSERT_TRUE(cpus.run_until([&] { return channel.consumers.load() == 0; }, 20)) << "lost wake-up, seed " << seed;
        ASSERT_EQ(channel.taken.load(), 30u) << "seed " << seed;
        ASSERT_FALSE(channel.queue.has_waiters());
    }
}

struct Race {
    rt::WaitQueue queue;
    TestJob job;
    bool interruptible = true;
    std::atomic<u32> woken{0}, completions{0};
    Nanoseconds deadline = Nanoseconds::never();
    Wake why{};
};

Task<void> wait_once(Race* r, u32 seen) {
    rt::Waiter waiter;
    waiter.queue = &r->queue;
    waiter.seen = seen;
    rt::Wait wait{"test: a race"};
    wait.on(&waiter, 1).until(r->deadline);
    if (!r->interruptible) wait.uninterruptible();
    r->why = co_await wait;
    r->completions.fetch_add(1);
    EXPECT_FALSE(waiter.hook.linked());
}
Task<void> wake_later(Race* r, u32 yields, std::atomic<u32>* left) {
    for (u32 i = 0; i < yields; ++i) std::this_thread::yield();
    r->woken.fetch_add(r->queue.wake_one());
    left->fetch_sub(1);
    co_return;
}
Task<void> interrupt_later(Race* r, u32 yields, std::atomic<u32>* left) {
    for (u32 i = 0; i < yields; ++i) std::this_thread::yield();
    r->job.interrupt();
    left->fetch_sub(1);
    co_return;
}

TEST(RtWait, OneCauseEndsAWaitWakeAgainstInterruptAgainstTimeout) {
    Cpus cpus(3);
    u32 by[3] = {};
    for (u64 seed = 0; seed < 1000; ++seed) {
        Random random(seed);
        auto race = std::make_unique<Race>();
        Race& r = *race;
        if (random() % 2) r.deadline = hal::Machine::now() + Nanoseconds{random() % 60'000};
        u32 seen = r.queue.sequence();
        std::atomic<u32> left{2};
        ASSERT_TRUE(rt::spawn("wake", wake_later(&r, u32(random() % 4), &left), cpus[1]));
        ASSERT_TRUE(r.job.start(wait_once(&r, seen), cpus[random() % 3]));
        ASSERT_TRUE(rt::spawn("interrupt", interrupt_later(&r, u32(random() % 4), &left), cpus[2]));
        ASSERT_TRUE(cpus.run_until([&] { return left.load() == 0 && r.job.ended.load(); }, 20)) << "seed " << seed;
        EXPECT_EQ(r.completions.load(), 1u);
        if (r.woken.load() == 1) EXPECT_EQ(r.why, Wake::kWoken) << "seed " << seed;  // the waker was told that it won
        if (r.why == Wake::kTimeout) EXPECT_NE(r.deadline, Nanoseconds::never());
        ++by[u32(r.why)];
        EXPECT_FALSE(r.queue.has_waiters());
    }
    EXPECT_GT(by[u32(Wake::kWoken)], 0u);
    EXPECT_GT(by[u32(Wake::kInterrupted)], 0u);
}

TEST(RtWait, AnUninterruptibleWaitIgnoresInterrupts) {
    Cpus cpus(2);
    for (u64 seed = 0; seed < 200; ++seed) {
        Race r;
        r.interruptible = false;
        std::atomic<u32> left{1};
        ASSERT_TRUE(r.job.start(wait_once(&r, r.queue.sequence()), cpus[1]));
        ASSERT_TRUE(rt::spawn("interrupt", interrupt_later(&r, u32(seed % 4), &left), cpus[0]));
        ASSERT_TRUE(cpus.run_until([&] { return left.load() == 0; }));
        EXPECT_FALSE(r.job.ended.load());
        r.queue.wake_one();
        ASSERT_TRUE(cpus.run_until([&] { return r.job.ended.load(); }));
        EXPECT_EQ(r.why, Wake::kWoken);
        EXPECT_TRUE(r.job.interrupted());  // the request stays
    }
}

TEST(RtWait, AnInterruptBeforeTheWaitEndsItAtOnce) {
    Cpus cpus(1);
    Race r;
    r.job.interrupt();
    ASSERT_TRUE(r.job.start(wait_once(&r, r.queue.sequence()), cpus[0]));
    ASSERT_TRUE(cpus.run_until([&] { return r.job.ended.load(); }, 5));
    EXPECT_EQ(r.why, Wake::kInterrupted);
}

TEST(RtWait, ADeadlineInThePastTimesOutAtOnceAndAFutureOneOnTime) {
    Cpus cpus(1);
    {
        Race r;
        r.deadline = Nanoseconds{1};
        ASSERT_TRUE(r.job.start(wait_once(&r, r.queue.sequence()), cpus[0]));
        ASSERT_TRUE(cpus.run_until([&] { return r.job.ended.load(); }, 5));
        EXPECT_EQ(r.why, Wake::kTimeout);
    }
    Race r;
    r.deadline = hal::Machine::now() + lib::milliseconds(5);
    ASSERT_TRUE(r.job.start(wait_once(&r, r.queue.sequence()), cpus[0]));
    ASSERT_TRUE(cpus.run_until([&] { return r.job.ended.load(); }, 5));
    EXPECT_EQ(r.why, Wake::kTimeout);
    EXPECT_GE(hal::Machine::now(), r.deadline);
}

Task<void> wait_for_any(rt::WaitQueue* queues, std::atomic<bool>* ended) {
    rt::Waiter w[3];
    for (u32 i = 0; i < 3; ++i) {
        w[i].queue = &queues[i];
        w[i].seen = queues[i].sequence();
    }
    rt::Wait wait{"test: any of three"};
    wait.on(w, 3);
    EXPECT_EQ(co_await wait, Wake::kWoken);
    for (rt::Waiter& each : w) EXPECT_FALSE(each.hook.linked());
    ended->store(true);
}

TEST(RtWait, AnyOfSeveralQueuesEndsTheWait) {
    Cpus cpus(2);
    for (u32 i = 0; i < 300; ++i) {
        rt::WaitQueue queues[3];
        std::atomic<bool> ended{false};
        ASSERT_TRUE(rt::spawn("any", wait_for_any(queues, &ended), cpus[1]));
        // A wake before the waiter has noted the sequence is not for it: repeat until it came.
        ASSERT_TRUE(cpus.run_until(
            [&] {
                queues[i % 3].wake_one();
                return ended.load();
            },
            10));
        for (auto& q : queues) EXPECT_FALSE(q.has_waiters());
    }
}

Task<void> stay(rt::WaitQueue* q, std::vector<u32>* order, u32 me) {
    (void)co_await rt::wait_on(*q, q->sequence(), "test: in line");
    order->push_back(me);
}

TEST(RtWait, WaitersAreWokenInOrderOfArrival) {
    Cpus cpus(1);
    rt::WaitQueue q;
    std::vector<u32> order;
    for (u32 i = 0; i < 5; ++i) ASSERT_TRUE(rt::spawn("stay", stay(&q, &order, i), cpus[0]));
    cpus[0].run_until_idle();
    EXPECT_EQ(q.wake(2), 2u);
    cpus[0].run_until_idle();
    EXPECT_EQ(order, (std::vector<u32>{0, 1}));
    EXPECT_EQ(q.wake_all(), 3u);
    cpus[0].run_until_idle();
    EXPECT_EQ(order, (std::vector<u32>{0, 1, 2, 3, 4}));
}

Task<void> inner(rt::WaitQueue* q) { (void)co_await rt::wait_on(*q, q->sequence(), "test: the leaf"); }
Task<void> outer(rt::WaitQueue* q) { co_await inner(q); }

TEST(RtWait, ADumpNamesTheChainOfAwaits) {
    Cpus cpus(1);
    rt::WaitQueue q;
    TestJob job;
    ASSERT_TRUE(job.start(outer(&q), cpus[0]));
    cpus[0].run_until_idle();
    EXPECT_TRUE(job.is_waiting());
    EXPECT_STREQ(job.waiting_for(), "test: the leaf");
    std::vector<std::string> names;
    job.trace([&](const std::source_location& at) { names.push_back(at.function_name()); });
    ASSERT_EQ(names.size(), 2u);
    EXPECT_NE(names[0].find("outer"), std::string::npos);
    EXPECT_NE(names[1].find("inner"), std::string::npos);
    q.wake_all();
    cpus[0].run_until_idle();
    EXPECT_TRUE(job.ended.load());
}

// Whoever counts a job's time hears of each pause: also while it is on its way to another executor, or lets others run.
struct SwitchedJob : TestJob {
    static inline std::string seen;
};
Task<void> wander(rt::Executor* there, rt::WaitQueue* q) {
    SwitchedJob::seen += "a";
    co_await rt::MoveTo{*there};
    SwitchedJob::seen += "b";
    co_await rt::MoveTo{*there};  // it is there already
    co_await rt::Yield{};
    SwitchedJob::seen += "c";
    (void)co_await rt::wait_on(*q, q->sequence(), "test: a wait");
    SwitchedJob::seen += "d";
}

TEST(RtWait, EveryPauseIsToldOnceAndItsEndToo) {
    Cpus cpus(2);
    rt::WaitQueue q;
    SwitchedJob job;
    SwitchedJob::seen.clear();
    job.set_on_switch([](rt::Job&, bool runs) { SwitchedJob::seen += runs ? "+" : "-"; });
    ASSERT_TRUE(job.start(wander(&cpus[1], &q), cpus[0]));
    ASSERT_TRUE(cpus.run_until([&] { return job.is_waiting(); }));
    q.wake_all();
    ASSERT_TRUE(cpus.run_until([&] { return job.ended.load(); }));
    EXPECT_EQ(SwitchedJob::seen, "+a-+b-+c-+d");
}

}  // namespace
