// SPDX-License-Identifier: MIT
// What the tests of windows share: a window with a memory that the test sees too, and a thread in it that looks at
// addresses.
#pragma once
#include <initializer_list>

#include "tests/native/ktest.hpp"

namespace ktest {

constexpr u64 kR = kReadRight, kW = kWriteRight, kX = kExecuteRight;

inline i64 map_now(Slot space, Slot memory, std::initializer_list<Frame> frames) {
    auto r = map_frames(space, memory, {frames.begin(), frames.size()});
    return r.ok() ? r.value() : -i64(r.error());
}
inline i64 change_now(Slot space, u64 rights, std::initializer_list<Range> ranges) {
    auto r = change_frames(space, {ranges.begin(), ranges.size()}, rights);
    return r.ok() ? r.value() : -i64(r.error());
}
template <class T>
Result<void> as_void(const Result<T>& r) {
    if (!r.ok()) return r.error();
    return lib::kOk;
}
inline i64 free_now(Slot space, u64 start, u64 end, u64 floor, u64 ceiling) {
    return raw_call(kFreeTables, space, start, end, floor, ceiling);
}
inline constexpr u64 kUserTop = 0x7fff'ffff'f000;
inline constexpr u64 kTable = u64{2} << 20, kGiB = u64{1} << 30;

// Machine code for threads in windows, in the first page of the memory: they have no UTCB and no stack.
inline constexpr u64 kReads = 0, kWrites = 16, kCounts = 32;  // mov (%rdi), %rax; mov %rsi, (%rdi); lock incq (%rdi)
inline constexpr unsigned char kCode[] = {0x48, 0x8b, 0x07, 0x0f, 0x0b, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
                                          0x90, 0x90, 0x90, 0x48, 0x89, 0x37, 0x0f, 0x0b, 0x90, 0x90, 0x90, 0x90, 0x90,
                                          0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xf0, 0x48, 0xff, 0x07, 0xeb, 0xfa};
// Where tests map: not under the table of the second highest level that the code is under.
inline constexpr u64 kCodeAt = 0x40'0000, kAt = 0x1000'0000'0000;

// A memory whose page i begins with 1000 + i, but for page 0, which has the code; and a window of it with the code.
struct Windowed {
    u64 seen_at;  // in this space
    Slot memory, pool, space;
    u64 base;  // what the pool has given before the window has any page
    explicit Windowed(u64 pages, u64 seen = kAreaStart) : seen_at(seen) {
        memory = make(kTypeMemory, pages * kPage);
        pool = make(kTypePool, 1 << 20);
        (void)map(kSlotSpace, memory, seen_at, 0, pages * kPage, kR | kW);
        for (u64 i = 1; i < pages; ++i) word(i) = 1000 + i;
        std::memcpy(reinterpret_cast<void*>(seen_at), kCode, sizeof kCode);
        space = new_space();
        base = used();
        show_code(space);
    }
    volatile u64& word(u64 page) const { return *reinterpret_cast<volatile u64*>(seen_at + page * kPage); }
    Slot new_space() const {
        Slot s = slot();
        auto r = create(pool, kTypeSpace, s, 16);
        if (!r.ok()) note_result("a space", code(r), "a space", __FILE_NAME__, __LINE__);
        return s;
    }
    void show_code(Slot in) const {
        if (i64 r = map_now(in, memory, {{kCodeAt, 0, kR | kX}}); r != 0)
            note_result("a window", r, "a window", __FILE_NAME__, __LINE__);
    }
    u64 used() const { return used_of(pool); }
    u64 tables() const { return (used() - base) / kPage; }
    // Unmaps everything and frees all tables.
    i64 clear() const {
        if (i64 r = change_now(space, 0, {{0, kUserTop}}); r < 0) return r;
        return free_now(space, 0, kUserTop, 0, kUserTop);
    }
};

// A thread in a window that makes one access at a time.
struct Probe {
    Slot faults;
    Helper* thread = nullptr;
    struct Seen {
        u64 label, address, present, rax;
        bool faulted() const { return label == kLabelPageFault; }
    };
    explicit Probe(Slot space, u64 cpu = 0) : faults(make(kTypeEndpoint)) {
        thread = &start_at(kCodeAt, kCodeAt, {.cpu = cpu, .handler = faults, .space = space, .with_utcb = false});
        Message m;
        if (!receive_soon(faults, m).ok()) note_failure("a probe", __FILE_NAME__, __LINE__);
    }
    Seen go(u64 code, u64 address, u64 value = 0) {
        Registers r{};
        (void)get_registers(thread->thread, r);
        r.rip = code;
        r.rdi = address;
        r.rsi = value;
        utcb().registers = r;
        Message m;
        if (!reply(message(kResumeWith)).ok() || !receive_soon(faults, m).ok()) return {0, 0, 0, 0};
        (void)get_registers(thread->thread, r);
        return {m.label(), m.words[0], m.words[4], r.rax};
    }
    Seen reads(u64 address) { return go(kCodeAt + kReads, address); }
    Seen writes(u64 address, u64 value) { return go(kCodeAt + kWrites, address, value); }
    Seen runs(u64 address) { return go(address, 0); }
    bool finds(u64 address, u64 value) {
        const Seen s = reads(address);
        return s.label == kLabelException && s.rax == value;
    }
    bool finds_nothing(u64 address) {
        const Seen s = reads(address);
        return s.faulted() && s.address == address && s.present == 0;
    }
};

}  // namespace ktest
