// SPDX-License-Identifier: MIT
// What other CPUs give a CPU to run: a list that any CPU pushes to and that the owner takes as a whole.
//
// Nothing here allocates or blocks. push() and look() are seq_cst: a CPU that pushes and then reads the owner's state,
// and an owner that publishes its state and then looks, cannot miss each other (rt/executor.hpp).
#pragma once
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"

namespace rt {

class Inbox {
public:
    // From any CPU. The node is in no queue and in no inbox.
    void push(Schedulable& node) {
        Schedulable* head = newest_.load(std::memory_order_relaxed);
        do {
            node.inbox_next = head;
        } while (!newest_.compare_exchange_weak(head, &node, std::memory_order_seq_cst, std::memory_order_relaxed));
    }
    // A hint: a concurrent push may be missed.
    bool probably_empty() const { return newest_.load(std::memory_order_relaxed) == nullptr; }
    // The last check before sleep or user mode. Not null if the inbox holds a node.
    const Schedulable* look() const {
        return left_out<Step::kInboxLook>() ? nullptr : newest_.load(std::memory_order_seq_cst);
    }
    // By the owner: takes all nodes and calls to(node) for each, the oldest first.
    template <class To>
    void drain(To&& to) {
        if (probably_empty()) return;
        // Acquire: pairs with the push, so that what the sender wrote into the node is visible.
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
