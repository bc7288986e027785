// SPDX-License-Identifier: MIT
// The vDSO (vdso(7)): a shared object in every program's address space, with the calls that need no kernel. Its data
// pages precede it in memory (vdso.ld). It calls the kernel for clocks that cannot be computed from the TSC and the
// offset of the wall clock, and for all clocks if the data page says that the TSC is unusable.
//
// The results agree with those of the system calls: the kernel computes the same from the same data (hal::Machine::now,
// linux/sys/time.cpp), and sets its own wall clock before it ends the odd sequence number here.
#include "abi/vdso.hpp"

// The data page; a hidden symbol of vdso.ld.
extern "C" [[gnu::visibility("hidden")]] const abi::vdso::Clock farcall_vdso_clock;

namespace {

using abi::vdso::kCoarseTick;

constexpr uint64_t kNanosPerSecond = 1'000'000'000;
constexpr long kNrClockGettime = 228, kNrClockGetres = 229, kNrGettimeofday = 96, kNrTime = 201;

enum Clock : int {
    kRealtime = 0,
    kMonotonic = 1,
    kMonotonicRaw = 4,
    kRealtimeCoarse = 5,
    kMonotonicCoarse = 6,
    kBoottime = 7,
    kTai = 11
};
struct Timespec {
    int64_t seconds, nanoseconds;
};
struct Timeval {
    int64_t seconds, microseconds;
};
struct Timezone {
    int32_t minutes_west, dst;
};

[[gnu::noinline]] long system_call(long number, long a, long b) {
    long result = number;
    asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b) : "rcx", "r11", "memory");
    return result;
}

// Ordered against the instructions before and after it (SDM vol. 2B, RDTSC).
inline uint64_t read_tsc() {
    uint32_t low, high;
    asm volatile("lfence\n rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return uint64_t{high} << 32 | low;
}

struct Now {
    uint64_t monotonic, realtime;
};

inline bool read_clock(Now& now) {
    const abi::vdso::Clock& c = farcall_vdso_clock;
    for (;;) {
        // The acquire loads pair with the release stores of port::WallClock::set.
        uint32_t sequence = __atomic_load_n(&c.sequence, __ATOMIC_ACQUIRE);
        if (sequence & 1) {
            asm volatile("pause");
            continue;
        }
        if (__atomic_load_n(&c.source, __ATOMIC_RELAXED) != abi::vdso::kTsc) return false;
        uint64_t ticks = read_tsc() - c.tsc_base;
        uint64_t offset = __atomic_load_n(&c.realtime_offset, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&c.sequence, __ATOMIC_RELAXED) != sequence) continue;
        now.monotonic = uint64_t((static_cast<unsigned __int128>(ticks) * c.tsc_to_ns) >> 32);
        now.realtime = now.monotonic + offset;
        return true;
    }
}

// Returns false if the kernel must be called.
inline bool time_of(int clock, uint64_t& ns) {
    constexpr unsigned kOurs = 1u << kRealtime | 1u << kMonotonic | 1u << kMonotonicRaw | 1u << kRealtimeCoarse |
                               1u << kMonotonicCoarse | 1u << kBoottime | 1u << kTai;
    Now now;
    if (unsigned(clock) > kTai || !(kOurs >> clock & 1) || !read_clock(now)) return false;
    bool real = clock == kRealtime || clock == kRealtimeCoarse || clock == kTai;
    ns = real ? now.realtime : now.monotonic;
    if (clock == kRealtimeCoarse || clock == kMonotonicCoarse) ns -= ns % kCoarseTick;
    return true;
}

}  // namespace

extern "C" {

int __vdso_clock_gettime(int clock, Timespec* to) {
    uint64_t ns;
    if (!time_of(clock, ns)) return int(system_call(kNrClockGettime, clock, reinterpret_cast<long>(to)));
    *to = {int64_t(ns / kNanosPerSecond), int64_t(ns % kNanosPerSecond)};
    return 0;
}

int __vdso_clock_getres(int clock, Timespec* to) {
    switch (clock) {
        case kRealtime:
        case kMonotonic:
        case kMonotonicRaw:
        case kBoottime:
        case kTai:
            if (to) *to = {0, 1};
            return 0;
        case kRealtimeCoarse:
        case kMonotonicCoarse:
            if (to) *to = {0, int64_t(kCoarseTick)};
            return 0;
        default: return int(system_call(kNrClockGetres, clock, reinterpret_cast<long>(to)));
    }
}

int __vdso_gettimeofday(Timeval* to, Timezone* zone) {
    Now now;
    if (!read_clock(now))
        return int(system_call(kNrGettimeofday, reinterpret_cast<long>(to), reinterpret_cast<long>(zone)));
    if (to) *to = {int64_t(now.realtime / kNanosPerSecond), int64_t(now.realtime % kNanosPerSecond / 1000)};
    if (zone) *zone = {0, 0};
    return 0;
}

int64_t __vdso_time(int64_t* to) {
    Now now;
    if (!read_clock(now)) return system_call(kNrTime, reinterpret_cast<long>(to), 0);
    int64_t seconds = int64_t(now.realtime / kNanosPerSecond);
    if (to) *to = seconds;
    return seconds;
}

// Each CPU has a segment whose limit is its number (hal::init_cpu).
long __vdso_getcpu(unsigned* cpu, unsigned* node, void*) {
    unsigned limit;
    asm volatile("lsl %1, %0" : "=r"(limit) : "r"(abi::vdso::kCpuSelector) : "cc");
    if (cpu) *cpu = limit & ((1u << abi::vdso::kNodeShift) - 1);
    if (node) *node = limit >> abi::vdso::kNodeShift;
    return 0;
}

[[gnu::weak, gnu::alias("__vdso_clock_gettime")]] int clock_gettime(int, Timespec*);
[[gnu::weak, gnu::alias("__vdso_clock_getres")]] int clock_getres(int, Timespec*);
[[gnu::weak, gnu::alias("__vdso_gettimeofday")]] int gettimeofday(Timeval*, Timezone*);
[[gnu::weak, gnu::alias("__vdso_time")]] int64_t time(int64_t*);
[[gnu::weak, gnu::alias("__vdso_getcpu")]] long getcpu(unsigned*, unsigned*, void*);

}  // extern "C"
