// SPDX-License-Identifier: MIT
// From the PVH entry (32-bit, paging off; Xen's "x86/HVM direct boot ABI") to hal_boot in 64-bit mode at the final
// address, on early tables: the first GiB at 0, at the direct map and at the image's base, in 2 MiB pages.
// The early tables stay for the start of the other CPUs; the boot CPU leaves them in paging.cpp.
#include "hal/x86_64/include/hal/layout.h"

#define PHYS(symbol) ((symbol) - HAL_IMAGE_BASE)

    // XEN_ELFNOTE_PHYS32_ENTRY
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad PHYS(hal_pvh_entry)

    .section .boot.text, "ax"
    .code32
    .globl hal_pvh_entry
hal_pvh_entry:
    cld
    cli
    // With too little memory loaders put the RAM disk over the image, and the image where there is none. Looked at before
    // the first write, in registers only: the stack may not be there.
    movl $PHYS(too_little_text), %esi
    cmpl $0, 12(%ebx)                       // hvm_start_info: modules
    je 2f
    movl 16(%ebx), %edx                     // the first one: address, size
    cmpl $0, 4(%edx)
    jne 2f                                  // above 4 GiB
    movl (%edx), %eax
    cmpl $PHYS(hal_image_end), %eax
    jae 2f
    addl 8(%edx), %eax
    cmpl $PHYS(hal_image_start), %eax
    ja cannot_start
2:  cmpl $1, 4(%ebx)                        // version 1: with a memory map; hal_boot wants one
    jb 5f
    movl 48(%ebx), %ecx                     // entries of 24 bytes: address, size, type
    movl 40(%ebx), %edx
    testl %ecx, %ecx
    jz 5f
3:  cmpl $1, 16(%edx)                       // RAM
    jne 4f
    cmpl $0, 4(%edx)
    jne 4f
    cmpl $PHYS(hal_image_start), (%edx)
    ja 4f
    movl 8(%edx), %eax
    movl 12(%edx), %edi
    addl (%edx), %eax
    adcl $0, %edi
    jnz 5f                                  // its end lies above 4 GiB
    cmpl $PHYS(hal_image_end), %eax
    jae 5f
4:  addl $24, %edx
    decl %ecx
    jnz 3b
    jmp cannot_start
5:
    movl $PHYS(hal_bss_start), %edi         // loaders need not have cleared it
    movl $PHYS(hal_bss_end), %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl
    movl %ebx, %ebp                         // hvm_start_info
    movl $PHYS(boot_stack_top), %esp

    // Long mode and NX, or stop with a word on the serial line: every table relies on both.
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb no_long_mode
    movl $0x80000001, %eax
    cpuid
    andl $((1 << 29) | (1 << 20)), %edx
    cmpl $((1 << 29) | (1 << 20)), %edx
    jne no_long_mode

    movl $PHYS(hal_early_pd), %edi
    movl $0x183, %eax                       // present, write, 2 MiB, global
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    cmpl $(0x183 + 0x40000000), %eax
    jne 1b
    movl $(PHYS(hal_early_pd) + 3), PHYS(early_pdpt_low)
    movl $(PHYS(hal_early_pd) + 3), PHYS(early_pdpt_high) + 510 * 8
    movl $(PHYS(early_pdpt_low) + 3), PHYS(hal_early_pml4)
    movl $(PHYS(early_pdpt_low) + 3), PHYS(hal_early_pml4) + 256 * 8
    movl $(PHYS(early_pdpt_high) + 3), PHYS(hal_early_pml4) + 511 * 8

    movl $0x20, %eax                        // PAE
    movl %eax, %cr4
    movl $PHYS(hal_early_pml4), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx                  // EFER: SCE, LME, NXE
    movl $0x901, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80010033, %eax                  // PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    lgdt PHYS(boot_gdtr)
    ljmp $HAL_KERNEL_CS, $PHYS(boot_64)

no_long_mode:
    movl $PHYS(no_long_mode_text), %esi
cannot_start:                               // %esi: why
    movw $0x3f8, %dx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  movb $1, %al                            // isa-debug-exit, where there is one
    outb %al, $0xf4
3:  cli
    hlt
    jmp 3b
no_long_mode_text:
    .asciz "farcall: cannot start: this CPU has no 64-bit mode with no-execute pages\r\n"
too_little_text:
    .asciz "farcall: cannot start: too little memory for the kernel and the RAM disk\r\n"

    .code64
boot_64:
    movabsq $boot_high, %rax
    jmp *%rax
boot_high:
    movl $HAL_KERNEL_SS, %eax
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movq $boot_stack_top, %rsp
    movl %ebp, %edi
    xorl %ebp, %ebp
    call hal_boot
    ud2

    // Another CPU: copied to TRAMPOLINE below 1 MiB and started there in real mode (SDM vol. 3A, 9.4.4).
    .section .rodata
    .globl hal_trampoline_start, hal_trampoline_end
#define TRAMPOLINE 0x8000
#define AT(symbol) (TRAMPOLINE + (symbol) - hal_trampoline_start)
    .code16
    .balign 16
hal_trampoline_start:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AT(trampoline_gdtr)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $AT(trampoline_32)
    .code32
trampoline_32:
    movl $HAL_KERNEL_SS, %eax
    movl %eax, %ds
    movl %eax, %ss
    movl $0x20, %eax
    movl %eax, %cr4
    movl $PHYS(hal_early_pml4), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    movl $0x901, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80010033, %eax
    movl %eax, %cr0
    ljmp $HAL_KERNEL_CS, $AT(trampoline_64)
    .code64
trampoline_64:
    movabsq $ap_high, %rax
    jmp *%rax
    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff                // 0x08: 32-bit code
    .quad 0x00af9b000000ffff                // HAL_KERNEL_CS
    .quad 0x00cf93000000ffff                // HAL_KERNEL_SS
trampoline_gdtr:
    .word . - trampoline_gdt - 1
    .long AT(trampoline_gdt)
hal_trampoline_end:

    .section .boot.text, "ax"
ap_high:
    xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl $HAL_KERNEL_SS, %eax
    movl %eax, %ss
    movq hal_kernel_root, %rax              // the stacks are mapped in the final tables only
    movq %rax, %cr3
    movq hal_starting_cpu, %rdi
    movq CPU_STACK_TOP(%rdi), %rsp
    xorl %ebp, %ebp
    call hal_ap_start
    ud2

    .section .data
    .balign 8
boot_gdt:
    .quad 0
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
boot_gdtr:
    .word . - boot_gdt - 1
    .long PHYS(boot_gdt)

    .section .bss
    .balign 4096
    .globl hal_early_pml4, hal_early_pd
hal_early_pml4:  .skip 4096
early_pdpt_low:  .skip 4096
early_pdpt_high: .skip 4096
hal_early_pd:    .skip 4096
    .skip 8192
boot_stack_top:

    .section .note.GNU-stack, "", @progbits
