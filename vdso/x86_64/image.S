// SPDX-License-Identifier: MIT
// The linked vDSO (vdso.cpp, vdso.ld), for who puts it into programs: bytes, to be copied into pages.
    .section .rodata.vdso, "a"
    .globl farcall_vdso_start, farcall_vdso_end
    .balign 16
farcall_vdso_start:
    .incbin "vdso.so"
farcall_vdso_end:
    .section .note.GNU-stack, "", @progbits
