// SPDX-License-Identifier: MIT
// Threads of another system, whose system calls go to a handler: the contents of the message, and that every register
// is preserved, on the fastpath and the slowpath, on this CPU and across CPUs. Also FPU state and segment bases of
// threads that alternate.
#include "tests/native/ktest.hpp"

extern "C" {
// The registers that the thread loads before its system call, and those after it: rax rbx rcx rdx rsi rdi rbp rsp r8 to
// r15, flags.
u64 ktest_before[17], ktest_after[17];
[[gnu::aligned(16)]] u64 ktest_vectors_before[32], ktest_vectors_after[32];
u64 ktest_gs[2];
}

// Makes `rounds` (rdi) system calls with known registers, and stores the registers after the last one.
asm(R"(
.text
.globl ktest_redirected, ktest_redirected_call
ktest_redirected:
    mov %rdi, ktest_rounds
1:  pushq ktest_before+128
    popfq
    mov ktest_before, %rax
    mov ktest_before+8, %rbx
    mov ktest_before+24, %rdx
    mov ktest_before+32, %rsi
    mov ktest_before+40, %rdi
    mov ktest_before+48, %rbp
    mov ktest_before+64, %r8
    mov ktest_before+72, %r9
    mov ktest_before+80, %r10
    mov ktest_before+96, %r12
    mov ktest_before+104, %r13
    mov ktest_before+112, %r14
    mov ktest_before+120, %r15
    mov %rsp, ktest_before+56
    syscall
ktest_redirected_call:
    mov %rax, ktest_after
    mov %rbx, ktest_after+8
    mov %rcx, ktest_after+16
    mov %rdx, ktest_after+24
    mov %rsi, ktest_after+32
    mov %rdi, ktest_after+40
    mov %rbp, ktest_after+48
    mov %rsp, ktest_after+56
    mov %r8, ktest_after+64
    mov %r9, ktest_after+72
    mov %r10, ktest_after+80
    mov %r11, ktest_after+88
    mov %r12, ktest_after+96
    mov %r13, ktest_after+104
    mov %r14, ktest_after+112
    mov %r15, ktest_after+120
    pushfq
    popq ktest_after+128
    decq ktest_rounds
    jnz 1b
    ud2

.globl ktest_vectors, ktest_vectors_call
ktest_vectors:
    mov %rdi, ktest_rounds
    movaps ktest_vectors_before, %xmm0
    movaps ktest_vectors_before+16, %xmm1
    movaps ktest_vectors_before+112, %xmm7
    movaps ktest_vectors_before+240, %xmm15
    fninit
    fldpi
1:  mov $39, %eax
    syscall
    decq ktest_rounds
    jnz 1b
    movaps %xmm0, ktest_vectors_after
    movaps %xmm1, ktest_vectors_after+16
    movaps %xmm7, ktest_vectors_after+112
    movaps %xmm15, ktest_vectors_after+240
    fldpi
    fcompp
    fnstsw %ax
    and $0x4500, %eax
    ud2
.globl ktest_bases
ktest_bases:
    mov %gs:0, %rax
    mov %fs:0, %rbx
    syscall
    mov %gs:0, %r12
    mov %fs:0, %r13
    ud2
.bss
ktest_rounds: .quad 0
.text
)");
extern "C" const char ktest_redirected[], ktest_redirected_call[], ktest_vectors[], ktest_bases[];

namespace ktest {
namespace {

void fill() {
    for (u64 i = 0; i < 17; ++i) ktest_before[i] = 0x1111'2222'3333'0000 + i * 0x1'0001'0101;
    ktest_before[16] = 0x202 | 0x400 | 0x1 | 0x80;  // direction, carry, sign
    std::memset(ktest_after, 0, sizeof ktest_after);
}
constexpr u64 kBadge = 31;

Helper& redirected(const char* code, u64 rounds, Slot e, u64 cpu, u64 priority = kDefaultPriority) {
    return start_at(u64(code), rounds,
                    {.priority = priority, .cpu = cpu, .handler = derive(e, kSendRight, kBadge), .flags = kRedirect});
}
// The message contains the thread's registers.
bool told(const Message& m) {
    const u64* b = ktest_before;
    return m.badge == kBadge && m.tag == make_tag(kLabelSyscall, kRegisterWords) && m.words[0] == b[0] &&
           m.words[1] == u64(ktest_redirected_call) && m.words[2] == b[7] && m.words[3] == b[5] && m.words[4] == b[4] &&
           m.words[5] == b[3] && m.words[6] == b[10] && m.words[7] == b[8] && m.words[8] == b[9];
}
// All registers are preserved except those that SYSCALL overwrites: rcx, r11.
bool kept(u64 result) {
    for (u64 i = 1; i < 16; ++i)
        if (i != 2 && i != 11 && ktest_after[i] != ktest_before[i]) return false;
    constexpr u64 kFlags = 0xcd5;
    return ktest_after[0] == result && (ktest_after[16] & kFlags) == (ktest_before[16] & kFlags);
}

std::atomic<u64> served, wrong;
// A server that replies with its next receive, as the fastpaths expect.
void serve(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
        if (m.label() != kLabelSyscall) return;
        if (!told(m)) wrong = wrong + 1;
        served = served + 1;
        m = message(kResume, 1000 + served);
    }
}
// The same, with values of its own in all FPU registers.
void serve_with_vectors(u64 e) {
    Message m;
    for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
        asm volatile(
            "pcmpeqd %%xmm0, %%xmm0\n movaps %%xmm0, %%xmm1\n movaps %%xmm0, %%xmm7\n movaps %%xmm0, %%xmm15\n "
            "fninit\n "
            "fldz" ::
                : "xmm0", "xmm1", "xmm7", "xmm15");
        if (m.label() != kLabelSyscall) return;
        served = served + 1;
        m = message(kResume, 5);
    }
}

}  // namespace

