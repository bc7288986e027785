// SPDX-License-Identifier: MIT
// Task<T>: a lazy coroutine that is awaited exactly once. Job: the root activity that a chain of tasks belongs to.
//
// A Job waits, is woken and is cancelled as a whole; the tasks below it are its call stack. `Job::trace()` walks that
// stack: each promise knows which task it awaits, where (function, line), and what a suspended leaf waits for.
//
// Invariants: no spinlock is held across co_await (asserted in debug builds); a waiter is posted, never resumed inline;
// nothing per-CPU is kept across co_await, because the job may continue on another CPU. Allocation failure: a
// Task<Result<T>> whose frame could not be allocated returns Errno::kNoMem.
#pragma once
#include <coroutine>
#include <optional>
#include <source_location>

#include "lib/result.hpp"
#include "rt/atomic.hpp"
#include "rt/executor.hpp"
#include "rt/lock_check.hpp"
#include "rt/mem/frames.hpp"
#include "rt/spinlock.hpp"

namespace rt {

class Job;

void root_ended(Job& job);

// The part of a promise that all coroutines of the kernel share.
struct PromiseBase {
    std::coroutine_handle<> continuation;  // the awaiting coroutine; null for a root
    PromiseBase* awaiting = nullptr;       // the task that this one awaits, if any
    Job* job = nullptr;
    std::source_location where;  // of the last co_await

