// SPDX-License-Identifier: MIT
// The registers of a native call and of a message (abi/native.hpp).
#pragma once
#include "abi/native.hpp"
#include "hal/x86_64/include/hal/user_context.hpp"

namespace hal {

inline u64 call_word(const UserContext& c) { return c.rax; }
inline void set_call_word(UserContext& c, u64 word) { c.rax = word; }
inline u64 call_capability(const UserContext& c) { return c.rdi; }
inline u64 message_tag(const UserContext& c) { return c.rsi; }
inline void set_message(UserContext& c, u64 badge, u64 tag) {
    c.rax = 0;
    c.rdi = badge;
    c.rsi = tag;
}
inline void set_call_results(UserContext& c, u64 first, u64 second) {
    c.rax = first;
    c.rsi = second;
}
inline void set_call_results(UserContext& c, u64 first, u64 second, u64 third) {
    set_call_results(c, first, second);
    c.rdx = third;
}

// Exactly n words, at most kRegisterWords: a register beyond the message may hold what is none of the receiver's
// business.
[[gnu::always_inline]] inline void copy_words(const UserContext& from, UserContext& to, u64 n) {
    switch (n) {
        default: to.r15 = from.r15; [[fallthrough]];
        case 8: to.r14 = from.r14; [[fallthrough]];
        case 7: to.r13 = from.r13; [[fallthrough]];
        case 6: to.r12 = from.r12; [[fallthrough]];
        case 5: to.rbx = from.rbx; [[fallthrough]];
        case 4: to.r9 = from.r9; [[fallthrough]];
        case 3: to.r8 = from.r8; [[fallthrough]];
        case 2: to.r10 = from.r10; [[fallthrough]];
        case 1: to.rdx = from.rdx; [[fallthrough]];
        case 0: break;
    }
}
inline void set_words(UserContext& to, u64 w0, u64 w1, u64 w2, u64 w3, u64 w4, u64 w5) {
    to.rdx = w0;
    to.r10 = w1;
    to.r8 = w2;
    to.r9 = w3;
    to.rbx = w4;
    to.r12 = w5;
}
inline u64 message_word(const UserContext& c, u64 i) {
    switch (i) {
        case 0: return c.rdx;
        case 1: return c.r10;
        default: return c.r8;
    }
}

// A trapped system call as a message: number, pc, sp, six arguments.
[[gnu::always_inline]] inline void syscall_to_message(const UserContext& from, UserContext& to) {
    to.rdx = from.rax;
    to.r10 = from.rip;
    to.r8 = from.rsp;
    to.r9 = from.rdi;
    to.rbx = from.rsi;
    to.r12 = from.rdx;
    to.r13 = from.r10;
    to.r14 = from.r8;
    to.r15 = from.r9;
}

// What a program may set: a pc, and bases of thread-local storage, in user memory.
inline bool user_pc(const abi::native::Registers& r) { return r.rip < HAL_USER_TOP; }
inline bool user_bases(const abi::native::Registers& r) { return r.fs_base < HAL_USER_TOP && r.gs_base < HAL_USER_TOP; }
inline ThreadBases bases_of(const abi::native::Registers& r) { return {r.fs_base, r.gs_base}; }
inline void set_bases(abi::native::Registers& r, ThreadBases to) {
    r.fs_base = to.fs;
    r.gs_base = to.gs;
}

void get_registers(const UserContext& c, abi::native::Registers& out);
// All but the TLS bases, which may be live in a CPU. The flags are cut to what user mode may choose; pc is the caller's
// to check.
void set_registers(UserContext& c, const abi::native::Registers& in);

}  // namespace hal
