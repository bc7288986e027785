// SPDX-License-Identifier: MIT
// Exceptions of the processor as signals: which signal, si_code, si_addr; and the frame a handler gets.
#include "check.h"

#include <ucontext.h>

static sigjmp_buf jump;
static volatile int got_signal, got_code, got_trap, got_error;
static void* volatile got_address;
static volatile uintptr_t got_rip;

static void handler(int number, siginfo_t* info, void* context) {
    const ucontext_t* c = context;
    got_signal = number;
    got_code = info->si_code;
    got_address = info->si_addr;
    got_trap = (int)c->uc_mcontext.gregs[REG_TRAPNO];
    got_error = (int)c->uc_mcontext.gregs[REG_ERR];
    got_rip = (uintptr_t)c->uc_mcontext.gregs[REG_RIP];
    siglongjmp(jump, 1);
}
static void catch_all(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    for (int i = 0; i < 5; i++) NEED(sigaction(signals[i], &action, NULL) == 0);
}
#define FAULT(text, statement)                                                                  \
    do {                                                                                        \
        catch_all();                                                                            \
        got_signal = 0;                                                                         \
        if (sigsetjmp(jump, 1) == 0) {                                                          \
            statement;                                                                          \
            say("%s: no fault\n", text);                                                        \
        } else {                                                                                \
            say("%s: %s code %d trap %d\n", text, signal_name(got_signal), got_code, got_trap); \
        }                                                                                       \
    } while (0)

static char* pages(int count, int rights) {
    char* p = mmap(NULL, (size_t)count * 4096, rights, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}

TEST(segv_codes) {
    FAULT("null read", (void)*(volatile char*)0);
    IS(got_address == NULL);
    SHOW(got_error);
    FAULT("null write", *(volatile char*)16 = 1);
    IS(got_address == (void*)16);
    SHOW(got_error);
    volatile char* p = pages(1, PROT_READ);
    FAULT("write to read-only", p[5] = 1);
    IS(got_address == p + 5);
    SHOW(got_error);
    (void)p[0];
    FAULT("write to read-only, present", p[5] = 1);
    SHOW(got_error);
    volatile char* none = pages(1, PROT_NONE);
    FAULT("read of no access", (void)none[7]);
    IS(got_address == none + 7);
    SHOW(got_error);
    volatile char* kernel = (volatile char*)0xffff800000000000;
    FAULT("kernel address", (void)*kernel);
    IS(got_address == kernel);
    SHOW(got_error);
    volatile char* top = (volatile char*)0xffffffffffffffff;
    FAULT("last byte", (void)*top);
    volatile char* wild = (volatile char*)0x0000800000000000;
    FAULT("non-canonical", (void)*wild);
    IS(got_address == NULL);
    SHOW(got_error);
    FAULT("non-canonical write", *(volatile char*)0x1234567812345678 = 1);
    volatile char* edge = (volatile char*)0x00007ffffffff000;
    FAULT("page below the border", (void)*edge);
    IS(got_address == edge);
}

TEST(execute_faults) {
    void (*volatile code)(void) = (void (*)(void))pages(1, PROT_READ | PROT_WRITE);
    *(volatile char*)code = (char)0xc3;
    FAULT("no-execute page", code());
    IS(got_address == (void*)code && got_rip == (uintptr_t)code);
    SHOW(got_error);
    NEED(mprotect((void*)code, 4096, PROT_READ | PROT_EXEC) == 0);
    FAULT("executable page", code());
    code = (void (*)(void))0x1000;
    FAULT("jump to nowhere", code());
    IS(got_rip == 0x1000);
    code = (void (*)(void))0xffff800000000000;
    FAULT("jump to the kernel", code());
    code = (void (*)(void))0x8000000000000000;
    FAULT("jump to a non-canonical address", code());
}

// Fetched from before anything was there: as a page that is, and may not be executed.
TEST(fetches_of_untouched_pages) {
    void (*volatile code)(void) = (void (*)(void))pages(1, PROT_READ | PROT_WRITE);
    FAULT("anonymous", code());
    SHOW(got_error);
    code = (void (*)(void))pages(1, PROT_NONE);
    FAULT("no access", code());
    SHOW(got_error);
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(fd >= 0 && ftruncate(fd, 4096) == 0);
    for (volatile int shared = 0; shared < 2; shared++) {
        void* at = mmap(NULL, 8192, PROT_READ, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
        NEED(at != MAP_FAILED);
        code = (void (*)(void))at;
        FAULT("of a file", code());
        SHOW(got_error);
        code = (void (*)(void))((char*)at + 4096);
        FAULT("behind the end of a file", code());
        SHOW(got_error);
    }
}

TEST(arithmetic) {
    volatile int zero = 0, value = INT_MIN, minus = -1;
    FAULT("divide by zero", value = value / zero);
    IS(got_address == (void*)got_rip);
    value = INT_MIN;
    FAULT("quotient too large", value = value / minus);
    unsigned short control = 0x037f & ~4;
    FAULT("x87 divide by zero", {
        __asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(control) : "st");
    });
    __asm__ volatile("fninit");
}

TEST(illegal) {
    FAULT("ud2", __asm__ volatile("ud2"));
    IS(got_address == (void*)got_rip);
    FAULT("int3", __asm__ volatile("int3"));
    FAULT("hlt", __asm__ volatile("hlt"));
    FAULT("cli", __asm__ volatile("cli"));
    FAULT("read of a port", __asm__ volatile("in $0x80, %%al" : : : "eax"));
    FAULT("move from cr3", __asm__ volatile("mov %%cr3, %%rax" : : : "rax"));
    FAULT("wrmsr", __asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(0xc0000080)));
    FAULT("invlpg", __asm__ volatile("invlpg (%%rsp)" : :));
    FAULT("lgdt", __asm__ volatile("lgdt (%%rsp)" : :));
    FAULT("int 3f", __asm__ volatile("int $0x3f"));
    FAULT("int 20", __asm__ volatile("int $0x20"));
    CHILD("bad selector") FAULT("bad selector", __asm__ volatile("mov %0, %%ds" : : "r"(0x1000)));
    CHILD("stack segment") FAULT("stack segment", __asm__ volatile("mov %0, %%ss" : : "r"(0)));
}

