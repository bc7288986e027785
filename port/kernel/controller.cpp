// SPDX-License-Identifier: MIT
#include "port/kernel/controller.hpp"

#include "port/kernel/route.hpp"
#include "rt/wait.hpp"

namespace port::route {

constinit CallClass classes[kClasses];
constinit std::atomic<bool> adaptive{false};
constinit Samples samples[lib::kMaxCpus];

namespace {

constexpr Nanoseconds kPeriod{10'000'000};
constexpr u32 kLeastBatch = 4, kMostBatch = 64;
constexpr u64 kFull = 1000;       // capacities and loads are in thousandths of a CPU
constexpr u32 kStay = 10;         // periods that a module keeps a new place
constexpr u32 kSamplesHere = 8;   // of a period and CPU
constexpr u32 kSamplesThere = 1;  // it may have to wake a CPU
constexpr u32 kSampleEvery = 4;   // periods

constinit u32 capacity[lib::kMaxCpus] = {};  // 0: full
constinit std::atomic<bool> running{false};

u64 capacity_of(u32 cpu) { return capacity[cpu] ? capacity[cpu] : kFull; }

// What the shards said at the last look.
struct Seen {
    u64 batches = 0, queue_sum = 0, busy_ns = 0;
    u32 stay = 0;
};
constinit Seen seen[kPlaced];

struct Period {
    u64 load[kPlaced];                 // of each module, thousandths of a CPU
    u64 cpu_load[lib::kMaxCpus] = {};  // of all modules of a CPU
};

void set_batch(rt::Module& m, Seen& before, u64 batches, u64 queued) {
    u64 d_batches = batches - before.batches;
    if (d_batches == 0) return;
    u64 mean = (queued - before.queue_sum) / d_batches;
    u32 batch = m.batch.load(std::memory_order_relaxed);
    if (mean > batch && batch < kMostBatch) m.batch.store(batch * 2, std::memory_order_relaxed);
    if (mean * 4 < batch && batch > kLeastBatch) m.batch.store(batch / 2, std::memory_order_relaxed);
}

// Only among CPUs that serve modules already: a program's CPU is not taken from it.
void set_place(rt::Module& m, u32 index, Period& now) {
    u32 set = m.place.load(std::memory_order_relaxed);
    if (set == 0 || (set & (set - 1)) != 0) return;  // inline, or spread by hand
    u32 from = u32(__builtin_ctz(set));
    if (seen[index].stay != 0) {
        --seen[index].stay;
        return;
    }
    u64 here = now.cpu_load[from] * kFull / capacity_of(from);
    if (here < kFull * 8 / 10) return;
    u32 best = from;
    u64 least = here;
    for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu) {
        if (cpu == from || !rt::Executor::of(CpuId{cpu}).serves()) continue;
        u64 there = (now.cpu_load[cpu] + now.load[index]) * kFull / capacity_of(cpu);
        if (there < least) {
            least = there;
            best = cpu;
        }
    }
    if (best == from || least > here * 6 / 10) return;
    m.move_to(CpuSet{1u << best});
    places_changed();
    now.cpu_load[from] -= now.load[index];
    now.cpu_load[best] += now.load[index];
    seen[index].stay = kStay;
}

bool control_modules(u64 elapsed) {
    bool any = false;
    Period now;
    u64 batches[kPlaced], queued[kPlaced];
    for (u32 i = 0; i < kPlaced; ++i) {
        u64 busy = 0;
        batches[i] = queued[i] = 0;
        for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu) {
            const rt::Shard& s = modules[i].shards[cpu];
            busy += s.busy_ns.get();
            batches[i] += s.batches.get();
            queued[i] += s.queue_sum.get();
        }
        now.load[i] = (busy - seen[i].busy_ns) * kFull / elapsed;
        seen[i].busy_ns = busy;
        u32 set = modules[i].place.load(std::memory_order_relaxed);
        if (set != 0) now.cpu_load[__builtin_ctz(set)] += now.load[i];
    }
    for (u32 i = 0; i < kPlaced; ++i) {
        rt::Module& m = modules[i];
        if (m.policy.load(std::memory_order_relaxed) == rt::Policy::kController) {
            any = true;
            set_batch(m, seen[i], batches[i], queued[i]);
            set_place(m, i, now);
        }
        seen[i].batches = batches[i];
        seen[i].queue_sum = queued[i];
    }
    return any;
}

