// SPDX-License-Identifier: MIT
// The fastpaths: a call, an answer with the next receive, a system call sent to its handler, a signal. Each does what
// slowpath.cpp would do, for the common case, and returns with nothing changed as soon as a test fails.
//
// The order of tests: those that cost least and fail most often first, none that another implies. All but the last need no
// lock; what they read may change until the lock of the one object is held, and is then looked at once more
// (`race`). After "Point of no return" nothing can fail, and the lock is given up once.
// A thread of this CPU cannot be changed by another CPU (thread.hpp): its own state needs no lock.
#include "core/ipc/ipc.hpp"
#include "core/trace.hpp"
#include "core/trap.hpp"

namespace core::ipc {

using hal::Machine;
using Expects = NativeThread::Expects;
using trace::Test;

namespace {

// Words in registers only, no capabilities, nothing reserved: one comparison.
constexpr bool is_short(u64 tag) { return (tag & 0xfff) <= native::kRegisterWords; }

template <bool kTraced>
[[gnu::always_inline]] inline void failed(trace::Path path, Test test, u64 start) {
    if constexpr (kTraced) trace::fast_failed(path, test, start);
}

// The CPU goes from one thread to the other, which waits in a system call. Both are this CPU's.
[[noreturn, gnu::always_inline]] inline void switch_to(rt::Executor& ex, NativeThread& from, NativeThread& to) {
    if (from.space.get() != to.space.get()) to.space->load_from(*from.space);
    Live& l = live[Machine::this_cpu().value];
    if (from.lazy_fpu & to.lazy_fpu) [[likely]] {
        Machine::switch_thread_state(from.context, to.context);
        l.tls = &to;
        l.current = &to;
    } else {
        to.make_live();
    }
    ex.set_running(&to);
    Machine::resume_syscall(to.context);
}

// Takes the receiver that is first in the queue. Lock held.
[[gnu::always_inline]] inline void take_receiver(Endpoint& e, NativeThread& r) {
    e.take_first(r);
    r.waits_at.store(nullptr, std::memory_order_relaxed);
    r.state.store(native::kStateReady, std::memory_order_relaxed);
}

[[gnu::always_inline]] inline void owe(NativeThread& server, NativeThread& caller, Expects expects) {
    caller.expects = expects;
    caller.state.store(native::kStateAwaitingReply, std::memory_order_relaxed);
    server.reply.caller.store(&caller, std::memory_order_relaxed);
    caller.owed.store(&server.reply, std::memory_order_release);
}

// From the sender's side, for messages and for system calls. `badge` is that of the capability; `tag` of a message.
template <bool kTraced, Expects kKind>
[[gnu::always_inline]] inline void to_receiver(NativeThread& t, Endpoint& e, u64 badge, u64 tag, trace::Path path,
                                               u64 start) {
    NativeThread* r = e.receiver.load(std::memory_order_relaxed);
    if (!r) return failed<kTraced>(path, Test::kNoPartner, start);
    rt::Executor& ex = rt::Executor::current();
    const bool here = &r->home() == &ex;
    if (here) {
        if (ex.has_ready_above(r->priority)) return failed<kTraced>(path, Test::kPriority, start);
    } else if (!r->home().looks_for_work()) {
        return failed<kTraced>(path, Test::kOtherCpu, start);
    }
    if (r->special) return failed<kTraced>(path, Test::kSpecial, start);
    if (ex.needs_attention()) return failed<kTraced>(path, Test::kAttention, start);
    e.lock.lock();
    if (e.receiver.load(std::memory_order_relaxed) != r) [[unlikely]] {
        e.lock.unlock();
        return failed<kTraced>(path, Test::kRace, start);
    }
    // ---- Point of no return ----
    take_receiver(e, *r);
    e.lock.unlock();
    if constexpr (kKind == Expects::kMessage) {
        hal::copy_words(t.context, r->context, tag & 0xfff);
        hal::set_message(r->context, badge, tag);
    } else {
        hal::syscall_to_message(t.context, r->context);
        hal::set_message(r->context, badge, native::make_tag(native::kLabelSyscall, native::kRegisterWords));
    }
    owe(*r, t, kKind);
    if constexpr (kTraced) trace::fast_done(path, t.number, r->number, start);
    if (here) [[likely]]
        switch_to(ex, t, *r);
    r->home().post(*r);
    leave(t);
}

template <bool kTraced>
[[gnu::always_inline]] inline void call_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastCall;
    const Cap* cap = t.caps->find(hal::call_capability(t.context));
    if (!cap || !cap->allows(native::kTypeEndpoint, native::kSendRight))
        return failed<kTraced>(kPath, Test::kCapability, start);
    const u64 tag = hal::message_tag(t.context);
    if (!is_short(tag)) return failed<kTraced>(kPath, Test::kLong, start);
    to_receiver<kTraced, Expects::kMessage>(t, static_cast<Endpoint&>(*cap->object), cap->badge, tag, kPath, start);
}

template <bool kTraced>
[[gnu::always_inline]] inline void exception_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastException;
    Endpoint* e = t.handler.get();
    if (!e) return failed<kTraced>(kPath, Test::kCapability, start);
    to_receiver<kTraced, Expects::kSyscall>(t, *e, t.handler_badge, 0, kPath, start);
}

