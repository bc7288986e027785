// SPDX-License-Identifier: MIT
// Jobs, waits and the wake-up protocol.
//
// A job's phase: running -> preparing -> waiting -> fired (posted) -> running
//                           preparing -> fired: the suspender sees it and does not suspend
// All transitions out of preparing and waiting are compare-exchanges; the thread that moves the job to fired decides
// why the wait ended.
#include "rt/task.hpp"

#include "rt/mem/slab.hpp"
#include "rt/wait.hpp"

namespace rt {

constinit SpinLock<Rank::log> Job::all_lock_;
constinit lib::List<Job, &Job::all_hook_> Job::all_;

Job::~Job() {
    if (!root_handle_) return;  // never started
    root_handle_.destroy();
    LockGuard guard{all_lock_};  // its neighbours write the hook
    all_hook_.unlink();
}

bool Job::start(Task<void> root, Executor& where) {
    if (!root.valid()) return false;
    auto h = std::exchange(root.h_, nullptr);
    root_handle_ = h;
    root_ = &h.promise();
    root_->job = this;
    resume_ = h;
    home_ = &where;
    {
        LockGuard guard{all_lock_};
        all_.push_back(*this);
    }
    where.post(*this);
    return true;
}

void Job::resume_now(Schedulable& s) {
    // After resume() the job may run on another CPU or be freed: it is not touched again.
    Job& job = static_cast<Job&>(s);
    if (job.on_switch_) job.on_switch_(job, true);
    job.resume_.resume();
}

void root_ended(Job& job) {
    if (job.on_done_) job.on_done_(job);
}

bool spawn(const char* name, Task<void> root, Executor& where) {
    if (!root.valid()) return false;
    Job* job = make<Job>(name, [](Job& j) { delete &j; });
    if (!job) return false;
    return job->start(std::move(root), where);
}

void Job::interrupt() {
    // seq_cst: pairs with Wait::suspend(), which publishes its phase before it reads the flag.
    interrupt_.store(true, std::memory_order_seq_cst);
    fire(Wake::kInterrupted);
}

bool Job::fire(Wake why) {
    u32 p = phase_.load(std::memory_order_seq_cst);
    do {
        if ((p & kFired) || (p & (kPreparing | kWaiting)) == 0)
            return false;  // kFired carries the reason in the low bits
        if (why == Wake::kInterrupted && (p & kInterruptible) == 0) return false;
        // seq_cst: the waiter sees what the waker did before, and the waker sees the waiter's complete frame.
    } while (!phase_.compare_exchange_weak(p, kFired + u32(why), std::memory_order_seq_cst));
    if (p & kWaiting) home_->post(*this);
    return true;
}

bool Wait::suspend(Job& job, std::coroutine_handle<> h) {
    if (job.on_switch_) job.on_switch_(job, false);
    job_ = &job;
    job.resume_ = h;
    job.what_ = what_;
    u32 phase = Job::kPreparing | (interruptible_ ? u32(Job::kInterruptible) : 0);
    job.phase_.store(phase, std::memory_order_seq_cst);
    for (added_ = 0; added_ < count_; ++added_) {
        waiters_[added_].job = &job;
        if (!waiters_[added_].queue->add(waiters_[added_])) {
            job.fire(Wake::kWoken);
            return false;
        }
    }
    if (!left_out<Step::kWakeUnderPhase>() && interruptible_ && job.interrupted()) job.fire(Wake::kInterrupted);
    if (deadline_ != Nanoseconds::never()) {
        if (deadline_ <= hal::Machine::now()) {
            job.fire(Wake::kTimeout);
            return false;
        }
        timer_.job = &job;
        Executor::current().timers().arm(timer_, deadline_);
    }
    // After this exchange succeeds, the job may be resumed on another CPU: nothing of it is touched.
    u32 waiting = (phase & ~u32(Job::kPreparing)) | Job::kWaiting;
    return job.phase_.compare_exchange_strong(phase, waiting, std::memory_order_seq_cst);
}

void Wait::give_way(Job& job) {
    gave_way_ = true;
    priority_ = job.priority;
    Executor::current().give_way(job);
}

Wake Wait::finish() {
    if (gave_way_ && job_->priority != priority_) Executor::current().restore(*job_, priority_);
    for (u32 i = 0; i < added_; ++i) waiters_[i].queue->remove(waiters_[i]);
    if (deadline_ != Nanoseconds::never()) cancel_timer(timer_);
    Wake why = Wake(job_->phase_.load(std::memory_order_acquire) - Job::kFired);
    job_->what_ = nullptr;
    job_->phase_.store(Job::kRunning, std::memory_order_relaxed);
    return why;
}

bool Block::begin(Job& job, Schedulable::RunFn over) {
    waiter_.job = &job;
    job.what_ = what_;
    job.run = over;
    // No preparing phase: a waker posts to this executor, which looks at its queue only after the caller returns.
    job.phase_.store(Job::kWaiting | Job::kInterruptible, std::memory_order_seq_cst);
    if (!waiter_.queue->add(waiter_)) [[unlikely]] {
        u32 waiting = Job::kWaiting | Job::kInterruptible;
        if (!job.phase_.compare_exchange_strong(waiting, Job::kRunning)) return true;  // interrupted: posted
        job.run = &Job::resume_now;
        job.what_ = nullptr;
        waiter_.queue = nullptr;
        return false;
    }
    // seq_cst, as in Wait::suspend(): either this sees the request, or the request sees the phase.
    if (job.interrupted()) job.fire(Wake::kInterrupted);
    return true;
}

Wake Block::end(Job& job) {
    Wake why = Wake(job.phase_.load(std::memory_order_acquire) - Job::kFired);
    if (why != Wake::kWoken) waiter_.queue->remove(waiter_);  // a waker has already removed it
    waiter_.queue = nullptr;
    job.run = &Job::resume_now;
    job.what_ = nullptr;
    job.phase_.store(Job::kRunning, std::memory_order_relaxed);
    return why;
}

bool WaitQueue::add(Waiter& w) {
    LockGuard guard{lock_};
    // seq_cst: pairs with wake(), which changes the sequence before it reads the number of waiters.
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    if (!left_out<Step::kWaitSequence>() && sequence_.load(std::memory_order_seq_cst) != w.seen) {
        waiters_.fetch_sub(1, std::memory_order_relaxed);
        return false;
    }
    list_.push_back(w);
    return true;
}

void WaitQueue::remove(Waiter& w) {
    LockGuard guard{lock_};
    if (!w.hook.linked()) return;
    w.hook.unlink();
    waiters_.fetch_sub(1, std::memory_order_relaxed);
}

u32 WaitQueue::wake_one_slow() {
    LockGuard guard{lock_};
    while (Waiter* w = list_.pop_front()) {
        waiters_.fetch_sub(1, std::memory_order_relaxed);
        if (w->job->fire(Wake::kWoken)) return 1;  // under the lock, as below
    }
    return 0;
}

u32 WaitQueue::wake_slow(u32 limit) {
    LockGuard guard{lock_};
    u32 woken = 0;
    while (woken < limit) {
        Waiter* w = list_.pop_front();
        if (!w) break;
        waiters_.fetch_sub(1, std::memory_order_relaxed);
        // Under the lock: the waiter cannot leave (remove() takes the lock) before its node is no longer used here.
        if (w->job->fire(Wake::kWoken)) ++woken;
    }
    return woken;
}

}  // namespace rt
