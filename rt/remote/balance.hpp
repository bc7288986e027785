// SPDX-License-Identifier: MIT
// Decisions from measurements, as plain functions and one plain object: batch sizes and places of modules (policy
// `controller`), and whether a class of calls is better executed on another CPU (`route=adaptive`). Nothing here
// measures, waits or changes anything; port/kernel/controller.cpp does.
#pragma once
#include <span>

#include "lib/types.hpp"

namespace rt::balance {

inline constexpr u32 kFull = 1000;  // loads and capacities are in thousandths of a CPU

// --- Batches

inline constexpr u32 kLeastBatch = 4, kMostBatch = 64;
// The next batch size, from the number of batches in a period and the sum of the requests queued when each began. A
// batch should be about as long as the queue: a smaller one makes requests wait for no reason, a larger one delays this
// CPU's other work.
u32 next_batch(u32 batch, u64 batches, u64 queued);

// --- Places

struct CpuNow {
    bool serves = false;   // executes calls of other CPUs
    u32 capacity = kFull;  // relative to the fastest CPU
};
// Totals since boot, and the present settings.
struct ModuleNow {
    u64 busy_ns = 0, batches = 0, queue_sum = 0;
    u32 place = 0;  // a set of CPUs; empty: inline
    u32 batch = kLeastBatch;
    bool controlled = false;  // its policy is `controller`
};
struct Decision {
    u32 batch, place;  // unchanged values where nothing changes
};

// Not thread-safe.
class Places {
public:
    static constexpr u32 kMost = 8;   // modules
    static constexpr u32 kStay = 10;  // periods that a module keeps a new place
    // Periods over which loads are averaged: one call in 64 is timed, and some calls are long.
    static constexpr u32 kMean = 16;
    static constexpr u32 kHigh = 800;  // a CPU with a higher load is overloaded
    // A module moves only to a CPU whose load would be below this share of the present CPU's load.
    static constexpr u32 kGain = 600;

    // Starts anew: earlier measurements do not count.
    void start(std::span<const ModuleNow> modules);
    // Called at the end of each period: decides for each module. There are no more modules than start() was given.
    void step(u64 elapsed_ns, std::span<const ModuleNow> modules, std::span<const CpuNow> cpus,
              std::span<Decision> out);
    // The module's load in thousandths of its CPU.
    u64 load_of(u32 module) const { return one_[module].load / kMean; }

private:
    u32 better_place(u32 index, u32 from, std::span<const CpuNow> cpus);
    struct One {
        u64 busy_ns = 0, batches = 0, queue_sum = 0;  // at the end of the last period
        u64 load = 0;                                 // mean, times kMean
        u32 stay = 0;
    };
    One one_[kMost] = {};
    u64 cpu_load_[lib::kMaxCpus] = {};  // valid within step()
};

// --- Adaptive

// Arguments: the mean time for which a call of the class delays its caller, inline and remote; 0 means unknown, and
// nothing changes. The class becomes remote when remote takes less than 5/6 of the time, and inline again when remote
// is no longer faster.
constexpr bool better_remote(bool is_remote, u32 inline_ns, u32 remote_ns) {
    if (inline_ns == 0 || remote_ns == 0) return is_remote;
    return is_remote ? remote_ns < inline_ns : u64{remote_ns} * 6 < u64{inline_ns} * 5;
}
// The mean after one more sample, never 0. The first sample counts as one second at most, later ones as four times the
// mean plus a microsecond at most. So a sample that was disturbed (the host stopped the CPU for milliseconds) weighs no
// more than a slow one; otherwise a few of them would hide for minutes that their route is the faster one.
constexpr u32 moving_mean(u32 mean, u64 sample_ns) {
    u64 most = mean == 0 ? 1'000'000'000 : 4 * u64{mean} + 1000;
    most = most < 1'000'000'000 ? most : 1'000'000'000;
    u64 value = sample_ns == 0 ? 1 : sample_ns < most ? sample_ns : most;
    return mean == 0 ? u32(value) : u32((u64{mean} * 7 + value + 7) / 8);
}

}  // namespace rt::balance
