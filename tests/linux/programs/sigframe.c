// SPDX-License-Identifier: MIT
// Signal frames to the letter: what a handler finds on its stack, what rt_sigreturn(2) takes from there, and what it refuses.
// Frames are made on an alternate stack full of a pattern, so that what the kernel does not write is visible.
#include "check.h"

#include <pthread.h>
#include <ucontext.h>

typedef unsigned char bytes_t;
enum { kPattern = 0xa5, kStackSize = 65536 };
static bytes_t* stack;

static void use_stack(int flags) {
    stack = mmap(NULL, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(stack != MAP_FAILED);
    memset(stack, kPattern, kStackSize);
    stack_t s = {.ss_sp = stack, .ss_size = kStackSize, .ss_flags = flags};
    NEED(sigaltstack(&s, NULL) == 0);
}
static long self(int number) { return syscall(SYS_kill, getpid(), number); }

// What follows struct ucontext's start in the kernel's frame, which musl's type does not show.
struct software {
    uint32_t magic1, extended_size;
    uint64_t features;
    uint32_t state_size, padding[7];
};
static bytes_t* state_of(ucontext_t* uc) { return (bytes_t*)uc->uc_mcontext.fpregs; }
static struct software* software_of(ucontext_t* uc) { return (struct software*)(state_of(uc) + 464); }
static uint64_t* header_of(ucontext_t* uc) { return (uint64_t*)(state_of(uc) + 512); }
static const uint64_t* mask_of(ucontext_t* uc) { return (const uint64_t*)((bytes_t*)uc + 40 + 256); }
static int all(const bytes_t* p, size_t n, int value) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != value) return 0;
    return 1;
}

