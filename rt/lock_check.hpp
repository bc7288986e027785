// SPDX-License-Identifier: MIT
// Debug builds: which ranks this CPU holds, as one word per CPU. A wrong order stops the machine at once.
#pragma once
#include "lib/types.hpp"
#include "rt/rank.hpp"

namespace rt::lock_check {

void acquire(Rank r, const void* lock);            // also checks the order
void acquire_unordered(Rank r, const void* lock);  // try_lock cannot deadlock: recorded, not checked
void release(Rank r, const void* lock);
void allow_same_rank(Rank r);  // the next acquire of this rank is the second of a LockPair
bool holds_any();              // does this CPU hold a spinlock?
void print_held();             // for dumps: rank and address of each held lock, all CPUs

}  // namespace rt::lock_check
