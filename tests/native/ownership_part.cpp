// SPDX-License-Identifier: MIT
// Two CPUs that change one thread, or one owed reply, at the same time: one of them succeeds, or both do one after the
// other. No reference is dropped twice, and at the end of each test all charges are returned to the pool.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

Slot target, choices[2], endpoint, saved;
std::atomic<u64> turns, errors, last_error;
std::atomic<bool> over;

// Both threads begin each round at the same time.
constexpr u64 kRounds = 300;
std::atomic<u64> arrived;
void together(u64 round) {
    arrived.fetch_add(1);
    while (arrived.load() < round * 2) yield();
}
void note(const Result<void>& r, Errno allowed = Errno{}) {
    turns.fetch_add(1);
    if (r.ok() || r.error() == allowed) return;
    errors.fetch_add(1);
    last_error.store(u64(r.error()));
}
void begin() {
    turns = errors = last_error = arrived = 0;
    over = false;
}

void configures(u64 which) {
    for (u64 n = 1; n <= kRounds; ++n) {
        together(n);
        note(configure(target, kSlotSpace, 0, choices[(n + which) & 1]));
    }
}
void schedules(u64 which) {
    for (u64 n = 1; n <= kRounds; ++n) {
        together(n);
        note(schedule(target, choices[(n + which) & 1], 1, 0));
    }
}
void binds(u64 which) {
    for (u64 n = 1; n <= kRounds; ++n) {
        together(n);
        note(bind(target, which == 0 ? 0 : choices[n & 1]), Errno::kBusy);
    }
}
void sets_registers(u64) {
    for (u64 n = 1; n <= kRounds; ++n) {
        together(n);
        Registers r{};
        r.rip = 0x1000 + n;
        note(set_registers(target, r));
    }
}
void gets_registers(u64) {
    for (u64 n = 1; n <= kRounds; ++n) {
        together(n);
        Registers r{};
        note(get_registers(target, r));
    }
}
void resumes(u64) {
    for (u64 n = 1; n <= kRounds; ++n) {
        together(2 * n - 1);
        (void)resume(target);
        together(2 * n);
    }
}
void spins(u64) {
    for (;;) asm volatile("pause");
}

// Runs the two bodies, one on this CPU and one on the last.
bool both(void (*here)(u64), void (*there)(u64)) {
    begin();
    Helper& a = start(here, 0);
    Helper& b = start(there, 1, {.cpu = far_cpu()});
    return until_done(a) && until_done(b) && errors.load() == 0 && turns.load() == 2 * kRounds;
}

}  // namespace

KTEST(two_that_configure_one_thread_both_do, none) {
    target = make(kTypeThread);
    for (Slot& c : choices) c = make(kTypeEndpoint);
    KCHECK(both(configures, configures));
    KDONE(code(configure(target, kSlotSpace, 0)));
    for (Slot c : choices) KCHECK(lock_info(c).ok());
}

KTEST(two_that_schedule_one_thread_both_do, none) {
    target = make(kTypeThread);
    for (Slot& c : choices) c = make(kTypeSched, 10);
    KCHECK(both(schedules, schedules));
    for (Slot c : choices) KCHECK(sched_used(c).ok());
}

KTEST(two_that_bind_one_thread_leave_it_whole, none) {
    target = make(kTypeThread);
    for (Slot& c : choices) c = make(kTypeNotification);
    KCHECK(both(binds, binds));
    KDONE(code(bind(target, 0)));
    // Neither notification is bound any more.
    for (Slot c : choices) {
        KDONE(code(bind(target, c)));
        KDONE(code(bind(target, 0)));
    }
}

KTEST(registers_are_read_while_they_are_set, none) {
    target = make(kTypeThread);
    KDONE(code(configure(target, kSlotSpace, 0)));
    KCHECK(both(sets_registers, gets_registers));
    Registers r{};
    KDONE(code(get_registers(target, r)));
    KCHECK(r.rip == 0x1000 + kRounds);
}

KTEST(a_thread_that_is_deleted_while_it_is_resumed_is_gone, none) {
    target = slot();
    begin();
    Helper& other = start(resumes, 0, {.cpu = far_cpu()});
    for (u64 n = 1; n <= kRounds; ++n) {
        KDONE(code(create(pool(), kTypeThread, target)));
        KDONE(code(configure(target, kSlotSpace, 0)));
        Registers r{};
        r.rip = u64(&spins);
        r.rflags = 0x202;
        KDONE(code(set_registers(target, r)));
        KDONE(code(schedule(target, kSlotSched, 1, 0)));
        together(2 * n - 1);
        for (volatile u64 left = n * 7 % 400; left != 0; left = left - 1) {
        }
        KDONE(code(remove(target)));
        together(2 * n);
    }
    KCHECK(until_done(other));
}

namespace {

void answers(u64) {
    Message m;
    Result<void> r = receive(endpoint, m);
    while (!over.load()) {
        if (!r.ok()) return note(r);
        for (volatile u64 left = m.words[0] % 7 * 60; left != 0; left = left - 1) {
        }
        m = message(0, m.words[0] + 1);
        r = reply_receive(endpoint, m);
    }
}

}  // namespace