    static void* operator new(size_t n) noexcept { return frame_allocate(n); }
    static void operator delete(void* p, size_t n) noexcept { frame_free(p, n); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept {}
    template <class A>
    A&& await_transform(A&& awaitable, std::source_location at = std::source_location::current()) noexcept {
        where = at;
        if constexpr (kDebug) RT_CHECK(!lock_check::holds_any(), "co_await with a spinlock held");
        return static_cast<A&&>(awaitable);
    }
    struct Final {
        bool await_ready() noexcept { return false; }
        template <class P>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) noexcept {
            if (h.promise().continuation) [[likely]]
                return h.promise().continuation;
            root_ended(*h.promise().job);  // may destroy this frame and the job
            return std::noop_coroutine();
        }
        void await_resume() noexcept {}
    };
    Final final_suspend() noexcept { return {}; }
};

template <class T>
class [[nodiscard]] Task {
public:
    struct promise_type : PromiseBase {
        Task get_return_object() { return Task{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        static Task get_return_object_on_allocation_failure() { return Task{nullptr}; }
        template <class U>
            requires std::is_constructible_v<T, U&&>
        void return_value(U&& v) {
            result.emplace(std::forward<U>(v));
        }
        std::optional<T> result;
    };
    Task() = default;  // empty: not valid
    Task(Task&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
    Task& operator=(Task&& o) noexcept {  // of a task that is not being awaited
        std::swap(h_, o.h_);
        return *this;
    }
    ~Task() {
        if (h_) h_.destroy();
    }
    bool valid() const { return h_ != nullptr; }

    bool await_ready() const noexcept { return !h_; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> parent) noexcept {
        parent_ = &parent.promise();
        parent_->awaiting = &h_.promise();
        h_.promise().continuation = parent;
        h_.promise().job = parent_->job;
        return h_;
    }
    T await_resume() noexcept {
        if (!h_) {
            if constexpr (std::is_constructible_v<T, Errno>)
                return T(Errno::kNoMem);
            else
                hal::Machine::panic("no memory for a coroutine that cannot fail");
        }
        parent_->awaiting = nullptr;
        return std::move(*h_.promise().result);
    }

private:
    friend class Job;
    explicit Task(std::coroutine_handle<promise_type> h) : h_(h) {}
    std::coroutine_handle<promise_type> h_{};
    PromiseBase* parent_ = nullptr;
};

template <>
class [[nodiscard]] Task<void> {
public:
    struct promise_type : PromiseBase {
        Task get_return_object() { return Task{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        static Task get_return_object_on_allocation_failure() { return Task{nullptr}; }
        void return_void() {}
    };
    Task(Task&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
        if (h_) h_.destroy();
    }
    bool valid() const { return h_ != nullptr; }
    bool await_ready() const noexcept {
        RT_CHECK(h_ != nullptr, "no memory for a coroutine that cannot fail");
        return false;
    }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> parent) noexcept {
        parent_ = &parent.promise();
        parent_->awaiting = &h_.promise();
        h_.promise().continuation = parent;
        h_.promise().job = parent_->job;
        return h_;
    }
    void await_resume() noexcept { parent_->awaiting = nullptr; }

private:
    friend class Job;
    explicit Task(std::coroutine_handle<promise_type> h) : h_(h) {}
    std::coroutine_handle<promise_type> h_;
    PromiseBase* parent_ = nullptr;
};

// Why a wait ended.
enum class Wake : u8 { kWoken, kTimeout, kInterrupted };

// A root activity: one chain of tasks, bound to one executor at a time. Life: constructed -> start() -> ... -> done.
// The callback `on_done` runs last, on the job's executor, and may free the job.
class Job : public Schedulable {
public:
    using DoneFn = void (*)(Job&);
    static bool is_one(const Schedulable& s) { return s.run == &Job::resume_now; }  // for a node of a run queue
    explicit Job(const char* name, DoneFn on_done = nullptr, Priority p = Priority::kKernel)
        : Schedulable(&Job::resume_now, p), name_(name), on_done_(on_done) {}
    ~Job();
    Job(const Job&) = delete;

    // Takes the root task and posts the job to `where`. Returns false, and does nothing, if the task has no frame. From
    // any CPU.
    bool start(Task<void> root, Executor& where);

    Executor& home() const { return *home_; }
    // Sets where the job continues after its next wake-up. Only from within the running job, or before it is started.
    void set_home(Executor& ex) { home_ = &ex; }
    const char* name() const { return name_; }
    // For awaitables that switch to other work themselves: where resume() continues.
    void suspended_at(std::coroutine_handle<> h) { resume_ = h; }
    void resume() { resume_.resume(); }

    // Requests cancellation. An interruptible wait ends with Wake::kInterrupted, at once or when it is reached. The
    // request stays until clear_interrupt(). From any CPU.
    void interrupt();
    void clear_interrupt() { interrupt_.store(false, std::memory_order_relaxed); }
    bool interrupted() const { return interrupt_.load(std::memory_order_acquire); }

    // Part of the wake-up protocol (used by Wait, below): ends the present wait. False if there is none or it has ended
    // already: only one wake-up succeeds.
    bool fire(Wake why);

    // Calls out(location) for each await, outermost first. For dumps: the job should not be running.
    template <class Out>
    void trace(Out&& out) const {
        for (const PromiseBase* p = root_; p; p = p->awaiting) out(p->where);
    }
    const char* waiting_for() const { return what_; }
    // For dumps: calls call(job) for all jobs that have been started, without a lock, so the list may be inconsistent.
    template <class F>
    static void for_each_unlocked(F&& call) RT_UNCHECKED_LOCKING {
        u32 limit = 100'000;
        for (Job& j : all_) {
            call(j);
            if (--limit == 0) break;
        }
    }
    // For time accounting: called when the job is about to wait, move or yield (false), and when it continues (true).
    using SwitchFn = void (*)(Job&, bool runs);
    void set_on_switch(SwitchFn fn) { on_switch_ = fn; }
    bool is_waiting() const { return (phase_.load(std::memory_order_relaxed) & kWaiting) != 0; }
    // It waits for what no signal ends.
    bool waits_uninterruptibly() const {
        return (phase_.load(std::memory_order_relaxed) & (kWaiting | kInterruptible)) == kWaiting;
    }

private:
    friend class Wait;
    friend class Block;
    friend class OneShot;
    friend struct MoveTo;
    friend struct Yield;
    friend void root_ended(Job& job);
    // kPreparing or kWaiting (either with kInterruptible), or kFired + the Wake that succeeded; 0 while running.
    enum Phase : u32 { kRunning = 0, kPreparing = 1, kWaiting = 2, kInterruptible = 4, kFired = 8 };
    static void resume_now(Schedulable& s);

    static SpinLock<Rank::log> all_lock_;
    lib::ListHook all_hook_;
    static lib::List<Job, &Job::all_hook_> all_ RT_GUARDED_BY(all_lock_);

    const char* name_;
    DoneFn on_done_;
    SwitchFn on_switch_ = nullptr;
    Executor* home_ = nullptr;
    std::coroutine_handle<> resume_;  // the innermost suspended coroutine
    PromiseBase* root_ = nullptr;
    std::coroutine_handle<> root_handle_;
    Atomic<u32> phase_{kRunning};
    Atomic<bool> interrupt_{false};
    const char* what_ = nullptr;
};

// co_await MoveTo{executor}: continues on that executor. Does not suspend if the job is there already.
struct MoveTo {
    Executor& to;
    bool await_ready() const noexcept { return &to == &Executor::current(); }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        Job& job = *h.promise().job;
        if (job.on_switch_) job.on_switch_(job, false);
        job.resume_ = h;
        job.home_ = &to;
        to.post(job);  // from here on the job may run on another CPU: nothing of it is touched
    }
    void await_resume() noexcept {}
};

// co_await Yield{}: a preemption point in long work. Interrupts are taken, other ready work runs first, and user
// threads get their turn too (Executor::give_way). Every loop whose length a program chooses must yield at least every
// 100,000 instructions (docs/testing.md, "Stretches").
struct Yield {
    Job* job = nullptr;
    Priority priority = Priority::kKernel;
    bool await_ready() const noexcept { return false; }
    template <class P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        job = h.promise().job;
        priority = job->priority;
        if (job->on_switch_) job->on_switch_(*job, false);
        job->resume_ = h;
        Executor::current().give_way(*job);
    }
    void await_resume() noexcept {
        if (job->priority != priority) Executor::current().restore(*job, priority);
    }
};

// The job that the calling coroutine belongs to: `Job& job = co_await ThisJob{}`. Never suspends.
struct ThisJob {
    Job* job = nullptr;
    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> h) noexcept {
        job = h.promise().job;
        return false;
    }
    Job& await_resume() noexcept { return *job; }
};

}  // namespace rt

using rt::Task;

namespace rt {
// Starts a task whose end no thread waits for. False if there is no memory for it.
bool spawn(const char* name, Task<void> root, Executor& where);
}  // namespace rt
