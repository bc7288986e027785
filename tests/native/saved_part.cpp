// SPDX-License-Identifier: MIT
// Servers that save whom they owe an answer with the same call that receives, and answer saved callers with it; servers
// with a bound notification; answers with all registers.
#include "abi/trace.hpp"
#include "tests/native/redirected.hpp"

extern "C" {
u64 ktest_saved_bases[2];
}

namespace ktest {
namespace {

constexpr u64 kMany = 20;
std::atomic<u64> done_calls, bad_calls, stop_now;

// Calls that must come back with their own number, changed.
void call_for_ever(u64 to) {
    for (u64 i = 0; !stop_now; ++i) {
        Message m = message(1, i);
        if (!call(to, m).ok() || m.words[0] != (i ^ 0x5000)) bad_calls = bad_calls + 1;
        done_calls = done_calls + 1;
    }
}
bool is_signal(const Message& m) { return m.label() == kLabelSignal; }
Message answer_for(bool trap, u64 word) { return trap ? message(kResume, word + 1) : message(0, word ^ 0x5000); }

struct Owed {
    bool any = false, trap = false;
    u64 word = 0;
};
Owed owed_of(const Message& m) {
    return {true, m.label() == kLabelSyscall, m.label() == kLabelSyscall ? m.words[3] : m.words[0]};
}

Slot replies[2];
std::atomic<u64> signals_seen, trapped, trapped_near, trapped_far;
constexpr u64 kFarWord = u64{1} << 40;  // where the words of the second client start

void count_trap(const Owed& owed) {
    if (!owed.trap) return;
    trapped = trapped + 1;
    std::atomic<u64>& mine = owed.word < kFarWord ? trapped_near : trapped_far;
    mine = mine + 1;
}

// Whoever calls is saved, and answered when the next call comes: with two callers and two objects, each receive saves one
// and answers the other.
void serve_saving(u64 e) {
    Owed saved[2], now;
    Message m;
    auto r = receive(e, m);
    for (u64 n = 0; r.ok();) {
        if (is_signal(m)) {
            signals_seen = signals_seen + 1;
            r = receive(e, m);  // nothing is owed
            continue;
        }
        now = owed_of(m);
        count_trap(now);
        if (stop_now && now.trap) {
            m = message(kStop);
            r = reply_receive(e, m);
            continue;
        }
        Owed& other = saved[n ^ 1];
        saved[n] = now;
        if (other.any) {
            m = answer_for(other.trap, other.word);
            other.any = false;
            r = answer_receive(replies[n ^ 1], e, m, replies[n]);
            n ^= 1;
            // What was saved is in replies[n ^ 1] now.
        } else {
            r = save_receive(replies[n], e, m);
            n ^= 1;
        }
    }
}
// Saves, and answers it with the next call of its own.
void serve_twice(u64 e) {
    Message m;
    auto r = receive(e, m);
    while (r.ok()) {
        if (is_signal(m)) {
            signals_seen = signals_seen + 1;
            r = receive(e, m);
            continue;
        }
        const Owed now = owed_of(m);
        count_trap(now);
        if (!reply_save(replies[0]).ok()) return;
        m = now.trap && stop_now ? message(kStop) : answer_for(now.trap, now.word);
        r = answer_receive(replies[0], e, m);
    }
}
// Answers at once.
void serve_plainly(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok();) {
        if (is_signal(m)) {
            signals_seen = signals_seen + 1;
            r = receive(e, m);
            continue;
        }
        const Owed now = owed_of(m);
        count_trap(now);
        m = now.trap && stop_now ? message(kStop) : answer_for(now.trap, now.word);
        r = reply_receive(e, m);
    }
}

struct Play {
    Slot e = make(kTypeEndpoint), n = 0;
    Helper* server;
    Play(void (*body)(u64), bool bound, u64 cpu) {
        for (Slot& r : replies) r = make(kTypeReply);
        done_calls = bad_calls = stop_now = signals_seen = trapped = trapped_near = trapped_far = 0;
        server = &start(body, e, {.priority = 20, .cpu = cpu, .start = false});
        if (bound) {
            n = make(kTypeNotification);
            if (!bind(server->thread, n).ok()) note_failure("bind", __FILE_NAME__, __LINE__);
        }
        (void)resume(server->thread);
        if (!until_state(*server, kStateReceiving)) note_failure("receiving", __FILE_NAME__, __LINE__);
    }
};

void with_messages(void (*body)(u64), bool bound, u64 cpu, u64 callers) {
    Play p(body, bound, cpu);
    for (u64 i = 0; i < callers; ++i) (void)start(call_for_ever, p.e, {.cpu = i % 2 ? far_cpu() : 0});
    KCHECK(until([&] {
        if (p.n) (void)signal(p.n, 1);
        return done_calls >= callers * kMany && (!p.n || signals_seen != 0);
    }));
    stop_now = 1;
    KCHECK(bad_calls == 0 && (!bound || signals_seen != 0));
}
void with_traps(void (*body)(u64), bool bound, u64 cpu) {
    Play p(body, bound, cpu);
    Helper& a = client(p.e, 1, 0);
    Helper& b = client(p.e, kFarWord, far_cpu());
    // Both have trapped: on a slow host one may make all of the calls before the other has made its first.
    KCHECK(until([&] {
        if (p.n) (void)signal(p.n, 1);
        return trapped > 4 * kMany && trapped_near > 1 && trapped_far > 1 && (!p.n || signals_seen != 0);
    }));
    KCHECK(!bound || signals_seen != 0);
    stop_now = 1;
    if (body == serve_saving) return;
    KCHECK(until_stopped(a) && until_stopped(b));
    // What each got was the answer to its last.
    Registers r;
    KDONE(code(get_registers(a.thread, r)));
    KCHECK(r.rdi > 1 && r.rdi < kFarWord);
}

}  // namespace

