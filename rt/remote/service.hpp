// SPDX-License-Identifier: MIT
// A CPU's side of calls that it makes or executes for others: which of its lanes to look at, and the counts.
//
// Owner: its CPU. Read by others: serves(), looks(), the counters that are atomic.
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

    // Requests from the lanes of this CPU. From any CPU; for good.
    void begin() { serves_.store(true, std::memory_order_seq_cst); }
    bool serves() const { return serves_.load(std::memory_order_relaxed); }
    bool pending() const { return serves() && lane_pending(cpu_, executor_count()); }
    // The first call that is pending, those of other callers than the last before; null: none.
    CallWord* first() { return lane_first(cpu_, executor_count(), place_); }
    // Whoever made the last call probably makes the next.
    CallWord& likely() const { return *lane_at(cpu_, place_); }
    CpuId cpu() const { return cpu_; }

    // Looking for work: a call needs no interrupt.
    bool looks() const { return looks_.load(std::memory_order_relaxed); }
    void set_looks(bool on) { looks_.store(on, std::memory_order_relaxed); }

    // Serving: whose home may copy a part (rt/remote/share.hpp), if it is one of `cpus`, those that have the caller's space
    // loaded: of the call that was found last, which waits at its home. Null: nobody. Valid until this CPU is quiescent.
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
    u64 served_ns = 0;  // in calls of other CPUs, about
    // This CPU's shards of the modules, by the number in a call word (rt/remote/module.hpp).
    static constexpr u32 kShards = 8;
    Shard* shards[kShards] = {};

    // Says how the call of a word that is pending in a CPU's lanes is executed, and what such a CPU does when for the length
    // of the spin budget nothing came. Whoever makes requests, before any CPU finds a word. Returns what held before.
    struct Served {
        bool other, any;  // there is something else to do; something was served
    };
    struct How {
        void (*word)(Executor&, CallWord&);
        Served (*words)(Executor&);  // serves words as they come
        void (*rest)(Executor&);
    };
    static const How& how() { return how_; }  // nobody yet: no `word`
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

// Counts the system calls and faults that threads of this CPU made while a route was set; one in so many has its times
// taken, the next one after that sooner, by chance, for programs make the same few calls in turn. So a sample stands for
// kWeight calls. Counted down, for that is one instruction. Written by the owner, read anywhere.
class CallSampler {
public:
    static constexpr u32 kEvery = 64, kSooner = 32, kWeight = kEvery - kSooner / 2;
    bool count() {  // true: this one is timed
        u32 left = in_.load(std::memory_order_relaxed) - 1;
        in_.store(left, std::memory_order_relaxed);
        return left == 0;
    }
    void next() {  // behind a count() that said true
        u32 in = kEvery - u32(hal::Machine::now().value >> 3) % kSooner;
        until_.store(until_.load(std::memory_order_relaxed) + in, std::memory_order_relaxed);
        in_.store(in, std::memory_order_relaxed);
    }
    u64 made() const { return until_.load(std::memory_order_relaxed) - in_.load(std::memory_order_relaxed); }
    // Those of them that were executed here, because their module is here or nowhere.
    u64 kept() const { return kept_.load(std::memory_order_relaxed); }
    void keep() { kept_.store(kept() + 1, std::memory_order_relaxed); }

private:
    Atomic<u32> in_{kEvery};
    Atomic<u64> until_{kEvery}, kept_{0};
};

}  // namespace rt
