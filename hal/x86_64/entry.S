// SPDX-License-Identifier: MIT
// Where user mode ends and begins. The layout of what is saved is user_context.hpp's.
//
// A trap from user mode is saved straight into the thread's UserContext: TSS.RSP0 points at the end of its frame part,
// so the CPU pushes there, and SYSCALL loads the same value itself. Then the CPU's one kernel stack is taken from its
// top. GS: swapped exactly when the saved CS says user mode; NMI, #MC, #DB and #DF in kernel mode may come between the
// privilege change and the swap, so they run on IST stacks with the Cpu's address at their top and set GS themselves.
// SYSRET to a non-canonical address faults in kernel mode on Intel (SDM vol. 2B, SYSRET): the page below the hole is
// never mapped, so SYSCALL cannot leave such an address, and hal_enter_user tests what the kernel may have set.
#include "hal/x86_64/include/hal/layout.h"

#define NO_SMAP_CLAC \
    661: .byte 0x0f,0x1f,0x00; .pushsection .smap_clac, "a", @progbits; .quad 661b; .popsection

    .section .entry.text, "ax"
    .balign 64
    .globl hal_syscall_entry
hal_syscall_entry:                          // SFMASK cleared IF DF TF AC NT
    swapgs
    movq %rsp, %gs:CPU_SCRATCH
    movq %gs:CPU_RSP0, %rsp
    pushq $HAL_USER_SS
    pushq %gs:CPU_SCRATCH
    pushq %r11                              // rflags
    pushq $(HAL_USER_CS + HAL_FROM_SYSCALL)
    pushq %rcx                              // rip
    pushq $0                                // no error code
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rax                              // number
    pushq %r10
    pushq %r8
    pushq %r9
    pushq %rcx
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    leaq -CTX_R15(%rsp), %rdi
    movq %gs:CPU_STACK_TOP, %rsp
    call *CTX_ENTRY(%rdi)
    // Back to the same context: rbx, rbp and r12 to r15 are as the user left them.
    movq %gs:CPU_RSP0, %rsp
    movq CTX_RDI - CTX_TOP(%rsp), %rdi
    movq CTX_RSI - CTX_TOP(%rsp), %rsi
    movq CTX_RDX - CTX_TOP(%rsp), %rdx
    movq CTX_R10 - CTX_TOP(%rsp), %r10
    movq CTX_R8 - CTX_TOP(%rsp), %r8
    movq CTX_R9 - CTX_TOP(%rsp), %r9
    movq CTX_RAX - CTX_TOP(%rsp), %rax
    movq CTX_RIP - CTX_TOP(%rsp), %rcx
    movq CTX_RFLAGS - CTX_TOP(%rsp), %r11
    movq CTX_RSP - CTX_TOP(%rsp), %rsp
    swapgs
    sysretq

    // As hal_resume_syscall below, to the context in rax with a message: badge in rdi, tag in rsi, result 0. The second form
    // takes the first four words from the context in rdx.
    .balign 16
    .globl hal_resume_message
hal_resume_message:
    leaq CTX_TOP(%rax), %rcx
    movq %rcx, %gs:CPU_RSP0
    movq CTX_RDX(%rax), %rdx
    movq CTX_R10(%rax), %r10
    movq CTX_R8(%rax), %r8
    movq CTX_R9(%rax), %r9
    movq CTX_R15(%rax), %r15
    movq CTX_R14(%rax), %r14
    movq CTX_R13(%rax), %r13
    movq CTX_R12(%rax), %r12
    movq CTX_RBP(%rax), %rbp
    movq CTX_RBX(%rax), %rbx
    movq CTX_RIP(%rax), %rcx
    movq CTX_RFLAGS(%rax), %r11
    movq CTX_RSP(%rax), %rsp
    xorl %eax, %eax
    swapgs
    sysretq
    .balign 16
    .globl hal_resume_message_words
