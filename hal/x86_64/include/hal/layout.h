// SPDX-License-Identifier: MIT
// Numbers shared by assembly and C++: selectors, vectors, offsets into UserContext and Cpu. cpu.hpp and
// user_context.hpp assert that the structures agree.
#pragma once

// Virtual layout (Intel SDM vol. 3A 4.5: 4-level paging, 47 bits a half).
#define HAL_IMAGE_BASE 0xffffffff80000000   // the kernel image at physical address + this
#define HAL_DIRECT_MAP 0xffff800000000000   // all RAM
#define HAL_DEVICE_BASE 0xffffc00000000000  // windows of map_device
#define HAL_STACK_BASE 0xffffe00000000000   // per-CPU stacks with guard pages
#define HAL_USER_TOP 0x00007ffffffff000     // the last page below the hole stays unmapped: sysret (SDM 2B, SYSRET)

// GDT. The order is what SYSCALL/SYSRET want; the user values are those Linux programs see.
#define HAL_KERNEL_CS 0x10
#define HAL_KERNEL_SS 0x18
#define HAL_USER_SS 0x2b
#define HAL_USER_CS 0x33
#define HAL_TSS 0x40
#define HAL_USER_CPU 0x7b  // a segment whose limit is the CPU's number, for LSL by user code; the selector is Linux's
#define HAL_FROM_SYSCALL 0x10000  // in the saved CS slot, above the selector: entered by SYSCALL

// Interrupt vectors.
#define HAL_VECTOR_DEVICE_FIRST 0x30
#define HAL_VECTOR_DEVICE_LAST 0xef
#define HAL_VECTOR_WAKE 0xf0
#define HAL_VECTOR_FLUSH 0xf1
#define HAL_VECTOR_TIMER 0xf2
#define HAL_VECTOR_SPURIOUS 0xff

// UserContext. The frame part ends at CTX_TOP, 16-byte aligned: interrupts push straight into it (TSS.RSP0).
// R9 to RDI are a CallFrame.
#define CTX_ENTRY 8
#define CTX_R15 56
#define CTX_R14 64
#define CTX_R13 72
#define CTX_R12 80
#define CTX_RBP 88
#define CTX_RBX 96
#define CTX_R11 104
#define CTX_RCX 112
#define CTX_R9 120
#define CTX_R8 128
#define CTX_R10 136
#define CTX_RAX 144
#define CTX_RDX 152
#define CTX_RSI 160
#define CTX_RDI 168
#define CTX_ERROR_CODE 176
#define CTX_RIP 184
#define CTX_CS 192
#define CTX_RFLAGS 200
#define CTX_RSP 208
#define CTX_SS 216
#define CTX_TOP 224

// Cpu, by GS.
#define CPU_SELF 0
#define CPU_LOCAL 8
#define CPU_STACK_TOP 16
#define CPU_SCRATCH 24
#define CPU_ID 32
#define CPU_ROOT 40
#define CPU_NOTE 56
#define CPU_FLUSH_WANTED 64
#define CPU_FLUSH_DONE 72
#define CPU_RSP0 192
