// SPDX-License-Identifier: MIT
// The fastpaths: a call, an answer with the next receive, a system call sent to its handler, a signal. Each does what
// slowpath.cpp would do, for the common case, and returns with nothing changed as soon as a test fails. (Answers to saved
// callers, answers with registers, and a receive alone: fastpath_saved.cpp.)
//
// The order of tests: those that cost least and fail most often first, none that another implies. All but the last need
// no lock; what they read may change until the lock of the one object is held, and is then checked again (Test::kRace).
// After "Point of no return" nothing can fail, and the lock is released once.
// A thread of this CPU cannot be changed by another CPU while it waits for an answer or runs (thread.hpp), so its own
// state needs no lock. What comes out of a path are the registers of the partner: it leaves by a resume, never by a
// return.
#include "core/ipc/fastpath_parts.hpp"
#include "core/sched.hpp"
#include "core/trap.hpp"

namespace core::ipc {

using namespace fast;

namespace {

// To a receiver of another CPU. If that CPU waits for a thread, it takes this one directly; if it looks for work, it
// finds it in its inbox; it is interrupted only if it sleeps or is in user mode.
template <class Trace, Expects kKind>
[[gnu::noinline]] void to_other_cpu(Send s, NativeThread& r, Header h, Trace note) {
    rt::Executor& there = r.home();
    if (!take_receiver<true>(s.to, r)) return note.failed(Test::kRace);
    // ---- Point of no return ----
    carry<kKind>(s.from, r, h.tag);
    hal::set_message(r.context, h.badge, h.tag);
    owe(r, s.from, kKind);
    const u64 to = r.number;  // r may not be accessed after this
    if (!there.handoff.give(r)) there.post(r);
    note.done(s.from.number, to);
    wait_for_other_cpu(s.from);
}

template <class Trace, Expects kKind, Switch kHow>
[[gnu::always_inline]] inline void finish_send(rt::Executor& ex, const Send& s, NativeThread& r, const Header& h,
                                               const Trace& note) {
    if (!take_receiver<false>(s.to, r)) return note.failed(Test::kRace);
    // ---- Point of no return ----
    owe(r, s.from, kKind);
    // With what the message costs, as a slowpath's record; its place is below.
    note.done_with(s.from.number, r.number, [&] { carry<kKind>(s.from, r, h.tag); });
    switch_state<kHow>(ex, s.from, r);
    if constexpr (kKind == Expects::kMessage) resume_with(s.from, r, h);
    carry<kKind>(s.from, r, h.tag);
    Machine::resume_message(r.context, h.badge, h.tag);
}

// One of the two uses the FPU, or the receiver has a timeout or a bound notification.
template <class Trace, Expects kKind>
[[gnu::noinline]] void to_odd_receiver(Send s, NativeThread& r, Header h, Trace note) {
    rt::Executor& ex = rt::Executor::current();
    if constexpr (kKind != Expects::kMessage)
        if (leaves_fpu(s.from, r)) return finish_send<Trace, kKind, Switch::kLeaveFpu>(ex, s, r, h, note);
    if (r.takes_slowpath()) return note.failed(Test::kSpecial);
    if (switch_quickly(s.from, r)) return finish_send<Trace, kKind, Switch::kQuick>(ex, s, r, h, note);
    finish_send<Trace, kKind, Switch::kFull>(ex, s, r, h, note);
}

// Nobody waits for the message: its sender waits.
template <class Trace, Expects kKind>
[[gnu::noinline]] void to_queue(Send s, Header h, Trace note) {
    if (kKind == Expects::kMessage && plain_words(h.tag) > native::kRegisterWords) return note.failed(Test::kLong);
    NativeThread& t = s.from;
    Endpoint& e = s.to;
    e.lock.lock();
    if (e.dead || e.receiver.load(std::memory_order_relaxed)) [[unlikely]] {
        e.lock.unlock();
        return note.failed(Test::kRace);
    }
    // ---- Point of no return ----
    t.tag = kKind == Expects::kMessage ? h.tag : 0;
    t.badge = h.badge;
    t.queued_as = kKind;
    t.queued_call = true;
    t.waits_at.store(&e, std::memory_order_relaxed);
    t.state.store(native::kStateSending, std::memory_order_release);  // pairs with claim()
    e.insert(t);
    e.lock.unlock();
    note.done(t.number, 0);
    leave(t);
}

// From the sender's side, for messages and for system calls.
template <class Trace, Expects kKind>
[[gnu::always_inline]] inline void to_receiver(const Send& s, const Header& h, const Trace& note) {
    NativeThread* r = s.to.receiver.load(std::memory_order_relaxed);
    if (!r) return to_queue<Trace, kKind>(s, h, note);
    if constexpr (kKind == Expects::kMessage)
        if (!is_plain(s.from, *r, h.tag)) return note.failed(Test::kLong);
    rt::Executor& ex = rt::Executor::current();
    if (!r->is_at_home(ex)) [[unlikely]]
        return to_other_cpu<Trace, kKind>(s, *r, h, note);
    if (ex.queue.pressing() & r->gives_way_to) return note.failed(Test::kPriority);
    // A handler of traps has a bound notification most often; the shortest path of messages does not look for one.
    constexpr u8 kHarmless = kKind == Expects::kSyscall ? NativeThread::kQuickSwitch
                             : kKind == Expects::kFault ? NativeThread::kSlowTrapped
                                                        : 0;
    if (((s.from.slow_switch_reasons | r->slow_switch_reasons) & u8(~kHarmless)) != 0) [[unlikely]]
        return to_odd_receiver<Trace, kKind>(s, *r, h, note);
    finish_send<Trace, kKind, Switch::kQuick>(ex, s, *r, h, note);
}

template <class Trace>
[[gnu::always_inline]] inline void call_path(NativeThread& t) {
    const Trace note{Path::kFastCall};
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kCallable)) return note.failed(Test::kCapability);
    const u64 tag = hal::message_tag(t.context);
    if (!may_be_plain(tag)) return note.failed(Test::kLong);
    to_receiver<Trace, Expects::kMessage>({t, static_cast<Endpoint&>(*cap.object)}, {cap.badge, tag}, note);
}

