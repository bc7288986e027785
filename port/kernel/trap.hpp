// SPDX-License-Identifier: MIT
// The tiers of a trap where it happened: leaf, wait without a coroutine, the thread's coroutine.
//
// Everything here runs at the top of the CPU's kernel stack with interrupts off. A function that does not return has
// handed the CPU on; the stack below it is abandoned. Trace: trace_policy.hpp.
#pragma once
#include "core/trap.hpp"
#include "port/bind.hpp"
#include "port/kernel/trace_policy.hpp"

namespace port {

template <class Trace>
struct TrapTiers {
    // Entries of core::Abi.
    static void syscall(core::Thread& thread);
    static void trap(core::Thread& thread, const Trap& trap);
    static void kicked(core::Thread& thread);

    // What the leaf tier said about a call that was tried here.
    static void finish(UserThread& t, LeafOutcome outcome);
    // The leaf must wait for a queue, on this CPU; it runs again then.
    static void block(UserThread& t, rt::Executor& ex);

private:
    static void woken(rt::Schedulable& s);
    static void finish_block(UserThread& t, rt::Executor& ex, LeafOutcome outcome);
    [[gnu::noinline, noreturn]] static void start_block(UserThread& t);
    [[gnu::noinline, noreturn]] static void start_call(UserThread& t);
    [[noreturn]] static void start_task(UserThread& t, const Trap& trap);
    static void run_task(UserThread& t, const Trap& trap);
};

}  // namespace port
