// SPDX-License-Identifier: MIT
// Calls that another CPU executes (rt/remote/lane.hpp), on the CPU that trapped: send, poll for the reply, detach.
//
// Everything here runs as port/kernel/trap.hpp says.
#pragma once
#include "port/kernel/trap.hpp"

namespace port {

template <class Trace>
struct RemoteHome {
    // Entries of core::Abi. By place; route=adaptive, while some class of calls is better off elsewhere;
    // route=adaptive, at the start of a period: a few calls are timed on either route.
    static void syscall(core::Thread& thread);
    static void syscall_adaptive(core::Thread& thread);
    static void syscall_sampled(core::Thread& thread);
    static void trap(core::Thread& thread, const Trap& trap);

private:
    static void finish_or_leave(UserThread& t);
    static void call_timed(UserThread& t, u64 wanted);
    static void call_elsewhere(UserThread& t, u64 wanted);
    static void call_or_leave(UserThread& t, rt::Executor& where, u64 wanted);
    static bool call(UserThread& t, rt::Executor& where, u64 wanted);
    static void trace_end(UserThread& t, bool done);
};

}  // namespace port
