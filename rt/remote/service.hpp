// SPDX-License-Identifier: MIT
// A CPU's part in calls that it makes or executes for other CPUs: which of its lanes to poll, and the counters.
//
// Used by its own CPU. Other CPUs read serves(), looks() and the atomic counters.
#pragma once
#include <utility>

#include "rt/cpus.hpp"
#include "rt/remote/lane.hpp"
#include "rt/remote/share.hpp"

namespace rt {

class Executor;
struct Shard;

class CallService {
public:
    void start(CpuId cpu) { cpu_ = cpu; }

    // From now on this CPU serves requests from its lanes. From any CPU; never undone.
    void begin() { serves_.store(true, std::memory_order_seq_cst); }
    bool serves() const { return serves_.load(std::memory_order_relaxed); }
    bool pending() const { return serves() && lane_pending(cpu_, executor_count()); }
    // The next pending call, of other callers than the last one first; null if there is none.
    CallWord* first() { return lane_first(cpu_, executor_count(), place_); }
    // The word of the last caller, which probably makes the next call too.
    CallWord& likely() const { return *lane_at(cpu_, place_); }
    CpuId cpu() const { return cpu_; }

    // This CPU looks for work: a call to it needs no interrupt.
    bool looks() const { return looks_.load(std::memory_order_relaxed); }
    void set_looks(bool on) { looks_.store(on, std::memory_order_relaxed); }

    // On the server: the CopyShare of the call that was found last, if its home still waits and is one of `cpus`, the
    // CPUs that have the caller's space loaded. That home may copy a part (rt/remote/share.hpp). Null otherwise. Valid
    // until this CPU is quiescent.
    CopyShare* copy_partner(u32 cpus) const {
        if ((cpus >> place_ / kLaneSlots & 1) == 0) return nullptr;
        CallWord& word = likely();
        const u64 now = word.load(std::memory_order_relaxed);
        return (now & (kLaneMask | kCallDetached)) == lane_wanted(cpu_) ? &share_of(word) : nullptr;
    }
    ShareLead lead;
    void count_shared() { copies_shared_.store(copies_shared() + 1, std::memory_order_relaxed); }
    void count_taken_back() { copies_taken_back_.store(copies_taken_back() + 1, std::memory_order_relaxed); }
    u64 copies_shared() const { return copies_shared_.load(std::memory_order_relaxed); }
    u64 copies_taken_back() const { return copies_taken_back_.load(std::memory_order_relaxed); }
    u64 served_ns = 0;  // nanoseconds spent in calls of other CPUs, approximately
    // This CPU's shards of the modules, indexed by the module number of a call word (rt/remote/module.hpp).
    static constexpr u32 kShards = 8;
    Shard* shards[kShards] = {};

    // How the pending calls in the lanes are executed; the same for all CPUs.
    struct Served {
        bool other, any;  // other: there is something else to do; any: something was served
    };
    struct How {
        void (*word)(Executor&, CallWord&);
        Served (*words)(Executor&);  // serves calls as they arrive
        // Called when nothing has come within the spin budget; may be null.
        void (*rest)(Executor&);
    };
    static const How& how() { return how_; }  // `word` is null until it is set
    // Sets it. Called by the layer that makes requests, before any CPU finds a word. Returns the previous setting.
    static How serve_with(const How& to) { return std::exchange(how_, to); }
    template <void (*kServe)(Executor&, CallWord&), void (*kRest)(Executor&) = nullptr>
    static How serve_with();  // rt/executor.hpp

private:
    static How how_;
    Atomic<bool> serves_{false};
    Atomic<bool> looks_{false};
    u32 place_ = 0;  // of the last call that was found, see lane_first
    CpuId cpu_{};
    Atomic<u64> copies_shared_{0}, copies_taken_back_{0};
};

// Counts the system calls and faults of this CPU's threads while a route is set, and selects about one in kWeight for
// timing. The distance to the next sample varies by chance, because programs repeat short sequences of calls. A sample
// stands for kWeight calls. Counts down, which takes one instruction. Written by the owner, read by any CPU.
class CallSampler {
public:
    static constexpr u32 kEvery = 64, kSooner = 32, kWeight = kEvery - kSooner / 2;
    bool count() {  // true: this call is timed
        u32 left = in_.load(std::memory_order_relaxed) - 1;
        in_.store(left, std::memory_order_relaxed);
        return left == 0;
    }
    void next() {  // called after count() has returned true
        u32 in = kEvery - u32(hal::Machine::now().value >> 3) % kSooner;
        until_.store(until_.load(std::memory_order_relaxed) + in, std::memory_order_relaxed);
        in_.store(in, std::memory_order_relaxed);
    }
    u64 made() const { return until_.load(std::memory_order_relaxed) - in_.load(std::memory_order_relaxed); }
    // Those of them that were executed on this CPU, because their module is inline or placed here.
    u64 kept() const { return kept_.load(std::memory_order_relaxed); }
    void keep() { kept_.store(kept() + 1, std::memory_order_relaxed); }

private:
    Atomic<u32> in_{kEvery};
    Atomic<u64> until_{kEvery}, kept_{0};
};

}  // namespace rt
