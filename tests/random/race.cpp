// SPDX-License-Identifier: MIT
// Races over the native interface, one for each seed: a thread per CPU (a driver) makes random calls on slots that all of
// them share, and so do the threads that they make there (victims). Everything is made of one pool; at the end it is revoked.
//     race FIRST COUNT
// Made for the debug kernel, whose assertions say at once what went wrong: an object that is freed while it is in a queue or
// owed an answer, a reference dropped twice. Checked here: drivers get to the end of their steps, no slot is left, each pool
// has back what it gave, and the machine has as much free memory as before.
//
// Most calls are such as can succeed: a driver makes what a slot lacks, and looks for a thread in the right state. What
// another CPU does in between is the race. One in kWild takes what it finds.
//
//     seed N ok / seed N FAIL what / call NAME done N waited N refused N / race done
#include "tests/random/race_counts.hpp"
#include "tests/random/race_victims.hpp"

namespace {

using namespace native;
using namespace race;
using seeded::Random;

constexpr u64 kMaxDrivers = 8, kSteps = 200, kWild = 12;
// Without a step of any driver, or without what must come, for so many ns and so many looks: it hangs. (A host that stops the
// machine for a while lets time pass, and nothing else.)
constexpr u64 kLeft = 20'000'000'000, kLooks = 400;
constexpr Slot kArenaAt = 900, kDoneAt = 901, kPrivateAt = 902, kLineAt = 904, kLines = 4;
constexpr u64 kFirstLine = 18;
constexpr u64 kVictimUtcb = 0x20'0000'0000, kMapAt = 0x30'0000'0000, kOwnMaps = 64;
constexpr u64 kArena = 8 << 20, kPageSize = 4096, kMachineSlack = 16 * kPageSize;
constexpr u64 kMostPriority = 12;  // of victims; drivers are above them

// Of an FPU state (CPUID leaf 0xd).
u64 fpu_size() {
    u32 a = 0xd, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return b == 0 ? 512 : (b + 63) & ~u64{63};
}

struct Driver {
    Thread thread;
    u64 number;
    Random random;
    std::atomic<u64> step, what;
    std::atomic<bool> done;
} drivers[kMaxDrivers];

// --- Slots

Slot in(Driver& d, Group g) { return g.at + d.random.below(g.size); }
bool empty(Slot s) { return !identify(s).ok(); }
constexpr bool holds(Group g, Slot s) { return s >= g.at && s < g.at + g.size; }
Type type_of(Slot s) {
    return holds(kThreads, s)         ? kTypeThread
           : holds(kEndpoints, s)     ? kTypeEndpoint
           : holds(kReplies, s)       ? kTypeReply
           : holds(kNotifications, s) ? kTypeNotification
           : holds(kScheds, s)        ? kTypeSched
           : holds(kSpaces, s)        ? kTypeSpace
           : holds(kMemories, s)      ? kTypeMemory
           : holds(kPools, s)         ? kTypePool
                                      : kTypeNone;
}
void make_at(Driver& d, Slot slot) {
    const Type type = type_of(slot);
    const bool small = type == kTypeEndpoint || type == kTypeReply || type == kTypeNotification || type == kTypeThread;
    const Slot of = small && d.random.one_in(4) ? in(d, kPools) : kArenaAt;
    const u64 argument = type == kTypePool     ? kPageSize << (6 + d.random.below(3))
                         : type == kTypeSpace  ? 16
                         : type == kTypeMemory ? kPageSize << (2 + d.random.below(5))
                         : type == kTypeSched  ? kMostPriority
                                               : 0;
    if (!count(kCreate, create(of, type, slot, argument)).ok() && of != kArenaAt)
        (void)count(kCreate, create(kArenaAt, type, slot, argument));
}
// A slot of the group with something in it, if no other CPU takes it away.
Slot live(Driver& d, Group g) {
    if (d.random.one_in(kWild)) return in(d, kAny);
    const Slot s = in(d, g);
    if (empty(s)) make_at(d, s);
    return s;
}
// An empty one.
Slot room(Driver& d, Group g) {
    const Slot s = in(d, g);
    if (!empty(s)) (void)count(kDelete, remove(s));
    return s;
}
bool awaits(Slot thread) {
    const auto now = state(thread);
    return now.ok() && now.value() == kStateAwaitingReply;
}
// A thread that is inactive, if no other CPU resumes it: some calls want one.
Slot idle(Driver& d) {
    Slot s = live(d, kThreads);
    // Mostly those that wait for an answer are spared, so that one can come.
    for (u64 left = 4; left != 0 && awaits(s) && !d.random.one_in(8); --left) s = live(d, kThreads);
    const auto now = state(s);
    if (now.ok() && now.value() != kStateInactive && !d.random.one_in(kWild)) (void)count(kThreadSuspend, suspend(s));
    return s;
}

// --- Calls of a driver

// Some are ready for their partner, some wait a little; never for ever.
u64 flags(Driver& d, bool call) {
    utcb().timeout = 20'000 + d.random.below(4) * d.random.below(200'000);
    return !call && d.random.one_in(3) ? u64{kNonBlocking} : u64{kTimed} | (d.random.one_in(4) ? u64{kNonBlocking} : 0);
}
// Label 8: nobody waits for an answer.
Message random_message(Driver& d, u64 label) {
    Message m{};
    const u64 words = d.random.one_in(8) ? d.random.below(kMaxWords + 1) : d.random.below(6);
    const u64 sent = d.random.one_in(4) ? d.random.below(3) : 0;
    m.tag = make_tag(label, words, sent);
    m.words[0] = d.random.next();
    m.words[1] = d.random.one_in(2) ? u64(&race_victim) : d.random.next() & 0x7fff'ffff'f000;
    for (u64 n = 0; n < kMaxCaps; ++n) {
        utcb().caps[n] = n < sent ? live(d, kAny) : 0;
        utcb().cap_rights[n] = d.random.one_in(3) ? u64{kSendRight} : 0;
        utcb().receive[n] = in(d, kCopies);
    }
    return m;
}
Registers random_registers(Driver& d) {
    Registers r{};
    r.rip = d.random.one_in(8) ? d.random.next() & 0x7fff'ffff'ffff : u64(&race_victim);
    r.rsp = d.random.next();
    r.rbp = d.random.next() | 1;
    if (d.random.one_in(3)) {
        r.rip = u64(&race_server);
        r.rbp = in(d, kEndpoints);
    }
    r.rflags = 0x202;
    r.fs_base = kVictimUtcb + d.random.below(5) * kPageSize;
    return r;
}
// Each thread's own place, or one that another may have.
u64 utcb_place(Driver& d, Slot thread) {
    if (d.random.one_in(4)) return 0;
    return kVictimUtcb + (d.random.one_in(6) ? d.random.below(5) : thread - kSharedAt) * kPageSize;
}
void place_thread(Driver& d, Slot thread) {
    const Slot sched = d.random.one_in(2) ? Slot{kSlotSched} : live(d, kScheds);
    (void)count(kThreadSchedule, schedule(thread, sched, 1 + d.random.below(8), d.random.below(cpus())));
}
void configure_one(Driver& d, Slot thread) {
    const Slot space = d.random.one_in(6) ? live(d, kSpaces) : Slot{kSlotSpace};
    const Slot handler = d.random.one_in(2) ? 0 : live(d, kEndpoints);
    // The pages are few: what is there already is kExist, and the UTCB stays where it was.
    const u64 how = d.random.one_in(4) ? u64{kRedirect} : 0;
    if (!count(kThreadConfigure, configure(thread, space, utcb_place(d, thread), handler, how)).ok())
        (void)count(kThreadConfigure, configure(thread, space, 0, handler, how));
}
void start_one(Driver& d) {
    const Slot thread = idle(d);
    configure_one(d, thread);
    (void)count(kThreadSetRegisters, set_registers(thread, random_registers(d)));
    place_thread(d, thread);
    (void)count(kThreadResume, resume(thread));
}
// One that answers at the endpoint, or calls there, in this space.
void start_partner(Driver& d, Slot endpoint, void (*code)()) {
    const Slot thread = idle(d);
    Registers r{};
    r.rip = u64(code);
    r.rbp = endpoint;
    r.rflags = 0x202;
    r.fs_base = kVictimUtcb;
    (void)count(kThreadConfigure, configure(thread, kSlotSpace, 0));
    (void)count(kThreadSetRegisters, set_registers(thread, r));
    // Here it has the CPU as soon as the driver waits.
    const u64 cpu = d.random.one_in(2) ? d.number : d.random.below(cpus());
    (void)count(kThreadSchedule, schedule(thread, kSlotSched, kMostPriority, cpu));
    (void)count(kThreadResume, resume(thread));
}

