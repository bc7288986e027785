// SPDX-License-Identifier: MIT
// Lanes: how a CPU hands a call to another CPU and gets it back with one cache line each way.
//
// A call is a word (CallWord) that lives in the cache line of its arguments and result. The CPU that makes calls (the
// home) writes kCallPending into it; the serving CPU polls the word, executes the call, and writes kCallDone. So that the
// server knows which words to poll, each pair of CPUs has a lane: a few pointers to words, written by the home only, and
// rarely: a thread that makes one call after the other keeps its slot. Nothing is allocated, nobody takes a lock.
//
// The home spins on the word for a while, then detaches: from then on the server makes the thread ready when it is done.
// Who of the two ends the call is decided by their read-modify-writes of the word: fetch_or(kCallDetached) of the home,
// exchange(kCallDone or kCallAsync) of the server. tests/models/lane.pml is the model.
//
// Sleep and wake: the server publishes that it sleeps (Executor::state) and then looks at the words once more. The home
// writes the word and looks at the state: repeatedly while it spins, and behind the seq_cst fetch_or when it detaches.
//
// A word may be polled by servers that got its address before the call ended: its memory is freed one epoch after
// lane_forget().
#pragma once

#include "lib/types.hpp"
#include "rt/atomic.hpp"

namespace rt {

using CallWord = Atomic<u64>;

// All in the lower half: tests and constants are immediate operands.
enum CallBits : u64 {
    kCallModule = 0xff,        // whose call it is: the caller's and the handler's business
    kCallServer = 0xff00,      // the CPU that is asked: slots of earlier calls may remain in other servers' lanes
    kCallDetached = 1u << 16,  // the home does not wait: post the thread
    kCallDone = 1u << 17,
    kCallAsync = 1u << 18,    // goes on without the home: a coroutine, or blocked
    kCallSampled = 1u << 19,  // its times are measured
    kCallFault = 1u << 20,    // a page fault, not a system call
    kCallPending = 1u << 21,  // no server has taken it
    kCallActive = 1u << 22,   // set in all the others, once a call has been made
};

inline constexpr u32 kLaneSlots = 4;
constexpr u64 call_for(CpuId server, u32 module = 0) {
    return kCallActive | kCallPending | u64{server.value} << 8 | module;
}

struct alignas(64) Lane {
    Atomic<CallWord*> slots[kLaneSlots] = {};  // used from the front; written by the home CPU, and by lane_forget
};
extern Lane lanes[lib::kMaxCpus][lib::kMaxCpus];  // [server][home]
inline Lane& lane(CpuId server, CpuId home) { return lanes[server.value][home.value]; }

// Home: makes sure that `word` is in the lane. False: all slots are taken by calls that are still pending.
struct Claim {
    bool ok = false;
    // Whose slot it got, or null. That word is in the lane no more: whoever remembers that it is must be told. Valid
    // until this CPU is quiescent.
    CallWord* lost = nullptr;
};
Claim lane_claim(Lane& lane, CallWord& word);

// What a pending word says to its server.
inline constexpr u64 kLaneMask = kCallPending | kCallServer;
constexpr u64 lane_wanted(CpuId server) { return kCallPending | u64{server.value} << 8; }

extern CallWord no_call;  // never pending: fills a slot that is not used any more

// Server: calls out(word) for each word that is pending for it; out() says whether to go on.
template <class Out>
inline void lane_poll(CpuId server, u32 cpus, Out&& out) {
    const u64 wanted = lane_wanted(server);
    for (u32 home = 0; home < cpus; ++home) {
        Lane& l = lanes[server.value][home];
        for (auto& slot : l.slots) {
            // Acquire: pairs with the claim; the word is initialised.
            CallWord* word = slot.load(std::memory_order_acquire);
            if (!word) break;
            // Acquire: pairs with the home's release of the arguments.
            if ((word->load(std::memory_order_acquire) & kLaneMask) == wanted) [[unlikely]]
                if (!out(*word)) return;
        }
    }
}
// The first that is pending behind `place`, which then says where it was: callers that are pending again as soon as they
// are served leave the others their turn.
[[gnu::always_inline]] inline CallWord* lane_first(CpuId server, u32 cpus, u32& place) {
    const u64 wanted = lane_wanted(server);
    u32 home = place / kLaneSlots, slot = place % kLaneSlots + 1;
    // The lane where the last one was is looked at twice: behind that slot now, from the front at the end.
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
// The word there; one that is never pending if there is none. Valid until this CPU is quiescent.
inline CallWord* lane_at(CpuId server, u32 place) {
    CallWord* word = lanes[server.value][place / kLaneSlots].slots[place % kLaneSlots].load(std::memory_order_acquire);
    return word ? word : &no_call;
}
inline bool lane_pending(CpuId server, u32 cpus) {
    bool found = false;
    lane_poll(server, cpus, [&](CallWord&) {
        found = true;
        return false;
    });
    return found;
}

// The word goes away: no lane of these homes and servers (bit masks) holds it afterwards. From any CPU.
void lane_forget(CallWord& word, u32 servers, u32 homes);

}  // namespace rt
