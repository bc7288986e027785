// SPDX-License-Identifier: MIT
// Wait queues. Plain code checks the condition; a coroutine that must wait names the queues whose wake-ups may make it
// true.
//
//     for (;;) {
//         u32 seen = queue.sequence();              // before the check
//         if (auto r = try_it(); r != again) co_return r;
//         if (interrupted != Errno::kOk) co_return interrupted;
//         interrupted = (co_await wait_on(queue, seen, "pipe: data")).error();  // kRestartSys if interrupted
//     }
//
// After an interruption the condition is checked once more: if it has come true at the same time, that wins.
//
// A wake-up between the check and the suspension changes the sequence and is not lost. A job can wait for several
// queues and a deadline at once (poll): see class Wait. Wakers allocate nothing and take only the queue's lock.
#pragma once

#include "lib/list.hpp"
#include "rt/atomic.hpp"
#include "rt/spinlock.hpp"
#include "rt/task.hpp"

namespace rt {

class WaitQueue;

// One job's entry in one queue. Lives in the frame of the waiting coroutine (or in an array that it owns).
struct Waiter {
    lib::ListHook hook;
    WaitQueue* queue = nullptr;
    u32 seen = 0;
    Job* job = nullptr;
    u64 key = 0;  // unused at present
};

class WaitQueue {
public:
    constexpr WaitQueue() = default;
    // To be read before the condition is checked. seq_cst: pairs with wake().
    u32 sequence() const { return sequence_.load(std::memory_order_seq_cst); }
    // True if jobs wait here. A hint: they may be waking up.
    bool has_waiters() const { return waiters_.load(std::memory_order_seq_cst) != 0; }

    // The condition may have changed: wakes jobs in order of arrival. Returns how many were woken. From any CPU; never
    // blocks.
    u32 wake_all() { return wake(~0u); }
    u32 wake_one() {
        sequence_.fetch_add(1, std::memory_order_seq_cst);
        if (waiters_.load(std::memory_order_seq_cst) == 0) [[likely]]
            return 0;
        return wake_one_slow();
    }
    u32 wake(u32 limit) {
        sequence_.fetch_add(1, std::memory_order_seq_cst);
        if (waiters_.load(std::memory_order_seq_cst) == 0) [[likely]]
            return 0;
        return wake_slow(limit);
    }

private:
    friend class Wait;
    friend class Block;
    u32 wake_slow(u32 limit) RT_EXCLUDES(lock_);
    u32 wake_one_slow() RT_EXCLUDES(lock_);
    bool add(Waiter& w) RT_EXCLUDES(lock_);     // false: the sequence has changed, do not sleep
    void remove(Waiter& w) RT_EXCLUDES(lock_);  // if it is still queued
    Atomic<u32> sequence_{0};
    Atomic<u32> waiters_{0};
    SpinLock<Rank::wait_queue> lock_;
    lib::List<Waiter, &Waiter::hook> list_ RT_GUARDED_BY(lock_);
};

// One suspension of one job. Awaitable; everything is undone when it ends. A wait that ends before it begins yields
// like Yield: a loop that waits for a condition does not monopolise its CPU, however often it is woken in vain.
class Wait {
public:
    explicit Wait(const char* what) : what_(what) {}
    Wait(const Wait&) = delete;
    // The waiters must outlive the await. Each has `queue` and `seen` set.
    Wait& on(Waiter* waiters, u32 count) {
        waiters_ = waiters;
        count_ = count;
        return *this;
    }
    // An absolute time on the clock of Machine::now().
    Wait& until(Nanoseconds deadline) {
        deadline_ = deadline;
        return *this;
    }
    Wait& uninterruptible() {
        interruptible_ = false;
        return *this;
    }

    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        Job& job = *h.promise().job;
        if (!suspend(job, h)) give_way(job);
    }
    Wake await_resume() noexcept { return finish(); }

private:
    struct Deadline : Timer {
        Deadline() : Timer(&Deadline::expired) {}
        static void expired(Timer& t) { static_cast<Deadline&>(t).job->fire(Wake::kTimeout); }
        Job* job = nullptr;
    };
    // False: the wait has already ended.
    bool suspend(Job& job, std::coroutine_handle<> h);
    void give_way(Job& job);
    Wake finish();

    const char* what_;
    Job* job_ = nullptr;
    Waiter* waiters_ = nullptr;
    u32 count_ = 0;
    u32 added_ = 0;
    bool interruptible_ = true;
    bool gave_way_ = false;
    Priority priority_ = Priority::kKernel;  // the job's priority when it yielded
    Nanoseconds deadline_ = Nanoseconds::never();
    Deadline timer_;
};

// A wait without a coroutine: when it ends, the job runs `over` on its executor instead of resuming its coroutine.
// Stored with the job. The queue must outlive the wait.
class Block {
public:
    constexpr Block() = default;
    Block(const Block&) = delete;
    void on(WaitQueue& queue, u32 seen, const char* what) {
        waiter_.queue = &queue;
        waiter_.seen = seen;
        what_ = what;
    }
    bool wanted() const { return waiter_.queue != nullptr; }
    void forget() { waiter_.queue = nullptr; }
    // On the job's executor, while the job does not run. False: the queue's sequence has changed, so the condition must
    // be checked again; the job is not waiting.
    bool begin(Job& job, Schedulable::RunFn over);
    // Called first in `over`. Returns kWoken or kInterrupted.
    Wake end(Job& job);

private:
    Waiter waiter_;
    const char* what_ = nullptr;
};

// The common case: one queue, interruptible. Returns kRestartSys when interrupted, kTimedOut after the deadline.
class WaitOn {
public:
    WaitOn(WaitQueue& q, u32 seen, const char* what, Nanoseconds deadline = Nanoseconds::never()) : wait_(what) {
        waiter_.queue = &q;
        waiter_.seen = seen;
        wait_.on(&waiter_, 1).until(deadline);
    }
    WaitOn& uninterruptible() {
        wait_.uninterruptible();
        return *this;
    }
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        wait_.await_suspend(h);
    }
    Result<void> await_resume() noexcept {
        switch (wait_.await_resume()) {
            case Wake::kInterrupted: return Errno::kRestartSys;
            case Wake::kTimeout: return Errno::kTimedOut;
            case Wake::kWoken: break;
        }
        return lib::kOk;
    }

private:
    Waiter waiter_;
    Wait wait_;
};

inline WaitOn wait_on(WaitQueue& q, u32 seen, const char* what, Nanoseconds deadline = Nanoseconds::never()) {
    return WaitOn{q, seen, what, deadline};
}

}  // namespace rt
