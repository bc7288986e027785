// SPDX-License-Identifier: MIT
// Random programs over the native interface, one for each seed: six threads that call, serve, send, signal, save replies, hand
// capabilities over, delete endpoints, suspend, move, reschedule and delete one another; one of them is redirected, so that
// its system calls are messages to whoever receives. When nothing goes on any more the main thread ends waits by force.
//     random FIRST COUNT [log]
//
// On one CPU every thread has priorities of its own, and timeouts are so long, and so far apart, that they end only where
// nothing else goes on (with a clock that counts instructions, `-icount`): a seed is one program with one outcome, and the
// log must be the same with and without fastpaths (cli/random_test.cpp compares). On more CPUs what must hold of any outcome
// is checked: a message is received as often as its sender was told, an answer is that to the call, nobody is answered twice,
// every thread comes to its end.
//     seed N ok / seed N FAIL what / outcome N COUNT HASH (one CPU: of the log) / log lines / random done
#include <atomic>

#include "tests/random/seeded.hpp"

namespace {

using namespace native;
using seeded::Random;

constexpr u64 kThreads = 6, kRedirected = kThreads - 1, kEndpoints = 3, kNotifications = 2, kSteps = 40;
constexpr u64 kMessages = 512;       // that a thread can send
constexpr u64 kTimeout = 1'000'000;  // ns
constexpr u64 kLastCall = 1'000'000, kKicked = kLastCall + 1, kSecret = 0x5eed'0000'0000;

// Slots of a seed.
constexpr Slot kEndpointAt = 100, kNotificationAt = 110, kOwnAt = 200, kOwnSlots = 16;
constexpr Slot kTickAt = kNotificationAt + kNotifications;  // of the main thread
// Of a thread's own slots.
constexpr Slot kReplyAt = 0, kCopyAt = 4, kReceiveAt = 8;

enum class Fate : u8 { kNotSent, kUnderWay, kDelivered, kFailed };
struct Sent {
    std::atomic<Fate> fate;
    std::atomic<u8> received, answered;
};

struct Worker {
    Thread thread;
    u64 other_stack;
    Random random;
    u64 number, sent;
    u64 owes;  // the message that it has to answer, or 0
    bool owes_trap;
    u64 saved[2], saved_trap[2];
    std::atomic<u64> step;
    std::atomic<bool> done;
    std::atomic<bool> timed;    // in a call that may end by its timeout
    std::atomic<bool> deleted;  // by another; it is made anew for the next seed
    Sent messages[kMessages];
} workers[kThreads];

struct LogEntry {
    u64 what, value;
};
constexpr u64 kLogEntries = 1 << 14;
LogEntry entries[kLogEntries];
std::atomic<u64> logged{0};
std::atomic<bool> hurry{false};
bool one_cpu = true;
std::atomic<const char*> failure{nullptr};

void fail(const char* what) {
    const char* none = nullptr;
    failure.compare_exchange_strong(none, what);
}
// FNV-1a, by words. On one CPU only: there it is the outcome.
std::atomic<u64> hash{0};
void log(const Worker& w, u64 what, u64 value) {
    const LogEntry entry{w.number << 56 | w.step.load() << 32 | what, value};
    u64 n = logged.fetch_add(1);
    if (n < kLogEntries) entries[n] = entry;
    if (!one_cpu) return;
    constexpr u64 kPrime = 0x100'0000'01b3;
    // In one step, as another thread may log in between.
    for (u64 now = hash.load();;)
        if (hash.compare_exchange_weak(now, ((now ^ entry.what) * kPrime ^ entry.value) * kPrime)) break;
}

Slot own(const Worker& w, Slot which) { return kOwnAt + w.number * kOwnSlots + which; }

// --- Messages: word 0 names the message, the others follow from it.

u64 name_of(const Worker& w, u64 n) { return (w.number + 1) << 32 | n; }
Sent* sent_of(u64 name) {
    u64 number = (name >> 32) - 1, n = name & 0xffff'ffff;
    return number < kThreads && n < kMessages ? &workers[number].messages[n] : nullptr;
}

// What was received: a call or a send of another worker, a system call, or a signal.
void received(Worker& w, const Message& m) {
    w.owes = 0;
    w.owes_trap = false;
    log(w, 1, m.tag);
    log(w, 2, m.label() == kLabelSyscall ? m.words[0] : m.badge);
    if (m.label() == kLabelSignal) return;
    if (m.label() == kLabelSyscall) {
        w.owes_trap = true;
        w.owes = m.words[0] == kLastCall ? kLastCall : m.words[3];
        if (m.words[0] != kLastCall && m.words[0] != m.words[3] + 7) fail("a system call's registers");
        return;
    }
    if (m.label() == kLabelKick) {
        w.owes_trap = true;
        w.owes = kKicked;
        return;
    }
    Sent* s = sent_of(m.words[0]);
    if (!s) return fail("a message that nobody sent");
    if (s->received.fetch_add(1) != 0) fail("a message that came twice");
    u64 in_registers = m.size() < kRegisterWords ? m.size() : kRegisterWords;
    for (u64 i = 1; i < in_registers; ++i)
        if (m.words[i] != m.words[0] + i) return fail("words in registers");
    for (u64 i = kRegisterWords; i < m.size(); ++i)
        if (utcb().words[i - kRegisterWords] != m.words[0] + i) return fail("words in the UTCB");
    if (m.caps() != 0) (void)remove(own(w, kReceiveAt));
    log(w, 3, m.words[0]);
    if (m.label() == 1) w.owes = m.words[0];
}

Message answer_to(u64 owed, bool trap) {
    if (trap) return owed == kLastCall ? message(kStop) : message(kResume, owed * 3);  // of a kick: no result
    if (Sent* s = sent_of(owed)) s->answered.fetch_add(1);
    return message(0, owed ^ kSecret);
}

Message compose(Worker& w, u64 label, bool caps) {
    u64 name = name_of(w, w.sent++);
    u64 words = w.random.one_in(6) ? 1 + w.random.below(40) : 1 + w.random.below(kRegisterWords);
    Message m;
    m.tag = make_tag(label, words, caps && w.random.one_in(5));
    for (u64 i = 0; i < kRegisterWords; ++i) m.words[i] = name + i;
    for (u64 i = kRegisterWords; i < words; ++i) utcb().words[i - kRegisterWords] = name + i;
    utcb().caps[0] = kEndpointAt + w.random.below(kEndpoints);
    utcb().cap_rights[0] = kSendRight;
    return m;
}
// On one CPU: at least 20 ms, and with a part of each thread's own, so that sums of some threads' timeouts are not those of
// others. Two that end within the time that a step takes would end in an order that fastpaths decide.
u64 own_timeout(const Worker& w) { return kTimeout * (20 + w.number) + w.number * w.number * 37'000; }
u64 flags(Worker& w, bool may_not_block) {
    if (may_not_block && w.random.one_in(3)) return kNonBlocking;
    const u64 how = w.random.below(10);
    if (how > 2) return 0;
    // One of three may come to its end, each thread's at a time of its own.
    utcb().timeout = how == 0 ? (one_cpu ? own_timeout(w) : kTimeout * (1 + w.random.below(4))) : u64{1} << 60;
    w.timed.store(how == 0);
    return kTimed;
}
// Behind each call with flags(): the main thread waits for those that may end by themselves.
void back_from_call(Worker& w) {
    if (w.timed.exchange(false) && one_cpu) (void)signal(kTickAt, 1);
}

void make_a_call(Worker& w, Slot endpoint) {
    Message m = compose(w, 1, true);
    u64 name = m.words[0];
    Sent& s = *sent_of(name);
    s.fate.store(Fate::kUnderWay);
    auto r = call(endpoint, m, flags(w, true));
    back_from_call(w);
    s.fate.store(r.ok() ? Fate::kDelivered : Fate::kFailed);
    log(w, 10, r.ok() ? m.words[0] : u64(r.error()));
    if (r.ok() && m.words[0] != (name ^ kSecret)) fail("an answer to another call");
    if (r.ok() && s.answered.load() != 1) fail("an answer that was not given once");
}

void make_a_send(Worker& w, Slot endpoint) {
    Message m = compose(w, 2, false);
    Sent& s = *sent_of(m.words[0]);
    s.fate.store(Fate::kUnderWay);
    auto r = send(endpoint, m, flags(w, true));
    back_from_call(w);
    s.fate.store(r.ok() ? Fate::kDelivered : Fate::kFailed);
    log(w, 11, r.ok() ? 0 : u64(r.error()));
    // Told that it failed, it must not arrive; a cancellation may be told for one that has.
    if (!r.ok() && r.error() == Errno::kAgain && s.received.load() != 0) fail("a message that failed and arrived");
}

// Instead of an answer: what is owed is saved, or another is answered, or both, with the receive.
Result<void> receive_with_saved(Worker& w, Slot endpoint, Message& m) {
    const u64 n = w.random.below(2), other = n ^ 1, owed = std::exchange(w.owes, 0), trap = w.owes_trap;
    const bool answers = w.saved[other] != 0, saves = w.random.one_in(2) || !answers;
    if (answers) m = answer_to(std::exchange(w.saved[other], 0), w.saved_trap[other] != 0);
    const u64 how = flags(w, true);
    const Slot into = saves ? own(w, kReplyAt + n) : 0;
    auto r = answers ? answer_receive(own(w, kReplyAt + other), endpoint, m, into, how)
                     : save_receive(into, endpoint, m, how);
    back_from_call(w);
    // What has changed nothing says so; other errors are of the receive.
    if (saves && (r.ok() || (r.error() != Errno::kBusy && r.error() != Errno::kBadF))) {
        w.saved[n] = owed;
        w.saved_trap[n] = trap;
    }
    return r;
}

void serve(Worker& w, Slot endpoint) {
    Message m;
    utcb().receive[0] = own(w, kReceiveAt);
    auto r = receive(endpoint, m, flags(w, true));
    back_from_call(w);
    w.owes = 0;  // given up by the receive
    for (u64 more = w.random.below(6);; --more) {
        if (!r.ok()) {
            log(w, 12, u64(r.error()));
            return;
        }
        received(w, m);
        if (more == 0) break;
        if (w.owes == 0) {
            r = receive(endpoint, m, flags(w, true));
            back_from_call(w);
            continue;
        }
        if (w.random.one_in(4)) {
            r = receive_with_saved(w, endpoint, m);
            continue;
        }
        u64 owed = std::exchange(w.owes, 0);
        m = answer_to(owed, w.owes_trap);
        r = reply_receive(endpoint, m, flags(w, false));
        back_from_call(w);
    }
    if (w.owes == 0) return;
    switch (w.random.below(4)) {
        case 0: return;  // for later, or never
        case 1: {
            u64 n = w.random.below(2);
            auto kept = reply_save(own(w, kReplyAt + n));
            log(w, 13, kept.ok() ? 0 : u64(kept.error()));
            if (kept.ok()) {
                w.saved[n] = std::exchange(w.owes, 0);
                w.saved_trap[n] = w.owes_trap;
            }
            return;
        }
        default: {
            u64 owed = std::exchange(w.owes, 0);
            auto answered = reply(answer_to(owed, w.owes_trap));
            log(w, 14, answered.ok() ? 0 : u64(answered.error()));
        }
    }
}

void answer_saved(Worker& w) {
    u64 n = w.random.below(2);
    if (w.saved[n] == 0) return;
    u64 owed = std::exchange(w.saved[n], 0);
    auto r = reply_to(own(w, kReplyAt + n), answer_to(owed, w.saved_trap[n] != 0));
    log(w, 15, r.ok() ? 0 : u64(r.error()));
}

void with_another_thread(Worker& w) {
    Worker& other = workers[w.random.below(kThreads)];
    u64 how = w.random.below(5), cpu = w.random.below(cpus());
    const bool end = w.random.one_in(12);
    if (&other == &w) return;
    Result<void> r = lib::kOk;
    if (end) {
        // Wherever it is: what it sent may still come, what it was owed is lost, and whoever it owes an answer is told.
        // (In this order, as this thread may be deleted itself at any point.)
        if (!other.deleted.exchange(true)) {
            other.done.store(true);
            (void)signal(kTickAt, 1);
            other.timed.store(false);
            r = remove(other.thread.slot);
        }
    } else if (how == 0) {
        r = suspend(other.thread.slot);
        if (r.ok()) r = resume(other.thread.slot);
    } else if (how == 1) {
        r = schedule(other.thread.slot, kSlotSched, 2 + other.number + 8 * w.random.below(3), cpu);
    } else if (how == 2) {
        r = kick(other.thread.slot);
    } else if (how == 3) {
        if (other.number != kRedirected) return;
        r = set_handler(other.thread.slot, kEndpointAt + w.random.below(kEndpoints), 1 + w.random.below(9));
    } else {
        auto s = state(other.thread.slot);
        if (one_cpu) log(w, 16, s.ok() ? s.value() : 999);
    }
    // Two that resume the same thread: the second is told so.
    log(w, 17, r.ok() ? 0 : u64(r.error()));
}

void with_capabilities(Worker& w) {
    Slot endpoint = kEndpointAt + w.random.below(kEndpoints), copied = own(w, kCopyAt + w.random.below(3));
    switch (w.random.below(4)) {
        case 0: {
            auto r =
                copy(endpoint, copied, w.random.one_in(2) ? u64{kSendRight} : u64{kAllRights}, w.random.below(100));
            log(w, 20, r.ok() ? 0 : u64(r.error()));
            break;
        }
        case 1: {
            auto r = remove(copied);
            log(w, 21, r.ok() ? 0 : u64(r.error()));
            break;
        }
        case 2: {
            auto r = identify(copied);
            log(w, 22, r.ok() ? r.value() : u64(r.error()));
            break;
        }
        default: make_a_call(w, copied);  // may be empty, or without the right
    }
}

void with_endpoints(Worker& w) {
    Slot endpoint = kEndpointAt + w.random.below(kEndpoints);
    if (w.random.one_in(2)) {
        auto r = revoke(endpoint);
        log(w, 23, r.ok() ? 0 : u64(r.error()));
        return;
    }
    auto r = revoke(endpoint);
    if (r.ok()) r = remove(endpoint);
    log(w, 24, r.ok() ? 0 : u64(r.error()));
    r = create(kSlotPool, kTypeEndpoint, endpoint);
    log(w, 25, r.ok() ? 0 : u64(r.error()));
}

void with_notifications(Worker& w) {
    Slot n = kNotificationAt + w.random.below(kNotifications);
    if (w.random.one_in(3)) {
        Message m;
        auto r = receive(n, m, w.random.one_in(3) ? 0 : u64{kNonBlocking});
        log(w, 26, r.ok() ? m.badge : u64(r.error()));
    } else {
        auto r = signal(n, 1 + w.random.below(255));
        log(w, 27, r.ok() ? 0 : u64(r.error()));
    }
}

void work(u64 number) {
    Worker& w = workers[number];
    for (; w.step.load() < kSteps && !hurry.load() && w.sent + 8 < kMessages; w.step.store(w.step.load() + 1)) {
        Slot endpoint = kEndpointAt + w.random.below(kEndpoints);
        u64 what = w.random.below(32);
        if (what < 10)
            make_a_call(w, endpoint);
        else if (what < 20)
            serve(w, endpoint);
        else if (what < 22)
            make_a_send(w, endpoint);
        else if (what < 24)
            answer_saved(w);
        else if (what < 26)
            with_another_thread(w);
        else if (what < 28)
            with_capabilities(w);
        else if (what < 31)
            with_notifications(w);
        else
            with_endpoints(w);
    }
    w.done.store(true);
}

// Its system calls go to whoever receives; what comes back is three times what it asked, or nobody answered.
void redirected(u64 number) {
    Worker& w = workers[number];
    for (; w.step.load() < kSteps && !hurry.load(); w.step.store(w.step.load() + 1)) {
        u64 value = 100 + w.random.below(1000);
        i64 r = raw_call(value + 7, value, 2, 3, 4, 5, 6);
        log(w, 30, u64(r));
    }
    w.done.store(true);
    for (;;) (void)raw_call(kLastCall);
}

// --- A seed

u64 finished() {
    u64 n = 0;
    for (const Worker& w : workers) n += w.done.load();
    return n;
}

Result<void> set_up(u64 seed) {
    logged.store(0);
    hash.store(0xcbf2'9ce4'8422'2325);
    hurry.store(false);
    failure.store(nullptr);
    for (u64 i = 0; i < kEndpoints; ++i) TRY(create(kSlotPool, kTypeEndpoint, kEndpointAt + i));
    for (u64 i = 0; i < kNotifications; ++i) TRY(create(kSlotPool, kTypeNotification, kNotificationAt + i));
    for (u64 i = 0; i < kThreads; ++i) {
        Worker& w = workers[i];
        w.random.start(seed, i);
        w.number = i;
        w.sent = w.owes = 0;
        for (int n = 0; n < 2; ++n) w.saved[n] = w.saved_trap[n] = 0;
        w.step.store(0);
        w.done.store(false);
        w.timed.store(false);
        for (Sent& s : w.messages) {
            s.fate.store(Fate::kNotSent);
            s.received.store(0);
            s.answered.store(0);
        }
        for (u64 n = 0; n < 2; ++n) TRY(create(kSlotPool, kTypeReply, own(w, kReplyAt + n)));
        u64 priority = 2 + i + 8 * w.random.below(3), cpu = w.random.below(cpus());
        if (w.thread.slot == 0) {
            w.thread =
                TRY(make_thread(i == kRedirected ? redirected : work, i, {.priority = priority, .start = false}));
        } else {  // the same once more
            if (w.deleted.exchange(false)) {
                (void)remove(w.thread.slot);  // whose deletion was begun by one that was deleted itself
                TRY(create(kSlotPool, kTypeThread, w.thread.slot));
                // The one before may still be on its last instruction.
                if (w.other_stack == 0) w.other_stack = u64(TRY(map_new(kThreadStack)));
                std::swap(w.thread.stack, w.other_stack);
                w.thread.utcb = new_address(4096);
                TRY(configure(w.thread.slot, kSlotSpace, w.thread.utcb));
            }
            TRY(begin_with(w.thread, i == kRedirected ? redirected : work, i));
        }
        TRY(schedule(w.thread.slot, kSlotSched, priority, cpu));
    }
    // The endpoint of the redirected one is another in each program.
    Worker& r = workers[kRedirected];
    TRY(configure(r.thread.slot, kSlotSpace, 0, kEndpointAt + seed % kEndpoints, kRedirect));
    // Those that run already may have resumed others, or deleted them.
    for (Worker& w : workers)
        if (auto started = resume(w.thread.slot); !started.ok() && started.error() != Errno::kBusy && !w.deleted.load())
            return started;
    return lib::kOk;
}

// A suspended thread's system call that nobody has answered would be made again: it gets an error instead.
void skip_call(const Worker& w) {
    // Nor shall it tell of a kick for ever: being configured forgets it.
    (void)configure(w.thread.slot, kSlotSpace, 0, kEndpointAt, kRedirect);
    Registers r;
    if (!get_registers(w.thread.slot, r).ok()) return;
    constexpr u16 kSyscall = 0x050f;  // as it stands in memory
    if (*reinterpret_cast<const volatile u16*>(r.rip) != kSyscall) return;
    r.rip += sizeof kSyscall;
    r.rax = u64(-i64(Errno::kCanceled));
    (void)set_registers(w.thread.slot, r);
}

// Nothing goes on: whoever waits is told that it is over.
void end_waits() {
    for (Worker& w : workers) {
        if (w.done.load()) continue;
        (void)suspend(w.thread.slot);
        if (w.number == kRedirected) skip_call(w);
        (void)resume(w.thread.slot);
    }
}

bool somebody_timed() {
    for (const Worker& w : workers)
        if (w.timed.load()) return true;
    return false;
}

Result<void> pause() {
    Message m;
    if (one_cpu) {
        yield();
        // The others have come as far as they can without us.
        while (somebody_timed()) TRY(receive(kTickAt, m));
        return lib::kOk;
    }
    utcb().timeout = 500'000;
    (void)receive(kTickAt, m, kTimed);
    return lib::kOk;
}

Result<void> run(u64 seed) {
    TRY(set_up(seed));
    u64 rounds = 0;
    for (u64 steps = ~u64{0}; finished() < kThreads; ++rounds) {
        TRY(pause());
        u64 now = 0;
        for (Worker& w : workers) now += w.step.load();
        if (now == steps || one_cpu) end_waits();
        steps = now;
        if (rounds == 400) hurry.store(true);
        if (rounds == 4000) {
            fail("a thread does not come to its end");
            for (const Worker& w : workers)
                if (!w.done.load())
                    print("thread {} of seed {}: step {}, state {}\n", w.number, seed, w.step.load(),
                          state(w.thread.slot).take());
            break;
        }
    }
    for (Worker& w : workers)
        if (auto stopped = suspend(w.thread.slot); !stopped.ok() && !w.deleted.load()) return stopped;
    u64 ended = 0, lost = 0;
    for (const Worker& w : workers) ended += w.deleted.load();
    for (Worker& w : workers) {
        for (Sent& s : w.messages) {
            // A deleted thread may have received one that it has not looked at.
            if (s.fate.load() == Fate::kDelivered && s.received.load() != 1 && lost++ == ended)
                fail("a message that was lost");
            if (s.fate.load() == Fate::kNotSent && s.received.load() != 0) fail("a message that was not sent");
            if (s.answered.load() > 1) fail("two answers to one call");
        }
        if (w.deleted.load()) continue;
        u64 s = TRY(state(w.thread.slot));
        if (s != kStateInactive) fail("a suspended thread that is not inactive");
    }
    for (u64 i = 0; i < kEndpoints; ++i) {
        (void)revoke(kEndpointAt + i);
        (void)remove(kEndpointAt + i);
    }
    for (u64 i = 0; i < kNotifications; ++i) TRY(remove(kNotificationAt + i));
    for (const Worker& w : workers)
        for (u64 n = 0; n < kOwnSlots; ++n) (void)remove(own(w, n));
    return lib::kOk;
}

}  // namespace

int native_main() {
    const u64 first = seeded::argument(1), count = seeded::argument(2);
    const bool with_log = std::string_view(boot_info().command_line).ends_with(" log");
    one_cpu = cpus() == 1;
    // Behind all others; on more CPUs it sleeps instead.
    if (one_cpu) (void)schedule(kSlotThread, kSlotSched, 0, 0);
    if (!create(kSlotPool, kTypeNotification, kTickAt).ok()) return 1;
    int failed = 0;
    for (u64 seed = first; seed < first + count; ++seed) {
        auto r = run(seed);
        const char* why = failure.load();
        if (!r.ok()) {
            print("seed {} FAIL set-up: error {}\n", seed, i32(r.error()));
            return 1;
        }
        if (with_log) {
            for (u64 i = 0; i < logged.load() && i < kLogEntries; ++i)
                print("{} {:x} {:x}\n", seed, entries[i].what, entries[i].value);
        }
        if (one_cpu) print("outcome {} {} {:x}\n", seed, logged.load(), hash.load());
        failed += seeded::report(seed, why);
    }
    print("random done\n");
    return failed != 0;
}
