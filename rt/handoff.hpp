// SPDX-License-Identifier: MIT
// A thread from hand to hand: a CPU that waits for one leaves a place open, and another CPU fills it with one write.
//
// open() and close() are the owner's, in turn; give() is any CPU's. close() is an exchange: whoever was in time gets through.
#pragma once
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"

namespace rt {

class Handoff {
public:
    // Any CPU. False: the owner does not wait; post() it.
    bool give(Schedulable& s) {
        if (place_.load(std::memory_order_relaxed) != nullptr) return false;
        Schedulable* none = nullptr;
        return place_.compare_exchange_strong(none, &s, std::memory_order_acq_rel, std::memory_order_relaxed);
    }
    void open() { place_.store(nullptr, std::memory_order_release); }  // pairs with give()
    bool filled() const { return place_.load(std::memory_order_relaxed) != nullptr; }
    // What was given, or null.
    Schedulable* close() {
        if (left_out<Step::kHandoffExchange>()) {
            Schedulable* seen = place_.load(std::memory_order_acquire);
            place_.store(&closed_, std::memory_order_release);
            return seen;
        }
        return place_.exchange(&closed_, std::memory_order_acq_rel);
    }

private:
    // Null: open. closed_: the owner does not wait. Else the thread that it got.
    Atomic<Schedulable*> place_{&closed_};
    static inline constinit Schedulable closed_{nullptr};
};

}  // namespace rt
