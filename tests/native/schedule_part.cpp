// SPDX-License-Identifier: MIT
// Scheduling: priorities, yields, budgets, time that a call donates, threads that move between CPUs in any state.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

std::atomic<u64> log_count;
std::atomic<u64> log_entries[64];
void note(u64 number) {
    u64 at = log_count.fetch_add(1);
    if (at < 64) log_entries[at] = number;
}
void note_and_end(u64 number) { note(number); }
std::atomic<bool> stop;
std::atomic<u64> counters[4];
void count(u64 i) {
    while (!stop) counters[i].store(counters[i].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}
void reset() {
    log_count = 0;
    stop = false;
    for (auto& c : counters) c = 0;
}
u64 sched_used(Slot s) {
    auto r = make_call(kSchedInfo, s);
    return r.ok() ? r.value() : 0;
}
void echo(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
    }
}

}  // namespace

KTEST(higher_priority_runs_at_once, none) {
    reset();
    (void)start(note_and_end, 1, {.priority = kDefaultPriority + 1});
    note(2);
    KCHECK(log_entries[0] == 1 && log_entries[1] == 2);
}
KTEST(lower_priority_runs_when_nobody_else_does, none) {
    reset();
    Helper& h = start(note_and_end, 1, {.priority = kDefaultPriority - 1});
    for (u64 end = now() + kMillisecond; now() < end;) yield();
    KCHECK(log_count == 0);
    KCHECK(until_done(h));
}
KTEST(ready_threads_run_by_priority, none) {
    reset();
    for (u64 p : {3, 9, 6, 9, 1}) (void)start(note_and_end, p * 10 + log_count, {.priority = p});
    KCHECK(until([] { return log_count == 5; }));
    for (u64 i : {0, 1}) KCHECK(log_entries[i] == 90);
    KCHECK(log_entries[2] == 60 && log_entries[3] == 30 && log_entries[4] == 10);
}
KTEST(yield_gives_the_next_its_turn, none) {
    reset();
    (void)start(note_and_end, 1);
    (void)start(note_and_end, 2);
    yield();
    KCHECK(log_count > 0);
    // If a time slice ends in one of them, it is queued after the other: both finish, in either order.
    for (int i = 0; i < 100 && log_count < 2; ++i) yield();
    KCHECK(log_count == 2 && log_entries[0] + log_entries[1] == 3);
}
// A call that fills much memory runs in steps, between which other threads run.
KTEST(large_memory_lets_others_run, none) {
    reset();
    Helper& h = start(
        [](u64) {
            for (; !stop; yield()) counters[0].fetch_add(1);
        },
        0);
    Slot p = slot();
    KDONE(raw_call(kCreate, kSlotPool, kTypePool, p, 24 << 20));
    u64 before = counters[0];
    KDONE(raw_call(kCreate, p, kTypeMemory, slot(), 16 << 20));
    KCHECK(counters[0] - before >= 16);  // of 63 steps: a time slice that ends in a step costs the other thread a turn
    stop = true;
    KCHECK(until_done(h));
}
// The same for large mappings: each step queues the thread after the others of its priority.
KTEST(large_mappings_let_others_run, none) {
    reset();
    constexpr u64 kSize = 32 << 20, kHole = 16 << 20, kTurns = 4;  // of 15 turns between steps of 2 MiB
    Slot m = slot();
    KDONE(raw_call(kCreate, kSlotPool, kTypeMemory, m, kSize));
    Helper& h = start(
        [](u64) {
            for (; !stop; yield()) counters[0].fetch_add(1);
        },
        0);
    auto turns = [](i64 result) {
        static u64 before;
        return result == 0 ? counters[0] - std::exchange(before, counters[0].load()) : 0;
    };
    auto at = [](u64 offset) -> volatile u64& { return *reinterpret_cast<volatile u64*>(kAreaStart + offset); };
    auto gone = [](u64 offset) { return raw_call(kWrite, kSlotSystem, kAreaStart + offset, 1) == -i64(Errno::kFault); };
    constexpr u64 kBoth = kReadRight | kWriteRight;
    (void)turns(0);
    KCHECK(turns(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kSize, kBoth)) >= kTurns);
    for (u64 i = 0; i < kSize; i += kPage) at(i) = i + 1;
    (void)turns(0);
    KCHECK(turns(raw_call(kProtect, kSlotSpace, kAreaStart, kSize, kReadRight)) >= kTurns);
    for (u64 i = 0; i < kSize; i += kPage) KCHECK(at(i) == i + 1);
    KREFUSED(kExist, raw_call(kMap, kSlotSpace, m, kAreaStart + kSize - kPage, 0, kPage, kReadRight));
    // A hole of several steps in the middle, then all of it; pages that are already unmapped are skipped.
    (void)turns(0);
    KCHECK(turns(raw_call(kUnmap, kSlotSpace, kAreaStart + kPage, kHole)) >= kTurns / 2);
    KCHECK(at(0) == 1 && at(kHole + kPage) == kHole + kPage + 1);
    KCHECK(gone(kPage) && gone(kHole));
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart + kHole, 0, kPage, kReadRight));
    KCHECK(at(kHole) == 1);
    KDONE(raw_call(kUnmap, kSlotSpace, kAreaStart, kSize));
    for (u64 i = 0; i < kSize; i += kHole / 4) KCHECK(gone(i) && gone(i + kPage));
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kSize, kBoth));
    KCHECK(at(kSize - kPage) == kSize - kPage + 1);
    // The end of the memory object unmaps it in steps, too.
    KDONE(raw_call(kDelete, m));
    for (u64 i = 0; i < kSize; i += kHole / 4) KCHECK(gone(i) && gone(i + kPage));
    stop = true;
    KCHECK(until_done(h));
}
KTEST(memory_begun_and_given_up_is_given_back, none) {
    Slot p = slot();
    KDONE(raw_call(kCreate, kSlotPool, kTypePool, p, 24 << 20));
    static Slot made, from;
    made = slot(), from = p;
    Helper& h = start([](u64) { (void)raw_call(kCreate, from, kTypeMemory, made, 16 << 20); }, 0);
    // The call has begun when the pool is charged; after its first step, its thread is queued after this one.
    for (int i = 0; i < 100 && used_of(from) == 0; ++i) yield();
    KCHECK(used_of(from) != 0);
    KDONE(raw_call(kThreadSuspend, h.thread));
    KCHECK(raw_call(kIdentify, made) == -i64(Errno::kBadF));
    KDONE(raw_call(kDelete, h.thread));
    KCHECK(until([] { return used_of(from) == 0; }));
    KDONE(raw_call(kCreate, p, kTypeMemory, slot(), 16 << 20));
}
KTEST(yield_alone_comes_back, none) {
    for (int i = 0; i < 100; ++i) KDONE(raw_call(kYield));
}
KTEST_CPUS(equals_share_a_cpu, none) {
    reset();
    (void)start(count, 0, {.priority = 5, .cpu = cpu});
    (void)start(count, 1, {.priority = 5, .cpu = cpu});
    KCHECK(until([] { return counters[0] != 0 && counters[1] != 0; }));
    u64 then = counters[0];
    KCHECK(until([&] { return counters[0] > then; }));
    stop = true;
}
KTEST_CPUS(higher_priority_keeps_the_lower_out, none) {
    reset();
    (void)start(count, 0, {.priority = 6, .cpu = cpu});
    KCHECK(until([] { return counters[0] != 0; }));
    (void)start(count, 1, {.priority = 5, .cpu = cpu});
    sleep(10 * kMillisecond);
    KCHECK(counters[1] == 0);
    stop = true;
    KCHECK(until([] { return log_count == 0; }));
}
KTEST_CPUS(message_to_a_higher_one_runs_it, none) {
    reset();
    static auto take = [](u64 e) {
        Message m;
        if (receive(e, m).ok()) note(1);
    };
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+take, e, {.priority = 20, .cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kSend, e));
    if (cpu == 0) KCHECK(log_count == 1);
    KCHECK(until_done(h));
}
KTEST(message_to_a_lower_one_does_not, none) {
    reset();
    static auto take = [](u64 e) {
        Message m;
        if (receive(e, m).ok()) note(1);
    };
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+take, e, {.priority = 3});
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kSend, e));
    KCHECK(log_count == 0);
    KCHECK(until_done(h));
}
KTEST(signal_to_a_higher_one_runs_it, none) {
    reset();
    static auto take = [](u64 n) {
        Message m;
        if (receive(n, m).ok()) note(1);
    };
    Slot n = make(kTypeNotification);
    Helper& h = start(+take, n, {.priority = 20});
    KCHECK(until_state(h, kStateWaiting));
    KDONE(raw_call(kSignal, n, 1));
    KCHECK(log_count == 1);
}
KTEST(call_to_a_server_of_lower_priority_comes_back, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start(echo, e, {.priority = 2});
    KCHECK(until_state(h, kStateReceiving));
    for (u64 i = 0; i < 50; ++i) {
        Message m = message(0, i);
        KDONE(code(call(e, m)));
        KCHECK(m.words[0] == i);
    }
}
KTEST_CPUS(priority_changed_while_running, none) {
    reset();
    Helper& h = start(count, 0, {.priority = 5, .cpu = cpu});
    (void)start(count, 1, {.priority = 4, .cpu = cpu});
    KCHECK(until([] { return counters[0] != 0; }));
    KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 3, cpu));
    KCHECK(until([] { return counters[1] != 0; }));
    stop = true;
}
KTEST(own_priority_lowered_lets_others_run, none) {
    reset();
    (void)start(note_and_end, 1, {.priority = 10});
    KCHECK(log_count == 0);
    KDONE(raw_call(kThreadSchedule, kSlotThread, kSlotSched, 9, 0));
    KCHECK(log_count == 1);
}

