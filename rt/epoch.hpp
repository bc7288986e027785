// SPDX-License-Identifier: MIT
// Epochs: the one mechanism by which what other CPUs may still be reading is freed.
//
// retire(r) frees r once every CPU has been quiescent twice: between executor items, in idle, or on its way back to user
// mode when asked. Code that read a pointer without a reference must not keep it across co_await.
#pragma once

#include "lib/types.hpp"
#include "rt/atomic.hpp"
#include "rt/schedulable.hpp"

namespace rt {

// Embedded in whatever is retired. `free` runs on the CPU that retired it and may take any lock.
struct Retired {
    Retired* next = nullptr;
    void (*free)(Retired&) = nullptr;
};

struct PerCpuEpoch {
    Atomic<u64> seen{0};     // 0: idle, not to be waited for
    Retired* batch[3] = {};  // by epoch modulo 3; this CPU only
    Retired** tail[3] = {};
    u64 batch_epoch[3] = {};
    u64 pending = 0;
    // Old enough to be freed, more than may be at a stretch: a job of this CPU frees the rest.
    Retired* due = nullptr;
    Retired** due_tail = &due;
    Schedulable rest{&PerCpuEpoch::free_rest};
    bool rest_queued = false;
    static void free_rest(Schedulable& s);
};

void retire(Retired& r);
// This CPU holds no pointer into shared structures now. Advances the epoch if it was the last, frees what is due.
void quiescent();
// Leaving and entering idle. Between the two this CPU looks at nothing that is retired.
// epoch_enter_idle: both of the halves that follow it.
void epoch_enter_idle();
void epoch_free_due();  // what can be freed now is freed now
void epoch_set_idle();
void epoch_leave_idle();
// An interrupt handler is about to run: one that ends an idle CPU's sleep may look at what others retire. From then on the
// CPU is not idle. May free what is due.
void epoch_interrupted();
u64 epoch_pending();  // items retired and not yet freed, this CPU
// Ask every CPU that is not asleep, this one included, to be quiescent soon (IPIs to those in user mode). Called when much
// is pending and when memory is short.
void epoch_hurry();
// The same for all CPUs, those asleep too: they free what is due.
void epoch_hurry_all();
u64 epoch_now();  // the global epoch: what is retired in e is freed from e + 2 on
// Is there something that this CPU must still do for others before its silence may count (a translation flush)? Set by
// whoever knows, at boot; asked for idle CPUs only.
extern bool (*epoch_cpu_unsettled)(CpuId cpu);

}  // namespace rt