KTEST_CPUS(saved_messages_are_answered, none) { with_messages(serve_twice, false, cpu, 2); }
KTEST_CPUS(saved_messages_are_answered_by_a_bound_server, none) { with_messages(serve_twice, true, cpu, 2); }
KTEST_CPUS(messages_are_saved_and_others_answered, none) { with_messages(serve_saving, false, cpu, 3); }
KTEST_CPUS(messages_are_saved_and_others_answered_bound, none) { with_messages(serve_saving, true, cpu, 3); }
KTEST_CPUS(saved_traps_are_answered, none) { with_traps(serve_twice, false, cpu); }
KTEST_CPUS(saved_traps_are_answered_by_a_bound_server, none) { with_traps(serve_twice, true, cpu); }
KTEST_CPUS(traps_are_saved_and_others_answered, none) { with_traps(serve_saving, false, cpu); }
KTEST_CPUS(traps_are_saved_and_others_answered_bound, none) { with_traps(serve_saving, true, cpu); }
KTEST_CPUS(messages_to_a_bound_server, none) { with_messages(serve_plainly, true, cpu, 2); }
KTEST_CPUS(traps_to_a_bound_server, none) { with_traps(serve_plainly, true, cpu); }

// --- No signal is lost to a bound server that is busy with calls, and none of its calls

namespace {
std::atomic<u64> heard;
void serve_and_hear(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok();) {
        if (is_signal(m)) {
            heard = heard | m.badge;
            r = receive(e, m);
        } else {
            m = answer_for(m.label() == kLabelSyscall, m.label() == kLabelSyscall ? m.words[3] : m.words[0]);
            trapped = trapped + 1;
            r = reply_receive(e, m);
        }
    }
}
}  // namespace
KTEST_CPUS(bound_server_misses_no_signal, none) {
    Play p(serve_and_hear, true, cpu);
    (void)client(p.e, 1, cpu, 3);
    KCHECK(until([] { return trapped > 10; }));
    for (u64 i = 0; i < 60; ++i) {
        heard = 0;
        KDONE(code(signal(p.n, 1 + i)));
        for (u64 end = now() + kPatience; heard != 1 + i;) {
            if (now() > end) KCHECK(heard == 1 + i);
            if (cpu == 0) sleep(kMillisecond / 20);
        }
    }
    KCHECK(until([before = trapped.load()] { return trapped > before + 10; }));
}

// --- Errors