// --- Budgets

namespace {
// Checks that a thread with a budget of `share` percent of the CPU gets at most that.
void budget(u64 share, u64 cpu) {
    reset();
    Slot s = make(kTypeSched, 10);
    constexpr u64 kPeriod = 10 * kMillisecond;
    KDONE(raw_call(kSchedConfigure, s, u64{1} << cpu, 10, kPeriod * share / 100, kPeriod));
    (void)start(count, 0, {.priority = 5, .cpu = cpu, .sched = s});
    KCHECK(until([] { return counters[0] != 0; }));
    // When the host stops a CPU, that time looks used. So the budget must hold in one of many windows; without a budget
    // it would hold in none.
    u64 used = 0;
    for (u64 i = 0; i < 200; ++i) {
        u64 start = now(), before = sched_used(s);
        sleep(60 * kMillisecond);
        used = sched_used(s) - before;
        u64 time = now() - start;
        // The limit is half-way between the share and the whole time: the end of each period may be late by as long as
        // the host stops the CPU.
        if (used <= time * (share + 100) / 200) {
            stop = true;
            return;
        }
    }
    stop = true;
    note_result("time used in ms", i64(used / kMillisecond), "the budget", __FILE_NAME__, __LINE__);
}
}  // namespace

KTEST_CPUS(budget_of_a_tenth, none) { budget(10, cpu); }
KTEST_CPUS(budget_of_a_half, none) { budget(50, cpu); }
KTEST(budget_spent_lets_lower_ones_run, none) {
    reset();
    Slot s = make(kTypeSched, 10);
    KDONE(raw_call(kSchedConfigure, s, 1, 10, kMillisecond, 20 * kMillisecond));
    (void)start(count, 0, {.priority = 9, .sched = s});
    (void)start(count, 1, {.priority = 3});
    KCHECK(until([] { return counters[0] != 0 && counters[1] != 0; }));
    stop = true;
}
KTEST(budget_comes_back_each_period, none) {
    reset();
    Slot s = make(kTypeSched, 10);
    KDONE(raw_call(kSchedConfigure, s, 1, 10, kMillisecond, 5 * kMillisecond));
    (void)start(count, 0, {.priority = 9, .sched = s});
    for (u64 i = 0, last = 0; i < 4; ++i) {
        KCHECK(until([&] { return counters[0] > last; }));
        last = counters[0];
        sleep(5 * kMillisecond);
    }
    stop = true;
}
KTEST_CPUS(budget_thread_deleted_while_parked, none) {
    reset();
    Slot s = make(kTypeSched, 10);
    KDONE(raw_call(kSchedConfigure, s, u64{1} << cpu, 10, kMillisecond / 2, 10'000 * kMillisecond));
    Helper& h = start(count, 0, {.priority = 5, .cpu = cpu, .sched = s});
    sleep(5 * kMillisecond);
    KDONE(raw_call(kThreadSuspend, h.thread));
    KCHECK(state_of(h.thread) == kStateInactive);
    KDONE(raw_call(kThreadResume, h.thread));
    KDONE(raw_call(kDelete, h.thread));
}
KTEST(server_runs_on_its_callers_time, none) {
    static auto work = [](u64 e) {
        Message m;
        for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m))
            for (u64 end = now() + kMillisecond; now() < end;) {
            }
    };
    Slot mine = make(kTypeSched, 20), its = make(kTypeSched, 20), e = make(kTypeEndpoint);
    Helper& h = start(+work, e, {.sched = its});
    KCHECK(until_state(h, kStateReceiving));
    static auto ask = [](u64 endpoint) {
        for (int i = 0; i < 5; ++i) {
            Message m = message(0);
            if (!call(endpoint, m).ok()) note_failure("call", __FILE_NAME__, __LINE__);
        }
    };
    u64 before = sched_used(its);
    Helper& client = start(+ask, e, {.sched = mine});
    KCHECK(until_done(client));
    KCHECK(sched_used(mine) >= 4 * kMillisecond && sched_used(its) - before <= 2 * kMillisecond);
}
KTEST(sched_info_tells_time_and_cpus, none) {
    reset();
    Slot s = make(kTypeSched, 10);
    KCHECK(sched_used(s) == 0);
    Helper& h = start(count, 0, {.priority = 5, .sched = s});
    sleep(3 * kMillisecond);
    stop = true;
    KCHECK(until_done(h));
    KCHECK(sched_used(s) > kMillisecond / 10);
}

