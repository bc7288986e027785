// SPDX-License-Identifier: MIT
// What the end of a thread changes in its program's memory: robust futexes are marked and their waiters woken
// (Documentation/locking/robust-futexes.rst in Linux describes the protocol), the word of set_tid_address(2) becomes 0.
#include "linux/task/futex.hpp"
#include "linux/task/thread.hpp"

namespace linux {
namespace {

// The thread holds the lock at `word`: it is free, with a mark.
Leaf<void> mark_dead(Thread& t, UserAddr word, bool pending) {
    if (word.value & 3) return lib::kOk;
    u32 value = TRY(t.user().load_u32(word));
    for (;;) {
        if (pending && value == 0) {
            (void)futex_wake(TRY(futex_key(t, word, false)), 1, ~0u);
            return lib::kOk;
        }
        if ((value & kFutexTidMask) != u32(t.tid.value)) return lib::kOk;
        u32 found = TRY(t.user().compare_exchange_u32(word, value, (value & kFutexWaiters) | kFutexOwnerDied));
        if (found == value) break;
        value = found;
    }
    if (value & kFutexWaiters) {
        (void)futex_wake(TRY(futex_key(t, word, false)), 1, ~0u);
    }
    return lib::kOk;
}

// What is done at once: so many locks, or an eighth of that many pages faulted in.
constexpr u32 kPiece = 64, kFaultCost = 8;
// Faults in all. A page may go again and again: the memory is that of others too.
constexpr u32 kMostFaults = 4 * kRobustListLimit;

// kNeedsTask: a piece is done. After it, and after kNeedsFault, it continues where it was.
Leaf<void> leave_robust_list(Thread& t, u32& piece) {
    Thread::RobustWalk& w = t.robust_walk;
    if (!w.begun) {
        struct {
            u64 first;
            i64 offset;
            u64 pending;
        } head;
        TRY(t.user().read(&head, t.robust_list, sizeof head));
        w = {.at = head.first & ~u64{1}, .pending = head.pending & ~u64{1}, .offset = head.offset, .begun = true};
    }
    for (; w.at != t.robust_list.value && w.locks < kRobustListLimit; ++w.locks) {
        if (piece == 0) return kNeedsTask;
        --piece;
        // Read before the lock is released: its new owner may free it.
        u64 next = 0;
        TRY(t.user().read(&next, UserAddr{w.at}, sizeof next));
        if (w.at != w.pending) TRY(mark_dead(t, UserAddr{w.at + u64(w.offset)}, false));
        w.at = next & ~u64{1};
    }
    if (w.pending) TRY(mark_dead(t, UserAddr{w.pending + u64(w.offset)}, true));
    return lib::kOk;
}

// Everything; may be repeated after kNeedsFault and kNeedsTask: what is done already is recognised.
Leaf<void> leave_memory(Thread& t, u32& piece) {
    if (t.robust_list.value != 0) {
        TRY(leave_robust_list(t, piece));
        t.robust_list = {};
    }
    if (t.clear_child_tid.value != 0) {
        UserAddr at = t.clear_child_tid;
        // Only if another process or thread uses this memory: otherwise no one can read it.
        if (t.mm_ref()->ref_count() > 1) {
            u32 zero = 0;
            TRY(t.user().write(at, &zero, sizeof zero));
            (void)futex_wake(TRY(futex_key(t, at, false)), 1, ~0u);
        }
        t.clear_child_tid = {};
    }
    return lib::kOk;
}

}  // namespace

Leaving leave_user_memory(Thread& t) {
    u32 piece = kPiece;
    for (;;) {
        auto r = leave_memory(t, piece);
        if (r.ok()) return Leaving::kDone;
        if (r.error() == kNeedsTask) return Leaving::kMore;
        if (r.error() == kNeedsFault && ++t.robust_walk.faults < kMostFaults) {
            FaultIn in = fault_in_now(t, t.user().fault());
            if (in == FaultIn::kMustWait) return Leaving::kMustWait;
            if (in == FaultIn::kReady) {
                if (piece <= kFaultCost) return Leaving::kMore;
                piece -= kFaultCost;
                continue;
            }
        }
        forsake_user_memory(t);
    }
}

void forsake_user_memory(Thread& t) {
    if (t.robust_list.value != 0)
        t.robust_list = {};
    else
        t.clear_child_tid = {};
}

Task<void> wait_for_user_memory(Thread& t) {
    auto wait = fault_in_range(t, t.user().fault());
    if (!wait.valid() || !(co_await wait).ok()) forsake_user_memory(t);
}

}  // namespace linux