KTEST_CPUS(an_answer_to_a_caller_that_gives_up_just_now_is_no_error, none) {
    begin();
    endpoint = make(kTypeEndpoint);
    Helper& server = start(answers, 0, {.cpu = cpu});
    for (u64 n = 0; n < 4 * kRounds; ++n) {
        Message m = message(1, n);
        const Result<void> r = call_soon(endpoint, m, 1 + n % 13 * 3'000);
        KCHECK(r.ok() ? m.words[0] == n + 1 : r.error() == Errno::kTimedOut);
        KCHECK(errors.load() == 0);
    }
    over = true;
    Message m = message(1, 0);
    (void)call_soon(endpoint, m, kMillisecond);
    KDONE(code(remove(endpoint)));
    (void)server;
}

namespace {

std::atomic<u64> ended_with, calls_ended;

void calls_each(u64) {
    for (u64 n = 1; n <= kRounds / 4; ++n) {
        Message m = message(1, 5);
        const auto r = call(endpoint, m);
        ended_with.store(r.ok() ? 1 : u64(r.error()));
        calls_ended.store(n);
        while (arrived.load() < 4 * n) yield();
    }
}
void saves(u64) {
    for (u64 n = 1; n <= kRounds / 4; ++n) {
        Message m;
        if (!receive(endpoint, m).ok()) return;
        together(2 * n - 1);
        if (!reply_save(saved).ok()) (void)reply(message(0));
        together(2 * n);
    }
}

}  // namespace

// The caller is either saved and ended with the Reply, or not saved and answered; it is never forgotten.
KTEST(a_caller_is_not_forgotten_in_a_reply_that_ends, none) {
    begin();
    calls_ended = 0;
    endpoint = make(kTypeEndpoint);
    saved = slot();
    (void)start(calls_each, 0);
    Helper& server = start(saves, 0, {.cpu = far_cpu()});
    for (u64 n = 1; n <= kRounds / 4; ++n) {
        KDONE(code(create(pool(), kTypeReply, saved)));
        together(2 * n - 1);
        for (volatile u64 left = n * 5 % 200; left != 0; left = left - 1) {
        }
        KDONE(code(remove(saved)));
        KCHECK(until([&] { return calls_ended.load() == n; }));
        KCHECK(ended_with.load() == 1 || ended_with.load() == u64(Errno::kIdRm));
        together(2 * n);
    }
    KCHECK(until_done(server));
}

namespace {

// Revokes the pool that it is made from, which also contains a thread of another CPU: the call is not finished in one
// step, and its own thread ends.
void ends_itself(u64 sub) {
    for (;;) (void)revoke(sub);
}
bool start_of(Slot sub, void (*body)(u64), u64 n, u64 cpu) {
    const Slot t = slot(), memory = make(kTypeMemory, 0x4000);
    const u64 stack = kAreaStart + n * 0x10'0000, page = stack + 0x8'0000;
    if (!map(kSlotSpace, memory, stack, 0, 0x4000, kReadRight | kWriteRight).ok()) return false;
    if (!create(sub, kTypeThread, t).ok() || !configure(t, kSlotSpace, page).ok()) return false;
    Registers r{};
    r.rip = u64(body);
    r.rsp = stack + 0x4000 - 8;
    r.rdi = sub;
    r.fs_base = page;
    r.rflags = 0x202;
    return set_registers(t, r).ok() && schedule(t, kSlotSched, kDefaultPriority - 1, cpu).ok() && resume(t).ok();
}

}  // namespace

KTEST(a_thread_that_revokes_itself_leaves_nothing, none) {
    for (u64 n = 0; n < 20; ++n) {
        const Slot sub = make(kTypePool, 256 << 10);
        KCHECK(start_of(sub, spins, 2 * n, far_cpu()));
        KCHECK(start_of(sub, ends_itself, 2 * n + 1, 0));
        KCHECK(until([&] { return used_of(sub) == 0; }));
        KDONE(code(remove(sub)));
    }
}

// A request of another CPU that stops a thread may be carried out in a call of the thread itself, which is not over yet when
// it is resumed.
namespace {

std::atomic<u64> own_slot, own_calls;

void changes_itself(u64) {
    while (own_slot == 0) yield();
    for (u64 n = 0; !over; ++n, own_calls = n)
        errors.fetch_add(raw_call(kThreadFastpaths, own_slot, n % 2 == 0 ? 0 : kFastAll) != 0);
}

}  // namespace

KTEST(a_thread_that_is_stopped_in_its_own_call_runs_once, none) {
    begin();
    own_slot = own_calls = 0;
    Helper& h = start(changes_itself, 0, {.cpu = far_cpu()});
    own_slot = h.thread;
    for (u64 round = 0; round < 10'000; ++round) {
        KDONE(code(suspend(h.thread)));
        KDONE(code(resume(h.thread)));
    }
    const u64 before = own_calls;
    KCHECK(until([&] { return own_calls > before + 10; }));
    over = true;
    KCHECK(until_done(h) && errors == 0);
}

}  // namespace ktest
