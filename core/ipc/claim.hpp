// SPDX-License-Identifier: MIT
// Ownership of a native thread as a type. What a thread is configured with can be read by every CPU and changed only
// with a ThreadClaim, which proves that this CPU owns the thread:
//
//     inactive --compare-exchange--> claimed --release--> inactive, or --start()--> ready
//
// or that the thread runs here, in a call of its own, or that this CPU has stopped it, or taken it out of a ReplySlot.
// A request of another CPU while the thread is claimed (its end, a move, its registers) waits: the release forwards the
// request to the thread's home. A claim never spans two calls, so it is held for a bounded time.
#pragma once
#include "core/cap/object.hpp"

namespace core {

class NativeThread;

class [[nodiscard]] ThreadClaim {
public:
    // An inactive thread. Without success (`ok()` is false) it is not inactive, or another CPU has claimed it.
    static ThreadClaim of_inactive(NativeThread& t);
    // A thread whose state is "claimed"; the caller has set that state.
    static ThreadClaim of_claimed(NativeThread& t);
    // The thread whose call this CPU executes.
    static ThreadClaim of_running(NativeThread& t);
    // A thread that this CPU has stopped, or that waited and was taken out of its queue or ReplySlot here.
    static ThreadClaim of_taken(NativeThread& t) { return ThreadClaim{&t, false}; }

    ThreadClaim(ThreadClaim&& o) noexcept
        : thread_(std::exchange(o.thread_, nullptr)), release_(std::exchange(o.release_, false)) {}
    ThreadClaim(const ThreadClaim&) = delete;
    ~ThreadClaim() {
        if (release_) release();
    }
    bool ok() const { return thread_ != nullptr; }
    NativeThread& operator*() const { return *thread_; }
    NativeThread* operator->() const { return thread_; }

    // Of an inactive thread, which becomes ready at its home.
    void start();
    // Called by the thread's home, which sees by itself what was requested in the meantime.
    void release_at_home();
    // It stays claimed.
    void keep() { release_ = false; }

private:
    ThreadClaim(NativeThread* t, bool release) : thread_(t), release_(release) {}
    void release();
    NativeThread* thread_;
    bool release_;
};

// A value that changes only under a claim, and is read by the CPU that has the thread. (Not atomic: the fastpaths
// compare it where it lies.)
template <class T>
class Owned {
public:
    constexpr Owned(T v = T{}) : value_(v) {}
    T get() const { return value_; }
    operator T() const { return get(); }
    T operator->() const
        requires std::is_pointer_v<T>
    {
        return get();
    }
    void set(const ThreadClaim&, T v) { value_ = v; }

private:
    T value_;
};

// The same for a counted reference. What another CPU reads stays allocated until it is quiescent.
template <class T>
class OwnedRef {
public:
    OwnedRef() = default;
    OwnedRef(const OwnedRef&) = delete;
    ~OwnedRef() {
        if (T* p = get()) p->unref();
    }
    T* get() const { return p_.load(std::memory_order_relaxed); }
    T* operator->() const { return get(); }
    T& operator*() const { return *get(); }
    explicit operator bool() const { return get() != nullptr; }
    // The reference that was there is dropped.
    void set(const ThreadClaim&, ObjectRef<T> to) {
        T* before = p_.exchange(to.take(), std::memory_order_acq_rel);
        if (before) before->unref();
    }

private:
    std::atomic<T*> p_{nullptr};
};

}  // namespace core
