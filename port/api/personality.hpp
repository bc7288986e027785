// SPDX-License-Identifier: MIT
// What a port calls back: the personality's leaf tier and its classes of calls.
#pragma once
#include "port/api/types.hpp"

namespace port {

template <class UserThread>
struct Personality {
    // A system call, as a plain function that cannot wait. May run on another CPU than the one that trapped.
    LeafOutcome (*syscall)(UserThread&);
    // A page fault that can be resolved without waiting.
    LeafOutcome (*fault)(UserThread&, const Trap&);
    // Which module the call with this number belongs to (kHome: needs the trap frame, always runs where it trapped).
    Module (*module_of)(u64 number);
    // The thread's root coroutine has returned: the last thing that happens on its CPU. May destroy the thread.
    void (*ended)(UserThread&);
};

}  // namespace port
