// SPDX-License-Identifier: MIT
// The end of a call that another CPU executes (rt/remote/lane.hpp), on both sides: the home spins on the word, detaches
// and tells a server that would not look; the server says that it is done and takes over the thread of a home that has
// left.
//
// kHelp copies what the server offers (rt/remote/share.hpp). Interrupts are off.
#pragma once
#include "rt/executor.hpp"

namespace rt {

inline constexpr u64 kCallOver = kCallDone | kCallAsync;

template <void (*kHelp)(CopyShare&)>
struct CallHome {
    // Looks at the word until the call has ended, or too long. The usual case first, without anything around it.
    // Returns what it said last. Both are left out of instruction counts.
    [[gnu::noinline, gnu::section(".text.farcall_spin")]] static u64 spin_briefly(CallWord& word) {
        u64 v = 0;
        for (u32 n = 0; n < 256; ++n) {
            // Acquire: pairs with the server's exchange; the result is seen.
            v = word.load(std::memory_order_acquire);
            if (v & kCallOver) break;
            if (share_of(word).offered()) [[unlikely]]
                kHelp(share_of(word));
        }
        return v;
    }
    // `limit` times; `others`: another thread waits for this CPU.
    [[gnu::noinline, gnu::section(".text.farcall_spin")]] static u64 spin(CallWord& word, Executor& where, Executor& ex,
                                                                          u32 limit, bool others) {
        u64 v = 0;
        for (u32 n = 0; n < limit; ++n) {
            v = word.load(std::memory_order_acquire);
            if (v & kCallOver) return v;
            if (share_of(word).offered()) [[unlikely]]
                kHelp(share_of(word));
            if ((n & 63) != 0) continue;
            if (where.user_state.must_be_told()) {
                where.attract(kAttnInbox);
                if (others) return v;
            }
            // Somebody may wait for this CPU as this one waits for `where`.
            if (ex.service.pending()) return v;
            hal::Machine::poll_mailbox();
        }
        return v;
    }
};

// Home, the word written: until the call has ended, or it waits no longer. wait(what the word says, the server) looks
// at the word as long as it likes, and returns what it said last. True: the call is done. False: leave() has let go of
// the thread, and the server makes it ready when it is done.
template <class Wait, class Leave>
[[gnu::always_inline]] inline bool finish_call(CallWord& word, Executor& ex, Wait&& wait, Leave&& leave) {
    u64 now = word.load(std::memory_order_acquire);
    // While it is not over, the server is in it.
    Executor& where = (now & kCallOver) ? ex : Executor::of(CpuId{u32(now & kCallServer) >> 8});
    if (!(now & kCallOver)) now = wait(now, where);
    if (!(now & kCallOver)) [[unlikely]]
        now = word.fetch_or(kCallDetached, std::memory_order_seq_cst);
    if (now & kCallDone) return true;
    leave();
    // seq_cst, the detaching and this look: the server sees the word before it sleeps or enters user mode, or this sees
    // that it did.
    if (!(now & kCallAsync) && !left_out<Step::kTellServer>() && where.user_state.must_be_told())
        where.attract(kAttnInbox);
    return false;
}

// Server: the call is done, or goes on without its home (kCallAsync). True: the home has left, the thread is the
// server's. Acquire and release: the home sees the result, or this sees that the home has left.
inline bool call_over(CallWord& word, CallBits how) {
    return word.exchange(kCallActive | how, std::memory_order_acq_rel) & kCallDetached;
}

}  // namespace rt
