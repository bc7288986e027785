// SPDX-License-Identifier: MIT
// rt/executor: what is posted runs exactly once, on the CPU it was posted to, in the order of one sender; a sleeping CPU
// is woken.
#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using rt::Executor;

struct Node : rt::Schedulable {
    Node() : Schedulable(&Node::ran) {}
    static void ran(rt::Schedulable& s) {
        Node& n = static_cast<Node&>(s);
        n.on.store(hal::Machine::this_cpu().value);
        if (n.order) n.place = (*n.order)++;
        n.runs.fetch_add(1);  // last: the test looks at it
    }
    std::atomic<u32> runs{0}, on{~0u};
    u32* order = nullptr;
    u32 place = 0;
};

TEST(RtExecutor, WhatIsPostedHereRunsInOrderAndByPriority) {
    Cpus cpus(1);
    u32 order = 0;
    Node nodes[4];
    for (Node& n : nodes) n.order = &order;
    nodes[0].priority = rt::Priority::kBackground;
    nodes[1].priority = rt::Priority::kUser;
    nodes[2].priority = rt::Priority::kUser;
    nodes[3].priority = rt::Priority::kUrgent;
    for (Node& n : nodes) cpus[0].post(n);
    EXPECT_TRUE(cpus[0].queue.has(rt::Priority::kUrgent));
    EXPECT_EQ(cpus[0].queue.count(rt::Priority::kUser), 2u);
    cpus[0].run_until_idle();
    EXPECT_EQ(nodes[3].place, 0u);
    EXPECT_EQ(nodes[1].place, 1u);
    EXPECT_EQ(nodes[2].place, 2u);
    EXPECT_EQ(nodes[0].place, 3u);
    EXPECT_FALSE(cpus[0].queue.has(rt::Priority::kBackground));
}

// Who posts in a trap of a user thread, which goes on, does not have the CPU for ever.
TEST(RtExecutor, WhatAUserThreadMakesReadyRunsInASliceAtTheLatest) {
    Cpus cpus(1);
    Node node;
    cpus[0].post(node);
    EXPECT_FALSE(cpus[0].slice.armed);
    cpus[0].run_until_idle();
    Node other;
    cpus[0].user_state.enter(rt::UserState::kUser);
    cpus[0].post(other);
    EXPECT_TRUE(cpus[0].slice.armed);
    cpus[0].user_state.leave();
    rt::cancel_timer(cpus[0].slice);
    cpus[0].run_until_idle();
}

// An interrupt that ends a CPU's sleep keeps no user thread from running.
TEST(RtExecutor, WhatAnInterruptMakesReadyWhileTheCpuSleepsArmsNoSlice) {
    Cpus cpus(1);
    Node node;
    cpus[0].user_state.enter(rt::UserState::kSleeping);
    cpus[0].post(node);
    EXPECT_FALSE(cpus[0].slice.armed);
    cpus[0].user_state.enter(rt::UserState::kOwnTurn);
    Node other;
    cpus[0].post(other);
    EXPECT_TRUE(cpus[0].slice.armed);
    cpus[0].user_state.leave();
    rt::cancel_timer(cpus[0].slice);
    cpus[0].run_until_idle();
}

TEST(RtExecutor, EnqueueFrontOvertakesAndStealTakesTheLast) {
    Cpus cpus(1);
    Node a, b, c;
    cpus[0].enqueue(a);
    cpus[0].enqueue_front(b);
    cpus[0].enqueue(c);
    EXPECT_EQ(cpus[0].queue.take_last(rt::Priority::kKernel), &c);
    EXPECT_EQ(cpus[0].queue.take_last(rt::Priority::kKernel), &a);
    EXPECT_EQ(cpus[0].queue.take_last(rt::Priority::kKernel), &b);
    EXPECT_EQ(cpus[0].queue.take_last(rt::Priority::kKernel), nullptr);
    EXPECT_FALSE(cpus[0].run_one());
}

