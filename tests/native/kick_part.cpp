// SPDX-License-Identifier: MIT
// Kicks: a thread's next way to user mode becomes a message to its handler, wherever the thread is, and none is lost.
#include "tests/native/redirected.hpp"

namespace ktest {
namespace {

constexpr u64 kBadge = 77;
std::atomic<u64> counter;

Helper& spinner(Slot e, u64 cpu, u64 priority = kDefaultPriority) {
    counter = 0;
    return start_at(u64(&ktest_spinner), u64(&counter),
                    {.priority = priority, .cpu = cpu, .handler = derive(e, kSendRight, kBadge)});
}
bool runs() {
    const u64 before = counter;
    return until([&] { return counter > before + 2; });
}
bool is_kick(const Message& m) { return m.tag == make_tag(kLabelKick, 3) && m.words[0] == 0; }

}  // namespace

KTEST_CPUS(kick_of_a_running_thread, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = spinner(e, cpu, 3);
    KCHECK(runs());
    for (int again = 0; again < 3; ++again) {
        KDONE(code(kick(h.thread)));
        Message m;
        KDONE(code(receive_soon(e, m)));
        KCHECK(is_kick(m) && m.badge == kBadge && state_of(h.thread) == kStateAwaitingReply);
        KCHECK(m.words[1] - u64(&ktest_spinner) < 16 && m.words[2] == stack_top(h) - 8);
        Registers r;
        KDONE(code(get_registers(h.thread, r)));
        KCHECK(r.rip == m.words[1] && r.rdi == u64(&counter));
        const u64 then = counter;
        sleep(kMillisecond);
        KCHECK(counter == then);
        KDONE(code(reply(message(kResume))));
        KCHECK(runs());
    }
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
}
KTEST_CPUS(kick_of_one_that_waits_for_an_answer_keeps_the_answer, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = client(e, 5, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 5);
    const u64 pc = m.words[1];
    // Several are one.
    for (int i = 0; i < 3; ++i) KDONE(code(kick(h.thread)));
    sleep(kMillisecond);
    KCHECK(state_of(h.thread) == kStateAwaitingReply);
    KDONE(code(reply(message(kResume, 55))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m) && m.words[1] == pc);
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.rax == 55 && r.rip == pc);
    // Not a system call: no result.
    KDONE(code(reply(message(kResume, 66))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 55);
    KDONE(code(reply(message(kStop))));
}
KTEST_CPUS(kick_of_one_whose_trap_is_not_received_yet, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = client(e, 5, cpu);
    KCHECK(until_state(h, kStateSending));
    KDONE(code(kick(h.thread)));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall);
    KDONE(code(reply(message(kResume, 9))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m));
    KDONE(code(reply(message(kResume))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 9);
}
KTEST_CPUS(kick_of_a_saved_caller, none) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    Helper& h = client(e, 5, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(kick(h.thread)));
    sleep(kMillisecond / 5);
    KDONE(code(reply_save(r)));
    KDONE(code(kick(h.thread)));
    KDONE(code(reply_to(r, message(kResume, 8))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m));
    KDONE(code(reply(message(kResume))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 8);
}
KTEST_CPUS(kick_of_an_inactive_thread_has_no_effect, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(&ktest_client), 5, {.cpu = cpu, .handler = e, .flags = kRedirect, .start = false});
    KDONE(code(kick(h.thread)));
    KDONE(code(resume(h.thread)));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall);
    KDONE(code(reply(message(kStop))));
    KDONE(code(kick(h.thread)));
    KDONE(code(resume(h.thread)));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall);
}
KTEST_CPUS(kick_without_a_handler_has_no_effect, none) {
    counter = 0;
    Helper& h = start_at(u64(&ktest_spinner), u64(&counter), {.priority = 3, .cpu = cpu});
    KCHECK(runs());
    KDONE(code(kick(h.thread)));
    KCHECK(runs());
    // The handler has gone in the meantime: the same.
    Slot e = make(kTypeEndpoint);
    Helper& other = client(e, 5, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(kick(other.thread)));
    KDONE(code(set_handler(other.thread, 0)));
    KDONE(code(reply(message(kResume))));
    KCHECK(until_stopped(other));  // at its next system call
}
namespace {
std::atomic<u64> got;
void wait_for_signal(u64 n) {
    Message m;
    got = receive(n, m).ok() ? m.badge : 99;
}
void wait_for_message(u64 e) {
    Message m;
    got = receive(e, m).ok() ? m.words[0] : 99;
}
}  // namespace
KTEST_CPUS(kick_of_one_that_waits_for_signals, none) {
    got = 0;
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    Helper& h = start(wait_for_signal, n, {.cpu = cpu, .handler = e});
    KCHECK(until_state(h, kStateWaiting));
    KDONE(code(kick(h.thread)));
    sleep(kMillisecond / 2);
    KCHECK(state_of(h.thread) == kStateWaiting);
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
    KDONE(code(signal(n, 5)));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m) && got == 0);
    KDONE(code(reply(message(kResume))));
    KCHECK(until_done(h) && got == 5);
}
KTEST_CPUS(kick_of_one_that_waits_for_a_message, none) {
    static auto send_one = [](u64 to) {
        Message m = message(1, 6);
        (void)call(to, m);
    };
    got = 0;
    Slot e = make(kTypeEndpoint), to = make(kTypeEndpoint);
    Helper& h = start(wait_for_message, to, {.cpu = cpu, .handler = e});
    KCHECK(until_state(h, kStateReceiving));
    KDONE(code(kick(h.thread)));
    sleep(kMillisecond / 5);
    (void)start(+send_one, to, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m) && got == 0);
    KDONE(code(reply(message(kResume))));
    KCHECK(until_done(h) && got == 6);
}
KTEST_CPUS(kick_of_itself, none) {
    static Slot self;
    static auto kick_itself = [](u64) { got = 1 + u64(kick(self).ok()); };
    got = 0;
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+kick_itself, 0, {.cpu = cpu, .handler = e, .start = false});
    self = h.thread;
    KDONE(code(resume(h.thread)));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m) && got == 0);
    KDONE(code(reply(message(kResume))));
    KCHECK(until_done(h) && got == 2);
}
KTEST_CPUS(kick_answered_with_another_place, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = spinner(e, cpu, 3);
    KCHECK(runs());
    KDONE(code(kick(h.thread)));
    Message m;
    KDONE(code(receive_soon(e, m)));
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    std::atomic<u64> other{0};
    r.rdi = u64(&other);
    utcb().registers = r;
    KDONE(code(reply(message(kResumeWith))));
    KCHECK(until([&] { return other > 10; }));
    KDONE(code(kick(h.thread)));
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m));
    KDONE(code(reply(message(kResumeAt, 0, u64(&ktest_stop), stack_top(h) - 32))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelException && m.words[1] == u64(&ktest_stop) && m.words[2] == stack_top(h) - 32);
    KDONE(code(reply(message(kStop))));
}
KTEST_CPUS(kick_that_is_not_answered_comes_again, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = spinner(e, cpu, 3);
    KCHECK(runs());
    KDONE(code(kick(h.thread)));
    Message m;
    for (int again = 0; again < 3; ++again) {
        // Not received, then received, then given up by the next receive.
        if (again == 0) KCHECK(until_state(h, kStateSending));
        if (again != 0) KDONE(code(receive_soon(e, m)));
        if (again != 0) KCHECK(is_kick(m));
        if (again == 2)
            KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
        else
            KDONE(code(suspend(h.thread)));
        KCHECK(until_stopped(h));
        KDONE(code(resume(h.thread)));
    }
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m));
    KDONE(code(reply(message(kStop))));
    // Answered: that was it.
    KDONE(code(resume(h.thread)));
    KCHECK(runs());
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
}
// Its handler would run on its budget: it is told when there is some again.
KTEST_CPUS(kick_of_a_thread_without_budget_left, none) {
    Slot e = make(kTypeEndpoint), sched = make(kTypeSched, 5);
    KDONE(code(configure_sched(sched, (1u << boot_info().cpus) - 1, 5, kMillisecond, 20 * kMillisecond)));
    counter = 0;
    Helper& h = start_at(u64(&ktest_spinner), u64(&counter), {.priority = 3, .cpu = cpu, .handler = e, .sched = sched});
    KCHECK(until([&] { return sched_used(sched).ok() && sched_used(sched).value() >= kMillisecond; }));
    sleep(kMillisecond);
    KDONE(code(kick(h.thread)));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_kick(m));
}
KTEST_CPUS(configuring_forgets_a_kick, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = client(e, 5, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(kick(h.thread)));
    sleep(kMillisecond / 5);
    KDONE(code(reply(message(kStop))));
    KDONE(code(configure(h.thread, kSlotSpace, 0, e, kRedirect)));
    KDONE(code(resume(h.thread)));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall);
    KDONE(code(reply(message(kStop))));
}

