// SPDX-License-Identifier: MIT
// Kernel objects of the native interface, and the pools that their memory is charged to.
//
// Life: an object lives as long as a capability names it or the kernel refers to it. When its last capability goes it
// is ended (`end`): no thread can reach it any more, and its waiters are woken. When the last reference goes too, it is
// freed one epoch later, so that a CPU in the kernel may still read it without a reference (lookups are lock-free).
#pragma once
#include "abi/native.hpp"
#include "hal/bind.hpp"
#include "lib/list.hpp"
#include "lib/result.hpp"
#include "rt/assert.hpp"
#include "rt/epoch.hpp"
#include "rt/mem/slab.hpp"
#include "rt/spinlock.hpp"

namespace core {

namespace native = abi::native;

class Pool;
class Object;

// Objects that have lost their last capability and must be ended by the call that removed it. Each thread has its own
// list, so that no call waits for work that another has begun. caps::end_objects() processes it.
class Endings;

namespace caps {
// Of all tables and trees (cap.hpp).
extern rt::SpinLock<rt::Rank::capability> lock;
}  // namespace caps

class Object {
public:
    explicit Object(native::Type t) : type(t) {}
    Object(const Object&) = delete;
    virtual ~Object() = default;

    const native::Type type;

    // The caller holds a reference already; otherwise use try_ref().
    void ref() {
        [[maybe_unused]] const u32 before = refs_.fetch_add(1, std::memory_order_relaxed);
        RT_ASSERT(before != 0 && before < kMostRefs, "a reference to an object that is freed");
    }
    // False: it is on its way out. For those that found it in an epoch section, without a reference.
    bool try_ref() {
        u32 n = refs_.load(std::memory_order_relaxed);
        while (n != 0)
            if (refs_.compare_exchange_weak(n, n + 1, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        return false;
    }
    void unref() {
        const u32 before = refs_.fetch_sub(1, std::memory_order_acq_rel);
        RT_ASSERT(before != 0 && before < kMostRefs, "a reference dropped twice");
        if (before == 1) release();
    }

    // The last capability is gone. Called without locks, perhaps several times: false means that work is left,
    // which another call continues. At most `budget` steps of about a hundred instructions. Objects that lose their
    // last capability through this go to `more`.
    virtual bool end(u32& budget, Endings& more) { return true; }

    // Charged to `pool` for this object; returned when it is released.
    void set_charge(Pool& pool, u64 bytes);
    bool charged_to(const Pool& pool) const { return pool_ == &pool; }

    u32 caps RT_GUARDED_BY(caps::lock) = 0;
    lib::ListHook ending_hook RT_GUARDED_BY(caps::lock);

protected:
    Pool* pool_ = nullptr;
    u64 charge_ = 0;

private:
    static constexpr u32 kMostRefs = 1u << 28;  // a higher count is an error
    void release();
    std::atomic<u32> refs_{1};  // all capabilities together hold one
    rt::Retired retired_;
};

class Endings {
public:
    constexpr Endings() = default;
    Endings(const Endings&) = delete;
    lib::List<Object, &Object::ending_hook> objects RT_GUARDED_BY(caps::lock);
    // Called by the owner of the list, which alone adds to it: it sees its own additions without the lock.
    bool any_of_mine() const RT_UNCHECKED_LOCKING { return !objects.empty(); }
    bool closed RT_GUARDED_BY(caps::lock) = false;  // its thread has ended: no thread takes what is added from now on
};

// A quota of kernel memory. What is made of a pool is charged to it until it is gone.
class Pool final : public Object {
public:
    explicit Pool(u64 quota) : Object(native::kTypePool), quota_(quota) {}
    ~Pool() override = default;

    // False: it would exceed the quota; nothing is charged.
    bool charge(u64 bytes) {
        u64 used = used_.load(std::memory_order_relaxed);
        do {
            if (bytes > quota_ - used) return false;
        } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
        return true;
    }
    void give_back(u64 bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
    u64 used() const { return used_.load(std::memory_order_relaxed); }
    u64 quota() const { return quota_; }

private:
    const u64 quota_;
    std::atomic<u64> used_{0};
};

// A reference to an object, dropped at the end.
template <class T>
class ObjectRef {
public:
    ObjectRef() = default;
    explicit ObjectRef(T* p) : p_(p) {
        if (p_) p_->ref();
    }
    ObjectRef(ObjectRef&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
    ObjectRef& operator=(ObjectRef&& o) noexcept {
        std::swap(p_, o.p_);
        return *this;
    }
    ObjectRef(const ObjectRef& o) : ObjectRef(o.p_) {}
    ObjectRef& operator=(const ObjectRef& o) { return *this = ObjectRef(o); }
    ~ObjectRef() {
        if (p_) p_->unref();
    }
    // For an object that was found through a capability, without a reference. Empty: it is on its way out.
    static ObjectRef of_found(T* p) {
        ObjectRef r;
        if (p && p->try_ref()) r.p_ = p;
        return r;
    }
    // Takes a reference over, from take().
    static ObjectRef of_counted(T* p) {
        ObjectRef r;
        r.p_ = p;
        return r;
    }
    T* get() const { return p_; }
    T* operator->() const { return p_; }
    T& operator*() const { return *p_; }
    explicit operator bool() const { return p_ != nullptr; }
    T* take() { return std::exchange(p_, nullptr); }  // the reference is the caller's

private:
    T* p_ = nullptr;
};

}  // namespace core
