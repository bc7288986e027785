// SPDX-License-Identifier: MIT
// The code of threads that a server has (redirected.hpp).
#include "tests/native/redirected.hpp"

asm(R"(
.text
.globl ktest_client, ktest_spinner, ktest_stop, ktest_fpu_client, ktest_reader, ktest_base_client
ktest_client:
    mov %rdi, %rbx
1:  mov $39, %eax
    mov %rbx, %rdi
    syscall
    mov %rax, %rbx
    jmp 1b
ktest_spinner:
    incq (%rdi)
    jmp ktest_spinner
ktest_stop:
    ud2
ktest_fpu_client:
    movq %rdi, %xmm0
1:  mov $39, %eax
    movq %xmm0, %rdi
    syscall
    jmp 1b
ktest_reader:
    mov %rdi, %rbx
1:  mov $39, %eax
    mov (%rbx), %rdi
    syscall
    jmp 1b
ktest_base_client:
    mov $39, %eax
    mov %gs:0, %rdi
    mov %fs:0, %rsi
    syscall
    jmp ktest_base_client
)");