// One of two signallers finds the server waiting when the other's receive has taken the bits of both: it waits again, and
// what its call did before the wait is not done twice.
KTEST(signals_meet_on_the_way_to_a_call_that_saves, none) {
    static auto signal_for_ever = [](u64 n) {
        while (!stop_now) {
            (void)signal(n, 1);
            for (volatile u64 i = 0; i < 200; i = i + 1) {
            }
        }
    };
    Play p(serve_saving, true, 0);
    for (u64 i = 0; i < 3; ++i) (void)start(call_for_ever, p.e);
    if (far_cpu() == 0) return;
    (void)start(+signal_for_ever, p.n, {.cpu = 1});
    (void)start(+signal_for_ever, p.n, {.cpu = far_cpu()});
    KCHECK(until([&] { return done_calls >= 20'000 && signals_seen > 1000; }));
    stop_now = 1;
    KCHECK(bad_calls == 0);
}
KTEST(save_flag_with_nothing_owed, reply_owed) {
    Slot e = make(kTypeEndpoint);
    utcb().save = make(kTypeReply);
    KREFUSED(kBadF, raw_call(kReceive | u64{kSaveOwed} | kNonBlocking, e));
    KREFUSED(kBadF, raw_call(kReplyReceive | u64{kSaveOwed} | kNonBlocking, e));
}
KTEST(answer_flag_with_nothing_saved, reply_owed) {
    Slot e = make(kTypeEndpoint);
    utcb().answer = make(kTypeReply);
    KREFUSED(kBadF, raw_call(kReplyReceive | u64{kAnswerSaved} | kNonBlocking, e));
}
KTEST(save_flag_where_one_is_saved, reply_object_free) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    Message m;
    for (u64 i = 0; i < 2; ++i) {
        (void)client(e, i + 1, 0);
        KDONE(code(receive_soon(e, m)));
        if (i == 0) KDONE(code(reply_save(r)));
    }
    utcb().save = r;
    KREFUSED(kBusy, raw_call(kReceive | u64{kSaveOwed} | kNonBlocking, e));
    KREFUSED(kBusy, raw_call(kReplyReceive | u64{kSaveOwed} | kNonBlocking, e));
    // Both are still owed their answers.
    KDONE(code(reply(message(kResume, 50))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 50);
    KDONE(code(reply_to(r, message(kResume, 60))));
}
KTEST(saving_flags_only_where_they_belong, call_flags) {
    Slot e = make(kTypeEndpoint);
    utcb().save = utcb().answer = make(kTypeReply);
    for (u64 call : {u64{kCall}, u64{kSend}})
        for (u64 flag : {u64{kSaveOwed}, u64{kAnswerSaved}, u64{kSaveOwed} | kAnswerSaved})
            KREFUSED(kInval, raw_call(call | flag | kNonBlocking, e));
    KREFUSED(kInval, raw_call(kReceive | u64{kAnswerSaved} | kNonBlocking, e));
}
KTEST(saving_flags_need_a_page, saved_needs_utcb) {
    static std::atomic<i64> got[2];
    static auto without_page = [](u64 e) {
        got[0] = raw_call(kReceive | u64{kSaveOwed} | kNonBlocking, e);
        got[1] = raw_call(kReplyReceive | u64{kAnswerSaved} | kNonBlocking, e);
    };
    got[0] = got[1] = 0;
    Helper& h = start(+without_page, make(kTypeEndpoint), {.with_utcb = false});
    KCHECK(until_done(h));
    KCHECK(got[0] == -i64(Errno::kInval) && got[1] == -i64(Errno::kInval));
}
namespace {
// The call with each wrong Reply: nothing there, of another type, without the right.
template <class F>
void wrong_reply(u64 right, F&& call) {
    const Slot nothing = slot(), wrong = make(kTypeNotification), less = derive(make(kTypeReply), kAllRights & ~right);
    KREFUSED(kBadF, call(nothing));
    KREFUSED(kInval, call(wrong));
    KREFUSED(kPerm, call(less));
}
}  // namespace
KTEST(save_flag_with_a_wrong_capability, none) {
    static Slot e;
    e = make(kTypeEndpoint);
    (void)client(e, 5, 0);
    Message m;
    KDONE(code(receive_soon(e, m)));
    wrong_reply(kReceiveRight, [](Slot s) {
        utcb().save = s;
        return raw_call(kReceive | u64{kSaveOwed} | kNonBlocking, e);
    });
    KDONE(code(reply(message(kStop))));
}
KTEST(answer_flag_with_a_wrong_capability, none) {
    static Slot e;
    e = make(kTypeEndpoint);
    wrong_reply(kSendRight, [](Slot s) {
        utcb().answer = s;
        return raw_call(kReplyReceive | u64{kAnswerSaved} | kNonBlocking, e);
    });
}
KTEST(saved_and_answered_in_one_object, none) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    (void)client(e, 5, 0);
    Message m;
    KDONE(code(receive_soon(e, m)));
    m = message(kResume, 6);
    utcb().timeout = kPatience;
    KDONE(code(answer_receive(r, e, m, r, kTimed)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 6);
    KDONE(code(reply_save(r)));  // it is empty
}
// An invalid answer changes nothing: neither is what is owed saved.
KTEST(invalid_answer_saves_nothing, thread_pc) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply), other = make(kTypeReply);
    Message m;
    (void)client(e, 5, 0);
    KDONE(code(receive_soon(e, m)));
    KDONE(code(reply_save(r)));
    (void)client(e, 7, 0);
    KDONE(code(receive_soon(e, m)));
    m = message(kResumeAt, 0, ~u64{0}, 0);
    KCHECK(code(answer_receive(r, e, m, other, kNonBlocking)) == -i64(Errno::kInval));
    KDONE(code(reply_save(other)));  // still owed here
    KDONE(code(reply_to(r, message(kResume, 9))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 9);
}
KTEST_CPUS(saved_caller_that_is_gone, none) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    Helper& h = client(e, 5, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(reply_save(r)));
    KDONE(code(suspend(h.thread)));
    m = message(kResume, 6);
    KCHECK(code(answer_receive(r, e, m, 0, kNonBlocking)) == -i64(Errno::kBadF));
    KDONE(code(resume(h.thread)));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 5);
    // Saved, then nothing came.
    KCHECK(code(save_receive(r, make(kTypeNotification), m, kNonBlocking)) == -i64(Errno::kAgain));
    KDONE(code(reply_to(r, message(kStop))));
}

