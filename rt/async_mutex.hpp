// SPDX-License-Identifier: MIT
// A sleeping lock for coroutines. Waiters are woken in order of arrival, but a thread that arrives later may take the
// lock before the woken one runs.
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
        for (;;) {
            u32 seen = queue_.sequence();
            if (Guard g = try_lock()) co_return std::move(g);
            WaitOn w = wait_on(queue_, seen, "sleeping lock");
            w.uninterruptible();
            (void)co_await w;
        }
    }
    // Never waits. An empty guard if the lock is held.
    Guard try_lock() {
        bool free = false;
        return held_.compare_exchange_strong(free, true, std::memory_order_acquire) ? Guard{this} : Guard{};
    }

private:
    void unlock() {
        held_.store(false, std::memory_order_release);
        queue_.wake_one();
    }
    Atomic<bool> held_{false};
    WaitQueue queue_;
};

}  // namespace rt
