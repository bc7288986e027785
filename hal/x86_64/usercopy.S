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

    // The same by blocks of six words, all read before the first is written: where the two pages evict each other in the
    // translation cache of an emulator, that costs two walks per block instead of two per word. A fault ends the blocks; the
    // words and bytes after the last whole block are copied as above, up to the byte.
    .macro user_copy_blocks name, user
    .section .text.\name, "ax"
    .globl \name
    .balign 16
\name:
    clamp \user
    pushq %rdx
    USER_BEGIN
1:  cmpq $48, %rdx
    jb 20f
2:  movq (%rsi), %rax
3:  movq 8(%rsi), %rcx
4:  movq 16(%rsi), %r8
5:  movq 24(%rsi), %r9
6:  movq 32(%rsi), %r10
7:  movq 40(%rsi), %r11
8:  movq %rax, (%rdi)
10: movq %rcx, 8(%rdi)
11: movq %r8, 16(%rdi)
12: movq %r9, 24(%rdi)
13: movq %r10, 32(%rdi)
14: movq %r11, 40(%rdi)
    addq $48, %rsi
    addq $48, %rdi
    subq $48, %rdx
    jmp 1b
20: movq %rdx, %rcx
    shrq $3, %rcx
21: rep movsq
    movl %edx, %ecx
    andl $7, %ecx
22: rep movsb
25: USER_END                                // rcx bytes are left
    popq %rax
    subq %rcx, %rax
    ret
23: movl %edx, %eax
    andl $7, %eax
    leaq (%rax, %rcx, 8), %rcx
24: rep movsb
    jmp 25b
9:  xorl %eax, %eax
    ret
    .irp at, 2b, 3b, 4b, 5b, 6b, 7b, 8b, 10b, 11b, 12b, 13b, 14b
    ON_FAULT(\at, 20b)
    .endr
    ON_FAULT(21b, 23b)
    ON_FAULT(22b, 25b)
    ON_FAULT(24b, 25b)
    .endm

    user_copy_blocks hal_copy_from_user_blocks, %rsi
    user_copy_blocks hal_copy_to_user_blocks, %rdi

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