template <class Trace>
[[gnu::always_inline]] inline void exception_path(NativeThread& t) {
    const Trace note{Path::kFastException, trace::call_of(t.context.syscall_number())};
    Endpoint* e = t.handler.get();
    if (!e) return note.failed(Test::kCapability);
    to_receiver<Trace, Expects::kSyscall>(
        {t, *e}, {t.handler_badge, native::make_tag(native::kLabelSyscall, native::kRegisterWords)}, note);
}

template <class Trace>
[[gnu::always_inline]] inline void fault_path(NativeThread& t) {
    const Trace note{Path::kFastException, trace::call_of(t.fault)};
    Endpoint* e = t.handler.get();
    if (!e) return note.failed(Test::kCapability);
    const u64 tag = fault_tag(t);
    t.slow_switch_reasons |= NativeThread::kSlowTrapped;  // so will raise(), if this fails
    to_receiver<Trace, Expects::kFault>({t, *e}, {t.handler_badge, tag}, note);
}

// Somebody waits to send: t answers c and has the first message at once, without another thread in between. Gives
// the lock up.
template <class Trace>
[[gnu::noinline]] void answer_and_take(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, Trace note)
    RT_RELEASE(e.lock) {
    rt::Executor& ex = rt::Executor::current();
    if (Notification* n = t.bound.get(); n && !Machine::is_zero(n->bits)) [[unlikely]] {
        e.lock.unlock();
        return note.failed(Test::kSpecial);  // signals are first
    }
    NativeThread* s = e.first();
    const bool message = s && s->queued_as == Expects::kMessage;
    if (e.dead || !s || !s->queued_call || (message && plain_words(s->tag) > native::kRegisterWords) ||
        (ex.queue.pressing() & t.gives_way_to)) {
        e.lock.unlock();
        return note.failed(Test::kSendersWait);
    }
    // c may be cancelled by its own CPU: the exchange decides.
    ReplySlot* expected = &t.reply;
    if (!c.owed.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) [[unlikely]] {
        e.lock.unlock();
        return note.failed(Test::kRace);
    }
    // ---- Point of no return ----
    e.take_out(*s);
    s->state.store(native::kStateReady, std::memory_order_relaxed);  // not in a queue; ours
    e.lock.unlock();
    answer(t, c, tag);
    u64 got = s->tag;
    if (message) {
        hal::copy_words(s->context, t.context, plain_words(got));
    } else if (s->queued_as == Expects::kSyscall) {
        got = native::make_tag(native::kLabelSyscall, native::kRegisterWords);
        hal::syscall_to_message(s->context, t.context);
    } else {
        got = fault_tag(*s);
        trap_to_message(*s, t.context);
    }
    const u64 badge = s->badge;
    owe(t, *s, s->queued_as);
    // In its registers, because other threads may run first.
    hal::set_message(t.context, badge, got);
    const u64 to = c.number;
    c.wake_answered();
    note.done(t.number, to);
    if (rt::gives_way(ex, t)) [[unlikely]]  // c is more urgent, and of this CPU, perhaps only now
        ex.run_forever();
    sched::start_any_slice(ex);
    if (ex.needs_attention()) [[unlikely]]
        leave_trap_changed(t);
    Machine::resume_message(t.context, badge, got);
}

