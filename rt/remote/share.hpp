// SPDX-License-Identifier: MIT
// Shared copies: while a CPU executes another one's call (rt/remote/lane.hpp), the home does nothing but look at the word. When the
// call copies much to or from the caller's memory, the server offers the end of the range to the home, which has the
// caller's space loaded, and copies the beginning itself. Both copy at once; and what the home copies is in its own cache.
//
//   kNone, kDone ──server──▶ kOffered ──home──▶ kTaken ──home──▶ kDone
//                               └──server, when its own part is done──▶ kNone: it does the rest too
//
// Who of the two has the rest is decided by their compare-exchanges of kOffered. Behind kTaken the home only copies: it
// waits for nothing and takes no interrupt, so the server may wait for it. An offer does not outlive the call: what was
// offered stays valid, and the caller's call pending, until the server has settled it.
// tests/models/share.pml is the model.
#pragma once

#include "lib/user.hpp"
#include "rt/atomic.hpp"
#include "rt/remote/lane.hpp"

namespace rt {

// A line of its own: written once for each offer, while the home looks at it as it looks at the word.
struct alignas(64) CopyShare {
    enum State : u32 { kNone, kOffered, kTaken, kDone };
    Atomic<u32> state{kNone};
    bool to_user = false;
    size_t size = 0;
    std::byte* kernel = nullptr;
    UserAddr user{};
    size_t copied = 0;  // by the home, behind kDone: less than `size` if it met a page that is not there

    // Server. Release: the home sees what is to be copied.
    void offer(UserAddr at, std::byte* kernel_end, size_t n, bool out) {
        to_user = out;
        size = n;
        kernel = kernel_end;
        user = at;
        state.store(kOffered, std::memory_order_release);
    }
    bool over() const { return state.load(std::memory_order_relaxed) == kDone; }
    // Server: takes the offer back. False: the home has it.
    bool take_back() {
        u32 expected = kOffered;
        if (left_out<Step::kShareTakeBack>()) {
            if (!offered()) return false;
            state.store(kNone, std::memory_order_relaxed);
            return true;
        }
        return state.compare_exchange_strong(expected, kNone, std::memory_order_relaxed);
    }
    // Home, in the loop that looks at the word.
    bool offered() const { return state.load(std::memory_order_relaxed) == kOffered; }
    // Home: copies what is offered with copy(kernel, user, size, to_user), which says how many bytes it copied.
    template <class Copy>
    void help(Copy&& copy) {
        u32 expected = kOffered;
        // Acquire: pairs with offer(). If the server was faster, it is its own again.
        if (!state.compare_exchange_strong(expected, kTaken, std::memory_order_acquire, std::memory_order_relaxed))
            return;
        copied = copy(kernel, user, size, to_user);
        state.store(kDone, std::memory_order_release);  // pairs with the look in settle()
    }
    // Server, whose own part is done: how many bytes of the rest the home copied, or nothing: the rest is the server's.
    // Waits until the home is done with what it took.
    template <class Wait>
    bool settle(size_t& by_home, Wait&& wait) {
        while (state.load(std::memory_order_acquire) != kDone) {
            if (take_back()) return false;
            wait();
        }
        by_home = copied;
        return true;
    }
};

// Every word in a lane whose calls copy long ranges ends a line, and this is the line behind it.
inline CopyShare& share_of(CallWord& word) {
    return reinterpret_cast<CopyShare&>(*(reinterpret_cast<std::byte*>(&word) + sizeof word));
}

// How much of a copy the server does beyond what the home does: as much as it copies while the offer travels and the end of
// the home's part travels back. Follows what is seen: measured by who is done first.
class ShareLead {
public:
    // A part for the home that is worth it; zero: none.
    size_t part_of(size_t n) const { return n >= lead_ + 2 * kLeast ? (n - lead_) / 2 & ~(kGrain - 1) : 0; }
    void home_was_first() {
        if (lead_ > kMin) lead_ -= kGrain;
    }
    void home_was_last() {
        if (lead_ < kMax) lead_ += kGrain;
    }

private:
    static constexpr size_t kGrain = 64, kLeast = 256, kMin = 512, kMax = 16'384;
    size_t lead_ = 1'152;
};

}  // namespace rt
