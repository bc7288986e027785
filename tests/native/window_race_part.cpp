// SPDX-License-Identifier: MIT
// Windows while threads run in them, while several CPUs change them, and when their memory or their space ends.
#include "tests/native/window.hpp"

namespace ktest {
namespace {

// A thread that counts in the first word of the page at `at`, in a space that shows the code.
Helper& counter(Slot space, u64 at, u64 cpu) {
    return start_at(kCodeAt + kCounts, at, {.priority = 1, .cpu = cpu, .space = space, .with_utcb = false});
}
bool moves(const volatile u64& word) {
    const u64 before = word;
    return until([&] { return word != before; });
}

}  // namespace

// --- Other CPUs

// When the window is not stale any more, no thread reaches the frame that was replaced, unmapped or protected.
KTEST_CPUS(no_cpu_uses_what_was_taken_away, none) {
    Windowed w(8);
    KDONE(map_now(w.space, w.memory, {{kAt, kPage, kR | kW}}));
    Helper& h = counter(w.space, kAt, cpu);
    for (u64 round = 0; round < 20; ++round) {
        const u64 from = 1 + round % 2, to = 3 - from;
        KCHECK(moves(w.word(from)));
        const i64 stale_now = map_now(w.space, w.memory, {{kAt, to * kPage, kR | kW}});
        KCHECK(stale_now == 0 || (stale_now == 1 && cpu != 0));
        KCHECK(until([&] { return raw_call(kSpaceStale, w.space) == 0; }));
        const u64 left = w.word(from);
        KCHECK(moves(w.word(to)));
        KCHECK(w.word(from) == left);
    }
    const u64 page = 1;
    KCHECK(moves(w.word(page)));
    KDONE(change_now(w.space, kR, {{kAt, kAt + kPage}}));
    KCHECK(until([&] { return raw_call(kSpaceStale, w.space) == 0; }));
    const u64 left = w.word(page);
    KCHECK(until_stopped(h) && w.word(page) == left);
}
// Its neighbours come and go, and so do their page tables.
KTEST_CPUS(threads_run_beside_pages_that_change, none) {
    Windowed w(8);
    KDONE(map_now(w.space, w.memory, {{kAt, kPage, kR | kW}}));
    Helper& h = counter(w.space, kAt, cpu);
    KCHECK(moves(w.word(1)));
    const u64 tables = w.tables();
    for (u64 round = 0; round < 200; ++round) {
        const u64 at = kAt + (round % 3 == 0 ? kPage : round % 3 == 1 ? kTable : kGiB);
        KDONE(map_now(w.space, w.memory, {{at, (2 + round % 6) * kPage, kR}}));
        KDONE(change_now(w.space, 0, {{at, at + kPage}}));
        KDONE(free_now(w.space, at, at + kPage, kAt + kPage, kUserTop));
        KCHECK(w.tables() == tables);
    }
    KCHECK(moves(w.word(1)) && state_of(h.thread) == kStateReady);
}

namespace {

struct Shared {
    Slot space, memory;
    std::atomic<u64> failed{0};
    std::atomic<bool> go{false};
} shared;

// Each has a stretch of its own and one that all of them use, with and without freeing tables.
void changes_much(u64 n) {
    while (!shared.go) yield();
    auto expect = [](bool ok, u64 line) {
        if (!ok) shared.failed = line;
    };
    for (u64 round = 0; round < 300; ++round) {
        const u64 own = kAt + (n + 1) * kTable, common = kAt + (round * 7 + n) % 16 * kPage, page = 1 + round % 7;
        Frame frames[] = {{own, page * kPage, kR | kW}, {common, page * kPage, kR}, {own + kGiB, page * kPage, kR}};
        expect(map_frames(shared.space, shared.memory, frames).ok(), __LINE__);
        Range both[] = {{own, own + kPage}, {common, common + kPage}, {own + kGiB, own + kGiB + kPage}};
        expect(change_frames(shared.space, both, kR).ok(), __LINE__);
        expect(stale(shared.space).ok(), __LINE__);
        expect(change_frames(shared.space, both, 0).ok(), __LINE__);
        // As if nobody else were there: what another CPU has mapped is not lost, only unmapped with its table.
        if (round % 4 == 0) expect(free_tables(shared.space, own, own + kPage, 0, kUserTop).ok(), __LINE__);
        if (round % 8 == 0) expect(free_tables(shared.space, kAt, kAt + 2 * kGiB, kAt, kAt + 2 * kGiB).ok(), __LINE__);
    }
}

}  // namespace

KTEST(one_window_changed_by_all_cpus, none) {
    Windowed w(8);
    shared.space = w.space;
    shared.memory = w.memory;
    shared.failed = 0;
    shared.go = false;
    Helper* helpers[8];
    const u64 n = boot_info().cpus < 8 ? boot_info().cpus : 8;
    for (u64 i = 0; i < n; ++i) helpers[i] = &start(changes_much, i, {.cpu = i});
    shared.go = true;
    for (u64 i = 0; i < n; ++i) KCHECK(until_done(*helpers[i]));
    KCHECK(shared.failed == 0);
    KDONE(w.clear());
    KCHECK(w.tables() == 0);
}

// --- The end of a memory

KTEST_CPUS(memory_ends_with_threads_in_its_windows, none) {
    Windowed w(8);
    Slot windows[3] = {w.space, w.new_space(), w.new_space()};
    const u64 base = w.used() - 3 * kPage;  // without the first one's tables
    Helper* threads[3];
    for (u64 i = 0; i < 3; ++i) {
        if (i != 0) w.show_code(windows[i]);
        KDONE(
            map_now(windows[i], w.memory, {{kAt + i * kGiB, (i + 1) * kPage, kR | kW}, {kAt + kTable * 9, kPage, kR}}));
        threads[i] = &counter(windows[i], kAt + i * kGiB, i == 1 ? 0 : cpu);
    }
    for (u64 i = 0; i < 3; ++i) KCHECK(moves(w.word(i + 1)));
    KDONE(raw_call(kDelete, w.memory));
    for (Helper* t : threads) KCHECK(until_stopped(*t));
    KCHECK(w.used() == base);
    // They are as new: for mappings, and as windows of another memory.
    Slot other = make(kTypeMemory, 2 * kPage);
    KDONE(raw_call(kMap, windows[0], other, kAt, 0, kPage, kR));
    KDONE(map_now(windows[1], other, {{kAt, kPage, kR}}));
    KREFUSED(kExist, raw_call(kMap, windows[1], other, kAt, 0, kPage, kR));
    KDONE(raw_call(kMap, windows[2], other, kAt, 0, kPage, kR));
    KDONE(raw_call(kUnmap, windows[2], kAt, kPage));
    KDONE(map_now(windows[2], other, {{kAt, kPage, kR}}));
}
// Also if it is one of many things that a revocation ends.
KTEST_CPUS(memory_of_windows_is_revoked, none) {
    Slot from = make(kTypePool, 64 * kPage), memory = slot(), keeps = make(kTypePool, 1 << 20);
    KDONE(raw_call(kCreate, from, kTypeMemory, memory, 8 * kPage));
    KDONE(raw_call(kMap, kSlotSpace, memory, kAreaStart, 0, 8 * kPage, kR | kW));
    std::memcpy(reinterpret_cast<void*>(kAreaStart), kCode, sizeof kCode);
    Slot space = slot();
    KDONE(raw_call(kCreate, keeps, kTypeSpace, space, 16));
    const u64 base = used_of(keeps);
    KDONE(map_now(space, memory, {{kCodeAt, 0, kR | kX}, {kAt, kPage, kR | kW}}));
    Helper& h = counter(space, kAt, cpu);
    KCHECK(moves(*reinterpret_cast<volatile u64*>(kAreaStart + kPage)));
    KDONE(raw_call(kRevoke, from));
    KCHECK(until_stopped(h) && empty(memory) && used_of(keeps) == base);
    KCHECK(until([&] { return used_of(from) == 0; }));
    KREFUSED(kBadF, map_now(space, memory, {{kAt, 0, kR}}));
}
// A window with thousands of pages is emptied in steps.
KTEST(large_window_ends, none) {
    constexpr u64 kPages = 16;
    Windowed w(kPages);
    for (u64 at = 0; at < 100 * kTable; at += kTable) {
        Frame frames[kMostFrames];
        for (u64 i = 0; i < kMostFrames; ++i) frames[i] = {kAt + at + i * kPage, i % kPages * kPage, kR};
        KDONE(code(as_void(map_frames(w.space, w.memory, frames))));
    }
    KCHECK(w.tables() >= 103);
    KDONE(raw_call(kDelete, w.memory));
    KCHECK(w.tables() == 0);
}

// --- The end of a space

KTEST_CPUS(window_ends_with_a_thread_in_it, none) {
    Windowed w(8);
    const u64 at = kAt + 5 * kGiB;
    KDONE(map_now(w.space, w.memory, {{at, kPage, kR | kW}}));
    Helper& h = counter(w.space, at, cpu);
    KCHECK(moves(w.word(1)));
    KDONE(raw_call(kDelete, w.space));
    KCHECK(until_stopped(h));
    const u64 left = w.word(1);
    sleep(2 * kMillisecond);
    KCHECK(w.word(1) == left);
    KDONE(raw_call(kDelete, h.thread));
    KCHECK(until([&] { return w.used() == 0; }));
    // The memory has forgotten it.
    Slot again = w.new_space();
    KDONE(map_now(again, w.memory, {{kAt, kPage, kR}}));
    KDONE(raw_call(kDelete, w.memory));
}

// --- Both, and calls under way

namespace {

std::atomic<u64> refused_with;
void maps_until_refused(u64) {
    shared.go = true;
    for (u64 n = 0;; ++n) {
        Frame frames[] = {{kAt + n % 64 * kTable, n % 8 * kPage, kR}, {kAt + n % 3 * kGiB, 0, kR}};
        auto r = map_frames(shared.space, shared.memory, frames);
        if (r.ok()) continue;
        refused_with = u64(r.error());
        return;
    }
}
bool is_end(u64 error) { return error == u64(Errno::kBadF) || error == u64(Errno::kIdRm); }

}  // namespace

KTEST_CPUS(memory_ends_while_it_is_mapped, none) {
    Slot from = make(kTypePool, 1 << 20), space = make(kTypeSpace, 16);
    shared.space = space;
    const u64 base = used_of(pool());
    for (u64 round = 0; round < 12; ++round) {
        shared.memory = slot();
        KDONE(raw_call(kCreate, from, kTypeMemory, shared.memory, 8 * kPage));
        shared.go = false;
        refused_with = 0;
        Helper& h = start(maps_until_refused, 0, {.cpu = cpu});
        KCHECK(until([] { return shared.go.load(); }));
        for (u64 spin = 0; spin < round * 4; ++spin) yield();
        KDONE(raw_call(kDelete, shared.memory));
        KCHECK(until_done(h) && is_end(refused_with));
        KCHECK(until_stopped(h));
        KDONE(raw_call(kDelete, h.thread));
        KCHECK(until([&] { return used_of(pool()) == base; }));
        KCHECK(until([&] { return used_of(from) == 0; }));
    }
}
KTEST_CPUS(memory_and_window_end_at_once, none) {
    static Slot ending;
    static auto deletes = [](u64) {
        shared.go = true;
        (void)remove(ending);
    };
    Slot from = make(kTypePool, 1 << 20), spaces = make(kTypePool, 2 << 20);
    for (u64 round = 0; round < 12; ++round) {
        Slot memory = slot(), other = slot();
        ending = slot();
        KDONE(raw_call(kCreate, from, kTypeMemory, memory, 8 * kPage));
        KDONE(raw_call(kCreate, spaces, kTypeSpace, ending, 16));
        KDONE(raw_call(kCreate, spaces, kTypeSpace, other, 16));
        const u64 base = used_of(spaces);
        for (u64 i = 0; i < 40; ++i)
            KDONE(map_now(i == 0 ? other : ending, memory, {{kAt + i * kTable, i % 8 * kPage, kR}}));
        KCHECK(used_of(spaces) > base);
        shared.go = false;
        Helper& h = start(+deletes, 0, {.cpu = cpu});
        KCHECK(until([] { return shared.go.load(); }));
        KDONE(raw_call(kDelete, memory));
        KCHECK(until_done(h) && until_stopped(h));
        KDONE(raw_call(kDelete, h.thread));
        KDONE(raw_call(kDelete, other));
        KCHECK(until([&] { return used_of(spaces) == 0 && used_of(from) == 0; }));
    }
}

}  // namespace ktest
