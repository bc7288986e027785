// SPDX-License-Identifier: MIT
#include "rt/remote/module.hpp"

#include <bit>

namespace rt {

std::string_view name_of(Policy p) {
    constexpr std::string_view kNames[] = {"fifo", "cohort", "priority", "controller"};
    return kNames[u32(p)];
}

u64 percentile(std::span<const Histogram* const> all, u32 permille) {
    u64 total = 0;
    for (const Histogram* h : all)
        for (u32 b = 0; b < Histogram::kBuckets; ++b) total += h->count(b);
    if (total == 0) return 0;
    u64 wanted = (total * permille + 999) / 1000, seen = 0;
    for (u32 b = 0; b < Histogram::kBuckets; ++b) {
        for (const Histogram* h : all) seen += h->count(b);
        if (seen >= wanted) return Histogram::value(b);
    }
    return Histogram::value(Histogram::kBuckets - 1);
}

Request* RequestQueue::pop(Policy policy) {
    auto* first = static_cast<Request*>(list_.front());
    if (!first) return nullptr;
    Request* best = first;
    if (policy == Policy::kCohort || policy == Policy::kPriority) {
        u32 looked = 0;
        u32 best_rank = 3;
        for (Schedulable& s : list_) {
            auto& r = static_cast<Request&>(s);
            if (policy == Policy::kPriority) {
                if (r.nice < best->nice) best = &r;
            } else {
                u32 rank = r.call != last_call_ ? 2 : r.space != last_space_ ? 1 : 0;
                if (rank < best_rank) {
                    best = &r;
                    best_rank = rank;
                }
                if (rank == 0) break;
            }
            if (++looked == kLook) break;
        }
        if (best != first && ++first->passed_over > kPatience) best = first;
    }
    best->run_hook.unlink();
    --size_;
    last_call_ = best->call;
    last_space_ = best->space;
    return best;
}

void Shard::accept(Request& r) {
    queue.push(r);
    if (queue.size() > queue_max.get()) queue_max.set(queue.size());
    if (scheduled) return;
    scheduled = true;
    ordered.store(true, std::memory_order_relaxed);
    Executor::current().post(*this);
}

void Shard::run_batch(Schedulable& s) {
    Shard& shard = static_cast<Shard&>(s);
    Module& m = *shard.module;
    Policy policy = m.policy.load(std::memory_order_relaxed);
    shard.batches.add(1);
    shard.queue_sum.add(shard.queue.size());
    for (u32 left = m.batch.load(std::memory_order_relaxed); left > 0; --left) {
        Request* r = shard.queue.pop(policy);
        if (!r) break;
        m.serve(*r, shard);
    }
    // Other ready nodes of this CPU run between batches.
    shard.scheduled = shard.queue.size() != 0;
    if (shard.scheduled) return Executor::current().post(shard);
    shard.settle();
}

// Either the second read sees the policy that another CPU has set, or that CPU sets the flag after it was cleared here.
void Shard::settle() {
    if (module->orders()) return;
    ordered.store(false, std::memory_order_seq_cst);
    if (module->orders()) ordered.store(true, std::memory_order_relaxed);
}

void Module::set_policy(Policy p) {
    policy.store(p, std::memory_order_seq_cst);
    // The flag stays set until each shard has read the policy while its queue is empty (settle).
    for (Shard& s : shards) s.ordered.store(true, std::memory_order_seq_cst);
}

void Module::init(std::string_view its_name, void (*its_serve)(Request&, Shard&)) {
    name = its_name;
    serve = its_serve;
    for (Shard& s : shards) s.module = this;
}

void Module::move_to(CpuSet cpus) {
    for (u32 i = 0; i < executor_count(); ++i)
        if (cpus.has(CpuId{i})) Executor::of(CpuId{i}).service.begin();
    // The CPUs serve before the place is visible: a CPU that reads the new place may send at once.
    if (place.exchange(cpus.bits, std::memory_order_seq_cst) != cpus.bits)
        migrations.fetch_add(1, std::memory_order_relaxed);
}

Executor* Module::shard_for(u32 set, const void* key) {
    u64 hash = (reinterpret_cast<u64>(key) >> 6) * 0x9e3779b97f4a7c15;  // Fibonacci hashing
    u32 n = u32((hash >> 32) * u32(std::popcount(set)) >> 32);
    while (n--) set &= set - 1;
    return &Executor::of(CpuId{u32(std::countr_zero(set))});
}

}  // namespace rt
