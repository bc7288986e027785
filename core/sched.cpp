// SPDX-License-Identifier: MIT
#include "core/sched.hpp"

#include "rt/task.hpp"

namespace core::sched {

constinit CpuSet user_set{~0u};
void set_user_cpus(CpuSet cpus) { user_set = cpus; }

rt::Executor& choose_home(CpuSet affinity, rt::Executor& preferred) {
    CpuSet allowed = affinity & user_cpus();
    if (allowed.has(preferred.cpu())) return preferred;
    rt::Executor* best = nullptr;
    for (u32 i = 0; i < rt::executor_count(); ++i) {
        if (!allowed.has(CpuId{i})) continue;
        rt::Executor& ex = rt::Executor::of(CpuId{i});
        if (ex.user_state.get() == rt::UserState::kSleeping) return ex;
        if (!best) best = &ex;
    }
    return best ? *best : preferred;
}

void start_slice(rt::Executor& ex, rt::Priority level) {
    if (!ex.slice.armed && ex.queue.has(level)) ex.start_slice();
}

void start_any_slice(rt::Executor& ex) {
    if (!ex.slice.armed && ex.queue.best_user_level() != rt::Priority::kBackground) ex.start_slice();
}

void end_turn_at(rt::Executor& ex, Nanoseconds when) {
    if (ex.slice.armed && ex.slice.deadline.value <= when.value) return;
    rt::cancel_timer(ex.slice);
    ex.timers().arm(ex.slice, when);
}

void balance(rt::Executor& ex) {
    const u32 cpus = rt::executor_count();
    if (cpus == 1) return;
    CpuSet allowed = user_cpus();
    for (u32 i = 0; i < cpus && ex.queue.count(rt::Priority::kUser) != 0; ++i) {
        rt::Executor& other = rt::Executor::of(CpuId{i});
        if (&other == &ex || !allowed.has(CpuId{i}) || other.user_state.get() != rt::UserState::kSleeping) continue;
        rt::Schedulable* last = ex.queue.take_last(rt::Priority::kUser);
        if (rt::Job::is_one(*last)) return ex.enqueue(*last);  // long work that gave way: it stays
        auto* thread = static_cast<Thread*>(last);
        if (!thread->affinity.has(CpuId{i})) {
            ex.enqueue(*thread);
            continue;
        }
        thread->leave_cpu();
        thread->set_home(other);
        thread->make_ready();
    }
}

}  // namespace core::sched
