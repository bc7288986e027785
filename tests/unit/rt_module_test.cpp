// SPDX-License-Identifier: MIT
// rt/remote/module: the order in which policies take requests and how long they pass one over; histograms; places;
// batches.
#include "rt/remote/module.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;
using rt::Executor;
using rt::Histogram;
using rt::Policy;

struct Call : rt::Request {
    explicit Call(u32 its_number = 0, u64 its_space = 0, i32 its_nice = 0)
        : Request([](rt::Schedulable& s) {
              Call& c = static_cast<Call&>(s);
              c.module->here().accept(c);
          }) {
        call = its_number;
        space = reinterpret_cast<const void*>(its_space);
        nice = its_nice;
    }
    rt::Module* module = nullptr;
};

// In the order in which `calls` are taken: their indices.
std::vector<u32> taken(Policy policy, std::vector<Call>& calls) {
    rt::RequestQueue queue;
    for (Call& c : calls) queue.push(c);
    EXPECT_EQ(queue.size(), calls.size());
    std::vector<u32> order;
    while (rt::Request* r = queue.pop(policy)) order.push_back(u32(static_cast<Call*>(r) - calls.data()));
    EXPECT_EQ(queue.size(), 0u);
    return order;
}
using Order = std::vector<u32>;

TEST(RtModule, FifoAndTheControllerTakeInTheOrderOfArrival) {
    for (Policy p : {Policy::kFifo, Policy::kController}) {
        std::vector<Call> calls;
        for (u32 i = 0; i < 50; ++i) calls.emplace_back(i % 3, i % 2, -i32(i));
        Order order = taken(p, calls);
        ASSERT_EQ(order.size(), 50u);
        for (u32 i = 0; i < 50; ++i) EXPECT_EQ(order[i], i);
    }
}

TEST(RtModule, CohortTakesTheSameCallAndSpaceFirstThenTheSameCall) {
    std::vector<Call> calls;
    calls.emplace_back(1, 10);  // 0
    calls.emplace_back(2, 10);  // 1
    calls.emplace_back(1, 20);  // 2
    calls.emplace_back(1, 10);  // 3
    calls.emplace_back(2, 20);  // 4
    calls.emplace_back(1, 20);  // 5
    calls.emplace_back(2, 10);  // 6
    EXPECT_EQ(taken(Policy::kCohort, calls), (Order{0, 3, 2, 5, 1, 6, 4}));
}

TEST(RtModule, PriorityTakesTheLowestNiceAndEqualsInOrder) {
    std::vector<Call> calls;
    for (i32 nice : {5, 0, -3, 5, -3, 19, 0}) calls.emplace_back(0, 0, nice);
    EXPECT_EQ(taken(Policy::kPriority, calls), (Order{2, 4, 1, 6, 0, 3, 5}));
}

// Requests that the policy prefers keep coming; how often is the first one passed over?
u32 passed_over(Policy policy, Call& first, auto&& preferred) {
    rt::RequestQueue queue;
    Call lead = preferred();
    queue.push(lead);
    EXPECT_EQ(queue.pop(policy), &lead);  // what a cohort continues with
    queue.push(first);
    std::vector<Call> others;
    others.reserve(1000);
    u32 passed = 0;
    for (; passed < 1000; ++passed) {
        queue.push(others.emplace_back(preferred()));
        rt::Request* r = queue.pop(policy);
        if (r == &first) break;
        EXPECT_EQ(r, &others.back());
    }
    while (queue.pop(policy)) {
    }
    return passed;
}

TEST(RtModule, TheFirstIsPassedOverSoOftenAndNotOnceMore) {
    Call other(7, 70);
    EXPECT_EQ(passed_over(Policy::kCohort, other, [] { return Call(1, 10); }), rt::RequestQueue::kPatience);
    Call nice(0, 0, 19);
    EXPECT_EQ(passed_over(Policy::kPriority, nice, [] { return Call(0, 0, -20); }), rt::RequestQueue::kPatience);
    // Its patience is new with each call.
    EXPECT_EQ(passed_over(Policy::kPriority, nice, [] { return Call(0, 0, -20); }), rt::RequestQueue::kPatience);
}

