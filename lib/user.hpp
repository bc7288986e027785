// SPDX-License-Identifier: MIT
// Types that the core, the ports and the personality share: rights, ranges, page mappings, traps.
#pragma once
#include "lib/types.hpp"

namespace lib {

// Access rights of a user mapping.
struct Prot {
    bool read = false, write = false, exec = false;
    friend constexpr bool operator==(Prot, Prot) = default;
};

// Half-open range of user addresses; page-aligned where it stands for pages.
struct UserRange {
    UserAddr start, end;
    constexpr u64 size() const { return end - start; }
};

// One page to map. The port does not own the frame: the personality keeps it until a grace period after the page was
// unmapped (rt/epoch.hpp).
struct MapEntry {
    UserAddr at;
    PhysAddr frame;
    Prot prot;
};

enum class Access : u8 { kRead, kWrite, kExec };

// Why a user thread stopped. Machine-independent, except `vector` and `error_code`, which go into the signal frame.
struct Trap {
    enum class Kind : u8 {
        kSyscall,
        kPageFault,   // address, access, present
        kDivide,      // integer divide error, overflow of idiv        -> SIGFPE
        kFloat,       // x87 or SSE exception                          -> SIGFPE
        kIllegal,     // undefined instruction                         -> SIGILL
        kProtection,  // privileged instruction, non-canonical address -> SIGSEGV
        kBreakpoint,  // int3                                          -> SIGTRAP
        kStep,        // single step or hardware breakpoint            -> SIGTRAP
        kAlignment,   //                                               -> SIGBUS
        kStack,       // stack segment fault                           -> SIGBUS
        kKick,        // kick() was called: check for signals
    };
    Kind kind = Kind::kKick;
    Access access = Access::kRead;
    bool present = false;  // page fault: a page is mapped, but its rights do not allow the access
    UserAddr address{};
    u32 vector = 0;
    u64 error_code = 0;
};

}  // namespace lib
