// SPDX-License-Identifier: MIT
// Bulk copies from and to user memory: `rep movsq`, then the last bytes. A fault ends the copy at the first byte that
// cannot be reached: the word loop's fault continues byte by byte, the byte loop's fault ends. Returns bytes done.
// An address range that runs out of user space is cut at its end.
#include "hal/x86_64/include/hal/layout.h"

#define USER_BEGIN 661: .byte 0x0f,0x1f,0x00; .pushsection .smap_stac, "a", @progbits; .quad 661b; .popsection
#define USER_END   662: .byte 0x0f,0x1f,0x00; .pushsection .smap_clac, "a", @progbits; .quad 662b; .popsection
#define ON_FAULT(at, to) .pushsection .extable, "a", @progbits; .quad at, to; .popsection

    // \reg: user address; rdx: bytes, cut to what lies in user space
    .macro clamp reg
    movabsq $HAL_USER_TOP, %rax
    subq \reg, %rax
    jbe 9f
    cmpq %rax, %rdx
    cmovaq %rax, %rdx
    .endm

    .macro user_copy name, user
    .section .text.\name, "ax"
    .globl \name
    .balign 16
\name:
    clamp \user
    USER_BEGIN
    movq %rdx, %rcx
    shrq $3, %rcx
1:  rep movsq
    movl %edx, %ecx
    andl $7, %ecx
2:  rep movsb
    USER_END
    movq %rdx, %rax
    ret
3:  movl %edx, %eax                         // fault among the words
    andl $7, %eax
    leaq (%rax, %rcx, 8), %rcx
4:  rep movsb
5:  USER_END                                // fault among the bytes: rcx are left
    movq %rdx, %rax
    subq %rcx, %rax
    ret
9:  xorl %eax, %eax
    ret
    ON_FAULT(1b, 3b)
    ON_FAULT(2b, 5b)
    ON_FAULT(4b, 5b)
    .endm

    user_copy hal_copy_from_user, %rsi
    user_copy hal_copy_to_user, %rdi

    .section .text.hal_clear_user, "ax"
    .globl hal_clear_user
    .balign 16
hal_clear_user:                             // rdi: to, rsi: bytes
    movq %rsi, %rdx
    clamp %rdi
    USER_BEGIN
    xorl %eax, %eax
    movq %rdx, %rcx
    shrq $3, %rcx
1:  rep stosq
    movl %edx, %ecx
    andl $7, %ecx
2:  rep stosb
    USER_END
    movq %rdx, %rax
    ret
3:  movl %edx, %esi
    andl $7, %esi
    leaq (%rsi, %rcx, 8), %rcx
4:  rep stosb
5:  USER_END
    movq %rdx, %rax
    subq %rcx, %rax
    ret
9:  xorl %eax, %eax
    ret
    ON_FAULT(1b, 3b)
    ON_FAULT(2b, 5b)
    ON_FAULT(4b, 5b)

    .section .note.GNU-stack, "", @progbits
