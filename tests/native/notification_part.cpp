// SPDX-License-Identifier: MIT
// Notifications: bits that accumulate, which waiter is woken, threads that wait for messages and signals at once, and
// races between a signal and a wait. Also interrupt lines bound to notifications.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

std::atomic<u64> got_bits, got_label, turns;
std::atomic<i64> got_error;
void wait_once(u64 s) {
    Message m;
    got_error = code(receive(s, m));
    got_label = m.label();
    got_bits = m.badge;
}
void reset() {
    got_bits = got_label = turns = 0;
    got_error = 1;
}

}  // namespace

KTEST(signal_before_the_wait, none) {
    Slot n = make(kTypeNotification);
    KDONE(raw_call(kSignal, n, 6));
    Message m;
    KDONE(code(receive(n, m, kNonBlocking)));
    KCHECK(m.badge == 6 && m.tag == make_tag(kLabelSignal, 0));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, n));
}
KTEST_CPUS(signal_wakes_who_waits, none) {
    reset();
    Slot n = make(kTypeNotification);
    Helper& h = start(wait_once, n, {.cpu = cpu});
    KCHECK(until_state(h, kStateWaiting));
    KDONE(raw_call(kSignal, n, 9));
    KCHECK(until_done(h) && got_error == 0 && got_bits == 9 && got_label == kLabelSignal);
}
KTEST(signals_merge, none) {
    Slot n = make(kTypeNotification);
    for (u64 bits : {u64{1}, u64{2}, u64{2}, u64{1} << 63}) KDONE(raw_call(kSignal, n, bits));
    Message m;
    KDONE(code(receive(n, m, kNonBlocking)));
    KCHECK(m.badge == (3 | u64{1} << 63));
}
KTEST(signal_with_the_badge, none) {
    Slot n = make(kTypeNotification), badged = derive(n, kSendRight, 0x30);
    KDONE(raw_call(kSignal, badged, 0));
    KDONE(raw_call(kSignal, badged, 1));
    Message m;
    KDONE(code(receive(n, m, kNonBlocking)));
    KCHECK(m.badge == 0x31);
}
KTEST(signal_of_nothing_wakes_nobody_wrongly, none) {
    Slot n = make(kTypeNotification);
    KDONE(raw_call(kSignal, n, 0));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, n));
}
KTEST_CPUS(signals_wake_one_each, none) {
    static std::atomic<u64> woken;
    static auto wait = [](u64 s) {
        Message m;
        if (receive(s, m).ok()) woken = woken + 1;
    };
    woken = 0;
    Slot n = make(kTypeNotification);
    for (u64 i = 0; i < 4; ++i) {
        Helper& h = start(+wait, n, {.cpu = cpu});
        KCHECK(until_state(h, kStateWaiting));
    }
    for (u64 i = 1; i <= 4; ++i) {
        KDONE(raw_call(kSignal, n, 1));
        KCHECK(until([&] { return woken == i; }));
        sleep(kMillisecond / 2);
        KCHECK(woken == i);
    }
}
KTEST_CPUS(signal_wakes_the_highest_first, none) {
    static std::atomic<u64> first;
    static auto wait = [](u64 number) {
        Message m;
        if (!receive(first >> 32, m).ok()) return;
        u64 expected = first & ~u64{0xff};
        (void)first.compare_exchange_strong(expected, expected | number);
    };
    Slot n = make(kTypeNotification);
    first = u64{n} << 32;
    for (u64 priority : {5, 9, 7}) {
        Helper& h = start(+wait, priority, {.priority = priority, .cpu = cpu});
        KCHECK(until_state(h, kStateWaiting));
    }
    KDONE(raw_call(kSignal, n, 1));
    KCHECK(until([] { return (first & 0xff) != 0; }) && (first & 0xff) == 9);
}

// --- Bound notifications: a receive at an endpoint waits for both

namespace {
Helper& bound_receiver(Slot e, Slot n, u64 cpu) {
    reset();
    Helper& h = start(wait_once, e, {.cpu = cpu, .start = false});
    if (auto r = bind(h.thread, n); !r.ok()) note_result("bind", code(r), "success", __FILE_NAME__, __LINE__);
    (void)resume(h.thread);
    return h;
}
}  // namespace

