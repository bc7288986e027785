// SPDX-License-Identifier: MIT
// The data page of the vDSO: what a program needs to compute the kernel's time (vdso/, port/api/wall_clock.hpp).
//
// Monotonic time is ((TSC - tsc_base) * tsc_to_ns) >> 32, in ns since boot; the wall clock is realtime_offset more. Only
// the offset changes: `sequence` is odd during the change and has a new even value afterwards.
#pragma once
#include <cstdint>

namespace abi::vdso {

// As many pages as Linux 6.1 has on x86_64. Only the first data page is present.
inline constexpr uint64_t kPageBytes = 4096, kDataPages = 4, kCodePages = 2;

enum Source : uint32_t {
    kSystemCall = 0,  // the TSC is unusable: ask the kernel
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
