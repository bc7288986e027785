// SPDX-License-Identifier: MIT
// What a CPU can run, and its priorities.
#pragma once
#include "lib/list.hpp"
#include "lib/types.hpp"

namespace rt {

// Lower numbers run first. kHighest to kLowest are the levels of user threads; Linux threads have kUser.
enum class Priority : u8 { kUrgent, kKernel, kHighest, kUser = 16, kLowest = 30, kBackground };
inline constexpr u32 kPriorities = 32;

// Something a CPU can run: a coroutine (Job), a user thread, a module's request. It is in at most one queue or inbox.
struct Schedulable {
    using RunFn = void (*)(Schedulable&);
    explicit constexpr Schedulable(RunFn fn, Priority p = Priority::kKernel) : run(fn), priority(p) {}
    lib::ListHook run_hook;
    Schedulable* inbox_next = nullptr;
    RunFn run;
    Priority priority;
};

}  // namespace rt
