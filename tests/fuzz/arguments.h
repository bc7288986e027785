// SPDX-License-Identifier: MIT
// What a worker of tests/fuzz/fuzz.c has, and the arguments that it makes up: a letter of calls.h is a kind of argument, mostly
// right and sometimes wrong. Included once. Nothing here uses the thread pointer, which a call may change.
#pragma once
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>

#include "calls.h"

enum {
    kErrors = 135,
    kWorkers = 2,  // at once
    kThreads = 4,  // at most, of each
    kCallsOfThread = 300,
    kWarmUp = 6,  // rounds before memory is measured: caches of the kernel have filled
    kKick = 40,   // the signal that ends a call which waits; workers cannot block or ignore it on purpose
    kKickMs = 4,
    kPatienceMs = 3000,  // then a worker is killed
    kArena = 64 * 4096,
    kPool = 16 * 4096,
    kShared = 8 * 4096,
    kGuard = 2 << 20,  // bytes; longer than the area of any worker
    kUser = 1000,
};

struct state {
    _Atomic int tid;
    _Atomic unsigned progress;
};
struct shared {
    _Atomic unsigned counts[kCalls][kErrors];
    _Atomic unsigned total;
    struct state threads[kWorkers][kThreads];
};
static struct shared* shared;
// What a thread of a worker has; reached without the thread pointer, which a call may change.
struct self {
    uint64_t random;
    char* pool;   // kPool bytes, then a page without access, then one that is read-only, then kShared of a file that
                  // cannot be written
    char* arena;  // of the process
    int slot, number, pid;
};

static long raw(long n, long a, long b, long c, long d, long e, long f) {
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}
// A call that returns twice, perhaps in the same memory and without a stack: the child ends at once.
static long raw_fork(long n, long a, long b, long c, long d, long e) {
    long r;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall\n test %%rax, %%rax\n jnz 1f\n mov $60, %%eax\n xor %%edi, %%edi\n syscall\n1:"
                     : "=a"(r)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory");
    return r;
}

static uint64_t any(struct self* s) {
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    return (s->random * 0x2545F4914F6CDD1DULL) >> 11;
}
static uint64_t below(struct self* s, uint64_t n) { return any(s) % n; }
#define PICK(s, array) (array)[below(s, sizeof(array) / sizeof *(array))]

static const char* const kOwn[] = {"b",        "d/f",      "l",          "/tmp/x/a",   "/tmp/x/b",
                                   "/tmp/x/c", "/tmp/x/d", "/tmp/x/d/e", "/tmp/x/d/f", "/tmp/x/l",
                                   "/tmp/x/f", "/tmp/x/g", "/tmp/x/a/z", "/tmp/x/n/z", "/tmp/x/d/",
                                   "a",        "d/e",      "../x/b",     "/tmp/x/s",   "/tmp/x/h/i"};
static const char* const kOther[] = {"/",
                                     ".",
                                     "..",
                                     "",
                                     "/tmp/x",
                                     "/etc/passwd",
                                     "/etc/shadow",
                                     "/root",
                                     "/root/x",
                                     "/proc/self/maps",
                                     "/proc/self/status",
                                     "/proc/self/fd/3",
                                     "/proc/self/cwd",
                                     "/proc/1/stat",
                                     "/proc/self/task",
                                     "/dev/null",
                                     "/dev/zero",
                                     "/etc/passwd/z",
                                     "/bin/busybox",
                                     "/proc/meminfo",
                                     "/bin/sh",
                                     "/proc/self/exe",
                                     "/proc/self/fd",
                                     "/proc/thread-self/comm"};
static const char* const kTypes[] = {"tmpfs", "tmpfs", "proc", "nothing", ""};
static const char* const kMounts[] = {"/tmp/x/m", "/tmp/x/m", "/tmp/x/m", "/tmp/x/n", "/tmp/x/a", "/tmp/x/d"};
static char long_path[5000];