// kBound: t has a bound notification.
template <class Trace, bool kBound = false>
[[gnu::noinline]] void reply_to_other_cpu(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, Trace note) {
    rt::Executor& there = c.home();
    Notification* const n = kBound ? t.bound.get() : nullptr;
    e.lock.lock();
    // The caller may be cancelled by its own CPU: the exchange decides.
    ReplySlot* expected = &t.reply;
    if (!may_wait_at(e) || !c.owed.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) [[unlikely]] {
        if (!may_wait_at(e)) return answer_and_take<Trace>(t, e, c, tag, note);
        e.lock.unlock();
        return note.failed(Test::kRace);
    }
    // ---- Point of no return ----
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    answer(t, c, tag);
    c.state.store(native::kStateReady, std::memory_order_relaxed);
    wait_at(e, t);
    e.lock.unlock();
    const u64 to = c.number;
    if (!there.handoff.give(c)) there.post(c);
    note.done(t.number, to);
    if (kBound && signals_came(*n)) [[unlikely]]
        take_signals(t, *n, nullptr);
    wait_for_other_cpu(t);
}

template <class Trace, Switch kHow, bool kTrap, bool kBound = false>
[[gnu::always_inline]] inline void finish_reply(rt::Executor& ex, NativeThread& t, Endpoint& e, NativeThread& c,
                                                u64 tag, const Trace& note) {
    if (ex.queue.pressing() & c.gives_way_to) return note.failed(Test::kPriority);
    // Now that it is known to be this CPU's: it may have been cancelled, and moved here, since it was found.
    if (!Machine::equals(c.owed, &t.reply)) return note.failed(Test::kRace);
    Notification* const n = kBound ? t.bound.get() : nullptr;
    e.lock.lock();
    if (!may_wait_at(e)) [[unlikely]]
        return answer_and_take<Trace>(t, e, c, tag, note);
    // ---- Point of no return ----
    // t can have a message as soon as the lock is given up: its registers are read before.
    c.owed.store(nullptr, std::memory_order_relaxed);
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    c.state.store(native::kStateReady, std::memory_order_relaxed);
    if constexpr (!kTrap) {
        copy_message(t, c, plain_words(tag));
        wait_at(e, t);
        e.lock.unlock();
        note.done(t.number, c.number);
        if (kBound && signals_came(*n)) [[unlikely]] {
            hal::set_message(c.context, 0, tag);
            take_signals(t, *n, &c);
        }
        switch_state<kHow>(ex, t, c);
        Machine::resume_message(c.context, 0, tag);
    }
    const bool plain = c.expects == Expects::kSyscall && native::tag_label(tag) == native::kResume;
    answer_trap(t, c, tag);
    wait_at(e, t);
    e.lock.unlock();
    note.done(t.number, c.number);
    if (kBound && signals_came(*n)) [[unlikely]]
        take_signals(t, *n, &c);
    switch_state<kHow>(ex, t, c);
    if (plain) [[likely]]
        Machine::resume_syscall(c.context);
    Machine::enter_user(c.context);
}