void configures(Driver& d) { configure_one(d, idle(d)); }
void sets_registers(Driver& d) { (void)count(kThreadSetRegisters, set_registers(idle(d), random_registers(d))); }
void gets_registers(Driver& d) {
    Registers r;
    (void)count(kThreadGetRegisters, get_registers(idle(d), r));
}
void binds(Driver& d) {
    const Slot thread = d.random.one_in(4) ? d.thread.slot : idle(d);
    (void)count(kThreadBind, bind(thread, 0));
    if (!d.random.one_in(3)) (void)count(kThreadBind, bind(thread, live(d, kNotifications)));
}
void schedules(Driver& d) { place_thread(d, live(d, kThreads)); }
void suspends(Driver& d) { (void)count(kThreadSuspend, suspend(live(d, kThreads))); }
void resumes(Driver& d) {
    const Slot thread = idle(d);
    if (!count(kThreadResume, resume(thread)).ok()) start_one(d);
}
void removes(Driver& d) { (void)count(kDelete, remove(live(d, kAny))); }
void makes(Driver& d) {
    const Slot s = room(d, kAny);
    if (!holds(kCopies, s)) make_at(d, s);
}
void revokes(Driver& d) { (void)count(kRevoke, revoke(live(d, d.random.one_in(8) ? kPools : kAny))); }
void copies(Driver& d) {
    const Slot from = live(d, kAny);
    const u64 rights = d.random.one_in(2) ? u64{kSendRight | kReceiveRight} : u64{kAllRights};
    const u64 badge = d.random.one_in(4) ? 1 + d.random.below(8) : 0;
    if (d.random.one_in(4))
        (void)count(kCopy, copy(from, 1 + d.random.below(15), rights, badge, live(d, kSpaces)));
    else
        (void)count(kCopy, copy(from, room(d, kCopies), rights, badge));
}
void moves(Driver& d) {
    const Slot from = live(d, kAny);
    if (d.random.one_in(4))
        (void)count(kMove, move(from, 1 + d.random.below(15), live(d, kSpaces)));
    else
        (void)count(kMove, move(from, room(d, kCopies)));
}
void calls(Driver& d) {
    const Slot to = live(d, kEndpoints);
    if (!d.random.one_in(4)) start_partner(d, to, race_server);
    for (u64 left = 1 + d.random.below(5); left != 0; --left) {
        Message m = random_message(d, d.random.below(8));
        const u64 how = flags(d, true);
        (void)count(kCall, call(to, m, how));
    }
}
void sends(Driver& d) {
    const Slot to = live(d, kEndpoints);
    if (d.random.one_in(2)) start_partner(d, to, race_server);
    const Message m = random_message(d, 8);
    const u64 how = flags(d, false);
    (void)count(kSend, send(to, m, how));
}
// Reply objects into which a caller was saved, by whichever driver, and that nobody has answered yet, as far as known: bit n
// is object n.
std::atomic<u64> saved{0};
u64 bit_of(Slot reply) { return holds(kReplies, reply) ? u64{1} << (reply - kReplies.at) : 0; }
// One of those, or one of the others.
Slot reply_object(Driver& d, bool with_caller) {
    const u64 now = saved.load(std::memory_order_relaxed);
    const Slot first = in(d, kReplies);
    for (u64 n = 0; n < kReplies.size; ++n)
        if (const Slot s = kReplies.at + (first + n) % kReplies.size; ((now & bit_of(s)) != 0) == with_caller) return s;
    return first;
}
// Most are the right ones; others are refused.
Slot full(Driver& d) { return d.random.one_in(kWild) ? live(d, kReplies) : reply_object(d, true); }
Slot room_for_caller(Driver& d) {
    if (d.random.one_in(kWild)) return live(d, kReplies);
    const Slot s = reply_object(d, false);
    if (empty(s)) make_at(d, s);
    return s;
}
bool now_saved(Slot reply, Result<void> r) {
    if (r.ok()) saved.fetch_or(bit_of(reply), std::memory_order_relaxed);
    return r.ok();
}
// What a receive saves is saved although nothing came.
Result<void> also_saved(Slot reply, Result<void> r) {
    if (r.ok() || r.error() == Errno::kAgain || r.error() == Errno::kTimedOut) (void)now_saved(reply, lib::kOk);
    return r;
}
void answer_saved(Driver& d, Slot reply, const Message& m) {
    (void)count(kReplyTo, reply_to(reply, m));
    saved.fetch_and(~bit_of(reply), std::memory_order_relaxed);
}
Message random_answer(Driver& d) {
    const Message m = random_message(d, d.random.one_in(8) ? u64{kReplyMaps} : d.random.below(4));
    utcb().map = {live(d, kMemories), kMapAt + d.random.below(8) * kPageSize, 0, kPageSize, kReadRight};
    utcb().registers = random_registers(d);
    return m;
}
Result<void> serve_next(Driver& d, Slot at, Message& m, bool owes) {
    const u64 how = flags(d, false);
    if (owes && d.random.one_in(3)) {
        const Slot into = room_for_caller(d);
        return also_saved(into, count(kSaveReceive, save_receive(into, at, m, how)));
    }
    if (saved.load(std::memory_order_relaxed) != 0 && d.random.one_in(2)) {
        const Slot from = full(d), into = owes ? room_for_caller(d) : 0;
        const auto r = count(kReplySaved, answer_receive(from, at, m, into, how));
        saved.fetch_and(~bit_of(from), std::memory_order_relaxed);
        return into == 0 ? r : also_saved(into, r);
    }
    return d.random.one_in(4) ? count(kReceive, receive(at, m, how)) : count(kReplyReceive, reply_receive(at, m, how));
}
bool waits_for_answer(const Message& m) { return m.label() < 8 || m.label() > kLabelSignal; }
void serves(Driver& d) {
    Message m{};
    Slot at = live(d, d.random.one_in(4) ? kNotifications : kEndpoints);
    if (d.random.one_in(2) && holds(kEndpoints, at)) start_partner(d, at, race_caller);
    Result<void> r = count(kReceive, receive(at, m, flags(d, false)));
    for (u64 left = 1 + d.random.below(4); r.ok() && left != 0; --left) {
        const bool owes = waits_for_answer(m);
        m = random_answer(d);
        if (owes && d.random.one_in(4)) return (void)count(kReply, reply(m));
        if (owes && d.random.one_in(3)) {
            // Answered by whoever comes to it, or at once.
            const Slot into = room_for_caller(d);
            if (!now_saved(into, count(kReplySave, reply_save(into)))) continue;
            if (d.random.one_in(3)) return answer_saved(d, into, m);
        }
        if (!holds(kEndpoints, at) || d.random.one_in(4)) at = live(d, kEndpoints);
        r = serve_next(d, at, m, owes);
    }
}
void answers_saved(Driver& d) {
    if (saved.load(std::memory_order_relaxed) == 0 && !d.random.one_in(kWild)) return serves(d);
    const Message m = random_answer(d);
    answer_saved(d, full(d), m);
}
void kicks(Driver& d) {
    for (u64 n = 1 + d.random.below(3); n != 0; --n) (void)count(kThreadKick, kick(live(d, kThreads)));
}
alignas(64) std::byte fpu_areas[kMaxDrivers][16384];
void changes(Driver& d) {
    // One that waits for an answer, or is inactive, if no other CPU changes that.
    Slot s = live(d, kThreads);
    const auto now = state(s);
    if (now.ok() && now.value() != kStateAwaitingReply && d.random.one_in(2)) s = idle(d);
    std::byte* area = fpu_areas[d.number];
    switch (d.random.below(5)) {
        case 0: return (void)count(kThreadHandler, set_handler(s, d.random.one_in(4) ? 0 : live(d, kEndpoints)));
        case 1:
            return (void)count(kThreadSpace, set_space(s, d.random.one_in(2) ? live(d, kSpaces) : Slot{kSlotSpace}));
        case 2: return (void)count(kThreadGetFpu, get_fpu(s, area, fpu_size()));
        case 3: return (void)count(kThreadSetFpu, set_fpu(s, area, d.random.one_in(2) ? 0 : fpu_size()));
        default: return (void)count(kThreadTimes, do_call(kThreadTimes, s));
    }
}
void rings(Driver& d) { (void)count(kAlarm, alarm(d.random.one_in(4) ? 0 : now() + d.random.below(3'000'000), 1)); }
void signals(Driver& d) { (void)count(kSignal, signal(live(d, kNotifications), d.random.next())); }
void maps(Driver& d) {
    const Slot space = d.random.one_in(3) ? live(d, kSpaces) : Slot{kSlotSpace};
    // A driver's own pages, or those that all of them map.
    const u64 first = d.random.one_in(3) ? 0 : kOwnMaps * (d.number + 1);
    const u64 at = kMapAt + (first + d.random.below(8)) * kPageSize, n = (1 + d.random.below(4)) * kPageSize;
    (void)count(kUnmap, unmap(space, at, n));
    (void)count(kMap, map(space, live(d, kMemories), at, 0, n, kReadRight | kWriteRight));
    if (d.random.one_in(2)) (void)count(kProtect, protect(space, at, n, kReadRight));
}
// A space that is the window of a memory, or becomes one, unless it has mappings: then another takes its place.
void shows_frames(Driver& d) {
    const Slot space = live(d, kSpaces), memory = live(d, kMemories);
    auto nothing = [](const Result<bool>& r) -> Result<void> {
        if (!r.ok()) return r.error();
        return lib::kOk;
    };
    constexpr u64 kTable = 2 << 20, kTables = 16, kEnd = kMapAt + kTables * kTable;
    auto place = [&] { return kMapAt + d.random.below(kTables) * (d.random.one_in(2) ? kPageSize : kTable); };
    Frame frames[8];
    const u64 n = 1 + d.random.below(8);
    for (u64 i = 0; i < n; ++i) frames[i] = {place(), d.random.below(4) * kPageSize, kReadRight | kWriteRight};
    const auto shown = count(kMapFrames, nothing(map_frames(space, memory, {frames, n})));
    if (!shown.ok() && shown.error() == Errno::kExist) {
        (void)count(kDelete, remove(space));
        make_at(d, space);
        (void)count(kMapFrames, nothing(map_frames(space, memory, {frames, n})));
    }
    Range ranges[2] = {{frames[0].address, frames[0].address + kPageSize}, {kMapAt, place()}};
    if (d.random.one_in(2)) (void)count(kChangeFrames, nothing(change_frames(space, ranges, kReadRight)));
    (void)count(kSpaceStale, nothing(stale(space)));
    if (d.random.one_in(2)) (void)count(kChangeFrames, nothing(change_frames(space, ranges, 0)));
    if (d.random.one_in(2)) (void)count(kFreeTables, free_tables(space, kMapAt, place(), 0, kEnd));
}
void chooses_fastpaths(Driver& d) {
    (void)count(kThreadFastpaths, do_call(kThreadFastpaths, live(d, kThreads), d.random.below(16)));
}
void configures_sched(Driver& d) {
    const u64 budget = d.random.one_in(2) ? 0 : 200'000;
    const u64 highest = d.random.one_in(100) ? 8 : kMostPriority;  // which never rises again
    (void)count(kSchedConfigure, configure_sched(live(d, kScheds), (1u << cpus()) - 1, highest, budget, 2 * budget));
}
void binds_lines(Driver& d) {
    const Slot line = kLineAt + d.random.below(kLines);
    (void)count(kIrqBind, irq_bind(line, 0, 0));
    if (d.random.one_in(2)) (void)count(kIrqBind, irq_bind(line, live(d, kNotifications), 1));
}

