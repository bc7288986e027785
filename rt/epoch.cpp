// SPDX-License-Identifier: MIT
// Quiescent-state-based reclamation. The global epoch advances when every active CPU has seen the current one; what was
// retired in epoch e is freed when the global epoch is e + 2.
#include "rt/epoch.hpp"

#include "rt/atomic.hpp"
#include "rt/executor.hpp"
#include "rt/reclaim.hpp"

namespace rt {
namespace {

constinit Atomic<u64> global_epoch{1};
constexpr u64 kHurryAfter = 128;  // items pending on one CPU before the other CPUs are asked to be quiescent

// An item may own several page frames. If more than kFewDue items are pending, they are freed kFreedAtOnce at a time.
constexpr u32 kFewDue = 40, kFreedAtOnce = 20;

// Frees some of the items that wait for the job. Returns true if some are left. Freeing an item may retire others.
bool free_some(PerCpuEpoch& e) {
    for (u32 n = 0; n < kFreedAtOnce; ++n) {
        Retired* r = e.due;
        if (!r) return false;
        e.due = r->next;
        --e.pending;
        r->free(*r);
    }
    return e.due != nullptr;
}

// `due` is a chain that ends at `end` and is too long to be freed at once.
[[gnu::cold, gnu::noinline]] void free_in_turns(PerCpuEpoch& e, Retired* due, Retired** end) {
    if (!due) return;
    *(e.due ? e.due_tail : &e.due) = due;
    e.due_tail = end;
    if (e.rest_queued || !free_some(e)) return;
    e.rest_queued = true;
    Executor::current().post(e.rest);
}

// Frees the batches of this CPU that are old enough. All of them are detached first, because freeing an item may retire
// others in an epoch whose batch uses the same slot.
void reclaim(PerCpuEpoch& e, u64 now) {
    Retired* due = nullptr;
    Retired** end = &due;
    for (u32 i = 0; i < 3; ++i)
        if (e.batch[i] && e.batch_epoch[i] + 2 <= now) {
            *end = std::exchange(e.batch[i], nullptr);
            end = e.tail[i];
        }
    if (e.pending > kFewDue && Reclaimer::later.load(std::memory_order_relaxed)) [[unlikely]]
        return free_in_turns(e, due, end);
    while (Retired* r = due) {
        due = r->next;
        --e.pending;
        r->free(*r);
    }
}

void try_advance(u64 now) {
    for (u32 i = 0; i < executor_count(); ++i) {
        // Pairs with the store in quiescent() and epoch_leave_idle() of that CPU.
        u64 seen = Executor::of(CpuId{i}).epoch.seen.load(std::memory_order_seq_cst);
        if (seen != 0 && seen < now) return;
        if (seen == 0 && epoch_cpu_unsettled && epoch_cpu_unsettled(CpuId{i})) return;
    }
    global_epoch.compare_exchange_strong(now, now + 1, std::memory_order_seq_cst);
}

}  // namespace

constinit bool (*epoch_cpu_unsettled)(CpuId) = nullptr;

void PerCpuEpoch::free_rest(Schedulable& s) {
    PerCpuEpoch& e = Executor::current().epoch;
    s.priority = Priority::kKernel;
    e.rest_queued = free_some(e);
    if (e.rest_queued) Executor::current().give_way(s);
}

void PerCpuEpoch::look_later(Timer&) {
    Executor& ex = Executor::current();
    if (!ex.epoch.look.run_hook.linked()) ex.enqueue(ex.epoch.look);
}

void PerCpuEpoch::look_again(Schedulable&) {
    PerCpuEpoch& e = Executor::current().epoch;
    if (e.pending == 0) return;
    const u64 now = global_epoch.load(std::memory_order_relaxed);
    if (now < e.looked_at + 2) epoch_hurry();
    e.looked_at = now;
    if (!e.overdue.armed) e.look_soon();
}

void PerCpuEpoch::look_soon() { Executor::current().timers().arm(overdue, hal::Machine::now() + kLook); }

void retire(Retired& r) {
    PerCpuEpoch& e = Executor::current().epoch;
    // A read-modify-write that changes nothing: it makes the caller's unlinking, which may be a plain store, visible
    // before the epoch is read. Otherwise the epoch could advance once in between, and a CPU that was quiescent in the
    // new epoch could still find the object.
    u64 now = left_out<Step::kUnlinkVisible>() ? global_epoch.load(std::memory_order_seq_cst)
                                               : global_epoch.fetch_add(0, std::memory_order_seq_cst);
    u32 i = now % 3;
    // An older batch in the same slot would be at least three epochs old. A CPU that is not idle lets the epoch advance
    // only once before it is quiescent itself, and then it frees what is due; a CPU that leaves idle frees it at that
    // time.
    RT_ASSERT(!e.batch[i] || e.batch_epoch[i] == now, "retired on a CPU that counts as idle");
    if (e.batch[i] && e.batch_epoch[i] != now) [[unlikely]]
        reclaim(e, now);
    r.next = nullptr;
    if (!e.batch[i]) {
        e.batch_epoch[i] = now;
        e.tail[i] = &e.batch[i];
        if (!e.overdue.armed) [[unlikely]]
            e.look_soon();
    }
    *e.tail[i] = &r;
    e.tail[i] = &r.next;
    if (++e.pending % kHurryAfter == 0) epoch_hurry();
}

void quiescent() {
    PerCpuEpoch& e = Executor::current().epoch;
    // The epoch is read before the mailbox is polled. Each object retired before this epoch began had the flush of its
    // translations requested earlier still, so the flush is done before this CPU counts as quiescent in the epoch.
    // seq_cst: pairs with retire().
    if (left_out<Step::kEpochFirst>()) hal::Machine::poll_mailbox();
    u64 now = global_epoch.load(std::memory_order_seq_cst);
    if (!left_out<Step::kEpochFirst>()) hal::Machine::poll_mailbox();
    // Release: all reads of this item are complete before other CPUs may free. Pairs with try_advance().
    if (e.seen.load(std::memory_order_relaxed) != now) e.seen.store(now, std::memory_order_seq_cst);
    if (e.pending == 0) [[likely]]
        return;
    try_advance(now);
    reclaim(e, global_epoch.load(std::memory_order_acquire));
}

void epoch_free_due() {
    PerCpuEpoch& e = Executor::current().epoch;
    // Usually no other CPU is waiting, so everything can be freed now, and an idle system keeps no memory back.
    for (int i = 0; i < 3 && e.pending != 0; ++i) quiescent();
}
void epoch_set_idle() { Executor::current().epoch.seen.store(0, std::memory_order_seq_cst); }
void epoch_enter_idle() {
    epoch_free_due();
    epoch_set_idle();
}

void epoch_leave_idle() {
    PerCpuEpoch& e = Executor::current().epoch;
    u64 now = global_epoch.load(std::memory_order_seq_cst);
    hal::Machine::poll_mailbox();  // after the load, as in quiescent()
    e.seen.store(now, std::memory_order_seq_cst);
    // The epoch may have advanced while this CPU was idle.
    if (e.pending != 0) [[unlikely]]
        reclaim(e, global_epoch.load(std::memory_order_acquire));
}

void epoch_interrupted() {
    if (left_out<Step::kHandlerLeavesIdle>()) return;
    if (Executor::current().epoch.seen.load(std::memory_order_relaxed) == 0) epoch_leave_idle();
}

u64 epoch_pending() { return Executor::current().epoch.pending; }

void epoch_hurry() {
    Executor& me = Executor::current();
    for (u32 i = 0; i < executor_count(); ++i)
        // A CPU in kernel mode gets no interrupt, but checks its attention bits before it enters user mode.
        if (Executor& ex = Executor::of(CpuId{i}); &ex == &me || ex.user_state.get() != UserState::kSleeping)
            ex.attract(kAttnEpoch);
}

void epoch_hurry_all() {
    for (u32 i = 0; i < executor_count(); ++i) Executor::of(CpuId{i}).attract(kAttnEpoch);
}

void epoch_push() {
    static constinit std::atomic<bool> under_way{false};
    static constinit Retired item{.free = [](Retired&) { under_way.store(false, std::memory_order_release); }};
    // Acquire: pairs with the release above, after which the item is not used any more.
    if (!under_way.exchange(true, std::memory_order_acquire)) retire(item);
}

u64 epoch_now() { return global_epoch.load(std::memory_order_seq_cst); }

}  // namespace rt
