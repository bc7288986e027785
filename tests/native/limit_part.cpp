// SPDX-License-Identifier: MIT
// What a confined program can do without a right, or beyond a limit: for each right and limit, a program that has
// everything else tries. Also compares charges of pools with the machine's free memory.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

std::atomic<u64> turns[2];
std::atomic<bool> over;
void count_turns(u64 i) {
    while (!over) turns[i].fetch_add(1, std::memory_order_relaxed);
}
u64 cpu_time(Slot s) {
    auto r = make_call(kSchedInfo, s);
    return r.ok() ? r.value() : 0;
}
u64 free_now() {
    auto r = memory_free(kSlotSystem);
    return r.ok() ? r.value() : 0;
}

// What a confined thread made, and the results of its calls.
struct Confined {
    Slot pool, child, sched, own;
    u64 utcb, stack;
    std::atomic<i64> result[4];
    std::atomic<bool> made{false};
} confined;
alignas(16) std::byte child_stack[0x4000];

void make_a_thread(u64) {
    (void)create(confined.pool, kTypeThread, confined.child);
    (void)configure(confined.child, kSlotSpace, confined.utcb);
    Registers r{};
    r.rip = u64(&count_turns);
    r.rdi = 1;
    r.rsp = u64(child_stack) + sizeof child_stack - 8;
    r.fs_base = confined.utcb;
    r.rflags = 0x202;
    (void)set_registers(confined.child, r);
    (void)resume(confined.child);
    confined.made = true;
    count_turns(0);
}
void reach_for_time(u64) {
    confined.result[0] = raw_call(kCreate, confined.pool, kTypeSched, confined.sched, 0);
    confined.result[1] = raw_call(kSchedConfigure, confined.own, 1, 3, 0, 0);
    confined.result[2] = raw_call(kSchedConfigure, confined.own, 1, 3, 50 * kMillisecond, 100 * kMillisecond);
    confined.made = true;
}

// A Sched with priority 3 and 1 % of CPU 0; the test itself runs above it.
Slot one_percent() {
    Slot s = make(kTypeSched, 3);
    (void)raw_call(kSchedConfigure, s, 1, 3, kMillisecond, 100 * kMillisecond);
    return s;
}

}  // namespace

// --- CPU time

KTEST(new_thread_runs_on_its_makers_budget, none) {
    over = false;
    confined.made = false;
    turns[0] = turns[1] = 0;
    confined.pool = make(kTypePool, 1 << 20);
    confined.child = slot();
    confined.utcb = kAreaStart;
    Slot s = one_percent();
    (void)start(make_a_thread, 0, {.priority = 3, .sched = s});
    KCHECK(until([] { return confined.made.load() && turns[1] != 0; }));
    // When the host stops a CPU, that time looks used. So the budget must hold in one of several windows; without a
    // budget it would hold in none. Allowed for both threads together: four budgets for each period, including the two
    // that the window cuts.
    bool kept = false;
    for (u32 n = 0; n < 20 && !kept; ++n) {
        const u64 before = cpu_time(s), begin = now();
        sleep(200 * kMillisecond);
        const u64 spent = cpu_time(s) - before, passed = now() - begin;
        kept = spent <= (passed / (100 * kMillisecond) + 2) * 4 * kMillisecond;
    }
    over = true;
    KCHECK(kept);
    (void)raw_call(kSchedConfigure, s, 1, 3, 0, 0);
}
KTEST(new_thread_has_no_higher_priority_than_its_maker, none) {
    over = false;
    confined.made = false;
    turns[0] = turns[1] = 0;
    confined.pool = make(kTypePool, 1 << 20);
    confined.child = slot();
    confined.utcb = kAreaStart;
    Helper& h = start(make_a_thread, 0, {.priority = 3});
    Helper& above = start(count_turns, 0, {.priority = 4, .start = false});
    KCHECK(until([] { return confined.made.load(); }));
    KDONE(raw_call(kThreadResume, above.thread));
    sleep(20 * kMillisecond);
    // The thread of priority 4 keeps both of them from running.
    const u64 was = turns[1];
    sleep(20 * kMillisecond);
    KCHECK(turns[1] == was);
    over = true;
    KCHECK(until_done(above) && until_done(h));
}
KTEST(budget_cannot_make_or_change_budgets, sched_by_limited) {
    confined.made = false;
    confined.pool = make(kTypePool, 1 << 20);
    confined.sched = slot();
    confined.own = one_percent();
    Helper& h = start(reach_for_time, 0, {.priority = 3, .sched = confined.own});
    KCHECK(until_done(h));
    for (u64 i : {0, 1, 2}) KCHECK(confined.result[i] == -i64(Errno::kPerm));
}
KTEST(sched_gives_no_cpus_that_its_maker_lacks, sched_cpus_held) {
    if (boot_info().cpus < 2) {
        // There is no CPU that the maker lacks: only a CPU that does not exist can be refused.
        KCHECK(raw_call(kSchedConfigure, make(kTypeSched, 3), 2, 3, 0, 0) == -i64(Errno::kInval));
        return;
    }
    static auto reach = [](u64) {
        confined.result[0] = raw_call(kSchedConfigure, confined.own, 3, 3, 0, 0);
        (void)raw_call(kCreate, confined.pool, kTypeSched, confined.sched, 3);
        confined.made = true;
    };
    confined.made = false;
    confined.pool = make(kTypePool, 1 << 20);
    confined.sched = slot();
    confined.own = make(kTypeSched, 3);
    KDONE(raw_call(kSchedConfigure, confined.own, 1, 3, 0, 0));
    Helper& h = start(+reach, 0, {.priority = 3, .sched = confined.own});
    KCHECK(until_done(h));
    KCHECK(confined.result[0] == -i64(Errno::kPerm));
    Slot t = make(kTypeThread);
    KREFUSED(kInval, raw_call(kThreadSchedule, t, confined.sched, 3, 1));
    KDONE(raw_call(kThreadSchedule, t, confined.sched, 3, 0));
}

