// SPDX-License-Identifier: MIT
// What most native programs need besides the calls: free slots, threads with stacks in this space, formatted output.
#pragma once
#include "lib/format.hpp"
#include "sysapi/native.hpp"

namespace native {

// Allocates slots of the first program's table, in ascending order. Not thread-safe.
inline Slot next_slot_ = kSlotFree;
inline Slot new_slot() { return next_slot_++; }

// Prints up to 255 characters; lib/format.hpp describes the format.
template <class... A>
void print(const char* format, const A&... args) {
    char line[256];
    write({line, lib::format_to(line, format, args...)});
}

// Creates an object, charged to the first program's pool of all memory.
inline Result<Slot> make(Type type, u64 argument = 0) {
    Slot s = new_slot();
    TRY(create(kSlotPool, type, s, argument));
    return s;
}

// Allocates unused addresses of this space, in multiples of 64 KiB. Not thread-safe.
inline u64 next_address_ = 0x10'0000'0000;
inline u64 new_address(u64 bytes) {
    u64 at = next_address_;
    next_address_ += (bytes + 0xffff) & ~u64{0xffff};
    return at;
}
// New memory, mapped for reading and writing. Its capability is stored in `memory`, unless that is null. Not
// thread-safe.
inline Result<std::byte*> map_new(u64 bytes, Slot* memory = nullptr) {
    bytes = (bytes + 4095) & ~u64{4095};
    Slot m = TRY(make(kTypeMemory, bytes));
    u64 at = new_address(bytes);
    TRY(map(kSlotSpace, m, at, 0, bytes, kReadRight | kWriteRight));
    if (memory) *memory = m;
    return reinterpret_cast<std::byte*>(at);
}

// Creates a space with this program mapped at the same addresses: code and data are shared.
inline Result<Slot> make_space(u64 slots = 64) {
    Slot s = TRY(make(kTypeSpace, slots));
    const BootInfo& info = boot_info();
    for (u64 i = 0; i < info.segments; ++i) {
        const Segment& g = info.segment[i];
        TRY(map(s, kSlotImage, g.start, g.start - info.image_start, g.end - g.start, g.rights));
    }
    return s;
}

// A thread that runs fn(argument) on its own stack, and suspends itself when fn returns.
struct Thread {
    Slot slot = 0;
    u64 utcb = 0;
    u64 stack = 0;  // lowest address
};
// Bytes.
inline constexpr u64 kThreadStack = 0x4000;

extern "C" inline void native_thread_body(void (*fn)(u64), u64 argument, Slot self) {
    fn(argument);
    for (;;) (void)suspend(self);
}

// Sets the registers of a thread that is not running, so that it starts with fn(argument) on an empty stack.
inline Result<void> begin_with(const Thread& t, void (*fn)(u64), u64 argument) {
    Registers r{};
    r.rip = u64(&native_thread_body);
    r.rsp = t.stack + kThreadStack - 8;
    r.rdi = u64(fn);
    r.rsi = argument;
    r.rdx = t.slot;
    r.fs_base = t.utcb;
    r.rflags = 0x202;
    return set_registers(t.slot, r);
}

// handler: the exception endpoint, or 0. space: other than this one, it must map this program (make_space).
struct ThreadOptions {
    u64 priority = kDefaultPriority;
    u64 cpu = 0;
    Slot handler = 0;
    Slot space = kSlotSpace;
    bool start = true;
};
inline Result<Thread> make_thread(void (*fn)(u64), u64 argument, ThreadOptions o = {}) {
    Thread t;
    t.slot = TRY(make(kTypeThread));
    Slot memory;
    std::byte* stack = TRY(map_new(kThreadStack, &memory));
    t.stack = u64(stack);
    if (o.space != kSlotSpace) TRY(map(o.space, memory, t.stack, 0, kThreadStack, kReadRight | kWriteRight));
    t.utcb = new_address(4096);
    TRY(configure(t.slot, o.space, t.utcb, o.handler));
    TRY(begin_with(t, fn, argument));
    TRY(schedule(t.slot, kSlotSched, o.priority, o.cpu));
    if (o.start) TRY(resume(t.slot));
    return t;
}

}  // namespace native