template <bool kTraced>
[[gnu::always_inline]] inline void reply_receive_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastReply;
    NativeThread* c = t.reply.caller.load(std::memory_order_relaxed);
    if (!c) return failed<kTraced>(kPath, Test::kNoPartner, start);
    const u64 tag = hal::message_tag(t.context);
    if (!is_short(tag)) return failed<kTraced>(kPath, Test::kLong, start);
    if (c->expects != Expects::kMessage && (c->expects == Expects::kFault || native::tag_label(tag) != native::kResume))
        return failed<kTraced>(kPath, Test::kSpecial, start);
    rt::Executor& ex = rt::Executor::current();
    const bool here = &c->home() == &ex;
    if (here) {
        if (ex.has_ready_above(c->priority)) return failed<kTraced>(kPath, Test::kPriority, start);
    } else if (!c->home().looks_for_work()) {
        return failed<kTraced>(kPath, Test::kOtherCpu, start);
    }
    if (c->special | (t.bound.get() != nullptr)) return failed<kTraced>(kPath, Test::kSpecial, start);
    const Cap* cap = t.caps->find(hal::call_capability(t.context));
    if (!cap || !cap->allows(native::kTypeEndpoint, native::kReceiveRight))
        return failed<kTraced>(kPath, Test::kCapability, start);
    Endpoint& e = static_cast<Endpoint&>(*cap->object);
    if (ex.needs_attention()) return failed<kTraced>(kPath, Test::kAttention, start);
    e.lock.lock();
    // Senders wait, or the endpoint has ended: the next message is there already, or never comes.
    if ((e.first() != nullptr && e.receiver.load(std::memory_order_relaxed) == nullptr) || e.dead) [[unlikely]] {
        e.lock.unlock();
        return failed<kTraced>(kPath, Test::kSendersWait, start);
    }
    if (!here) {
        // The caller may be cancelled by its own CPU: the exchange decides.
        ReplySlot* expected = &t.reply;
        if (!c->owed.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel)) [[unlikely]] {
            e.lock.unlock();
            return failed<kTraced>(kPath, Test::kRace, start);
        }
    } else {
        c->owed.store(nullptr, std::memory_order_relaxed);
    }
    // ---- Point of no return ----
    t.reply.caller.store(nullptr, std::memory_order_relaxed);
    if (c->expects == Expects::kMessage) {
        hal::copy_words(t.context, c->context, tag & 0xfff);
        hal::set_message(c->context, 0, tag);
    } else {
        c->context.set_syscall_result(i64(hal::message_word(t.context, 0)));
    }
    c->state.store(native::kStateReady, std::memory_order_relaxed);
    t.state.store(native::kStateReceiving, std::memory_order_relaxed);
    t.waits_at.store(&e, std::memory_order_relaxed);
    e.add_receiver(t);
    if constexpr (kTraced) trace::fast_done(kPath, t.number, c->number, start);
    if (here) [[likely]] {
        e.lock.unlock();
        switch_to(ex, t, *c);
    }
    c->home().post(*c);
    e.lock.unlock();
    leave(t);
}

template <bool kTraced>
[[gnu::always_inline]] inline bool signal_path(NativeThread& t) {
    const u64 start = kTraced ? Machine::cycles() : 0;
    constexpr auto kPath = trace::Path::kFastSignal;
    const Cap* cap = t.caps->find(hal::call_capability(t.context));
    if (!cap || !cap->allows(native::kTypeNotification, native::kSendRight)) {
        failed<kTraced>(kPath, Test::kCapability, start);
        return false;
    }
    Notification& n = static_cast<Notification&>(*cap->object);
    if (n.bound.load(std::memory_order_relaxed)) {
        failed<kTraced>(kPath, Test::kSpecial, start);
        return false;
    }
    rt::Executor& ex = rt::Executor::current();
    if (ex.needs_attention()) {
        failed<kTraced>(kPath, Test::kAttention, start);
        return false;
    }
    u64 bits = hal::message_tag(t.context);
    if (bits == 0) bits = cap->badge;
    n.lock.lock();
    NativeThread* w = n.first();
    if (n.bound.load(std::memory_order_relaxed) || (w && (w->special || &w->home() != &ex))) [[unlikely]] {
        n.lock.unlock();
        failed<kTraced>(kPath, w ? Test::kOtherCpu : Test::kRace, start);
        return false;
    }
    // ---- Point of no return ----
    if (!w) {
        n.bits.fetch_or(bits, std::memory_order_seq_cst);
        n.lock.unlock();
        t.context.set_syscall_result(0);
        if constexpr (kTraced) trace::fast_done(kPath, t.number, 0, start);
        return true;
    }
    bits |= n.bits.exchange(0, std::memory_order_relaxed);
    n.take_out(*w);
    w->waits_at.store(nullptr, std::memory_order_relaxed);
    n.lock.unlock();
    w->state.store(native::kStateReady, std::memory_order_relaxed);
    hal::set_message(w->context, bits, native::make_tag(native::kLabelSignal, 0));
    t.context.set_syscall_result(0);
    if constexpr (kTraced) trace::fast_done(kPath, t.number, w->number, start);
    if (w->priority < t.priority) {
        ex.enqueue_front(t);
        switch_to(ex, t, *w);
    }
    ex.enqueue(*w);
    return true;
}

}  // namespace

void fast_call(NativeThread& t) {
    call_path<false>(t);
    return slow_syscall(t);
}
void fast_reply_receive(NativeThread& t) {
    reply_receive_path<false>(t);
    return slow_syscall(t);
}
void fast_signal(NativeThread& t) {
    if (signal_path<false>(t)) return leave_trap(t);
    return slow_syscall(t);
}
void fast_exception(NativeThread& t) { exception_path<false>(t); }

[[gnu::noinline]] void fast_call_traced(NativeThread& t) { call_path<true>(t); }
[[gnu::noinline]] void fast_reply_receive_traced(NativeThread& t) { reply_receive_path<true>(t); }
[[gnu::noinline]] void fast_exception_traced(NativeThread& t) { exception_path<true>(t); }
[[gnu::noinline]] bool fast_signal_traced(NativeThread& t) { return signal_path<true>(t); }

}  // namespace core::ipc
