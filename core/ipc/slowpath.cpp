// SPDX-License-Identifier: MIT
// IPC, complete: every kind of message, wait and error. What is common and short is done by fastpath.cpp with the same
// outcome.
//
// Order in each call: decode and check; find the partner under the endpoint's lock, or queue; from there on nothing
// fails.
#include "core/ipc/calls.hpp"
#include "core/ipc/counts.hpp"
#include "core/ipc/slow_parts.hpp"
#include "core/system.hpp"

#include <cstring>

#include "core/trace.hpp"

namespace core {
namespace ipc {

using hal::Machine;
using Expects = NativeThread::Expects;

constinit u32 fastpaths_enabled = native::kFastAll;

namespace {

// --- Messages

void transfer_caps(NativeThread& from, NativeThread& to, u64& tag) {
    u64 sent = 0;
    for (u64 n = native::tag_caps(tag); sent < n; ++sent) {
        u64 slot = to.utcb ? to.utcb->receive[sent] : 0;
        if (slot == 0) break;
        // A failure (the slot is taken, the pool is exhausted) ends the list; the tag tells how many were transferred.
        if (!caps::hand_over(*from.caps, from.utcb->caps[sent], *to.caps, slot, from.utcb->cap_rights[sent]).ok())
            break;
    }
    tag = native::make_tag(native::tag_label(tag), native::tag_words(tag), sent);
}

// The message of `from`, as its registers and UTCB hold it, into those of `to`. Both wait.
void transfer(NativeThread& from, NativeThread& to, Header h) {
    u64 tag = h.tag;
    u64 words = native::tag_words(tag), in_registers = words < native::kRegisterWords ? words : native::kRegisterWords;
    hal::copy_words(from.context, to.context, in_registers);
    if (words > in_registers) {
        if (to.utcb) {
            std::memcpy(to.utcb->words, from.utcb->words, (words - in_registers) * sizeof(u64));
        } else {
            words = in_registers;
            tag = native::make_tag(native::tag_label(tag), words, native::tag_caps(tag));
        }
    }
    if (native::tag_caps(tag) != 0) transfer_caps(from, to, tag);
    hal::set_message(to.context, h.badge, tag);
}

// The trap of `from` as a message.
void transfer_trap(NativeThread& from, NativeThread& to, Expects kind, u64 badge) {
    const auto& c = from.context;
    if (kind == Expects::kSyscall) {
        hal::syscall_to_message(c, to.context);
        hal::set_message(to.context, badge, native::make_tag(native::kLabelSyscall, native::kRegisterWords));
        return;
    }
    const lib::Trap& f = from.fault;
    if (f.kind == lib::Trap::Kind::kPageFault) {
        hal::set_words(to.context, f.address.value, c.pc().value, c.sp().value, u64(f.access), f.present, f.error_code);
        hal::set_message(to.context, badge, native::make_tag(native::kLabelPageFault, 6));
    } else if (f.kind == lib::Trap::Kind::kKick) {
        hal::set_words(to.context, 0, c.pc().value, c.sp().value, 0, 0, 0);
        hal::set_message(to.context, badge, native::make_tag(native::kLabelKick, 3));
    } else {
        hal::set_words(to.context, f.vector, c.pc().value, c.sp().value, f.error_code, 0, 0);
        hal::set_message(to.context, badge, native::make_tag(native::kLabelException, 4));
    }
}

// `from` was a sender of this kind; this CPU owns both threads.
void deliver(NativeThread& from, NativeThread& to, Header h, Expects kind) {
    to.drop_timeout();
    if (kind == Expects::kMessage)
        transfer(from, to, h);
    else
        transfer_trap(from, to, kind, h.badge);
}

// From now on `server` owes `caller` an answer. The server owes nothing else.
void owe(NativeThread& server, NativeThread& caller, Expects expects) {
    caller.expects = expects;
    caller.state.store(native::kStateAwaitingReply, std::memory_order_relaxed);
    // Release: the thread that takes the caller from here sees all of it.
    server.reply.caller.store(&caller, std::memory_order_relaxed);
    caller.owed.store(&server.reply, std::memory_order_release);
}

// The checks of a message, before anything changes.
Result<void> check_tag(NativeThread& t, u64 tag) {
    REQUIRE((tag & native::kTagReserved) == 0, tag_reserved, kInval);
    u64 words = native::tag_words(tag), n = native::tag_caps(tag);
    REQUIRE(words <= native::kMaxWords, tag_words, kInval);
    REQUIRE(n <= native::kMaxCaps, tag_caps, kInval);
    if (words > native::kRegisterWords || n != 0) REQUIRE(t.utcb != nullptr, tag_needs_utcb, kInval);
    return lib::kOk;
}
Result<void> check_caps(NativeThread& t, u64 tag, bool may_grant) {
    u64 n = native::tag_caps(tag);
    if (n == 0) return lib::kOk;
    REQUIRE(may_grant, caps_need_grant, kPerm);
    for (u64 i = 0; i < n; ++i) REQUIRE(t.caps->find(t.utcb->caps[i]) != nullptr, cap_to_send, kBadF);
    return lib::kOk;
}
Result<void> check_flags(NativeThread& t, u64 flags, u64 saves = 0) {
    REQUIRE((flags & ~(native::kCallMask | native::kNonBlocking | native::kTimed | saves)) == 0, call_flags, kInval);
    if (flags & native::kTimed) REQUIRE(t.utcb != nullptr, timed_needs_utcb, kInval);
    if (flags & saves) REQUIRE(t.utcb != nullptr, saved_needs_utcb, kInval);
    return lib::kOk;
}

template <class T>
struct Found {
    T* object;
    Cap* cap;
};
template <class T>
Result<Found<T>> find(NativeThread& t, u64 slot, native::Type type, u64 rights) {
    Cap* c = t.caps->find(slot);
    REQUIRE(c != nullptr, cap_exists, kBadF);
    REQUIRE(c->object->type == type, cap_type, kInval);
    REQUIRE((c->rights() & rights) == rights, cap_right, kPerm);
    return Found<T>{static_cast<T*>(c->object), c};
}

// Queues t, whose wait another CPU may end as soon as the lock is released.
void queue(Waitable& at, NativeThread& t, u32 state) RT_REQUIRES(at.lock) {
    t.waits_at.store(&at, std::memory_order_relaxed);
    t.state.store(state, std::memory_order_release);  // pairs with claim(): a CPU that sees the state sees the place
    at.insert(t);
}

}  // namespace

bool withdraw(NativeThread& caller) {
    ReplySlot* const slot = ReplySlot::unmarked(caller.owed.load(std::memory_order_acquire));
    if (!slot || !take_from(caller, *slot)) return false;
    slot->clear(caller);
    return true;
}

namespace {

// What an answer to an exception must be. The caller is still owed it.
Result<void> check_exception_reply(NativeThread& t, u64 tag, native::Registers& r) {
    u64 label = native::tag_label(tag), how = label & 3;
    REQUIRE((label & ~u64{7}) == 0, reply_label, kInval);
    if (how == native::kResumeWith || (label & native::kReplyMaps)) REQUIRE(t.utcb != nullptr, tag_needs_utcb, kInval);
    if (how == native::kResumeAt)
        REQUIRE(hal::message_word(t.context, 1) < Machine::user_top().value, thread_pc, kInval);
    if (how == native::kResumeWith) {
        r = t.utcb->registers;  // once: other threads can write to the page
        REQUIRE(hal::user_pc(r), thread_pc, kInval);
        REQUIRE(hal::user_bases(r), thread_tls, kInval);
    }
    return lib::kOk;
}

// kReplyMaps. This CPU owns the caller, and with it its space.
Result<void> map_for(NativeThread& t, NativeThread& caller) {
    native::MapItem m = t.utcb->map;
    auto memory = TRY(find<Memory>(t, m.memory, native::kTypeMemory, 0));
    SpaceObject* space = caller.space_object.get();
    if (!space) return Errno::kInval;
    REQUIRE(m.length <= SpaceObject::kStep, reply_map_length, kInval);
    return space->map(*memory.object, m.address, m.offset, m.length, m.rights, memory.cap->rights());
}

// The caller, which this CPU owns, gets t's message as its answer. True: it continues.
bool answer(NativeThread& t, NativeThread& caller, u64 tag, const native::Registers& registers) {
    caller.drop_timeout();
    if (!caller.redirect) caller.slow_switch_reasons &= u8(~NativeThread::kSlowTrapped);
    if (caller.expects == Expects::kMessage) {
        transfer(t, caller, {.badge = 0, .tag = tag});
        return true;
    }
    u64 how = native::tag_label(tag) & 3;
    if (how == native::kStop) {
        caller.stop();
        return false;
    }
    if (how == native::kResumeWith) {
        caller.set_registers(ThreadClaim::of_taken(caller), registers);
    } else {
        if (caller.expects == Expects::kSyscall)
            caller.context.set_syscall_result(i64(hal::message_word(t.context, 0)));
        if (how == native::kResumeAt) {
            caller.restart_step = 0;  // a call that it was in the middle of is not continued
            caller.context.forget_syscall();
            caller.context.set_pc(UserAddr{hal::message_word(t.context, 1)});
            caller.context.set_sp(UserAddr{hal::message_word(t.context, 2)});
        }
    }
    return true;
}

// What an answer to an exception needs besides, and `into`. This CPU owns the caller.
[[gnu::noinline]] Result<void> prepare_answer(NativeThread& t, NativeThread& caller, u64 tag,
                                              native::Registers* to_check, ReplySlot* into) {
    if (caller.expects != Expects::kMessage) {
        if (to_check) TRY(check_exception_reply(t, tag, *to_check));
        if (native::tag_label(tag) & native::kReplyMaps) TRY(map_for(t, caller));
    }
    return into ? save_owed(t, *into) : lib::kOk;
}

// The answer half of reply, reply_receive and reply_to, for the caller that was found in `slot`: the same if it is to
// be woken. `into`: first the caller that t owes an answer moves there. kSrch: it has given up in the meantime; kAgainLater:
// another CPU has it, for a moment or for ever.
Result<NativeThread*> do_reply(NativeThread& t, ReplySlot& slot, NativeThread* found, u64 tag,
                               ReplySlot* into = nullptr) {
    REQUIRE(found != nullptr, reply_owed, kBadF);
    NativeThread& caller = *found;
    TRY(check_tag(t, tag));
    TRY(check_caps(t, tag, true));
    // The caller may be cancelled or answered by another CPU at any moment, and even wait here anew.
    native::Registers registers;  // filled by the check, for kResumeWith
    bool checked = caller.expects != Expects::kMessage;
    if (checked) {
        if (counted) [[unlikely]]
            count_call(t, Slow::kReply);
        TRY(check_exception_reply(t, tag, registers));
    }
    if (!take_from(caller, slot)) return slot.found() == found ? kAgainLater : Errno::kSrch;
    // This CPU owns the caller; every error from here on returns it.
    const bool more =
        caller.expects != Expects::kMessage && (!checked || (native::tag_label(tag) & native::kReplyMaps));
    if (more || into) [[unlikely]] {
        if (auto r = prepare_answer(t, caller, tag, checked ? nullptr : &registers, into); !r.ok()) {
            give_back(caller, slot);
            return r.error();
        }
    }
    slot.clear(caller);
    return answer(t, caller, tag, registers) ? &caller : nullptr;
}

// Bits of the notification that is bound to t, if there are any now.
u64 take_bound_bits(NativeThread& t) {
    Notification* n = t.bound.get();
    return n ? n->bits.exchange(0, std::memory_order_seq_cst) : 0;
}

// A sender that was queued, and that this CPU owns now, has been received by t.
void received_from(NativeThread& sender, NativeThread& t) {
    deliver(sender, t, {sender.badge, sender.tag}, sender.queued_as);
    if (sender.queued_call) {
        owe(t, sender, sender.queued_as);
    } else {
        sender.drop_timeout();
        sender.context.set_syscall_result(0);
        sender.wake();
    }
}

// Receives from an endpoint or waits there. Returns if a message has come. `answered` is a caller that is to be woken,
// and continues at once if t waits.
Result<i64> receive_from(NativeThread& t, Endpoint& e, u64 flags, NativeThread* answered) {
    struct Wake {
        NativeThread* who;
        ~Wake() {
            if (who) who->wake_answered();
        }
    } wake{answered};
    // A message may hold a caller: the caller owed before is dropped.
    abandon(t.reply, Errno::kCanceled);
    if (u64 bits = take_bound_bits(t)) {
        deliver_bits(t, bits);
        return i64{0};
    }
    {
        ObjectGuard guard{e.lock};
        REQUIRE(!e.dead, endpoint_alive, kIdRm);
        NativeThread* sender = e.receiver.load(std::memory_order_relaxed) == nullptr ? take_first(e) : nullptr;
        if (sender) {
            guard.unlock();
            received_from(*sender, t);
            return i64{0};
        }
        if (flags & native::kNonBlocking) REQUIRE(false, nonblocking_receive, kAgain);
        if (flags & native::kTimed) t.arm_timeout();
        queue(e, t, native::kStateReceiving);
    }
    // A signal that came before t was seen in the queue. Pairs with notify().
    // (An exchange that changes nothing: a load could overtake the queueing.)
    if (Notification* n = t.bound.get();
        n && n->bits.fetch_or(0, std::memory_order_seq_cst) != 0 && t.claim(native::kStateReceiving)) {
        t.state.store(native::kStateReady, std::memory_order_relaxed);
        t.drop_timeout();
        if (u64 bits = take_bound_bits(t)) {
            deliver_bits(t, bits);
            return i64{0};
        }
        t.context.set_syscall_result(-i64(Errno::kAgain));
        return Errno::kAgain;  // cannot be: only t takes them
    }
    if (answered) hand_over(t, *answered);
    leave(t);
}

Result<i64> wait_for(NativeThread& t, Notification& n, u64 flags) {
    {
        ObjectGuard guard{n.lock};
        if (n.dead) return Errno::kIdRm;  // only in a race: a dead object has no capability
        NativeThread* owner = n.bound.load(std::memory_order_relaxed);
        REQUIRE(owner == nullptr || owner == &t, bind_one, kBusy);
        if (u64 bits = n.bits.exchange(0, std::memory_order_seq_cst)) {
            guard.unlock();
            deliver_bits(t, bits);
            return i64{0};
        }
        if (flags & native::kNonBlocking) REQUIRE(false, nonblocking_receive, kAgain);
        if (flags & native::kTimed) t.arm_timeout();
        queue(n, t, native::kStateWaiting);
    }
    leave(t);
}

// What a sender waits for after its message was received, and of what kind that is.
struct Waits {
    bool is_call;
    Expects kind = Expects::kMessage;
};

// The message goes to a receiver, or its sender waits for one. Returns after a send that was received.
Result<i64> send_to(Send s, Header h, u64 flags, Waits then) {
    NativeThread& t = s.from;
    Endpoint& e = s.to;
    NativeThread* receiver;
    {
        ObjectGuard guard{e.lock};
        REQUIRE(!e.dead, endpoint_alive, kIdRm);
        receiver = e.receiver.load(std::memory_order_relaxed) ? take_first(e) : nullptr;
        if (!receiver) {
            if (flags & native::kNonBlocking) REQUIRE(false, nonblocking_send, kAgain);
            t.tag = h.tag;
            t.badge = h.badge;
            t.queued_as = then.kind;
            t.queued_call = then.is_call;
            if (flags & native::kTimed) t.arm_timeout();
            queue(e, t, native::kStateSending);
            guard.unlock();
            leave(t);
        }
    }
    // No capability, nothing to wait for: the receiver has the CPU next if it is of this one and nothing is above it.
    if (then.is_call && (flags & native::kTimed)) t.arm_timeout();
    deliver(t, *receiver, h, then.kind);
    if (then.is_call) {
        owe(*receiver, t, then.kind);
        hand_over(t, *receiver);
    }
    receiver->wake();
    return i64{0};
}

}  // namespace

Result<i64> call(NativeThread& t, u64 flags) {
    TRY(check_flags(t, flags));
    u64 tag = hal::message_tag(t.context);
    auto e = TRY(find<Endpoint>(t, hal::call_capability(t.context), native::kTypeEndpoint, native::kSendRight));
    TRY(check_tag(t, tag));
    TRY(check_caps(t, tag, (e.cap->rights() & native::kGrantRight) != 0));
    return send_to({t, *e.object}, {e.cap->badge, tag}, flags, {.is_call = true});
}

Result<i64> send(NativeThread& t, u64 flags) {
    TRY(check_flags(t, flags));
    u64 tag = hal::message_tag(t.context);
    auto e = TRY(find<Endpoint>(t, hal::call_capability(t.context), native::kTypeEndpoint, native::kSendRight));
    TRY(check_tag(t, tag));
    TRY(check_caps(t, tag, (e.cap->rights() & native::kGrantRight) != 0));
    return send_to({t, *e.object}, {e.cap->badge, tag}, flags, {.is_call = false});
}

namespace {

// The Reply object of kSaveOwed, into which the caller that t owes an answer can move.
Result<Reply*> find_room(NativeThread& t) {
    // Once: other threads can write to the page.
    const u64 slot = std::atomic_ref{t.utcb->save}.load(std::memory_order_relaxed);
    auto into = TRY(find<Reply>(t, slot, native::kTypeReply, native::kReceiveRight));
    REQUIRE(t.reply.found() != nullptr, reply_owed, kBadF);
    if (into.object->slot.caller.load(std::memory_order_relaxed) != nullptr) REQUIRE(false, reply_object_free, kBusy);
    return into.object;
}

// kReplyReceive with kSaveOwed, kAnswerSaved or both.
[[gnu::noinline]] Result<i64> reply_receive_saved(NativeThread& t, u64 flags) {
    TRY(check_flags(t, flags, native::kSaveOwed | native::kAnswerSaved));
    auto e = TRY(find<Endpoint>(t, hal::call_capability(t.context), native::kTypeEndpoint, native::kReceiveRight));
    const u64 tag = hal::message_tag(t.context);
    Reply* into = flags & native::kSaveOwed ? TRY(find_room(t)) : nullptr;
    ReplySlot* from = into ? nullptr : &t.reply;  // whose caller is answered
    if (flags & native::kAnswerSaved) {
        const u64 slot = std::atomic_ref{t.utcb->answer}.load(std::memory_order_relaxed);
        auto saved = TRY(find<Reply>(t, slot, native::kTypeReply, native::kSendRight));
        from = &saved.object->slot;
        // What is saved and then answered is answered.
        if (saved.object == into) {
            into = nullptr;
            from = &t.reply;
        }
    }
    if (!from) {
        TRY(save_owed(t, into->slot));
        return receive_from(t, *e.object, flags, nullptr);
    }
    auto r = do_reply(t, *from, from->found(), tag, into ? &into->slot : nullptr);
    if (!r.ok() && r.error() != Errno::kSrch) return r.error();
    // It has given up just now: no error. What is owed is saved all the same.
    if (!r.ok() && into) TRY(save_owed(t, into->slot));
    NativeThread* answered = r.ok() ? r.value() : nullptr;
    return receive_from(t, *e.object, flags, answered);
}

}  // namespace

Result<i64> receive(NativeThread& t, u64 flags) {
    if (counted) [[unlikely]]
        count_call(t, Slow::kReceive);
    TRY(check_flags(t, flags, native::kSaveOwed));
    Cap* c = t.caps->find(hal::call_capability(t.context));
    REQUIRE(c != nullptr, cap_exists, kBadF);
    REQUIRE(c->object->type == native::kTypeEndpoint || c->object->type == native::kTypeNotification, cap_type, kInval);
    REQUIRE((c->rights() & native::kReceiveRight) != 0, cap_right, kPerm);
    if (flags & native::kSaveOwed) TRY(save_owed(t, TRY(find_room(t))->slot));
    if (c->object->type == native::kTypeNotification) return wait_for(t, static_cast<Notification&>(*c->object), flags);
    return receive_from(t, static_cast<Endpoint&>(*c->object), flags, nullptr);
}

Result<i64> reply_receive(NativeThread& t, u64 flags) {
    if (flags & (native::kSaveOwed | native::kAnswerSaved)) [[unlikely]]
        return reply_receive_saved(t, flags);
    TRY(check_flags(t, flags));
    auto e = TRY(find<Endpoint>(t, hal::call_capability(t.context), native::kTypeEndpoint, native::kReceiveRight));
    // A caller that has gone in the meantime gets no answer; an invalid answer is reported, and nothing is received.
    NativeThread* answered = nullptr;
    if (NativeThread* caller = t.reply.found()) {
        auto r = do_reply(t, t.reply, caller, hal::message_tag(t.context));
        if (!r.ok() && r.error() != Errno::kSrch) return r.error();
        if (r.ok()) answered = r.value();
    }
    return receive_from(t, *e.object, flags, answered);
}

static Result<i64> reply_in(NativeThread& t, ReplySlot& slot, u64 flags) {
    if (NativeThread* caller = TRY(do_reply(t, slot, slot.found(), hal::message_tag(t.context))))
        caller->wake_answered(flags);
    return i64{0};
}

Result<i64> reply(NativeThread& t, u64 flags) { return reply_in(t, t.reply, flags); }

Result<i64> reply_to(NativeThread& t, u64 flags) {
    auto r = TRY(find<Reply>(t, hal::call_capability(t.context), native::kTypeReply, native::kSendRight));
    return reply_in(t, r.object->slot, flags);
}

Result<i64> reply_save(NativeThread& t) {
    auto r = TRY(find<Reply>(t, hal::call_capability(t.context), native::kTypeReply, native::kReceiveRight));
    TRY(save_owed(t, r.object->slot));
    return i64{0};
}

Result<void> save_owed(NativeThread& t, ReplySlot& slot) {
    NativeThread* caller = t.reply.found();
    REQUIRE(caller != nullptr, reply_owed, kBadF);
    switch (save_in(*caller, t.reply, slot)) {
        case Saved::kDone: return lib::kOk;
        case Saved::kElsewhere: return kAgainLater;
        case Saved::kTaken: REQUIRE(false, reply_object_free, kBusy);
        case Saved::kClosed:  // only in a race: it was deleted
        case Saved::kGone: break;
    }
    return Errno::kBadF;
}

[[noreturn]] void raise(NativeThread& t, const lib::Trap& trap, Expects expects) {
    t.slow_switch_reasons |= NativeThread::kSlowTrapped;
    t.fault = trap;
    Endpoint* e = t.handler.get();
    if (e) {
        if (send_to({t, *e}, {t.handler_badge, 0}, 0, {.is_call = true, .kind = expects}).ok()) leave(t);
    }
    // Nobody to tell: it stops where it is.
    if (native_system->thread_failed) native_system->thread_failed(t, trap);
    t.stop();
    leave(t);
}

bool raise_kick(NativeThread& t) {
    Endpoint* e = t.handler.get();
    if (!e) return false;
    if (counted) [[unlikely]]
        count_not_tried(t, Slow::kOtherTrap, trace::Test::kNoFastpath);
    if (trace::on.load(std::memory_order_relaxed)) [[unlikely]]
        trace::begin_slow(trace::Path::kSlowException, t.number, abi::trace::kKick);
    t.fault = lib::Trap{.kind = lib::Trap::Kind::kKick};
    NativeThread* receiver;
    {
        ObjectGuard guard{e->lock};
        if (e->dead) {
            trace::end_slow(trace::Reason::kDone);
            return false;
        }
        t.slow_switch_reasons |= NativeThread::kSlowTrapped;
        receiver = e->receiver.load(std::memory_order_relaxed) ? take_first(*e) : nullptr;
        if (!receiver) {
            t.badge = t.handler_badge;
            t.queued_as = Expects::kFault;
            t.queued_call = true;
            queue(*e, t, native::kStateSending);
            return true;
        }
    }
    deliver(t, *receiver, {t.handler_badge, 0}, Expects::kFault);
    owe(*receiver, t, Expects::kFault);
    receiver->wake(true);
    return true;
}

}  // namespace ipc

}  // namespace core