static void layout(int number, siginfo_t* info, void* context) {
    ucontext_t* uc = context;
    const bytes_t* state = state_of(uc);
    struct software* s = software_of(uc);
    const uint64_t* selectors = (const uint64_t*)&uc->uc_mcontext.gregs[REG_CSGSFS];
    FACT("on the alternate stack", (bytes_t*)&number > stack && (bytes_t*)&number < stack + kStackSize);
    say("flags %#lx, link %#lx\n", uc->uc_flags, (unsigned long)uc->uc_link);
    say("stack: base %d, size %lu, flags %d\n", uc->uc_stack.ss_sp == stack, uc->uc_stack.ss_size,
        uc->uc_stack.ss_flags);
    say("selectors %#lx\n", (unsigned long)*selectors);
    say("error %lld, trap %lld, oldmask %#llx, cr2 %lld\n", uc->uc_mcontext.gregs[REG_ERR],
        uc->uc_mcontext.gregs[REG_TRAPNO], uc->uc_mcontext.gregs[REG_OLDMASK], uc->uc_mcontext.gregs[REG_CR2]);
    say("mask %#lx\n", (unsigned long)*mask_of(uc));
    say("result %lld\n", uc->uc_mcontext.gregs[REG_RAX]);
    FACT("return address is the restorer's", ((void**)uc)[-1] != NULL);
    FACT("frame aligned", ((uintptr_t)uc - 8) % 16 == 8);
    FACT("state aligned", (uintptr_t)state % 64 == 0);
    FACT("state after the information", state >= (bytes_t*)info + 128 && state < (bytes_t*)info + 128 + 64);
    FACT("information after the context", (bytes_t*)info == (bytes_t*)uc + 304);
    FACT("magic1", s->magic1 == 0x46505853);
    FACT("sizes", s->extended_size == s->state_size + 4 && s->state_size >= 576);
    FACT("x87, SSE and AVX named", (s->features & 7) == 7);
    FACT("magic2", *(const uint32_t*)(state + s->state_size) == 0x46505845);
    FACT("x87 and SSE present", (header_of(uc)[0] & 3) == 3);
    FACT("rest of the header zero", all((const bytes_t*)(header_of(uc) + 1), 56, 0));
    FACT("software bytes' padding zero", all((const bytes_t*)s->padding, 28, 0));
    FACT("reserved words not written", all((const bytes_t*)uc + 40 + 192, 64, kPattern));
    FACT("rest of the information zero", all((const bytes_t*)info + 24, 104, 0));
    say("information: %s, error %d, code %d, self %d\n", signal_name(info->si_signo), info->si_errno, info->si_code,
        info->si_pid == getpid());
}
TEST(layout) {
    use_stack(0);
    struct sigaction action = {.sa_sigaction = layout, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaddset(&action.sa_mask, SIGUSR2);
    NEED(sigaction(SIGUSR1, &action, NULL) == 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CALL(self(SIGUSR1));
    CALL(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1));
    // The same by way of the queue.
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CALL(self(SIGUSR1));
    sigdelset(&set, SIGTERM);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

// What the handler is called with: rax, rdi, rsi, rdx, and the registers that it must find as they were.
__attribute__((used)) uint64_t at_entry[8];
__asm__(
    "bare_handler:\n"
    " mov %rax, at_entry(%rip)\n mov %rdi, at_entry+8(%rip)\n mov %rsi, at_entry+16(%rip)\n mov %rdx, "
    "at_entry+24(%rip)\n"
    " mov %rsp, at_entry+32(%rip)\n mov %r8, at_entry+40(%rip)\n mov %r15, at_entry+48(%rip)\n mov %rbx, "
    "at_entry+56(%rip)\n"
    " ret\n");
void bare_handler(int);
static void kill_with_values(void) {
    long number = SYS_kill, pid = getpid();
    register uint64_t r8 __asm__("r8") = 88;
    register uint64_t r15 __asm__("r15") = 1515;
    __asm__ volatile("syscall"
                     : "+a"(number), "+r"(r8), "+r"(r15)
                     : "D"(pid), "S"((long)SIGUSR1), "b"(33L)
                     : "rcx", "r11", "memory");
    say("after: result %ld, r8 %lu, r15 %lu\n", number, (unsigned long)r8, (unsigned long)r15);
}
TEST(without_information) {
    use_stack(0);
    on_signal(SIGUSR1, bare_handler, SA_ONSTACK);
    for (int i = 0; i < 2; i++) {
        memset(stack, kPattern, kStackSize);
        kill_with_values();
        say("rax %lu, rdi %lu, r8 %lu, r15 %lu, rbx %lu\n", (unsigned long)at_entry[0], (unsigned long)at_entry[1],
            (unsigned long)at_entry[5], (unsigned long)at_entry[6], (unsigned long)at_entry[7]);
        FACT("rsi is the information", at_entry[2] == at_entry[4] + 8 + 304);
        FACT("rdx is the context", at_entry[3] == at_entry[4] + 8);
        FACT("stack as after a call", at_entry[4] % 16 == 8);
        FACT("information not written", all((const bytes_t*)at_entry[2], 128, kPattern));
    }
}

// Another frame than the kernel's is given back.
static int wanted;
static bytes_t other_state[8192] __attribute__((aligned(64)));
static uint32_t mxcsr(void) {
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v;
}
static void set_mxcsr(uint32_t v) { __asm__ volatile("ldmxcsr %0" : : "m"(v)); }
static void edit(int number, siginfo_t* info, void* context) {
    (void)number, (void)info;
    ucontext_t* uc = context;
    struct software* s = software_of(uc);
    bytes_t* state = state_of(uc);
    uint32_t control = 0x3f80;  // another rounding
    switch (wanted) {
        case 0: uc->uc_mcontext.fpregs = NULL; break;
        case 1:  // elsewhere
            memcpy(other_state, state, s->extended_size);
            memcpy(other_state + 24, &control, 4);
            uc->uc_mcontext.fpregs = (void*)other_state;
            break;
        case 2:  // not aligned
            memcpy(other_state + 8, state, s->extended_size);
            uc->uc_mcontext.fpregs = (void*)(other_state + 8);
            break;
        case 3: uc->uc_mcontext.fpregs = (void*)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
        case 4: uc->uc_mcontext.fpregs = (void*)0x800000000000; break;
        case 5: header_of(uc)[0] |= 1ul << 62; break;
        case 6: header_of(uc)[1] = 1ul << 63; break;
        case 7: memcpy(state + 24, &control, 4); break;
        case 8:  // only the legacy region counts
            memcpy(state + 24, &control, 4);
            s->magic1 = 0;
            header_of(uc)[0] |= 1ul << 62;
            break;
        case 9:
            memcpy(state + 24, &control, 4);
            *(uint32_t*)(state + s->state_size) = 0;
            break;
        case 10:  // aligned for the legacy region
            memcpy(other_state + 16, state, 512);
            memcpy(other_state + 16 + 24, &control, 4);
            ((struct software*)(other_state + 16 + 464))->magic1 = 0;
            uc->uc_mcontext.fpregs = (void*)(other_state + 16);
            break;
        case 11: {  // a page that was not touched yet follows
            bytes_t* two = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            memcpy(two + 4096 - 512, state, 512);
            memcpy(two + 4096 - 512 + 24, &control, 4);
            uc->uc_mcontext.fpregs = (void*)(two + 4096 - 512);
            break;
        }
        case 12:
            s->features = 1;
            memcpy(state + 24, &control, 4);
            break;  // x87 alone
        case 13: uc->uc_mcontext.gregs[REG_RAX] = 4711; break;
        case 14: ((uint16_t*)&uc->uc_mcontext.gregs[REG_CSGSFS])[0] = 0x10; break;
        case 15: ((uint16_t*)&uc->uc_mcontext.gregs[REG_CSGSFS])[3] = 0x43; break;
        case 16: uc->uc_mcontext.gregs[REG_RSP] = 0; break;
        case 17: uc->uc_mcontext.gregs[REG_RIP] = 0x7fffffffffff; break;
        case 18: uc->uc_mcontext.gregs[REG_RIP] = (greg_t)0x8000000000000000; break;
        case 19: uc->uc_mcontext.gregs[REG_EFL] = 0xffffffff & ~0x100; break;
        case 20: munmap((void*)((uintptr_t)uc & ~4095ul), 4096); break;
    }
}
static void edited(const char* what, int number) {
    CHILD(what) {
        use_stack(0);
        wanted = number;
        struct sigaction action = {.sa_sigaction = edit, .sa_flags = SA_SIGINFO | SA_ONSTACK};
        NEED(sigaction(SIGUSR1, &action, NULL) == 0);
        set_mxcsr(0x5f80);
        long result = self(SIGUSR1);
        uint32_t now = mxcsr();
        set_mxcsr(0x1f80);
        say("%s: result %ld, mxcsr %#x\n", what, result, now);
    }
}
TEST(state_given_back) {
    edited("no state", 0);
    edited("state elsewhere", 1);
    edited("state not aligned", 2);
    edited("state not accessible", 3);
    edited("state not a user address", 4);
    edited("unknown component", 5);
    edited("compacted", 6);
    edited("other control word", 7);
    edited("without magic1", 8);
    edited("without magic2", 9);
    edited("legacy state aligned to 16", 10);
    edited("state on a fresh page", 11);
    edited("x87 alone", 12);
}
TEST(registers_given_back) {
    edited("other result", 13);
    edited("kernel's code segment", 14);
    edited("odd stack segment", 15);
    edited("no stack", 16);
    edited("code at the end", 17);
    edited("code not canonical", 18);
    edited("all flags", 19);
    edited("no frame", 20);
}

// A frame that is refused: the mask and the registers hold already when SIGSEGV comes.
static void refused(int number, siginfo_t* info, void* context) {
    ucontext_t* uc = context;
    say("%s: code %d, address %ld, rax %lld, rbx %lld, mask %#lx\n", signal_name(number), info->si_code,
        (long)info->si_addr, uc->uc_mcontext.gregs[REG_RAX], uc->uc_mcontext.gregs[REG_RBX],
        (unsigned long)*mask_of(uc));
    _exit(3);
}
static int block_fault;
static void spoil(int number, siginfo_t* info, void* context) {
    (void)number, (void)info;
    ucontext_t* uc = context;
    uc->uc_mcontext.fpregs = (void*)(other_state + 8);
    uc->uc_mcontext.gregs[REG_RBX] = 12345;
    sigset_t* mask = &uc->uc_sigmask;
    sigaddset(mask, SIGUSR2);
    if (block_fault) sigaddset(mask, SIGSEGV);
}
TEST(refused_frame) {
    for (block_fault = 0; block_fault < 2; block_fault++) {
        CHILD(block_fault ? "SIGSEGV blocked by it" : "SIGSEGV handled") {
            use_stack(0);
            struct sigaction action = {.sa_sigaction = spoil, .sa_flags = SA_SIGINFO};
            NEED(sigaction(SIGUSR1, &action, NULL) == 0);
            action.sa_sigaction = refused;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            NEED(sigaction(SIGSEGV, &action, NULL) == 0);
            self(SIGUSR1);
            say("returned\n");
        }
    }
}

// A handler's return to where no program can be: the fault of a jump there.
static uint64_t goal;
static void away(int number, siginfo_t* info, void* context) {
    (void)number, (void)info;
    ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] = (long long)goal;
}
static void arrived(int number, siginfo_t* info, void* context) {
    const long long* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
    say("%s, code %d, address %#lx, rip %#llx, trap %lld, error %lld\n", signal_name(number), info->si_code,
        (unsigned long)info->si_addr, registers[REG_RIP], registers[REG_TRAPNO], registers[REG_ERR]);
    _exit(3);
}
TEST(returns_to_nowhere) {
    static const uint64_t goals[] = {16,
                                     0x7fffffffe000,
                                     0x7ffffffff000,
                                     0x7fffffffffff,
                                     0x800000000000,
                                     0x1234567812345678,
                                     0xffff7fffffffffff,
                                     0xffff800000000000,
                                     0xffffffff81000000,
                                     0xffffffffffffffff};
    for (size_t i = 0; i < sizeof goals / sizeof *goals; i++) {
        goal = goals[i];
        CHILD("goal") {
            use_stack(0);
            struct sigaction action = {.sa_sigaction = away, .sa_flags = SA_SIGINFO};
            NEED(sigaction(SIGUSR1, &action, NULL) == 0);
            action.sa_sigaction = arrived;
            action.sa_flags = SA_SIGINFO | SA_ONSTACK;
            NEED(sigaction(SIGSEGV, &action, NULL) == 0);
            self(SIGUSR1);
            say("returned\n");
        }
    }
}

// Frames on pages that are not there yet, or never.
static volatile int handled;
static void count_it(int number) { handled += number; }
TEST(stack_pages) {
    stack = mmap(NULL, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack_t s = {.ss_sp = stack, .ss_size = kStackSize};
    NEED(sigaltstack(&s, NULL) == 0);
    on_signal(SIGUSR1, count_it, SA_ONSTACK);
    for (int i = 0; i < 3; i++) {
        self(SIGUSR1);
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
        madvise(stack, kStackSize, MADV_DONTNEED);
    }
    SHOW(handled);
    CHILD("read-only stack") {
        mprotect(stack, kStackSize, PROT_READ);
        self(SIGUSR1);
        say("returned\n");
    }
    CHILD("fork shares the stack's pages") {
        memset(stack, kPattern, kStackSize);
        CHILD("inner") {
            handled = 0;
            self(SIGUSR1);
            SHOW(handled);
        }
        FACT("untouched", all(stack, kStackSize, kPattern));
    }
}

// To oneself: the call has its result after the handler, whatever else is pending, blocked or asked for.
static int order[8], orders;
static void note(int number) { order[orders++] = number; }
static void say_order(const char* what) {
    say("%s:", what);
    for (int i = 0; i < orders; i++) say(" %s", signal_name(order[i]));
    say("\n");
    orders = 0;
}
static void set_blocked(int how, int a, int b) {
    sigset_t set;
    sigemptyset(&set);
    if (a) sigaddset(&set, a);
    if (b) sigaddset(&set, b);
    NEED(sigprocmask(how, &set, NULL) == 0);
}
static void sends_another(int number) {
    note(number);
    if (number == SIGUSR1 && orders == 1) {
        CALL(self(SIGUSR2));
        CALL(self(SIGUSR1));
    }
}
TEST(to_oneself) {
    static const int numbers[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGCHLD, SIGCONT, SIGTSTP,
                                  SIGURG,  SIGSEGV, SIGFPE,  35,      64};
    for (unsigned i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        on_signal(numbers[i], note, 0);
        CALL(self(numbers[i]));
        CALL(syscall(SYS_tkill, syscall(SYS_gettid), numbers[i]));
        say_order(signal_name(numbers[i]));
    }
    set_blocked(SIG_BLOCK, SIGUSR1, SIGUSR2);
    CALL(self(SIGUSR1));
    say_order("blocked");
    CALL(self(SIGTERM));
    say_order("another meanwhile");
    CALL(self(SIGUSR1));
    CALL(self(SIGUSR2));
    set_blocked(SIG_UNBLOCK, SIGUSR1, SIGUSR2);
    say_order("both at once");
    on_signal(SIGUSR1, sends_another, 0);
    CALL(self(SIGUSR1));
    say_order("from its handler");
    on_signal(SIGUSR1, note, (int)SA_RESETHAND);
    CALL(self(SIGUSR1));
    say_order("once");
    struct sigaction now;
    sigaction(SIGUSR1, NULL, &now);
    FACT("default again", now.sa_handler == SIG_DFL);
    signal(SIGUSR1, SIG_IGN);
    CALL(self(SIGUSR1));
    say_order("ignored");
    CALL(self(0));
    CALL(self(65));
    CALL(self(-1));
    CALL(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 65));
    CALL(syscall(SYS_tgkill, getpid() + 1, syscall(SYS_gettid), SIGUSR2));
    CALL(syscall(SYS_tkill, syscall(SYS_gettid), 0));
    CHILD("default action") self(SIGUSR1), signal(SIGUSR1, SIG_DFL), self(SIGUSR1);
}

static volatile pid_t taker;
static void who(int number) {
    (void)number;
    taker = (pid_t)syscall(SYS_gettid);
}
static void* second(void* data) {
    (void)data;
    pid_t tid = (pid_t)syscall(SYS_gettid), first = getpid();
    taker = 0;
    NEED(self(SIGUSR1) == 0);
    while (!taker) sched_yield();
    FACT("the process's signal went to the first thread", taker == first);
    taker = 0;
    CALL(syscall(SYS_tgkill, first, tid, SIGUSR1));
    FACT("the thread's own came before the call's end", taker == tid);
    return NULL;
}
TEST(one_of_two_threads) {
    on_signal(SIGUSR1, who, SA_RESTART);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, second, NULL) == 0);
    pthread_join(thread, NULL);
    set_blocked(SIG_BLOCK, SIGUSR1, 0);
    taker = 0;
    CALL(self(SIGUSR1));
    SHOW(taker);
    set_blocked(SIG_UNBLOCK, SIGUSR1, 0);
    FACT("later", taker == getpid());
}

