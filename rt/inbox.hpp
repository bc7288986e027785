// SPDX-License-Identifier: MIT
// What other CPUs give a CPU to run: a list that anybody pushes to and the owner takes whole.
//
// Nothing here allocates or blocks. push() and look() are seq_cst: whoever pushes and then reads the owner's state, and the
// owner who publishes its state and then looks, do not miss each other (rt/executor.hpp).
#pragma once
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"

namespace rt {

class Inbox {
public:
    // Any CPU. The node is in no queue and no inbox.
    void push(Schedulable& node) {
        Schedulable* head = newest_.load(std::memory_order_relaxed);
        do {
            node.inbox_next = head;
        } while (!newest_.compare_exchange_weak(head, &node, std::memory_order_seq_cst, std::memory_order_relaxed));
    }
    // A hint: what is pushed at the same time may be missed.
    bool probably_empty() const { return newest_.load(std::memory_order_relaxed) == nullptr; }
    // The last look before sleep or user mode. Not null: there is something.
    const Schedulable* look() const {
        return left_out<Step::kInboxLook>() ? nullptr : newest_.load(std::memory_order_seq_cst);
    }
    // The owner: calls to(node) for each, the oldest first.
    template <class To>
    void drain(To&& to) {
        if (probably_empty()) return;
        // Acquire: pairs with the push; what the sender wrote into the node is seen.
        Schedulable* newest = newest_.exchange(nullptr, std::memory_order_acquire);
        Schedulable* oldest = nullptr;
        while (newest) {
            Schedulable* next = newest->inbox_next;
            newest->inbox_next = oldest;
            oldest = newest;
            newest = next;
        }
        while (oldest) {
            Schedulable* next = oldest->inbox_next;
            to(*oldest);
            oldest = next;
        }
    }

private:
    Atomic<Schedulable*> newest_{nullptr};
};

}  // namespace rt