struct Play {
    u64 weight;
    void (*go)(Driver&);
};
constexpr Play kPlays[] = {{2, makes},
                           {3, start_one},
                           {1, configures},
                           {1, sets_registers},
                           {1, gets_registers},
                           {1, binds},
                           {2, schedules},
                           {1, suspends},
                           {2, resumes},
                           {1, removes},
                           {1, revokes},
                           {2, copies},
                           {1, moves},
                           {3, calls},
                           {2, sends},
                           {5, serves},
                           {3, answers_saved},
                           {2, signals},
                           {2, kicks},
                           {2, changes},
                           {1, rings},
                           {2, maps},
                           {2, shows_frames},
                           {1, chooses_fastpaths},
                           {1, configures_sched},
                           {1, binds_lines}};

void play(Driver& d) {
    u64 all = 0, n = 0;
    for (const Play& p : kPlays) all += p.weight;
    for (u64 left = d.random.below(all); left >= kPlays[n].weight; ++n) left -= kPlays[n].weight;
    d.what.store(n);
    kPlays[n].go(d);
}

void drive(u64 number) {
    Driver& d = drivers[number];
    for (u64 n = 1; n <= kSteps; ++n) {
        play(d);
        d.step.store(n);
    }
    d.what.store(100);
    // What it holds of the seed's objects: its bound notification, and what it owes.
    (void)alarm(0, 0);
    (void)bind(d.thread.slot, 0);
    Message m;
    (void)receive(kPrivateAt, m, kNonBlocking);
    d.done.store(true);
    (void)signal(kDoneAt, 1);
}

