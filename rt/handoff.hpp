// SPDX-License-Identifier: MIT
// Direct hand-off of a thread: a CPU that waits for one opens a slot, and another CPU fills it with one write.
//
// open() and close() are called by the owner, alternately; give() by any CPU. close() is an exchange, so a thread given
// in time is never lost.
#pragma once
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"

namespace rt {

class Handoff {
public:
    // From any CPU. Returns false if the owner does not wait: the caller uses post() instead.
    bool give(Schedulable& s) {
        if (place_.load(std::memory_order_relaxed) != nullptr) return false;
        Schedulable* none = nullptr;
        return place_.compare_exchange_strong(none, &s, std::memory_order_acq_rel, std::memory_order_relaxed);
    }
    void open() { place_.store(nullptr, std::memory_order_release); }  // pairs with give()
    // A hint for the owner's loop; close() gets the thread.
    bool filled() const { return place_.load(std::memory_order_relaxed) != nullptr; }
    // Ends the wait. Returns the thread that was given, or null.
    Schedulable* close() {
        if (left_out<Step::kHandoffExchange>()) {
            Schedulable* seen = place_.load(std::memory_order_acquire);
            place_.store(&closed_, std::memory_order_release);
            return seen;
        }
        return place_.exchange(&closed_, std::memory_order_acq_rel);
    }

private:
    // Null: open. &closed_: the owner does not wait. Otherwise the thread that was given.
    Atomic<Schedulable*> place_{&closed_};
    static inline constinit Schedulable closed_{nullptr};
};

}  // namespace rt
