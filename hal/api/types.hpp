// SPDX-License-Identifier: MIT
// What every machine shares: traps as the kernel sees them, memory types and rights, boot information.
// Nothing here names an architecture; numbers that only an architecture's own code understands are marked as its own.
#pragma once
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "lib/types.hpp"

namespace hal {

// Why user mode ended. Two registers wide, so that it is passed in registers.
struct TrapInfo {
    enum class Kind : u8 {
        kPageFault,  // address, write, exec, present
        kException,  // exception, vector, error_code
        kInterrupt,  // a device; its handler has already run; vector
        kTimer,      // the deadline of arm_timer has passed
        kWake,       // Machine::wake was called for this CPU
    };
    enum class Exception : u8 {
        kDivide,
        kSingleStep,
        kBreakpoint,
        kOverflow,
        kBounds,
        kIllegalInstruction,
        kProtection,  // privileged or otherwise refused, including legacy system call gates
        kStack,
        kAlignment,
        kFloatingPoint,
        kVectorFloatingPoint,
        kFpuBarred,  // used while barred (fpu_bar)
        kOther,
    };
    Kind kind{};
    Exception exception{};
    u8 vector = 0;  // the architecture's own number
    bool write = false;
    bool exec = false;
    bool present = false;  // the page is mapped without the required right
    u16 error_code = 0;    // the architecture's own
    u64 address = 0;       // faulting address as the machine reported it; may lie outside user space
};
static_assert(sizeof(TrapInfo) == 16 && std::is_trivially_copyable_v<TrapInfo>);

// How a page is cached. Given on every map.
enum class MemoryType : u8 { kNormal, kWriteCombining, kDevice };

// Rights and kind of one mapping. `read = false` keeps the frame in the entry but denies every access (PROT_NONE).
struct MapFlags {
    bool read = true;
    bool write = false;
    bool exec = false;
    bool user = true;
    bool global = false;
    bool touched = false;  // set accessed, and dirty where writable, from the start
    MemoryType type = MemoryType::kNormal;
    u8 software = 0;  // 3 bits that the machine keeps for the caller (copy-on-write, special, ...)
};

struct PhysRange {
    PhysAddr start{};
    PhysAddr end{};  // exclusive
    constexpr u64 size() const { return end - start; }
};

inline constexpr u32 kMaxMemoryRanges = 64;

// Boot information. Never freed. `memory` is usable RAM only, page-aligned, ascending and disjoint:
// the kernel image, what the machine layer keeps for itself and the initial RAM disk are already taken out.
struct BootInfo {
    std::string_view command_line;
    PhysRange memory[kMaxMemoryRanges];
    u32 memory_count = 0;
    PhysRange initrd;        // bytes; empty if none. Its pages may be freed after use
    PhysRange kernel_image;  // followed by the machine layer's boot allocations
    u64 total_memory = 0;    // bytes of RAM, including what was taken out
    u32 cpus_present = 1;    // what Machine::start_cpus could start at most, the boot CPU included
};

// A message-signalled interrupt as it is written into a device's table.
struct MsiMessage {
    u64 address;
    u32 data;
};

using InterruptHandler = void (*)(void* argument);

// Why a dump is printed. The hook may run on any CPU, in NMI context, with any lock held: it takes none.
enum class DumpReason : u8 { kPanic, kRequested };

// Progress of a string copied from user memory.
struct UserString {
    size_t length;    // bytes before the terminator, or bytes copied
    bool terminated;  // the terminator was seen (and stored)
    bool faulted;     // stopped at a byte that cannot be read
};

}  // namespace hal
