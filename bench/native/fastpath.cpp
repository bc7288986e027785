// SPDX-License-Identifier: MIT
// Fastpaths against slowpaths, in cycles: the experiments of `./farcall bench fastpath` (docs/benchmarks.md). Fast and
// slow alternate within one guest, block by block, so that disturbances of the host affect both. The first word of the
// command line selects the experiment, the others are key=value:
//     ratio       each path alone, and whole round trips; one CPU, one space
//     load        three I/O-heavy and three CPU-heavy processes per CPU, over a server in another space
//     contention  1 to 16 threads that call one handler, with random waits in between
//     pairs       a client and a server on each of two CPUs, together and alone
// Output: `v NAME BLOCK VALUE`, `error WHAT CODE`, `done`.
#include <atomic>
#include <bit>

#include "bench/native/measure.hpp"

namespace {

Slot never = 0;
void sleep(u64 ns) {
    utcb().timeout = ns;
    Message m;
    (void)receive(never, m, kTimed);
}

// kDoneNumber is unused by programs: a thread makes this call to report that it has finished.
constexpr u64 kGetpid = 39, kRead = 0, kWriteCall = 1, kClockGettime = 228, kDoneNumber = 1'000'000;

// --- ratio

void calls_for_ever(u64) {
    for (;;) (void)raw_call(kGetpid);
}
void answers_for_ever(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok()) return;
    for (;;) {
        m.tag = 0;
        if (!reply_receive(endpoint, m).ok()) return;
    }
}
void waits_for_ever(u64 notification) {
    Message m;
    while (receive(notification, m).ok()) {
    }
}

constexpr u64 kParts = 20;  // per block: their median is the block's round trip

template <class F>
Result<void> compare(const char* what, Slot other, u64 blocks, u64 count, F&& operation) {
    for (u64 block = 0; block < blocks; ++block) {
        for (u64 turn = 0; turn < 2; ++turn) {
            const bool fast = is_fast(block, turn);
            TRY(allow(kSlotThread, fast));
            TRY(allow(other, fast));
            const u64 part = std::max(count / kParts, u64{1});
            for (u64 i = 0; i < 4 * part; ++i) TRY(operation());
            u32 took[kParts];
            for (u32& t : took) {
                u64 before = cycles();
                for (u64 i = 0; i < part; ++i) TRY(operation());
                t = u32((cycles() - before) / part);
            }
            std::sort(took, took + kParts);
            TRY(trace_start());
            for (u64 i = 0; i < count; ++i) TRY(operation());
            TRY(trace_stop());
            tell(name("ratio.{}.round.{}", what, kModes[fast]), block, took[kParts / 2]);
            tell_paths(name("ratio.{}", what).text, block);
        }
    }
    return allow(kSlotThread, true);
}

Result<void> ratio() {
    const u64 blocks = option("blocks", 8), count = std::min(option("count", 2000), u64{4000});
    for (u64 b = 0; b < blocks; ++b) tell_counter(b);
    {
        Slot e = TRY(make(kTypeEndpoint));
        Thread client = TRY(make_thread(calls_for_ever, 0, {.start = false}));
        TRY(configure(client.slot, kSlotSpace, client.utcb, e, kRedirect));
        TRY(resume(client.slot));
        Message m;
        TRY(receive(e, m));
        TRY(compare("exception", client.slot, blocks, count, [&] {
            m = message(kResume, 1);
            return reply_receive(e, m);
        }));
        TRY(reply(message(kStop)));
    }
    {
        Slot e = TRY(make(kTypeEndpoint));
        Thread server = TRY(make_thread(answers_for_ever, e));
        TRY(compare("ipc", server.slot, blocks, count, [&] {
            Message m = message(1);
            return call(e, m);
        }));
    }
    Slot n = TRY(make(kTypeNotification));
    Thread waiter = TRY(make_thread(waits_for_ever, n, {.priority = kDefaultPriority + 1}));
    return compare("signal", waiter.slot, blocks, count, [&] { return signal(n, 1); });
}

// --- load

