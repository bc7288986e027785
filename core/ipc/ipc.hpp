// SPDX-License-Identifier: MIT
// IPC between native threads: the slowpath, which is complete, and the fastpaths, which do the common cases of it.
#pragma once
#include "core/ipc/thread.hpp"
#include "hal/bind.hpp"

namespace core {

// CPU time: how much a thread may use, and where. `used` is a counter.
class Sched final : public Object {
public:
    explicit Sched(u64 highest) : Object(native::kTypeSched), highest_priority(u8(highest)) {}
    ObjectLock lock;
    std::atomic<u32> cpus{~0u};
    std::atomic<u8> highest_priority;
    std::atomic<u64> used{0};  // ns
    // No limit if the budget is 0. Written under the lock; whether there is one at all is asked without it.
    std::atomic<u64> budget{0};
    u64 period RT_GUARDED_BY(lock) = 0;
    u64 period_start RT_GUARDED_BY(lock) = 0;
    u64 spent RT_GUARDED_BY(lock) = 0;
    bool limited() const { return !hal::Machine::is_zero(budget); }
    // What is left now; if nothing, when there will be again.
    u64 left(Nanoseconds now, Nanoseconds& again) RT_EXCLUDES(lock);
};

// Null: it has none.
ObjectLock* lock_of(Object& o);

namespace ipc {

// A message on its way: whose registers (and UTCB) hold it, and where it goes. Here and in Header, as much as fits into
// two registers: functions out of line take them without a detour through memory.
struct Send {
    NativeThread& from;
    Endpoint& to;
};
// What the receiver finds besides the words: the badge of the capability that was used, and the tag.
struct Header {
    u64 badge, tag;
};

// Which fastpaths may be used at all (`fastpath=` at boot).
extern u32 fastpaths_enabled;

// The calls of abi::native, at the top of the kernel stack. Returning continues the thread; a call that waits does not
// return.
Result<i64> call(NativeThread& t, u64 flags);
Result<i64> send(NativeThread& t, u64 flags);
Result<i64> receive(NativeThread& t, u64 flags);
Result<i64> reply_receive(NativeThread& t, u64 flags);
Result<i64> reply(NativeThread& t, u64 flags);
Result<i64> reply_to(NativeThread& t, u64 flags);
Result<i64> reply_save(NativeThread& t);
Result<i64> signal(NativeThread& t);

// A trap of t that its handler shall have; without a handler the thread stops. Does not return.
[[noreturn]] void raise(NativeThread& t, const lib::Trap& trap, NativeThread::Expects expects);

// A kick of t, which this CPU has, ready and in no queue, outside any trap: its handler shall have it, and t waits for the
// answer. False: there is no handler that it can be sent to.
bool raise_kick(NativeThread& t);

// Bits for a notification, from anywhere in the kernel.
void notify(Notification& n, u64 bits) RT_EXCLUDES(n.lock);

// The thread waits: the CPU continues with another ready thread.
[[noreturn]] void leave(NativeThread& t);

// The same where what comes next will probably come from another CPU, soon.
[[noreturn]] void wait_for_other_cpu(NativeThread& t);
// The same, and the CPU goes to `to`, which is ready and in no queue, at once if it can.
[[noreturn]] void hand_over(NativeThread& t, NativeThread& to);

// Undoes a caller's wait for its answer: true if the answer will not come any more.
bool withdraw(NativeThread& caller);
// The caller that t owes an answer moves into `into`. kBusy, kBadF: nothing has changed.
Result<void> save_owed(NativeThread& t, ReplySlot& into);

// Any native call, without fastpaths.
[[noreturn]] void slow_syscall(NativeThread& t);

// The calls that fast_receive() is for: a receive, and whatever answers or saves by a Reply object.
constexpr bool may_receive_fast(u64 word) {
    constexpr u64 kBoth = native::kSaveOwed | native::kAnswerSaved;
    const u64 flags = word & ~u64{native::kCallMask};
    return (word == (native::kReplyReceive | flags) && flags != 0 && (flags & ~kBoth) == 0) ||
           (word == (native::kReceive | flags) && (flags & ~u64{native::kSaveOwed}) == 0);
}

// An answer without a receive.
constexpr bool answers_alone(u64 word) {
    word &= ~u64{native::kBehind};
    return word == native::kReply || word == native::kReplyTo;
}

// The fastpaths return, with nothing changed, where they cannot continue.
void fast_call(NativeThread& t);
void fast_reply_receive(NativeThread& t);
void fast_signal(NativeThread& t);
void fast_map_frames(NativeThread& t);
void fast_change_frames(NativeThread& t);
void fast_receive(NativeThread& t);  // may_receive_fast()
void fast_answer(NativeThread& t);   // answers_alone()
void fast_exception(NativeThread& t);
void fast_fault(NativeThread& t);  // NativeThread::fault
// The same, leaving records in the trace buffer.
void fast_call_traced(NativeThread& t);
void fast_reply_receive_traced(NativeThread& t);
void fast_receive_traced(NativeThread& t);
void fast_answer_traced(NativeThread& t);
void fast_exception_traced(NativeThread& t);
void fast_fault_traced(NativeThread& t);
void fast_signal_traced(NativeThread& t);

}  // namespace ipc

// Inline: a queue of one, the usual one, needs no search.
[[gnu::always_inline]] inline void Endpoint::take_first(NativeThread& r) {
    NativeThread* next = r.wait_next;
    first_ = next;
    r.wait_next = nullptr;
    receiver.store(next, std::memory_order_relaxed);  // after a receiver there are only receivers
    if (next) [[unlikely]]
        next->wait_prev = nullptr;
    else
        last_ = nullptr;
}
[[gnu::always_inline]] inline void Notification::take_first(NativeThread& w) {
    NativeThread* next = w.wait_next;
    first_ = next;
    w.wait_next = nullptr;
    if (next) [[unlikely]]
        next->wait_prev = nullptr;
    else
        last_ = nullptr;
}
[[gnu::always_inline]] inline void Endpoint::add_receiver(NativeThread& r) {
    if (first_) [[unlikely]]
        return insert(r);
    first_ = last_ = &r;
    receiver.store(&r, std::memory_order_relaxed);
}

void native_syscall(Thread& t);
void traced_syscall(NativeThread& t);
void redirected_syscall(Thread& t);

}  // namespace core
