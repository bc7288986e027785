// SPDX-License-Identifier: MIT
// Bits and values of the processor's registers and tables, by the names of Intel's SDM and AMD's APM.
#pragma once
#include "lib/types.hpp"

namespace hal {

// Control registers (SDM vol. 3A, 2.5).
enum Cr0 : u64 {
    kCr0Pe = 1u << 0,
    kCr0Mp = 1u << 1,
    kCr0Ts = 1u << 3,
    kCr0Et = 1u << 4,
    kCr0Ne = 1u << 5,
    kCr0Wp = 1u << 16,
    kCr0Am = 1u << 18,
    kCr0Pg = 1u << 31,
};
enum Cr4 : u64 {
    kCr4Pae = 1u << 5,
    kCr4Mce = 1u << 6,
    kCr4Pge = 1u << 7,
    kCr4OsFxsr = 1u << 9,
    kCr4OsXmmExcpt = 1u << 10,
    kCr4Umip = 1u << 11,
    kCr4FsGsBase = 1u << 16,
    kCr4OsXsave = 1u << 18,
    kCr4Smep = 1u << 20,
    kCr4Smap = 1u << 21,
};
// IA32_EFER (SDM vol. 3A, 2.2.1): SYSCALL enable.
inline constexpr u64 kEferSce = 1u << 0;
// IA32_APIC_BASE (SDM vol. 3A, 11.4.3 and 11.12.1).
inline constexpr u64 kApicBaseX2 = 1u << 10, kApicBaseEnable = 1u << 11;
// IA32_PAT (SDM vol. 3A, 12.12): WB WC UC- UC, twice.
inline constexpr u64 kPatValue = 0x0007010600070106;
// RFLAGS.IOPL (SDM vol. 1, 3.4.3), which user mode never has.
inline constexpr u64 kFlagIopl = 3u << 12;
// DR6 without a cause (SDM vol. 3B, 18.2.3).
inline constexpr u64 kDr6Clear = 0xffff0ff0;

// Leaves of CPUID and their bits (SDM vol. 2A, CPUID).
enum CpuidLeaf : u32 {
    kCpuidBasic = 0,
    kCpuidFeatures = 1,
    kCpuidStructured = 7,
    kCpuidXsave = 0xd,
    kCpuidTsc = 0x15,
    kCpuidExtended = 0x80000000,
    kCpuidExtendedFeatures = 0x80000001,
    kCpuidPower = 0x80000007,
    kCpuidAddressSizes = 0x80000008,
};
enum CpuidBit : u32 {
    // Leaf 1, ECX.
    k1cX2apic = 1u << 21,
    k1cTscDeadline = 1u << 24,
    k1cXsave = 1u << 26,
    k1cRdrand = 1u << 30,
    k1cHypervisor = 1u << 31,
    // Leaf 1, EDX.
    k1dMce = 1u << 7,
    k1dSep = 1u << 11,
    k1dPge = 1u << 13,
    k1dPat = 1u << 16,
    // Leaf 7, EBX.
    k7bFsGsBase = 1u << 0,
    k7bTscAdjust = 1u << 1,
    k7bSmep = 1u << 7,
    k7bErms = 1u << 9,
    k7bSmap = 1u << 20,
    // Leaf 7, ECX.
    k7cUmip = 1u << 2,
    // Leaf DH, sub-leaf 1, EAX.
    kDaXsaveopt = 1u << 0,
    // Leaf 80000001H, EDX.
    kExtNx = 1u << 20,
    kExtGibPages = 1u << 26,
    // Leaf 80000007H, EDX.
    kPowerInvariantTsc = 1u << 8,
};
// Leaves of hypervisors (Linux: Documentation/virt/kvm/x86/cpuid.rst). The leaf with the rates is VMware's and KVM's.
enum HypervisorLeaf : u32 {
    kCpuidHypervisor = 0x40000000,
    kCpuidKvmFeatures = 0x40000001,
    kCpuidHypervisorTiming = 0x40000010,
    kCpuidHypervisorEnd = 0x40010000,
};
inline constexpr u32 kKvmSignature[] = {0x4b4d564b, 0x564b4d56, 0x4d};  // "KVMKVMKVM"
inline constexpr u32 kKvmClockSource2 = 1u << 3;
inline constexpr u32 kMsrKvmSystemTime = 0x4b564d01;
inline constexpr u64 kKvmSystemTimeEnable = 1;

// Descriptors (SDM vol. 3A, 3.4.5 and 7.2.3) with a base of 0 and, but for the last, the largest limit.
enum SegmentDescriptor : u64 {
    kKernelCode = 0x00af9b000000ffff,
    kKernelData = 0x00cf93000000ffff,
    kUserData = 0x00cff3000000ffff,
    kUserCode = 0x00affb000000ffff,      // 64-bit
    kUserLimitOnly = 0x0040f50000000000  // read-only expand-down data; the limit is to be added
};
inline constexpr u64 kDescriptorTss = 0x89;  // bits 40 to 47: present, an available 64-bit TSS
// Gates of the IDT (SDM vol. 3A, 6.11): a present interrupt gate for the kernel, and one that user mode may use.
inline constexpr u8 kGateKernel = 0x8e, kGateUser = 0xee;

// Exception vectors (SDM vol. 3A, table 6-1).
enum ExceptionVector : u32 {
    kVectorDebug = 1,
    kVectorNmi = 2,
    kVectorBreakpoint = 3,
    kVectorOverflow = 4,
    kVectorDoubleFault = 8,
    kVectorMachineCheck = 18,
};

// State components (SDM vol. 1, 13.1), and the values after FNINIT and reset (8.1.5, 10.2.3).
enum XsaveComponent : u64 {
    kXsaveX87 = 1u << 0,
    kXsaveSse = 1u << 1,
    kXsaveAvx = 1u << 2,
    kXsaveAvx512 = 7u << 5,  // opmask, ZMM_Hi256, Hi16_ZMM
};
inline constexpr u16 kFpuControlInitial = 0x37f;
inline constexpr u32 kMxcsrInitial = 0x1f80, kMxcsrMask = 0xffff;
// The areas of FXSAVE and XSAVE (SDM vol. 1, 10.5.1 and 13.4.1).
inline constexpr u32 kFxsaveBytes = 512, kXsaveHeaderBytes = 64, kMxcsrOffset = 24;

}  // namespace hal
