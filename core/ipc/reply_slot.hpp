// SPDX-License-Identifier: MIT
// The link between a caller that waits for an answer and the slot that it waits in, and who may end the wait. Templates of
// the caller, so that tests/explore runs them with callers of its own; the kernel's caller is core::NativeThread.
//
// Nothing here blocks. All of it runs in an epoch section, on any CPU: a caller that is found stays allocated.
#pragma once
#include "lib/result.hpp"
#include "rt/atomic.hpp"

namespace core {

// Where a caller waits for its answer: in the thread that received the call, or saved in a Reply object.
// Caller::owed is the other end of the link, and its compare-exchange from this slot to null decides who owns the caller: the
// one that answers, cancels, moves or ends it. Only the winner clears `caller`, with a compare-exchange, and before it lets
// the caller go; a loser does not touch it, but for the slot's own thread or object, which drops what it holds when it
// receives again or ends (abandon(), close()). So a caller that is found here belongs to this wait unless `owed` differs.
template <class Caller>
struct ReplySlotOf {
    rt::Atomic<Caller*> caller{nullptr};
    // Of a Reply object that has ended: nothing is saved into it any more.
    static Caller* closed() { return reinterpret_cast<Caller*>(u64{1}); }
    // The caller, null if there is none.
    Caller* found() const {
        Caller* c = caller.load(std::memory_order_acquire);
        return c == closed() ? nullptr : c;
    }
    // In Caller::owed, the link to a slot from a caller that was kicked: set by the caller's home. No fastpath takes it, so
    // that the caller looks why before it enters user mode.
    static ReplySlotOf* kicked(ReplySlotOf* s) {
        return reinterpret_cast<ReplySlotOf*>(reinterpret_cast<u64>(s) | kKicked);
    }
    static ReplySlotOf* unmarked(ReplySlotOf* s) {
        return reinterpret_cast<ReplySlotOf*>(reinterpret_cast<u64>(s) & ~kKicked);
    }
    static bool is_kicked(const ReplySlotOf* s) { return (reinterpret_cast<u64>(s) & kKicked) != 0; }
    static constexpr u64 kKicked = 1;
    // Called by the owner of the caller.
    void clear(Caller& of) {
        Caller* expected = &of;
        (void)caller.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
    }
};

// What waits in a slot. give_up(): its owner ends the wait with an error, no slot has it. kick_noted(): somebody wants it to
// look up before it enters user mode, and its home may not have found it linked.
template <class C>
concept WaitsInSlot = requires(C& c, Errno e) {
    c.owed.load();
    c.give_up(e);
    bool{c.kick_noted()};
};

// Takes the caller that `slot` has out of the hands of all others: true if this CPU owns it now. give_back() undoes it.
template <WaitsInSlot C>
inline bool take_from(C& c, ReplySlotOf<C>& slot) {
    ReplySlotOf<C>* link = &slot;
    // seq_cst, also if it fails: the second look of close() and abandon().
    if (c.owed.compare_exchange_strong(link, nullptr, std::memory_order_seq_cst)) return true;
    // Marked by a kick; nothing marks it again.
    return link == ReplySlotOf<C>::kicked(&slot) &&
           c.owed.compare_exchange_strong(link, nullptr, std::memory_order_seq_cst);
}

// Undoes take_from(), whose caller the slot still names, or named until it was closed or dropped in the meantime: then the
// caller's wait ends with kIdRm.
//
// seq_cst, the link and the look at the slot: pairs with close() and abandon(), which empty the slot and then look for the
// link. One of the two finds that the other was there, and ends the wait.
// Once it is linked the caller is anybody's: a slot without it may be one that another CPU has answered, and a later call of
// the same caller may come to the same slot at any moment. So the caller is taken first, and then the slot decides: the
// exchange makes this CPU the owner, and of what it owns nobody but close() and abandon() changes the slot. (The slot was
// written before the link that the exchange found: save_in(), owe().)
template <WaitsInSlot C>
[[gnu::noinline]] void give_back(C& c, ReplySlotOf<C>& slot) {
    using Slot = ReplySlotOf<C>;
    constexpr auto kVisible = std::memory_order_seq_cst;
    for (;;) {
        Slot* const link = c.kick_noted() ? Slot::kicked(&slot) : &slot;
        c.owed.store(link, rt::left_out<rt::Step::kLinkVisible>() ? std::memory_order_release : kVisible);
        if (rt::left_out<rt::Step::kSlotLook>() || slot.caller.load(kVisible) == &c) return;
        if (!take_from(c, slot)) return;
        if (rt::left_out<rt::Step::kSlotLookAgain>() || slot.caller.load(kVisible) != &c) break;
    }
    c.give_up(Errno::kIdRm);
}

// Takes the caller that was found in the slot, if still() says yes to what it is now, and empties the slot. False: another
// has it, or it is as it was.
template <WaitsInSlot C, class Still>
[[gnu::always_inline]] inline bool take_if(C& c, ReplySlotOf<C>& slot, Still&& still) {
    ReplySlotOf<C>* link = &slot;
    if (!c.owed.compare_exchange_strong(link, nullptr, std::memory_order_acq_rel)) return false;
    // What was seen before may have been of an earlier call.
    if (rt::left_out<rt::Step::kTakenLook>() || still()) {
        slot.clear(c);
        return true;
    }
    give_back(c, slot);
    return false;
}

// The caller that was found in the slot, which does not name it any more: nobody will answer, unless another CPU has it.
template <WaitsInSlot C>
inline void drop(C& c, ReplySlotOf<C>& slot, Errno error) {
    if (!take_from(c, slot)) return;
    slot.clear(c);
    c.give_up(error);
}

// By the slot's own thread: what it owes will never be answered. seq_cst: pairs with give_back().
template <WaitsInSlot C>
inline void abandon(ReplySlotOf<C>& slot, Errno error) {
    if (slot.found() == nullptr) return;
    if (C* c = slot.caller.exchange(nullptr, std::memory_order_seq_cst)) drop(*c, slot, error);
}

// The slot's object ends. Again without effect. seq_cst: pairs with save_in() and give_back().
template <WaitsInSlot C>
inline void close(ReplySlotOf<C>& slot) {
    C* c = slot.caller.exchange(ReplySlotOf<C>::closed(), std::memory_order_seq_cst);
    if (c && c != ReplySlotOf<C>::closed()) drop(*c, slot, Errno::kIdRm);
}

enum class Saved : u8 {
    kDone,
    kClosed,     // the slot has ended
    kTaken,      // the slot has another caller
    kElsewhere,  // another CPU has the caller, for a moment or for ever
    kGone,       // its wait is over
};
// By the thread that owns `from`, with the caller that it found there: the caller moves to `to`.
template <WaitsInSlot C>
inline Saved save_in(C& c, ReplySlotOf<C>& from, ReplySlotOf<C>& to) {
    using Slot = ReplySlotOf<C>;
    C* before = nullptr;
    // If the slot was empty, this CPU owns it from here on; the link decides whether the caller is still there.
    if (!to.caller.compare_exchange_strong(before, &c, std::memory_order_acq_rel))
        return before == Slot::closed() ? Saved::kClosed : Saved::kTaken;
    Slot* link = &from;
    bool moved = c.owed.compare_exchange_strong(link, &to, std::memory_order_seq_cst);
    if (!moved && link == Slot::kicked(&from))
        moved = c.owed.compare_exchange_strong(link, Slot::kicked(&to), std::memory_order_seq_cst);
    if (!moved) {
        to.clear(c);
        return from.found() == &c ? Saved::kElsewhere : Saved::kGone;
    }
    from.clear(c);
    // Its end has found a caller that was not linked yet.
    if (!rt::left_out<rt::Step::kSavedLook>() && to.caller.load(std::memory_order_seq_cst) == Slot::closed())
        drop(c, to, Errno::kIdRm);
    return Saved::kDone;
}

}  // namespace core