// --- Moving

KTEST(moves_while_inactive, none) {
    reset();
    Helper& h = start(note_and_end, 1, {.cpu = far_cpu(), .start = false});
    KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, 0));
    KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, far_cpu()));
    KDONE(raw_call(kThreadResume, h.thread));
    KCHECK(until_done(h));
}
KTEST(moves_while_running, none) {
    reset();
    Helper& h = start(count, 0, {.priority = 5});
    for (u64 i = 0; i < 24; ++i) {
        u64 then = counters[0];
        KCHECK(until([&] { return counters[0] > then; }));
        KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, i % boot_info().cpus));
    }
    stop = true;
    KCHECK(until_done(h));
}
KTEST(moves_while_receiving, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start(echo, e, {.priority = 5});
    for (u64 i = 0; i < 24; ++i) {
        KCHECK(until_state(h, kStateReceiving));
        KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, i % boot_info().cpus));
        Message m = message(0, i);
        KDONE(code(call(e, m)));
        KCHECK(m.words[0] == i);
    }
}
KTEST(moves_while_sending, none) {
    static auto post = [](u64 e) {
        for (u64 i = 0; i < 24; ++i) (void)send(e, message(0, i));
    };
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+post, e, {.priority = 5});
    for (u64 i = 0; i < 24; ++i) {
        KCHECK(until_state(h, kStateSending));
        KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, i % boot_info().cpus));
        Message m;
        KDONE(code(receive(e, m, kNonBlocking)));
        KCHECK(m.words[0] == i);
    }
    KCHECK(until_done(h));
}
KTEST(moves_while_awaiting_an_answer, none) {
    static auto ask = [](u64 e) {
        for (u64 i = 0; i < 24; ++i) {
            Message m = message(0, i);
            if (!call(e, m).ok() || m.words[0] != i + 7) note_failure("answer", __FILE_NAME__, __LINE__);
        }
    };
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+ask, e, {.priority = 5});
    for (u64 i = 0; i < 24; ++i) {
        Message m;
        KDONE(code(receive_soon(e, m)));
        KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, i % boot_info().cpus));
        KDONE(code(reply(message(0, m.words[0] + 7))));
    }
    KCHECK(until_done(h));
}
KTEST(moves_while_waiting_with_a_timeout, none) {
    static std::atomic<u64> timed_out;
    static auto wait = [](u64 n) {
        for (u64 i = 0; i < 12; ++i) {
            Message m;
            if (code(receive_soon(n, m, 2 * kMillisecond)) == -i64(Errno::kTimedOut)) timed_out = timed_out + 1;
        }
    };
    timed_out = 0;
    Slot n = make(kTypeNotification);
    Helper& h = start(+wait, n, {.priority = 5});
    for (u64 i = 0; !h.done && i < 100; ++i) {
        KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, i % boot_info().cpus));
        sleep(kMillisecond / 2);
    }
    KCHECK(until_done(h) && timed_out == 12);
}
KTEST(moves_itself, none) {
    for (u64 i = 0; i < 3 * boot_info().cpus; ++i)
        KDONE(raw_call(kThreadSchedule, kSlotThread, kSlotSched, kDefaultPriority, i % boot_info().cpus));
    KDONE(raw_call(kThreadSchedule, kSlotThread, kSlotSched, kDefaultPriority, 0));
}
KTEST(server_and_client_move_apart_and_together, none) {
    reset();
    static auto client = [](u64 e) {
        for (u64 i = 0; !stop; ++i) {
            Message m = message(0, i);
            if (!call(e, m).ok() || m.words[0] != i) note_failure("echo", __FILE_NAME__, __LINE__);
            counters[0] = i;
        }
    };
    Slot e = make(kTypeEndpoint);
    Helper& server = start(echo, e, {.priority = 5});
    Helper& h = start(+client, e, {.priority = 5});
    for (u64 i = 0; i < 40; ++i) {
        KDONE(raw_call(kThreadSchedule, (i & 1 ? server : h).thread, kSlotSched, 5, (i * 7 >> 1) % boot_info().cpus));
        u64 then = counters[0];
        KCHECK(until([&] { return counters[0] > then; }));
    }
    stop = true;
    KCHECK(until_done(h));
}
KTEST_CPUS(suspend_a_running_thread, none) {
    reset();
    Helper& h = start(count, 0, {.priority = 5, .cpu = cpu});
    for (u64 i = 0; i < 10; ++i) {
        u64 then = counters[0];
        KCHECK(until([&] { return counters[0] > then; }));
        KDONE(raw_call(kThreadSuspend, h.thread));
        KCHECK(state_of(h.thread) == kStateInactive);
        then = counters[0];
        sleep(kMillisecond / 2);
        KCHECK(counters[0] == then);
        Registers r;
        KDONE(code(get_registers(h.thread, r)));
        KCHECK(r.rsp > stack_top(h) - 0x400 && r.rsp < stack_top(h));
        KDONE(raw_call(kThreadResume, h.thread));
    }
    stop = true;
    KCHECK(until_done(h));
}
KTEST_CPUS(clock_goes_on_everywhere, none) {
    static std::atomic<u64> its;
    static auto look = [](u64) { its = now(); };
    u64 before = now();
    Helper& h = start(+look, 0, {.cpu = cpu});
    KCHECK(until_done(h));
    KCHECK(its >= before && its <= now());
}
KTEST(cpu_count_is_right, none) { KCHECK(cpus() == boot_info().cpus && cpus() != 0); }

