// SPDX-License-Identifier: MIT
// The fastpaths: a call, an answer with the next receive, a system call sent to its handler, a signal. Each does what
// slowpath.cpp would do, for the common case, and returns with nothing changed as soon as a test fails.
//
// The order of tests: those that cost least and fail most often first, none that another implies. All but the last need no
// lock; what they read may change until the lock of the one object is held, and is then looked at once more (Test::kRace).
// After "Point of no return" nothing can fail, and the lock is given up once.
// A thread of this CPU cannot be changed by another CPU while it waits for an answer or runs (thread.hpp), so its own state
// needs no lock. What comes out of a path are the registers of the partner: it leaves by a resume, never by a return.
#include "core/ipc/fastpath_parts.hpp"
#include "core/sched.hpp"
#include "core/trap.hpp"

namespace core::ipc {

using namespace fast;

namespace {

// To a receiver of another CPU. If that waits for a thread it takes it from hand to hand, if it looks for work it finds it in
// its inbox; only if it sleeps, or is in user mode, it is interrupted.
template <bool kTraced, Expects kKind>
[[gnu::noinline]] void to_other_cpu(NativeThread& t, Endpoint& e, NativeThread& r, u64 badge, u64 tag, trace::Path path,
                                    u64 start) {
    rt::Executor& there = r.home();
    if (!take_receiver<true>(e, r)) return failed<kTraced>(path, Test::kRace, start);
    // ---- Point of no return ----
    if constexpr (kKind == Expects::kMessage) {
        copy_message(t, r, tag & 0xfff);
    } else if constexpr (kKind == Expects::kSyscall) {
        hal::syscall_to_message(t.context, r.context);
    } else {
        trap_to_message(t, r.context);
    }
    hal::set_message(r.context, badge, tag);
    owe(r, t, kKind);
    [[maybe_unused]] const u64 to = r.number;  // which is none of ours behind this
    if (!there.handoff.give(r)) there.post(r);
    if constexpr (kTraced) trace::fast_done(path, t.number, to, start);
    wait_for_other_cpu(t);
}

template <bool kTraced, Expects kKind, bool kOdd>
[[gnu::always_inline]] inline void finish_send(rt::Executor& ex, NativeThread& t, Endpoint& e, NativeThread& r,
                                               u64 badge, u64 tag, trace::Path path, u64 start) {
    if (!take_receiver<false>(e, r)) return failed<kTraced>(path, Test::kRace, start);
    // ---- Point of no return ----
    owe(r, t, kKind);
    if constexpr (kTraced) {
        // With what the message costs, as a slowpath's record; its place is below.
        if constexpr (kKind == Expects::kMessage) copy_message(t, r, tag & 0xfff);
        if constexpr (kKind == Expects::kSyscall) hal::syscall_to_message(t.context, r.context);
        if constexpr (kKind == Expects::kFault) trap_to_message(t, r.context);
        trace::fast_done(path, t.number, r.number, start);
    }
    switch_state<kOdd>(ex, t, r);
    if constexpr (kKind == Expects::kMessage) resume_with(t, r, badge, tag);
    if constexpr (kKind == Expects::kSyscall)
        hal::syscall_to_message(t.context, r.context);
    else
        trap_to_message(t, r.context);
    Machine::resume_message(r.context, badge, tag);
}

// One of the two uses the FPU, or the receiver has a timeout.
template <bool kTraced, Expects kKind>
[[gnu::noinline]] void to_odd_receiver(NativeThread& t, Endpoint& e, NativeThread& r, u64 badge, u64 tag,
                                       trace::Path path, u64 start) {
    if (r.timed()) return failed<kTraced>(path, Test::kSpecial, start);
    finish_send<kTraced, kKind, true>(rt::Executor::current(), t, e, r, badge, tag, path, start);
}

// Nobody waits for the message: t waits, as a sender.
template <bool kTraced, Expects kKind>
[[gnu::noinline]] void to_queue(NativeThread& t, Endpoint& e, u64 badge, u64 tag, trace::Path path, u64 start) {
    if (kKind == Expects::kMessage && (tag & 0xfff) > native::kRegisterWords)
        return failed<kTraced>(path, Test::kLong, start);
    e.lock.lock();
    if (e.dead || e.receiver.load(std::memory_order_relaxed)) [[unlikely]] {
        e.lock.unlock();
        return failed<kTraced>(path, Test::kRace, start);
    }
    // ---- Point of no return ----
    t.tag = kKind == Expects::kMessage ? tag : 0;
    t.badge = badge;
    t.queued_as = kKind;
    t.queued_call = true;
    t.waits_at.store(&e, std::memory_order_relaxed);
    t.state.store(native::kStateSending, std::memory_order_release);  // pairs with claim()
    e.insert(t);
    e.lock.unlock();
    if constexpr (kTraced) trace::fast_done(path, t.number, 0, start);
    leave(t);
}

// From the sender's side, for messages and for system calls. `badge` is that of the capability.
template <bool kTraced, Expects kKind>
[[gnu::always_inline]] inline void to_receiver(NativeThread& t, Endpoint& e, u64 badge, u64 tag, trace::Path path,
                                               u64 start) {
    NativeThread* r = e.receiver.load(std::memory_order_relaxed);
    if (!r) return to_queue<kTraced, kKind>(t, e, badge, tag, path, start);
    if constexpr (kKind == Expects::kMessage)
        if (!is_plain(t, *r, tag)) return failed<kTraced>(path, Test::kLong, start);
    rt::Executor& ex = rt::Executor::current();
    if (!r->is_at_home(ex)) [[unlikely]]
        return to_other_cpu<kTraced, kKind>(t, e, *r, badge, tag, path, start);
    if (ex.queue.pressing() & r->gives_way_to) return failed<kTraced>(path, Test::kPriority, start);
    if (kKind == Expects::kMessage ? (t.odd | r->odd) != 0 : ((t.odd & u8(~NativeThread::kOddTrapped)) | r->odd) != 0)
        [[unlikely]]
        return to_odd_receiver<kTraced, kKind>(t, e, *r, badge, tag, path, start);
    finish_send<kTraced, kKind, false>(ex, t, e, *r, badge, tag, path, start);
}

// What the call names; something that allows nothing if there is none. In an epoch section, as any trap.
[[gnu::always_inline]] inline const Cap& capability(NativeThread& t) {
    u64 slot = hal::call_capability(t.context);
    if (slot >= t.cap_limit) [[unlikely]]
        slot = 0;
    return *t.cap_slots[slot].load(std::memory_order_acquire);
}

template <bool kTraced>
[[gnu::always_inline]] inline void call_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastCall;
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kCallable)) return failed<kTraced>(kPath, Test::kCapability, start);
    const u64 tag = hal::message_tag(t.context);
    if (!may_be_plain(tag)) return failed<kTraced>(kPath, Test::kLong, start);
    to_receiver<kTraced, Expects::kMessage>(t, static_cast<Endpoint&>(*cap.object), cap.badge, tag, kPath, start);
}

