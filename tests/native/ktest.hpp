// SPDX-License-Identifier: MIT
// Tests of the native interface from outside: a program that makes every call, with valid and invalid arguments
// (docs/testing.md). It prints `ktest NAME ok` or `ktest NAME FAIL what (file:line)` for each test, and `ktest done N`
// at the end.
//
// A test names the kernel's check (core/check_names.hpp) that it tests, or `none`: with that check switched off it must
// fail (`./farcall test checks`). It starts from a clean state: its own pool, slots from kFirstSlot on, helper threads
// 0 to 15. At its end all of these are removed. Then the charges of the pool of all memory must be as before, and so
// must the machine's free memory.
//
//     KTEST(identify_says_the_type, identify_exists) {
//         KCHECK(identify(make(kTypeEndpoint)).value() == ...);
//     }
#pragma once
#include <atomic>
#include <cstring>

#include "core/check_names.hpp"
#include "sysapi/program.hpp"

namespace ktest {

using namespace native;
using core::checks::Check;
// Declared here so that they have the type of the calls, not that of an enumerator.
inline constexpr u64 kNonBlocking = abi::native::kNonBlocking, kTimed = abi::native::kTimed;

struct Case {
    const char* name;
    Check check;
    void (*run)();
};

#define KTEST(NAME, CHECK)                                                                                          \
    static void ktest_##NAME();                                                                                     \
    [[gnu::used, gnu::retain, gnu::section("ktest_cases")]] static constinit const ::ktest::Case ktest_case_##NAME{ \
        #NAME, ::core::checks::Check::CHECK, &ktest_##NAME};                                                        \
    static void ktest_##NAME()

// Two tests: with the helpers on this CPU, and on the last one (the same one on a machine with one CPU).
#define KTEST_CPUS(NAME, CHECK)                                       \
    static void ktest_##NAME(u64 cpu);                                \
    KTEST(NAME##_here, CHECK) { ktest_##NAME(0); }                    \
    KTEST(NAME##_across, CHECK) { ktest_##NAME(::ktest::far_cpu()); } \
    static void ktest_##NAME(u64 cpu)

// Reports a failure; only the first one of a test is printed. Also called by helper threads.
void note_failure(const char* what, const char* file, int line);
bool failed();

// For functions that return void: a failure leaves the function.
#define KCHECK(COND)                                               \
    do {                                                           \
        if (!(COND)) {                                             \
            ::ktest::note_failure(#COND, __FILE_NAME__, __LINE__); \
            return;                                                \
        }                                                          \
    } while (0)
// The call must fail with this error, and leave all charges unchanged.
#define KREFUSED(ERROR, ...)                                                           \
    do {                                                                               \
        ::ktest::Charges before_ = ::ktest::charges();                                 \
        i64 got_ = i64(__VA_ARGS__);                                                   \
        if (got_ != -i64(Errno::ERROR)) {                                              \
            ::ktest::note_result(#__VA_ARGS__, got_, #ERROR, __FILE_NAME__, __LINE__); \
            return;                                                                    \
        }                                                                              \
        KCHECK(before_ == ::ktest::charges());                                         \
    } while (0)
// The call must succeed.
#define KDONE(...)                                                                        \
    do {                                                                                  \
        i64 got_ = i64(__VA_ARGS__);                                                      \
        if (got_ < 0) {                                                                   \
            ::ktest::note_result(#__VA_ARGS__, got_, "success", __FILE_NAME__, __LINE__); \
            return;                                                                       \
        }                                                                                 \
    } while (0)
void note_result(const char* what, i64 got, const char* wanted, const char* file, int line);

// 0 if the slot is empty.
inline u64 kind_of(Slot s) {
    auto r = identify(s);
    return r.ok() ? r.value() : 0;
}
inline u64 used_of(Slot pool) {
    auto r = pool_used(pool);
    return r.ok() ? r.value() : 0;
}
inline u64 state_of(Slot thread) {
    auto r = state(thread);
    return r.ok() ? r.value() : ~u64{0};
}
inline i64 code(const Result<void>& r) { return r.ok() ? 0 : -i64(r.error()); }

// --- Resources of a test

inline constexpr Slot kFirstSlot = 64, kLastSlot = 2048, kSpareSlot = kLastSlot + 8;
inline constexpr u64 kPoolBytes = 4 << 20, kSpaceSlots = 2048;
Slot pool();
Slot slot();  // a free slot
// Creates an object from the test's pool. A failure is reported, and slot 0 returned.
Slot make(Type type, u64 argument = 0);
// An object of any type, including those that cannot be created.
Slot any_object(Type type);
// A copy of a capability in a free slot. A failure is reported, and slot 0 returned.
Slot derive(Slot from, u64 rights, u64 badge = 0);
bool empty(Slot s);
// The last CPU.
u64 far_cpu();

// Bytes charged to the test's pool, and to the pool of all memory.
struct Charges {
    u64 mine, all;
    bool operator==(const Charges&) const = default;
};
Charges charges();

// --- Threads

struct Helper {
    Slot thread = 0;
    u64 utcb_at = 0;
    void (*body)(u64) = nullptr;
    u64 argument = 0;
    std::atomic<bool> done{false};
    Utcb& page() const { return *reinterpret_cast<Utcb*>(utcb_at); }
};
struct Options {
    u64 priority = kDefaultPriority;
    u64 cpu = 0;
    Slot handler = 0;
    Slot space = kSlotSpace;
    u64 flags = 0;
    bool start = true, with_utcb = true;
    Slot sched = kSlotSched;
};
// Runs body(argument) on a stack of its own; when it returns, the thread stops (inactive).
Helper& start(void (*body)(u64), u64 argument = 0, const Options& o = {});
// A thread that starts at `pc` with rdi = argument, for code that is not C++.
Helper& start_at(u64 pc, u64 argument, const Options& o = {});
u64 stack_top(const Helper& h);

// Another space that maps this program. give() copies the capability in slot `s` of this table to the same slot there.
Slot other_space(u64 slots = kSpaceSlots);
void give(Slot space, Slot s, u64 rights = kAllRights, u64 badge = 0);

// --- Waiting. The test's thread sleeps during it, so that threads of lower priority run too.

inline constexpr u64 kMillisecond = 1'000'000, kPatience = 15'000 * kMillisecond;
// Nanoseconds.
void sleep(u64 ns);
template <class F>
bool until(F&& condition, u64 patience = kPatience) {
    // Looks count too: a host that stops the machine for a while lets time pass, and nothing else.
    const u64 least = patience < kPatience ? 1 : 400;
    const u64 end = now() + patience;
    for (u64 looks = 0; looks < least || now() <= end; ++looks) {
        if (condition()) return true;
        sleep(kMillisecond / 5);
    }
    return condition();
}
bool until_state(Slot thread, ThreadState wanted);
inline bool until_state(const Helper& h, ThreadState wanted) { return until_state(h.thread, wanted); }
inline bool until_done(const Helper& h) {
    return until([&] { return h.done.load(); });
}
// The helper is inactive: it has finished, or run into a trap without a handler.
inline bool until_stopped(const Helper& h) { return until_state(h, kStateInactive); }

// IPC with a timeout, so that a message that never comes is a failure and not a hang.
inline Result<void> receive_soon(Slot from, Message& m, u64 ns = kPatience) {
    utcb().timeout = ns;
    return receive(from, m, kTimed);
}
inline Result<void> call_soon(Slot endpoint, Message& m, u64 ns = kPatience) {
    utcb().timeout = ns;
    return call(endpoint, m, kTimed);
}
inline Result<void> send_soon(Slot endpoint, const Message& m, u64 ns = kPatience) {
    utcb().timeout = ns;
    return send(endpoint, m, kTimed);
}
inline Result<void> reply_receive_soon(Slot endpoint, Message& m, u64 ns = kPatience) {
    utcb().timeout = ns;
    return reply_receive(endpoint, m, kTimed);
}

// --- Unused addresses of this space, where each test may map memory.
inline constexpr u64 kAreaStart = 0x20'0000'0000, kAreaEnd = 0x20'4000'0000;
inline constexpr u64 kPage = 4096;

}  // namespace ktest
