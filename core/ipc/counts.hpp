// SPDX-License-Identifier: MIT
// How often one program's IPC took a slowpath, and why: the Linux server's, with its clients (kServerCounts). Counted on
// slowpaths alone, so that fastpaths pay nothing; how much IPC there was of each kind the server counts itself.
// Each CPU writes its own counters.
#pragma once
#include "core/ipc/ipc.hpp"
#include "core/trace_policy.hpp"

namespace core::ipc {

enum class Slow : u8 {
    kCall,       // a system call of a client, to its handler
    kPageFault,  // the same for a page fault
    kOtherTrap,  // another exception, or a kick
    kReply,      // an answer, with the next receive or without
    kReceive,    // a receive that answers no caller
    kCount
};
struct SlowCounts {
    u64 of[u32(Slow::kCount)][u32(trace::Test::kCount)];
};

// The threads of this Sched are counted; null: none are. Set before they run.
extern const Sched* counted;
// Of one CPU, from any.
SlowCounts slow_counts(CpuId cpu);

// This CPU takes a slowpath for t, without an attempt at a fastpath. Each of these is called only if there is `counted`.
void count_not_tried(const NativeThread& t, Slow kind, trace::Test why);
// The same for an exception, after an attempt, which has left its test (Machine::leave_note), unless t may not use the
// fastpath.
void count_tried(const NativeThread& t, Slow kind);
// The same for the call that t makes: an answer to an exception, or a receive.
void count_call(const NativeThread& t, Slow kind);

}  // namespace core::ipc