// A place for a structure, or for what a call writes: mostly memory of the thread's own.
static char* good(struct self* s) { return s->pool + 16 * below(s, kPool / 32); }
static long bad_pointer(struct self* s) {
    switch (below(s, 6)) {
        case 0: return 0;
        case 1: return (long)(s->pool + kPool + below(s, 4096));         // no access
        case 2: return (long)(s->pool + kPool - 1 - below(s, 16));       // ends within the page without access
        case 3: return (long)(s->pool + kPool + 4096 + below(s, 2048));  // read-only
        case 4: return (long)0xffff800000000000 + (long)below(s, 1 << 20);
        default: return (long)(s->arena + below(s, kArena));
    }
}
static long pointer(struct self* s, char* p) { return below(s, 5) ? (long)p : bad_pointer(s); }
static long path(struct self* s, int own) {
    switch (below(s, 16)) {
        case 0: return bad_pointer(s);
        case 1: return (long)(below(s, 2) ? long_path : long_path + 4999 - 300);
        default: return (long)(own || below(s, 3) == 0 ? PICK(s, kOwn) : PICK(s, kOther));
    }
}
static long size_of(struct self* s) {
    static const long sizes[] = {0,    1,    7,     8,     9,       64,         100,         512, 4095,
                                 4096, 4097, 16384, 65536, 1 << 20, 0x7fffffff, 0x100000000, -1,  INT64_MIN};
    return below(s, 4) ? sizes[below(s, 12)] : PICK(s, sizes);
}
static long descriptor(struct self* s) {
    static const int wrong[] = {-1, 99999, 0, 1, 2, 0x7fffffff, -100};
    uint64_t n = below(s, 20);
    return n < 17 ? 3 + (long)below(s, 20) : n < 19 ? 20 + (long)below(s, 60) : PICK(s, wrong);
}
static long offset(struct self* s) {
    static const long offsets[] = {0,     0,       1,  100,       4096,      5000,
                                   65536, 1 << 22, -1, INT64_MAX, INT64_MIN, INT64_MAX - 4095};
    return PICK(s, offsets);
}
static long process(struct self* s) {
    switch (below(s, 8)) {
        case 0:
        case 1:
        case 2: return 0;
        case 3:
        case 4: return s->pid;
        case 5: return shared->threads[s->slot][below(s, kThreads)].tid;
        case 6: return 999999;
        default: return below(s, 2) ? -1 : 1;
    }
}

static long sigset_for(struct self* s) {
    uint64_t* set = (uint64_t*)good(s);
    *set = below(s, 3) ? any(s) << 11 ^ any(s) : 0;
    *set &= ~((1ull << (kKick - 1)) | (1ull << (SIGSEGV - 1)));
    return pointer(s, (char*)set);
}
static long timespec_for(struct self* s, int micro) {
    static const long seconds[] = {0, 0, 0, 0, 0, 0, 0, 0, 100, -1};
    static const long parts[] = {0, 0, 1, 1000, 100000, 999999, 1000000000, -1};
    struct timespec* t = (struct timespec*)good(s);
    t->tv_sec = PICK(s, seconds);
    t->tv_nsec = PICK(s, parts);
    if (micro && t->tv_nsec > 1000) t->tv_nsec = below(s, 4) ? 500 : 1000000;
    return below(s, 8) ? pointer(s, (char*)t) : 0;
}