// --- A seed

u64 steps() {
    u64 n = 0;
    for (u64 i = 0; i < cpus(); ++i) n += drivers[i].step.load() + drivers[i].done.load();
    return n;
}
bool all_done() {
    for (u64 i = 0; i < cpus(); ++i)
        if (!drivers[i].done.load()) return false;
    return true;
}
void pause(u64 ns) {
    Message m;
    utcb().timeout = ns;
    (void)receive(kDoneAt, m, kTimed);
}
// False: it did not become so in time.
template <class F>
bool until(F&& condition) {
    const u64 since = now();
    for (u64 looks = 1; !condition(); ++looks, pause(1'000'000))
        if (looks > kLooks && now() - since > kLeft) return false;
    return true;
}
// Of the machine, when each CPU has given back what it kept.
u64 free_memory() {
    u64 free = 0;
    for (u64 cpu = cpus(); cpu-- != 0;) {
        (void)schedule(kSlotThread, kSlotSched, 20, cpu);
        free = memory_free(kSlotSystem).take();
    }
    return free;
}

// Until all of them have ended. If one does not, the run does not.
void wait_for_drivers() {
    u64 seen = 0, since = now(), looks = 0;
    while (!all_done()) {
        pause(50'000'000);
        if (const u64 n = steps(); n != seen) {
            seen = n;
            since = now();
            looks = 0;
        } else if (++looks > kLooks && now() - since > kLeft) {
            print("a call that does not end:\n");
            for (u64 i = 0; i < cpus(); ++i)
                print("driver {}: step {} play {} state {}\n", i, drivers[i].step.load(), drivers[i].what.load(),
                      state(drivers[i].thread.slot).take());
            for (u64 n = 0; n < kThreads.size; ++n)
                if (const auto has = state(kThreads.at + n); has.ok()) print("thread {}: state {}\n", n, has.value());
            for (;;) pause(kLeft);  // so that the run's time limit shows where all threads are
        }
    }
}