struct alignas(128) Process {
    u64 buffer[4] = {};  // used by the server, for read and write
};
Process processes[2 * 6];
void work(u64 rounds) {
    u64 x = rounds;
    for (u64 i = 0; i < rounds; ++i) asm volatile("lea 1(%0, %0, 2), %0" : "+r"(x));
}
void io_heavy(u64 seed) {
    for (u64 i = seed, value = seed;; ++i) {
        work(300);
        (void)raw_call(kWriteCall, 1, i & 3, value);
        work(300);
        value += u64(raw_call(kRead, 0, (i + 1) & 3));
        work(300);
        (void)raw_call(i % 4 == 0 ? kClockGettime : kGetpid);
        if (i % 64 == 0) (void)raw_call(999);  // ENOSYS
    }
}
void cpu_heavy(u64) {
    for (;;) {
        work(2'000'000);
        (void)raw_call(kGetpid);
    }
}
// Stands in for a server of Linux calls: a fixed set of them, and ENOSYS. The badge identifies the process.
void stand_in(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok()) return;
    for (u64 clock = 0;; ++clock) {
        Process& p = processes[m.badge % std::size(processes)];
        const u64* a = m.words + 3;
        i64 result;
        switch (m.words[0]) {
            case kGetpid: result = i64(m.badge); break;
            case kWriteCall:
                p.buffer[a[1] & 3] = a[2];
                result = 8;
                break;
            case kRead: result = i64(p.buffer[a[1] & 3]); break;
            case kClockGettime: result = i64(clock); break;
            default: result = -i64(Errno::kNoSys);
        }
        m = message(kResume, result);
        if (!reply_receive(endpoint, m).ok()) return;
    }
}

Result<void> load() {
    const u64 blocks = option("blocks", 3), ms = option("ms", 200), cpus = std::min(native::cpus(), u64{2});
    constexpr Slot kServerSlots = 20;  // in the server's space: one endpoint per CPU
    Slot threads[2 * 7];
    u64 count = 0;
    Slot server = TRY(make_space());
    for (u64 cpu = 0; cpu < cpus; ++cpu) {
        Slot e = TRY(make(kTypeEndpoint));
        TRY(copy(e, kServerSlots + cpu, kReceiveRight, 0, server));
        Thread handler = TRY(make_thread(stand_in, kServerSlots + cpu, {.cpu = cpu, .space = server}));
        threads[count++] = handler.slot;
        for (u64 i = 0; i < 6; ++i) {
            Slot badged = new_slot(), space = TRY(make_space());
            TRY(copy(e, badged, kSendRight, 1 + cpu * 6 + i));
            Thread t = TRY(make_thread(i < 3 ? io_heavy : cpu_heavy, i, {.cpu = cpu, .space = space, .start = false}));
            TRY(configure(t.slot, space, t.utcb, badged, kRedirect));
            threads[count++] = t.slot;
        }
    }
    TRY(schedule(kSlotThread, kSlotSched, kDefaultPriority + 6, 0));
    for (u64 i = 0; i < count; ++i)
        if (i % 7 != 0) TRY(resume(threads[i]));
    for (u64 block = 0; block < blocks; ++block) {
        for (u64 turn = 0; turn < 2; ++turn) {
            const bool fast = is_fast(block, turn);
            for (u64 i = 0; i < count; ++i) TRY(allow(threads[i], fast));
            sleep(30'000'000);
            TRY(trace_start());
            sleep(ms * 1'000'000);
            TRY(trace_stop());
            tell_paths(name("load.{}.{}", cpus, kModes[fast]).text, block);
        }
    }
    return lib::kOk;
}

// --- contention

constexpr u64 kMostClients = 16;
struct Point {
    Slot endpoint = 0, done = 0;
    u64 threads = 0, events = 0, wait = 0;
    bool exception = false;
} point;
struct alignas(128) Client {
    Thread thread;
    u64 count = 0;  // number of entries in `took`
    u32* took = nullptr;
} clients[kMostClients];
u64 point_start = 0, point_end = 0;