// Remote wins when it holds callers up for less than 5/6 of the time, and loses again when it does not win at all.
void choose_roads() {
    for (CallClass& c : classes) {
        u32 here = c.inline_ns.load(std::memory_order_relaxed), there = c.remote_ns.load(std::memory_order_relaxed);
        if (here == 0 || there == 0) continue;
        bool was = c.remote.load(std::memory_order_relaxed);
        bool is = was ? there < here : u64{there} * 6 < u64{here} * 5;
        if (is != was) c.remote.store(is, std::memory_order_relaxed);
    }
    if (any_remote()) return;  // modules were placed by hand: that counts
    for (Samples& s : samples) {
        s.here.store(kSamplesHere, std::memory_order_relaxed);
        s.there.store(kSamplesThere, std::memory_order_relaxed);
    }
    use_entry(Entry::kSampling);
}

Task<void> control() {
    Nanoseconds last = hal::Machine::now();
    for (u32 tick = 0;; ++tick) {
        rt::Wait wait{"the next look at the modules"};
        wait.until(hal::Machine::now() + kPeriod).uninterruptible();
        (void)co_await wait;
        Nanoseconds now = hal::Machine::now();
        bool wanted = control_modules((now - last).value);
        last = now;
        if (adaptive.load(std::memory_order_relaxed)) {
            if (tick % kSampleEvery == 0) choose_roads();
            wanted = true;
        }
        if (!wanted) break;
    }
    running.store(false, std::memory_order_seq_cst);
    control_if_needed();  // somebody may have wanted it since it was looked at, and found it running
}

}  // namespace

Entry settled_entry() {
    if (any_remote()) return Entry::kRouted;
    for (const CallClass& c : classes)
        if (c.remote.load(std::memory_order_relaxed)) return Entry::kAdaptive;
    return Entry::kInline;
}

void record(CallClass& c, bool remote, u64 ns) {
    auto& mean = remote ? c.remote_ns : c.inline_ns;
    u32 old = mean.load(std::memory_order_relaxed);
    u64 value = ns == 0 ? 1 : ns > 1'000'000'000 ? 1'000'000'000 : ns;
    mean.store(old == 0 ? u32(value) : u32((u64{old} * 7 + value) / 8), std::memory_order_relaxed);
}

rt::Executor* idle_cpu(rt::Executor& home) {
    for (u32 i = rt::executor_count(); i-- > 0;) {
        rt::Executor& ex = rt::Executor::of(CpuId{i});
        if (&ex != &home && ex.serves() && ex.idles()) return &ex;
    }
    return nullptr;
}

Result<void> set_capacities(std::string_view text) {
    u32 wanted[lib::kMaxCpus] = {};
    while (!text.empty()) {
        size_t comma = text.find(',');
        std::string_view item = text.substr(0, comma);
        text = comma == text.npos ? std::string_view{} : text.substr(comma + 1);
        size_t colon = item.find(':');
        u64 cpu;
        if (colon == item.npos || !lib::parse_u64(item.substr(0, colon), cpu) || cpu >= rt::executor_count())
            return Errno::kInval;
        std::string_view part = item.substr(colon + 1);
        u32 value = 0;
        if (part == "1") {
            value = kFull;
        } else {
            if (!part.starts_with("0.") || part.size() < 3 || part.size() > 5) return Errno::kInval;
            u32 unit = kFull / 10;
            for (char c : part.substr(2)) {
                if (c < '0' || c > '9') return Errno::kInval;
                value += u32(c - '0') * unit;
                unit /= 10;
            }
        }
        if (value == 0) return Errno::kInval;
        wanted[cpu] = value;
    }
    for (u32 i = 0; i < lib::kMaxCpus; ++i) capacity[i] = wanted[i];
    return lib::kOk;
}

void control_if_needed() {
    bool wanted = adaptive.load(std::memory_order_relaxed);
    for (const rt::Module& m : modules) wanted |= m.policy.load(std::memory_order_relaxed) == rt::Policy::kController;
    if (!wanted || running.exchange(true, std::memory_order_seq_cst)) return;
    if (!rt::spawn("module control", control(), rt::Executor::of(CpuId{0})))
        running.store(false, std::memory_order_release);
}

}  // namespace port::route
