// SPDX-License-Identifier: MIT
#include "rt/remote/lane.hpp"
#include "rt/atomic.hpp"

namespace rt {

constinit Lane lanes[lib::kMaxCpus][lib::kMaxCpus];
constinit CallWord no_call{0};

Claim lane_claim(Lane& lane, CallWord& word) {
    Atomic<CallWord*>* free = nullptr;
    for (auto& slot : lane.slots) {
        CallWord* held = slot.load(std::memory_order_relaxed);
        if (held == &word) return {.ok = true};
        // A word that is not pending has been taken by a server or is in no call: its slot can be reused.
        bool unused = !held || !(held->load(std::memory_order_relaxed) & kCallPending);
        if (unused && !free) free = &slot;
        if (!held) break;
    }
    if (!free) return {};
    CallWord* lost = free->load(std::memory_order_relaxed);
    free->store(&word, std::memory_order_release);
    return {.ok = true, .lost = lost == &no_call ? nullptr : lost};
}

namespace {

// Another thread's word may have replaced it, and then there is nothing to do. The slot is not set to null, which would end a
// search before later slots.
void forget_in(Atomic<CallWord*>& slot, CallWord& word) {
    CallWord* const filler = left_out<Step::kForgetFiller>() ? nullptr : &no_call;
    CallWord* mine = &word;
    if (left_out<Step::kForgetSlot>()) return;
    if (left_out<Step::kForgetOwn>()) {
        if (slot.load(std::memory_order_relaxed) == mine) slot.store(filler, std::memory_order_seq_cst);
        return;
    }
    slot.compare_exchange_strong(mine, filler, std::memory_order_seq_cst);
}

}  // namespace

void lane_forget(CallWord& word, u32 servers, u32 homes) {
    for (u32 s = 0; servers >> s; ++s)
        for (u32 h = 0; homes >> h; ++h) {
            if (!(servers >> s & 1) || !(homes >> h & 1)) continue;
            for (auto& slot : lanes[s][h].slots) forget_in(slot, word);
        }
}

}  // namespace rt
