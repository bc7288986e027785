// SPDX-License-Identifier: MIT
// Debug builds: the set of lock ranks that each CPU holds, one bit per rank. A wrong order panics at once.
#pragma once
#include "lib/types.hpp"
#include "rt/rank.hpp"

namespace rt::lock_check {

void acquire(Rank r, const void* lock);            // also checks the order
void acquire_unordered(Rank r, const void* lock);  // a try_lock cannot deadlock: recorded, order not checked
void release(Rank r, const void* lock);
void allow_same_rank(Rank r);  // the next acquire of this rank is the second of a LockPair
bool holds_any();              // whether this CPU holds a spinlock
void print_held();             // for crash dumps: rank and address of each held lock, all CPUs

}  // namespace rt::lock_check
