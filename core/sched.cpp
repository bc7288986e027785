// SPDX-License-Identifier: MIT
#include "core/sched.hpp"

#include <algorithm>

#include "rt/task.hpp"
#include "rt/timer.hpp"

namespace core::sched {
namespace {

struct Slice : rt::Timer {
    constexpr Slice() : Timer(&Slice::over) {}
    static void over(rt::Timer& t);
};

struct alignas(64) PerCpu {
    Slice slice;
    u32 in_order = 0;  // so many slices are to end before a thread may go first
    Nanoseconds last_end{};
};
constinit PerCpu per_cpu[lib::kMaxCpus];

constexpr u32 kMostInOrder = 16;

void Slice::over(rt::Timer&) {
    rt::Executor& ex = rt::Executor::current();
    PerCpu& mine = per_cpu[ex.cpu().value];
    rt::Priority waiting = ex.queue.best_user_level();
    if (waiting == rt::kBackFromWait) waiting = rt::Priority::kUser;  // for them they wait
    mine.last_end = hal::Machine::now();
    if (mine.in_order != 0)
        --mine.in_order;
    else if (waiting != rt::Priority::kBackground)
        mine.in_order = std::min(ex.queue.count(waiting), kMostInOrder);
    ex.attract(rt::kAttnReschedule);
}

}  // namespace

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
    PerCpu& mine = per_cpu[ex.cpu().value];
    if (!mine.slice.armed && ex.queue.has(level)) ex.timers().arm(mine.slice, hal::Machine::now() + kSlice);
}

void start_any_slice(rt::Executor& ex) {
    PerCpu& mine = per_cpu[ex.cpu().value];
    if (!mine.slice.armed && ex.queue.best_user_level() != rt::Priority::kBackground)
        ex.timers().arm(mine.slice, hal::Machine::now() + kSlice);
}

bool may_go_first(const rt::Executor& ex) {
    PerCpu& mine = per_cpu[ex.cpu().value];
    // No slice has ended for a while: nobody waits any more.
    if (mine.in_order != 0 && hal::Machine::now() - mine.last_end > Nanoseconds{2 * kSlice.value}) mine.in_order = 0;
    return mine.in_order == 0;
}

void end_turn_at(rt::Executor& ex, Nanoseconds when) {
    Slice& slice = per_cpu[ex.cpu().value].slice;
    if (slice.armed && slice.deadline.value <= when.value) return;
    rt::cancel_timer(slice);
    ex.timers().arm(slice, when);
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
