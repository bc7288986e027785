// SPDX-License-Identifier: MIT
// The run queue of one CPU: a list for each priority, and a mask of the lists that are not empty.
//
// Used by its own CPU alone, without a lock; `attention`, next to the mask, is set by any CPU. Invariants: bit n of the
// mask is set exactly if list n is not empty; counts_[n] is that list's length; a node is linked in at most one list.
#pragma once
#include <bit>

#include "rt/assert.hpp"
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"

namespace rt {

class RunQueue {
public:
    void push_back(Schedulable& node) { lists_[added(node)].push_back(node); }
    void push_front(Schedulable& node) { lists_[added(node)].push_front(node); }
    // Takes the node that runs next. The queue is not empty.
    Schedulable& pop() {
        u32 level = u32(std::countr_zero(ready_));
        Schedulable* node = lists_[level].pop_front();
        removed(level);
        return *node;
    }
    Schedulable* take_last(Priority p);  // takes the node of level p that was queued last; null if there is none
    // Removes a node that is in this queue.
    void remove(Schedulable& node);
    // Is the node in a list of this queue? (Whether it is linked does not say where.) Searches its level's list.
    bool holds(const Schedulable& node);

    bool empty() const { return ready_ == 0; }
    // True if a node of level p or above is ready.
    bool has(Priority p) const { return (ready_ & ((2u << u32(p)) - 1)) != 0; }
    // True if a node above level p is ready.
    bool has_above(Priority p) const { return (ready_ & ((1u << u32(p)) - 1)) != 0; }
    u32 count(Priority p) const { return counts_[u32(p)]; }
    // The first node of a level, or of all levels; null if there is none.
    Schedulable* first(Priority p) { return lists_[u32(p)].front(); }
    Schedulable* best() { return ready_ == 0 ? nullptr : lists_[u32(std::countr_zero(ready_))].front(); }
    // The highest level of user threads that has a ready node, or kBackground.
    Priority best_user_level() const {
        constexpr u32 kUserLevels = (2u << u32(Priority::kLowest)) - (1u << u32(Priority::kHighest));
        const u32 waiting = ready_ & kUserLevels;
        return waiting == 0 ? Priority::kBackground : Priority(std::countr_zero(waiting));
    }

    // The mask of ready levels (low half, bit n: level n) and this CPU's attention bits (high half) in one load. A path
    // through the kernel that would skip both checks reads this first.
    u64 pressing() const {
        using Both [[gnu::may_alias]] = u64;
        return __atomic_load_n(reinterpret_cast<const Both*>(&ready_), __ATOMIC_RELAXED);
    }

private:
    u32 added(const Schedulable& node) {
        RT_ASSERT(!node.run_hook.linked(), "queued twice");
        u32 level = u32(node.priority);
        ++counts_[level];
        ready_ |= 1u << level;
        return level;
    }
    void removed(u32 level) {
        if (--counts_[level] == 0) ready_ &= ~(1u << level);
    }

    alignas(8) u32 ready_ = 0;  // directly before `attention`: see pressing()

public:
    // Bits of rt::Attention. Set by any CPU, cleared by the owner.
    Atomic<u32> attention{0};

private:
    u32 counts_[kPriorities] = {};
    lib::List<Schedulable, &Schedulable::run_hook> lists_[kPriorities];
};

}  // namespace rt
