// SPDX-License-Identifier: MIT
// rt/reclaim: what is handed over is taken apart once, in pieces, where its module is; the backlog is bounded; a module
// that moves, an observer and an allocation that fails take what waits with them.
#include "rt/reclaim.hpp"

#include <vector>

#include "rt/mem/retire.hpp"
#include "rt/remote/module.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;
using hosted_test::TestJob;
using rt::Executor;
using rt::Reclaimable;
using rt::Reclaimer;

// Pretends to hold frames.
struct Object {
    Object(u64 frames) : left(frames) { node.step = &Object::step; }
    Reclaimable node;
    u64 left;
    static std::atomic<u64> freed, pieces, too_large;
    static std::atomic<u32> cpus;  // where steps ran
    static void start() { freed = pieces = too_large = 0, cpus = 0; }
    static Reclaimable* step(Reclaimable& r, u64 most) {
        Object* o = reinterpret_cast<Object*>(&r);
        u64 n = o->left < most ? o->left : most;
        o->left -= n;
        pieces.fetch_add(1);
        if (most > Reclaimer::kPiece) too_large.fetch_add(1);
        cpus.fetch_or(1u << hal::Machine::this_cpu().value);
        rt::reclaim_settled(n);
        if (o->left != 0) return &r;
        freed.fetch_add(1);
        delete o;
        return nullptr;
    }
};
std::atomic<u64> Object::freed, Object::pieces, Object::too_large;
std::atomic<u32> Object::cpus;

// A reclaimer and its module, for one test. They are not destroyed: other threads may still look at the module.
struct Mine {
    rt::Module& module = *new rt::Module;
    Reclaimer& reclaimer = *new Reclaimer;
    explicit Mine(u32 place) {
        static auto& kept = *new std::vector<std::pair<rt::Module*, Reclaimer*>>;  // so that they are no leaks
        kept.emplace_back(&module, &reclaimer);
        Object::start();
        module.init("test", nullptr);
        module.move_to(CpuSet{place});
        reclaimer.belong_to(&module);
    }
    ~Mine() {
        EXPECT_EQ(rt::reclaim_pending(), 0u);
        reclaimer.forget();
    }
    void give(u64 frames) { reclaimer.free((new Object(frames))->node, frames); }
};

TEST(RtReclaim, WithoutAPlaceOnlyWhatIsLargeWaitsAndOnlyWhereExecutorsRun) {
    Cpus cpus(1);
    Mine m(0);
    EXPECT_FALSE(m.reclaimer.defers(1'000'000));
    Reclaimer::later = true;
    EXPECT_TRUE(m.reclaimer.defers(Reclaimer::kAtOnce + 1));
    EXPECT_FALSE(m.reclaimer.defers(Reclaimer::kAtOnce));
    // Several that are freed together count as one.
    bool waits = false;
    for (int tries = 0; tries < 1000 && !waits; ++tries) waits = m.reclaimer.defers(Reclaimer::kAtOnce);
    EXPECT_TRUE(waits);
    Reclaimer::later = false;
    m.module.move_to(CpuSet{1});
    EXPECT_TRUE(m.reclaimer.defers(Reclaimer::kWorthIt));
    EXPECT_FALSE(m.reclaimer.defers(Reclaimer::kWorthIt - 1));
    m.module.move_to({});
}

TEST(RtReclaim, TheModulesCpuDoesItInPieces) {
    Cpus cpus(2);
    Mine m(2);
    Random random(1);
    u64 frames = 0;
    for (u32 i = 0; i < 50; ++i) {
        u64 n = 16 + random() % 20;
        frames += n;
        m.give(n);
    }
    ASSERT_TRUE(cpus.run_until([] { return Object::freed.load() == 50; }));
    EXPECT_EQ(Object::cpus.load(), 2u);
    EXPECT_EQ(Object::too_large.load(), 0u);
    EXPECT_EQ(m.reclaimer.items.load(), 50u);
    EXPECT_EQ(m.reclaimer.frames.load(), frames);
    EXPECT_EQ(m.reclaimer.refused.load(), 0u);
    m.give(1000);
    ASSERT_TRUE(cpus.run_until([] { return Object::freed.load() == 51; }));
    EXPECT_EQ(Object::pieces.load(), 50 + (1000 + Reclaimer::kPiece - 1) / Reclaimer::kPiece);
}

