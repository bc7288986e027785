// SPDX-License-Identifier: MIT
// Capabilities: records in per-space tables, and the derivation tree.
//
// A record is written before it is published; afterwards only its place in the tree changes. So a lookup is one load
// and needs no lock. It is freed one epoch after it left its table.
// Locks: one for all tables and trees (Rank::capability), taken before any object's lock. IPC without capabilities
// never takes it. Under it at most kStep records are visited; longer operations continue in another call.
#pragma once
#include "core/cap/object.hpp"
#include "core/checks.hpp"
#include "rt/spinlock.hpp"

namespace core {

class CapTable;

struct Cap {
    Object* object = nullptr;
    u64 badge = 0;
    u32 kind = 0;  // type | rights << 8: one comparison tests both; 0: nothing
    // For the fastpaths: what it is good for, one bit each.
    static constexpr u8 kCallable = 1, kReceivable = 2, kSignallable = 4, kWaitable = 8, kAnswerable = 16,
                        kSavable = 32;
    u8 good_for = 0;
    u32 slot RT_GUARDED_BY(caps::lock) = 0;
    CapTable* table RT_GUARDED_BY(caps::lock) = nullptr;
    Cap* parent RT_GUARDED_BY(caps::lock) = nullptr;
    Cap* child RT_GUARDED_BY(caps::lock) = nullptr;
    Cap* next RT_GUARDED_BY(caps::lock) = nullptr;
    Cap* prev RT_GUARDED_BY(caps::lock) = nullptr;
    rt::Retired retired;

    u64 rights() const { return kind >> 8; }
    void set(native::Type type, u64 rights) {
        kind = make_kind(type, rights);
        // As the bits of kSendRight and kReceiveRight lie.
        static_assert(native::kSendRight == kCallable && native::kReceiveRight == kReceivable);
        static_assert(kSignallable == kCallable << 2 && kWaitable == kReceivable << 2);
        static_assert(kAnswerable == kCallable << 4 && kSavable == kReceivable << 4);
        const u8 both = u8(rights & (native::kSendRight | native::kReceiveRight));
        good_for = type == native::kTypeEndpoint       ? both
                   : type == native::kTypeNotification ? u8(both << 2)
                   : type == native::kTypeReply        ? u8(both << 4)
                                                       : u8(0);
    }
    static constexpr u32 make_kind(native::Type type, u64 rights) { return u32(type) | u32(rights) << 8; }
};

class CapTable {
public:
    CapTable() = default;
    ~CapTable();
    // The table's own memory; `slots` a power of two.
    Result<void> allocate(u32 slots, Pool& pool);
    static u64 bytes_for(u32 slots) { return u64{slots} * sizeof(Cap*); }

    // In an epoch section (any trap): valid until this CPU is quiescent.
    // Null: nothing there.
    Cap* find(u64 slot) const {
        if (slot >= limit_) [[unlikely]]
            return nullptr;
        Cap* c = slots_[slot].load(std::memory_order_acquire);  // pairs with the store in publish()
        return c != &kNothing ? c : nullptr;
    }
    u32 limit() const { return limit_; }
    const std::atomic<Cap*>* slots() const { return slots_; }

    void publish(Cap& c, u32 slot) RT_REQUIRES(caps::lock);
    Cap* at(u32 slot) const RT_REQUIRES(caps::lock) {
        Cap* c = slots_[slot].load(std::memory_order_relaxed);
        return c == &kNothing ? nullptr : c;
    }
    void clear(u32 slot) RT_REQUIRES(caps::lock) { slots_[slot].store(&kNothing, std::memory_order_release); }
    // Takes no more. Written under the capability lock; mapping into the space looks under its own lock, which the end
    // of the space takes afterwards.
    std::atomic<bool> ended{false};
    u32 cursor RT_GUARDED_BY(caps::lock) = 0;  // how far the end of the space has come
    Pool* pool = nullptr;

private:
    static Cap kNothing;  // never written
    std::atomic<Cap*>* slots_ = nullptr;
    u32 limit_ = 0;
};

namespace caps {

inline constexpr u32 kStep = 64;

// A capability for an object that has none yet, derived from `parent` (which may be null). The object's first reference
// becomes that of its capabilities.
Result<void> insert_first(CapTable& table, u64 slot, Object& object, u64 rights, Cap* parent, u64 badge = 0)
    RT_EXCLUDES(lock);
// Derived from what is in from[source].
Result<void> copy(CapTable& from, u64 source, CapTable& to, u64 slot, u64 rights, u64 badge) RT_EXCLUDES(lock);
// For messages: as copy, with the rights cut to those there are.
Result<void> hand_over(CapTable& from, u64 source, CapTable& to, u64 slot, u64 rights) RT_EXCLUDES(lock);
Result<void> move(CapTable& from, u64 source, CapTable& to, u64 slot) RT_EXCLUDES(lock);
// True: all is gone. False: call again. Objects that nothing names any more go to `endings`.
Result<bool> remove(CapTable& table, u64 slot, Endings& endings) RT_EXCLUDES(lock);
Result<bool> revoke(CapTable& table, u64 slot, Endings& endings) RT_EXCLUDES(lock);

// Ends those objects, in at most `budget` steps. True: none is left.
bool end_objects(Endings& endings, u32 budget) RT_EXCLUDES(lock);
// Its thread will not continue them: the kernel does, in steps, while other threads run too. `close`: later ones
// likewise.
void pass_on(Endings& endings, bool close) RT_EXCLUDES(lock);
// Removes what is in the table, at most `budget` records; true when it is empty.
bool empty(CapTable& table, u32& budget, Endings& endings) RT_EXCLUDES(lock);

}  // namespace caps
}  // namespace core
