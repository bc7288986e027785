// SPDX-License-Identifier: MIT
// What the model counts, per CPU and kind of code. Written by the CPU's thread, read by any.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

namespace cache_model {

// Whose instructions: programs', the kernel's, those with which an idle CPU spins, the user-level server's.
enum Code : unsigned { kUser, kKernel, kSpin, kServer, kCodes };
inline constexpr const char* kCodeNames[kCodes] = {"user", "kernel", "spin", "server"};

// Misses of a level: accesses that found nothing there. An access that crosses a line counts once, as the worse of the two.
// Of the TLBs: itlb, dtlb did not find it in the first level, itlb_walk, dtlb_walk in no level.
enum Field : unsigned {
    kInstructions,
    kLoads,
    kStores,
    kL1i,
    kL1d,
    kL2,
    kLlc,
    kInvalidated,  // of kL1d: another CPU's write took the line away
    kItlb,
    kItlbWalk,
    kDtlb,
    kDtlbWalk,
    kSpaceFlushes,  // CR3 and CR4 writes and the like
    kPageFlushes,   // INVLPG
    kFields
};
inline constexpr const char* kFieldNames[kFields] = {
    "instructions", "loads",     "stores", "l1i",       "l1d",           "l2",          "llc", "invalidated",
    "itlb",         "itlb_walk", "dtlb",   "dtlb_walk", "space_flushes", "page_flushes"};

class Counter {
public:
    // By the owner alone, so that no locked instruction is needed.
    void add(uint64_t n) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
    uint64_t get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<uint64_t> value_ = 0;
};
using Counters = std::array<std::array<Counter, kFields>, kCodes>;

}  // namespace cache_model