// kTrap: the caller waits for the answer to a trap of its. kBound: t has a bound notification.
template <class Trace, bool kTrap, bool kBound>
[[gnu::always_inline]] inline void reply_any(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag,
                                             const Trace& note) {
    rt::Executor& ex = rt::Executor::current();
    if (!c.is_at_home(ex)) [[unlikely]]
        return reply_to_other_cpu<Trace, kBound>(t, e, c, tag, note);
    if (switch_quickly(t, c)) [[likely]]
        finish_reply<Trace, Switch::kQuick, kTrap, kBound>(ex, t, e, c, tag, note);
    else if (finds_fpu(t, c))
        finish_reply<Trace, Switch::kFindFpu, kTrap, kBound>(ex, t, e, c, tag, note);
    else
        finish_reply<Trace, Switch::kFull, kTrap, kBound>(ex, t, e, c, tag, note);
}

template <class Trace>
[[gnu::noinline]] void reply_odd(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, Trace note) {
    if (c.takes_slowpath()) return note.failed(Test::kSpecial);
    if (t.slow_switch_reasons & NativeThread::kSlowBound) return reply_any<Trace, false, true>(t, e, c, tag, note);
    rt::Executor& ex = rt::Executor::current();
    if (!c.is_at_home(ex)) return reply_to_other_cpu<Trace>(t, e, c, tag, note);
    finish_reply<Trace, Switch::kFull, false>(ex, t, e, c, tag, note);
}

template <class Trace, bool kBound>
[[gnu::noinline]] void answer_to_trap(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, Trace note) {
    if (!is_plain_resume(t, tag)) {
        if (native::tag_label(tag) != native::kResumeWith) return note.failed(Test::kSpecial);
        return reply_with_registers<Trace>(t, e, c, tag, note);
    }
    if (c.takes_slowpath()) return note.failed(Test::kSpecial);
    reply_any<Trace, true, kBound>(t, e, c, tag, note);
}
template <class Trace>
[[gnu::always_inline]] inline void reply_to_trap(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag,
                                                 const Trace& note) {
    if (t.slow_switch_reasons & NativeThread::kSlowBound)
        answer_to_trap<Trace, true>(t, e, c, tag, note);
    else
        answer_to_trap<Trace, false>(t, e, c, tag, note);
}

template <class Trace>
[[gnu::always_inline]] inline void reply_receive_path(NativeThread& t) {
    const Trace note{Path::kFastReply};
    NativeThread* c = t.reply.caller.load(std::memory_order_relaxed);
    if (!c) return note.failed(Test::kNoPartner);
    const u64 tag = hal::message_tag(t.context);
    if (!is_plain(t, *c, tag)) return note.failed(Test::kLong);
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kReceivable)) return note.failed(Test::kCapability);
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    if (c->expects != Expects::kMessage) return reply_to_trap<Trace>(t, e, *c, tag, note);
    rt::Executor& ex = rt::Executor::current();
    if (t.slow_switch_reasons | c->slow_switch_reasons) [[unlikely]]
        return reply_odd<Trace>(t, e, *c, tag, note);
    if (!c->is_at_home(ex)) [[unlikely]]
        return reply_to_other_cpu<Trace>(t, e, *c, tag, note);
    finish_reply<Trace, Switch::kQuick, false>(ex, t, e, *c, tag, note);
}

