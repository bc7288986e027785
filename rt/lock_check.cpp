// SPDX-License-Identifier: MIT
// The lock-order checker of debug builds: per CPU a set of held ranks and the lock's address for each.
#include "rt/lock_check.hpp"

#include "hal/bind.hpp"
#include "lib/format.hpp"
#include "rt/assert.hpp"

namespace rt::lock_check {
namespace {

struct alignas(64) Held {
    u32 ranks = 0;
    u32 doubled = 0;  // ranks held twice, through LockPair
    u32 allowed = 0;
    const void* lock[kRankCount] = {};
};
constinit Held held[lib::kMaxCpus];

Held& mine() { return held[hal::Machine::this_cpu().value]; }

}  // namespace

void acquire(Rank r, const void* lock) {
    Held& h = mine();
    u32 bit = 1u << u32(r);
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
    u32 bit = 1u << u32(r);
    if (h.ranks & bit) h.doubled |= bit;
    h.ranks |= bit;
    h.lock[u32(r)] = lock;
}

void release(Rank r, const void*) {
    Held& h = mine();
    u32 bit = 1u << u32(r);
    if (h.doubled & bit) {
        h.doubled &= ~bit;
        return;
    }
    h.ranks &= ~bit;
}

void allow_same_rank(Rank r) { mine().allowed |= 1u << u32(r); }

bool holds_any() { return mine().ranks != 0; }

void print_held() {
    for (u32 cpu = 0; cpu < lib::kMaxCpus; ++cpu)
        for (u32 r = 0; r < kRankCount; ++r)
            if (held[cpu].ranks & (1u << r)) {
                char line[96];
                size_t n = lib::format_to(line, "  cpu {} holds rank {} lock {:x}\n", cpu, r, u64(held[cpu].lock[r]));
                hal::Machine::early_print({line, n});
            }
}

}  // namespace rt::lock_check
