// SPDX-License-Identifier: MIT
// The registers of one user thread. Traps from user mode are saved straight into it: the frame part has the layout
// that the CPU and entry.S push (ascending), and ends 16-byte aligned.
// Owned by the thread that runs or is about to run on it; never touched while it is in user mode.
#pragma once
#include "hal/x86_64/include/hal/layout.h"
#include "lib/types.hpp"

namespace hal {

// RFLAGS (SDM vol. 1, 3.4.3).
inline constexpr u64 kFlagCarry = 1u << 0;
inline constexpr u64 kFlagFixed = 1u << 1;
inline constexpr u64 kFlagTrap = 1u << 8;
inline constexpr u64 kFlagInterrupt = 1u << 9;
inline constexpr u64 kFlagDirection = 1u << 10;
inline constexpr u64 kFlagNested = 1u << 14;
inline constexpr u64 kFlagResume = 1u << 16;
inline constexpr u64 kFlagAlignment = 1u << 18;
// CF PF AF ZF SF TF DF OF RF AC ID: what user mode may choose.
inline constexpr u64 kUserFlags = 0x250dd5;

// What a system call is made of, as the entry code leaves it: the part of a UserContext from r9 to rdi.
struct CallFrame {
    u64 r9, r8, r10, rax, rdx, rsi, rdi;
    u64 syscall_number() const { return rax; }  // until the result is set
    u64 syscall_argument(unsigned i) const {
        switch (i) {
            case 0: return rdi;
            case 1: return rsi;
            case 2: return rdx;
            case 3: return r10;
            case 4: return r8;
            default: return r9;
        }
    }
    i64 syscall_result() const { return static_cast<i64>(rax); }
    void set_syscall_result(i64 v) { rax = static_cast<u64>(v); }
};

struct alignas(64) UserContext {
    using CallFrame = hal::CallFrame;
    void* fpu_area = nullptr;  // the thread's saved FPU state; managed by the port
    // Takes its system calls: `farcall_syscall`, or an entry of its own (entry.S). Never the user's to choose.
    void (*entry)(UserContext&) = nullptr;
    // Live in the CPU while the thread runs: save_thread_state and load_thread_state.
    u64 fs_base = 0;
    u64 gs_base = 0;
    u64 unused[3] = {};
    u64 r15 = 0, r14 = 0, r13 = 0, r12 = 0, rbp = 0, rbx = 0, r11 = 0, rcx = 0, r9 = 0;
    u64 r8 = 0, r10 = 0, rax = 0, rdx = 0, rsi = 0, rdi = 0;
    u64 error_code = 0;  // of an exception; 0 for a system call
    u64 rip = 0;
    u64 cs = HAL_USER_CS;  // with HAL_FROM_SYSCALL
    u64 rflags = kFlagFixed | kFlagInterrupt;
    u64 rsp = 0;
    u64 ss = HAL_USER_SS;

    UserAddr pc() const { return UserAddr{rip}; }
    UserAddr sp() const { return UserAddr{rsp}; }
    UserAddr tls_base() const { return UserAddr{fs_base}; }
    u64 flags() const { return rflags; }
    void set_pc(UserAddr a) { rip = a.value; }
    void set_sp(UserAddr a) { rsp = a.value; }
    void set_tls_base(UserAddr a) { fs_base = a.value; }
    void set_flags(u64 v) { rflags = (v & kUserFlags) | kFlagFixed | kFlagInterrupt; }
    // The same for flags that were user mode's before: POPF also sets NT there (SDM vol. 2, POPF), sigreturn does not.
    void restore_flags(u64 v) { rflags = (v & (kUserFlags | kFlagNested)) | kFlagFixed | kFlagInterrupt; }

    bool entered_by_syscall() const { return (cs & HAL_FROM_SYSCALL) != 0; }
    void forget_syscall() { cs = HAL_USER_CS; }  // no restart from here on (rt_sigreturn)
    CallFrame& frame() { return *reinterpret_cast<CallFrame*>(&r9); }
    const CallFrame& frame() const { return *reinterpret_cast<const CallFrame*>(&r9); }
    u64 syscall_number() const { return rax; }  // until the result is set
    // For those to whom the upper half does not count: a load of 32 bits, which needs no clearing of it.
    u32 call_number() const {
        u32 n;
        __builtin_memcpy(&n, &rax, sizeof n);
        return n;
    }
    u64 syscall_argument(unsigned i) const { return frame().syscall_argument(i); }
    i64 syscall_result() const { return static_cast<i64>(rax); }
    void set_syscall_result(i64 v) { rax = static_cast<u64>(v); }
    void restart_syscall() { rip -= 2; }  // 0f 05; the result was never set: rax is the number
    void reset() {
        void* area = fpu_area;
        auto to = entry;
        *this = UserContext{};
        fpu_area = area;
        entry = to;
    }
    // Where a call from user code stands, for backtraces of user programs.
    u64 frame_pointer() const { return rbp; }
};

static_assert(offsetof(UserContext, entry) == CTX_ENTRY);
static_assert(offsetof(UserContext, r15) == CTX_R15 && offsetof(UserContext, r11) == CTX_R11);
static_assert(offsetof(UserContext, rax) == CTX_RAX && offsetof(UserContext, rdi) == CTX_RDI);
static_assert(offsetof(UserContext, error_code) == CTX_ERROR_CODE && offsetof(UserContext, rip) == CTX_RIP);
static_assert(offsetof(UserContext, r9) == CTX_R9 && offsetof(UserContext, r9) + offsetof(CallFrame, rax) == CTX_RAX);
static_assert(offsetof(UserContext, r9) + offsetof(CallFrame, rdi) == CTX_RDI && CTX_R8 == CTX_R9 + 8);
static_assert(offsetof(UserContext, ss) + 8 == CTX_TOP && CTX_TOP % 16 == 0);

// The bases of thread-local storage that the machine keeps in registers of their own.
struct ThreadBases {
    u64 fs = 0, gs = 0;
    bool operator==(const ThreadBases&) const = default;
};
inline ThreadBases bases_of(const UserContext& c) { return {c.fs_base, c.gs_base}; }
inline void set_bases(UserContext& c, ThreadBases to) {
    c.fs_base = to.fs;
    c.gs_base = to.gs;
}
// Of a thread whose thread-local storage is at `a`.
inline ThreadBases bases_at(UserAddr a) { return {a.value, 0}; }
inline bool user_bases(const UserContext& c) { return c.fs_base < HAL_USER_TOP && c.gs_base < HAL_USER_TOP; }

// All registers of user mode as in `from`, which a program wrote: flags are cut to what user mode can have had, and what is
// the kernel's (FPU area, entry, selectors) stays. `from` is changed.
inline void replace_user_registers(UserContext& to, UserContext& from) {
    from.fpu_area = to.fpu_area;
    from.entry = to.entry;
    from.restore_flags(from.flags());
    from.forget_syscall();  // every register is restored
    from.ss = to.ss;
    to = from;
}

// What entry.S leaves of a trap out of kernel mode: the same order, on the stack.
struct KernelFrame {
    u64 r15, r14, r13, r12, rbp, rbx, r11, rcx, r9, r8, r10, rax, rdx, rsi, rdi;
    u64 error_code, rip, cs, rflags, rsp, ss;
};

}  // namespace hal
