// SPDX-License-Identifier: MIT
// The context that a signal frame of x86_64 holds (asm/sigcontext.h, asm/ucontext.h of x86): sigreturn(2).
#pragma once
#include <cstdint>

#include "abi/linux/signal.hpp"

namespace abi {

struct SigContext {  // struct sigcontext_64
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, cr2, fpstate;
    uint64_t reserved[8];
};
static_assert(sizeof(SigContext) == 256);

// uc_flags: UC_FP_XSTATE, UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS.
inline constexpr uint64_t kFpXstate = 1, kSigcontextSs = 2, kStrictRestoreSs = 4;
struct UserContextFrame {  // struct ucontext
    uint64_t flags;
    uint64_t link;
    SigStack stack;
    SigContext machine;
    uint64_t mask;
};

// The selectors that a program has (asm/segment.h: __USER_CS, __USER_DS).
inline constexpr uint16_t kUserCs = 0x33, kUserSs = 0x2b;

// struct _fpx_sw_bytes, in the software bytes of the FXSAVE area: the area is longer if it is there (FP_XSTATE_MAGIC1);
// FP_XSTATE_MAGIC2 ends it.
inline constexpr uint32_t kFpXstateMagic1 = 0x46505853, kFpXstateMagic2 = 0x46505845;
struct FpSoftwareBytes {
    uint32_t magic1, extended_size;
    uint64_t features;
    uint32_t state_size;
    uint32_t padding[7];
};
static_assert(sizeof(FpSoftwareBytes) == 48);

}  // namespace abi
