// SPDX-License-Identifier: MIT
// Epoch-based reclamation: the one mechanism that frees objects which other CPUs may still be reading.
//
// retire(r) frees r after a grace period: once every CPU has been quiescent twice. A CPU is quiescent between executor
// items, while it is idle, and, if asked, on its way back to user mode. Code that read a pointer without a reference
// must not keep it across co_await.
#pragma once

#include "lib/types.hpp"
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"
#include "rt/timer.hpp"

namespace rt {

// Embedded in each object that is retired. `free` runs on the CPU that called retire() and may take any lock.
struct Retired {
    Retired* next = nullptr;
    void (*free)(Retired&) = nullptr;
};

struct PerCpuEpoch {
    Atomic<u64> seen{0};     // the last epoch this CPU was quiescent in; 0: idle, not waited for
    Retired* batch[3] = {};  // retired items by epoch modulo 3; this CPU only
    Retired** tail[3] = {};
    u64 batch_epoch[3] = {};
    // Items retired and not yet freed.
    u64 pending = 0;
    // Items that are old enough but too many to be freed at once: a job of this CPU frees them step by step.
    Retired* due = nullptr;
    Retired** due_tail = &due;
    Schedulable rest{&PerCpuEpoch::free_rest};
    bool rest_queued = false;
    static void free_rest(Schedulable& s);
    // Armed while items are pending: with nothing more to retire, a CPU that sleeps or stays in user mode would keep them.
    Timer overdue{&PerCpuEpoch::look_later};
    Schedulable look{&PerCpuEpoch::look_again};
    u64 looked_at = 0;  // the global epoch at the last look
    void look_soon();
    static void look_later(Timer& t);
    static void look_again(Schedulable& s);
    static constexpr Nanoseconds kLook{50'000'000};  // a compromise: three looks free an item, 20 a second cost nothing
};

// Frees `r` after a grace period, 3 * PerCpuEpoch::kLook later at most if no CPU stays in the kernel. The caller has
// unlinked it: no new reader can find it. Allocates nothing, does not block. Called on a CPU that is not idle.
void retire(Retired& r);
// Declares that this CPU holds no pointer into shared structures and no lock. Advances the epoch if this CPU was the
// last one, and frees what is due.
void quiescent();
// Entering and leaving idle. Between the two, this CPU reads nothing that may be retired. epoch_enter_idle() is
// epoch_free_due() followed by epoch_set_idle().
void epoch_enter_idle();
void epoch_free_due();  // frees what can be freed now
void epoch_set_idle();
void epoch_leave_idle();
// Called before an interrupt handler runs. A handler that ends an idle CPU's sleep may read objects that other CPUs
// retire, so from here on the CPU is not idle. May free what is due.
void epoch_interrupted();
u64 epoch_pending();  // items retired and not yet freed, this CPU
// Asks every CPU that is not asleep, including this one, to be quiescent soon (CPUs in user mode get an IPI). Called
// when many items are pending and when memory is short.
void epoch_hurry();
// The same for all CPUs, including those asleep, which wake up and free what is due.
void epoch_hurry_all();
// Where nothing is retired the epoch stands still, and who waits for one would wait in vain: retires an item of its own, if
// that of an earlier call is free. In a task, as retire().
void epoch_push();
u64 epoch_now();  // the global epoch: an object retired in epoch e is freed in e + 2 or later
// Does this CPU still have work to do for other CPUs (a translation flush) before it may count as idle? Set once at
// boot by the layer that knows; asked for idle CPUs only.
extern bool (*epoch_cpu_unsettled)(CpuId cpu);

}  // namespace rt
