// SPDX-License-Identifier: MIT
// Shared copies: while a CPU executes another CPU's call (rt/remote/lane.hpp), the home only polls the word. When the
// call copies a long range to or from the caller's memory, the server offers the end of the range to the home, which
// has the caller's space loaded, and copies the beginning itself. Both copy at the same time, and what the home copies
// is in its own cache.
//
//   kNone, kDone ──server──▶ kOffered ──home──▶ kTaken ──home──▶ kDone
//                               └──server, when its own part is done──▶ kNone: it copies the rest too
//
// Their compare-exchanges of kOffered decide which of the two copies the rest. After kTaken the home only copies: it
// neither waits nor takes an interrupt, so the server may wait for it. An offer does not outlive the call: the offered
// memory stays valid, and the caller's call pending, until the server has settled it. tests/models/share.pml is the
// model.
#pragma once

#include "lib/user.hpp"
#include "rt/atomic.hpp"
#include "rt/remote/lane.hpp"

namespace rt {

// A cache line of its own: written once for each offer, while the home polls it together with the word.
struct alignas(64) CopyShare {
    enum State : u32 { kNone, kOffered, kTaken, kDone };
    Atomic<u32> state{kNone};
    bool to_user = false;
    size_t size = 0;
    std::byte* kernel = nullptr;
    UserAddr user{};
    size_t copied = 0;  // by the home, valid after kDone: less than `size` if it met a page that is not present

    // Server: offers a part. Release: the home sees what is to be copied.
    void offer(UserAddr at, std::byte* kernel_end, size_t n, bool out) {
        to_user = out;
        size = n;
        kernel = kernel_end;
        user = at;
        state.store(kOffered, std::memory_order_release);
    }
    bool over() const { return state.load(std::memory_order_relaxed) == kDone; }
    // Server: takes the offer back. Returns false if the home has accepted it.
    bool take_back() {
        u32 expected = kOffered;
        if (left_out<Step::kShareTakeBack>()) {
            if (!offered()) return false;
            state.store(kNone, std::memory_order_relaxed);
            return true;
        }
        return state.compare_exchange_strong(expected, kNone, std::memory_order_relaxed);
    }
    // Home: polled together with the word.
    bool offered() const { return state.load(std::memory_order_relaxed) == kOffered; }
    // Home: copies what is offered with copy(kernel, user, size, to_user), which returns the number of bytes copied.
    template <class Copy>
    void help(Copy&& copy) {
        u32 expected = kOffered;
        // Acquire: pairs with offer(). It fails if the server has taken the offer back.
        if (!state.compare_exchange_strong(expected, kTaken, std::memory_order_acquire, std::memory_order_relaxed))
            return;
        copied = copy(kernel, user, size, to_user);
        state.store(kDone, std::memory_order_release);  // pairs with the load in settle()
    }
    // Server, after its own part: true, with the number of bytes that the home copied; or false: the server copies the
    // rest. Waits until the home has finished what it accepted.
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

// A word whose calls copy long ranges is the last in its cache line, and its CopyShare is the next line.
inline CopyShare& share_of(CallWord& word) {
    return reinterpret_cast<CopyShare&>(*(reinterpret_cast<std::byte*>(&word) + sizeof word));
}

// How many more bytes of a copy the server takes than the home: as many as it copies while the offer and the end of the
// home's part travel between the CPUs. Adjusted by which of the two finishes first.
class ShareLead {
public:
    // The size of the home's part; zero if sharing is not worthwhile.
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