// Of a native thread whose home has changed since it was posted: run() sends it home, before anything else runs here.
TEST(RtExecutor, WhatMayNotWaitHereIsSentOnAtOnce) {
    Cpus cpus(2);
    u32 order = 0;
    Node moved, stays;
    struct Poster : rt::Schedulable {
        Poster() : Schedulable(&Poster::go) {}
        static void go(rt::Schedulable& s) {
            for (Node* n : static_cast<Poster&>(s).nodes) Executor::of(CpuId{0}).post(*n);
            static_cast<Poster&>(s).done.store(true);
        }
        Node* nodes[2];
        std::atomic<bool> done{false};
    } poster;
    moved.only_on = 1;
    moved.priority = rt::Priority::kBackground;
    stays.only_on = 0;
    for (Node* n : {&moved, &stays}) n->order = &order;
    poster.nodes[0] = &stays;
    poster.nodes[1] = &moved;
    cpus[1].post(poster);
    while (!poster.done.load()) std::this_thread::yield();
    cpus[0].run_until_idle();
    EXPECT_EQ(moved.place, 0u);
    EXPECT_EQ(stays.place, 1u);
    EXPECT_EQ(moved.on.load(), 0u);
}

TEST(RtExecutor, ManySendersLoseNothingAndKeepTheirOrder) {
    constexpr u32 kEach = 400;
    for (u64 seed = 0; seed < 40; ++seed) {
        Cpus cpus(4);
        struct Sender {
            std::vector<Node> nodes{kEach};
        };
        std::vector<Sender> senders(3);
        // Each sender is an executor of its own; the receiver is CPU 3.
        std::vector<u32> order(3, 0);
        struct Burst : rt::Schedulable {
            Burst() : Schedulable(&Burst::go) {}
            static void go(rt::Schedulable& s) {
                Burst& b = static_cast<Burst&>(s);
                hosted_test::Random random(b.seed);
                for (Node& n : *b.nodes) {
                    Executor::of(CpuId{3}).post(n);
                    if (random() % 8 == 0) std::this_thread::yield();
                }
            }
            std::vector<Node>* nodes = nullptr;
            u64 seed = 0;
        } bursts[3];
        for (u32 i = 0; i < 3; ++i) {
            for (Node& n : senders[i].nodes) n.order = &order[i];
            bursts[i].nodes = &senders[i].nodes;
            bursts[i].seed = seed * 3 + i;
            cpus[i].post(bursts[i]);
        }
        ASSERT_TRUE(cpus.run_until([&] {
            for (auto& s : senders)
                for (Node& n : s.nodes)
                    if (n.runs.load() == 0) return false;
            return true;
        })) << "seed "
            << seed;
        for (auto& s : senders)
            for (u32 i = 0; i < kEach; ++i) {
                ASSERT_EQ(s.nodes[i].runs.load(), 1u);
                ASSERT_EQ(s.nodes[i].on.load(), 3u);
                ASSERT_EQ(s.nodes[i].place, i) << "seed " << seed;
            }
    }
}

TEST(RtExecutor, ASleepingCpuIsWokenByEveryPost) {
    Cpus cpus(2);
    for (u32 i = 0; i < 2000; ++i) {
        Node n;
        if (i % 3 == 0) std::this_thread::yield();
        if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));  // surely asleep
        cpus[1].post(n);
        ASSERT_TRUE(cpus.run_until([&] { return n.runs.load() == 1; }, 10)) << "post " << i << " was lost";
    }
}

Task<void> hop_around(Cpus* cpus, u64 seed, std::atomic<u32>* visits, std::atomic<u32>* left) {
    hosted_test::Random random(seed);
    for (u32 i = 0; i < 50; ++i) {
        u32 to = u32(random() % cpus->count());
        co_await rt::MoveTo{(*cpus)[to]};
        EXPECT_EQ(hal::Machine::this_cpu().value, to);
        visits->fetch_add(1);
        if (random() % 3 == 0) co_await rt::Yield{};
        EXPECT_EQ(hal::Machine::this_cpu().value, to);
    }
    left->fetch_sub(1);
}

TEST(RtExecutor, JobsHopBetweenCpus) {
    for (u64 seed = 0; seed < 20; ++seed) {
        Cpus cpus(4);
        std::atomic<u32> visits{0}, left{16};
        for (u32 i = 0; i < 16; ++i)
            ASSERT_TRUE(rt::spawn("hop", hop_around(&cpus, seed * 16 + i, &visits, &left), cpus[i % 4]));
        ASSERT_TRUE(cpus.run_until([&] { return left.load() == 0; }));
        EXPECT_EQ(visits.load(), 16u * 50);
    }
}

}  // namespace
