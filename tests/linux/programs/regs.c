// SPDX-License-Identifier: MIT
// General registers and flags over the kernel's entries: a system call changes rax, rcx and r11 only; interrupts,
// faults and signals change nothing.
#include "check.h"

#include <ucontext.h>

struct registers {
    unsigned long rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};

// Loads all registers from `in`, runs `code`, stores all to `out`. rsp is left alone.
#define ALL_REGISTERS(name, code)                                                                                    \
    void name(const struct registers* in, struct registers* out);                                                    \
    __asm__(                                                                                                         \
        ".text\n" #name                                                                                              \
        ":\n"                                                                                                        \
        "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rsi\n"                              \
        "mov %rdi, %rax; pushq 120(%rax); popfq\n"                                                                   \
        "mov 8(%rax), %rbx; mov 16(%rax), %rcx; mov 24(%rax), %rdx; mov 32(%rax), %rsi; mov 40(%rax), %rdi\n"        \
        "mov 48(%rax), %rbp; mov 56(%rax), %r8; mov 64(%rax), %r9; mov 72(%rax), %r10; mov 80(%rax), %r11\n"         \
        "mov 88(%rax), %r12; mov 96(%rax), %r13; mov 104(%rax), %r14; mov 112(%rax), %r15; mov 0(%rax), %rax\n" code \
        "\n"                                                                                                         \
        "pushfq; push %rax; mov 16(%rsp), %rax\n"                                                                    \
        "mov %rbx, 8(%rax); mov %rcx, 16(%rax); mov %rdx, 24(%rax); mov %rsi, 32(%rax); mov %rdi, 40(%rax)\n"        \
        "mov %rbp, 48(%rax); mov %r8, 56(%rax); mov %r9, 64(%rax); mov %r10, 72(%rax); mov %r11, 80(%rax)\n"         \
        "mov %r12, 88(%rax); mov %r13, 96(%rax); mov %r14, 104(%rax); mov %r15, 112(%rax)\n"                         \
        "popq 0(%rax); popq 120(%rax); pushq $2; popfq\n"                                                            \
        "pop %rsi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n")

ALL_REGISTERS(run_syscall, "syscall");
ALL_REGISTERS(run_loop, "1: dec %rcx; jnz 1b");
ALL_REGISTERS(run_fault, "mov %rcx, (%rdi)");
ALL_REGISTERS(run_trap, "ud2");

static void fill(struct registers* r, unsigned long seed) {
    unsigned long* words = (unsigned long*)r;
    for (int i = 0; i < 15; i++) words[i] = (seed + (unsigned long)i) * 0x9e3779b97f4a7c15ul;
    r->flags = 0x202;
}
static void compare(const char* what, const struct registers* in, const struct registers* out) {
    static const char* const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8",
                                        "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "flags"};
    const unsigned long *a = (const unsigned long*)in, *b = (const unsigned long*)out;
    say("%s:", what);
    int changed = 0;
    for (int i = 0; i < 16; i++)
        if ((i == 15 ? a[i] & 0x44cd5 : a[i]) != (i == 15 ? b[i] & 0x44cd5 : b[i])) say(" %s", names[i]), changed++;
    say(changed ? " changed\n" : " nothing changed\n");
}

TEST(over_a_call) {
    struct registers in, out;
    static const struct {
        const char* name;
        long number, a, b;
    } calls[] = {{"getppid", SYS_getppid, 0, 0},
                 {"sched_yield", SYS_sched_yield, 0, 0},
                 {"write to a closed descriptor", SYS_write, 999, 0},
                 {"unknown", 999, 0, 0},
                 {"access", SYS_access, 8, 0}};
    for (int i = 0; i < 5; i++) {
        fill(&in, (unsigned long)i);
        in.rax = (unsigned long)calls[i].number;
        in.rdi = (unsigned long)calls[i].a;
        run_syscall(&in, &out);
        compare(calls[i].name, &in, &out);
        FACT("rcx is the return address, r11 the flags", (out.rcx >> 32) == 0 && out.r11 == out.flags);
    }
}

TEST(over_a_blocking_call) {
    struct registers in, out;
    struct timespec t = {0, 5000000};
    fill(&in, 1);
    in.rax = SYS_nanosleep, in.rdi = (unsigned long)&t, in.rsi = 0;
    run_syscall(&in, &out);
    compare("nanosleep", &in, &out);
    SHOW(out.rax);
}

TEST(over_fork) {
    struct registers in, out;
    fill(&in, 2);
    in.rax = SYS_fork;
    run_syscall(&in, &out);
    if (out.rax == 0) {
        compare("child", &in, &out);
        _exit(0);
    }
    reap("child", (pid_t)out.rax);
    compare("parent", &in, &out);
}

TEST(over_preemption) {
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            long one = 1;
            syscall(SYS_sched_setaffinity, 0, sizeof one, &one);
            int wrong = 0;
            for (long stop = now_ms() + 120; now_ms() < stop;) {
                struct registers in, out;
                fill(&in, (unsigned long)i * 7 + 1);
                in.rcx = 200000;
                run_loop(&in, &out);
                out.rcx = in.rcx, out.flags = in.flags;
                wrong += memcmp(&in, &out, sizeof in) != 0;
            }
            _exit(wrong != 0);
        }
    for (int i = 0; i < 4; i++) reap("spinner", -1);
}