// --- Races: a server that answers by the fastpaths, a client that calls without end, and kicks

namespace {

std::atomic<u64> kicks, served, stop_now;
void serve(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
        if (is_kick(m)) {
            kicks = kicks + 1;
            m = message(kResume);
        } else if (m.label() == kLabelSyscall) {
            served = served + 1;
            m = message(stop_now ? kStop : kResume, m.words[3] + 1);
        } else {
            m = message(0);
        }
    }
}
Slot move_whom;
void move_for_ever(u64) {
    for (u64 i = 0; !stop_now; ++i) (void)raw_call(kThreadSchedule, move_whom, kSlotSched, 3, i % boot_info().cpus);
}
void suspend_for_ever(u64) {
    while (!stop_now) {
        (void)suspend(move_whom);
        (void)resume(move_whom);
    }
}

// Each kick is seen before the next: none is lost, and none comes twice.
void race(u64 server_cpu, u64 client_cpu, void (*beside)(u64), u64 rounds) {
    kicks = served = stop_now = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve, e, {.priority = 20, .cpu = server_cpu});
    KCHECK(until_state(server, kStateReceiving));
    Helper& c = client(e, 1, client_cpu, 3);
    move_whom = c.thread;
    Helper* other = beside ? &start(beside, 0, {.priority = 3, .cpu = far_cpu()}) : nullptr;
    for (u64 i = 1; i <= rounds; ++i) {
        for (;;) {
            KDONE(code(kick(c.thread)));
            // One that finds it suspended has no effect.
            if (until([&] { return kicks >= i; }, beside == suspend_for_ever ? kMillisecond : kPatience)) break;
            KCHECK(beside == suspend_for_ever);
        }
        if (beside != suspend_for_ever) KCHECK(kicks == i);
    }
    KCHECK(until([&] { return served > rounds; }));
    stop_now = 1;
    if (other) KCHECK(until_done(*other));
}

}  // namespace

KTEST_CPUS(kicks_race_with_answers_of_this_cpu, none) { race(cpu, cpu, nullptr, 40); }
KTEST_CPUS(kicks_race_with_answers_across, none) { race(far_cpu() - cpu, cpu, nullptr, 40); }
KTEST_CPUS(kicks_race_with_moves, none) { race(cpu, cpu, move_for_ever, 30); }
KTEST_CPUS(kicks_race_with_suspension, none) { race(cpu, 0, suspend_for_ever, 20); }
KTEST_CPUS(kicks_race_with_deletion, none) {
    kicks = served = stop_now = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve, e, {.priority = 20, .cpu = cpu});
    KCHECK(until_state(server, kStateReceiving));
    for (u64 i = 0; i < 12; ++i) {
        Helper& c = client(e, 1, i % 2 ? cpu : 0, 3);
        KCHECK(until([&] { return served > 20 * i; }));
        KDONE(code(kick(c.thread)));
        KDONE(code(remove(c.thread)));
    }
    KCHECK(until_state(server, kStateReceiving));  // it has not ended
}

}  // namespace ktest
