// SPDX-License-Identifier: MIT
// Intrusive reference counts. Derive from RefCounted<T>; when the last Ref ends, the object is deleted (T may define
// `static void last_ref(T*)` to do something else, such as freeing it after a grace period).
#pragma once
#include <atomic>
#include <cstddef>
#include <utility>

#include "lib/types.hpp"

namespace lib {

template <class T>
class RefCounted {
public:
    RefCounted() = default;
    RefCounted(const RefCounted&) = delete;
    RefCounted& operator=(const RefCounted&) = delete;

    void ref() const { count_.fetch_add(1, std::memory_order_relaxed); }
    // Pairs with itself: the thread that deletes the object sees what all others did before they dropped their
    // references.
    void unref() const {
        if (count_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
            T* self = const_cast<T*>(static_cast<const T*>(this));
            if constexpr (requires { T::last_ref(self); })
                T::last_ref(self);
            else
                delete self;
        }
    }
    // Takes a reference, or returns false if the count has reached 0 (for lookups in tables that hold no reference).
    bool try_ref() const {
        u32 n = count_.load(std::memory_order_relaxed);
        while (n != 0)
            if (count_.compare_exchange_weak(n, n + 1, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        return false;
    }
    u32 ref_count() const { return count_.load(std::memory_order_acquire); }

private:
    mutable std::atomic<u32> count_{1};  // created with one reference, for adopt()
};

template <class T>
class Ref {
public:
    constexpr Ref() = default;
    constexpr Ref(std::nullptr_t) {}  // NOLINT
    explicit Ref(T* p) : p_(p) {
        if (p_) p_->ref();
    }
    // Takes over a reference that the caller holds.
    static Ref adopt(T* p) {
        Ref r;
        r.p_ = p;
        return r;
    }
    Ref(const Ref& o) : p_(o.p_) {
        if (p_) p_->ref();
    }
    Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
    template <class U>
        requires std::is_convertible_v<U*, T*>
    Ref(const Ref<U>& o) : p_(o.get()) {  // NOLINT
        if (p_) p_->ref();
    }
    template <class U>
        requires std::is_convertible_v<U*, T*>
    Ref(Ref<U>&& o) noexcept : p_(o.release()) {}  // NOLINT
    Ref& operator=(Ref o) noexcept {
        std::swap(p_, o.p_);
        return *this;
    }
    ~Ref() {
        if (p_) p_->unref();
    }
    T* get() const { return p_; }
    T* operator->() const { return p_; }
    T& operator*() const { return *p_; }
    explicit operator bool() const { return p_ != nullptr; }
    T* release() { return std::exchange(p_, nullptr); }
    friend bool operator==(const Ref& a, const Ref& b) { return a.p_ == b.p_; }

private:
    T* p_ = nullptr;
};

}  // namespace lib
using lib::Ref;
using lib::RefCounted;
