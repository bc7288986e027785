// SPDX-License-Identifier: MIT
// The run queue of one CPU: a list for each level, and a mask of the levels that have something.
//
// Owner: its CPU, alone and without a lock; `attention` next to the mask is everybody's. Invariants: bit n of the mask is set
// exactly if list n is not empty; counts_[n] is that list's length; a node is linked in at most one list.
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
    // The one that runs next; the queue is not empty.
    Schedulable& pop() {
        u32 level = u32(std::countr_zero(ready_));
        Schedulable* node = lists_[level].pop_front();
        removed(level);
        return *node;
    }
    Schedulable* take_last(Priority p);  // the newest of a level, or null
    void remove(Schedulable& node);
    // Is it in a list of this queue? (That it is linked does not say where.) As long as the level's list.
    bool holds(const Schedulable& node);

    bool empty() const { return ready_ == 0; }
    // Something of level p or above.
    bool has(Priority p) const { return (ready_ & ((2u << u32(p)) - 1)) != 0; }
    // Something above p.
    bool has_above(Priority p) const { return (ready_ & ((1u << u32(p)) - 1)) != 0; }
    u32 count(Priority p) const { return counts_[u32(p)]; }
    // The first of a level, of all; null: none.
    Schedulable* first(Priority p) { return lists_[u32(p)].front(); }
    Schedulable* best() { return ready_ == 0 ? nullptr : lists_[u32(std::countr_zero(ready_))].front(); }
    // The best level of user threads on which somebody waits, or kBackground.
    Priority best_user_level() const {
        constexpr u32 kUserLevels = (2u << u32(Priority::kLowest)) - (1u << u32(Priority::kHighest));
        const u32 waiting = ready_ & kUserLevels;
        return waiting == 0 ? Priority::kBackground : Priority(std::countr_zero(waiting));
    }

    // Which levels have something ready (low half, bit n: level n), and whether this CPU should look up (high half), in one
    // load: what a path through the kernel must know before it ignores both.
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

    alignas(8) u32 ready_ = 0;  // before `attention`: pressing()

public:
    // Bits of rt::Attention. Set by any CPU, cleared by the owner.
    Atomic<u32> attention{0};

private:
    u32 counts_[kPriorities] = {};
    lib::List<Schedulable, &Schedulable::run_hook> lists_[kPriorities];
};

}  // namespace rt