std::vector<char> order;
TEST(RtReclaim, WhatIsReadyOnTheCpuRunsBeforeTheNextPiece) {
    Cpus cpus(1);
    Mine m(1);
    order.clear();
    struct Other : rt::Schedulable {
        Other() : Schedulable([](rt::Schedulable&) { order.push_back('u'); }, rt::Priority::kUser) {}
    } other;
    m.give(4 * Reclaimer::kPiece);
    for (u32 i = 0; i < 3; ++i) {
        cpus[0].enqueue(other);
        ASSERT_TRUE(cpus[0].run_one());
        EXPECT_EQ(order.size(), i + 1);
        EXPECT_EQ(Object::pieces.load(), i);
        ASSERT_TRUE(cpus[0].run_one());
        EXPECT_EQ(Object::pieces.load(), i + 1);
    }
    cpus[0].run_until_idle();
    EXPECT_EQ(Object::freed.load(), 1u);
}

void let_time_pass() {
    const Nanoseconds until = hal::Machine::now() + Reclaimer::kTogether;
    while (hal::Machine::now() < until) {
    }
}

// Nobody runs the module's CPU: the backlog grows to its bound and no further.
TEST(RtReclaim, BeyondTheBoundTheCallerDoesItItself) {
    Cpus cpus(1);
    Mine m(1);
    const u64 bound = rt::frame_total() / 8;
    for (u32 i = 0; i < 10'000; ++i) {
        let_time_pass();
        m.give(100);
        ASSERT_LE(rt::reclaim_pending(), bound);
    }
    EXPECT_EQ(m.reclaimer.items.load(), bound / 100);
    EXPECT_EQ(m.reclaimer.items.load() + m.reclaimer.refused.load(), 10'000u);
    EXPECT_EQ(Object::freed.load(), m.reclaimer.refused.load());
    // Of a large one the beginning: no thread is delayed for long.
    u64 before = rt::reclaim_pending();
    let_time_pass();
    m.give(5 * Reclaimer::kAtOnce);
    EXPECT_EQ(rt::reclaim_pending(), before + 4 * Reclaimer::kAtOnce);
    EXPECT_TRUE(rt::reclaim_all());
    EXPECT_EQ(Object::freed.load(), 10'001u);
    EXPECT_EQ(rt::reclaim_pending(), 0u);
    EXPECT_FALSE(rt::reclaim_all());
    cpus[0].run_until_idle();
    m.give(100);  // the worker is there for the next one
    cpus[0].run_until_idle();
    EXPECT_EQ(Object::freed.load(), 10'002u);
}

std::atomic<bool> passed{false};
Task<void> pass() {
    passed = true;
    co_return;
}

TEST(RtReclaim, AModuleThatMovesTakesItsBacklogWithIt) {
    Cpus cpus(2);
    Mine m(1);
    m.give(20 * Reclaimer::kPiece);
    ASSERT_TRUE(cpus[0].run_one());
    EXPECT_EQ(Object::cpus.exchange(0), 1u);
    m.module.move_to(CpuSet{2});
    ASSERT_TRUE(cpus.run_until([] { return Object::freed.load() == 1; }));
    EXPECT_EQ(Object::cpus.exchange(0), 2u);
    // The worker there has ended its turn, too.
    passed = false;
    ASSERT_TRUE(rt::spawn("after the worker", pass(), Executor::of(CpuId{1})));
    ASSERT_TRUE(cpus.run_until([] { return passed.load(); }));
    // Inline: where it is, it is finished.
    m.module.move_to(CpuSet{1});
    m.give(20 * Reclaimer::kPiece);
    ASSERT_TRUE(cpus[0].run_one());
    m.module.move_to({});
    ASSERT_TRUE(cpus.run_until([] { return Object::freed.load() == 2; }));
    EXPECT_EQ(Object::cpus.load(), 1u);
}

struct Stress {
    Mine& m;
    std::atomic<u32> running{0};
    std::atomic<u64> given{0};
};
Task<void> giver(Stress* s, u64 seed, u32 rounds) {
    Random random(seed);
    for (u32 i = 0; i < rounds; ++i) {
        for (u64 n = random() % 4; n > 0; --n) {
            s->given.fetch_add(1);
            s->m.give(1 + random() % (random() % 16 == 0 ? 3000 : 150));
        }
        switch (random() % 16) {
            case 0: s->m.module.move_to(CpuSet{u32(random() % 16)}); break;
            case 1: rt::reclaim_all(); break;
            case 2: co_await rt::MoveTo{Executor::of(CpuId{u32(random() % 4)})}; break;
            default: co_await rt::Yield{};
        }
    }
    s->running.fetch_sub(1);
}
TEST(RtReclaim, NothingIsLostOrDoneTwiceOnManyCpusWhileTheModuleMoves) {
    for (u64 seed = 1; seed <= 6; ++seed) {
        Cpus cpus(4);
        Mine m(u32(seed) % 16);
        Stress s{m};
        constexpr u32 kGivers = 6;
        s.running = kGivers;
        TestJob jobs[kGivers];
        for (u32 i = 0; i < kGivers; ++i)
            ASSERT_TRUE(jobs[i].start(giver(&s, seed * 100 + i, 400), cpus[i % cpus.count()]));
        ASSERT_TRUE(cpus.run_until([&] {
            for (auto& j : jobs)
                if (!j.ended.load(std::memory_order_acquire)) return false;
            return Object::freed.load() == s.given.load() && rt::reclaim_pending() == 0;
        })) << "seed "
            << seed << ": " << Object::freed.load() << " of " << s.given.load();
        EXPECT_EQ(Object::too_large.load(), 0u);
        // Its work may still be in transit between CPUs: collect it before the CPUs stop.
        m.module.move_to({});
        ASSERT_TRUE(cpus.run_until([&] { return !rt::reclaim_all(); }));
    }
}

// Frames that are retired by the module's CPU return to threads that wait for memory, even if that CPU sleeps.
struct Frames {
    Reclaimable node;
    std::vector<PhysAddr> frames;
    static Reclaimable* step(Reclaimable& r, u64 most) {
        auto* f = reinterpret_cast<Frames*>(&r);
        for (; most > 0 && !f->frames.empty(); --most) {
            PhysAddr at = f->frames.back();
            f->frames.pop_back();
            auto* item = new (rt::frame_info(at).owner) rt::Retired;
            item->free = [](rt::Retired& gone) {
                rt::free_frame(rt::FrameInfo::of_owner(&gone).address());
                rt::reclaim_settled(1);
            };
            rt::retire(*item);
        }
        if (!f->frames.empty()) return &r;
        delete f;
        return nullptr;
    }
};
Task<void> waiter() { co_await rt::wait_for_memory(); }
// Two pieces; the first one's CPU takes its time until a drain of another CPU is over, or for some milliseconds.
struct Slow {
    static constinit std::atomic<bool> begun, drained;
    Reclaimable node;
    std::atomic<u32> pieces{0};
    static Reclaimable* step(Reclaimable& r, u64) {
        Slow* o = reinterpret_cast<Slow*>(&r);
        if (++o->pieces == 2) return nullptr;
        begun = true;
        Nanoseconds until = hal::Machine::now() + lib::milliseconds(3);
        while (!drained && hal::Machine::now() < until) hal::Machine::relax();
        return &r;
    }
};
constinit std::atomic<bool> Slow::begun{false}, Slow::drained{false};

// Work that another CPU has taken is in no queue: a drain that did not wait would leave the rest of it. A host that
// holds the other CPU up for long spoils a try, not all of them.
TEST(RtReclaim, ADrainWaitsForThePieceThatAnotherCpuHasInHand) {
    bool whole = false;
    for (u32 tries = 0; tries < 10 && !whole; ++tries) {
        Cpus cpus(2);
        Mine m(2);
        Slow::begun = Slow::drained = false;
        Slow slow;
        slow.node.step = &Slow::step;
        m.reclaimer.free(slow.node, 0);
        ASSERT_TRUE(cpus.run_until([] { return Slow::begun.load(); }));
        m.reclaimer.drain();
        whole = slow.pieces == 2;
        Slow::drained = true;
        ASSERT_TRUE(cpus.run_until([&] { return slow.pieces == 2; }));  // what was left to the other CPU
    }
    EXPECT_TRUE(whole);
}

TEST(RtReclaim, WhoWaitsForMemoryGetsAllThatWasLeftBehind) {
    Cpus cpus(3);
    for (u32 place : {0u, 1u, 2u, 4u}) {
        Mine m(place);
        u64 before = rt::free_frame_count();
        auto* f = new Frames;
        f->node.step = &Frames::step;
        for (u32 i = 0; i < 1500; ++i) f->frames.push_back(rt::alloc_frame().value());
        m.reclaimer.free(f->node, 1500);
        // A wait has an end: a host that holds another CPU up for longer spoils it.
        for (u32 tries = 0; tries < 10 && (tries == 0 || rt::reclaim_pending() != 0); ++tries) {
            TestJob job;
            ASSERT_TRUE(job.start(waiter(), cpus[0]));
            ASSERT_TRUE(cpus.run_until([&] { return job.ended.load(std::memory_order_acquire); }));
        }
        EXPECT_EQ(rt::reclaim_pending(), 0u) << "place " << place;
        EXPECT_GE(rt::free_frame_count() + 16, before) << "place " << place;  // slabs of coroutines and jobs
        m.module.move_to({});
        ASSERT_TRUE(cpus.run_until([&] { return !rt::reclaim_all(); }));
    }
}

}  // namespace
