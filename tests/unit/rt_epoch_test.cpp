// SPDX-License-Identifier: MIT
// rt/epoch: nothing is freed while a CPU that may have found it has not been quiescent; everything is freed in the end.
#include "rt/epoch.hpp"

#include "rt/mem/retire.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;

constexpr u64 kAlive = 0x1234'5678'9abc'def0;

struct Shared {
    rt::Retired retired;
    std::atomic<u64> canary{kAlive};
    static std::atomic<u64> freed;
    // What each CPU is reading, for the check in free().
    static std::atomic<Shared*> looking[lib::kMaxCpus];
    static void free(rt::Retired& r) {
        Shared* s = reinterpret_cast<Shared*>(&r);
        for (auto& l : looking) EXPECT_NE(l.load(), s) << "freed under a reader";
        s->canary.store(0);
        freed.fetch_add(1);
        delete s;
    }
};
std::atomic<u64> Shared::freed{0};
std::atomic<Shared*> Shared::looking[lib::kMaxCpus];

struct Table {
    std::atomic<Shared*> current{nullptr};
    std::atomic<bool> stop{false};
    std::atomic<u32> running{0};
    std::atomic<u64> reads{0};
};

Task<void> reader(Table* t, u64 seed) {
    Random random(seed);
    while (!t->stop.load()) {
        // One epoch section: no suspension between the load and the last use.
        u32 cpu = hal::Machine::this_cpu().value;
        Shared* s = t->current.load(std::memory_order_acquire);
        Shared::looking[cpu].store(s);
        for (u32 i = 0, n = u32(random() % 4); i < n; ++i) {
            if (random() % 2) std::this_thread::yield();
            EXPECT_EQ(s->canary.load(), kAlive);
        }
        Shared::looking[cpu].store(nullptr);
        t->reads.fetch_add(1);
        co_await rt::Yield{};
    }
    t->running.fetch_sub(1);
}

Task<void> writer(Table* t, u64 seed, u32 rounds) {
    Random random(seed);
    for (u32 i = 0; i < rounds; ++i) {
        Shared* old = t->current.exchange(new Shared, std::memory_order_acq_rel);
        old->retired.free = &Shared::free;
        rt::retire(old->retired);
        if (random() % 4 == 0) co_await rt::Yield{};
        if (random() % 64 == 0) rt::epoch_hurry();
    }
    t->running.fetch_sub(1);
}

TEST(RtEpoch, NothingIsFreedUnderAReader) {
    constexpr u32 kRounds = 300;
    for (u64 seed = 0; seed < 20; ++seed) {
        u64 freed_before = Shared::freed.load();
        Table table;
        {
            Cpus cpus(4);
            table.current.store(new Shared);
            table.running.store(5);
            for (u32 i = 1; i < 4; ++i) ASSERT_TRUE(rt::spawn("reader", reader(&table, seed * 5 + i), cpus[i]));
            ASSERT_TRUE(rt::spawn("writer", writer(&table, seed, kRounds), cpus[0]));
            ASSERT_TRUE(rt::spawn("writer", writer(&table, seed + 1, kRounds), cpus[1]));
            ASSERT_TRUE(cpus.run_until([&] { return table.running.load() == 3; }));
            EXPECT_GT(table.reads.load(), 0u);
            table.stop.store(true);
            ASSERT_TRUE(cpus.run_until([&] { return table.running.load() == 0; }));
            // Nothing is held back for long, without more to retire and without a wake-up.
            ASSERT_TRUE(cpus.run_until([&] { return Shared::freed.load() - freed_before == 2 * kRounds; }, 20))
                << "held back: " << 2 * kRounds - (Shared::freed.load() - freed_before);
        }
        delete table.current.load();
    }
}