// QEMU 7.2 reads the stack of a user's iretq with the kernel's rights: under SMAP that is a page fault from user mode
// that looks like the kernel's. A processor raises a general protection fault. Only the child may notice.
TEST(iret_to_kernel_segments) {
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        __asm__ volatile("mov %%rsp, %%rax; push $0x10; push %%rax; pushf; push $0x08; push $0; iretq"
                         :
                         :
                         : "rax", "memory");
        _exit(0);
    }
    int status;
    NEED(waitpid(pid, &status, 0) == pid);
    FACT("killed", WIFSIGNALED(status));
}

TEST(trap_flag) {
    FAULT("single step", __asm__ volatile("pushf; orq $0x100, (%%rsp); popf; nop; nop" : : : "memory", "cc"));
    __asm__ volatile("pushf; andq $~0x100, (%%rsp); popf" : : : "memory", "cc");
    got_signal = 0;
    FAULT("stepping over a system call",
          __asm__ volatile("pushf; orq $0x100, (%%rsp); popf; syscall" : : "a"(39) : "rcx", "r11", "memory", "cc"));
}

TEST(alignment_check) {
    static char bytes[64] __attribute__((aligned(16)));
    FAULT("movaps unaligned", __asm__ volatile("movaps 4(%0), %%xmm0" : : "r"(bytes) : "xmm0"));
    // Emulators ignore the flag, processors send SIGBUS; either way only the child may notice.
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGBUS, SIG_DFL);
        __asm__ volatile("pushf; orq $0x40000, (%%rsp); popf; movl 1(%0), %%eax; pushf; andq $~0x40000, (%%rsp); popf"
                         :
                         : "r"(bytes)
                         : "eax", "memory", "cc");
        _exit(0);
    }
    FACT("over", waitpid(pid, NULL, 0) == pid);
}

TEST(bus_beyond_end_of_file) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 8192) == 0);
    volatile char* p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED((void*)p != MAP_FAILED);
    FAULT("inside", p[4096] = 1);
    FAULT("page beyond the end", p[8192] = 1);
    IS(got_address == p + 8192);
    NEED(ftruncate(fd, 100) == 0);
    FAULT("in the last page", p[200] = 1);
    FAULT("truncated page", (void)p[4096]);
    IS(got_address == p + 4096);
    NEED(ftruncate(fd, 8192) == 0);
    FAULT("grown again", (void)p[4096]);
    say("byte %d, and beyond the old end %d\n", p[4096], p[200]);
    volatile char* copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    copy[0] = 5;
    NEED(ftruncate(fd, 0) == 0);
    FAULT("private copy of a truncated page", (void)copy[0]);
}

TEST(default_action_kills) {
    CHILD("segv") * (volatile char*)0 = 1;
    CHILD("fpe") {
        volatile int zero = 0, value = 1;
        value = value / zero;
    }
    CHILD("ill") __asm__ volatile("ud2");
    CHILD("trap") __asm__ volatile("int3");
}

