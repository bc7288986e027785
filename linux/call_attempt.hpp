// SPDX-License-Identifier: MIT
// A system call that the leaf tier could not finish, and how it is tried again until it has a result.
//
// The thread's coroutine does what next() returns and reports the outcome; no decision is made elsewhere.
// Limits: memory is waited for kMemoryTries times, then a process is ended for it, some times; twice a range that cannot be
// provided is given up, and the call fails there.
#pragma once
#include "linux/sys/table.hpp"
#include "linux/task/out_of_memory.hpp"
#include "linux/task/thread.hpp"
#include "rt/reclaim.hpp"

namespace linux {

// An allocation has failed while memory is low: memory still being reclaimed (rt/reclaim.hpp, epochs) is awaited, and
// the call or fault that needs it is tried again so often.
inline constexpr u32 kMemoryTries = 3;

class CallAttempt {
public:
    enum class Step {
        kDone,     // result()
        kMemory,   // wait for memory: memory_came()
        kEndOne,   // FIND_MEMORY: memory_came() if it is worth another try, else nobody_ended()
        kFaultIn,  // make t.user().fault() present: faulted_in()
        kWait,     // t.blocked_leaf says for what: came_back()
        kTask,     // await t.unfinished: came_back()
    };

    // `first`: what the leaf tier said.
    CallAttempt(Thread& t, const SyscallRow& row, LeafError first) : thread_(t), row_(row), result_(first) {}
    CallAttempt(const CallAttempt&) = delete;
    ~CallAttempt() { thread_.user().hope_again(); }

    Step next() {
        const LeafError e = result_.error();
        if (e == kNeedsFault) return Step::kFaultIn;
        if (e == Errno::kNoMem && may_wait_for_memory()) {
            ++memory_tries_;
            return Step::kMemory;
        }
        if (e == Errno::kNoMem && may_end_one()) {
            ++ends_;
            return Step::kEndOne;
        }
        if (e != kNeedsTask) return Step::kDone;
        // The port does not block handlers, or this one was run from here.
        if (thread_.blocked_leaf.again) return Step::kWait;
        if (thread_.unfinished.valid()) return Step::kTask;
        port::logf("{}: it must wait, and does not say how", row_.name);
        return Step::kDone;
    }
    void memory_came() {
        given_up_ = 0;
        thread_.user().hope_again();
        run();
    }
    void nobody_ended() { ends_ = kMostEnds; }
    // kFault: some of it is no memory of the program's. kNoMem.
    void faulted_in(Result<void> got) {
        if (got.ok()) return run();
        if (got.error() == Errno::kNoMem) return came_back(Errno::kNoMem);
        if (given_up_++ == kRangesGivenUp) return came_back(Errno::kFault);
        thread_.user().give_up_fault();
        run();
    }
    void came_back(Leaf<i64> r) {
        result_ = std::move(r);
        if (is_killed() && result_.error() == kNeedsFault) result_ = Errno::kFault;
    }
    // Of a call that is done.
    Result<i64> result() { return result_.settled(Errno::kNoSys); }

private:
    static constexpr u32 kRangesGivenUp = 2;
    bool is_killed() const { return (thread_.work.load(std::memory_order_relaxed) & kWorkExit) != 0; }
    bool may_wait_for_memory() const {
        return memory_tries_ < kMemoryTries && (memory_tries_ == 0 ? RanOut::lately() : ran_out_.since());
    }
    bool may_end_one() const { return ends_ < kMostEnds && !is_killed() && ran_out_.since(); }
    void run() {
        thread_.forget_plans();
        ran_out_ = {};
        came_back(row_.run(thread_, thread_.call_regs().frame()));
    }

    Thread& thread_;
    const SyscallRow& row_;
    Leaf<i64> result_;
    RanOut ran_out_;  // before the last try
    u32 memory_tries_ = 0, ends_ = 0;
    u32 given_up_ = 0;
};

}  // namespace linux
