// SPDX-License-Identifier: MIT
// SSE, AVX and x87 state: kept over system calls, preemption, fork, signals; fresh after exec.
#include "check.h"

#include <cpuid.h>
#include <ucontext.h>

typedef unsigned char bytes_t;

// Values are loaded, a call is made and the registers are stored in one piece of assembly, free of compiler interference.
static void around_call_sse(bytes_t in[256], bytes_t out[256], long number, long a, long b) {
    __asm__ volatile(
        "movups 0(%1), %%xmm0; movups 16(%1), %%xmm1; movups 32(%1), %%xmm2; movups 48(%1), %%xmm3;"
        "movups 64(%1), %%xmm4; movups 80(%1), %%xmm5; movups 96(%1), %%xmm6; movups 112(%1), %%xmm7;"
        "movups 128(%1), %%xmm8; movups 144(%1), %%xmm9; movups 160(%1), %%xmm10; movups 176(%1), %%xmm11;"
        "movups 192(%1), %%xmm12; movups 208(%1), %%xmm13; movups 224(%1), %%xmm14; movups 240(%1), %%xmm15;"
        "syscall;"
        "movups %%xmm0, 0(%2); movups %%xmm1, 16(%2); movups %%xmm2, 32(%2); movups %%xmm3, 48(%2);"
        "movups %%xmm4, 64(%2); movups %%xmm5, 80(%2); movups %%xmm6, 96(%2); movups %%xmm7, 112(%2);"
        "movups %%xmm8, 128(%2); movups %%xmm9, 144(%2); movups %%xmm10, 160(%2); movups %%xmm11, 176(%2);"
        "movups %%xmm12, 192(%2); movups %%xmm13, 208(%2); movups %%xmm14, 224(%2); movups %%xmm15, 240(%2);"
        : "+a"(number)
        : "r"(in), "r"(out), "D"(a), "S"(b)
        : "rcx", "r11", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
          "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static void fill(bytes_t* p, size_t n, unsigned seed) {
    for (size_t i = 0; i < n; i++) p[i] = (bytes_t)(seed = seed * 1103515245 + 12345, seed >> 16);
}

TEST(sse_over_calls) {
    bytes_t in[256], out[256];
    struct timespec t = {0, 5000000};
    static const char* const names[] = {"getpid", "sched_yield", "nanosleep"};
    const long numbers[] = {SYS_getpid, SYS_sched_yield, SYS_nanosleep};
    for (int i = 0; i < 3; i++) {
        fill(in, sizeof in, (unsigned)i);
        around_call_sse(in, out, numbers[i], (long)&t, 0);
        say("%s: %s\n", names[i], memcmp(in, out, sizeof in) ? "changed" : "kept");
    }
}

// Loads a pattern, spins without any call until preempted many times, and compares.
static int spin_sse(unsigned seed, long milliseconds) {
    bytes_t in[256], out[256];
    fill(in, sizeof in, seed);
    int wrong = 0;
    for (long stop = now_ms() + milliseconds; now_ms() < stop;) {
        long loops = 300000;
        __asm__ volatile(
            "movups 0(%1), %%xmm0; movups 16(%1), %%xmm1; movups 112(%1), %%xmm7; movups 128(%1), %%xmm8; movups "
            "240(%1), %%xmm15;"
            "1: dec %0; jnz 1b;"
            "movups %%xmm0, 0(%2); movups %%xmm1, 16(%2); movups %%xmm7, 112(%2); movups %%xmm8, 128(%2); movups "
            "%%xmm15, 240(%2);"
            : "+r"(loops)
            : "r"(in), "r"(out)
            : "memory", "xmm0", "xmm1", "xmm7", "xmm8", "xmm15");
        wrong += memcmp(in, out, 32) || memcmp(in + 112, out + 112, 32) || memcmp(in + 240, out + 240, 16);
    }
    return wrong;
}
TEST(sse_over_preemption) {
    for (unsigned i = 0; i < 6; i++)
        if (fork() == 0) {
            long one = 1;
            syscall(SYS_sched_setaffinity, 0, sizeof one, &one);  // all on one CPU
            _exit(spin_sse(i * 77 + 1, 150) != 0);
        }
    for (int i = 0; i < 6; i++) reap("spinner", -1);
}

TEST(sse_over_fork) {
    bytes_t in[256], out[256];
    fill(in, sizeof in, 99);
    int parent = getpid();
    around_call_sse(in, out, SYS_fork, 0, 0);
    int child = getpid() != parent;
    if (child) {
        say("child %s\n", memcmp(in, out, sizeof in) ? "changed" : "kept");
        _exit(0);
    }
    reap("child", -1);
    say("parent %s\n", memcmp(in, out, sizeof in) ? "changed" : "kept");
}

static void destroy(int number) {
    (void)number;
    __asm__ volatile(
        "pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; pcmpeqd %%xmm7, %%xmm7; pcmpeqd %%xmm8, %%xmm8; pcmpeqd "
        "%%xmm15, %%xmm15"
        :
        :
        : "xmm0", "xmm1", "xmm7", "xmm8", "xmm15");
    unsigned control = 0x7f80;
    __asm__ volatile("ldmxcsr %0; fninit; fldpi" : : "m"(control));
}
TEST(sse_over_handlers) {
    bytes_t in[256], out[256];
    on_signal(SIGUSR1, destroy, 0);
    fill(in, sizeof in, 5);
    around_call_sse(in, out, SYS_kill, getpid(), SIGUSR1);
    say("registers %s\n", memcmp(in, out, sizeof in) ? "changed" : "kept");
    unsigned control = 0;
    __asm__ volatile("stmxcsr %0" : "=m"(control));
    say("mxcsr %x\n", control & 0xffc0);
    on_signal(SIGALRM, destroy, 0);
    struct itimerval timer = {{0, 3000}, {0, 3000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int wrong = spin_sse(31, 100);
    setitimer(ITIMER_REAL, &off, NULL);
    SHOW(wrong);
}

static void look(int number, siginfo_t* info, void* context) {
    (void)number, (void)info;
    const ucontext_t* c = context;
    const struct {
        unsigned short cwd, swd, ftw, fop;
        unsigned long rip, rdp;
        unsigned mxcsr, mask;
        unsigned st[32];
        bytes_t xmm[256];
    }* f = (const void*)c->uc_mcontext.fpregs;
    say("in the frame: mxcsr %x, control word %x, xmm3 %02x%02x, aligned %d\n", f->mxcsr & 0xffc0, f->cwd, f->xmm[48],
        f->xmm[49], ((uintptr_t)f & 63) == 0);
    ((bytes_t*)f->xmm)[48] = 0xee;  // comes back in the register
    unsigned control;
    __asm__ volatile("stmxcsr %0" : "=m"(control));
    say("in the handler: mxcsr %x\n", control & 0xffc0);
}
TEST(state_in_the_signal_frame) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = look;
    action.sa_flags = SA_SIGINFO;
    NEED(sigaction(SIGUSR1, &action, NULL) == 0);
    bytes_t in[256], out[256];
    memset(in, 0x5a, sizeof in);
    unsigned control = 0x1f80 | 0x6000;
    __asm__ volatile("ldmxcsr %0" : : "m"(control));
    around_call_sse(in, out, SYS_kill, getpid(), SIGUSR1);
    say("xmm3 %02x%02x\n", out[48], out[49]);
    __asm__ volatile("stmxcsr %0" : "=m"(control));
    say("mxcsr %x\n", control & 0xffc0);
}

TEST(x87_over_calls) {
    double value = 0;
    unsigned short control = 0x027f, after = 0;
    __asm__ volatile("fninit; fldcw %0; fldpi; fld1" : : "m"(control));
    __asm__ volatile("syscall" : : "a"(SYS_sched_yield) : "rcx", "r11", "memory");
    struct timespec t = {0, 3000000};
    __asm__ volatile("syscall" : : "a"(SYS_nanosleep), "D"(&t), "S"(0) : "rcx", "r11", "memory");
    __asm__ volatile("faddp; fstpl %0; fnstcw %1; fninit" : "=m"(value), "=m"(after));
    say("%d %x\n", (int)(value * 1000), after);
}

HELPER(fresh) {
    unsigned control;
    unsigned short word, status;
    __asm__ volatile("stmxcsr %0; fnstcw %1; fnstsw %2" : "=m"(control), "=m"(word), "=m"(status));
    say("mxcsr %x, control word %x, status %x\n", control & 0xffc0, word, status);
}
TEST(fresh_after_exec) {
    CHILD("child") {
        unsigned control = 0x7f80;
        unsigned short word = 0x0c7f;
        __asm__ volatile("ldmxcsr %0; fldcw %1; fldpi" : : "m"(control), "m"(word));
        execl(test_argv[0], test_argv[0], "fresh", (char*)NULL);
    }
}

static int has_avx(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_AVX)) return 0;
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}
__attribute__((target("avx"))) static void around_call_avx(bytes_t in[128], bytes_t out[128], long number, long a,
                                                           long b) {
    __asm__ volatile(
        "vmovups 0(%1), %%ymm0; vmovups 32(%1), %%ymm5; vmovups 64(%1), %%ymm10; vmovups 96(%1), %%ymm15; syscall;"
        "vmovups %%ymm0, 0(%2); vmovups %%ymm5, 32(%2); vmovups %%ymm10, 64(%2); vmovups %%ymm15, 96(%2); vzeroupper"
        : "+a"(number)
        : "r"(in), "r"(out), "D"(a), "S"(b)
        : "rcx", "r11", "memory", "xmm0", "xmm5", "xmm10", "xmm15");
}
TEST(avx_over_calls_and_fork) {
    bytes_t in[128], out[128];
    fill(in, sizeof in, 3);
    memcpy(out, in, sizeof in);
    struct timespec t = {0, 5000000};
    int avx = has_avx(), parent = getpid();
    if (avx) around_call_avx(in, out, SYS_nanosleep, (long)&t, 0);
    say("sleep: %s\n", memcmp(in, out, sizeof in) ? "changed" : "kept");
    if (avx) around_call_avx(in, out, SYS_fork, 0, 0);
    if (!avx) fork();
    if (getpid() != parent) _exit(memcmp(in, out, sizeof in) != 0);
    reap("child", -1);
    say("parent: %s\n", memcmp(in, out, sizeof in) ? "changed" : "kept");
}
__attribute__((target("avx"))) static void destroy_avx(int number) {
    (void)number;
    if (has_avx())
        __asm__ volatile("vxorps %%ymm0, %%ymm0, %%ymm0; vxorps %%ymm5, %%ymm5, %%ymm5; vzeroall" : : : "xmm0", "xmm5");
}
TEST(avx_over_handlers) {
    bytes_t in[128], out[128];
    on_signal(SIGUSR1, destroy_avx, 0);
    fill(in, sizeof in, 17);
    memcpy(out, in, sizeof in);
    if (has_avx()) around_call_avx(in, out, SYS_kill, getpid(), SIGUSR1);
    say("%s\n", memcmp(in, out, sizeof in) ? "changed" : "kept");
}
