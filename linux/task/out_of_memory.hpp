// SPDX-License-Identifier: MIT
// Memory has run out: whose process ends for it.
#pragma once
#include <optional>

#include "linux/task/process.hpp"
#include "rt/mem/pages.hpp"
#include "rt/reclaim.hpp"
#include "rt/wait.hpp"

namespace linux {

// One call or fault looks for memory so often: others may take what has come back.
inline constexpr u32 kMostEnds = 16;

enum class ForMemory : u8 {
    kTryAgain,  // memory has come back
    kEnding,    // the caller's process is one that ends
    kNobody,    // there is no process that may end
    kYield,     // let others run, then call next() again
    kPause,     // the same, but for some milliseconds
};

// Has an allocation found no memory, of any thread, since this was made? Only then is ENOMEM one of memory: it says other
// things, too. How much there is by now does not count: it may be long after, on a busy host.
class RanOut {
public:
    bool since() const { return rt::memory_ran_out() != before_; }
    // The same of a try before this was made, which may not have been long ago.
    static bool lately();

private:
    Nanoseconds before_ = rt::memory_ran_out();
};

// oom_badness of Linux: what it has resident, with page tables, and what oom_score_adj adds. Nothing: it has no memory, or
// may not be chosen.
std::optional<i64> oom_badness(Process& p);

// While memory is short it ends the process that has the most, however little that is, with all that share its memory, as
// Linux does; then the next, once that memory has gone, until there is enough. Never the first program: without it all
// ends. What no address space maps (pipes, files, slabs) counts for nobody.
// It takes no memory, not even for a coroutine: use FIND_MEMORY.
class EndForMemory {
public:
    EndForMemory() = default;
    EndForMemory(const EndForMemory&) = delete;
    ~EndForMemory() { stop_searching(); }
    // For a thread that lacks memory; it holds no lock, and no reference to another process's memory, which could not come
    // back then. Does not block.
    ForMemory next(Thread& t);

private:
    ForMemory wait_for_memory(Nanoseconds now);
    bool may_search();
    void stop_searching();
    bool search();
    void look_at(Process& p);
    ForMemory choose(Thread& t, Nanoseconds now);
    ForMemory end_sharers(Thread& t);

    Ref<Process> largest_;
    i64 points_ = 0;
    u64 pages_ = 0;          // of the largest
    bool searched_ = false;  // all were looked at, and it is to be chosen
    i32 from_ = 1;           // the number to search on from
    u64 spared_ = 0;         // the serial number of the first program's memory
    u64 ending_ = 0;         // that of the memory whose processes it ends; 0: it searches
    u64 pushed_ = 0;         // pieces since the last pause
    u64 epoch_ = 0;          // when what had gone is free; 0: not asked yet
    Nanoseconds until_{};    // the same, if a CPU is stopped
    u32 pauses_ = 0;         // since then
    u64 chosen_ = 0;         // how many had been chosen when `epoch_` was set
};

// In a coroutine of thread `t`, after an allocation has failed: waits for memory that is coming back, and if there is none,
// for what processes leave that end for it. A macro, because it must not need memory for a coroutine of its own.
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
