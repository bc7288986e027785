// SPDX-License-Identifier: MIT
// A sleeping lock, or a number of permits, that is handed over in the order of arrival: a job that arrives later never
// overtakes one that waits, as it may once with rt::AsyncMutex.
//     auto held = CO_TRY(co_await permits.take());
//
// Lock: of Rank::async_lock, the waiters and the count; never held across co_await.
#pragma once
#include <utility>

#include "lib/list.hpp"
#include "lib/result.hpp"
#include "rt/one_shot.hpp"
#include "rt/spinlock.hpp"

namespace rt {

class FairSemaphore {
public:
    // How many may hold a permit at once; 1: a lock.
    explicit constexpr FairSemaphore(u32 permits) : free_(permits) {}
    FairSemaphore(const FairSemaphore&) = delete;

    class [[nodiscard]] Guard {
    public:
        Guard() = default;
        explicit Guard(FairSemaphore* s) : s_(s) {}
        Guard(Guard&& o) noexcept : s_(std::exchange(o.s_, nullptr)) {}
        Guard& operator=(Guard&& o) noexcept {
            std::swap(s_, o.s_);
            return *this;
        }
        ~Guard() {
            if (s_) s_->give_back();
        }
        explicit operator bool() const { return s_ != nullptr; }

    private:
        FairSemaphore* s_ = nullptr;
    };

    // Waits until it has a permit. Not interruptible: each holder keeps it for a bounded time only. kNoMem: there is no
    // memory for the coroutine's frame.
    Task<Result<Guard>> take() {
        Waiter me;
        {
            LockGuard guard{lock_};
            if (free_ != 0) {
                --free_;
                co_return Guard{this};
            }
            waiting_.push_back(me);
        }
        co_await me.turn;
        co_return Guard{this};
    }

private:
    struct Waiter {
        lib::ListHook hook;
        OneShot turn{"sleeping lock"};
    };
    // A permit goes from its holder to the first that waits, and is not free in between.
    void give_back() RT_EXCLUDES(lock_) {
        Waiter* next;
        {
            LockGuard guard{lock_};
            next = waiting_.pop_front();
            if (!next) ++free_;
        }
        if (next) next->turn.signal();
    }
    SpinLock<Rank::async_lock> lock_;
    u32 free_ RT_GUARDED_BY(lock_);
    lib::List<Waiter, &Waiter::hook> waiting_ RT_GUARDED_BY(lock_);
};

}  // namespace rt