template <bool kTraced>
[[gnu::always_inline]] inline void exception_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastException;
    Endpoint* e = t.handler.get();
    if (!e) return failed<kTraced>(kPath, Test::kCapability, start);
    to_receiver<kTraced, Expects::kSyscall>(
        t, *e, t.handler_badge, native::make_tag(native::kLabelSyscall, native::kRegisterWords), kPath, start);
}

template <bool kTraced>
[[gnu::always_inline]] inline void fault_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastException;
    Endpoint* e = t.handler.get();
    if (!e) return failed<kTraced>(kPath, Test::kCapability, start);
    const u64 tag = fault_tag(t);
    t.odd |= NativeThread::kOddTrapped;  // so will raise(), if this fails
    to_receiver<kTraced, Expects::kFault>(t, *e, t.handler_badge, tag, kPath, start);
}

// Somebody waits to send: t answers c and has the first message at once, without another thread in between. Gives
// the lock up.
template <bool kTraced>
[[gnu::noinline]] void answer_and_take(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, u64 start)
    RT_RELEASE(e.lock) {
    constexpr auto kPath = trace::Path::kFastReply;
    rt::Executor& ex = rt::Executor::current();
    NativeThread* s = e.first();
    const bool message = s && s->queued_as == Expects::kMessage;
    if (e.dead || !s || !s->queued_call || (message && (s->tag & 0xfff) > native::kRegisterWords) ||
        (ex.queue.pressing() & t.gives_way_to) || (c.is_at_home(ex) && c.priority < t.priority)) {
        e.lock.unlock();
        return failed<kTraced>(kPath, Test::kSendersWait, start);
    }
    // c may be cancelled by its own CPU: the exchange decides.
    ReplySlot* expected = &t.reply;
    if (!c.owed.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) [[unlikely]] {
        e.lock.unlock();
        return failed<kTraced>(kPath, Test::kRace, start);
    }
    // ---- Point of no return ----
    e.take_out(*s);
    s->state.store(native::kStateReady, std::memory_order_relaxed);  // not in a queue; ours
    e.lock.unlock();
    answer(t, c, tag);
    u64 got = s->tag;
    if (message) {
        hal::copy_words(s->context, t.context, got & 0xfff);
    } else if (s->queued_as == Expects::kSyscall) {
        got = native::make_tag(native::kLabelSyscall, native::kRegisterWords);
        hal::syscall_to_message(s->context, t.context);
    } else {
        got = fault_tag(*s);
        trap_to_message(*s, t.context);
    }
    const u64 badge = s->badge;
    owe(t, *s, s->queued_as);
    // In its registers, for others may have their turn first.
    hal::set_message(t.context, badge, got);
    [[maybe_unused]] const u64 to = c.number;
    c.wake();
    if constexpr (kTraced) trace::fast_done(kPath, t.number, to, start);
    if (ex.queue.count(t.priority) != 0) sched::start_slice(ex, t.priority);
    if (ex.needs_attention()) [[unlikely]]
        leave_trap_changed(t);
    Machine::resume_message(t.context, badge, got);
}