// For every policy and input: a call with n before it is taken after (n + 1) * (kPatience + 1) others.
TEST(RtModule, EveryRequestIsTakenWithinABound) {
    for (Policy policy : {Policy::kFifo, Policy::kCohort, Policy::kPriority, Policy::kController})
        for (u64 seed = 0; seed < 30; ++seed) {
            Random random(seed);
            rt::RequestQueue queue;
            struct Waiting : Call {
                u64 before = 0, since = 0;
                bool in = false;
            };
            std::vector<Waiting> calls(64);
            u64 pops = 0;
            for (u32 i = 0; i < 5000; ++i) {
                // Hard cases: nearly all are alike, a few are not wanted.
                for (u32 n = u32(random() % 3); n != 0; --n) {
                    Waiting& w = calls[random() % calls.size()];
                    if (w.in) continue;
                    bool liked = random() % 8 != 0;
                    w.call = liked ? 1 : u32(random() % 5);
                    w.space = reinterpret_cast<const void*>(liked ? 1 : random() % 3);
                    w.nice = liked ? -10 : i32(random() % 20);
                    w.before = queue.size();
                    w.since = pops;
                    w.in = true;
                    queue.push(w);
                }
                if (auto* w = static_cast<Waiting*>(static_cast<Call*>(queue.pop(policy)))) {
                    ASSERT_TRUE(w->in);
                    w->in = false;
                    ASSERT_LE(pops - w->since, (w->before + 1) * (rt::RequestQueue::kPatience + 1) - 1)
                        << "seed " << seed;
                    ++pops;
                }
            }
            u32 in = 0;
            for (Waiting& w : calls) in += w.in;
            EXPECT_EQ(queue.size(), in);
            while (queue.pop(policy)) --in;
            EXPECT_EQ(in, 0u);
        }
}

TEST(RtModule, HistogramBucketsGrowAndHoldTheirValue) {
    EXPECT_EQ(Histogram::bucket(0), 0u);
    EXPECT_EQ(Histogram::bucket(1), 0u);
    EXPECT_EQ(Histogram::bucket(~u64{0}), Histogram::kBuckets - 1);
    u32 last = 0;
    for (u64 ns = 2; ns < (u64{1} << 40); ns += 1 + ns / 7) {
        u32 b = Histogram::bucket(ns);
        ASSERT_GE(b, last);
        ASSERT_LT(b, Histogram::kBuckets);
        last = b;
        if (b == Histogram::kBuckets - 1) continue;
        // A bucket is half its lower end wide, or less: its middle is off by a third at most.
        u64 middle = Histogram::value(b), off = middle > ns ? middle - ns : ns - middle;
        ASSERT_LE(off * 3, ns) << ns;
        ASSERT_EQ(Histogram::bucket(middle), b) << ns;
    }
    EXPECT_EQ(last, Histogram::kBuckets - 1);
}

