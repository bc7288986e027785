// SPDX-License-Identifier: MIT
// Fastpaths of a server whose answers are not those of fastpath.cpp: to a caller that a Reply object holds (kAnswerSaved),
// with all registers (kResumeWith), or none at all, with the owed caller saved (kSaveOwed) or without one. With the next
// receive, for a server with and without a bound notification. And an answer without a receive (kReply, kReplyTo), of a server
// that has more than one to give. Rules: fastpath.cpp.
//
// A saved caller can be answered by any thread of any CPU, so it is taken by an exchange (NativeThread::owed), and looked at
// once more: it may be another call of the same thread, saved in the same place.
#include "core/ipc/fastpath_parts.hpp"
#include "core/sched.hpp"
#include "core/trap.hpp"

namespace core::ipc {

using namespace fast;

namespace fast {

[[gnu::noinline]] void take_signals(NativeThread& t, Notification& n, NativeThread* answered) {
    if (!t.claim(native::kStateReceiving)) return;
    // Ours again. Only t takes bits; in its registers, because other threads may run first.
    const u64 bits = n.bits.exchange(0, std::memory_order_seq_cst);
    hal::set_message(t.context, bits, native::make_tag(native::kLabelSignal, 0));
    if (answered) answered->wake_answered();
    rt::Executor& ex = rt::Executor::current();
    if (rt::gives_way(ex, t)) ex.run_forever();
    sched::start_any_slice(ex);
    leave_trap_changed(t);
}

}  // namespace fast

namespace {

struct Answer {
    NativeThread* to = nullptr;  // null: no thread is answered
    ReplySlot* slot = nullptr;   // where it was found
    u64 tag = 0;
    Expects expects = Expects::kMessage;
    const native::Registers* with = nullptr;  // kResumeWith
};

// The caller that is answered, and room for the owed one, or neither: then nothing has changed.
[[gnu::always_inline]] inline bool take_both(NativeThread& t, const Answer& a, Reply* into) {
    if (!a.to) return !into || save_owed(t, into->slot).ok();
    return take_if(*a.to, *a.slot, [&] [[gnu::always_inline]] {
        return a.to->expects == a.expects && !a.to->takes_slowpath() && (!into || save_owed(t, into->slot).ok());
    });
}

[[gnu::always_inline]] inline void give(NativeThread& t, const Answer& a, bool here) {
    NativeThread& c = *a.to;
    if (!a.with) return answer(t, c, a.tag);
    if (!c.redirect) c.slow_switch_reasons &= u8(~NativeThread::kSlowTrapped);
    const ThreadClaim claim = ThreadClaim::of_taken(c);
    c.set_registers(claim, *a.with);
    // In no register of this CPU, which runs t. Elsewhere that CPU sees to it (NativeThread::renew).
    if (here) c.bases_now();
}

// t gives the answer, if there is one, saves whom it owes one, if there is room to, and waits at e.
template <class Trace>
[[gnu::always_inline]] inline void answer_and_wait(NativeThread& t, Endpoint& e, const Answer& a, Reply* into,
                                                   const Trace& note) {
    rt::Executor& ex = rt::Executor::current();
    NativeThread* const c = a.to;
    Notification* const n = t.bound.get();
    if (c && c->takes_slowpath()) return note.failed(Test::kSpecial);
    const bool here = c && c->is_at_home(ex);
    rt::Executor& there = c ? c->home() : ex;
    if (here && (ex.queue.pressing() & c->gives_way_to)) return note.failed(Test::kPriority);
    e.lock.lock();
    if (!may_wait_at(e)) [[unlikely]] {
        e.lock.unlock();
        return note.failed(Test::kSendersWait);
    }
    if (!take_both(t, a, into)) [[unlikely]] {
        e.lock.unlock();
        return note.failed(Test::kRace);
    }
    // ---- Point of no return ----
    u64 to = 0;
    if (c) {
        give(t, a, here);
        c->state.store(native::kStateReady, std::memory_order_relaxed);
        to = c->number;
    }
    wait_at(e, t);
    e.lock.unlock();
    note.done(t.number, to);
    if (c && !here && !there.handoff.give(*c)) there.post(*c);
    if (n && signals_came(*n)) [[unlikely]]
        take_signals(t, *n, here ? c : nullptr);
    if (!c) leave(t);
    if (!here) wait_for_other_cpu(t);
    if (switch_quickly(t, *c)) [[likely]]
        switch_state<Switch::kQuick>(ex, t, *c);
    else if (finds_fpu(t, *c))
        switch_state<Switch::kFindFpu>(ex, t, *c);
    else
        switch_state<Switch::kFull>(ex, t, *c);
    if (a.expects == Expects::kMessage) Machine::resume_message(c->context, 0, a.tag);
    if (a.expects == Expects::kSyscall && native::tag_label(a.tag) == native::kResume)
        Machine::resume_syscall(c->context);
    Machine::enter_user(c->context);
}

// The registers of kResumeWith, if the answer may be given.
bool check_registers(NativeThread& t, u64 tag, native::Registers& r) {
    if (native::tag_label(tag) != native::kResumeWith || !t.utcb) return false;
    r = t.utcb->registers;  // once: other threads can write to the page
    return hal::user_pc(r) && hal::user_bases(r);
}

template <class Trace>
[[gnu::noinline]] void answer_saved_with(NativeThread& t, Endpoint& e, Answer a, Reply* into, Trace note) {
    native::Registers r;
    if (!check_registers(t, a.tag, r)) return note.failed(Test::kSpecial);
    a.with = &r;
    answer_and_wait(t, e, a, into, note);
}

// The Reply that a slot names, if the right is there.
[[gnu::always_inline]] inline Reply* reply_at(NativeThread& t, u64& slot, u8 good_for) {
    // Once: other threads can write to the page.
    const Cap& cap = capability_at(t, std::atomic_ref{slot}.load(std::memory_order_relaxed));
    return cap.good_for & good_for ? static_cast<Reply*>(cap.object) : nullptr;
}

template <class Trace>
[[gnu::always_inline]] inline void receive_path(NativeThread& t) {
    const u64 word = hal::call_word(t.context);
    const Trace note{Path::kFastReply};
    const Cap& cap = capability(t);
    if (!may_receive_fast(word) || !(cap.good_for & Cap::kReceivable)) return note.failed(Test::kCapability);
    Endpoint& e = static_cast<Endpoint&>(*cap.object);
    const bool owes = t.reply.caller.load(std::memory_order_relaxed) != nullptr, save = (word & native::kSaveOwed) != 0;
    // What is owed and not saved would be dropped.
    if (owes != save) return note.failed(Test::kNoPartner);
    if (word != native::kReceive && !t.utcb) return note.failed(Test::kSpecial);
    Reply* into = nullptr;
    if (save) {
        into = reply_at(t, t.utcb->save, Cap::kSavable);
        if (!into || into->slot.caller.load(std::memory_order_relaxed)) return note.failed(Test::kCapability);
    }
    if (!(word & native::kAnswerSaved)) return answer_and_wait<Trace>(t, e, {}, into, note);
    Reply* from = reply_at(t, t.utcb->answer, Cap::kAnswerable);
    if (!from || from == into) return note.failed(Test::kCapability);
    NativeThread* c = from->slot.found();
    if (!c) return note.failed(Test::kNoPartner);
    Answer a{c, &from->slot, hal::message_tag(t.context), c->expects};
    if (!is_plain(t, *c, a.tag)) return note.failed(Test::kLong);
    if (a.expects != Expects::kMessage && !is_plain_resume(t, a.tag))
        return answer_saved_with<Trace>(t, e, a, into, note);
    answer_and_wait<Trace>(t, e, a, into, note);
}

// An answer alone: t goes on, and the caller is ready.
template <class Trace>
[[gnu::always_inline]] inline void answer_path(NativeThread& t) {
    const u64 word = hal::call_word(t.context);
    const Trace note{Path::kFastReply, word};
    ReplySlot* slot = &t.reply;
    if ((word & native::kCallMask) == native::kReplyTo) {
        const Cap& cap = capability(t);
        if (!(cap.good_for & Cap::kAnswerable)) return note.failed(Test::kCapability);
        slot = &static_cast<Reply*>(cap.object)->slot;
    }
    NativeThread* c = slot->found();
    if (!c) return note.failed(Test::kNoPartner);
    Answer a{c, slot, hal::message_tag(t.context), c->expects};
    if (!is_plain(t, *c, a.tag)) return note.failed(Test::kLong);
    native::Registers r;
    if (a.expects != Expects::kMessage && !is_plain_resume(t, a.tag)) {
        if (!check_registers(t, a.tag, r)) return note.failed(Test::kSpecial);
        a.with = &r;
    }
    if (c->takes_slowpath()) return note.failed(Test::kSpecial);
    rt::Executor& ex = rt::Executor::current();
    if (!take_both(t, a, nullptr)) return note.failed(Test::kRace);
    // ---- Point of no return ----
    give(t, a, false);  // it is entered by its executor
    t.context.set_syscall_result(0);
    note.done(t.number, c->number);
    c->wake_answered(word);  // c may not be accessed after this; it may have come to this CPU since it was found
    if (const u64 pressing = ex.queue.pressing()) {
        if (pressing & t.gives_way_to) [[unlikely]] {
            if (rt::gives_way(ex, t)) ex.run_forever();
            sched::start_any_slice(ex);
            leave_trap_changed(t);
        }
        sched::start_any_slice(ex);
    }
    Machine::resume_syscall(t.context);
}

}  // namespace

namespace fast {

template <class Trace>
[[gnu::noinline]] void reply_with_registers(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, Trace note) {
    answer_saved_with<Trace>(t, e, {&c, &t.reply, tag, c.expects}, nullptr, note);
}
template void reply_with_registers(NativeThread&, Endpoint&, NativeThread&, u64, NoTrace);
template void reply_with_registers(NativeThread&, Endpoint&, NativeThread&, u64, BufferTrace);

}  // namespace fast

void fast_receive(NativeThread& t) { receive_path<NoTrace>(t); }
void fast_answer(NativeThread& t) { answer_path<NoTrace>(t); }
[[gnu::noinline]] void fast_answer_traced(NativeThread& t) { answer_path<BufferTrace>(t); }
[[gnu::noinline]] void fast_receive_traced(NativeThread& t) { receive_path<BufferTrace>(t); }

}  // namespace core::ipc