KTEST_CPUS(bound_receive_takes_a_signal, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    Helper& h = bound_receiver(e, n, cpu);
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kSignal, n, 4));
    KCHECK(until_done(h) && got_error == 0 && got_label == kLabelSignal && got_bits == 4);
    KREFUSED(kAgain, raw_call(kSend | kNonBlocking, e));
}
KTEST_CPUS(bound_receive_takes_a_message, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    Helper& h = bound_receiver(e, n, cpu);
    KCHECK(until_state(h, kStateReceiving));
    KDONE(code(send(e, message(55), kNonBlocking)));
    KCHECK(until_done(h) && got_error == 0 && got_label == 55);
}
KTEST(bound_receive_takes_what_is_there, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    KDONE(raw_call(kThreadBind, kSlotThread, n));
    KDONE(raw_call(kSignal, n, 8));
    Message m;
    KDONE(code(receive(e, m, kNonBlocking)));
    KCHECK(m.label() == kLabelSignal && m.badge == 8);
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
    KDONE(raw_call(kSignal, n, 16));
    m = {};
    KDONE(code(reply_receive(e, m, kNonBlocking)));
    KCHECK(m.label() == kLabelSignal && m.badge == 16);
}
KTEST_CPUS(bound_server_gets_calls_and_signals, none) {
    static std::atomic<u64> bits, calls;
    static auto serve = [](u64 e) {
        Message m;
        for (auto r = receive(e, m); r.ok();) {
            if (m.label() == kLabelSignal) {
                bits = bits + m.badge;
                r = receive(e, m);
            } else {
                calls = calls + 1;
                r = reply_receive(e, m);
            }
        }
    };
    bits = calls = 0;
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    Helper& h = start(+serve, e, {.cpu = cpu, .start = false});
    KDONE(raw_call(kThreadBind, h.thread, n));
    KDONE(raw_call(kThreadResume, h.thread));
    for (u64 i = 0; i < 100; ++i) {
        Message m = message(1, i);
        KDONE(code(call(e, m)));
        KCHECK(m.words[0] == i);
        u64 before = bits;
        KDONE(raw_call(kSignal, n, 1));
        KCHECK(until([&] { return bits == before + 1; }));
    }
    KCHECK(calls == 100);
}
KTEST(unbound_notification_is_anybodys, none) {
    Slot n = make(kTypeNotification);
    KDONE(raw_call(kThreadBind, kSlotThread, n));
    KDONE(raw_call(kThreadBind, kSlotThread, 0));
    KDONE(raw_call(kSignal, n, 1));
    KDONE(raw_call(kReceive | kNonBlocking, n));
    KDONE(raw_call(kThreadBind, kSlotThread, n));
}
KTEST(notification_of_a_thread_that_ended, none) {
    Slot t = make(kTypeThread), n = make(kTypeNotification);
    KDONE(raw_call(kThreadBind, t, n));
    KDONE(raw_call(kDelete, t));
    KDONE(raw_call(kSignal, n, 1));
    KDONE(raw_call(kReceive | kNonBlocking, n));
}
KTEST(bind_where_somebody_waits, bind_free) {
    reset();
    Slot t = make(kTypeThread), n = make(kTypeNotification);
    Helper& h = start(wait_once, n);
    KCHECK(until_state(h, kStateWaiting));
    KREFUSED(kBusy, raw_call(kThreadBind, t, n));
}
KTEST_CPUS(deleted_while_bound, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    Helper& h = bound_receiver(e, n, cpu);
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kDelete, n));
    KCHECK(state_of(h.thread) == kStateReceiving);
    KDONE(code(send(e, message(5), kNonBlocking)));
    KCHECK(until_done(h) && got_label == 5);
}

// --- Races: no bit is lost, and none is received twice

namespace {
std::atomic<u64> sum;
u64 rounds;
void collect(u64 s) {
    Message m;
    for (u64 seen = 0; seen < rounds;) {
        if (!receive(s, m).ok()) return;
        u64 bits = u64(__builtin_popcountll(m.badge));
        seen += bits;
        sum = sum + bits;
    }
}
// Each bit is signalled again only after it was received, so their number is exact.
void signal_race(u64 cpu, bool bound) {
    rounds = 300;
    sum = 0;
    Slot n = make(kTypeNotification), e = make(kTypeEndpoint);
    Helper& h = start(collect, bound ? e : n, {.cpu = cpu, .start = false});
    if (bound) KDONE(raw_call(kThreadBind, h.thread, n));
    KDONE(raw_call(kThreadResume, h.thread));
    for (u64 sent = 0; sent < rounds; sent += 3) {
        for (u64 bit : {1, 2, 4}) KDONE(raw_call(kSignal, n, bit));
        KCHECK(until([&] { return sum == sent + 3; }));
    }
    KCHECK(until_done(h));
}
}  // namespace

KTEST_CPUS(signals_and_waits_race, none) { signal_race(cpu, false); }
KTEST_CPUS(signals_and_bound_receives_race, none) { signal_race(cpu, true); }
KTEST_CPUS(signals_and_timeouts_race, none) {
    // Waits that time out just when the signal comes: it is either received or still pending.
    static std::atomic<u64> taken;
    static std::atomic<bool> stop;
    static auto wait = [](u64 s) {
        Message m;
        while (!stop)
            if (receive_soon(s, m, 20'000).ok()) taken = taken + 1;
    };
    taken = 0;
    stop = false;
    Slot n = make(kTypeNotification);
    Helper& h = start(+wait, n, {.cpu = cpu});
    for (u64 i = 1; i <= 60; ++i) {
        KDONE(raw_call(kSignal, n, 1));
        KCHECK(until([&] { return taken == i; }));
    }
    stop = true;
    KDONE(raw_call(kSignal, n, 1));
    KCHECK(until_done(h));
}

// --- Interrupts. User mode cannot trigger these lines; tested are the errors of binding them, and their independence.

KTEST(irq_of_an_ended_notification_is_free_again, none) {
    Slot line = derive(kSlotIrq, kAllRights, 7), n = make(kTypeNotification), m = make(kTypeNotification);
    KDONE(raw_call(kIrqBind, line, n, 1));
    KDONE(raw_call(kDelete, n));
    KDONE(raw_call(kIrqBind, line, m, 1));
    KDONE(raw_call(kIrqBind, line, 0, 0));
}
KTEST(irq_lines_are_apart, none) {
    Slot a = derive(kSlotIrq, kAllRights, 7), b = derive(kSlotIrq, kAllRights, 6), n = make(kTypeNotification);
    KDONE(raw_call(kIrqBind, a, n, 1));
    KDONE(raw_call(kIrqBind, b, n, 2));
    KDONE(raw_call(kIrqBind, a, 0, 0));
    KDONE(raw_call(kIrqAck, b));
    KDONE(raw_call(kIrqBind, b, 0, 0));
}

}  // namespace ktest
