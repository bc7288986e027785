// SPDX-License-Identifier: MIT
// rt/remote/balance: batch sizes, places and routes that follow from measured numbers. Tables for single decisions;
// seeded random machines for what must hold of all of them together.
#include "rt/remote/balance.hpp"

#include <bit>
#include <vector>

#include "tests/unit/hosted_cpus.hpp"

namespace {

using namespace rt::balance;
using hosted_test::Random;

TEST(RtBalance, ABatchFollowsTheMeanQueueWithinItsLimits) {
    struct Row {
        u32 batch;
        u64 batches, queued;
        u32 next;
    };
    constexpr Row kRows[] = {
        {16, 0, 0, 16},   {16, 10, 160, 16},     {16, 10, 170, 32},  // one more than it takes
        {16, 10, 50, 16}, {16, 10, 40, 16},      {16, 10, 39, 8},    // less than a quarter
        {16, 10, 0, 8},   {4, 10, 0, 4},         {64, 1, 1000, 64},  // the limits
        {40, 1, 100, 64}, {6, 1, 0, 4},          {1, 1, 0, 1},       // set by hand: towards the limits only
        {1, 1, 5, 2},     {1000, 1, 5000, 1000}, {1000, 1, 1, 500}, {8, 1000, 9000, 16}, {8, 1000, 8999, 8},
    };
    for (const Row& r : kRows)
        EXPECT_EQ(next_batch(r.batch, r.batches, r.queued), r.next) << r.batch << ' ' << r.batches << ' ' << r.queued;
}

TEST(RtBalance, ABatchSettlesUnderASteadyQueue) {
    for (u64 queue = 0; queue < 300; ++queue)
        for (u32 start : {1u, 4u, 16u, 64u, 999u}) {
            u32 batch = start;
            for (int i = 0; i < 20; ++i) batch = next_batch(batch, 7, 7 * queue);
            EXPECT_EQ(next_batch(batch, 7, 7 * queue), batch);
            if (start >= kLeastBatch && start <= kMostBatch) {
                EXPECT_GE(batch, kLeastBatch);
                EXPECT_LE(batch, kMostBatch);
                EXPECT_TRUE(batch >= queue || batch == kMostBatch);
            }
        }
}

// A machine of CPUs and modules with steady demands; the measured numbers follow from where the modules are.
struct Machine {
    struct Module {
        u64 demand;  // thousandths of a full CPU
        u32 place;
        bool controlled = true;
    };
    std::vector<CpuNow> cpus;
    std::vector<Module> modules;
    std::vector<ModuleNow> now;
    std::vector<u64> moved_at;  // the last move, in periods
    Places places;
    u64 period = 0, moves = 0;

