// SPDX-License-Identifier: MIT
// Waiting for messages: not at all, for a limited time, until cancelled; the order of waiters; replies that are owed,
// saved and dropped.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

std::atomic<i64> told;
std::atomic<u64> told_word;
constexpr i64 kNotYet = 1;

void ask(u64 e) {
    Message m = message(1, 5);
    i64 r = code(call(e, m));
    told_word = m.words[0];
    told = r;
}
void ask_soon(u64 e) {
    Message m = message(1, 5);
    told = code(call_soon(e, m, 40 * kMillisecond));
}
void send_one(u64 e) { told = code(send(e, message(1, 5))); }
void take_one(u64 e) {
    Message m;
    i64 r = code(receive(e, m));
    told_word = m.words[0];
    told = r;
}
void echo_forever(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
    }
}

}  // namespace

// --- Without waiting

KTEST(send_without_a_receiver, nonblocking_send) {
    Slot e = make(kTypeEndpoint);
    utcb().timeout = kMillisecond;
    for (u64 call : {kCall, kSend}) KREFUSED(kAgain, raw_call(call | kNonBlocking | kTimed, e));
}
KTEST(receive_without_a_sender, nonblocking_receive) {
    Slot e = make(kTypeEndpoint);
    utcb().timeout = kMillisecond;
    for (u64 call : {kReceive, kReplyReceive}) KREFUSED(kAgain, raw_call(call | kNonBlocking | kTimed, e));
}
KTEST(wait_without_a_signal, nonblocking_receive) {
    Slot n = make(kTypeNotification);
    utcb().timeout = kMillisecond;
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking | kTimed, n));
}
KTEST_CPUS(nonblocking_finds_who_waits, none) {
    Slot e = make(kTypeEndpoint);
    told = kNotYet;
    Helper& r = start(take_one, e, {.cpu = cpu});
    KCHECK(until_state(r, kStateReceiving));
    KDONE(code(send(e, message(1, 9), kNonBlocking)));
    KCHECK(until_done(r) && told == 0 && told_word == 9);
    Helper& s = start(send_one, e, {.cpu = cpu});
    KCHECK(until_state(s, kStateSending));
    Message m;
    KDONE(code(receive(e, m, kNonBlocking)));
    KCHECK(m.words[0] == 5 && until_done(s));
}
// A call that was sent waits for its reply nevertheless.
KTEST_CPUS(nonblocking_call_waits_for_its_answer, none) {
    Slot e = make(kTypeEndpoint);
    static auto late = [](u64 endpoint) {
        Message m;
        if (!receive(endpoint, m).ok()) return;
        u64 end = now() + 2 * kMillisecond;
        while (now() < end) {
        }
        (void)reply(message(0, 44));
    };
    Helper& h = start(+late, e, {.cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    Message m = message(1);
    KDONE(code(call(e, m, kNonBlocking)));
    KCHECK(m.words[0] == 44);
}

// --- With a timeout

namespace {
void times_out(u64 call, Slot s) {
    for (u64 ns : {u64{0}, u64{1000}, 2 * kMillisecond}) {
        utcb().timeout = ns;
        u64 before = now();
        KREFUSED(kTimedOut, raw_call(call | kTimed, s));
        KCHECK(now() - before >= ns);
    }
}
}  // namespace

KTEST(receive_times_out, none) { times_out(kReceive, make(kTypeEndpoint)); }
KTEST(reply_receive_times_out, none) { times_out(kReplyReceive, make(kTypeEndpoint)); }
KTEST(send_times_out, none) { times_out(kSend, make(kTypeEndpoint)); }
KTEST(call_times_out_unsent, none) { times_out(kCall, make(kTypeEndpoint)); }
KTEST(wait_times_out, none) { times_out(kReceive, make(kTypeNotification)); }
KTEST_CPUS(call_times_out_unanswered, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start(take_one, e, {.cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    times_out(kCall, e);
}
KTEST_CPUS(late_answer_finds_nobody, reply_owed) {
    Slot e = make(kTypeEndpoint);
    told = kNotYet;
    Helper& h = start(ask_soon, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(until_done(h) && told == -i64(Errno::kTimedOut));
    KREFUSED(kBadF, raw_call(kReply, 0, 0));
}
KTEST_CPUS(longest_timeout_does_not_overflow, none) {
    Slot e = make(kTypeEndpoint);
    static auto wait_long = [](u64 endpoint) {
        Message m;
        told = code(receive_soon(endpoint, m, ~u64{0}));
    };
    told = kNotYet;
    Helper& h = start(+wait_long, e, {.cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    sleep(kMillisecond);
    KCHECK(state_of(h.thread) == kStateReceiving);
    KDONE(raw_call(kSend | kNonBlocking, e));
    KCHECK(until_done(h) && told == 0);
}
KTEST_CPUS(timeout_of_an_earlier_wait_is_over, none) {
    Slot e = make(kTypeEndpoint);
    static auto two_waits = [](u64 endpoint) {
        Message m;
        if (!receive_soon(endpoint, m, 40 * kMillisecond).ok()) return;
        told = code(receive(endpoint, m));
    };
    told = kNotYet;
    Helper& h = start(+two_waits, e, {.cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kSend | kNonBlocking, e));
    sleep(50 * kMillisecond);
    KCHECK(state_of(h.thread) == kStateReceiving && told == kNotYet);
    KDONE(raw_call(kSend | kNonBlocking, e));
    KCHECK(until_done(h) && told == 0);
}

// --- Cancelled: suspended at each point, and resumed

namespace {
void cancelled(void (*body)(u64), Type type, ThreadState waiting, u64 cpu) {
    told = kNotYet;
    Slot s = make(type);
    Helper& h = start(body, s, {.cpu = cpu});
    KCHECK(until_state(h, waiting));
    KDONE(raw_call(kThreadSuspend, h.thread));
    KCHECK(state_of(h.thread) == kStateInactive && told == kNotYet);
    // It is no longer in the queue.
    KREFUSED(kAgain,
             raw_call((type == kTypeEndpoint && waiting == kStateReceiving ? kSend : kReceive) | kNonBlocking, s));
    KDONE(raw_call(kThreadResume, h.thread));
    KCHECK(until_done(h) && told == -i64(Errno::kCanceled));
}
}  // namespace

KTEST_CPUS(suspend_a_receiver, none) { cancelled(take_one, kTypeEndpoint, kStateReceiving, cpu); }
KTEST_CPUS(suspend_a_sender, none) { cancelled(send_one, kTypeEndpoint, kStateSending, cpu); }
KTEST_CPUS(suspend_a_caller, none) { cancelled(ask, kTypeEndpoint, kStateSending, cpu); }
KTEST_CPUS(suspend_a_waiter, none) { cancelled(take_one, kTypeNotification, kStateWaiting, cpu); }
KTEST_CPUS(suspend_one_that_awaits_its_answer, reply_owed) {
    told = kNotYet;
    Slot e = make(kTypeEndpoint);
    Helper& h = start(ask, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(raw_call(kThreadSuspend, h.thread));
    KCHECK(state_of(h.thread) == kStateInactive);
    KREFUSED(kBadF, raw_call(kReply, 0, 0));
    KDONE(raw_call(kThreadResume, h.thread));
    KCHECK(until_done(h) && told == -i64(Errno::kCanceled));
}
KTEST_CPUS(suspend_one_with_a_saved_answer, reply_owed) {
    told = kNotYet;
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    Helper& h = start(ask, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(raw_call(kReplySave, r));
    KDONE(raw_call(kThreadSuspend, h.thread));
    KREFUSED(kBadF, raw_call(kReplyTo, r, 0));
    KDONE(raw_call(kThreadResume, h.thread));
    KCHECK(until_done(h) && told == -i64(Errno::kCanceled));
}
KTEST_CPUS(suspend_and_resume_many_times, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start(echo_forever, e, {.cpu = cpu});
    for (int i = 0; i < 40; ++i) {
        KCHECK(until_state(h, kStateReceiving));
        Message m = message(0, i);
        KDONE(code(call_soon(e, m)));
        KCHECK(m.words[0] == u64(i));
        KDONE(raw_call(kThreadSuspend, h.thread));
        // Its receive has failed, which ends its loop: it starts again.
        Registers r;
        KDONE(code(get_registers(h.thread, r)));
        r.rip = u64(&echo_forever);
        r.rdi = e;
        r.rsp = stack_top(h) - 8;
        KDONE(code(set_registers(h.thread, r)));
        KDONE(raw_call(kThreadResume, h.thread));
    }
}

// --- The order of waiters

namespace {
constexpr u64 kOrdered[] = {5, 9, 2, 9, 12, 2, 5};
constexpr u64 kExpected[] = {4, 1, 3, 0, 6, 2, 5};  // indices of kOrdered: by priority, then by time
std::atomic<u64> order_count;
std::atomic<u64> order[8];
struct Waiter {
    Slot at;
    u64 number;
};
Waiter waiters[8];
void send_number(u64 w) { (void)send(waiters[w].at, message(1, waiters[w].number)); }
void call_number(u64 w) {
    Message m = message(1, waiters[w].number);
    (void)call(waiters[w].at, m);
}
void note_order(u64 w) {
    Message m;
    if (!receive(waiters[w].at, m).ok()) return;
    order[m.words[0] & 7] = waiters[w].number;
    order_count = order_count + 1;
}
void start_ordered(void (*body)(u64), Slot s, ThreadState waiting, u64 cpu) {
    for (u64 i = 0; i < std::size(kOrdered); ++i) {
        waiters[i] = {s, i};
        Helper& h = start(body, i, {.priority = kOrdered[i], .cpu = cpu});
        KCHECK(until_state(h, waiting));
    }
}
}  // namespace

KTEST_CPUS(senders_by_priority_then_time, none) {
    Slot e = make(kTypeEndpoint);
    start_ordered(send_number, e, kStateSending, cpu);
    for (u64 number : kExpected) {
        Message m;
        KDONE(code(receive(e, m, kNonBlocking)));
        KCHECK(m.words[0] == number);
    }
}
KTEST_CPUS(callers_by_priority_then_time, none) {
    Slot e = make(kTypeEndpoint);
    start_ordered(call_number, e, kStateSending, cpu);
    for (u64 number : kExpected) {
        Message m = message(0);
        KDONE(code(reply_receive(e, m, kNonBlocking)));
        KCHECK(m.words[0] == number);
    }
    KDONE(raw_call(kReply, 0, 0));
}
KTEST_CPUS(receivers_by_priority_then_time, none) {
    Slot e = make(kTypeEndpoint);
    order_count = 0;
    start_ordered(note_order, e, kStateReceiving, cpu);
    for (u64 i = 0; i < std::size(kExpected); ++i) KDONE(code(send(e, message(1, i), kNonBlocking)));
    KCHECK(until([] { return order_count == std::size(kExpected); }));
    for (u64 i = 0; i < std::size(kExpected); ++i) KCHECK(order[i] == kExpected[i]);
}
KTEST_CPUS(priority_changed_while_waiting, none) {
    Slot e = make(kTypeEndpoint);
    start_ordered(send_number, e, kStateSending, cpu);
    Helper& last = start(send_number, 7, {.priority = 1, .cpu = cpu, .start = false});
    waiters[7] = {e, 7};
    KDONE(raw_call(kThreadResume, last.thread));
    KCHECK(until_state(last, kStateSending));
    KDONE(raw_call(kThreadSchedule, last.thread, kSlotSched, 20, cpu));
    Message m;
    KDONE(code(receive(e, m, kNonBlocking)));
    KCHECK(m.words[0] == 7);
    KDONE(code(receive(e, m, kNonBlocking)));
    KCHECK(m.words[0] == kExpected[0]);
}

// --- Replies

KTEST(answer_without_a_caller, reply_owed) {
    Slot r = make(kTypeReply);
    KREFUSED(kBadF, raw_call(kReply, 0, 0));
    KREFUSED(kBadF, raw_call(kReplyTo, r, 0));
}
KTEST(save_without_a_caller, reply_owed) {
    Slot r = make(kTypeReply);
    KREFUSED(kBadF, raw_call(kReplySave, r));
}
KTEST_CPUS(answer_comes_once, reply_owed) {
    Slot e = make(kTypeEndpoint);
    told = kNotYet;
    Helper& h = start(ask, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(reply(message(0, 21))));
    KREFUSED(kBadF, raw_call(kReply, 0, 0));
    KCHECK(until_done(h) && told == 0 && told_word == 21);
}
KTEST_CPUS(saved_answer_is_given_later, reply_owed) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    told = kNotYet;
    Helper& h = start(ask, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(raw_call(kReplySave, r));
    KREFUSED(kBadF, raw_call(kReply, 0, 0));
    sleep(kMillisecond);
    KCHECK(told == kNotYet && state_of(h.thread) == kStateAwaitingReply);
    KDONE(code(reply_to(r, message(0, 22))));
    KCHECK(until_done(h) && told == 0 && told_word == 22);
    KREFUSED(kBadF, raw_call(kReplyTo, r, 0));
}
KTEST_CPUS(saved_answer_by_another_thread, none) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply), n = make(kTypeNotification);
    static Slot reply_slot;
    static auto answer = [](u64 go) {
        Message m;
        if (receive(go, m).ok()) (void)reply_to(reply_slot, message(0, 33));
    };
    reply_slot = r;
    (void)start(+answer, n, {.cpu = cpu});
    told = kNotYet;
    Helper& h = start(ask, e, {.cpu = far_cpu()});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(raw_call(kReplySave, r));
    KDONE(raw_call(kSignal, n, 1));
    KCHECK(until_done(h) && told == 0 && told_word == 33);
}
KTEST(save_into_a_full_one, reply_object_free) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    Message m;
    (void)start(ask, e);
    KDONE(code(receive_soon(e, m)));
    KDONE(raw_call(kReplySave, r));
    (void)start(ask, e);
    KDONE(code(receive_soon(e, m)));
    KREFUSED(kBusy, raw_call(kReplySave, r));
    // One caller is still saved, the other is still owed a reply.
    KDONE(raw_call(kReply, 0, 0));
    KDONE(raw_call(kReplyTo, r, 0));
    KDONE(raw_call(kReplyTo, r, 0) == -i64(Errno::kBadF) ? 0 : -1);
}
KTEST_CPUS(many_saved_answers_in_any_order, none) {
    Slot e = make(kTypeEndpoint);
    Slot saved[6];
    for (Slot& r : saved) {
        r = make(kTypeReply);
        (void)start(ask, e, {.cpu = cpu});
        Message m;
        KDONE(code(receive_soon(e, m)));
        KDONE(raw_call(kReplySave, r));
    }
    for (u64 i : {3, 0, 5, 1, 4, 2}) {
        told = kNotYet;
        KDONE(code(reply_to(saved[i], message(0, i + 50))));
        KCHECK(until([] { return told == 0; }) && told_word == i + 50);
    }
}
// A receive at an endpoint gives up the caller that is still owed a reply, even if no message arrives.
KTEST_CPUS(receive_gives_up_the_caller, none) {
    Slot e = make(kTypeEndpoint);
    told = kNotYet;
    Helper& h = start(ask, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
    KCHECK(until_done(h) && told == -i64(Errno::kCanceled));
}
KTEST_CPUS(reply_receive_serves_many, none) {
    Slot e = make(kTypeEndpoint);
    Helper& server = start(echo_forever, e, {.cpu = cpu});
    KCHECK(until_state(server, kStateReceiving));
    static auto client = [](u64 endpoint) {
        for (u64 i = 0; i < 200; ++i) {
            Message m = message(7, i, i * 3);
            if (!call(endpoint, m).ok() || m.words[0] != i || m.words[1] != i * 3)
                note_failure("echo", __FILE_NAME__, 0);
        }
    };
    Helper* clients[4];
    for (u64 i = 0; i < 4; ++i) clients[i] = &start(+client, e, {.cpu = i & 1 ? far_cpu() : 0});
    for (Helper* c : clients) KCHECK(until_done(*c));
}
KTEST_CPUS(call_chain_of_three, none) {
    static Slot next[3];
    static auto pass_on = [](u64 i) {
        Message m;
        for (auto r = receive(next[i], m); r.ok(); r = reply_receive(next[i], m)) {
            m.words[0] += 1;
            if (i < 2) (void)call(next[i + 1], m);
            m.tag = make_tag(0, 1);
        }
    };
    for (u64 i = 0; i < 3; ++i) next[i] = make(kTypeEndpoint);
    for (u64 i = 0; i < 3; ++i) {
        Helper& h = start(+pass_on, i, {.cpu = i == 1 ? cpu : 0});
        KCHECK(until_state(h, kStateReceiving));
    }
    for (u64 i = 0; i < 20; ++i) {
        Message m = message(0, 100 * i);
        KDONE(code(call(next[0], m)));
        KCHECK(m.words[0] == 100 * i + 3);
    }
}
KTEST(call_to_oneself_through_others_queue, none) {
    // No other thread receives: the thread's own call times out, and leaves nothing behind.
    Slot e = make(kTypeEndpoint);
    Message m = message(1);
    KCHECK(code(call_soon(e, m, kMillisecond)) == -i64(Errno::kTimedOut));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
}
KTEST_CPUS(two_pairs_do_not_mix, none) {
    Slot a = make(kTypeEndpoint), b = make(kTypeEndpoint);
    (void)start(echo_forever, a, {.cpu = cpu});
    (void)start(echo_forever, b, {.cpu = cpu});
    static auto client = [](u64 endpoint) {
        for (u64 i = 0; i < 300; ++i) {
            Message m = message(endpoint, endpoint + i);
            if (!call(endpoint, m).ok() || m.words[0] != endpoint + i) note_failure("mixed up", __FILE_NAME__, 0);
        }
    };
    Helper &x = start(+client, a), &y = start(+client, b, {.cpu = far_cpu()});
    KCHECK(until_done(x) && until_done(y));
}

}  // namespace ktest