template <bool kTraced>
[[gnu::noinline]] void reply_to_other_cpu(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, u64 start) {
    constexpr auto kPath = trace::Path::kFastReply;
    rt::Executor& there = c.home();
    e.lock.lock();
    // The caller may be cancelled by its own CPU: the exchange decides.
    ReplySlot* expected = &t.reply;
    if (!may_wait_at(e) || !c.owed.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) [[unlikely]] {
        if (!may_wait_at(e)) return answer_and_take<kTraced>(t, e, c, tag, start);
        e.lock.unlock();
        return failed<kTraced>(kPath, Test::kRace, start);
    }
    // ---- Point of no return ----
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    answer(t, c, tag);
    c.state.store(native::kStateReady, std::memory_order_relaxed);
    wait_at(e, t);
    e.lock.unlock();
    [[maybe_unused]] const u64 to = c.number;
    if (!there.handoff.give(c)) there.post(c);
    if constexpr (kTraced) trace::fast_done(kPath, t.number, to, start);
    wait_for_other_cpu(t);
}

template <bool kTraced, bool kOdd, bool kTrap>
[[gnu::always_inline]] inline void finish_reply(rt::Executor& ex, NativeThread& t, Endpoint& e, NativeThread& c,
                                                u64 tag, u64 start) {
    constexpr auto kPath = trace::Path::kFastReply;
    if (ex.queue.pressing() & c.gives_way_to) return failed<kTraced>(kPath, Test::kPriority, start);
    // Now that it is known to be this CPU's: it may have been cancelled, and moved here, since it was found.
    if (!Machine::equals(c.owed, &t.reply)) return failed<kTraced>(kPath, Test::kRace, start);
    e.lock.lock();
    if (!may_wait_at(e)) [[unlikely]]
        return answer_and_take<kTraced>(t, e, c, tag, start);
    // ---- Point of no return ----
    // t can have a message as soon as the lock is given up: its registers are read before.
    c.owed.store(nullptr, std::memory_order_relaxed);
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    c.state.store(native::kStateReady, std::memory_order_relaxed);
    if constexpr (!kTrap) {
        copy_message(t, c, tag & 0xfff);
        wait_at(e, t);
        e.lock.unlock();
        if constexpr (kTraced) trace::fast_done(kPath, t.number, c.number, start);
        switch_state<kOdd>(ex, t, c);
        Machine::resume_message(c.context, 0, tag);
    }
    const bool plain = c.expects == Expects::kSyscall && native::tag_label(tag) == native::kResume;
    answer_trap(t, c, tag);
    wait_at(e, t);
    e.lock.unlock();
    if constexpr (kTraced) trace::fast_done(kPath, t.number, c.number, start);
    switch_state<kOdd>(ex, t, c);
    if (plain) [[likely]]
        Machine::resume_syscall(c.context);
    Machine::enter_user(c.context);
}

