// SPDX-License-Identifier: MIT
// The lock-order checker of debug builds. For each CPU: the set of held ranks, and for each rank the address of the
// lock.
#include "rt/lock_check.hpp"

#include "hal/bind.hpp"
#include "lib/format.hpp"
#include "rt/assert.hpp"

namespace rt::lock_check {
namespace {

// A set of ranks, one bit for each.
using RankSet = u64;
static_assert(kRankCount <= 64);

constexpr RankSet bit_of(u32 rank) { return RankSet(1) << rank; }
constexpr RankSet bit_of(Rank rank) { return bit_of(u32(rank)); }

struct alignas(64) Held {
    RankSet ranks = 0;
    RankSet doubled = 0;  // ranks held twice, through LockPair
    RankSet allowed = 0;
    const void* lock[kRankCount] = {};
};
constinit Held held[lib::kMaxCpus];

Held& mine() { return held[hal::Machine::this_cpu().value]; }

}  // namespace

void acquire(Rank r, const void* lock) {
    Held& h = mine();
    RankSet bit = bit_of(r);
    if (h.ranks & bit) {
        if (!(h.allowed & bit)) hal::Machine::panic("lock order: the same rank twice without LockPair");
        h.allowed &= ~bit;
        h.doubled |= bit;
        return;
    }
    if (h.ranks >= bit) hal::Machine::panic("lock order: a lock of higher rank is held");
    h.ranks |= bit;
    h.lock[u32(r)] = lock;
}

void acquire_unordered(Rank r, const void* lock) {
    Held& h = mine();
    RankSet bit = bit_of(r);
    if (h.ranks & bit) h.doubled |= bit;
    h.ranks |= bit;
    h.lock[u32(r)] = lock;
}

void release(Rank r, const void*) {
    Held& h = mine();
    RankSet bit = bit_of(r);
    if (h.doubled & bit) {
        h.doubled &= ~bit;
        return;
    }
    h.ranks &= ~bit;
}

void allow_same_rank(Rank r) { mine().allowed |= bit_of(r); }

bool holds_any() { return mine().ranks != 0; }

void print_held() {
    for (u32 cpu = 0; cpu < lib::kMaxCpus; ++cpu)
        for (u32 r = 0; r < kRankCount; ++r)
            if (held[cpu].ranks & bit_of(r)) {
                char line[96];
                size_t n = lib::format_to(line, "  cpu {} holds rank {} lock {:x}\n", cpu, r, u64(held[cpu].lock[r]));
                hal::Machine::early_print({line, n});
            }
}

}  // namespace rt::lock_check
