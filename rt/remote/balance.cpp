// SPDX-License-Identifier: MIT
#include "rt/remote/balance.hpp"

#include <bit>

namespace rt::balance {

u32 next_batch(u32 batch, u64 batches, u64 queued) {
    if (batches == 0) return batch;
    u64 mean = queued / batches;
    if (mean > batch && batch < kMostBatch) return batch * 2 < kMostBatch ? batch * 2 : kMostBatch;
    if (mean * 4 < batch && batch > kLeastBatch) return batch / 2 > kLeastBatch ? batch / 2 : kLeastBatch;
    return batch;
}

void Places::start(std::span<const ModuleNow> modules) {
    for (u32 i = 0; i < modules.size(); ++i)
        one_[i] = {.busy_ns = modules[i].busy_ns, .batches = modules[i].batches, .queue_sum = modules[i].queue_sum};
}

void Places::step(u64 elapsed_ns, std::span<const ModuleNow> modules, std::span<const CpuNow> cpus,
                  std::span<Decision> out) {
    for (u64& l : cpu_load_) l = 0;
    for (u32 i = 0; i < modules.size(); ++i) {
        const ModuleNow& m = modules[i];
        One& before = one_[i];
        u64 now = elapsed_ns == 0 ? 0 : (m.busy_ns - before.busy_ns) * kFull / elapsed_ns;
        before.load = before.load - before.load / kMean + now;
        before.busy_ns = m.busy_ns;
        out[i] = {m.batch, m.place};
        if (m.controlled)
            out[i].batch = next_batch(m.batch, m.batches - before.batches, m.queue_sum - before.queue_sum);
        before.batches = m.batches;
        before.queue_sum = m.queue_sum;
        // A module that is spread over several CPUs loads each of them equally.
        for (u32 set = m.place; set != 0; set &= set - 1)
            cpu_load_[std::countr_zero(set)] += load_of(i) / u32(std::popcount(m.place));
    }
    for (u32 i = 0; i < modules.size(); ++i) {
        if (one_[i].stay != 0) {
            --one_[i].stay;
            continue;
        }
        // A module that is inline or spread was placed by hand.
        if (!modules[i].controlled || !std::has_single_bit(modules[i].place)) continue;
        u32 from = u32(std::countr_zero(modules[i].place)), to = better_place(i, from, cpus);
        if (to == from) continue;
        // The same work is a different share of another CPU.
        u64 load = load_of(i), there = load * cpus[from].capacity / cpus[to].capacity;
        cpu_load_[from] -= load;
        cpu_load_[to] += there;
        one_[i].load = there * kMean;
        one_[i].stay = kStay;
        out[i].place = 1u << to;
    }
}

// Only among CPUs that already serve calls: no CPU is taken away from programs.
u32 Places::better_place(u32 index, u32 from, std::span<const CpuNow> cpus) {
    u64 here = cpu_load_[from], load = load_of(index);
    if (load == 0 || here <= kHigh) return from;
    u32 best = from;
    u64 least = here * kGain / kFull;
    for (u32 cpu = 0; cpu < cpus.size(); ++cpu) {
        if (cpu == from || !cpus[cpu].serves) continue;
        u64 there = cpu_load_[cpu] + load * cpus[from].capacity / cpus[cpu].capacity;
        if (there < least) {
            least = there;
            best = cpu;
        }
    }
    return best;
}

}  // namespace rt::balance
