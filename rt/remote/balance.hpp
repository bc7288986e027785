// SPDX-License-Identifier: MIT
// What is decided from measurements, as plain functions and one plain object: batch sizes and places of modules (policy
// `controller`), and whether a class of calls is better executed elsewhere (`route=adaptive`). Nothing here measures, waits or
// changes anything; port/kernel/controller.cpp does.
#pragma once
#include <span>

#include "lib/types.hpp"

namespace rt::balance {

inline constexpr u32 kFull = 1000;  // loads and capacities are in thousandths of a CPU

// --- Batches

inline constexpr u32 kLeastBatch = 4, kMostBatch = 64;
// From the number of batches of a period and the requests that were queued when they began, added up. A batch is to take
// about what has queued up meanwhile: less makes others wait for nothing, more makes this CPU's other work wait.
u32 next_batch(u32 batch, u64 batches, u64 queued);

// --- Places

struct CpuNow {
    bool serves = false;   // executes calls of other CPUs
    u32 capacity = kFull;  // how fast it is beside the fastest
};
// Totals since boot, and what holds now.
struct ModuleNow {
    u64 busy_ns = 0, batches = 0, queue_sum = 0;
    u32 place = 0;  // a set of CPUs; none: inline
    u32 batch = kLeastBatch;
    bool controlled = false;  // its policy is `controller`
};
struct Decision {
    u32 batch, place;  // as before, where nothing changes
};

// Not concurrent.
class Places {
public:
    static constexpr u32 kMost = 8;    // modules
    static constexpr u32 kStay = 10;   // periods that a module keeps a new place
    static constexpr u32 kMean = 16;   // periods that loads are means of: one call in 64 is timed, some calls are long
    static constexpr u32 kHigh = 800;  // a CPU with more load is overloaded
    static constexpr u32 kGain = 600;  // another's load must be below this share of its load

    // What was measured before counts for nothing.
    void start(std::span<const ModuleNow> modules);
    // At the end of a period: decides for each module. No more modules than start() was given.
    void step(u64 elapsed_ns, std::span<const ModuleNow> modules, std::span<const CpuNow> cpus,
              std::span<Decision> out);
    // Thousandths of the CPU where it is.
    u64 load_of(u32 module) const { return one_[module].load / kMean; }

private:
    u32 better_place(u32 index, u32 from, std::span<const CpuNow> cpus);
    struct One {
        u64 busy_ns = 0, batches = 0, queue_sum = 0;  // at the last look
        u64 load = 0;                                 // mean, times kMean
        u32 stay = 0;
    };
    One one_[kMost] = {};
    u64 cpu_load_[lib::kMaxCpus] = {};  // in a step
};

// --- Adaptive

// Means of the time that a call of the class holds its caller up, on either road; 0: not known, and nothing changes. Remote
// wins when it takes less than 5/6 of the time, and loses again when it does not win at all.
constexpr bool better_remote(bool is_remote, u32 inline_ns, u32 remote_ns) {
    if (inline_ns == 0 || remote_ns == 0) return is_remote;
    return is_remote ? remote_ns < inline_ns : u64{remote_ns} * 6 < u64{inline_ns} * 5;
}
// The mean after one more sample; never 0. A first sample counts as a second at most, a later one as four times the mean and
// a microsecond: one that was disturbed (a host took the CPU away for milliseconds) is no more than a slow one, else a few of
// them on one road hide for minutes that it is the better one.
constexpr u32 moving_mean(u32 mean, u64 sample_ns) {
    u64 most = mean == 0 ? 1'000'000'000 : 4 * u64{mean} + 1000;
    most = most < 1'000'000'000 ? most : 1'000'000'000;
    u64 value = sample_ns == 0 ? 1 : sample_ns < most ? sample_ns : most;
    return mean == 0 ? u32(value) : u32((u64{mean} * 7 + value + 7) / 8);
}

}  // namespace rt::balance