template <class Trace>
[[gnu::always_inline]] inline void signal_path(NativeThread& t) {
    const Trace note{Path::kFastSignal};
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kSignallable)) return note.failed(Test::kCapability);
    Notification& n = static_cast<Notification&>(*cap.object);
    rt::Executor& ex = rt::Executor::current();
    if (ex.needs_attention()) return note.failed(Test::kAttention);
    u64 bits = hal::message_tag(t.context);
    if (bits == 0) bits = cap.badge;
    n.lock.lock();
    NativeThread* w = n.first();
    if (n.bound.load(std::memory_order_relaxed) || (w && (w->takes_slowpath() || &w->home() != &ex))) [[unlikely]] {
        n.lock.unlock();
        return note.failed(w ? Test::kOtherCpu : Test::kSpecial);
    }
    // ---- Point of no return ----
    t.context.set_syscall_result(0);
    if (!w) {
        note.done(t.number, 0);
        n.bits.store(n.bits.load(std::memory_order_relaxed) | bits, std::memory_order_relaxed);
        n.lock.unlock();
        Machine::resume_syscall(t.context);
    }
    note.done(t.number, w->number);
    bits |= n.bits.load(std::memory_order_relaxed);
    n.bits.store(0, std::memory_order_relaxed);
    n.take_first(*w);
    w->state.store(native::kStateReady, std::memory_order_relaxed);
    n.lock.unlock();
    const u64 tag = native::make_tag(native::kLabelSignal, 0);
    if (w->priority < t.priority) {
        ex.enqueue_front(t);
        if (t.slow_switch_reasons | w->slow_switch_reasons)
            switch_state<Switch::kFull>(ex, t, *w);
        else
            switch_state<Switch::kQuick>(ex, t, *w);
        Machine::resume_message(w->context, bits, tag);
    }
    hal::set_message(w->context, bits, tag);
    ex.enqueue(*w);
    sched::start_slice(ex, w->priority);  // it has a turn within a slice
    Machine::resume_syscall(t.context);
}

}  // namespace

void fast_call(NativeThread& t) { call_path<NoTrace>(t); }
void fast_reply_receive(NativeThread& t) { reply_receive_path<NoTrace>(t); }
void fast_signal(NativeThread& t) { signal_path<NoTrace>(t); }
void fast_exception(NativeThread& t) { exception_path<NoTrace>(t); }
void fast_fault(NativeThread& t) { fault_path<NoTrace>(t); }
[[gnu::noinline]] void fast_fault_traced(NativeThread& t) { fault_path<BufferTrace>(t); }

[[gnu::noinline]] void fast_call_traced(NativeThread& t) { call_path<BufferTrace>(t); }
[[gnu::noinline]] void fast_reply_receive_traced(NativeThread& t) { reply_receive_path<BufferTrace>(t); }
[[gnu::noinline]] void fast_exception_traced(NativeThread& t) { exception_path<BufferTrace>(t); }
[[gnu::noinline]] void fast_signal_traced(NativeThread& t) { signal_path<BufferTrace>(t); }

}  // namespace core::ipc

