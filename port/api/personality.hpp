// SPDX-License-Identifier: MIT
// What a port calls back: the personality's leaf tier and its classes of calls.
#pragma once
#include "port/api/types.hpp"
#include "rt/task.hpp"

namespace port {

template <class UserThread>
struct Personality {
    // A system call, as a plain function that cannot wait.
    LeafOutcome (*syscall)(UserThread&);
    // The same on another CPU than the one that trapped. `frame` is a copy of the thread's; the result goes there (kDone).
    LeafOutcome (*syscall_elsewhere)(UserThread&, typename UserThread::Registers::CallFrame& frame);
    // A call that said kBlocked has been woken, or interrupted. The same rules.
    LeafOutcome (*again)(UserThread&, rt::Wake why);
    // A page fault that can be resolved without waiting.
    LeafOutcome (*fault)(UserThread&, const Trap&);
    // Which Module the call with a number below call_limit belongs to (kHome: needs the trap frame, always runs where it
    // trapped, as calls with other numbers do).
    const u8* modules;
    u32 call_limit;
    Module module_of(u64 number) const { return number < call_limit ? Module(modules[number]) : Module::kHome; }
    // setpriority(2) of a thread, for the policy `priority`.
    i32 (*nice_of)(const UserThread&);
    // The thread's root coroutine has returned: the last thing that happens on its CPU. May destroy the thread.
    void (*ended)(UserThread&);
    // The number that programs know the thread by, for records of what it did.
    u32 (*number_of)(const UserThread&) = nullptr;
};

}  // namespace port