// --- Memory

KTEST(page_tables_are_returned_with_what_they_map, none) {
    constexpr u64 kPool = 1 << 20, kStep = u64{1} << 30;
    Slot p = slot(), space = slot(), m = slot();
    KDONE(raw_call(kCreate, pool(), kTypePool, p, kPool));
    KDONE(raw_call(kCreate, p, kTypeSpace, space, 16));
    KDONE(raw_call(kCreate, p, kTypeMemory, m, kPage));
    const u64 used = used_of(p), free = free_now();
    for (u64 i = 1; i <= 1000; ++i) {
        KDONE(raw_call(kMap, space, m, i * kStep, 0, kPage, kReadRight));
        KCHECK(used_of(p) - used >= 3 * kPage);
        KDONE(raw_call(kUnmap, space, i * kStep, kPage));
        KCHECK(used_of(p) == used);
    }
    KCHECK(until([&] { return free_now() + kPool >= free; }));
}
KTEST(page_tables_stay_for_neighbours, none) {
    Slot m = make(kTypeMemory, 4 * kPage), space = make(kTypeSpace, 16);
    const u64 at = u64{5} << 30;
    KDONE(raw_call(kMap, space, m, at, 0, 4 * kPage, kReadRight));
    const u64 with_tables = used_of(pool());
    KDONE(raw_call(kUnmap, space, at, kPage));
    KDONE(raw_call(kUnmap, space, at + 3 * kPage, kPage));
    KCHECK(used_of(pool()) == with_tables);
    KDONE(raw_call(kUnmap, space, at + kPage, 2 * kPage));
    KCHECK(used_of(pool()) <= with_tables - 3 * kPage);
}
KTEST(split_of_a_mapping_is_charged, none) {
    Slot m = make(kTypeMemory, 5 * kPage), space = make(kTypeSpace, 16);
    const u64 at = u64{5} << 30, before = used_of(pool());
    KDONE(raw_call(kMap, space, m, at, 0, 5 * kPage, kReadRight));
    const u64 whole = used_of(pool());
    KDONE(raw_call(kUnmap, space, at + kPage, kPage));
    const u64 two = used_of(pool());
    KDONE(raw_call(kUnmap, space, at + 3 * kPage, kPage));
    KCHECK(two > whole && used_of(pool()) - two == two - whole);
    KDONE(raw_call(kUnmap, space, at, 5 * kPage));
    KCHECK(used_of(pool()) == before);
}
// Memory is charged in full: what 64 objects of a type take from the machine is not more than their charges.
KTEST(charges_cover_what_objects_take, none) {
    for (Type t : {kTypeThread, kTypeSpace, kTypeEndpoint, kTypeReply, kTypeNotification, kTypeSched}) {
        const u64 used = used_of(pool()), free = free_now();
        Slot made[64];
        for (Slot& s : made) {
            s = slot();
            KDONE(raw_call(kCreate, pool(), t, s, t == kTypeSpace ? 1024 : 0));
        }
        const u64 charged = used_of(pool()) - used, taken = free - free_now();
        // Partly filled slabs: one or two pages for each size that is used.
        KCHECK(taken <= charged + 12 * kPage);
        for (Slot s : made) KDONE(raw_call(kDelete, s));
    }
}

// --- The machine

KTEST(memory_of_the_machine, cap_right) {
    KDONE(raw_call(kMemoryInfo, kSlotSystem));
    KREFUSED(kBadF, raw_call(kMemoryInfo, slot()));
    KREFUSED(kInval, raw_call(kMemoryInfo, pool()));
    Slot less = derive(kSlotSystem, kWriteRight);
    KREFUSED(kPerm, raw_call(kMemoryInfo, less));
}

}  // namespace ktest