namespace core::ipc {

namespace {

// The two paths as short as they can be: one CPU, no FPU, no timeout, at most seven words, a lock that is free. They
// return where that does not hold, and the general forms above look again.
[[gnu::always_inline]] inline void shortest_call(NativeThread& t) {
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kCallable)) return;
    const u64 tag = hal::message_tag(t.context);
    if (!has_few_words(tag)) return;
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    NativeThread* r = e.receiver.load(std::memory_order_relaxed);
    if (!r) return;
    rt::Executor& ex = rt::Executor::current();
    if (!r->is_at_home(ex)) [[unlikely]]
        return to_other_cpu<NoTrace, Expects::kMessage>({t, e}, *r, {cap.badge, tag}, NoTrace{Path::kFastCall});
    if ((ex.queue.pressing() & r->gives_way_to) || (t.slow_switch_reasons | r->slow_switch_reasons)) return;
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
    switch_state<Switch::kQuick>(ex, t, *r);
    resume_with(t, *r, {cap.badge, tag});
}

[[gnu::always_inline]] inline void shortest_reply(NativeThread& t) {
    NativeThread* c = t.reply.caller.load(std::memory_order_relaxed);
    if (!c) return;
    const u64 tag = hal::message_tag(t.context);
    if (!has_few_words(tag)) return;
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kReceivable)) return;
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    rt::Executor& ex = rt::Executor::current();
    if (t.slow_switch_reasons | c->slow_switch_reasons) [[unlikely]] {
        if (c->expects == Expects::kMessage) return;
        reply_to_trap<NoTrace>(t, e, *c, tag, NoTrace{Path::kFastReply});
        slow_syscall(t);  // the general form has no other test for it
    }
    if (!c->is_at_home(ex)) [[unlikely]]
        return reply_to_other_cpu<NoTrace>(t, e, *c, tag, NoTrace{Path::kFastReply});
    // Now that it is known to be this CPU's: it may have been cancelled, and moved here, since it was found.
    if ((ex.queue.pressing() & c->gives_way_to) || !Machine::equals(c->owed, &t.reply)) return;
    if (!e.lock.try_lock()) return;
    if (!may_wait_at(e)) [[unlikely]]
        return answer_and_take<NoTrace>(t, e, *c, tag, NoTrace{Path::kFastReply});
    // ---- Point of no return ----
    c->owed.store(nullptr, std::memory_order_relaxed);
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    c->state.store(native::kStateReady, std::memory_order_relaxed);
    // t can have a message as soon as the lock is given up: its registers are read before.
    if (const u64 words = tag & kFewWords; words != 0) hal::copy_words(t.context, c->context, words);
    wait_at(e, t);
    e.lock.unlock();
    switch_state<Switch::kQuick>(ex, t, *c);
    Machine::resume_message(c->context, 0, tag);
}

// A wait for a notification: takes what is there, or queues.
[[gnu::always_inline]] inline void wait_path(NativeThread& t) {
    const Cap& cap = capability(t);
    if (!(cap.good_for & Cap::kWaitable)) return fast_receive(t);
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
            hal::set_message(t.context, bits, tag);  // other threads may run first
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

[[noreturn, gnu::noinline]] void other_syscall(NativeThread& t) {
    const u64 word = hal::call_word(t.context);
    if (word == native::kMapFrames)
        fast_map_frames(t);
    else if (word == native::kChangeFrames)
        fast_change_frames(t);
    else if (word >= native::kSaveOwed)
        fast_receive(t);
    slow_syscall(t);
}

[[noreturn, gnu::noinline]] void too_long(NativeThread& t) {
    Machine::leave_note(u8(Test::kLong));
    slow_syscall(t);
}

[[noreturn, gnu::noinline]] void general_syscall(NativeThread& t) {
    const u64 word = hal::call_word(t.context);
    if (word == native::kSignal)
        fast_signal(t);
    else if (word > native::kSignal && !answers_alone(word))
        other_syscall(t);
    else if (word == native::kReceive)
        wait_path(t);
    else if (!may_be_plain(hal::message_tag(t.context)))
        too_long(t);
    else if (word == native::kCall)
        fast_call(t);
    else if (word == native::kReplyReceive)
        fast_reply_receive(t);
    else if (answers_alone(word))
        fast_answer(t);
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
        ipc::exception_path<trace::NoTrace>(t);
    redirected_syscall(t);
}
