// SPDX-License-Identifier: MIT
// The walking skeleton: the smallest program that uses every part of the path between a program and the kernel:
// write, getpid, fork, wait4, a fault on a fresh page, a signal from a timer, exit.
// It needs nothing of a C library's start-up: `__libc_start_main` (called by musl's crt1) or the weak `_start`
// (when linked with -nostdlib -nostartfiles) begins here, and the calls are made by hand.

typedef unsigned long ulong_t;

enum {
    kWrite = 1,
    kRtSigaction = 13,
    kRtSigreturn = 15,
    kPause = 34,
    kSetitimer = 38,
    kGetpid = 39,
    kFork = 57,
    kWait4 = 61,
    kGetppid = 110,
    kExitGroup = 231,
    kSigalrm = 14,
    kSaRestorer = 0x04000000,
    kPageBytes = 4096,
    kPages = 16,
};

static long call4(long number, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

static void say(const char* text) {
    long length = 0;
    while (text[length]) length++;
    call4(kWrite, 1, (long)text, length, 0);
}

static void check(int good, const char* text) {
    say(text);
    say(good ? ": yes\n" : ": no\n");
}

// Own pages: nothing else of the program lies in them, so their first touch is here.
static volatile unsigned char pages[kPages * kPageBytes] __attribute__((aligned(4096)));
static volatile int alarms;

static void on_alarm(int number) {
    if (number == kSigalrm) alarms = alarms + 1;
}

__attribute__((naked, used)) static void restorer(void) { __asm__("mov $15, %eax\n\tsyscall"); }

struct kernel_sigaction {
    void (*handler)(int);
    ulong_t flags;
    void (*restorer)(void);
    ulong_t mask;
};

struct timeval_pair {
    long interval_seconds, interval_microseconds, first_seconds, first_microseconds;
};

__attribute__((noreturn, used)) static void body(void) {
    say("hello\n");
    long self = call4(kGetpid, 0, 0, 0, 0);
    check(self > 0, "getpid is positive");

    unsigned sum = 0;
    for (int i = 0; i < kPages; i++) sum += pages[i * kPageBytes];
    check(sum == 0, "fresh pages are zero");
    for (int i = 0; i < kPages; i++) pages[i * kPageBytes] = (unsigned char)(i + 1);

    long child = call4(kFork, 0, 0, 0, 0);
    if (child == 0) {
        check(call4(kGetppid, 0, 0, 0, 0) == self, "child: parent is the forker");
        check(call4(kGetpid, 0, 0, 0, 0) != self, "child: own pid");
        for (int i = 0; i < kPages; i++) pages[i * kPageBytes] = 200;  // copy on write
        call4(kExitGroup, 7, 0, 0, 0);
    }
    int status = 0;
    long ended = call4(kWait4, child, (long)&status, 0, 0);  // before any output: the child writes too
    check(child > 0, "fork");
    check(ended == child, "wait4 returns the child");
    check(status == 7 << 8, "wait status is exit 7");
    sum = 0;
    for (int i = 0; i < kPages; i++) sum += pages[i * kPageBytes];
    check(sum == kPages * (kPages + 1) / 2, "the parent's pages are its own");

    struct kernel_sigaction action = {on_alarm, kSaRestorer, restorer, 0};
    check(call4(kRtSigaction, kSigalrm, (long)&action, 0, 8) == 0, "rt_sigaction");
    // Repeating, so that an alarm between the test and the pause cannot be the last one.
    struct timeval_pair timer = {0, 10000, 0, 10000};
    check(call4(kSetitimer, 0, (long)&timer, 0, 0) == 0, "setitimer");
    long paused = 0;
    while (alarms < 3) paused = call4(kPause, 0, 0, 0, 0);
    check(paused == -4 || paused == 0, "pause ends with EINTR");
    struct timeval_pair off = {0, 0, 0, 0};
    call4(kSetitimer, 0, (long)&off, 0, 0);
    check(alarms >= 3, "three alarms");
    say("done\n");
    call4(kExitGroup, 3, 0, 0, 0);
    __builtin_unreachable();
}

__attribute__((noreturn)) int __libc_start_main(void) { body(); }

int main(void) { body(); }

__attribute__((weak, naked, noreturn)) void _start(void) { __asm__("xor %ebp, %ebp\n\tand $-16, %rsp\n\tcall body"); }