static long argument(struct self* s, char letter) {
    char* p = good(s);
    uint64_t* words = (uint64_t*)p;
    uint32_t* halves = (uint32_t*)p;
    switch (letter) {
        case 'f': return descriptor(s);
        case 'F': return below(s, 3) ? 3 + (long)below(s, 90) : descriptor(s);
        case 'D': return below(s, 3) ? -100 : below(s, 2) ? 4 : descriptor(s);
        case 'P': return path(s, 0);
        case 'A': return path(s, 1);
        case 'E': return below(s, 6) ? (long)PICK(s, kOwn) : bad_pointer(s);
        case 'b': return pointer(s, p);
        case 'n': return size_of(s);
        case 'o': return offset(s);
        case 'i': return (long)below(s, 18);
        case 'Z': return below(s, 12) ? 8 : (long)below(s, 32);
        case 's': return sigset_for(s);
        case 'g': return process(s);
        case 'G': return below(s, 5) ? s->pid : below(s, 2) ? 999999 : 1;
        case 'a': return (long)(s->arena + (below(s, 6) ? 4096 * below(s, 64) : below(s, kArena)));
        case 'j': return below(s, 3) ? 0 : (long)(s->arena + 4096 * below(s, 60));
        case 'm': return below(s, 10) ? 4096 * (long)(1 + below(s, 4)) : below(s, 2) ? 0 : (long)0x7fffffffffff000;
        case 'R': return below(s, 12) ? (long)below(s, 8) : 99;
        case 't': return timespec_for(s, 0);
        case 'T': return timespec_for(s, 1);
        case 'M': return below(s, 3) ? 0755 : (long)below(s, 07777);
        case 'U': {
            static const long ids[] = {-1, -1, 0, 0, 0, kUser, 65534, 4294967294};
            return PICK(s, ids);
        }
        case 'X': return (long)PICK(s, kTypes);
        case 'Y': return below(s, 8) ? (long)PICK(s, kMounts) : bad_pointer(s);
        case 'k': return below(s, 2) ? 0 : (long)p;
        case 'L': {
            static const long limits[] = {0, 1, 4, 8, 10, 11, 12, 13, 14, 15, 16, -1, 99};
            return PICK(s, limits);
        }
        case 'W':
            words[0] = below(s, 4) ? 1700000000 : (uint64_t)-1, words[1] = below(s, 4) ? 5 : 2000000000;
            return pointer(s, p);
        case 'p': strcpy(p, "name"); return below(s, 6) ? (long)p : bad_pointer(s);
        case 'B': halves[0] = below(s, 3) ? 0 : 1; return pointer(s, p);
        case 'x':
            words[0] = (uint64_t)long_path + 4990, words[1] = 0;
            return below(s, 4) ? (long)p : below(s, 2) ? 0 : bad_pointer(s);
        case 'w': {
            static const int flags[] = {0,     0,       1,       2,        0x42,    0x42,     0xc2,   0x242, 0x402,
                                        0x800, 0x10000, 0x20000, 0x200000, 0x80000, 0x410002, 0x4042, 3};
            return PICK(s, flags);
        }
        case 'v': {
            struct iovec* v = (struct iovec*)p;
            for (int i = 0; i < 8; ++i)
                v[i].iov_base = (void*)argument(s, 'b'),
                v[i].iov_len = (size_t)(below(s, 8) ? (long)below(s, 5000) : size_of(s));
            return pointer(s, p);
        }
        case 'c': {
            static const long counts[] = {0, 1, 1, 2, 3, 8, 1025, -1};
            return PICK(s, counts);
        }
        case 'O': words[0] = (uint64_t)offset(s); return below(s, 2) ? 0 : pointer(s, p);
        case 'S': {
            long n = 1 + (long)below(s, 66);
            return n == kKick || n == SIGSEGV || n == SIGALRM ? SIGUSR1 : n;
        }
        case 'K': {
            static const long signals[] = {0, 0, SIGUSR1, SIGUSR2, SIGCHLD, SIGWINCH, 35, 99, -1};
            return PICK(s, signals);
        }
        case 'J': return (long)(s->pool + kPool + 8192);
        case 'd': words[0] = 3; return pointer(s, p);
        case 'h':
            words[0] = below(s, 2), words[1] = below(s, 2) ? 0x10000000 : 0x14000000, words[2] = 0, words[3] = 0;
            return below(s, 3) ? pointer(s, p) : 0;
        case 'I': {
            for (int i = 0; i < 4; ++i) words[i] = 0;
            if (below(s, 2)) words[2] = below(s, 2), words[3] = 10000;
            if (below(s, 6) == 0) words[1] = 2000000000;
            return pointer(s, p);
        }
        case 'u': {
            static const long parts[] = {0, 5, 999999, 0x3fffffff, 0x3ffffffe, 2000000000};
            words[0] = words[2] = 1000000000, words[1] = (uint64_t)PICK(s, parts), words[3] = (uint64_t)PICK(s, parts);
            return below(s, 3) ? pointer(s, p) : 0;
        }
        case 'e':
            ((struct epoll_event*)p)->events = (uint32_t)any(s) & (below(s, 2) ? 0x201f : 0xf000201f);
            return pointer(s, p);
        case 'l':
            for (int i = 0; i < 4; ++i)
                ((struct pollfd*)p)[i] = (struct pollfd){.fd = (int)descriptor(s), .events = (short)any(s)};
            return pointer(s, p);
        case 'q':
            memset(p, 0, 128);
            words[0] = any(s) & any(s) & 0x3ffff8;
            return below(s, 2) ? 0 : pointer(s, p);
        case 'r': words[0] = 50 + below(s, 100), words[1] = below(s, 4) ? 1000 : ~0ull; return pointer(s, p);
        case 'C':
            halves[0] = below(s, 4) ? 0x20080522 : (uint32_t)below(s, 99),
            halves[1] = below(s, 2) ? 0 : (uint32_t)process(s);
            return pointer(s, p);
        case 'N':
            memset(p, 0, 128);
            ((int*)p)[2] = below(s, 4) ? -1 : (int)below(s, 3);
            return pointer(s, p);
        case 'y': {
            struct flock* l = (struct flock*)p;
            if (below(s, 3) == 0) return (long)below(s, 4100);
            *l = (struct flock){.l_type = (short)below(s, 4),
                                .l_whence = (short)below(s, 4),
                                .l_start = (long)below(s, 100),
                                .l_len = (long)below(s, 100)};
            return pointer(s, p);
        }
        case 'Q':
            memset(p, 0, 56);
            halves[0] = below(s, 4) ? 48 : (uint32_t)below(s, 64), halves[1] = below(s, 4) ? 0 : (uint32_t)below(s, 9);
            return pointer(s, p);
        case 'H':
            words[0] = (uint64_t)s->pool, words[1] = below(s, 3) ? 2 : (uint64_t)below(s, 5),
            words[2] = below(s, 3) ? 8192 : 100;
            return pointer(s, p);
        case 'V': {
            static const uint64_t flags[] = {0, 0, 0x100000000, 0x4000, 0x100, 0x50f00, 0x200, 0x10000, 0xff};
            memset(p, 0, 96);
            words[0] = PICK(s, flags), words[4] = below(s, 6) ? SIGCHLD : below(s, 99),
            words[5] = below(s, 8) ? 0 : 4096;
            if (words[0] & 0x10000) words[4] = 0;
            return pointer(s, p);
        }
        default: return 0;
    }
}

// The next argument of a row; `at` moves past it.
static long next_argument(struct self* s, const char** at) {
    const char* choices[32];
    unsigned n = 0;
    while (**at == ' ') ++*at;
    if (!**at) return below(s, 8) ? 0 : (long)any(s);
    for (choices[n++] = *at; **at && **at != ' '; ++*at)
        if (**at == '|' && n < 32) choices[n++] = *at + 1;
    // No made-up numbers for what names processes and signals: it could be the one that runs all this.
    const int fixed = *choices[0] == 'G' || *choices[0] == 'K' || *choices[0] == 'g';
    if (!fixed && below(s, 40) == 0) return below(s, 2) ? bad_pointer(s) : (long)below(s, 64);
    const char* c = choices[below(s, n)];
    if ((*c < '0' || *c > '9') && *c != '-') return argument(s, *c);
    int negative = *c == '-';
    uint64_t value = 0, base = 10;
    c += negative;
    if (c[0] == '0' && c[1] == 'x') base = 16, c += 2;
    for (; *c && *c != '|' && *c != ' '; ++c) value = value * base + (uint64_t)(*c <= '9' ? *c - '0' : *c - 'a' + 10);
    return negative ? -(long)value : (long)value;
}
