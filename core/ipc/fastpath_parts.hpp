// SPDX-License-Identifier: MIT
// What the fastpaths (fastpath.cpp) are put together from: messages, debts, queues. All of it is part of a path that is
// counted by the instruction: always inlined, and nothing that cannot be decided where it stands is decided here.
#pragma once
#include <cstring>

#include "core/ipc/ipc.hpp"
#include "core/trace_policy.hpp"

namespace core::ipc::fast {

using hal::Machine;
using Expects = NativeThread::Expects;
using trace::BufferTrace;
using trace::NoTrace;
using trace::Path;
using trace::Test;

// Of a plain message the number of words, of any other more than kMaxWords.
constexpr u64 plain_words(u64 tag) { return tag & native::kTagSize; }
// The shortest paths carry at most so many words: a mask.
inline constexpr u64 kFewWords = 7;
constexpr bool has_few_words(u64 tag) { return (tag & native::kTagSize & ~kFewWords) == 0; }

// No capabilities, nothing reserved, and words beyond the registers only where both have a page for them. (The shortest
// paths look for at most seven words themselves.)
[[gnu::always_inline]] inline bool is_plain(const NativeThread& from, const NativeThread& to, u64 tag) {
    const u64 words = plain_words(tag);
    return words <= native::kRegisterWords || (words <= native::kMaxWords && from.utcb && to.utcb);
}
constexpr bool may_be_plain(u64 tag) { return plain_words(tag) <= native::kMaxWords; }

// The words of a plain message.
[[gnu::always_inline]] inline void copy_message(NativeThread& from, NativeThread& to, u64 words) {
    if (words == 0) return;
    hal::copy_words(from.context, to.context, words);
    if (words > native::kRegisterWords) [[unlikely]]
        std::memcpy(to.utcb->words, from.utcb->words, (words - native::kRegisterWords) * sizeof(u64));
}

// Registers alone are to be switched.
[[gnu::always_inline]] inline bool switch_quickly(const NativeThread& a, const NativeThread& b) {
    return ((a.slow_switch_reasons | b.slow_switch_reasons) & u8(~NativeThread::kQuickSwitch)) == 0;
}

// What a switch has to do beside that.
enum class Switch : u8 {
    kQuick,
    kFull,
    kLeaveFpu,  // from a program that uses the FPU to a server that does not (kNoFpu): its state stays where it is
    kFindFpu,   // back, and it is still there
};
[[gnu::always_inline]] inline bool leaves_fpu(const NativeThread& program, const NativeThread& server) {
    constexpr u8 kQuick = NativeThread::kQuickSwitch;
    return server.no_fpu && (server.slow_switch_reasons & u8(~kQuick)) == 0 &&
           (program.slow_switch_reasons & u8(~kQuick)) == NativeThread::kSlowFpu;
}
// kSlowOpenFpu: the registers are not barred, but may have got another state since.
[[gnu::always_inline]] inline bool finds_fpu(const NativeThread& server, const NativeThread& program) {
    constexpr u8 kQuick = NativeThread::kQuickSwitch;
    return (server.slow_switch_reasons & u8(~kQuick)) == NativeThread::kSlowOpenFpu &&
           (program.slow_switch_reasons & u8(~kQuick)) == NativeThread::kSlowFpu && program.finds_fpu();
}

// This CPU has `to` for `from`: everything but the registers of the context.
template <Switch kHow>
[[gnu::always_inline]] inline void switch_state(rt::Executor& ex, NativeThread& from, NativeThread& to) {
    if (Space* space = to.space.get(); from.space.get() != space) space->load_from(ex, *from.space);
    if constexpr (kHow == Switch::kFull) {
        to.make_live();
    } else {
        Machine::switch_thread_state(from.context, to.context);
        state_of(ex).fpu_owner = &to;
        if constexpr (kHow == Switch::kLeaveFpu) to.slow_switch_reasons |= NativeThread::kSlowOpenFpu;
        if constexpr (kHow == Switch::kFindFpu) from.slow_switch_reasons &= u8(~NativeThread::kSlowOpenFpu);
    }
    ex.set_running(&to);
}

// Goes on with `to`, which gets a message of `from`'s registers: tag, and up to nine words.
[[noreturn, gnu::always_inline]] inline void resume_with(NativeThread& from, NativeThread& to, const Header& h) {
    const u64 words = plain_words(h.tag);
    if (words == 4) Machine::resume_message_words(to.context, h.badge, h.tag, from.context);
    copy_message(from, to, words);
    Machine::resume_message(to.context, h.badge, h.tag);
}

[[gnu::always_inline]] inline void owe(NativeThread& server, NativeThread& caller, Expects expects) {
    caller.expects = expects;
    caller.state.store(native::kStateAwaitingReply, std::memory_order_relaxed);
    server.reply.caller.store(&caller, std::memory_order_relaxed);
    // Release: the thread that takes the caller from here sees all of it.
    caller.owed.store(&server.reply, std::memory_order_release);
}

// A fault as a message (abi::native::Label).
[[gnu::always_inline]] inline void trap_to_message(NativeThread& t, Machine::UserContext& to) {
    const lib::Trap& f = t.fault;
    const auto& c = t.context;
    if (f.kind == lib::Trap::Kind::kPageFault)
        hal::set_words(to, f.address.value, c.pc().value, c.sp().value, u64(f.access), f.present, f.error_code);
    else
        hal::set_words(to, f.vector, c.pc().value, c.sp().value, f.error_code, 0, 0);  // a kick: vector 0
}

[[gnu::always_inline]] inline u64 fault_tag(const NativeThread& t) {
    return t.fault.kind == lib::Trap::Kind::kPageFault ? native::make_tag(native::kLabelPageFault, 6)
           : t.fault.kind == lib::Trap::Kind::kKick    ? native::make_tag(native::kLabelKick, 3)
                                                       : native::make_tag(native::kLabelException, 4);
}

// Copies the trap of `from`, or its message, into the registers of `to`: all but the badge and the tag.
template <Expects kKind>
[[gnu::always_inline]] inline void carry(NativeThread& from, NativeThread& to, u64 tag) {
    if constexpr (kKind == Expects::kMessage)
        copy_message(from, to, plain_words(tag));
    else if constexpr (kKind == Expects::kSyscall)
        hal::syscall_to_message(from.context, to.context);
    else
        trap_to_message(from, to.context);
}

// Locks, and takes `r` if it is still the first that waits. Point of no return of both senders' paths. Whether a
// receiver of another CPU has a timeout is known only here: it may have received a message since it was found.
template <bool kOtherCpu>
[[gnu::always_inline]] inline bool take_receiver(Endpoint& e, NativeThread& r) RT_EXCLUDES(e.lock) {
    e.lock.lock();
    if (!Machine::equals(e.receiver, &r) || (kOtherCpu && r.timed())) [[unlikely]] {
        e.lock.unlock();
        return false;
    }
    e.take_first(r);
    r.state.store(native::kStateReady, std::memory_order_relaxed);
    e.lock.unlock();
    return true;
}

// A thread may wait at the endpoint: no sender is queued, and it has not ended.
[[gnu::always_inline]] inline bool may_wait_at(Endpoint& e) RT_REQUIRES(e.lock) { return Machine::is_zero(e.closed); }

// The answer to a trap: kResume or kResumeAt.
[[gnu::always_inline]] inline void answer_trap(NativeThread& t, NativeThread& c, u64 tag) {
    if (!c.redirect) c.slow_switch_reasons &= u8(~NativeThread::kSlowTrapped);
    if (c.expects == Expects::kSyscall) c.context.set_syscall_result(i64(hal::message_word(t.context, 0)));
    if (native::tag_label(tag) == native::kResumeAt) [[unlikely]] {
        c.restart_step = 0;  // a call that it was in the middle of is not continued
        c.context.forget_syscall();
        c.context.set_pc(UserAddr{hal::message_word(t.context, 1)});
        c.context.set_sp(UserAddr{hal::message_word(t.context, 2)});
    }
}

// Whether such an answer to a trap can be given by a fastpath; kResumeWith: fastpath_saved.cpp.
[[gnu::always_inline]] inline bool is_plain_resume(const NativeThread& t, u64 tag) {
    const u64 label = native::tag_label(tag);
    return label == native::kResume ||
           (label == native::kResumeAt && hal::message_word(t.context, 1) < Machine::user_top().value);
}

// The answer of t, in its registers, into those of c.
[[gnu::always_inline]] inline void answer(NativeThread& t, NativeThread& c, u64 tag) {
    if (c.expects == Expects::kMessage) {
        copy_message(t, c, plain_words(tag));
        hal::set_message(c.context, 0, tag);
    } else {
        answer_trap(t, c, tag);
    }
}

[[gnu::always_inline]] inline void wait_at(Endpoint& e, NativeThread& t) RT_REQUIRES(e.lock) {
    t.waits_at.store(&e, std::memory_order_relaxed);
    t.state.store(native::kStateReceiving, std::memory_order_release);  // pairs with claim()
    e.add_receiver(t);
}

// What a slot names; something that allows nothing if there is none. In an epoch section, as any trap.
[[gnu::always_inline]] inline const Cap& capability_at(NativeThread& t, u64 slot) {
    if (slot >= t.cap_limit) [[unlikely]]
        slot = 0;
    return *t.cap_slots[slot].load(std::memory_order_acquire);
}
[[gnu::always_inline]] inline const Cap& capability(NativeThread& t) {
    return capability_at(t, hal::call_capability(t.context));
}

// After t, which has a bound notification, was queued at an endpoint: signals that came before a signaller could see it
// there, also those that were there before. (One look for both: an earlier one would be one more page that every answer
// touches.) seq_cst: pairs with notify(). (An exchange that changes nothing: a load could overtake the queueing.)
[[gnu::always_inline]] inline bool signals_came(Notification& n) {
    return n.bits.fetch_or(0, std::memory_order_seq_cst) != 0;
}
// They came: t takes them and continues, unless another CPU has taken it from the queue; then this returns. `answered`, if
// not null, is ready and in no queue, with its answer in its registers.
void take_signals(NativeThread& t, Notification& n, NativeThread* answered);

// The answers that need more than fastpath.cpp has (fastpath_saved.cpp): kResumeWith. c waits for the answer to a trap.
template <class Trace>
void reply_with_registers(NativeThread& t, Endpoint& e, NativeThread& c, u64 tag, Trace note);
extern template void reply_with_registers(NativeThread&, Endpoint&, NativeThread&, u64, NoTrace);
extern template void reply_with_registers(NativeThread&, Endpoint&, NativeThread&, u64, BufferTrace);

}  // namespace core::ipc::fast
