// SPDX-License-Identifier: MIT
// How many CPUs run an executor.
#pragma once
#include "rt/atomic.hpp"

namespace rt {

// The number of the highest CPU that has started, plus one. Never decreases.
extern Atomic<u32> executors_started;
inline u32 executor_count() { return executors_started.load(std::memory_order_acquire); }

}  // namespace rt
