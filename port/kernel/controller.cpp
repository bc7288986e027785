// SPDX-License-Identifier: MIT
#include "port/kernel/controller.hpp"

#include "port/kernel/route.hpp"
#include "rt/remote/balance.hpp"
#include "rt/wait.hpp"

namespace port::route {

constinit CallClass classes[kClasses];
constinit std::atomic<bool> adaptive{false};
constinit Samples samples[lib::kMaxCpus];

namespace {

constexpr Nanoseconds kPeriod{10'000'000};
constexpr u32 kFull = rt::balance::kFull;
constexpr u32 kSamplesHere = 8;   // of a period and CPU
constexpr u32 kSamplesThere = 1;  // it may have to wake a CPU
constexpr u32 kSampleEvery = 4;   // periods; as long as samples change nothing, twice as many each time, until
constexpr u32 kSampleRarely = 64;

constinit u32 capacity[lib::kMaxCpus] = {};  // 0: full
constinit std::atomic<bool> running{false};
constinit std::atomic<u32> round_now{0};
constinit rt::balance::Places places;  // of the job

struct Now {
    rt::balance::ModuleNow modules[kPlaced];
    rt::balance::CpuNow cpus[lib::kMaxCpus];
    u32 cpu_count = rt::executor_count();
    bool any = false;  // controlled

    Now() {
        for (u32 i = 0; i < kPlaced; ++i) {
            const rt::Module& m = route::modules[i];
            rt::balance::ModuleNow& now = modules[i];
            for (u32 cpu = 0; cpu < cpu_count; ++cpu) {
                const rt::Shard& s = m.shards[cpu];
                now.busy_ns += s.busy_ns.get();
                now.batches += s.batches.get();
                now.queue_sum += s.queue_sum.get();
            }
            now.place = m.place.load(std::memory_order_relaxed);
            now.batch = m.batch.load(std::memory_order_relaxed);
            now.controlled = m.policy.load(std::memory_order_relaxed) == rt::Policy::kController;
            any |= now.controlled;
        }
        for (u32 i = 0; i < cpu_count; ++i)
            cpus[i] = {rt::Executor::of(CpuId{i}).service.serves(), capacity[i] ? capacity[i] : kFull};
    }
};

bool control_modules(u64 elapsed) {
    Now now;
    rt::balance::Decision wanted[kPlaced];
    places.step(elapsed, now.modules, {now.cpus, now.cpu_count}, wanted);
    for (u32 i = 0; i < kPlaced; ++i) {
        // What somebody has written into /proc/farcall/modules meanwhile counts more.
        u32 batch = now.modules[i].batch, place = now.modules[i].place;
        if (wanted[i].batch != batch) modules[i].batch.compare_exchange_strong(batch, wanted[i].batch);
        if (wanted[i].place != place) move_if_at(modules[i], place, CpuSet{wanted[i].place});
    }
    return now.any;
}

// True: some class has changed its road, or was compared for the first time.
bool choose_roads() {
    bool changed = false;
    for (CallClass& c : classes) {
        u32 here = c.inline_ns.load(std::memory_order_relaxed), there = c.remote_ns.load(std::memory_order_relaxed);
        bool was = c.remote.load(std::memory_order_relaxed), is = rt::balance::better_remote(was, here, there);
        if (is != was) c.remote.store(is, std::memory_order_relaxed);
        bool known = here != 0 && there != 0;
        changed |= is != was || (known && !c.compared);
        c.compared |= known;
    }
    if (any_remote()) return changed;  // modules were placed by hand: that counts
    for (Samples& s : samples) {
        s.here.store(kSamplesHere, std::memory_order_relaxed);
        s.there.store(kSamplesThere, std::memory_order_relaxed);
    }
    round_now.fetch_add(1, std::memory_order_relaxed);
    use_entry(Entry::kSampling);
    return changed;
}

Task<void> control() {
    Nanoseconds last = hal::Machine::now(), sampled{};
    places.start(Now{}.modules);  // what was busy while nobody looked is no load of the first period
    bool placed = true;           // are there places to choose?
    for (u32 between = kSampleEvery;;) {
        rt::Wait wait{"the next look at the modules"};
        wait.until(hal::Machine::now() + (placed ? kPeriod : Nanoseconds{kPeriod.value * kSampleEvery}))
            .uninterruptible();
        (void)co_await wait;
        Nanoseconds now = hal::Machine::now();
        placed = control_modules((now - last).value);
        last = now;
        bool roads = adaptive.load(std::memory_order_relaxed);
        if (roads && now - sampled >= Nanoseconds{kPeriod.value * between}) {
            sampled = now;
            between = choose_roads() ? kSampleEvery : between < kSampleRarely ? 2 * between : kSampleRarely;
        }
        if (!placed && !roads) break;
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

u32 round() { return round_now.load(std::memory_order_relaxed); }

void record(CallClass& c, bool remote, u64 ns) {
    auto& mean = remote ? c.remote_ns : c.inline_ns;
    mean.store(rt::balance::moving_mean(mean.load(std::memory_order_relaxed), ns), std::memory_order_relaxed);
}

void CallClass::served(u64 ns) {
    u32 old = service_ns.load(std::memory_order_relaxed);
    // One that was disturbed (the host took the CPU away) counts no more than a slow one.
    u64 most = 2 * u64{old} + 1000;
    u64 value = ns < most ? ns : most;
    service_ns.store(u32((u64{old} * 7 + value) / 8), std::memory_order_relaxed);
}

rt::Executor* idle_cpu(rt::Executor& home) {
    for (u32 i = rt::executor_count(); i-- > 0;) {
        rt::Executor& ex = rt::Executor::of(CpuId{i});
        if (&ex != &home && ex.service.serves() && ex.idles()) return &ex;
    }
    return nullptr;
}

Result<void> set_capacities(std::string_view text) {
    u32 wanted[lib::kMaxCpus] = {};
    while (!text.empty()) {
        std::string_view name, part;
        u64 cpu;
        if (!next_pair(text, name, part) || !lib::parse_u64(name, cpu) || cpu >= rt::executor_count())
            return Errno::kInval;
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
