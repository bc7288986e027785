// SPDX-License-Identifier: MIT
// One event that one job waits for once, and that nothing else ends: no signal, no deadline.
//
// Unlike a WaitQueue it may live in the waiter's frame: signal() touches nothing of it from the moment the waiter may
// continue.
#pragma once
#include "rt/atomic.hpp"
#include "rt/task.hpp"

namespace rt {

class OneShot {
public:
    explicit OneShot(const char* what) : what_(what) {}
    OneShot(const OneShot&) = delete;

    // It has happened. Once, from any CPU, with interrupts off or on; never blocks, allocates nothing. The waiter, if it
    // waits already, is posted to its executor.
    void signal() {
        // Acquire and release: what happened before the signal is seen by the waiter, and the waiter's phase here.
        Job* waiter = state_.exchange(happened(), std::memory_order_acq_rel);
        if (waiter) waiter->fire(Wake::kWoken);
    }

    // co_await: until it has happened.
    bool await_ready() const noexcept { return state_.load(std::memory_order_acquire) == happened(); }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> h) noexcept {
        Job& job = *h.promise().job;
        job_ = &job;
        if (job.on_switch_) job.on_switch_(job, false);
        job.resume_ = h;
        job.what_ = what_;
        job.phase_.store(Job::kWaiting, std::memory_order_release);  // nothing but signal() can end it
        Job* none = nullptr;
        // After this succeeds, the job may run on another CPU: nothing of it is touched.
        if (state_.compare_exchange_strong(none, &job, std::memory_order_acq_rel)) return true;
        if (job.on_switch_) job.on_switch_(job, true);
        return false;
    }
    void await_resume() noexcept {
        if (!job_) return;
        job_->what_ = nullptr;
        job_->phase_.store(Job::kRunning, std::memory_order_relaxed);
    }

private:
    // No job has this address.
    static Job* happened() { return reinterpret_cast<Job*>(u64{1}); }
    const char* what_;
    Job* job_ = nullptr;           // the waiter's own
    Atomic<Job*> state_{nullptr};  // null, the waiter, or happened()
};

}  // namespace rt