KTEST_CPUS(redirect_tells_number_place_and_arguments, none) {
    fill();
    Slot e = make(kTypeEndpoint);
    Helper& h = redirected(ktest_redirected, 1, e, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(told(m) && state_of(h.thread) == kStateAwaitingReply);
    KDONE(code(reply(message(kResume, 99))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelException && kept(99));
}
KTEST_CPUS(redirect_keeps_all_registers, none) {
    fill();
    served = wrong = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve, e);
    KCHECK(until_state(server, kStateReceiving));
    (void)redirected(ktest_redirected, 100, e, cpu);
    KCHECK(until_done(server));
    KCHECK(served == 100 && wrong == 0 && kept(1100));
}
KTEST_CPUS(redirect_without_its_fastpath, none) {
    fill();
    served = wrong = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve, e);
    KCHECK(until_state(server, kStateReceiving));
    KDONE(raw_call(kThreadFastpaths, server.thread, kFastException));  // replies take the slowpath
    (void)redirected(ktest_redirected, 50, e, cpu);
    KCHECK(until_done(server));
    KCHECK(served == 50 && wrong == 0 && kept(1050));
}
KTEST_CPUS(redirect_to_a_handler_of_lower_priority, none) {
    fill();
    served = wrong = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve, e, {.priority = 5});
    KCHECK(until_state(server, kStateReceiving));
    (void)redirected(ktest_redirected, 50, e, cpu, 9);
    KCHECK(until_done(server));
    KCHECK(served == 50 && wrong == 0 && kept(1050));
}
KTEST_CPUS(redirect_shows_all_registers_on_demand, none) {
    fill();
    Slot e = make(kTypeEndpoint);
    Helper& h = redirected(ktest_redirected, 1, e, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    const u64* b = ktest_before;
    KCHECK(r.rbx == b[1] && r.rdx == b[3] && r.rsi == b[4] && r.rdi == b[5] && r.rbp == b[6] && r.rsp == b[7]);
    KCHECK(r.r8 == b[8] && r.r9 == b[9] && r.r10 == b[10] && r.r12 == b[12] && r.r13 == b[13] && r.r14 == b[14] &&
           r.r15 == b[15]);
    KCHECK(r.rip == u64(ktest_redirected_call) && r.fs_base == h.utcb_at);
    // The handler can also set all of them.
    r.rax = 7;
    r.rbx = 8;
    r.rcx = 9;
    r.r11 = 10;
    utcb().registers = r;
    KDONE(code(reply(message(kResumeWith))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(ktest_after[0] == 7 && ktest_after[1] == 8 && ktest_after[2] == 9 && ktest_after[11] == 10);
    KCHECK(ktest_after[15] == b[15]);
}
KTEST(redirect_resumes_at_another_place, none) {
    fill();
    Slot e = make(kTypeEndpoint);
    Helper& h = redirected(ktest_redirected, 1, e, 0);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(reply(message(kResumeAt, 12, ktest_redirected_call, stack_top(h) - 64))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(ktest_after[0] == 12 && ktest_after[7] == stack_top(h) - 64 && ktest_after[1] == ktest_before[1]);
}
KTEST(redirect_stops_and_goes_on, none) {
    fill();
    Slot e = make(kTypeEndpoint);
    Helper& h = redirected(ktest_redirected, 1, e, 0);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(reply(message(kStop, 3))));
    KCHECK(state_of(h.thread) == kStateInactive);
    KDONE(raw_call(kThreadResume, h.thread));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelException || m.label() == kLabelSyscall);
}
KTEST_CPUS(redirect_without_a_handler_stops, none) {
    fill();
    Helper& h = start_at(u64(ktest_redirected), 1, {.cpu = cpu, .flags = kRedirect});
    KCHECK(until_stopped(h));
}
KTEST_CPUS(redirect_makes_no_native_call, none) {
    // The number is interpreted by the handler only: as a native call, it would delete the pool.
    fill();
    ktest_before[0] = kDelete;
    ktest_before[5] = pool();
    Slot e = make(kTypeEndpoint);
    (void)redirected(ktest_redirected, 1, e, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(told(m) && !empty(pool()));
}
KTEST_CPUS(redirect_call_suspended, none) {
    fill();
    Slot e = make(kTypeEndpoint);
    Helper& h = redirected(ktest_redirected, 1, e, cpu);
    KCHECK(until_state(h, kStateSending));
    KDONE(raw_call(kThreadSuspend, h.thread));
    Message m;
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
    KDONE(raw_call(kThreadResume, h.thread));
    KDONE(code(receive_soon(e, m)));
}

// --- FPU state and bases

KTEST_CPUS(redirect_keeps_vectors, none) {
    for (u64 i = 0; i < 32; ++i) ktest_vectors_before[i] = 0x0f0f'0000'0000'1234 * (i + 1);
    std::memset(ktest_vectors_after, 0, sizeof ktest_vectors_after);
    served = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(serve_with_vectors, e);
    KCHECK(until_state(server, kStateReceiving));
    Helper& h = redirected(ktest_vectors, 50, e, cpu);
    KCHECK(until_done(server) && served == 50);
    for (u64 i : {0, 1, 2, 3, 14, 15, 30, 31}) KCHECK(ktest_vectors_after[i] == ktest_vectors_before[i]);
    Registers r;
    KCHECK(until_state(h, kStateAwaitingReply));  // in its last trap
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.rax == 0x4000);  // the comparison of the value on the x87 stack was "equal"
}
KTEST_CPUS(vectors_of_threads_that_take_turns, none) {
    static auto add = [](u64 number) {
        double sum = 0, step = double(number) + 0.5;
        for (u64 i = 0; i < 300; ++i) {
            for (u64 k = 0; k < 50; ++k) {
                sum += step;
                asm volatile("" : "+x"(sum), "+x"(step));
            }
            yield();
        }
        if (sum != 15000 * (double(number) + 0.5)) note_failure("sums", __FILE_NAME__, __LINE__);
    };
    Helper* h[6];
    for (u64 i = 0; i < 6; ++i) h[i] = &start(+add, i, {.cpu = i & 1 ? cpu : 0});
    for (Helper* one : h) KCHECK(until_done(*one));
}
KTEST_CPUS(vectors_move_with_their_thread, none) {
    static std::atomic<bool> stop;
    static auto hold = [](u64) {
        double value = 1234.5;
        asm volatile("" : "+x"(value));
        while (!stop) asm volatile("" : "+x"(value));
        if (value != 1234.5) note_failure("the value", __FILE_NAME__, __LINE__);
    };
    stop = false;
    Helper& h = start(+hold, 0, {.priority = 5, .cpu = cpu});
    for (u64 i = 0; i < 10; ++i) {
        sleep(kMillisecond / 2);
        KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, 5, i % boot_info().cpus));
    }
    stop = true;
    KCHECK(until_done(h));
}
KTEST_CPUS(bases_are_kept, none) {
    ktest_gs[0] = 0x6a6a;
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(ktest_bases), 0, {.cpu = cpu, .handler = e, .flags = kRedirect, .start = false});
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    r.gs_base = u64(ktest_gs);
    KDONE(code(set_registers(h.thread, r)));
    h.page().self = h.utcb_at;
    KDONE(raw_call(kThreadResume, h.thread));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[0] == 0x6a6a);
    KDONE(code(reply(message(kResume, 0))));
    KDONE(code(receive_soon(e, m)));
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.rbx == h.utcb_at && r.r12 == 0x6a6a && r.r13 == h.utcb_at);
    KCHECK(r.gs_base == u64(ktest_gs) && r.fs_base == h.utcb_at);
}
KTEST_CPUS(bases_changed_in_an_answer, none) {
    ktest_gs[0] = 1;
    ktest_gs[1] = 2;
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(ktest_bases), 0, {.cpu = cpu, .handler = e, .flags = kRedirect, .start = false});
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    r.gs_base = u64(ktest_gs);
    KDONE(code(set_registers(h.thread, r)));
    KDONE(raw_call(kThreadResume, h.thread));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(get_registers(h.thread, r)));
    r.gs_base = u64(&ktest_gs[1]);
    utcb().registers = r;
    KDONE(code(reply(message(kResumeWith))));
    KDONE(code(receive_soon(e, m)));
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.r12 == 2);
}

}  // namespace ktest