TEST(over_a_page_fault) {
    char* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct registers in, out;
    fill(&in, 3);
    in.rdi = (unsigned long)p;
    run_fault(&in, &out);
    compare("fault", &in, &out);
    IS(*(unsigned long*)p == in.rcx);
}

static struct registers seen;
static void handler(int number, siginfo_t* info, void* context) {
    (void)info;
    ucontext_t* c = context;
    const greg_t* g = c->uc_mcontext.gregs;
    seen = (struct registers){
        (unsigned long)g[REG_RAX], (unsigned long)g[REG_RBX], (unsigned long)g[REG_RCX], (unsigned long)g[REG_RDX],
        (unsigned long)g[REG_RSI], (unsigned long)g[REG_RDI], (unsigned long)g[REG_RBP], (unsigned long)g[REG_R8],
        (unsigned long)g[REG_R9],  (unsigned long)g[REG_R10], (unsigned long)g[REG_R11], (unsigned long)g[REG_R12],
        (unsigned long)g[REG_R13], (unsigned long)g[REG_R14], (unsigned long)g[REG_R15], (unsigned long)g[REG_EFL]};
    if (number == SIGILL) c->uc_mcontext.gregs[REG_RIP] += 2;
}
static void install(int number) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    NEED(sigaction(number, &action, NULL) == 0);
}

TEST(over_a_handler) {
    struct registers in, out;
    install(SIGILL);
    fill(&in, 4);
    in.flags = 0x202 | 0x400 | 1 | 0x80;  // with the direction flag
    run_trap(&in, &out);
    compare("after the handler", &in, &out);
    compare("in the frame", &in, &seen);
    install(SIGUSR1);
    fill(&in, 5);
    in.rax = SYS_kill, in.rdi = (unsigned long)getpid(), in.rsi = SIGUSR1;
    run_syscall(&in, &out);
    compare("after a handler on return from a call", &in, &out);
    SHOW(out.rax);
    SHOW(seen.rax);
}

TEST(flags_set_by_the_user) {
    struct registers in, out;
    static const struct {
        const char* name;
        unsigned long bits;
    } flags[] = {{"direction", 0x400},
                 {"alignment check", 0x40000},
                 {"carry and overflow", 0x801},
                 {"identification", 0x200000},
                 {"nested task", 0x4000}};
    for (int i = 0; i < 5; i++) {
        fill(&in, 6);
        in.rax = SYS_getppid;
        in.flags = 0x202 | flags[i].bits;
        run_syscall(&in, &out);
        say("%s: %s", flags[i].name, (out.flags & flags[i].bits) == flags[i].bits ? "kept" : "lost");
        compare(", getppid", &in, &out);
        char* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        in.rdi = (unsigned long)p;
        run_fault(&in, &out);
        say("%s: %s", flags[i].name, (out.flags & flags[i].bits) == flags[i].bits ? "kept" : "lost");
        compare(", fault", &in, &out);
    }
}

TEST(direction_flag_and_copies) {
    // The kernel's own string instructions must not run backwards.
    char text[16] = "";
    int p[2];
    NEED(pipe(p) == 0);
    struct registers in, out;
    fill(&in, 7);
    in.flags = 0x602;
    in.rax = SYS_write, in.rdi = (unsigned long)p[1], in.rsi = (unsigned long)"forwards", in.rdx = 8;
    run_syscall(&in, &out);
    SHOW(out.rax);
    in.rax = SYS_read, in.rdi = (unsigned long)p[0], in.rsi = (unsigned long)text;
    run_syscall(&in, &out);
    say("%s\n", text);
}

static volatile unsigned long handler_flags;
static void flags_handler(int number, siginfo_t* info, void* context) {
    unsigned long flags;
    __asm__ volatile("pushfq; popq %0; cld" : "=r"(flags));
    handler_flags = flags;
    handler(number, info, context);
}
TEST(handler_starts_with_clean_flags) {
    struct registers in, out;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = flags_handler;
    action.sa_flags = SA_SIGINFO;
    NEED(sigaction(SIGILL, &action, NULL) == 0);
    fill(&in, 8);
    in.flags = 0x602;
    run_trap(&in, &out);
    SHOW(handler_flags & 0x400);
    SHOW(seen.flags & 0x400);
    SHOW(out.flags & 0x400);
}

TEST(return_to_non_canonical_address) {
    // A system call instruction at the very end of the user half would return to a non-canonical address.
    CHILD("child") {
        void* last = mmap((void*)0x7fffffffe000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (last == MAP_FAILED) _exit(1);
        unsigned char* code = (unsigned char*)last + 4094;
        code[0] = 0x0f, code[1] = 0x05;
        __asm__ volatile("jmp *%1" : : "a"(SYS_getppid), "r"(code) : "rcx", "r11", "memory");
    }
}

TEST(segment_registers) {
    unsigned short cs, ds, es, fs, gs, ss;
    __asm__ volatile("mov %%cs, %0; mov %%ds, %1; mov %%es, %2; mov %%fs, %3; mov %%gs, %4; mov %%ss, %5"
                     : "=r"(cs), "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs), "=r"(ss));
    say("cs %x ss %x ds %x es %x fs %x gs %x\n", cs, ss, ds, es, fs, gs);
    unsigned short user = ss;
    __asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(user));
    syscall(SYS_sched_yield);
    sleep_ms(3);
    __asm__ volatile("mov %%ds, %0; mov %%es, %1" : "=r"(ds), "=r"(es));
    IS(ds == user && es == user);
}
