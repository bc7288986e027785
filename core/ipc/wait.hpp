// SPDX-License-Identifier: MIT
// What native threads wait at: endpoints and notifications, with the queue of those that wait.
//
// Who takes a thread out of a queue, under the lock of the object, owns the end of its wait: exactly one does, and
// makes the thread ready at its home (docs/native.md). The thread itself belongs to its home CPU.
#pragma once
#include "core/cap/object.hpp"
#include "core/ipc/lock.hpp"
#include "core/ipc/reply_slot.hpp"

namespace core {

class NativeThread;

class Waitable : public Object {
public:
    using Object::Object;
    ~Waitable() override { RT_ASSERT(first_ == nullptr, "an object is freed that threads wait at"); }
    ObjectLock lock;

    // By priority, first come first served among equals.
    void insert(NativeThread& t) RT_REQUIRES(lock);
    void take_out(NativeThread& t) RT_REQUIRES(lock);
    NativeThread* first() const RT_REQUIRES(lock) { return first_; }
    bool dead RT_GUARDED_BY(lock) = false;
    virtual void mark_dead() RT_REQUIRES(lock) {
        std::atomic_ref{dead}.store(true, std::memory_order_relaxed);  // for seen_dead()
    }
    // Without the lock: once true it stays so, and an end that comes at the same time may not be seen yet.
    bool seen_dead() RT_UNCHECKED_LOCKING { return std::atomic_ref{dead}.load(std::memory_order_relaxed); }

protected:
    virtual void changed() RT_REQUIRES(lock) {}  // the first one is another

    NativeThread* first_ RT_GUARDED_BY(lock) = nullptr;
    NativeThread* last_ RT_GUARDED_BY(lock) = nullptr;
};

class Endpoint final : public Waitable {
public:
    Endpoint() : Waitable(native::kTypeEndpoint) {}
    bool end(u32& budget, Endings& more) override;

    // For the fastpaths. `r` is the first and a receiver.
    void take_first(NativeThread& r) RT_REQUIRES(lock);
    void add_receiver(NativeThread& r) RT_REQUIRES(lock);

    // The first of those that wait for a message, or null. Written under the lock; the fastpaths look at it before they
    // take it.
    std::atomic<NativeThread*> receiver{nullptr};
    // Nobody can wait here for a message: senders are queued, or it has ended.
    std::atomic<u32> closed RT_GUARDED_BY(lock){0};
    void mark_dead() override RT_REQUIRES(lock) {
        Waitable::mark_dead();
        closed.store(1, std::memory_order_relaxed);
    }

private:
    void changed() override RT_REQUIRES(lock);
};

class Notification final : public Waitable {
public:
    Notification() : Waitable(native::kTypeNotification) {}
    bool end(u32& budget, Endings& more) override;

    void take_first(NativeThread& w) RT_REQUIRES(lock);  // for the fastpath

    // Those that were signalled and not yet taken. Set by anybody; taken under the lock, or by the bound thread's home.
    std::atomic<u64> bits{0};
    // The thread whose receives wait for it too. Written under the lock.
    std::atomic<NativeThread*> bound{nullptr};
};

using ReplySlot = ReplySlotOf<NativeThread>;

class Reply final : public Object {
public:
    Reply() : Object(native::kTypeReply) {}
    ~Reply() override { RT_ASSERT(slot.found() == nullptr, "a Reply is freed that holds a caller"); }
    bool end(u32& budget, Endings& more) override;
    ReplySlot slot;
};

}  // namespace core
