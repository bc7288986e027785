// SPDX-License-Identifier: MIT
// Lanes: how a CPU hands a call to another CPU and gets it back with one cache-line transfer each way.
//
// A call is a word (CallWord) that lives in the cache line of its arguments and result. The CPU that makes calls (the
// home) writes kCallPending into it; the serving CPU polls the word, executes the call, and writes kCallDone. So that
// the server knows which words to poll, each pair of CPUs has a lane: a few pointers to words. The home writes them,
// but rarely: a thread that makes one call after another keeps its slot. Nothing is allocated and no lock is taken.
//
// The home spins on the word for a while and then detaches: from then on, the server makes the thread ready when the
// call is done. Their read-modify-writes of the word decide which of the two ends the call: fetch_or(kCallDetached) by
// the home, exchange(kCallDone or kCallAsync) by the server. tests/models/lane.pml is the model.
//
// Sleep and wake-up: the server publishes that it sleeps (Executor::user_state) and then checks the words once more.
// The home writes the word and reads the state: repeatedly while it spins, and after the seq_cst fetch_or when it
// detaches.
//
// A server that read a word's address before the call ended may still poll the word: its memory is freed a grace period
// (rt/epoch.hpp) after lane_forget().
#pragma once

#include "lib/types.hpp"
#include "rt/atomic.hpp"

namespace rt {

using CallWord = Atomic<u64>;

// All in the lower half of the word, so that tests and constants are immediate operands.
enum CallBits : u64 {
    kCallModule = 0xff,        // which module; defined by the caller and the handler
    kCallServer = 0xff00,      // the CPU that is to serve it: slots of earlier calls may remain in other servers' lanes
    kCallDetached = 1u << 16,  // the home does not wait: the server posts the thread
    kCallDone = 1u << 17,
    kCallAsync = 1u << 18,    // continues without the home: a coroutine, or blocked
    kCallSampled = 1u << 19,  // its duration is measured
    kCallFault = 1u << 20,    // a page fault, not a system call
    kCallPending = 1u << 21,  // no server has taken it
    kCallActive = 1u << 22,   // set together with all the others, once a call has been made
};

inline constexpr u32 kLaneSlots = 4;
constexpr u64 call_for(CpuId server, u32 module = 0) {
    return kCallActive | kCallPending | u64{server.value} << 8 | module;
}

struct alignas(64) Lane {
    Atomic<CallWord*> slots[kLaneSlots] = {};  // filled from the front; written by the home, and by lane_forget()
};
extern Lane lanes[lib::kMaxCpus][lib::kMaxCpus];  // [server][home]
inline Lane& lane(CpuId server, CpuId home) { return lanes[server.value][home.value]; }

// On the home: makes sure that `word` is in the lane. Not ok if all slots are taken by calls that are still pending.
struct Claim {
    bool ok = false;
    // The word whose slot was reused, or null. It is no longer in the lane, which any code that assumes so must be
    // told. Valid until this CPU is quiescent.
    CallWord* lost = nullptr;
};
Claim lane_claim(Lane& lane, CallWord& word);

// The bits that show a word to be pending for a server.
inline constexpr u64 kLaneMask = kCallPending | kCallServer;
constexpr u64 lane_wanted(CpuId server) { return kCallPending | u64{server.value} << 8; }

extern CallWord no_call;  // never pending: fills a slot that is no longer used

// On the server: calls out(word) for each word that is pending for it, until out() returns false.
template <class Out>
inline void lane_poll(CpuId server, u32 cpus, Out&& out) {
    const u64 wanted = lane_wanted(server);
    for (u32 home = 0; home < cpus; ++home) {
        Lane& l = lanes[server.value][home];
        for (auto& slot : l.slots) {
            // Acquire: pairs with the release in lane_claim(), so that the word is initialised.
            CallWord* word = slot.load(std::memory_order_acquire);
            if (!word) break;
            // Acquire: pairs with the home's release of the arguments.
            if ((word->load(std::memory_order_acquire) & kLaneMask) == wanted) [[unlikely]]
                if (!out(*word)) return;
        }
    }
}
// The first pending word after `place`, which is set to its position. So callers that are pending again as soon as they
// are served do not starve the others.
[[gnu::always_inline]] inline CallWord* lane_first(CpuId server, u32 cpus, u32& place) {
    const u64 wanted = lane_wanted(server);
    u32 home = place / kLaneSlots, slot = place % kLaneSlots + 1;
    // The lane of the last word is visited twice: after its slot first, and from its front at the end.
    for (u32 n = 0; n <= cpus; ++n) {
        Lane& l = lanes[server.value][home];
        for (; slot < kLaneSlots; ++slot) {
            CallWord* word = l.slots[slot].load(std::memory_order_acquire);  // both acquires: see lane_poll
            if (!word) break;
            if ((word->load(std::memory_order_acquire) & kLaneMask) == wanted) [[unlikely]] {
                place = home * kLaneSlots + slot;
                return word;
            }
        }
        slot = 0;
        if (++home >= cpus) home = 0;
    }
    return nullptr;
}
// The word at `place`, or one that is never pending. Valid until this CPU is quiescent.
inline CallWord* lane_at(CpuId server, u32 place) {
    CallWord* word = lanes[server.value][place / kLaneSlots].slots[place % kLaneSlots].load(std::memory_order_acquire);
    return word ? word : &no_call;
}
// True if a word is pending for the server. From any CPU; a concurrent call may be missed.
inline bool lane_pending(CpuId server, u32 cpus) {
    bool found = false;
    lane_poll(server, cpus, [&](CallWord&) {
        found = true;
        return false;
    });
    return found;
}

// Before a word is freed: removes it from all lanes of these servers and homes (CPU masks). From any CPU.
void lane_forget(CallWord& word, u32 servers, u32 homes);

}  // namespace rt