hal_resume_message_words:
    leaq CTX_TOP(%rax), %rcx
    movq %rcx, %gs:CPU_RSP0
    movq CTX_R10(%rdx), %r10
    movq CTX_R8(%rdx), %r8
    movq CTX_R9(%rdx), %r9
    movq CTX_RDX(%rdx), %rdx
    movq CTX_R15(%rax), %r15
    movq CTX_R14(%rax), %r14
    movq CTX_R13(%rax), %r13
    movq CTX_R12(%rax), %r12
    movq CTX_RBP(%rax), %rbp
    movq CTX_RBX(%rax), %rbx
    movq CTX_RIP(%rax), %rcx
    movq CTX_RFLAGS(%rax), %r11
    movq CTX_RSP(%rax), %rsp
    xorl %eax, %eax
    swapgs
    sysretq

    // The same for another context, which a system call left: its pc cannot be outside user space, rcx and r11 are free.
    .balign 16
    .globl hal_resume_syscall
hal_resume_syscall:
    leaq CTX_TOP(%rdi), %rax
    movq %rax, %gs:CPU_RSP0
    movq CTX_R15(%rdi), %r15
    movq CTX_R14(%rdi), %r14
    movq CTX_R13(%rdi), %r13
    movq CTX_R12(%rdi), %r12
    movq CTX_RBP(%rdi), %rbp
    movq CTX_RBX(%rdi), %rbx
    movq CTX_R10(%rdi), %r10
    movq CTX_R9(%rdi), %r9
    movq CTX_R8(%rdi), %r8
    movq CTX_RAX(%rdi), %rax
    movq CTX_RDX(%rdi), %rdx
    movq CTX_RSI(%rdi), %rsi
    movq CTX_RIP(%rdi), %rcx
    movq CTX_RFLAGS(%rdi), %r11
    movq CTX_RSP(%rdi), %rsp
    movq CTX_RDI(%rdi), %rdi
    swapgs
    sysretq

    // Goes to the context in rdi and does not come back.
    .balign 16
    .globl hal_enter_user
hal_enter_user:
    leaq CTX_TOP(%rdi), %rax
    movq %rax, %gs:CPU_RSP0
    movq CTX_RIP(%rdi), %rcx
    movq %rcx, %rax
    shrq $47, %rax
    jnz bad_pc
    movq CTX_RFLAGS(%rdi), %r11
    cmpq %rcx, CTX_RCX(%rdi)                // SYSRET loads rcx and r11: only if the thread expects them so
    jne full_restore
    cmpq %r11, CTX_R11(%rdi)
    jne full_restore
    testl $0x10100, %r11d                   // RF and TF need IRET (SDM vol. 3B, 17.3.1.1)
    jnz full_restore
    movq CTX_R15(%rdi), %r15
    movq CTX_R14(%rdi), %r14
    movq CTX_R13(%rdi), %r13
    movq CTX_R12(%rdi), %r12
    movq CTX_RBP(%rdi), %rbp
    movq CTX_RBX(%rdi), %rbx
    movq CTX_R10(%rdi), %r10
    movq CTX_R9(%rdi), %r9
    movq CTX_R8(%rdi), %r8
    movq CTX_RAX(%rdi), %rax
    movq CTX_RDX(%rdi), %rdx
    movq CTX_RSI(%rdi), %rsi
    movq CTX_RSP(%rdi), %rsp
    movq CTX_RDI(%rdi), %rdi
    swapgs
    sysretq
full_restore:
    leaq CTX_R15(%rdi), %rsp
restore_user:                               // rsp at r15 of a context
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %rcx
    popq %r9
    popq %r8
    popq %r10
    popq %rax
    popq %rdx
    popq %rsi
    popq %rdi
    addq $8, %rsp
    swapgs
    iretq
    // As the CPU would: a protection fault of the thread, or, for a canonical address of the kernel's half, a page fault
    // of its fetch from there.
bad_pc:
    movq %gs:CPU_STACK_TOP, %rsp
    movl $13, %esi
    movq $0, CTX_ERROR_CODE(%rdi)
    movq CTX_RIP(%rdi), %rax
    movq %rax, %rcx
    sarq $47, %rcx
    incq %rcx
    jnz 1f
    movq %rax, %cr2
    movl $14, %esi
    movq $0x15, CTX_ERROR_CODE(%rdi)        // present, user, fetch