const char* run(u64 seed) {
    const u64 before = pool_used(kSlotPool).take(), free = free_memory();
    if (!create(kSlotPool, kTypePool, kArenaAt, kArena).ok()) return "no pool";
    saved.store(0);
    for (u64 i = 0; i < cpus(); ++i) {
        Driver& d = drivers[i];
        d.random.start(seed, i);
        d.step.store(0);
        d.done.store(false);
        if (!suspend(d.thread.slot).ok() || !begin_with(d.thread, drive, i).ok()) return "a driver";
    }
    for (u64 i = 0; i < cpus(); ++i)
        if (!resume(drivers[i].thread.slot).ok()) return "a driver that does not start";
    wait_for_drivers();
    for (u64 i = 0; i < kLines; ++i) (void)irq_bind(kLineAt + i, 0, 0);
    if (!revoke(kArenaAt).ok()) return "the pool's revocation";
    for (u64 i = 0; i < kShared; ++i)
        if (!empty(kSharedAt + i)) return "a slot that is left";
    // What was freed is given back an epoch later.
    if (!until([] { return pool_used(kArenaAt).take() == 0; })) {
        print("{} bytes\n", pool_used(kArenaAt).take());
        return "memory that does not come back";
    }
    if (!remove(kArenaAt).ok()) return "the pool's end";
    if (!until([&] { return pool_used(kSlotPool).take() == before; }))
        return "memory of the first pool that does not come back";
    if (!until([&] { return free_memory() + kMachineSlack >= free; })) {
        print("seed {} FAIL {} bytes are free, {} were before\n", seed, free_memory(), free);
        return "memory of the machine that does not come back";
    }
    return nullptr;
}

}  // namespace

int native_main() {
    const u64 first = seeded::argument(1), seeds = seeded::argument(2);
    race_last_cpu = cpus() == 2 || cpus() == 4 || cpus() == 8 ? cpus() - 1 : 0;
    // Above all others, and asleep.
    (void)schedule(kSlotThread, kSlotSched, 20, 0);
    if (!create(kSlotPool, kTypeNotification, kDoneAt).ok() || !create(kSlotPool, kTypeEndpoint, kPrivateAt).ok())
        return 1;
    for (u64 i = 0; i < kLines; ++i)
        if (!copy(kSlotIrq, kLineAt + i, kAllRights, kFirstLine + i + 1).ok()) return 1;
    for (u64 i = 0; i < cpus() && i < kMaxDrivers; ++i) {
        auto made = make_thread(drive, i, {.priority = 14, .cpu = i, .start = false});
        if (!made.ok()) return 1;
        drivers[i].thread = made.take();
        drivers[i].number = i;
    }
    int failed = 0;
    for (u64 seed = first; seed < first + seeds && failed == 0; ++seed) failed += seeded::report(seed, run(seed));
    print_counts();
    print("race done\n");
    return failed;
}