template <bool kTraced>
[[gnu::noinline]] void reply_odd(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, u64 start) {
    if ((t.odd & NativeThread::kOddBound) || c.timed())
        return failed<kTraced>(trace::Path::kFastReply, Test::kSpecial, start);
    rt::Executor& ex = rt::Executor::current();
    if (!c.is_at_home(ex)) return reply_to_other_cpu<kTraced>(t, e, c, tag, start);
    finish_reply<kTraced, true, false>(ex, t, e, c, tag, start);
}

// The caller waits for the answer to a trap of its.
template <bool kTraced>
[[gnu::noinline]] void reply_to_trap(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, u64 start) {
    if (native::tag_label(tag) != native::kResume &&
        (native::tag_label(tag) != native::kResumeAt || hal::message_word(t.context, 1) >= Machine::user_top().value))
        return failed<kTraced>(trace::Path::kFastReply, Test::kSpecial, start);
    if ((t.odd & NativeThread::kOddBound) || c.timed())
        return failed<kTraced>(trace::Path::kFastReply, Test::kSpecial, start);
    rt::Executor& ex = rt::Executor::current();
    if (!c.is_at_home(ex)) [[unlikely]]
        return reply_to_other_cpu<kTraced>(t, e, c, tag, start);
    if (((t.odd | c.odd) & u8(~NativeThread::kOddTrapped)) == 0) [[likely]]
        finish_reply<kTraced, false, true>(ex, t, e, c, tag, start);
    else
        finish_reply<kTraced, true, true>(ex, t, e, c, tag, start);
}

template <bool kTraced>
[[gnu::always_inline]] inline void reply_receive_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastReply;
    NativeThread* c = t.reply.caller.load(std::memory_order_relaxed);
    if (!c) return failed<kTraced>(kPath, Test::kNoPartner, start);
    const u64 tag = hal::message_tag(t.context);
    if (!is_plain(t, *c, tag)) return failed<kTraced>(kPath, Test::kLong, start);
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kReceivable)) return failed<kTraced>(kPath, Test::kCapability, start);
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    if (c->expects != Expects::kMessage) return reply_to_trap<kTraced>(t, e, *c, tag, start);
    rt::Executor& ex = rt::Executor::current();
    if (t.odd | c->odd) [[unlikely]]
        return reply_odd<kTraced>(t, e, *c, tag, start);
    if (!c->is_at_home(ex)) [[unlikely]]
        return reply_to_other_cpu<kTraced>(t, e, *c, tag, start);
    finish_reply<kTraced, false, false>(ex, t, e, *c, tag, start);
}

