// SPDX-License-Identifier: MIT
// oom_score_adj of processes: in thousandths of all memory, what is added to what a process has when memory has run out.
// Inherited by fork, kept by execve. Processes that share their memory, other than by vfork, have one together (Linux:
// __set_oom_adj, copy_oom_score_adj); a process that leaves the memory keeps what it had last.
#pragma once
#include "lib/types.hpp"
#include "rt/spinlock.hpp"

namespace linux {

class AddressSpace;
class Process;

// The least and the most that it may be (OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX); one with the least never ends for memory.
inline constexpr i32 kLeastOomAdjustment = -1000, kMostOomAdjustment = 1000;

struct OomAdjustment {
    i32 value = 0;
    i32 least = 0;  // without CAP_SYS_RESOURCE it may be set to no less
};

// Guards the three fields below, of all processes and address spaces.
using OomLock = rt::SpinLock<rt::Rank::process>;
extern OomLock oom_lock;

// Of a process.
struct OomState {
    OomAdjustment own RT_GUARDED_BY(oom_lock);
    // Where the adjustment is instead; null: `own` is it. The process has this memory until leave_oom_adjustment().
    AddressSpace* shared RT_GUARDED_BY(oom_lock) = nullptr;
};
// Of an address space that several processes have together.
struct SharedOom {
    OomAdjustment adjustment RT_GUARDED_BY(oom_lock);
    bool used RT_GUARDED_BY(oom_lock) = false;
};

// None of these blocks or allocates; no lock of rank process or above is held.
OomAdjustment oom_adjustment(Process& p);
// For p and all that share its memory. `privileged`: the caller has CAP_SYS_RESOURCE, and what it sets is the new least.
// False, and nothing is changed: it is less than the caller may set.
[[nodiscard]] bool set_oom_adjustment(Process& p, i32 to, bool privileged);
// The same by oom_adj: without privilege it may not become less, and the least stays.
[[nodiscard]] bool set_old_oom_adjustment(Process& p, i32 to, bool privileged);
// Of a new process that no other CPU knows yet, by clone(2) of one whose memory is `mm`.
void inherit_oom_adjustment(Process& child, Process& parent, AddressSpace& mm, u64 clone_flags);
// The process has, or is about to have, no thread with its present memory.
void leave_oom_adjustment(Process& p);

}  // namespace linux