// A caller pays for its server's time, as long as both are on one CPU. Whoever is moved meanwhile does not pay there any more,
// and may be deleted there.
KTEST(moved_caller_pays_no_more, none) {
    if (far_cpu() == 0) return;
    static Slot e, caller;
    static u64 before, after, mine_before, mine_after;
    static std::atomic<u64> served;
    e = make(kTypeEndpoint);
    served = 0;
    auto work = [](u64 ns) {
        for (const u64 end = now() + ns; now() < end;) asm volatile("pause");
    };
    static auto busy = work;
    Helper& server = start(
        [](u64) {
            Message m;
            if (!receive(e, m).ok()) return;
            busy(5 * kMillisecond);
            (void)schedule(caller, kSlotSched, 5, far_cpu());
            while (thread_time(caller).value() == 0) {
            }
            before = thread_time(caller).value();
            mine_before = thread_time(kSlotThread).ok() ? thread_time(utcb().free[0]).value() : 0;
            busy(20 * kMillisecond);
            after = thread_time(caller).value();
            mine_after = thread_time(utcb().free[0]).value();
            served = 1;
            (void)receive(e, m);
        },
        0, {.priority = 20, .start = false});
    server.page().free[0] = server.thread;
    KDONE(code(resume(server.thread)));
    KCHECK(until_state(server, kStateReceiving));
    Helper& c = start(
        [](u64) {
            Message m = message(1);
            (void)call(e, m);
        },
        0, {.priority = 10, .start = false});
    caller = c.thread;
    KDONE(code(resume(c.thread)));
    KCHECK(until([] { return served.load() != 0; }));
    KCHECK(after == before && mine_after - mine_before >= 10 * kMillisecond);
    KDONE(code(remove(c.thread)));
}