TEST(RtModule, PercentilesAreTakenOverAllHistograms) {
    Histogram a, b;
    const Histogram* both[] = {&a, &b};
    EXPECT_EQ(rt::percentile(both, 500), 0u);
    for (u32 i = 0; i < 98; ++i) (i % 2 ? a : b).add(100);
    b.add(10'000);
    a.add(1'000'000);
    auto like = [](u64 ns) { return Histogram::value(Histogram::bucket(ns)); };
    EXPECT_EQ(rt::percentile(both, 1), like(100));
    EXPECT_EQ(rt::percentile(both, 500), like(100));
    EXPECT_EQ(rt::percentile(both, 980), like(100));
    EXPECT_EQ(rt::percentile(both, 981), like(10'000));
    EXPECT_EQ(rt::percentile(both, 990), like(10'000));
    EXPECT_EQ(rt::percentile(both, 991), like(1'000'000));
    EXPECT_EQ(rt::percentile(both, 1000), like(1'000'000));
    const Histogram* one[] = {&a};
    EXPECT_EQ(rt::percentile(one, 990), like(1'000'000));
}

// Too large for a stack under a sanitizer.
rt::Module& fresh_module(void (*serve)(rt::Request&, rt::Shard&)) {
    static std::vector<std::unique_ptr<rt::Module>> all;
    rt::Module& m = *all.emplace_back(std::make_unique<rt::Module>());
    m.init("test", serve);
    return m;
}

TEST(RtModule, AKeyHasOneCpuOfTheSetAndKeysSpread) {
    Cpus cpus(4);
    rt::Module& m = fresh_module(nullptr);
    int key;
    EXPECT_EQ(m.executor_for(&key), nullptr);
    m.move_to(CpuSet{1u << 2});
    EXPECT_EQ(m.executor_for(&key), &cpus[2]);
    EXPECT_EQ(m.executor_for(nullptr), &cpus[2]);
    EXPECT_TRUE(cpus[2].service.serves());
    for (u32 set = 1; set < 16; ++set) {
        m.move_to(CpuSet{set});
        u32 counts[4] = {};
        constexpr u32 kKeys = 4000;
        for (u64 i = 0; i < kKeys; ++i) {
            const void* k = reinterpret_cast<const void*>(0xffff'8000'0000'0000 + i * 512);
            Executor* where = m.executor_for(k);
            ASSERT_NE(where, nullptr);
            ASSERT_TRUE(CpuSet{set}.has(where->cpu()));
            ASSERT_EQ(m.executor_for(k), where);
            ++counts[where->cpu().value];
        }
        u32 fair = kKeys / u32(__builtin_popcount(set));
        for (u32 cpu = 0; cpu < 4; ++cpu)
            if (CpuSet{set}.has(CpuId{cpu})) {
                EXPECT_GT(counts[cpu], fair / 2) << "set " << set;
                EXPECT_TRUE(cpus[cpu].service.serves());
            }
    }
    m.move_to({});
    EXPECT_EQ(m.executor_for(&key), nullptr);
}

TEST(RtModule, OnlyAChangeOfPlaceIsAMigration) {
    Cpus cpus(2);
    rt::Module& m = fresh_module(nullptr);
    m.move_to({});
    EXPECT_EQ(m.migrations.load(), 0u);
    m.move_to(CpuSet{2});
    m.move_to(CpuSet{2});
    EXPECT_EQ(m.migrations.load(), 1u);
    m.move_to(CpuSet{3});
    m.move_to({});
    EXPECT_EQ(m.migrations.load(), 3u);
}

std::vector<const void*> events;

TEST(RtModule, BatchesEndAtTheLimitAndOthersHaveTheirTurnBetweenThem) {
    Cpus cpus(1);
    events.clear();
    rt::Module& m = fresh_module([](rt::Request& r, rt::Shard&) { events.push_back(&r); });
    m.batch = 4;
    struct Other : rt::Schedulable {
        Other() : Schedulable([](rt::Schedulable& s) { events.push_back(&s); }) {}
    } other;
    std::vector<Call> calls(10);
    for (Call& c : calls) {
        c.module = &m;
        m.here().accept(c);
    }
    EXPECT_TRUE(m.here().ordered.load());  // what comes now is queued after these
    EXPECT_TRUE(events.empty());
    cpus[0].enqueue(other);
    ASSERT_TRUE(cpus[0].run_one());
    EXPECT_EQ(events.size(), 4u);
    ASSERT_TRUE(cpus[0].run_one());
    ASSERT_EQ(events.size(), 5u);
    EXPECT_EQ(events[4], &other);
    cpus[0].run_until_idle();
    ASSERT_EQ(events.size(), 11u);
    for (u32 i = 0; i < 10; ++i) EXPECT_EQ(events[i < 4 ? i : i + 1], &calls[i]);
    EXPECT_EQ(m.here().batches.get(), 3u);
    EXPECT_EQ(m.here().queue_max.get(), 10u);
    EXPECT_EQ(m.here().queue_sum.get(), 10u + 6 + 2);
    EXPECT_FALSE(m.here().ordered.load());
    EXPECT_FALSE(m.here().scheduled);
}

TEST(RtModule, WhatArrivesDuringABatchIsServedOnce) {
    Cpus cpus(1);
    events.clear();
    rt::Module& m = fresh_module([](rt::Request& r, rt::Shard& shard) {
        events.push_back(&r);
        Call& c = static_cast<Call&>(r);
        if (c.call != 0) {
            --c.call;
            shard.accept(c);  // it makes the next call at once
        }
    });
    m.batch = 3;
    std::vector<Call> calls;
    for (u32 i = 0; i < 5; ++i) calls.emplace_back(i);
    for (Call& c : calls) {
        c.module = &m;
        cpus[0].post(c);  // by the executor, as a call from another CPU comes
    }
    cpus[0].run_until_idle();
    EXPECT_EQ(events.size(), 15u);
    for (u32 i = 0; i < 5; ++i) EXPECT_EQ(std::count(events.begin(), events.end(), &calls[i]), i + 1);
    EXPECT_EQ(m.here().queue.size(), 0u);
}

TEST(RtModule, APolicyThatChoosesQueuesEvenOneRequest) {
    Cpus cpus(1);
    rt::Module& m = fresh_module([](rt::Request&, rt::Shard&) {});
    rt::Shard& shard = m.here();
    EXPECT_FALSE(shard.ordered.load());
    for (Policy p : {Policy::kCohort, Policy::kPriority}) {
        m.set_policy(p);
        EXPECT_TRUE(m.orders());
        EXPECT_TRUE(shard.ordered.load());
        shard.settle();
        EXPECT_TRUE(shard.ordered.load());
    }
    for (Policy p : {Policy::kFifo, Policy::kController}) {
        m.set_policy(p);
        EXPECT_FALSE(m.orders());
        shard.settle();
        EXPECT_FALSE(shard.ordered.load());
    }
}

// A policy set while a shard's queue runs empty must not be forgotten.
TEST(RtModule, APolicySetWhileAQueueRunsEmptyStays) {
    Cpus cpus(2);
    rt::Module& m = fresh_module([](rt::Request&, rt::Shard&) {});
    struct Settles : rt::Schedulable {
        explicit Settles(rt::Module& its)
            : Schedulable([](rt::Schedulable& s) {
                  Settles& me = static_cast<Settles&>(s);
                  while (!me.stop.load(std::memory_order_relaxed)) {
                      me.module.here().settle();
                      me.times.fetch_add(1);
                  }
                  me.ended.store(true);
              }),
              module(its) {}
        rt::Module& module;
        std::atomic<u64> times{0};
        std::atomic<bool> stop{false}, ended{false};
    } settles{m};
    cpus[1].post(settles);
    auto once_more = [&] {
        for (u64 until = settles.times.load() + 2; settles.times.load() < until;) hal::Machine::relax();
    };
    u32 forgotten = 0;
    auto limit = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
    while (std::chrono::steady_clock::now() < limit) {
        m.set_policy(Policy::kFifo);
        once_more();
        EXPECT_FALSE(m.shards[1].ordered.load());
        m.set_policy(Policy::kCohort);
        once_more();
        forgotten += !m.shards[1].ordered.load();
    }
    settles.stop = true;
    EXPECT_TRUE(cpus.run_until([&] { return settles.ended.load(); }));
    EXPECT_EQ(forgotten, 0u);
}

}  // namespace