template <bool kTraced>
[[gnu::always_inline]] inline void signal_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastSignal;
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kSignallable)) return failed<kTraced>(kPath, Test::kCapability, start);
    Notification& n = static_cast<Notification&>(*cap.object);
    rt::Executor& ex = rt::Executor::current();
    if (ex.needs_attention()) return failed<kTraced>(kPath, Test::kAttention, start);
    u64 bits = hal::message_tag(t.context);
    if (bits == 0) bits = cap.badge;
    n.lock.lock();
    NativeThread* w = n.first();
    if (n.bound.load(std::memory_order_relaxed) || (w && (w->timed() || &w->home() != &ex))) [[unlikely]] {
        n.lock.unlock();
        return failed<kTraced>(kPath, w ? Test::kOtherCpu : Test::kSpecial, start);
    }
    // ---- Point of no return ----
    if constexpr (kTraced) trace::fast_done(kPath, t.number, w ? w->number : 0, start);
    t.context.set_syscall_result(0);
    if (!w) {
        n.bits.store(n.bits.load(std::memory_order_relaxed) | bits, std::memory_order_relaxed);
        n.lock.unlock();
        Machine::resume_syscall(t.context);
    }
    bits |= n.bits.load(std::memory_order_relaxed);
    n.bits.store(0, std::memory_order_relaxed);
    n.take_first(*w);
    w->state.store(native::kStateReady, std::memory_order_relaxed);
    n.lock.unlock();
    const u64 tag = native::make_tag(native::kLabelSignal, 0);
    if (w->priority < t.priority) {
        ex.enqueue_front(t);
        if (t.odd | w->odd)
            switch_state<true>(ex, t, *w);
        else
            switch_state<false>(ex, t, *w);
        Machine::resume_message(w->context, bits, tag);
    }
    hal::set_message(w->context, bits, tag);
    ex.enqueue(*w);
    if (w->priority == t.priority) sched::start_slice(ex, t.priority);  // it has a turn within a slice
    Machine::resume_syscall(t.context);
}

}  // namespace

void fast_call(NativeThread& t) { call_path<false>(t); }
void fast_reply_receive(NativeThread& t) { reply_receive_path<false>(t); }
void fast_signal(NativeThread& t) { signal_path<false>(t); }
void fast_exception(NativeThread& t) { exception_path<false>(t); }
void fast_fault(NativeThread& t) { fault_path<false>(t); }
[[gnu::noinline]] void fast_fault_traced(NativeThread& t) { fault_path<true>(t); }

[[gnu::noinline]] void fast_call_traced(NativeThread& t) { call_path<true>(t); }
[[gnu::noinline]] void fast_reply_receive_traced(NativeThread& t) { reply_receive_path<true>(t); }
[[gnu::noinline]] void fast_exception_traced(NativeThread& t) { exception_path<true>(t); }
[[gnu::noinline]] void fast_signal_traced(NativeThread& t) { signal_path<true>(t); }

}  // namespace core::ipc

namespace core::ipc {

namespace {

// The two paths as short as they can be: one CPU, no FPU, no timeout, at most seven words, a lock that is free. They return
// where that does not hold, and the general forms above look again.
[[gnu::always_inline]] inline void shortest_call(NativeThread& t) {
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kCallable)) return;
    const u64 tag = hal::message_tag(t.context);
    if ((tag & 0xff8) != 0) return;
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    NativeThread* r = e.receiver.load(std::memory_order_relaxed);
    if (!r) return;
    rt::Executor& ex = rt::Executor::current();
    if (!r->is_at_home(ex)) [[unlikely]]
        return to_other_cpu<false, Expects::kMessage>(t, e, *r, cap.badge, tag, trace::Path::kFastCall, 0);
    if ((ex.queue.pressing() & r->gives_way_to) || (t.odd | r->odd)) return;
    if (!e.lock.try_lock()) return;
    if (!Machine::equals(e.receiver, r)) {
        e.lock.unlock();
        return;
    }
    // ---- Point of no return ----
    e.take_first(*r);
    r->state.store(native::kStateReady, std::memory_order_relaxed);
    e.lock.unlock();
    owe(*r, t, Expects::kMessage);
    switch_state<false>(ex, t, *r);
    resume_with(t, *r, cap.badge, tag);
}