void contend(u64 i) {
    const Point p = point;
    u64 random = (i + 1) * 0x9e37'79b9'7f4a'7c15;
    Client& me = clients[i];
    me.count = p.events / p.threads;
    for (u64 n = 0; n < me.count; ++n) {
        if (p.wait != 0) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            work(random % (2 * p.wait + 1));
        }
        u64 before = cycles();
        if (p.exception) {
            (void)raw_call(kGetpid);
        } else {
            Message m = message(1, n);
            (void)call(p.endpoint, m);
        }
        me.took[n] = u32(std::min(cycles() - before, u64{0xffffffff}));
    }
    if (p.exception) (void)raw_call(kDoneNumber);
    Message m = message(2);
    (void)call(p.endpoint, m);
}
void answer_point(u64) {
    Message m;
    point_start = cycles();
    if (!receive(point.endpoint, m).ok()) return;
    for (u64 done = 0;;) {
        const bool trap = m.label() == kLabelSyscall, last = trap ? m.words[0] == kDoneNumber : m.label() == 2;
        done += last;
        m = trap ? last ? message(kStop) : message(kResume, 1) : message(0);
        if (done == point.threads) break;
        if (!reply_receive(point.endpoint, m).ok()) return;
    }
    point_end = cycles();
    (void)reply(m);
    (void)signal(point.done, 1);
}