1:  xorl %ebp, %ebp
    call hal_user_trap
    movq %gs:CPU_RSP0, %rdi
    subq $CTX_TOP, %rdi
    jmp hal_enter_user

    // One stub of 16 bytes per vector: error code or 0, rdi, vector in edi.
    .balign 4096
    .globl hal_vector_stubs
hal_vector_stubs:
    .set vector, 0
    .rept 256
    .balign 16, 0xcc
    .if vector == 2 || vector == 1 || vector == 18
    pushq $0
    pushq %rdi
    movl $vector, %edi
    jmp ist_entry
    .elseif vector == 8
    pushq %rdi
    movl $vector, %edi
    jmp ist_entry
    .else
    .if !(vector == 10 || vector == 11 || vector == 12 || vector == 13 || vector == 14 || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    pushq %rdi
    movl $vector, %edi
    jmp trap_entry
    .endif
    .set vector, vector + 1
    .endr
    .balign 16, 0xcc

    .macro push_rest                        // after rdi
    pushq %rsi
    pushq %rdx
    pushq %rax
    pushq %r10
    pushq %r8
    pushq %r9
    pushq %rcx
    pushq %r11
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    .endm
    .macro pop_all
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    popq %r11
    popq %rcx
    popq %r9
    popq %r8
    popq %r10
    popq %rax
    popq %rdx
    popq %rsi
    popq %rdi
    addq $8, %rsp
    .endm

trap_entry:
    testb $3, 24(%rsp)                      // CS
    jz trap_from_kernel
    swapgs
trap_from_user:                             // rsp in the UserContext, rdi pushed
    push_rest
    movl %edi, %esi
    leaq -CTX_R15(%rsp), %rdi
    movq %gs:CPU_STACK_TOP, %rsp
    cld
    NO_SMAP_CLAC
    xorl %ebp, %ebp                         // the end of backtraces
    call hal_user_trap
    movq %gs:CPU_RSP0, %rdi
    subq $CTX_TOP, %rdi
    movq CTX_RIP(%rdi), %rax
    shrq $47, %rax
    jnz bad_pc
    jmp full_restore

trap_from_kernel:
    push_rest
    movl %edi, %esi
    movq %rsp, %rdi
    subq $8, %rsp
    cld
    NO_SMAP_CLAC
    call hal_kernel_trap
    addq $8, %rsp
    pop_all
    iretq

    // On an IST stack: frame (5 words), error code, rdi. The word above the frame is this CPU's Cpu*.
ist_entry:
    cmpl $1, %edi
    jne 1f
    testb $3, 24(%rsp)                      // #DB from user mode is an ordinary trap: move to the context
    jnz debug_from_user
1:  push_rest
    movl %edi, %esi
    movl $0xc0000101, %ecx                  // GS base
    rdmsr
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, %rbx
    movq 168(%rsp), %rdx                    // 21 words of frame, then Cpu*
    movl %edx, %eax
    shrq $32, %rdx
    wrmsr
    movq %rsp, %rdi
    subq $8, %rsp
    cld
    NO_SMAP_CLAC
    call hal_ist_trap
    addq $8, %rsp
    movq %rbx, %rdx
    movl %ebx, %eax
    shrq $32, %rdx
    movl $0xc0000101, %ecx
    wrmsr
    pop_all
    iretq
debug_from_user:
    swapgs
    movq %rsp, %rdi
    movq %gs:CPU_RSP0, %rsp
    pushq 48(%rdi)                          // ss
    pushq 40(%rdi)                          // rsp
    pushq 32(%rdi)                          // rflags
    pushq 24(%rdi)                          // cs
    pushq 16(%rdi)                          // rip
    pushq $0
    pushq (%rdi)                            // rdi
    movl $1, %edi
    jmp trap_from_user

    .section .text.hal_on_fresh_stack, "ax"
    .globl hal_on_fresh_stack
hal_on_fresh_stack:
    movq %gs:CPU_STACK_TOP, %rsp
    xorl %ebp, %ebp
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    ud2

    .section .note.GNU-stack, "", @progbits