TEST(blocked_or_ignored_fault_kills) {
    CHILD("ignored") {
        signal(SIGSEGV, SIG_IGN);
        *(volatile char*)0 = 1;
    }
    CHILD("blocked") {
        catch_all();
        sigset_t set;
        sigfillset(&set);
        sigprocmask(SIG_BLOCK, &set, NULL);
        *(volatile char*)0 = 1;
    }
    CHILD("fault inside the handler") {
        on_signal(SIGSEGV, (void (*)(int))16, 0);
        *(volatile char*)0 = 1;
    }
}

static void skip_two(int number, siginfo_t* info, void* context) {
    (void)number, (void)info;
    ucontext_t* c = context;
    c->uc_mcontext.gregs[REG_RIP] += 2;
    c->uc_mcontext.gregs[REG_RBX] = 0x1234;
    c->uc_mcontext.gregs[REG_EFL] |= 1;
}
TEST(handler_changes_registers) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = skip_two;
    action.sa_flags = SA_SIGINFO;
    NEED(sigaction(SIGILL, &action, NULL) == 0);
    unsigned long rbx = 0;
    unsigned char carry = 0;
    __asm__ volatile("xor %%ebx, %%ebx; clc; ud2; setc %1; mov %%rbx, %0" : "=r"(rbx), "=r"(carry) : : "rbx", "cc");
    say("rbx %#lx, carry %d\n", rbx, carry);
}

static void damage_frame(int number, siginfo_t* info, void* context) {
    (void)info;
    ucontext_t* c = context;
    if (number == SIGUSR1) c->uc_mcontext.gregs[REG_RIP] = 0xffff800000001000;
    if (number == SIGUSR2) c->uc_mcontext.gregs[REG_RIP] = (greg_t)0x8000000000001234;
    if (number == SIGHUP) c->uc_mcontext.gregs[REG_CSGSFS] = 0x10;
    if (number == SIGTERM) c->uc_mcontext.gregs[REG_EFL] = 0x3000 | 0x4000 | 0x200 | 0x2;  // IOPL 3, NT
    if (number == SIGINT) c->uc_mcontext.gregs[REG_RSP] = 0x1234;
    if (number == SIGQUIT) c->uc_mcontext.fpregs = (void*)0x123;
    if (number == SIGPIPE) sigfillset(&c->uc_sigmask);
}
TEST(damaged_frame) {
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGPIPE};
    for (int i = 0; i < 7; i++) {
        CHILD(signal_name(signals[i])) {
            signal(SIGQUIT, SIG_DFL);
            struct sigaction action;
            memset(&action, 0, sizeof action);
            action.sa_sigaction = damage_frame;
            action.sa_flags = SA_SIGINFO;
            NEED(sigaction(signals[i], &action, NULL) == 0);
            raise(signals[i]);
            unsigned long flags;
            __asm__ volatile("pushf; pop %0" : "=r"(flags));
            sigset_t set;
            sigprocmask(SIG_BLOCK, NULL, &set);
            say("went on, IOPL %lu, KILL blocked %d, USR1 blocked %d\n", flags >> 12 & 3, sigismember(&set, SIGKILL),
                sigismember(&set, SIGUSR1));
        }
    }
}

TEST(sigreturn_out_of_the_blue) {
    CHILD("no frame") {
        __asm__ volatile("xor %%esp, %%esp; mov $15, %%eax; syscall" : : : "memory");
        _exit(1);
    }
    CHILD("frame of rubbish") {
        static char area[8192] __attribute__((aligned(16)));
        memset(area, 0xff, sizeof area);
        __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(area + 1024) : "memory");
        _exit(1);
    }
    CHILD("frame of zeros") {
        static char area[8192] __attribute__((aligned(16)));
        __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" : : "r"(area + 1024) : "memory");
        _exit(1);
    }
}

TEST(handler_without_stack) {
    CHILD("stack pointer to nowhere") {
        on_signal(SIGUSR1, SIG_DFL, 0);
        catch_all();
        __asm__ volatile("mov $0x10, %%esp; ud2" : : : "memory");
    }
    CHILD("stack pointer into the kernel") {
        catch_all();
        __asm__ volatile("mov $0xffff800000010000, %%rsp; ud2" : : : "memory");
    }
    CHILD("stack pointer into read-only memory") {
        catch_all();
        char* p = pages(4, PROT_READ);
        __asm__ volatile("mov %0, %%rsp; ud2" : : "r"(p + 16000) : "memory");
    }
}

TEST(handler_at_a_kernel_address) {
    CHILD("child") {
        on_signal(SIGUSR1, (void (*)(int))0xffff800000001000, 0);
        raise(SIGUSR1);
    }
    CHILD("non-canonical") {
        on_signal(SIGUSR1, (void (*)(int))0x8000000000001000, 0);
        raise(SIGUSR1);
    }
}
