// SPDX-License-Identifier: MIT
// What a CPU can run, and its priorities.
#pragma once
#include "lib/list.hpp"
#include "lib/types.hpp"

namespace rt {

// Lower numbers run first. kHighest to kLowest are the levels of user threads; Linux threads have kUser.
enum class Priority : u8 { kUrgent, kKernel, kHighest, kUser = 16, kLowest = 30, kBackground };
// Of a Linux thread that is back from a wait and has not used its time slice up, until it runs (core/thread.hpp).
inline constexpr Priority kBackFromWait = Priority(u8(Priority::kUser) - 1);
inline constexpr u32 kPriorities = 32;

// Something a CPU can run: a coroutine (Job), a user thread, a module's request. It is in at most one queue or inbox.
//
// `only_on`: of what waits in no other CPU's queue than this one's (a native thread's home). A CPU that finds it in its
// inbox, because its home changed while it was posted, calls run() at once, which sends it home.
struct Schedulable {
    static constexpr u8 kAnyCpu = 0xff;
    using RunFn = void (*)(Schedulable&);
    explicit constexpr Schedulable(RunFn fn, Priority p = Priority::kKernel) : run(fn), priority(p) {}
    lib::ListHook run_hook;
    Schedulable* inbox_next = nullptr;
    RunFn run;
    Priority priority;
    u8 only_on = kAnyCpu;
    bool may_wait_on(CpuId cpu) const { return only_on == kAnyCpu || only_on == u8(cpu.value); }
};

}  // namespace rt
