// SPDX-License-Identifier: MIT
// The linked vDSO (vdso.cpp, vdso.ld), as bytes that the kernel or the server copies into pages of programs.
    .section .rodata.vdso, "a"
    .globl farcall_vdso_start, farcall_vdso_end
    .balign 16
farcall_vdso_start:
    .incbin "vdso.so"
farcall_vdso_end:
    .section .note.GNU-stack, "", @progbits