TEST(RtEpoch, AReaderThatStaysKeepsWhatItMayHaveFound) {
    Cpus cpus(2);
    struct Hold : rt::Schedulable {
        Hold() : Schedulable(&Hold::go) {}
        static void go(rt::Schedulable& s) {
            Hold& h = static_cast<Hold&>(s);
            h.inside.store(true);
            while (!h.release.load()) std::this_thread::yield();
            h.gone.store(true);
        }
        std::atomic<bool> inside{false}, release{false}, gone{false};
    } hold;
    cpus[1].post(hold);
    while (!hold.inside.load()) std::this_thread::yield();
    u64 before = Shared::freed.load();
    Shared* s = new Shared;
    s->retired.free = &Shared::free;
    rt::retire(s->retired);
    for (int i = 0; i < 1000; ++i) rt::quiescent();
    EXPECT_EQ(Shared::freed.load(), before);
    EXPECT_EQ(rt::epoch_pending(), 1u);
    hold.release.store(true);
    ASSERT_TRUE(cpus.run_until([&] { return hold.gone.load() && Shared::freed.load() == before + 1; }, 10));
}

// CPU 1 sleeps with what it retired last, while CPU 0 is not idle: as in user mode, it is quiescent only when asked.
TEST(RtEpoch, ACpuThatSleepsKeepsNothing) {
    Cpus cpus(2);
    struct Retires : rt::Schedulable {
        Retires() : Schedulable(&Retires::go) {}
        static void go(rt::Schedulable& s) {
            Shared* shared = new Shared;
            shared->retired.free = &Shared::free;
            rt::retire(shared->retired);
            static_cast<Retires&>(s).done.store(true);
        }
        std::atomic<bool> done{false};
    } retires;
    const u64 before = Shared::freed.load();
    cpus[1].post(retires);
    auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (Shared::freed.load() == before && std::chrono::steady_clock::now() < limit) {
        if (cpus[0].needs_attention()) cpus[0].run_one();
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(retires.done.load());
    EXPECT_EQ(Shared::freed.load(), before + 1);
}

// A CPU that is quiescent on command.
struct Told : rt::Schedulable {
    Told() : Schedulable(&Told::go) {}
    static void go(rt::Schedulable& s) {
        Told& t = static_cast<Told&>(s);
        while (!t.over.load()) {
            if (t.wanted.load() == t.done.load()) {
                std::this_thread::yield();
                continue;
            }
            Link::retire_new(0);  // with nothing to free it would not try to advance the epoch
            rt::quiescent();
            t.done.fetch_add(1);
        }
        t.gone.store(true);
    }
    void be_quiescent() {
        const u32 n = wanted.fetch_add(1) + 1;
        while (done.load() != n) std::this_thread::yield();
    }
    std::atomic<u32> wanted{0}, done{0};
    std::atomic<bool> over{false}, gone{false};

    // What is freed retires another one, `more` times.
    struct Link {
        rt::Retired retired;
        u32 more;
        static std::atomic<u64> alive;
        static void retire_new(u32 more) {
            auto* l = new Link{{}, more};
            alive.fetch_add(1);
            l->retired.free = &Link::free;
            rt::retire(l->retired);
        }
        static void free(rt::Retired& r) {
            auto* l = reinterpret_cast<Link*>(&r);
            if (l->more != 0) retire_new(l->more - 1);
            alive.fetch_sub(1);
            delete l;
        }
    };
};
std::atomic<u64> Told::Link::alive{0};

// Two batches that are due at once, and what the one frees is retired in the epoch that has the place of the other.
TEST(RtEpoch, WhatIsFreedMayRetireMore) {
    Cpus cpus(2);
    Told other;
    cpus[1].post(other);
    Random random(1);
    for (u32 step = 0; step < 3000; ++step) {
        switch (random() % 3) {
            case 0: Told::Link::retire_new(3); break;
            case 1: rt::quiescent(); break;
            default: other.be_quiescent();
        }
    }
    for (u32 step = 0; step < 40; ++step) {
        rt::quiescent();
        if (step < 20) other.be_quiescent();
    }
    other.over.store(true);
    ASSERT_TRUE(cpus.run_until([&] { return other.gone.load() && Told::Link::alive.load() == 0; }, 10));
}

}  // namespace
