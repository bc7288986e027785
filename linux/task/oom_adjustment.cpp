// SPDX-License-Identifier: MIT
#include "linux/task/oom_adjustment.hpp"

#include "linux/mm/address_space.hpp"
#include "linux/task/clone.hpp"
#include "linux/task/process.hpp"

namespace linux {

constinit OomLock oom_lock;

namespace {

OomAdjustment& adjustment_of(Process& p) RT_REQUIRES(oom_lock) {
    return p.oom.shared ? p.oom.shared->shared_oom.adjustment : p.oom.own;
}

}  // namespace

OomAdjustment oom_adjustment(Process& p) {
    rt::LockGuard guard{oom_lock};
    return adjustment_of(p);
}

bool set_oom_adjustment(Process& p, i32 to, bool privileged) {
    rt::LockGuard guard{oom_lock};
    OomAdjustment& a = adjustment_of(p);
    if (to < a.least && !privileged) return false;
    a.value = to;
    if (privileged) a.least = to;
    return true;
}

bool set_old_oom_adjustment(Process& p, i32 to, bool privileged) {
    rt::LockGuard guard{oom_lock};
    OomAdjustment& a = adjustment_of(p);
    if (to < a.value && !privileged) return false;
    a.value = to;
    return true;
}

void inherit_oom_adjustment(Process& child, Process& parent, AddressSpace& mm, u64 clone_flags) {
    rt::LockGuard guard{oom_lock};
    child.oom.own = adjustment_of(parent);
    if ((clone_flags & (kCloneVm | kCloneVfork)) != kCloneVm) return;
    SharedOom& shared = mm.shared_oom;
    if (!parent.oom.shared) {
        // In vfork it has one of its own beside that of its memory; so have those that it makes (Linux: all but itself
        // follow the memory's).
        if (shared.used || parent.in_vfork.load(std::memory_order_relaxed)) return;
        shared.adjustment = parent.oom.own;
        shared.used = true;
        parent.oom.shared = &mm;
    }
    child.oom.shared = &mm;
}

void leave_oom_adjustment(Process& p) {
    rt::LockGuard guard{oom_lock};
    p.oom.own = adjustment_of(p);
    p.oom.shared = nullptr;
}

}  // namespace linux