    Machine(std::vector<CpuNow> c, std::vector<Module> m) : cpus(std::move(c)), modules(std::move(m)) {
        now.resize(modules.size());
        moved_at.resize(modules.size(), ~u64{0});
        for (u32 i = 0; i < modules.size(); ++i) show(i);
        places.start(now);
    }
    void show(u32 i) {
        now[i].place = modules[i].place;
        now[i].controlled = modules[i].controlled;
    }
    // Of one CPU, what its modules want: more than kFull is not served.
    u64 wanted_of(u32 cpu) const {
        u64 sum = 0;
        for (const Module& m : modules)
            if (m.place >> cpu & 1) sum += m.demand * kFull / cpus[cpu].capacity / u32(std::popcount(m.place));
        return sum;
    }
    void step(u64 noise = 1000) {
        constexpr u64 kPeriod = 10'000'000;
        for (u32 i = 0; i < modules.size(); ++i)
            for (u32 cpu = 0; cpu < cpus.size(); ++cpu) {
                if (!(modules[i].place >> cpu & 1)) continue;
                u64 mine = modules[i].demand * kFull / cpus[cpu].capacity / u32(std::popcount(modules[i].place));
                u64 all = wanted_of(cpu);
                u64 share = all > kFull ? mine * kFull / all : mine;
                now[i].busy_ns += kPeriod / kFull * share * noise / 1000;
            }
        Decision wanted[Places::kMost];
        places.step(kPeriod, now, cpus, wanted);
        ++period;
        for (u32 i = 0; i < modules.size(); ++i) {
            if (wanted[i].place == modules[i].place) continue;
            ++moves;
            EXPECT_TRUE(modules[i].controlled);
            EXPECT_TRUE(std::has_single_bit(modules[i].place) && std::has_single_bit(wanted[i].place));
            EXPECT_TRUE(cpus[u32(std::countr_zero(wanted[i].place))].serves);
            if (moved_at[i] != ~u64{0}) {
                EXPECT_GT(period - moved_at[i], Places::kStay);
            }
            moved_at[i] = period;
            modules[i].place = wanted[i].place;
            show(i);
        }
    }
    void run(u32 periods) {
        while (periods--) step();
    }
};
constexpr CpuNow kProgram{false, kFull}, kServer{true, kFull};

TEST(RtBalance, AModuleLeavesAnOverloadedCpuForOneWithClearlyLess) {
    Machine m({kProgram, kServer, kServer}, {{500, 2}, {450, 2}});
    m.run(100);
    EXPECT_EQ(m.moves, 1u);
    EXPECT_NE(m.modules[0].place, m.modules[1].place);
    EXPECT_EQ(m.modules[0].place | m.modules[1].place, 6u);
}

TEST(RtBalance, NothingMovesWhereNothingIsGained) {
    // Not overloaded; alone; no CPU that serves; the other is as full; spread or inline; not controlled.
    for (Machine m : {Machine({kProgram, kServer, kServer}, {{400, 2}, {390, 2}}),
                      Machine({kProgram, kServer, kServer}, {{1000, 2}}),
                      Machine({kProgram, kServer, kProgram}, {{500, 2}, {500, 2}}),
                      Machine({kProgram, kServer, kServer}, {{500, 2}, {450, 2}, {600, 4, false}}),
                      Machine({kProgram, kServer, kServer, kServer}, {{900, 6}, {900, 0}}),
                      Machine({kProgram, kServer, kServer}, {{500, 2, false}, {450, 2, false}})}) {
        std::vector<u32> before;
        for (auto& one : m.modules) before.push_back(one.place);
        m.run(200);
        EXPECT_EQ(m.moves, 0u);
        for (u32 i = 0; i < before.size(); ++i) EXPECT_EQ(m.modules[i].place, before[i]);
    }
}

TEST(RtBalance, CapacitiesDecide) {
    constexpr CpuNow kSlow{true, 250}, kHalf{true, 500};
    // Off a slow CPU that is full, to a fast one; without the capacity it would stay (NothingMoves: alone).
    Machine off({kProgram, kSlow, kServer}, {{240, 2}});
    off.run(100);
    EXPECT_EQ(off.modules[0].place, 4u);
    EXPECT_EQ(off.moves, 1u);
    // Little to do on a slow CPU is no overload.
    Machine little({kProgram, kSlow, kServer}, {{100, 2}});
    little.run(100);
    EXPECT_EQ(little.moves, 0u);
    // Never to a slow one that could not do it.
    Machine to({kProgram, kServer, kSlow}, {{500, 2}, {450, 2}});
    to.run(100);
    EXPECT_EQ(to.moves, 0u);
    // Of two, the one that has less to do then.
    Machine two({kServer, kHalf, kServer}, {{700, 1}, {200, 1}});
    two.run(100);
    EXPECT_EQ(two.moves, 1u);
    EXPECT_EQ(two.modules[1].place, 4u);
}

TEST(RtBalance, WhatWasBusyBeforeTheStartIsNoLoad) {
    Places places;
    std::vector<ModuleNow> now(2);
    now[0] = {.busy_ns = u64{50'000'000'000}, .place = 2, .controlled = true};
    now[1] = {.busy_ns = u64{50'000'000'000}, .place = 2, .controlled = true};
    CpuNow cpus[] = {kProgram, kServer, kServer};
    places.start(now);
    Decision out[2];
    places.step(10'000'000, now, cpus, out);
    EXPECT_EQ(places.load_of(0), 0u);
    EXPECT_EQ(out[0].place, 2u);
    EXPECT_EQ(out[1].place, 2u);
    // The same again: the job had ended and was started anew.
    now[0].busy_ns += u64{50'000'000'000};
    places.start(now);
    places.step(10'000'000, now, cpus, out);
    EXPECT_EQ(places.load_of(0), 0u);
    EXPECT_EQ(out[0].place, 2u);
}

TEST(RtBalance, OneLongCallIsNoOverload) {
    // A call of 1 ms that is timed for 64.
    Places places;
    std::vector<ModuleNow> now(2);
    for (ModuleNow& m : now) m.place = 2, m.controlled = true;
    CpuNow cpus[] = {kProgram, kServer, kServer};
    places.start(now);
    Decision out[2];
    now[0].busy_ns += 64'000'000;
    for (int i = 0; i < 50; ++i) {
        now[1].busy_ns += 3'000'000;
        places.step(10'000'000, now, cpus, out);
        EXPECT_EQ(out[0].place, 2u);
        EXPECT_EQ(out[1].place, 2u);
    }
}

// Steady demands, any machine: moves end, none comes before its time (in step()), and nothing is left to gain.
TEST(RtBalance, SteadyLoadsSettle) {
    u32 looked = 0;
    for (u64 seed = 0; seed < 3000; ++seed) {
        Random random(seed);
        std::vector<CpuNow> cpus(2 + random() % 7);
        for (CpuNow& c : cpus) c = {random() % 4 != 0, random() % 3 ? kFull : u32(100 + random() % 901)};
        std::vector<Machine::Module> modules(1 + random() % 6);
        for (auto& one : modules) {
            one.demand = random() % 700;
            one.place = random() % 5 ? 1u << (random() % cpus.size()) : u32(random()) & ((1u << cpus.size()) - 1);
            one.controlled = random() % 4 != 0;
        }
        Machine m(cpus, modules);
        m.run(800);
        u64 before = m.moves;
        EXPECT_LE(before, 4 * modules.size()) << "seed " << seed;
        m.run(200);
        EXPECT_EQ(m.moves, before) << "seed " << seed;
        for (u32 i = 0; i < modules.size(); ++i) {
            const auto& one = m.modules[i];
            if (!one.controlled || !std::has_single_bit(one.place) || one.demand < 20) continue;
            // The load of a spread one is assumed to be equal on its CPUs, which it is not where one of them is full.
            bool spread = false;
            for (const auto& other : m.modules) spread |= std::popcount(other.place) > 1;
            if (spread) continue;
            ++looked;
            u32 from = u32(std::countr_zero(one.place));
            u64 here = m.wanted_of(from);
            if (here <= kFull) continue;  // all that is asked of it is served
            for (u32 cpu = 0; cpu < cpus.size(); ++cpu)
                if (cpu != from && cpus[cpu].serves) {
                    // What it would do there is at least half of what is measured here.
                    u64 served = one.demand * kFull / cpus[from].capacity * kFull / here;
                    u64 other = m.wanted_of(cpu) > kFull ? kFull : m.wanted_of(cpu);
                    u64 there = other + served * cpus[from].capacity / cpus[cpu].capacity;
                    EXPECT_GE(there + 20, u64{kFull} * Places::kGain / kFull) << "seed " << seed;
                }
        }
    }
    EXPECT_GT(looked, 500u);
}

// Varying loads and noisy measurements: still no module moves before its time (checked in step()).
TEST(RtBalance, ChangingLoadsMoveNothingTooSoon) {
    u64 moves = 0;
    for (u64 seed = 0; seed < 200; ++seed) {
        Random random(seed);
        std::vector<CpuNow> cpus(4, kServer);
        cpus[0].serves = false;
        cpus[3].capacity = 500;
        std::vector<Machine::Module> modules(6, {0, 2});
        Machine m(cpus, modules);
        for (u32 i = 0; i < 1000; ++i) {
            if (random() % 20 == 0) m.modules[random() % 6].demand = random() % 900;
            m.step(random() % 2000);
        }
        moves += m.moves;
    }
    EXPECT_GT(moves, 200u);
}

TEST(RtBalance, RemoteIsChosenBelowFiveSixthsAndLeftAtOne) {
    EXPECT_FALSE(better_remote(false, 600, 500));
    EXPECT_TRUE(better_remote(false, 601, 500));
    EXPECT_TRUE(better_remote(false, 600, 499));
    EXPECT_TRUE(better_remote(true, 600, 599));
    EXPECT_FALSE(better_remote(true, 600, 600));
    for (bool was : {false, true}) {
        EXPECT_EQ(better_remote(was, 0, 500), was);
        EXPECT_EQ(better_remote(was, 500, 0), was);
        EXPECT_EQ(better_remote(was, 0, 0), was);
        // No overflow.
        EXPECT_EQ(better_remote(was, 1'000'000'000, 900'000'000), was);
        EXPECT_TRUE(better_remote(was, ~0u, 1));
        EXPECT_FALSE(better_remote(was, 1, ~0u));
    }
}

TEST(RtBalance, AMeanFollowsItsSamples) {
    EXPECT_EQ(moving_mean(0, 0), 1u);
    EXPECT_EQ(moving_mean(0, 700), 700u);
    EXPECT_EQ(moving_mean(800, 1600), 900u);
    EXPECT_EQ(moving_mean(0, ~u64{0}), 1'000'000'000u);
    for (u32 start : {1u, 100u, 1'000'000'000u})
        for (u64 sample : {u64{0}, u64{5}, u64{100'000}, u64{3'000'000'000}}) {
            u32 mean = start, goal = moving_mean(0, sample);
            for (int i = 0; i < 400; ++i) {
                u32 next = moving_mean(mean, sample);
                ASSERT_NE(next, 0u);
                ASSERT_TRUE(mean > goal ? next <= mean && next >= goal : next >= mean && next <= goal);
                mean = next;
            }
            EXPECT_LE(mean > goal ? mean - goal : goal - mean, 7u);
        }
}

// A host that takes CPUs away makes one sample in 16 a hundred times as long, on either route by chance: the class that
// is twice as fast elsewhere is elsewhere nearly all the time.
TEST(RtBalance, DisturbedSamplesDecideNothing) {
    u32 wrong = 0, all = 0;
    for (u64 seed = 0; seed < 200; ++seed) {
        Random random(seed);
        auto sample = [&](u64 v) { return random() % 16 == 0 ? v * 100 : v; };
        u32 here = 200'000, there = 100'000;
        bool remote = false;
        for (u32 period = 0; period < 500; ++period) {
            for (int i = 0; i < 8; ++i) here = moving_mean(here, sample(200'000));
            there = moving_mean(there, sample(100'000));
            remote = better_remote(remote, here, there);
            if (period < 16) continue;
            ++all;
            wrong += !remote;
        }
    }
    EXPECT_LT(wrong, all / 50);
}

// A class whose calls take less time elsewhere ends there, and the other way; between the two limits nothing
// oscillates.
TEST(RtBalance, EachClassEndsOnItsBetterRoad) {
    for (u64 seed = 0; seed < 500; ++seed) {
        Random random(seed);
        u32 here = 100 + u32(random() % 100'000), there = 100 + u32(random() % 100'000),
            spread = 1 + u32(random() % 20);
        u32 mean_here = 0, mean_there = 0, changes = 0, late = 0;
        bool remote = random() % 2;
        for (u32 period = 0; period < 2000; ++period) {
            // Per cent: samples are off by so much.
            auto sample = [&](u32 v) { return u64{v} * (100 - spread + random() % (2 * spread + 1)) / 100; };
            for (int i = 0; i < 7; ++i) mean_here = moving_mean(mean_here, sample(here));
            mean_there = moving_mean(mean_there, sample(there));
            bool next = better_remote(remote, mean_here, mean_there);
            changes += next != remote;
            if (period >= 1000) late += next != remote;
            remote = next;
        }
        // The means are off by less than half the spread of their samples, most of the time.
        u64 margin = 100 + spread;
        if (u64{there} * 6 * margin < u64{here} * 5 * 100) {
            EXPECT_TRUE(remote) << "seed " << seed;
            EXPECT_EQ(late, 0u) << "seed " << seed;
        }
        if (u64{there} * 100 > u64{here} * margin) {
            EXPECT_FALSE(remote) << "seed " << seed;
            EXPECT_EQ(late, 0u) << "seed " << seed;
        }
        // The gap of a sixth holds back what the noise does; without it a class near the border would change some
        // hundred times.
        if (spread <= 5) {
            EXPECT_LE(changes, 2u) << "seed " << seed;
        }
    }
}

}  // namespace
