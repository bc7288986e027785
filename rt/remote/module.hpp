// SPDX-License-Identifier: MIT
// Modules: a set of calls with a place (one or more CPUs, or inline), a scheduling policy and statistics.
//
// Each CPU has a shard of each module: the requests that wait on this CPU, used by that CPU only. A shard is
// Schedulable: the executor runs it like a thread or a job, and it serves one batch. Other CPUs read its counters,
// which are relaxed. A module can be moved at any time: requests under way are served where they were sent.
#pragma once
#include <span>
#include <string_view>

#include "rt/atomic.hpp"
#include "rt/executor.hpp"

namespace rt {

enum class Policy : u8 {
    kFifo,        // in order of arrival
    kCohort,      // requests similar to the last one first: same number and space, then same number
    kPriority,    // by nice value, lowest first
    kController,  // FIFO; batch size and place are set by measurement (module_control)
};
std::string_view name_of(Policy p);

// A histogram of times; bucket n counts those of about 2^(n/2) nanoseconds. Written by one CPU.
class Histogram {
public:
    void add(u64 ns) {
        auto& c = counts_[bucket(ns)];
        c.store(c.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
    static constexpr u32 kBuckets = 64;
    static constexpr u32 bucket(u64 ns) {
        if (ns < 2) return 0;
        u32 log = 63 - u32(__builtin_clzll(ns));
        u32 b = 2 * log + u32((ns >> (log - 1)) & 1);
        return b < kBuckets ? b : kBuckets - 1;
    }
    // The middle of a bucket, in nanoseconds.
    static constexpr u64 value(u32 bucket) {
        u64 low = u64{1} << (bucket / 2);
        return (bucket & 1) ? low * 7 / 4 : low * 5 / 4;
    }
    u32 count(u32 bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }

private:
    Atomic<u32> counts_[kBuckets] = {};
};
// Over several histograms: the value, in nanoseconds, that `permille` of the samples do not exceed; 0 if there are
// none.
u64 percentile(std::span<const Histogram* const> all, u32 permille);

// A waiting call. Embedded in the object that makes calls.
struct Request : Schedulable {
    explicit Request(RunFn arrive) : Schedulable(arrive) {}
    u32 call = 0;
    const void* space = nullptr;
    i32 nice = 0;
    u32 passed_over = 0;
};

// Requests in order of arrival, removed in the order that a policy defines. Used by one CPU.
class RequestQueue {
public:
    void push(Request& r) {
        r.passed_over = 0;
        list_.push_back(r);
        ++size_;
    }
    Request* pop(Policy policy);
    u32 size() const { return size_; }
    // A request at the front is passed over at most this often.
    static constexpr u32 kPatience = 32;
    static constexpr u32 kLook = 32;  // how many requests a policy examines

private:
    lib::List<Schedulable, &Schedulable::run_hook> list_;
    u32 size_ = 0;
    u32 last_call_ = ~0u;
    const void* last_space_ = nullptr;
};

class Module;

struct alignas(64) Shard : Schedulable {
    constexpr Shard() : Schedulable(&Shard::run_batch) {}
    Module* module = nullptr;
    RequestQueue queue;
    bool scheduled = false;
    // Requests must be queued, because the policy chooses among them or others are queued already. Written by this CPU,
    // and by Module::set_policy.
    Atomic<bool> ordered{false};
    // Counters: written by this CPU, read by any.
    struct Counter {
        Atomic<u64> value{0};
        void add(u64 n) { value.store(get() + n, std::memory_order_relaxed); }
        void set(u64 n) { value.store(n, std::memory_order_relaxed); }
        u64 get() const { return value.load(std::memory_order_relaxed); }
    };
    // calls: those that were queued or timed. direct: those served as soon as they were seen (each a batch).
    Counter calls, direct, batches, queue_sum, queue_max, busy_ns, hops;
    Histogram wait, service;

    // On this CPU: queues the request.
    void accept(Request& r);
    // On this CPU, with an empty queue: sets `ordered` as the policy requires.
    void settle();
    static void run_batch(Schedulable& s);
};

class Module {
public:
    std::string_view name;
    void (*serve)(Request&, Shard&) = nullptr;  // executes one call
    Atomic<u32> place{0};                       // a set of CPUs; empty: inline
    Atomic<Policy> policy{Policy::kFifo};
    Atomic<u32> batch{16};
    Atomic<u64> migrations{0};
    Shard shards[lib::kMaxCpus];

    // From any CPU.
    void set_policy(Policy p);
    // Does the policy choose among waiting requests?
    bool orders() const {
        Policy p = policy.load(std::memory_order_seq_cst);  // see settle()
        return p == Policy::kCohort || p == Policy::kPriority;
    }
    // Called once, before any request.
    void init(std::string_view its_name, void (*its_serve)(Request&, Shard&));
    Shard& here() { return shards[Executor::current().cpu().value]; }
    // Makes each CPU of the set serve calls, then sends new requests there. From any CPU.
    void move_to(CpuSet cpus);
    // The executor for a key (a space, an inode); null: the call is executed inline.
    Executor* executor_for(const void* key) const {
        u32 set = place.load(std::memory_order_relaxed);
        if (set == 0) return nullptr;
        if ((set & (set - 1)) == 0) [[likely]]
            return &Executor::of(CpuId{u32(__builtin_ctz(set))});
        return shard_for(set, key);
    }

private:
    static Executor* shard_for(u32 set, const void* key);
};

}  // namespace rt