[[gnu::always_inline]] inline void shortest_reply(NativeThread& t) {
    NativeThread* c = t.reply.caller.load(std::memory_order_relaxed);
    if (!c) return;
    const u64 tag = hal::message_tag(t.context);
    if ((tag & 0xff8) != 0) return;
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kReceivable)) return;
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    rt::Executor& ex = rt::Executor::current();
    if (t.odd | c->odd) [[unlikely]] {
        if (c->expects != Expects::kMessage) reply_to_trap<false>(t, e, *c, tag, 0);
        return;
    }
    if (!c->is_at_home(ex)) [[unlikely]]
        return reply_to_other_cpu<false>(t, e, *c, tag, 0);
    // Now that it is known to be this CPU's: it may have been cancelled, and moved here, since it was found.
    if ((ex.queue.pressing() & c->gives_way_to) || !Machine::equals(c->owed, &t.reply)) return;
    if (!e.lock.try_lock()) return;
    if (!may_wait_at(e)) [[unlikely]]
        return answer_and_take<false>(t, e, *c, tag, 0);
    // ---- Point of no return ----
    c->owed.store(nullptr, std::memory_order_relaxed);
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    c->state.store(native::kStateReady, std::memory_order_relaxed);
    // t can have a message as soon as the lock is given up: its registers are read before.
    if (const u64 words = tag & 7; words != 0) hal::copy_words(t.context, c->context, words);
    wait_at(e, t);
    e.lock.unlock();
    switch_state<false>(ex, t, *c);
    Machine::resume_message(c->context, 0, tag);
}

// A wait for a notification: takes what is there, or queues.
[[gnu::always_inline]] inline void wait_path(NativeThread& t) {
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kWaitable)) return;
    Notification& n = static_cast<Notification&>(*cap.object);
    if (!n.lock.try_lock()) return;
    if (n.dead || n.bound.load(std::memory_order_relaxed)) {
        n.lock.unlock();
        return;
    }
    // ---- Point of no return ----
    if (u64 bits = n.bits.load(std::memory_order_relaxed)) {
        n.bits.store(0, std::memory_order_relaxed);
        n.lock.unlock();
        const u64 tag = native::make_tag(native::kLabelSignal, 0);
        if (rt::Executor::current().needs_attention()) [[unlikely]] {
            hal::set_message(t.context, bits, tag);  // others may have their turn first
            leave_trap_changed(t);
        }
        Machine::resume_message(t.context, bits, tag);
    }
    t.waits_at.store(&n, std::memory_order_relaxed);
    t.state.store(native::kStateWaiting, std::memory_order_release);  // pairs with claim()
    n.insert(t);
    n.lock.unlock();
    leave(t);
}

[[noreturn, gnu::noinline]] void general_syscall(NativeThread& t) {
    const u64 word = hal::call_word(t.context);
    if (word == native::kSignal)
        fast_signal(t);
    else if (word == native::kReceive)
        wait_path(t);
    else if (!may_be_plain(hal::message_tag(t.context)))
        slow_syscall(t);
    else if (word == native::kCall)
        fast_call(t);
    else if (word == native::kReplyReceive)
        fast_reply_receive(t);
    slow_syscall(t);
}

}  // namespace

}  // namespace core::ipc

// --- The entries (hal::CallEntry)

HAL_FAST_ENTRY(farcall_native_syscall, context) {
    using namespace core;
    NativeThread& t = static_cast<NativeThread&>(Thread::of(context));
    if (!hal::Machine::is_zero(trace::on)) [[unlikely]]
        return traced_syscall(t);
    const u64 word = hal::call_word(context);
    if (word == native::kCall) [[likely]]
        ipc::shortest_call(t);
    else if (word == native::kReplyReceive) [[likely]]
        ipc::shortest_reply(t);
    ipc::general_syscall(t);
}

HAL_FAST_ENTRY(farcall_redirected_syscall, context) {
    using namespace core;
    NativeThread& t = static_cast<NativeThread&>(Thread::of(context));
    if (hal::Machine::is_zero(trace::on)) [[likely]]
        ipc::exception_path<false>(t);
    redirected_syscall(t);
}
