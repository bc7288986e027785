// SPDX-License-Identifier: MIT
// Shared by the timed benchmarks of the native interface: words of the command line, distributions of cycles, the
// kernel's trace. Used by one thread. Output: `v NAME BLOCK VALUE`.
#pragma once
#include <algorithm>

#include "abi/trace.hpp"
#include "sysapi/program.hpp"

namespace {

using namespace native;
using abi::trace::Path;
using abi::trace::Record;
using abi::trace::Test;

// Cycles of the TSC.
u64 cycles() {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return u64{high} << 32 | low;
}

// Word n of the command line, from 0; empty if there is none.
std::string_view word(u64 n) {
    std::string_view line = boot_info().command_line;
    for (;; --n) {
        size_t space = line.find(' ');
        if (n == 0) return line.substr(0, space);
        if (space == line.npos) return {};
        line.remove_prefix(space + 1);
    }
}
// The value of `key=NUMBER` on the command line, or `otherwise`.
u64 option(std::string_view key, u64 otherwise) {
    for (u64 n = 2; !word(n).empty(); ++n) {
        std::string_view w = word(n);
        if (!w.starts_with(key) || w.size() <= key.size() || w[key.size()] != '=') continue;
        u64 value = 0;
        for (char c : w.substr(key.size() + 1)) value = value * 10 + u64(c - '0');
        return value;
    }
    return otherwise;
}

struct Name {
    char text[96];
};
template <class... A>
Name name(const char* format, const A&... args) {
    Name n;
    size_t length = lib::format_to(std::span(n.text, sizeof n.text - 1), format, args...);
    n.text[std::min(length, sizeof n.text - 1)] = 0;
    return n;
}
void tell(const Name& what, u64 block, u64 value) { print("v {} {} {}\n", what.text, block, value); }

constexpr const char* kModes[] = {"slow", "fast"};
// In even blocks, fast runs first.
bool is_fast(u64 block, u64 turn) { return (block + turn) % 2 == 0; }
// Enables or disables all fastpaths of a thread.
Result<void> allow(Slot thread, bool fast) { return do_call(kThreadFastpaths, thread, fast ? u64{kFastAll} : 0); }

// --- Distributions. One at a time: samples are added, then evaluated.

constexpr u64 kMostSamples = 1 << 16;
u32* samples = nullptr;
u64 sample_count = 0;
void forget() { sample_count = 0; }
void add(u64 value) {
    if (sample_count < kMostSamples) samples[sample_count++] = u32(std::min(value, u64{0xffffffff}));
}
u64 quantile(u64 percent) {
    if (sample_count == 0) return 0;
    std::sort(samples, samples + sample_count);
    return samples[(sample_count - 1) * percent / 100];
}
// The mean without the highest hundredths: those contain the host's interrupts, which are not part of any path.
u64 mean_below(u64 percent) {
    if (sample_count == 0) return 0;
    std::sort(samples, samples + sample_count);
    u64 n = std::max((sample_count * percent + 99) / 100, u64{1}), sum = 0;
    for (u64 i = 0; i < n; ++i) sum += samples[i];
    return sum / n;
}

// --- The kernel's trace

constexpr u64 kMostRecords = 1 << 16;
Record* records = nullptr;
u64 record_count = 0;

u64 read_records() {
    i64 n = raw_call(kTraceControl, kSlotSystem, kTraceRead, u64(records), kMostRecords * sizeof(Record));
    return n < 0 ? 0 : u64(n) / sizeof(Record);
}
Result<void> trace_start() {
    while (read_records() != 0) {
    }
    return do_call(kTraceControl, kSlotSystem, kTraceStart);
}
Result<void> trace_stop() {
    TRY(do_call(kTraceControl, kSlotSystem, kTraceStop));
    record_count = read_records();
    return lib::kOk;
}

struct PathName {
    Path path;
    bool fast;
    const char* text;
};
constexpr PathName kPaths[] = {
    {Path::kFastException, true, "exception"}, {Path::kSlowException, false, "exception"},
    {Path::kFastCall, true, "call"},           {Path::kSlowCall, false, "call"},
    {Path::kFastReply, true, "reply"},         {Path::kSlowReply, false, "reply"},
    {Path::kFastSignal, true, "signal"},       {Path::kSlowSignal, false, "signal"},
};
const PathName* path_name(Path p) {
    for (const PathName& n : kPaths)
        if (n.path == p) return &n;
    return nullptr;
}

// Prints count, median and 99th percentile of each path taken, as PREFIX.PATH.fast|slow.*, and why fastpaths gave up.
void tell_paths(const char* prefix, u64 block) {
    for (const PathName& n : kPaths) {
        u64 failed[u64(Test::kCount)] = {};
        forget();
        for (u64 i = 0; i < record_count; ++i) {
            const Record& r = records[i];
            if (r.path != n.path) continue;
            if (r.test == Test::kNone)
                add(r.cycles);
            else if (u64(r.test) < std::size(failed))
                ++failed[u64(r.test)];
        }
        const char* mode = kModes[n.fast];
        if (sample_count != 0) {
            tell(name("{}.{}.{}.median", prefix, n.text, mode), block, quantile(50));
            tell(name("{}.{}.{}.p99", prefix, n.text, mode), block, quantile(99));
        }
        if (sample_count != 0) tell(name("{}.{}.{}.count", prefix, n.text, mode), block, sample_count);
        for (u64 t = 0; t < std::size(failed); ++t)
            if (failed[t] != 0) tell(name("{}.{}.{}.failed.{}", prefix, n.text, mode, t), block, failed[t]);
    }
}

// The cycles that two reads of the counter take: part of each figure.
u64 counter = 0;
void tell_counter(u64 block) {
    forget();
    for (u64 i = 0; i < 1000; ++i) {
        u64 before = cycles();
        add(cycles() - before);
    }
    counter = quantile(50);
    tell(name("counter"), block, counter);
}

Result<void> prepare_measuring() {
    samples = reinterpret_cast<u32*>(TRY(map_new(kMostSamples * sizeof(u32))));
    records = reinterpret_cast<Record*>(TRY(map_new(kMostRecords * sizeof(Record))));
    return lib::kOk;
}

}  // namespace