// --- Answers with registers

namespace {
Slot saved_at;
std::atomic<u64> rounds;
// Each answer gives the client another rdi-to-be, and other bases.
void serve_registers(u64 e) {
    Message m;
    auto r = receive(e, m);
    for (; r.ok(); rounds = rounds + 1) {
        if (m.label() != kLabelSyscall) return;
        Registers& u = utcb().registers;
        u.rip = m.words[1];
        u.rsp = m.words[2];
        u.rflags = 0x202;
        u.gs_base = u64(&ktest_saved_bases[rounds % 2]);
        u.fs_base = u64(&ktest_saved_bases[(rounds + 1) % 2]);
        if (rounds != 0 && (m.words[3] != 100 + (rounds + 1) % 2 || m.words[4] != 100 + rounds % 2))
            bad_calls = bad_calls + 1;
        if (stop_now) {
            m = message(kStop);
            r = reply_receive(e, m);
            continue;
        }
        m = message(kResumeWith);
        if (rounds % 3 == 2 && reply_save(saved_at).ok())
            r = answer_receive(saved_at, e, m);
        else
            r = reply_receive(e, m);
    }
}
}  // namespace
KTEST_CPUS(answers_with_registers_and_bases, none) {
    ktest_saved_bases[0] = 100;
    ktest_saved_bases[1] = 101;
    rounds = bad_calls = stop_now = 0;
    saved_at = make(kTypeReply);
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve_registers, e, {.priority = 20});
    KCHECK(until_state(server, kStateReceiving));
    Helper& h = start_at(u64(&ktest_base_client), 0,
                         {.cpu = cpu, .handler = e, .flags = kRedirect, .start = false, .with_utcb = false});
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    r.gs_base = r.fs_base = u64(&ktest_saved_bases[0]);
    KDONE(code(set_registers(h.thread, r)));
    KDONE(code(resume(h.thread)));
    KCHECK(until([] { return rounds > 200; }));
    KCHECK(bad_calls == 0);
    stop_now = 1;
    KCHECK(until_stopped(h));
}
KTEST(answers_with_bad_registers, thread_pc) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    (void)client(e, 5, 0);
    Message m;
    KDONE(code(receive_soon(e, m)));
    utcb().registers = {};
    utcb().registers.rip = ~u64{0} << 47;
    m = message(kResumeWith);
    KCHECK(raw_call(kReplyReceive, e, make_tag(kResumeWith, 0)) == -i64(Errno::kInval));
    KDONE(code(reply_save(r)));
    KCHECK(code(answer_receive(r, e, m)) == -i64(Errno::kInval));
    KDONE(code(reply_to(r, message(kResume, 6))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 6);
}
KTEST(answers_with_bad_bases, thread_tls) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    (void)client(e, 5, 0);
    Message m;
    KDONE(code(receive_soon(e, m)));
    utcb().registers = {};
    utcb().registers.fs_base = ~u64{0} << 47;
    KCHECK(raw_call(kReplyReceive, e, make_tag(kResumeWith, 0)) == -i64(Errno::kInval));
    KDONE(code(reply_save(r)));
    m = message(kResumeWith);
    KCHECK(code(answer_receive(r, e, m)) == -i64(Errno::kInval));
    KDONE(code(reply_to(r, message(kStop))));
}

