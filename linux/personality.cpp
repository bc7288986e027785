// SPDX-License-Identifier: MIT
// The leaf tier: what a trap runs as plain functions. A call that cannot wait and touches pages that are there ends
// here; everything else is handed to the thread's coroutine (linux/task/thread.cpp), with `leaf_outcome` saying how far
// it came.
#include "fs/walk.hpp"
#include "linux/sys/table.hpp"
#include "linux/task/out_of_memory.hpp"
#include "linux/task/thread.hpp"

namespace linux {

extern u8 module_table[kSyscallLimit];

namespace {

using port::LeafOutcome;

LeafOutcome leave_to_task(Thread& t, LeafError outcome) {
    t.leaf_outcome = outcome;
    return LeafOutcome::kNeedsTask;
}

// The call is over, its result in the registers, but there is work: signals are delivered here if that needs no
// waiting.
[[gnu::noinline]] LeafOutcome finish(Thread& t) {
    u32 work = t.work.load(std::memory_order_relaxed);
    if ((work & (kWorkExit | kWorkStop)) || !t.at_home().await_ready()) return leave_to_task(t, Errno::kOk);
    t.forget_kick();
    if (work == kWorkRegisters) {
        t.work.fetch_and(~u32(kWorkRegisters), std::memory_order_relaxed);
        return LeafOutcome::kDoneChanged;
    }
    if (deliver_signals(t) == SignalOutcome::kDone) return LeafOutcome::kDoneChanged;
    t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);  // the coroutine checks again, and waits
    return leave_to_task(t, Errno::kOk);
}

LeafOutcome done(Thread& t, CallFrame& frame, i64 result) {
    frame.set_syscall_result(result);
    if (t.work.load(std::memory_order_relaxed) == 0) return LeafOutcome::kDone;
    t.call_regs().set_syscall_result(result);
    return finish(t);
}

// A leaf that waits for one queue.
LeafOutcome block(Thread& t) {
    const Thread::Blocked& b = t.blocked_leaf;
    t.leaf_outcome = kNeedsTask;
    t.block_on(*b.queue, b.seen, b.what);
    return LeafOutcome::kBlocked;
}

[[gnu::noinline]] LeafOutcome unusual(Thread& t, CallFrame& frame, LeafError e) {
    CallThunk leaf = call_table[u32(frame.syscall_number())];
    // A page that only has to be mapped is no reason for a coroutine; a walk that was paused is.
    for (u32 tries = 0; e == kNeedsFault && tries < 64; ++tries) {
        if (fs::has_walks(static_cast<Caller*>(&t))) break;
        if (fault_in_now(t, t.user().fault()) != FaultIn::kReady) break;
        Leaf<i64> r = leaf(t, frame);
        e = r.error();
        if (!r.ok()) continue;
        t.forget_file();
        return done(t, frame, r.value());
    }
    if (e.goes_on()) {
        if (t.blocked_leaf.again) return block(t);
        return leave_to_task(t, e);
    }
    // Memory that others have freed may not be available yet: the coroutine waits for it.
    if (e == Errno::kNoMem && RanOut::lately()) return leave_to_task(t, e);
    t.forget_file();
    return done(t, frame, -i64(e.ended()));
}

[[gnu::noinline]] LeafOutcome not_simply_done(Thread& t, CallFrame& frame, Leaf<i64> r) {
    return r.ok() ? done(t, frame, r.value()) : unusual(t, frame, r.error());
}
[[gnu::noinline]] LeafOutcome not_simply_done(Thread& t, Leaf<i64> r) {
    // A leaf that has changed registers other than its result, and no other event has occurred: signals, mostly.
    u32 changed = kWorkRegisters;
    if (r.ok() && t.at_home().await_ready() && t.work.compare_exchange_strong(changed, 0, std::memory_order_relaxed)) {
        t.call_regs().set_syscall_result(r.value());
        return LeafOutcome::kDoneChanged;
    }
    if (r.error() == kNeedsTask && t.blocked_leaf.again) return block(t);
    return not_simply_done(t, t.call_regs().frame(), r);
}

// Twice the same, because on the inline route every instruction counts, and only one of the two keeps a register for
// the frame.
LeafOutcome syscall(port::UserThread& thread) {
    Thread& t = static_cast<Thread&>(thread);
    u32 number = t.call_regs().call_number();
    if (number >= kSyscallLimit) [[unlikely]]
        return leave_to_task(t, kNeedsTask);
    Leaf<i64> r = call_table[number](t, t.call_regs().frame());
    if (r.ok() && hal::Machine::is_zero(t.work)) [[likely]] {
        t.call_regs().set_syscall_result(r.value());
        return LeafOutcome::kDone;
    }
    return not_simply_done(t, r);
}
LeafOutcome syscall_elsewhere(port::UserThread& thread, CallFrame& frame) {
    Thread& t = static_cast<Thread&>(thread);
    // Below the limit: other numbers belong to no module.
    Leaf<i64> r = call_table[frame.syscall_number() % kSyscallLimit](t, frame);
    if (r.ok() && hal::Machine::is_zero(t.work)) [[likely]] {
        frame.set_syscall_result(r.value());
        return LeafOutcome::kDone;
    }
    return not_simply_done(t, frame, r);
}

LeafOutcome again(port::UserThread& thread, rt::Wake why) {
    Thread& t = static_cast<Thread&>(thread);
    t.leaf_outcome = Errno::kOk;
    auto call = std::exchange(t.blocked_leaf.again, nullptr);
    Leaf<i64> r = call(t, why);
    if (!r.ok()) return unusual(t, t.call_regs().frame(), r.error());
    t.forget_file();
    return done(t, t.call_regs().frame(), r.value());
}

LeafOutcome fault(port::UserThread& thread, const port::Trap& trap) {
    Thread& t = static_cast<Thread&>(thread);
    ++t.usage.minor_faults;
    t.leaf_fault = t.mm().fault(trap.address, trap.access, t.process().stack_limits());
    return t.leaf_fault == FaultKind::kResolved ? LeafOutcome::kDone : LeafOutcome::kNeedsTask;
}

// Frees the root coroutine's frame and, without other references, the thread.
void ended(port::UserThread& thread) { static_cast<Thread&>(thread).unref(); }

u32 number_of(const port::UserThread& thread) { return u32(static_cast<const Thread&>(thread).tid.value); }

i32 nice_of(const port::UserThread& thread) { return static_cast<const Thread&>(thread).nice; }

}  // namespace

constinit const port::Personality<port::UserThread> personality{
    .syscall = &syscall,
    .syscall_elsewhere = &syscall_elsewhere,
    .again = &again,
    .fault = &fault,
    .modules = module_table,
    .call_limit = kSyscallLimit,
    .nice_of = &nice_of,
    .ended = &ended,
    .number_of = &number_of,
};

}  // namespace linux