// The stack below its pointer belongs to the program, 128 bytes of it (the red zone).
TEST(red_zone) {
    on_signal(SIGUSR1, count_it, 0);
    long number = SYS_kill, sum = 0;
    // Nothing may be pushed by the compiler in between: all of it is one piece.
    __asm__ volatile(
        "mov $-16, %%rcx\n"
        "1: mov %%rcx, (%%rsp,%%rcx,8)\n inc %%rcx\n jnz 1b\n"
        "syscall\n"
        "mov $-16, %%rcx\n"
        "2: add (%%rsp,%%rcx,8), %1\n inc %%rcx\n jnz 2b\n"
        : "+a"(number), "+r"(sum)
        : "D"((long)getpid()), "S"((long)SIGUSR1)
        : "rcx", "r11", "memory", "cc");
    say("result %ld, sum %ld\n", number, sum);
}

static void look_at_stack(int number) {
    (void)number;
    stack_t now;
    sigaltstack(NULL, &now);
    say("in the handler: flags %#x, size %lu\n", (unsigned)now.ss_flags, (unsigned long)now.ss_size);
}
TEST(disarmed_stack) {
    use_stack((int)(1u << 31));
    on_signal(SIGUSR1, look_at_stack, SA_ONSTACK);
    CALL(self(SIGUSR1));
    stack_t now;
    sigaltstack(NULL, &now);
    say("after: flags %#x, size %lu\n", (unsigned)now.ss_flags, (unsigned long)now.ss_size);
    use_stack(0);
    CALL(self(SIGUSR1));
}
