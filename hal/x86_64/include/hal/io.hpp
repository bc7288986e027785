// SPDX-License-Identifier: MIT
// One-instruction wrappers: ports, MSRs, control registers.
#pragma once
#include "lib/types.hpp"

namespace hal {

inline void out8(u16 port, u8 v) { asm volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
inline void out16(u16 port, u16 v) { asm volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
inline void out32(u16 port, u32 v) { asm volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
inline u8 in8(u16 port) {
    u8 v;
    asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline u16 in16(u16 port) {
    u16 v;
    asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}
inline u32 in32(u16 port) {
    u32 v;
    asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

// SDM vol. 4.
inline constexpr u32 kMsrTsc = 0x10;
inline constexpr u32 kMsrApicBase = 0x1b;
inline constexpr u32 kMsrTscAdjust = 0x3b;
inline constexpr u32 kMsrSysenterCs = 0x174;
inline constexpr u32 kMsrPat = 0x277;
inline constexpr u32 kMsrTscDeadline = 0x6e0;
inline constexpr u32 kMsrEfer = 0xc0000080;
inline constexpr u32 kMsrStar = 0xc0000081;
inline constexpr u32 kMsrLstar = 0xc0000082;
inline constexpr u32 kMsrCstar = 0xc0000083;
inline constexpr u32 kMsrSfmask = 0xc0000084;
inline constexpr u32 kMsrFsBase = 0xc0000100;
inline constexpr u32 kMsrGsBase = 0xc0000101;
inline constexpr u32 kMsrKernelGsBase = 0xc0000102;

inline u64 read_msr(u32 msr) {
    u32 low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (static_cast<u64>(high) << 32) | low;
}
inline void write_msr(u32 msr, u64 v) {
    asm volatile("wrmsr" ::"c"(msr), "a"(static_cast<u32>(v)), "d"(static_cast<u32>(v >> 32)) : "memory");
}
inline u64 read_cr0() {
    u64 v;
    asm volatile("mov %%cr0, %0" : "=r"(v));
    return v;
}
inline void write_cr0(u64 v) { asm volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
inline u64 read_cr2() {
    u64 v;
    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}
inline u64 read_cr3() {
    u64 v;
    asm volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}
inline void write_cr3(u64 v) { asm volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
inline u64 read_cr4() {
    u64 v;
    asm volatile("mov %%cr4, %0" : "=r"(v));
    return v;
}
inline void write_cr4(u64 v) { asm volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
inline u64 read_tsc() {
    u32 low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (static_cast<u64>(high) << 32) | low;
}
inline void pause() { asm volatile("pause" ::: "memory"); }

struct CpuidResult {
    u32 a, b, c, d;
};
inline CpuidResult cpuid(u32 leaf, u32 sub = 0) {
    CpuidResult r;
    asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
    return r;
}

// What this machine has, filled on the boot CPU before anything else runs.
struct Features {
    bool x2apic, tsc_deadline, invariant_tsc, tsc_adjust;
    bool nx, gib_pages, global_pages, pat;
    bool smep, smap, umip, fsgsbase, xsave, xsaveopt, rdrand, erms, hypervisor;
    u32 hwcap;  // CPUID.1:EDX, what Linux passes as AT_HWCAP
    u32 physical_bits;
};
extern Features features;

}  // namespace hal
