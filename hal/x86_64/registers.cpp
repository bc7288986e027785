// SPDX-License-Identifier: MIT
// A thread's registers as the native interface shows them.
#include "hal/x86_64/include/hal/message.hpp"

namespace hal {

void get_registers(const UserContext& c, abi::native::Registers& out) {
    out = {.rax = c.rax,
           .rbx = c.rbx,
           .rcx = c.rcx,
           .rdx = c.rdx,
           .rsi = c.rsi,
           .rdi = c.rdi,
           .rbp = c.rbp,
           .rsp = c.rsp,
           .r8 = c.r8,
           .r9 = c.r9,
           .r10 = c.r10,
           .r11 = c.r11,
           .r12 = c.r12,
           .r13 = c.r13,
           .r14 = c.r14,
           .r15 = c.r15,
           .rip = c.rip,
           .rflags = c.rflags,
           .fs_base = c.fs_base,
           .gs_base = c.gs_base};
}

void set_registers(UserContext& c, const abi::native::Registers& in) {
    c.rax = in.rax;
    c.rbx = in.rbx;
    c.rcx = in.rcx;
    c.rdx = in.rdx;
    c.rsi = in.rsi;
    c.rdi = in.rdi;
    c.rbp = in.rbp;
    c.rsp = in.rsp;
    c.r8 = in.r8;
    c.r9 = in.r9;
    c.r10 = in.r10;
    c.r11 = in.r11;
    c.r12 = in.r12;
    c.r13 = in.r13;
    c.r14 = in.r14;
    c.r15 = in.r15;
    c.rip = in.rip;
    c.set_flags(in.rflags);
    c.cs = HAL_USER_CS;  // every register is restored
    c.ss = HAL_USER_SS;
}

}  // namespace hal