// Restarts the thread from its beginning, in this space.
Result<void> restart(const Thread& t, void (*fn)(u64), u64 argument, Slot handler, u64 flags) {
    for (u64 s; (s = TRY(state(t.slot))) != kStateInactive;) sleep(100'000);
    TRY(configure(t.slot, kSlotSpace, t.utcb, handler, flags));
    return begin_with(t, fn, argument);
}

// Adds the cycles of each event's path on its CPU, from entry to end. Where a fastpath gave up, the cycles until then
// are included.
void add_events(bool replies) {
    u64 lost[2] = {};
    for (u64 i = 0; i < record_count; ++i) {
        const Record& r = records[i];
        const PathName* n = path_name(r.path);
        if (!n || n->path == Path::kFastSignal || n->path == Path::kSlowSignal) continue;
        if (replies != (n->path == Path::kFastReply || n->path == Path::kSlowReply)) continue;
        u64& before = lost[r.cpu % 2];
        if (r.test != Test::kNone) {
            before = r.cycles - std::min(u64{r.cycles}, counter);
        } else {
            add(before + r.cycles);
            before = 0;
        }
    }
}

Result<void> start_point(const Thread& handler, bool fast) {
    point.endpoint = TRY(make(kTypeEndpoint));  // a new one, whose lock statistics start at 0
    TRY(restart(handler, answer_point, 0, 0, 0));
    TRY(allow(handler.slot, fast));
    for (u64 i = 0; i < point.threads; ++i) {
        Client& c = clients[i];
        TRY(restart(c.thread, contend, i, point.exception ? point.endpoint : 0, point.exception ? u64{kRedirect} : 0));
        TRY(allow(c.thread.slot, fast));
        TRY(resume(c.thread.slot));
    }
    // All of them wait at the endpoint, or will soon: the handler starts the clock.
    sleep(200'000);
    return lib::kOk;
}
Result<void> finish_point(const Thread& handler) {
    TRY(resume(handler.slot));
    Message m;
    return receive(point.done, m);
}

// Measures twice: the round trips and the lock without tracing, and the paths with tracing.
Result<void> run_point(const Thread& handler, u64 block, u64 factor, bool fast) {
    const Name prefix = name("contention.{}.{}.{}.{}.{}", cpus(), point.exception ? "exception" : "ipc", point.threads,
                             factor, kModes[fast]);
    TRY(start_point(handler, fast));
    TRY(finish_point(handler));
    LockInfo lock = TRY(lock_info(point.endpoint));
    TRY(remove(point.endpoint));
    forget();
    for (u64 i = 0; i < point.threads; ++i)
        for (u64 n = 0; n < clients[i].count; ++n) add(clients[i].took[n]);
    tell(name("{}.round", prefix.text), block, mean_below(95));
    tell(name("{}.elapsed", prefix.text), block, (point_end - point_start) / point.events);
    tell(name("{}.taken", prefix.text), block, lock.taken);
    tell(name("{}.contended", prefix.text), block, lock.contended);
    tell(name("{}.longest", prefix.text), block, lock.longest);

    TRY(start_point(handler, fast));
    TRY(trace_start());
    TRY(finish_point(handler));
    TRY(trace_stop());
    TRY(remove(point.endpoint));
    forget();
    add_events(false);
    tell(name("{}.send", prefix.text), block, mean_below(95));
    forget();
    add_events(true);
    tell(name("{}.reply", prefix.text), block, mean_below(95));
    u64 through = 0, all = 0;
    for (u64 i = 0; i < record_count; ++i) {
        const PathName* n = path_name(records[i].path);
        if (!n || records[i].test != Test::kNone) continue;
        ++all;
        through += n->fast;
    }
    tell(name("{}.through", prefix.text), block, all == 0 ? 0 : through * 1000 / all);
    return lib::kOk;
}

Result<void> contention() {
    const u64 blocks = option("blocks", 1), events = std::max(option("events", 3000), kMostClients);
    const u64 seed = option("seed", 0);  // selects which mode runs first
    constexpr u64 kFactors[] = {0, 1, 4, 16, 64}, kThreads[] = {1, 2, 4, 8, 16};
    // The unit of the wait factor: one microsecond of work().
    u64 rounds = 1'000'000, before = cycles();
    work(rounds);
    const u64 unit = std::max(rounds * (boot_info().cycle_hz / 1'000'000) / (cycles() - before), u64{1});
    point.events = events;
    point.done = TRY(make(kTypeNotification));
    Thread handler = TRY(make_thread(answer_point, 0, {.priority = kDefaultPriority + 1, .start = false}));
    for (u64 i = 0; i < kMostClients; ++i) {
        // The first client runs on the other CPU.
        clients[i].thread = TRY(make_thread(contend, i, {.cpu = (i + 1) % cpus(), .start = false}));
        clients[i].took = reinterpret_cast<u32*>(TRY(map_new(events * sizeof(u32))));
    }
    TRY(schedule(kSlotThread, kSlotSched, kDefaultPriority + 6, 0));
    for (u64 block = 0; block < blocks; ++block) {
        tell_counter(block);
        for (bool exception : {true, false}) {
            for (u64 factor : kFactors) {
                for (u64 threads : kThreads) {
                    point.exception = exception;
                    point.threads = threads;
                    point.wait = factor * unit;
                    for (u64 turn = 0; turn < 2; ++turn)
                        TRY(run_point(handler, block, factor, is_fast(block + seed, turn)));
                }
            }
        }
    }
    return lib::kOk;
}

// --- pairs

struct alignas(128) Pair {
    Slot endpoint = 0, go = 0;
    u64 start = 0, end = 0;
} pair[2];
struct alignas(128) {
    u64 trips = 0, together = 0;
    bool bare = false;  // a loop of user code instead: what the host's two CPUs deliver for that
    Slot done = 0;
} pairs_run;
struct alignas(128) {
    std::atomic<u64> arrived{0};
} barrier;
struct alignas(128) {
    std::atomic<u64> turn{0};
} line;

void ask_pair(u64 i) {
    Pair& p = pair[i];
    for (Message m;;) {
        if (!receive(p.go, m).ok()) return;
        const u64 trips = pairs_run.trips, together = pairs_run.together, endpoint = p.endpoint;
        barrier.arrived.fetch_add(1);
        while (barrier.arrived.load() < together) {
        }
        const u64 start = cycles();
        for (u64 n = 0; n < trips; ++n) {
            if (pairs_run.bare) {
                work(400);
                continue;
            }
            m = message(1);
            if (!call(endpoint, m).ok()) return;
        }
        p.start = start;
        p.end = cycles();
        if (!signal(pairs_run.done, u64{1} << i).ok()) return;
    }
}

// As in bench/ping.c: one cache line travels between two CPUs.
constexpr u64 kRounds = 20'000;
void answer_line(u64 go) {
    for (Message m;;) {
        if (!receive(go, m).ok()) return;
        for (u64 i = 0; i < kRounds; ++i) {
            while (line.turn.load(std::memory_order_acquire) != 2 * i + 1) {
            }
            line.turn.store(2 * i + 2, std::memory_order_release);
        }
    }
}
Result<void> tell_line(Slot go, u64 block) {
    line.turn.store(0);
    TRY(signal(go, 1));
    u64 start = 0;
    for (u64 i = 0; i < kRounds; ++i) {
        if (i == kRounds / 4) start = cycles();  // by now the other CPU takes part
        line.turn.store(2 * i + 1, std::memory_order_release);
        while (line.turn.load(std::memory_order_acquire) != 2 * i + 2) {
        }
    }
    const u64 rounds = kRounds - kRounds / 4;
    tell(name("ping"), block, (cycles() - start) * 1'000'000'000 / boot_info().cycle_hz / rounds);
    return lib::kOk;
}

Result<void> run_pairs(u64 which) {
    pairs_run.together = u64(std::popcount(which));
    barrier.arrived.store(0);
    for (u64 i = 0; i < 2; ++i)
        if (which >> i & 1) TRY(signal(pair[i].go, 1));
    for (Message m; which != 0; which &= ~m.badge) TRY(receive(pairs_run.done, m));
    return lib::kOk;
}

Result<void> pairs() {
    if (cpus() < 2) return Errno::kNoDev;
    const u64 blocks = option("blocks", 8), trips = option("count", 20'000);
    pairs_run.done = TRY(make(kTypeNotification));
    Slot line_go = TRY(make(kTypeNotification));
    for (u64 i = 0; i < 2; ++i) {
        pair[i].endpoint = TRY(make(kTypeEndpoint));
        pair[i].go = TRY(make(kTypeNotification));
        (void)TRY(make_thread(answers_for_ever, pair[i].endpoint, {.cpu = i}));
        (void)TRY(make_thread(ask_pair, i, {.cpu = i}));
    }
    (void)TRY(make_thread(answer_line, line_go, {.cpu = 1}));
    for (u64 block = 0; block <= blocks; ++block) {  // the first block warms up
        pairs_run.trips = block == 0 ? trips / 10 : trips;
        if (block != 0) TRY(tell_line(line_go, block));
        for (bool bare : {false, true}) {
            pairs_run.bare = bare;
            for (u64 turn = 0; turn < 3; ++turn) {
                const u64 which = (block + turn) % 3 + 1;
                TRY(run_pairs(which));
                u64 start = ~u64{0}, end = 0;
                for (u64 i = 0; i < 2; ++i) {
                    if ((which >> i & 1) == 0) continue;
                    start = std::min(start, pair[i].start);
                    end = std::max(end, pair[i].end);
                }
                if (block == 0) continue;
                // Cycles of ten round trips.
                const char* kind = bare ? "bare" : "pairs";
                const u64 took = (end - start) * 10 / trips;
                if (which == 3)
                    tell(name("{}.two", kind), block, took / 2);
                else
                    tell(name("{}.one.{}", kind, which - 1), block, took);
            }
        }
    }
    return lib::kOk;
}

struct Experiment {
    std::string_view name;
    Result<void> (*run)();
};
constexpr Experiment kExperiments[] = {{"ratio", ratio}, {"load", load}, {"contention", contention}, {"pairs", pairs}};

Result<void> prepare() {
    TRY(prepare_measuring());
    never = TRY(make(kTypeNotification));
    return lib::kOk;
}

}  // namespace

int native_main() {
    auto r = prepare();
    for (const Experiment& e : kExperiments)
        if (r.ok() && word(1) == e.name) r = e.run();
    if (!r.ok()) {
        print("error {} {}\n", word(1), i32(r.error()));
        return 1;
    }
    print("done\n");
    return 0;
}
