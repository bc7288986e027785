// SPDX-License-Identifier: MIT
// Tests of the native interface, from outside: a program that makes every call, right and wrong (docs/testing.md).
// One line each on standard output: `ktest NAME ok`, `ktest NAME FAIL what (file:line)`, then `ktest done N`.
//
// A test names the kernel's check (core/check_names.hpp) that it is about, or `none`: with that check switched off it
// must fail (`./farcall test checks`). It starts from a clean state: its own pool, slots from kFirstSlot on, helper
// threads 0 to 15. At its end all of it is taken away, the pool of all memory must be back at what it was, and so must
// the machine's free memory.
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
// Of the calls' own type.
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

// Twice: with its helpers on this CPU, and on the last one (which is the same with one CPU).
#define KTEST_CPUS(NAME, CHECK)                                       \
    static void ktest_##NAME(u64 cpu);                                \
    KTEST(NAME##_here, CHECK) { ktest_##NAME(0); }                    \
    KTEST(NAME##_across, CHECK) { ktest_##NAME(::ktest::far_cpu()); } \
    static void ktest_##NAME(u64 cpu)

// The first failure of a test is the one that is reported. From helper threads too.
void note_failure(const char* what, const char* file, int line);
bool failed();

// In a function without a result: the rest of it is left out.
#define KCHECK(COND)                                               \
    do {                                                           \
        if (!(COND)) {                                             \
            ::ktest::note_failure(#COND, __FILE_NAME__, __LINE__); \
            return;                                                \
        }                                                          \
    } while (0)
// The call is refused with this error, and no memory is charged differently afterwards.
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
// The call succeeds.
#define KDONE(...)                                                                        \
    do {                                                                                  \
        i64 got_ = i64(__VA_ARGS__);                                                      \
        if (got_ < 0) {                                                                   \
            ::ktest::note_result(#__VA_ARGS__, got_, "success", __FILE_NAME__, __LINE__); \
            return;                                                                       \
        }                                                                                 \
    } while (0)
void note_result(const char* what, i64 got, const char* wanted, const char* file, int line);

// 0 where there is nothing.
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

// --- What a test has

inline constexpr Slot kFirstSlot = 64, kLastSlot = 2048, kSpareSlot = kLastSlot + 8;
inline constexpr u64 kPoolBytes = 4 << 20, kSpaceSlots = 2048;
Slot pool();
Slot slot();  // one that is free
// Of the test's pool; a failure is noted, and is slot 0.
Slot make(Type type, u64 argument = 0);
// An object of any type, also of those that are not created.
Slot any_object(Type type);
Slot derive(Slot from, u64 rights, u64 badge = 0);
bool empty(Slot s);
u64 far_cpu();

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
// Runs body(argument) on a stack of its own; at its end the thread stops (inactive).
Helper& start(void (*body)(u64), u64 argument = 0, const Options& o = {});
// A thread that begins at `pc`, with rdi = argument; for those that are not C++.
Helper& start_at(u64 pc, u64 argument, const Options& o = {});
u64 stack_top(const Helper& h);

// Another space with this program in it; the capability in slot `s` of this table is at the same place there.
Slot other_space(u64 slots = kSpaceSlots);
void give(Slot space, Slot s, u64 rights = kAllRights, u64 badge = 0);

// --- Waiting. The CPU is free during it, for lower priorities too.

inline constexpr u64 kMillisecond = 1'000'000, kPatience = 15'000 * kMillisecond;
void sleep(u64 ns);
template <class F>
bool until(F&& condition, u64 patience = kPatience) {
    for (u64 end = now() + patience;;) {
        if (condition()) return true;
        if (now() > end) return condition();
        sleep(kMillisecond / 5);
    }
}
bool until_state(Slot thread, ThreadState wanted);
inline bool until_state(const Helper& h, ThreadState wanted) { return until_state(h.thread, wanted); }
inline bool until_done(const Helper& h) {
    return until([&] { return h.done.load(); });
}
// The helper is inactive: it has run to its end, or into a trap without a handler.
inline bool until_stopped(const Helper& h) { return until_state(h, kStateInactive); }

// With a limit, so that what never comes is a failure and no hang.
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

// --- Memory that tests share with the kernel: addresses of this space that are free, in a test's own stretch.
inline constexpr u64 kAreaStart = 0x20'0000'0000, kAreaEnd = 0x20'4000'0000;
inline constexpr u64 kPage = 4096;

}  // namespace ktest
