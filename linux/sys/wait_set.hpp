// SPDX-License-Identifier: MIT
// Waiting for any of several files: what poll(2), select(2) and epoll_wait(2) share.
#pragma once
#include "fs/epoll_look.hpp"
#include "linux/sys/file_calls.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

// Room for the queues that one wait watches. It grows when a QueueSet did not fit.
class WaitRoom {
public:
    WaitRoom() = default;
    WaitRoom(const WaitRoom&) = delete;
    ~WaitRoom() { release(); }
    fs::QueueSet start() { return {waiters_, capacity_}; }
    rt::Waiter* waiters() { return waiters_; }
    // What it takes beyond `free` waiters is charged. ENOMEM.
    Result<void> grow(u32 to, fs::WaitMemory& memory, u64 free = 0);

private:
    static constexpr u32 kFew = 4;
    void release();
    u32 capacity_ = kFew;
    u64 charged_ = 0;
    rt::Waiter* waiters_ = few_;
    rt::Waiter few_[kFew];
};

// One file that is waited for.
struct Polled {
    Fd fd{-1};
    Ref<fs::File> file;  // whose queues are watched; null: not open, or not to be looked at
    u32 events = 0;      // wanted
    u32 ready = 0;       // found
};

// The deadline of a timeout that starts now; saturates.
Nanoseconds deadline_after(u64 nanoseconds);
// Fills in `ready`; how many are. 0 after the deadline, kIntr if interrupted. As in Linux, the wait is for the files that
// the numbers meant at first, and each later look is at what they mean then.
TaskResult wait_for_any(Caller& c, std::span<Polled> files, Nanoseconds deadline);

// The signal mask of ppoll, pselect and epoll_pwait, in force during the call.
class TemporaryMask {
public:
    void enter(Caller& c);
    // After a call that a signal has ended the old mask is put back only when the signal was delivered.
    void leave(Caller& c, bool interrupted);

private:
    friend Task<Result<TemporaryMask>> read_mask(Caller& c, UserAddr mask, u64 size);
    bool present_ = false;
    SignalSet wanted_, old_;
};

Task<Result<TemporaryMask>> read_mask(Caller& c, UserAddr mask, u64 size);

// A copy in or out, with the pages faulted in: for tasks.
Task<Result<void>> copy_from_program(Caller& c, UserAddr from, void* to, size_t n);
Task<Result<void>> copy_to_program(Caller& c, UserAddr to, const void* from, size_t n);

}  // namespace linux