// --- The fastpaths are taken

namespace {
using abi::trace::Path;
using abi::trace::Reason;
alignas(8) abi::trace::Record records[4096];
struct Taken {
    u64 fast, slow;
};
// Replies while the server has answered so many traps.
Taken replies_of(void (*body)(u64), bool bound, u64 cpu, u64 client_cpu) {
    Play p(body, bound, cpu);
    (void)client(p.e, 1, client_cpu);
    if (!until([] { return trapped > 20; })) note_failure("trapped", __FILE_NAME__, __LINE__);
    (void)raw_call(kTraceControl, kSlotSystem, kTraceStart);
    for (u64 before = trapped; trapped < before + 60;) sleep(kMillisecond / 10);
    (void)raw_call(kTraceControl, kSlotSystem, kTraceStop);
    Taken t{0, 0};
    for (i64 n; (n = raw_call(kTraceControl, kSlotSystem, kTraceRead, u64(records), sizeof records)) > 0;)
        for (i64 i = 0; i < n / i64{sizeof records[0]}; ++i) {
            const auto& one = records[i];
            if (one.path == Path::kFastReply && one.reason == Reason::kDone) ++t.fast;
            if (one.path == Path::kSlowReply) ++t.slow;
        }
    return t;
}
void expect_fast(void (*body)(u64), bool bound, u64 cpu, u64 client_cpu) {
    if ((boot_info().fastpaths & kFastAll) != kFastAll) return;
    const Taken t = replies_of(body, bound, cpu, client_cpu);
    // Where the two are on two CPUs, the server may find the next trap queued.
    if (!(t.fast > 40 && t.slow * 10 <= t.fast)) {
        print("  {} fast, {} slow\n", t.fast, t.slow);
        KCHECK(t.fast > 40 && t.slow * 10 <= t.fast);
    }
}
}  // namespace
KTEST(bound_server_answers_fast, none) { expect_fast(serve_plainly, true, 0, 0); }
KTEST(saved_callers_are_answered_fast, none) { expect_fast(serve_twice, false, 0, 0); }
KTEST(saved_callers_are_answered_fast_by_a_bound_server, none) { expect_fast(serve_twice, true, 0, 0); }

// ---- In which order those run that are ready

namespace {
std::atomic<u64> order_count, order[2];
std::atomic<bool> order_over;
void came(u64 number) {
    if (const u64 at = order_count.fetch_add(1); at < 2) order[at] = number;
}
}  // namespace

// Whoever is answered goes before the threads of its priority that are ready, or behind them, saved or not. A time slice that
// ends changes that, and a host that stops the CPU ends it: most of some tries count, and some such rounds if need be.
KTEST(answered_callers_go_before_or_behind_others, none) {
    static Slot e, go;
    e = make(kTypeEndpoint);
    go = make(kTypeNotification);
    const Slot saved = make(kTypeReply);
    constexpr u64 kBelow = kDefaultPriority - 1, kTries = 21, kRounds = 20;
    order_count = 0;
    order_over = false;
    Helper& caller = start(
        [](u64) {
            for (Message m = message(0); !order_over && call(e, m).ok();) came(1);
        },
        0, {.priority = kBelow});
    Helper& other = start(
        [](u64) {
            for (Message m; !order_over && receive(go, m).ok();) came(2);
        },
        0, {.priority = kBelow});
    for (u64 how = 0; how < 4; ++how) {
        const bool save = how & 1;
        const u64 flags = how & 2 ? u64{abi::native::kBehind} : 0;
        bool right = false;
        for (u64 round = 0; round < kRounds && !right; ++round) {
            u64 first = 0;
            for (u64 n = 0; n < kTries; ++n) {
                Message m;
                KDONE(code(receive_soon(e, m)));
                KCHECK(until_state(other, kStateWaiting));
                order_count = 0;
                KDONE(code(signal(go, 1)));
                if (save) KDONE(code(reply_save(saved)));
                KDONE(code(save ? reply_to(saved, message(0), flags) : reply(message(0), flags)));
                KCHECK(until([] { return order_count == 2; }));
                first += order[0] == 1;
            }
            right = flags ? first <= kTries / 2 : first > kTries / 2;
        }
        KCHECK(right);
    }
    Message m;
    KDONE(code(receive_soon(e, m)));
    order_over = true;
    KDONE(code(reply(message(0))));
    KDONE(code(signal(go, 1)));
    KCHECK(until_done(caller) && until_done(other));
}

}  // namespace ktest
