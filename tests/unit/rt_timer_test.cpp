// SPDX-License-Identifier: MIT
// rt/timer against a model, and cancellation from other CPUs: a timer fires once or was cancelled, never both.
#include "rt/timer.hpp"

#include <map>

#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;

struct Counting : rt::Timer {
    Counting() : Timer(&Counting::fired) {}
    static void fired(rt::Timer& t) { static_cast<Counting&>(t).count.fetch_add(1); }
    std::atomic<u32> count{0};
};

TEST(RtTimer, AgreesWithAMultimap) {
    Cpus cpus(1);
    for (u64 seed = 0; seed < 200; ++seed) {
        Random random(seed);
        rt::TimerQueue queue;
        std::vector<Counting> timers(40);
        std::multimap<u64, u32> model;
        std::vector<std::multimap<u64, u32>::iterator> place(timers.size(), model.end());
        std::vector<u32> expected(timers.size(), 0);
        u64 now = 1000;
        for (u32 step = 0; step < 400; ++step) {
            u32 i = u32(random() % timers.size());
            switch (random() % 3) {
                case 0:
                    if (place[i] == model.end()) {
                        u64 at = now + random() % 200;
                        queue.arm(timers[i], Nanoseconds{at});
                        place[i] = model.emplace(at, i);
                    }
                    break;
                case 1:
                    EXPECT_EQ(rt::cancel_timer(timers[i]), place[i] != model.end());
                    if (place[i] != model.end()) model.erase(place[i]);
                    place[i] = model.end();
                    break;
                default:
                    now += random() % 30;
                    while (!model.empty() && model.begin()->first <= now) {
                        ++expected[model.begin()->second];
                        place[model.begin()->second] = model.end();
                        model.erase(model.begin());
                    }
                    Nanoseconds next = queue.run_due(Nanoseconds{now});
                    EXPECT_EQ(next, model.empty() ? Nanoseconds::never() : Nanoseconds{model.begin()->first});
            }
            ASSERT_EQ(queue.next_deadline(), model.empty() ? Nanoseconds::never() : Nanoseconds{model.begin()->first});
        }
        for (u32 i = 0; i < timers.size(); ++i) {
            ASSERT_EQ(timers[i].count.load(), expected[i]) << "seed " << seed << " timer " << i;
            rt::cancel_timer(timers[i]);
        }
    }
    hal::Machine::disarm_timer();
}

struct ArmMany : rt::Schedulable {
    ArmMany() : Schedulable(&ArmMany::go) {}
    static void go(rt::Schedulable& s) {
        ArmMany& a = static_cast<ArmMany&>(s);
        Random random(a.seed);
        for (Counting& t : *a.timers)
            rt::Executor::current().timers().arm(t, hal::Machine::now() + Nanoseconds{random() % 300'000});
        a.armed.store(true, std::memory_order_release);
    }
    std::vector<Counting>* timers = nullptr;
    u64 seed = 0;
    std::atomic<bool> armed{false};
};

TEST(RtTimer, FiresOnceOrIsCancelledNeverBoth) {
    Cpus cpus(3);
    for (u64 seed = 0; seed < 300; ++seed) {
        std::vector<Counting> timers(10);
        ArmMany arm;
        arm.timers = &timers;
        arm.seed = seed;
        cpus[1].post(arm);
        ASSERT_TRUE(cpus.run_until([&] { return arm.armed.load(std::memory_order_acquire); }));
        std::vector<bool> cancelled(timers.size());
        for (u32 i = 0; i < timers.size(); i += 1 + seed % 2) {
            cancelled[i] = rt::cancel_timer(timers[i]);
            if (cancelled[i]) EXPECT_EQ(timers[i].count.load(), 0u);
        }
        ASSERT_TRUE(cpus.run_until(
            [&] {
                for (u32 i = 0; i < timers.size(); ++i)
                    if (!cancelled[i] && timers[i].count.load() == 0) return false;
                return true;
            },
            10))
            << "a timer was lost, seed " << seed;
        for (u32 i = 0; i < timers.size(); ++i) ASSERT_EQ(timers[i].count.load(), cancelled[i] ? 0u : 1u);
        for (Counting& t : timers) rt::cancel_timer(t);  // its callback has returned
    }
}

}  // namespace
