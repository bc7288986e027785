// SPDX-License-Identifier: MIT
// What a thread leaves in its program's memory when it ends: robust futexes are marked and their waiters woken
// (Documentation/locking/robust-futexes.rst in Linux describes the protocol), the word of set_tid_address(2) becomes 0.
#include "linux/futex.hpp"
#include "linux/thread.hpp"

namespace linux {
namespace {

constexpr u32 kTidMask = 0x3fffffff, kOwnerDied = 0x40000000, kWaiters = 0x80000000;
constexpr u32 kMostLocks = 2048;  // ROBUST_LIST_LIMIT: a list may be circular

// The thread holds the lock at `word`: it is free, with a mark.
Leaf<void> mark_dead(Thread& t, UserAddr word, bool pending) {
    if (word.value & 3) return lib::kOk;
    u32 value = TRY(t.user().load_u32(word));
    for (;;) {
        if (pending && value == 0) {
            (void)futex_wake(TRY(futex_key(t, word, false)), 1, ~0u);
            return lib::kOk;
        }
        if ((value & kTidMask) != u32(t.tid.value)) return lib::kOk;
        u32 found = TRY(t.user().compare_exchange_u32(word, value, (value & kWaiters) | kOwnerDied));
        if (found == value) break;
        value = found;
    }
    if (value & kWaiters) {
        (void)futex_wake(TRY(futex_key(t, word, false)), 1, ~0u);
    }
    return lib::kOk;
}

// Everything; may be repeated after kNeedsFault: what is done already is recognised.
Leaf<void> leave_memory(Thread& t) {
    if (t.robust_list.value != 0) {
        struct {
            u64 first;
            i64 offset;
            u64 pending;
        } head;
        TRY(t.user().read(&head, t.robust_list, sizeof head));
        u64 at = head.first & ~u64{1};
        u64 pending = head.pending & ~u64{1};
        for (u32 n = 0; at != t.robust_list.value && n < kMostLocks; ++n) {
            // Read before the lock is given up: its new owner may free it.
            u64 next = 0;
            TRY(t.user().read(&next, UserAddr{at}, sizeof next));
            if (at != pending) TRY(mark_dead(t, UserAddr{at + u64(head.offset)}, false));
            at = next & ~u64{1};
        }
        if (pending) TRY(mark_dead(t, UserAddr{pending + u64(head.offset)}, true));
        t.robust_list = {};
    }
    if (t.clear_child_tid.value != 0) {
        UserAddr at = t.clear_child_tid;
        // Only if somebody else has this memory: else nobody can look at it.
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

bool exit_user_memory_now(Thread& t) {
    for (;;) {
        auto r = leave_memory(t);
        if (r.ok()) return true;
        if (r.error() == Errno::kNeedsFault) {
            FaultIn in = fault_in_now(t, t.user().fault());
            if (in == FaultIn::kReady) continue;
            if (in == FaultIn::kMustWait) return false;
        }
        // What cannot be reached is the program's loss; the rest is still done.
        if (t.robust_list.value != 0)
            t.robust_list = {};
        else
            t.clear_child_tid = {};
    }
}

Task<void> exit_user_memory(Thread& t) {
    while (!exit_user_memory_now(t)) {
        auto wait = fault_in_range(t, t.user().fault());
        if (!wait.valid() || !(co_await wait).ok()) {
            if (t.robust_list.value != 0)
                t.robust_list = {};
            else
                t.clear_child_tid = {};
        }
    }
}

}  // namespace linux
