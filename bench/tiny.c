// SPDX-License-Identifier: MIT
// farcall-build: -nostdlib -ffreestanding
// The smallest program: what exec costs without a C library.
__attribute__((noreturn)) void _start(void) {
    __asm__ volatile("syscall" : : "a"(231L), "D"(0L) : "rcx", "r11", "memory");
    __builtin_unreachable();
}
