// SPDX-License-Identifier: MIT
// What exception messages (abi::native::Label) say in the machine's own terms.
#pragma once
#include "hal/bind.hpp"
#include "hal/x86_64/include/hal/message.hpp"
#include "lib/user.hpp"

namespace hal {

inline constexpr u32 kPageFaultVector = 14;

// A system call that has trapped: number, six arguments, in the order of the message.
inline void set_call(UserContext& c, const u64 (&words)[native::kRegisterWords]) {
    c.rax = words[0];
    c.rip = words[1];
    c.rsp = words[2];
    c.rdi = words[3];
    c.rsi = words[4];
    c.rdx = words[5];
    c.r10 = words[6];
    c.r8 = words[7];
    c.r9 = words[8];
    c.cs = HAL_USER_CS | HAL_FROM_SYSCALL;
}

// SDM vol. 3A, table 6-1.
inline lib::Trap::Kind kind_of_vector(u64 vector) {
    using Kind = lib::Trap::Kind;
    switch (vector) {
        case 0: return Kind::kDivide;
        case 1: return Kind::kStep;
        case 3: return Kind::kBreakpoint;
        case 6: return Kind::kIllegal;
        case 12: return Kind::kStack;
        case 16:
        case 19: return Kind::kFloat;
        case 17: return Kind::kAlignment;
        default: return Kind::kProtection;
    }
}

// Of a thread that would go on where no program can be: a page fault of its fetch, or a protection fault where the address is
// not canonical (SDM vol. 1, 3.3.7.1). The fault says that the page is present, as Linux does of any beyond user memory.
inline lib::Trap trap_of_pc(UserAddr pc) {
    constexpr u64 kPresentUserFetch = 0x15;
    const i64 half = i64(pc.value) >> 47;
    if (half != 0 && half != -1) return {.kind = lib::Trap::Kind::kProtection, .vector = 13};
    return {.kind = lib::Trap::Kind::kPageFault,
            .access = lib::Access::kExec,
            .present = true,
            .address = pc,
            .vector = kPageFaultVector,
            .error_code = kPresentUserFetch};
}

}  // namespace hal
