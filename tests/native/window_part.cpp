// SPDX-License-Identifier: MIT
// Windows: frames of a memory that are mapped one by one (kMapFrames and the calls that belong to it).
#include "tests/native/window.hpp"

namespace ktest {
namespace {

u64 free_bytes() {
    auto r = memory_free(kSlotSystem);
    return r.ok() ? r.value() : 0;
}

}  // namespace

// --- What it does

KTEST_CPUS(frames_are_where_they_were_mapped, none) {
    Windowed w(8);
    Probe p(w.space, cpu);
    KDONE(
        map_now(w.space, w.memory, {{kAt, 3 * kPage, kR}, {kAt + kPage, 2 * kPage, kR | kW}, {kAt + kGiB, kPage, kR}}));
    KCHECK(p.finds(kAt, 1003) && p.finds(kAt + kPage, 1002) && p.finds(kAt + kGiB, 1001));
    KCHECK(p.finds_nothing(kAt + 2 * kPage) && p.finds_nothing(kAt + kTable));
    // One frame at two places, one writable.
    KDONE(map_now(w.space, w.memory, {{kAt + 5 * kPage, 3 * kPage, kR | kW}}));
    KCHECK(p.writes(kAt + 5 * kPage, 77).label == kLabelException);
    KCHECK(p.finds(kAt, 77) && w.word(3) == 77);
}
KTEST_CPUS(frames_have_the_rights_of_their_item, none) {
    Windowed w(8);
    Probe p(w.space, cpu);
    KDONE(map_now(
        w.space, w.memory,
        {{kAt, kPage, kR}, {kAt + kPage, kPage, kR | kW}, {kAt + 2 * kPage, 0, kR | kX}, {kAt + 3 * kPage, kPage, 0}}));
    auto seen = p.writes(kAt, 5);
    KCHECK(seen.faulted() && seen.address == kAt && seen.present == 1 && w.word(1) == 1001);
    seen = p.runs(kAt + kPage);
    KCHECK(seen.faulted() && seen.address == kAt + kPage);
    KCHECK(p.go(kAt + 2 * kPage + kReads, kAt).rax == 1001);
    KCHECK(p.writes(kAt + 2 * kPage, 5).faulted());
    KCHECK(p.reads(kAt + 3 * kPage).faulted());
}
KTEST_CPUS(frames_are_replaced, none) {
    Windowed w(8);
    Probe p(w.space, cpu);
    KDONE(map_now(w.space, w.memory, {{kAt, kPage, kR | kW}}));
    KCHECK(p.finds(kAt, 1001));
    const u64 used = w.used();
    KDONE(map_now(w.space, w.memory, {{kAt, 2 * kPage, kR | kW}}));
    KCHECK(p.finds(kAt, 1002) && w.used() == used);
    KDONE(map_now(w.space, w.memory, {{kAt, 2 * kPage, kR}}));
    KCHECK(p.writes(kAt, 5).faulted() && p.finds(kAt, 1002));
    KDONE(map_now(w.space, w.memory, {{kAt, 2 * kPage, kR | kW}}));
    KCHECK(p.writes(kAt, 5).label == kLabelException && w.word(2) == 5);
    // Twice in one call: the last one counts.
    KDONE(map_now(w.space, w.memory, {{kAt, 3 * kPage, kR}, {kAt, 4 * kPage, kR}}));
    KCHECK(p.finds(kAt, 1004));
}
// The short way of the call is over, and then something else comes first: another CPU wakes a thread up here.
KTEST(frames_are_mapped_while_others_are_woken_here, none) {
    static std::atomic<u64> over, woken;
    static auto wait = [](u64 n) {
        for (Message m; receive(n, m).ok(); woken = woken + 1) {
        }
    };
    static auto signal_for_ever = [](u64 n) {
        while (over == 0) (void)signal(n, 1);
    };
    over = woken = 0;
    Windowed w(8);
    const Slot n = make(kTypeNotification);
    Helper& waiter = start(+wait, n, {.priority = kDefaultPriority + 2});
    KCHECK(until_state(waiter, kStateWaiting));
    Helper& other = start(+signal_for_ever, n, {.priority = 3, .cpu = far_cpu()});
    for (u64 i = 0; i < 20'000 || (far_cpu() != 0 && woken < 100); ++i) {
        const i64 r = map_now(w.space, w.memory, {{kAt, (i % 8) * kPage, kR}});
        KCHECK(r == 0 || r == 1);
    }
    over = 1;
    KCHECK(until_stopped(other));
}
KTEST_CPUS(frames_are_protected_and_unmapped, none) {
    Windowed w(8);
    Probe p(w.space, cpu);
    for (u64 i = 1; i < 8; ++i) KDONE(map_now(w.space, w.memory, {{kAt + i * kPage, i * kPage, kR | kW}}));
    KDONE(change_now(w.space, kR, {{kAt + 2 * kPage, kAt + 4 * kPage}, {kAt + 6 * kPage, kAt + 6 * kPage}}));
    KCHECK(p.writes(kAt + kPage, 1).label == kLabelException && p.writes(kAt + 4 * kPage, 1).label == kLabelException);
    KCHECK(p.writes(kAt + 2 * kPage, 1).faulted() && p.writes(kAt + 3 * kPage, 1).faulted());
    KCHECK(p.finds(kAt + 2 * kPage, 1002) && p.finds(kAt + 3 * kPage, 1003));
    KCHECK(p.writes(kAt + 6 * kPage, 1).label == kLabelException);
    KDONE(change_now(w.space, 0, {{kAt + 3 * kPage, kAt + 4 * kPage}, {kAt + 5 * kPage, kAt + 6 * kPage}}));
    KCHECK(p.finds_nothing(kAt + 3 * kPage) && p.finds_nothing(kAt + 5 * kPage));
    KCHECK(p.finds(kAt + 2 * kPage, 1002) && p.finds(kAt + 7 * kPage, 1007));
    // Holes stay holes, and what was read-only may be written again.
    KDONE(change_now(w.space, kR | kW, {{kAt, kAt + 8 * kPage}}));
    KCHECK(p.finds_nothing(kAt + 3 * kPage) && p.writes(kAt + 2 * kPage, 9).label == kLabelException && w.word(2) == 9);
}
KTEST(as_many_frames_as_go_into_a_call, none) {
    constexpr u64 kPages = 64;
    Windowed w(kPages);
    Probe p(w.space);
    Frame frames[kMostFrames];
    for (u64 i = 0; i < kMostFrames; ++i) frames[i] = {kAt + i * kPage, (i + 1) * kPage, kR};
    KDONE(code(as_void(map_frames(w.space, w.memory, frames))));
    for (u64 i = 0; i < kMostFrames; i += 7) KCHECK(p.finds(kAt + i * kPage, 1001 + i));
    KCHECK(p.finds_nothing(kAt + kMostFrames * kPage));
}
// 60 pages that need three tables each, in steps; and a range as long as a space.
KTEST(frames_far_from_each_other, none) {
    Windowed w(64);
    Probe p(w.space);
    const u64 before = w.tables();
    constexpr u64 kApart = u64{1} << 39;
    Frame frames[kMostFrames];
    for (u64 i = 0; i < kMostFrames; ++i) frames[i] = {(i + 1) * kApart, (i + 1) * kPage, kR | kW};
    KDONE(code(as_void(map_frames(w.space, w.memory, frames))));
    KCHECK(w.tables() == before + 3 * kMostFrames);
    for (u64 i = 0; i < kMostFrames; ++i) KCHECK(p.finds((i + 1) * kApart, 1001 + i));
    KDONE(change_now(w.space, kR, {{kApart, 31 * kApart}, {31 * kApart, kUserTop}}));
    for (u64 i = 0; i < kMostFrames; i += 9) KCHECK(p.writes((i + 1) * kApart, 5).faulted());
    KDONE(change_now(w.space, 0, {{kApart, kUserTop}}));
    for (u64 i = 0; i < kMostFrames; i += 9) KCHECK(p.finds_nothing((i + 1) * kApart));
    KCHECK(w.tables() == before + 3 * kMostFrames);
    KDONE(free_now(w.space, kApart, kUserTop, kApart, kUserTop));
    KCHECK(w.tables() == before && p.finds(kCodeAt, *reinterpret_cast<const u64*>(kCode)));
}

// --- Page tables

KTEST(tables_of_a_window_are_charged_and_given_back, none) {
    Windowed w(64);
    KCHECK(w.tables() == 3);
    KDONE(w.clear());
    KCHECK(w.tables() == 0);
    sleep(5 * kMillisecond);  // they are freed an epoch later
    const u64 used = w.used(), free = free_bytes();
    Frame frames[kMostFrames];
    for (u64 i = 0; i < kMostFrames; ++i) frames[i] = {kAt + i * kGiB, (i + 1) * kPage, kR};
    KDONE(code(as_void(map_frames(w.space, w.memory, frames))));
    // A directory and a last table each, and one above them.
    KCHECK(w.tables() == 2 * kMostFrames + 1);
    KCHECK(free - free_bytes() == w.used() - used);
    KDONE(w.clear());
    KCHECK(w.used() == used);
    KCHECK(until([&] { return free_bytes() == free; }));
}
KTEST(tables_in_use_stay, none) {
    Windowed w(8);
    Probe p(w.space);
    const u64 before = w.tables();
    KDONE(map_now(w.space, w.memory, {{kAt, kPage, kR}, {kAt + kTable, 2 * kPage, kR}, {kAt + kGiB, 3 * kPage, kR}}));
    KCHECK(w.tables() == before + 1 + 2 + 3);
    // As a caller that knows its neighbours.
    KDONE(change_now(w.space, 0, {{kAt, kAt + kPage}}));
    KDONE(free_now(w.space, kAt, kAt + kPage, kCodeAt + kPage, kAt + kTable));
    KCHECK(w.tables() == before + 5 && p.finds(kAt + kTable, 1002));
    // One that does not: what is mapped beside the range stays where it is.
    KDONE(free_now(w.space, kAt, kAt + kPage, 0, kUserTop));
    KCHECK(w.tables() == before + 5 && p.finds(kAt + kTable, 1002) && p.finds(kAt + kGiB, 1003));
    // Mapped all the same: unmapped with its table.
    KDONE(free_now(w.space, kAt + kTable, kAt + kTable + kPage, 0, kUserTop));
    KCHECK(w.tables() == before + 3 && p.finds_nothing(kAt + kTable) && p.finds(kAt + kGiB, 1003));
    // Not if the table covers what is out of bounds.
    KDONE(free_now(w.space, kAt + kGiB, kAt + kGiB + kPage, 0, kAt + kGiB + kPage));
    KDONE(free_now(w.space, kAt + kGiB + kPage, kAt + kGiB + kTable, kAt + kGiB + kPage, kUserTop));
    KDONE(free_now(w.space, kAt + kGiB, kAt + kGiB, 0, kUserTop));
    KCHECK(w.tables() == before + 3 && p.finds(kAt + kGiB, 1003));
}
// A table that is empty but not in the range keeps the one above it: it would be lost otherwise.
KTEST(empty_tables_beside_the_range_are_not_lost, none) {
    Windowed w(8);
    const u64 before = w.tables();
    KDONE(map_now(w.space, w.memory, {{kAt, kPage, kR}, {kAt + kTable, 2 * kPage, kR}}));
    KDONE(change_now(w.space, 0, {{kAt, kAt + 2 * kTable}}));
    KDONE(free_now(w.space, kAt + kTable, kAt + kTable + kPage, kAt, kAt + 512 * kGiB));
    KCHECK(w.tables() == before + 3);
    KDONE(free_now(w.space, kAt, kAt + kPage, kAt, kAt + 512 * kGiB));
    KCHECK(w.tables() == before);
}
KTEST(page_at_the_top_of_the_user_half, none) {
    Windowed w(8);
    Probe p(w.space);
    const u64 before = w.tables(), at = kUserTop - kPage;
    KDONE(map_now(w.space, w.memory, {{at, kPage, kR}}));
    KCHECK(w.tables() == before + 3 && p.finds(at, 1001));
    KDONE(change_now(w.space, 0, {{at, kUserTop}}));
    KDONE(free_now(w.space, at, kUserTop, kCodeAt + kPage, kUserTop));
    KCHECK(w.tables() == before);
}
// The same for a mapping.
KTEST(mapping_at_the_top_of_the_user_half_gives_back_its_tables, none) {
    Slot p = make(kTypePool, 64 * kPage), space = slot(), m = make(kTypeMemory, kPage);
    KDONE(raw_call(kCreate, p, kTypeSpace, space, 16));
    const u64 used = used_of(p);
    KDONE(raw_call(kMap, space, m, kUserTop - kPage, 0, kPage, kReadRight));
    KCHECK(used_of(p) > used);
    KDONE(raw_call(kUnmap, space, kUserTop - kPage, kPage));
    KCHECK(used_of(p) == used);
    KDONE(raw_call(kMap, space, m, kUserTop - kPage, 0, kPage, kReadRight));
    KDONE(raw_call(kDelete, space));
    KCHECK(until([&] { return used_of(p) == 0; }));
}
// The quota is used to the last page; what was mapped before the end of it stays.
KTEST(pool_ends_with_a_windows_tables, pool_quota) {
    Slot m = make(kTypeMemory, 8 * kPage), probe = make(kTypePool, 1 << 20), s = slot();
    KDONE(raw_call(kCreate, probe, kTypeSpace, s, 16));
    const u64 cost = used_of(probe);
    for (u64 pages : {u64{0}, u64{1}, u64{2}, u64{5}}) {
        Slot p = make(kTypePool, cost + pages * kPage), space = slot();
        KDONE(raw_call(kCreate, p, kTypeSpace, space, 16));
        KCHECK(map_now(space, m, {{kAt, 0, kR}, {kAt + kGiB, kPage, kR}, {kAt + 2 * kGiB, kPage, kR}}) ==
               -i64(Errno::kNoMem));
        KCHECK(used_of(p) == cost + pages * kPage);
        KDONE(change_now(space, 0, {{0, kUserTop}}));
        KDONE(free_now(space, 0, kUserTop, 0, kUserTop));
        KCHECK(used_of(p) == cost);
    }
    Slot p = make(kTypePool, cost + 3 * kPage), space = slot();
    KDONE(raw_call(kCreate, p, kTypeSpace, space, 16));
    KDONE(map_now(space, m, {{kAt, 0, kR}}));
    KREFUSED(kNoMem, map_now(space, m, {{kAt + kTable, 0, kR}}));
    KDONE(map_now(space, m, {{kAt + kPage, 0, kR}}));
}

// --- What a memory consists of

KTEST(runs_of_a_memory_cover_it, none) {
    for (u64 pages : {1, 3, 64, 200}) {
        Slot m = make(kTypeMemory, pages * kPage);
        u64 bytes = 0, end = 0, n = 0;
        for (;; ++n) {
            auto r = memory_extent(kSlotSystem, m, n);
            if (!r.ok()) break;
            // Page by page, not where the last one ended.
            KCHECK(r.value().start % kPage == 0 && r.value().bytes % kPage == 0 && r.value().bytes != 0);
            KCHECK(n == 0 || r.value().start != end);
            bytes += r.value().bytes;
            end = r.value().start + r.value().bytes;
        }
        KCHECK(n != 0 && bytes == pages * kPage);
        KREFUSED(kInval, raw_call(kMemoryExtent, kSlotSystem, m, n));
        KDONE(raw_call(kDelete, m));
    }
}
KTEST(runs_beyond_the_last, extent_index) {
    Slot m = make(kTypeMemory, kPage);
    for (u64 index : {u64{1}, u64{100}, u64{1} << 32, ~u64{0}})
        KREFUSED(kInval, raw_call(kMemoryExtent, kSlotSystem, m, index));
}

// --- Errors

KTEST(windows_of_too_many_items, window_count) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16);
    for (u64& word : utcb().words) word = 0;
    // No more than one of them is mapped if it is let through.
    for (u64 count : {u64{0}, kMostFrames + 1, u64{200}, ~u64{0}}) {
        KREFUSED(kInval, raw_call(kMapFrames, space, m, count));
        KREFUSED(kInval, raw_call(kChangeFrames, space, count, kR));
    }
}
KTEST(frames_misaligned, window_aligned) {
    Slot m = make(kTypeMemory, 2 * kPage), space = make(kTypeSpace, 16);
    for (u64 at : {kAt + 1, kAt + 0x800, kAt + 0xff8}) {
        KREFUSED(kInval, map_now(space, m, {{at, 0, kR}}));
        KREFUSED(kInval, map_now(space, m, {{kAt, 0, kR}, {at, 0, kR}}));
    }
}
KTEST(frames_at_foreign_addresses, window_range) {
    Slot m = make(kTypeMemory, 2 * kPage), space = make(kTypeSpace, 16);
    for (u64 at : {kUserTop, kUserTop + kPage, u64{0xffff'8000'0000'0000}, ~u64{4095}}) {
        KREFUSED(kInval, map_now(space, m, {{at, 0, kR}}));
        KREFUSED(kInval, map_now(space, m, {{kAt, 0, kR}, {at, 0, kR}, {kAt, 0, kR}}));
    }
    // Nothing was mapped by it, and no window made.
    KDONE(raw_call(kMap, space, m, kAt, 0, kPage, kR));
}
KTEST(frames_with_odd_bits, window_bits) {
    Slot m = make(kTypeMemory, 2 * kPage), space = make(kTypeSpace, 16);
    for (u64 bit : {u64{1}, u64{2}, u64{4}, u64{64}, u64{0x800}}) {
        KREFUSED(kInval, map_now(space, m, {{kAt, 0, kR | bit}}));
        KREFUSED(kInval, change_now(space, kR | bit, {{kAt, kAt + kPage}}));
    }
    KREFUSED(kInval, change_now(space, kR | u64{1} << 40, {{kAt, kAt + kPage}}));
}
KTEST(frames_beyond_the_memory, window_offset) {
    Slot m = make(kTypeMemory, 2 * kPage), space = make(kTypeSpace, 16);
    for (u64 offset : {2 * kPage, 3 * kPage, u64{1} << 47, ~u64{4095}}) {
        KREFUSED(kInval, map_now(space, m, {{kAt, offset, kR}}));
        KREFUSED(kInval, map_now(space, m, {{kAt, offset, kR}, {kAt + kPage, kPage, kR}}));
    }
    KDONE(map_now(space, m, {{kAt, kPage, kR}}));
}
KTEST(frames_with_more_rights, window_rights) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16), read = derive(m, kR), none = derive(m, 0);
    KREFUSED(kPerm, map_now(space, read, {{kAt, 0, kR | kW}}));
    KREFUSED(kPerm, map_now(space, read, {{kAt, 0, kR}, {kAt, 0, kR | kX}}));
    KREFUSED(kPerm, map_now(space, none, {{kAt, 0, kR}}));
    KDONE(map_now(space, read, {{kAt, 0, kR}}));
}
KTEST(protected_with_more_rights_than_the_window, window_protect) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16), read = derive(m, kR), runs = derive(m, kR | kX);
    KDONE(map_now(space, runs, {{kAt, 0, kR}}));
    KREFUSED(kPerm, change_now(space, kR | kW, {{kAt, kAt + kPage}}));
    KDONE(change_now(space, kR | kX, {{kAt, kAt + kPage}}));
    // From now on less.
    KDONE(map_now(space, read, {{kAt + kPage, 0, kR}}));
    KREFUSED(kPerm, change_now(space, kR | kX, {{kAt, kAt + kPage}}));
    KDONE(change_now(space, kR, {{kAt, kAt + kPage}}));
}
KTEST(odd_ranges_of_frames, window_ranges) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16);
    KDONE(map_now(space, m, {{kAt, 0, kR}}));
    for (Range r :
         {Range{kAt + 1, kAt + kPage}, Range{kAt, kAt + 100}, Range{kAt + kPage, kAt}, Range{kAt, kUserTop + kPage},
          Range{0xffff'8000'0000'0000, 0xffff'8000'0000'1000}, Range{kPage, 0}}) {
        KREFUSED(kInval, change_now(space, kR, {r}));
        KREFUSED(kInval, change_now(space, 0, {{kAt, kAt + kPage}, r}));
    }
    KREFUSED(kExist, raw_call(kMap, space, m, kAt, 0, kPage, kR));
}
KTEST(odd_ranges_of_tables, tables_range) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16);
    KDONE(map_now(space, m, {{kAt, 0, kR}}));
    KREFUSED(kInval, free_now(space, kAt + 1, kAt + kPage, 0, kUserTop));
    KREFUSED(kInval, free_now(space, kAt, kAt + 8, 0, kUserTop));
    KREFUSED(kInval, free_now(space, kAt + kTable, kAt, 0, kUserTop));
    KREFUSED(kInval, free_now(space, kAt, kAt + kPage, 8, kUserTop));
    KREFUSED(kInval, free_now(space, kAt, kAt + kPage, 0, kUserTop + kPage));
}
KTEST(tables_out_of_bounds, tables_bounds) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16);
    KDONE(map_now(space, m, {{kAt, 0, kR}}));
    KREFUSED(kInval, free_now(space, kAt, kAt + kPage, kAt + kPage, kUserTop));
    KREFUSED(kInval, free_now(space, kAt, kAt + 2 * kPage, 0, kAt + kPage));
}
KTEST(window_where_something_is_mapped, window_unmapped) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16);
    KDONE(raw_call(kMap, space, m, kAt, 0, kPage, kR));
    KREFUSED(kExist, map_now(space, m, {{kAt + kPage, 0, kR}}));
    KREFUSED(kExist, change_now(space, 0, {{kAt, kAt + kPage}}));
    KREFUSED(kExist, free_now(space, kAt, kAt + kPage, 0, kUserTop));
    KREFUSED(kExist, map_now(kSlotSpace, m, {{kAreaStart, 0, kR}}));
    KDONE(raw_call(kUnmap, space, kAt, kPage));
    KDONE(map_now(space, m, {{kAt + kPage, 0, kR}}));
}
KTEST(window_of_another_memory, window_memory) {
    Slot m = make(kTypeMemory, kPage), other = make(kTypeMemory, kPage), space = make(kTypeSpace, 16);
    KDONE(map_now(space, m, {{kAt, 0, kR}}));
    KREFUSED(kExist, map_now(space, other, {{kAt + kPage, 0, kR}}));
    // Also when it shows nothing any more.
    KDONE(change_now(space, 0, {{0, kUserTop}}));
    KDONE(free_now(space, 0, kUserTop, 0, kUserTop));
    KREFUSED(kExist, map_now(space, other, {{kAt + kPage, 0, kR}}));
}
KTEST(mapping_in_a_window, map_window) {
    Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16), t = make(kTypeThread);
    KDONE(map_now(space, m, {{kAt, 0, kR}}));
    KREFUSED(kExist, raw_call(kMap, space, m, kAt, 0, kPage, kR));
    KREFUSED(kExist, raw_call(kMap, space, m, kAt + kGiB, 0, kPage, kR));
    KREFUSED(kExist, raw_call(kThreadConfigure, t, space, kAt + kGiB, 0, 0));
    KDONE(raw_call(kThreadConfigure, t, space, 0, 0, 0));
}
// Unmapping and protecting mappings finds none there.
KTEST(window_has_no_mappings, none) {
    Windowed w(4);
    Probe p(w.space);
    KDONE(map_now(w.space, w.memory, {{kAt, kPage, kR | kW}}));
    KDONE(raw_call(kUnmap, w.space, kAt, kPage));
    KDONE(raw_call(kProtect, w.space, kAt, kPage, kR));
    KCHECK(p.writes(kAt, 3).label == kLabelException && w.word(1) == 3);
}
// A space that is neither a window nor has mappings.
KTEST(frames_of_an_empty_space, none) {
    Slot space = make(kTypeSpace, 16);
    KDONE(change_now(space, 0, {{0, kUserTop}}));
    KDONE(change_now(space, kR | kW, {{kAt, kAt + kPage}}));
    KDONE(free_now(space, kAt, kAt + kPage, 0, kUserTop));
    KCHECK(raw_call(kSpaceStale, space) == 0);
}
// A thread without a page for them has no items.
KTEST(frames_without_a_utcb, tag_needs_utcb) {
    static Slot memory, space;
    static std::atomic<i64> got[2];
    static auto maps = [](u64) {
        got[0] = raw_call(kMapFrames, space, memory, 1);
        got[1] = raw_call(kChangeFrames, space, 1, 0);
    };
    memory = make(kTypeMemory, kPage);
    space = make(kTypeSpace, 16);
    got[0] = got[1] = 1;
    Helper& h = start(+maps, 0, {.with_utcb = false});
    KCHECK(until_done(h));
    KCHECK(got[0] == -i64(Errno::kInval) && got[1] == -i64(Errno::kInval));
}

}  // namespace ktest
