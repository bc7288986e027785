// SPDX-License-Identifier: MIT
// A sleeping lock for coroutines. Waiters are woken in order of arrival. A thread that arrives later may take the lock before
// the woken one runs, but only once: from then on nobody does until those who were passed over have had it.
//     auto g = CO_TRY(co_await m.lock());      // or m.try_lock() in a leaf
#pragma once
#include "rt/atomic.hpp"
#include "rt/wait.hpp"

namespace rt {

class AsyncMutex {
public:
    class [[nodiscard]] Guard {
    public:
        Guard() = default;
        explicit Guard(AsyncMutex* m) : m_(m) {}
        Guard(Guard&& o) noexcept : m_(std::exchange(o.m_, nullptr)) {}
        Guard& operator=(Guard&& o) noexcept {
            std::swap(m_, o.m_);
            return *this;
        }
        ~Guard() {
            if (m_) m_->unlock();
        }
        explicit operator bool() const { return m_ != nullptr; }

    private:
        AsyncMutex* m_ = nullptr;
    };

    // Waits until the lock is free. Not interruptible, because each holder keeps the lock for a bounded time only.
    // kNoMem if there is no memory for the coroutine's frame.
    Task<Result<Guard>> lock() {
        bool passed_over = false;
        for (u32 tries = 0;; ++tries) {
            u32 seen = queue_.sequence();
            if (Guard g = tries == 0 ? try_lock() : take()) {
                if (passed_over) passed_over_.fetch_sub(1, std::memory_order_relaxed);
                co_return std::move(g);
            }
            if (tries != 0 && !passed_over) {
                passed_over = true;
                passed_over_.fetch_add(1, std::memory_order_relaxed);
            }
            WaitOn w = wait_on(queue_, seen, "sleeping lock");
            w.uninterruptible();
            (void)co_await w;
        }
    }
    // Never waits. An empty guard if the lock is held, or is due to somebody else.
    Guard try_lock() { return passed_over_.load(std::memory_order_relaxed) == 0 ? take() : Guard{}; }

private:
    Guard take() {
        bool free = false;
        return held_.compare_exchange_strong(free, true, std::memory_order_acquire) ? Guard{this} : Guard{};
    }
    void unlock() {
        held_.store(false, std::memory_order_release);
        queue_.wake_one();
    }
    Atomic<bool> held_{false};
    Atomic<u32> passed_over_{0};  // who were woken and found it taken, and wait again
    WaitQueue queue_;
};

}  // namespace rt
