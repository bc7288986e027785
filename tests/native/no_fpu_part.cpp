// SPDX-License-Identifier: MIT
// kNoFpu: a server that leaves its clients' FPU state in the registers. No client sees another's, and neither does a thread that
// has not used the FPU. The server is written in assembly, because a compiler uses vector registers to copy.
#include "tests/native/redirected.hpp"

extern "C" {
void ktest_no_fpu_server();
void ktest_look();
// What the server answers with; how many calls had the value that belongs to their badge, and how many another.
u64 ktest_no_fpu_tag, ktest_no_fpu_good[4], ktest_no_fpu_bad;
}

// Word 3 of a system call's message is the client's rdi: what it had in xmm0.
asm(R"(
.text
.globl ktest_no_fpu_server, ktest_look
ktest_no_fpu_server:
    mov %rdi, %rbp
    mov $3, %eax
    xor %esi, %esi
1:  mov %rbp, %rdi
    syscall
    test %rax, %rax
    js 4f
    cmp %rdi, %r9
    je 2f
    lock incq ktest_no_fpu_bad
2:  and $3, %edi
    lock incq ktest_no_fpu_good(,%rdi,8)
    mov $1, %eax
    mov ktest_no_fpu_tag, %rsi
    xor %edx, %edx
    jmp 1b
4:  ud2
ktest_look:
    movq %xmm0, (%rdi)
    movq $1, 8(%rdi)
5:  jmp 5b
)");

namespace ktest {

KTEST_CPUS(no_fpu_server_keeps_its_clients_apart, none) {
    constexpr u64 kCalls = 60;
    const Slot e = make(kTypeEndpoint);
    ktest_no_fpu_tag = make_tag(kResume, 1);
    ktest_no_fpu_bad = 0;
    for (u64& good : ktest_no_fpu_good) good = 0;
    (void)start_at(u64(&ktest_no_fpu_server), e, {.priority = 20, .cpu = cpu, .flags = kNoFpu});
    // Two where the server is, one on the other CPU.
    for (u64 n = 1; n <= 3; ++n) {
        const u64 value = 0x5a5a'0000 + n;
        (void)start_at(u64(&ktest_fpu_client), value,
                       {.cpu = n == 3 ? far_cpu() - cpu : cpu,
                        .handler = derive(e, kSendRight, value),
                        .flags = kRedirect,
                        .with_utcb = false});
    }
    static u64 seen[8][2];
    for (auto& s : seen) {
        s[0] = s[1] = 0;
        // Its first turn comes between those of the clients, and its registers are its own.
        Helper& h = start_at(u64(&ktest_look), u64(&s), {.cpu = cpu});
        KCHECK(until([&] { return std::atomic_ref{s[1]}.load() != 0; }));
        (void)suspend(h.thread);
        KCHECK(s[0] == 0);
    }
    for (u64 n = 1; n <= 3; ++n) KCHECK(until([&] { return std::atomic_ref{ktest_no_fpu_good[n]}.load() > kCalls; }));
    KCHECK(ktest_no_fpu_bad == 0);
}
KTEST(no_fpu_is_a_flag, thread_flags) {
    Helper& h = start([](u64) {}, 0, {.start = false});
    KREFUSED(kInval, raw_call(kThreadConfigure, h.thread, kSlotSpace, 0, 0, 4));
    KREFUSED(kInval, raw_call(kThreadConfigure, h.thread, kSlotSpace, 0, 0, ~u64{0}));
    KDONE(raw_call(kThreadConfigure, h.thread, kSlotSpace, 0, 0, kNoFpu));
}

}  // namespace ktest
