// SPDX-License-Identifier: MIT
#include "rt/run_queue.hpp"

namespace rt {

Schedulable* RunQueue::take_last(Priority p) {
    Schedulable* node = lists_[u32(p)].back();
    if (node) remove(*node);
    return node;
}

void RunQueue::remove(Schedulable& node) {
    RT_ASSERT(node.run_hook.linked(), "not in a queue");
    node.run_hook.unlink();
    removed(u32(node.priority));
}

bool RunQueue::holds(const Schedulable& node) {
    if (!node.run_hook.linked()) return false;
    for (const Schedulable& s : lists_[u32(node.priority)])
        if (&s == &node) return true;
    return false;
}

}  // namespace rt
