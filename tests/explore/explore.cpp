// SPDX-License-Identifier: MIT
#include "tests/explore/explore.hpp"

#include <cstdio>
#include <cstdlib>
#include <new>

namespace explore {

World* world = nullptr;

namespace {

void run_cpu() {
    u32 n = Machine::this_cpu().value;
    Executor& ex = Executor::start(CpuId{n});
    world->cpu(n);
    ex.run_forever();
}

// Runs one seed. Null, or why it failed.
const char* explore_once(u64 seed, u32 cpus, World* (*make)()) {
    for (Executor& ex : rt::executor_table) new (&ex) Executor;
    for (auto& row : rt::lanes)
        for (auto& lane : row)
            for (auto& slot : lane.slots) slot.store(nullptr);
    rt::executors_started.store(cpus);
    rt::epoch_cpu_unsettled = [](CpuId cpu) { return !Machine::flush_settled(cpu); };
    Machine::before_handler = &rt::epoch_interrupted;
    Machine::handler = nullptr;
    Machine::flush = nullptr;
    Executor::spin_budget = Nanoseconds{2'000};
    Machine::seed(seed);
    world = make();
    Machine::Outcome outcome = Machine::explore(cpus, &run_cpu);
    const char* why = outcome.why ? outcome.why : world->check();
    if (!why) delete world;  // after a failure, CPUs may still point into it
    return why;
}

u64 from_environment(const char* name, u64 usual) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : usual;
}

}  // namespace

void must_hold(u32 cpus, World* (*make)()) {
    Machine::mutant = 0;
    u64 one = from_environment("FARCALL_SEED", 0);
    u64 first = one != 0 ? one : 1, last = one != 0 ? one : from_environment("FARCALL_SEEDS", 1'500);
    for (u64 seed = first; seed <= last; ++seed) {
        const char* why = explore_once(seed, cpus, make);
        ASSERT_EQ(why, nullptr) << why << ", FARCALL_SEED=" << seed;
    }
}

void must_fail(u32 cpus, World* (*make)(), Step without) {
    Machine::mutant = u32(without);
    u64 seed = 1;
    const char* why = nullptr;
    while (seed <= 30'000 && !(why = explore_once(seed, cpus, make))) ++seed;
    Machine::mutant = 0;
    EXPECT_NE(why, nullptr) << "no seed fails without the step";
    if (why) std::printf("    without the step: %s (seed %llu)\n", why, static_cast<unsigned long long>(seed));
}

}  // namespace explore
