// SPDX-License-Identifier: MIT
// The data page of the vDSO: what a program needs to tell the time as the kernel does (vdso/, port/api/wall_clock.hpp).
//
// Monotonic time is ((TSC - tsc_base) * tsc_to_ns) >> 32, in ns since boot; the wall clock is realtime_offset more. Of
// all that only the offset ever changes: `sequence` is odd meanwhile, and another afterwards.
#pragma once
#include <cstdint>

namespace abi::vdso {

// As many pages as Linux 6.1 has on x86_64, the first of them ours; nothing is behind the others.
inline constexpr uint64_t kPageBytes = 4096, kDataPages = 4, kCodePages = 2;

enum Source : uint32_t {
    kSystemCall = 0,  // the counter is of no use: ask the kernel
    kTsc = 1,
};

struct Clock {
    uint32_t sequence, source;
    uint64_t tsc_base, tsc_to_ns;  // 32.32
    uint64_t realtime_offset;      // ns
};

inline constexpr uint64_t kCoarseTick = 4'000'000;  // ns: the coarse clocks stand still between ticks (CONFIG_HZ 250)
inline constexpr unsigned kNodeShift = 12;          // in the limit of the CPU's segment: node, CPU
inline constexpr unsigned kCpuSelector = 0x7b;      // GDT entry 15 for user mode, as Linux has it

}  // namespace abi::vdso