// A thread that was answered while it moved is in the queue of the CPU that it left, behind what runs there: requests of
// others do not wait for that.
KTEST(moved_caller_can_be_stopped, none) {
    if (far_cpu() == 0) return;
    static Slot e, go;
    static std::atomic<bool> stopped, enough;
    static std::atomic<u64> stuck;
    e = make(kTypeEndpoint);
    go = make(kTypeNotification);
    enough = false;
    stuck = 0;
    auto serve = [](u64) {
        Message m;
        for (auto r = receive(e, m); r.ok();) {
            for (u64 n = m.words[0] % 64; n != 0; --n) asm volatile("pause");
            r = reply_receive(e, m);
        }
    };
    Helper& server = start(serve, 0, {.priority = 20});
    // Keeps the caller's first CPU busy until the caller has stopped.
    Helper& above = start(
        [](u64) {
            Message m;
            while (receive(go, m).ok() && !enough) {
                for (const u64 end = now() + kPatience; !stopped;)
                    if (now() > end) {
                        stuck = 1;
                        return;
                    }
            }
        },
        0, {.priority = 10, .cpu = far_cpu()});
    Helper& caller = start(
        [](u64) {
            for (u64 n = 0;; n += 7) {
                Message m = message(1);
                m.words[0] = n;
                (void)call(e, m);
            }
        },
        0, {.priority = 5, .cpu = far_cpu()});
    KCHECK(until_state(server, kStateReceiving));
    u64 moved = 0;
    for (const u64 end = now() + 100 * kMillisecond; now() < end && stuck == 0; ++moved) {
        stopped = false;
        for (u64 n = moved % 512; n != 0; --n) asm volatile("pause");
        KDONE(code(schedule(caller.thread, kSlotSched, 5, 0)));
        KDONE(raw_call(kSignal, go, 1));
        KDONE(code(suspend(caller.thread)));
        stopped = true;
        KDONE(code(schedule(caller.thread, kSlotSched, 5, far_cpu())));
        KDONE(code(resume(caller.thread)));
    }
    stopped = enough = true;
    (void)raw_call(kSignal, go, 1);
    KCHECK(until_done(above) && stuck == 0);
    KDONE(code(remove(caller.thread)));
}

}  // namespace ktest
