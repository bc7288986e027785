// SPDX-License-Identifier: MIT
// Memory has run out: whose process ends for it.
#pragma once
#include "linux/task/process.hpp"
#include "rt/reclaim.hpp"
#include "rt/wait.hpp"

namespace linux {

// So many processes end for one call or fault: others may take what comes back.
inline constexpr u32 kMostEnds = 16;

enum class ForMemory : u8 {
    kTryAgain,  // a process has ended, or some memory has come back meanwhile
    kEnding,    // the caller's process is the one that ends
    kNobody,    // no process has so much that its end would help
    kYield,     // let others run, then call next() again
    kPause,     // the same, but for some milliseconds
};

// Ends the process that has the most memory of its own, if that is a good part of all there is, and waits until it is gone
// (two seconds at most). What belongs to nobody's address space (pipes, files) is not looked at: it would not come back.
// It takes no memory, not even for a coroutine: use FIND_MEMORY.
class EndForMemory {
public:
    // For a thread that lacks memory; it holds no lock. Does not block.
    ForMemory next(Thread& t);

private:
    bool search();
    void look_at(Process& p);

    static constexpr u32 kPauses = 4;  // before the first one is ended
    Nanoseconds until_{};              // when it waits for a process that ends no longer
    Ref<Process> largest_;
    u64 pages_ = 0;
    i32 from_ = 1;                // the number to search on from
    bool one_is_ending_ = false;  // of those that have much
    u32 pauses_ = 0;
};

// In a coroutine of thread `t`, after an allocation has failed: waits for memory that is coming back, and if there is none,
// for what a process leaves that ends for it. A macro, because it must not need memory for a coroutine of its own.
#define FIND_MEMORY(t, outcome)                                                         \
    do {                                                                                \
        auto memory_ = rt::wait_for_memory();                                           \
        if (memory_.valid()) co_await memory_;                                          \
        EndForMemory end_;                                                              \
        while ((outcome = end_.next(t)) >= ForMemory::kYield) {                         \
            if (outcome == ForMemory::kYield) {                                         \
                co_await rt::Yield{};                                                   \
                continue;                                                               \
            }                                                                           \
            rt::Wait pause_{"memory that a process leaves"};                            \
            pause_.until(hal::Machine::now() + lib::milliseconds(5)).uninterruptible(); \
            (void)co_await pause_;                                                      \
        }                                                                               \
    } while (false)

}  // namespace linux
