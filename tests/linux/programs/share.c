// SPDX-License-Identifier: MIT
// share WHAT: long copies between the kernel and a program, which two CPUs may share (rt/remote/share.hpp): each byte arrives, and
// what is not there is met wherever it lies. `share counted` waits until the kernel says that copies were shared: only where
// calls are executed by another CPU.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kPage = 4096, kMost = 40 * kPage };
static unsigned char pattern[kMost];
static int file, wrong;

static void expect(int ok, const char* what) {
    if (ok) return;
    ++wrong;
    printf("wrong: %s (errno %d)\n", what, errno);
}
static unsigned char* map(size_t n) {
    void* at = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return at;
}
static void start(void) {
    unsigned x = 1;
    for (int i = 0; i < kMost; ++i) pattern[i] = (unsigned char)((x = x * 1103515245 + 12345) >> 16);
    file = open("data", O_RDWR | O_CREAT | O_TRUNC, 0644);
    expect(file >= 0 && write(file, pattern, kMost) == kMost, "the file");
}
// All of `n` bytes at `from` of the file, nothing before and nothing after.
static int arrived(const unsigned char* at, size_t from, size_t n, size_t size) {
    if (memcmp(at + 64, pattern + from, n) != 0) return 0;
    for (size_t i = 0; i < 64; ++i)
        if (at[i] != 0xaa) return 0;
    for (size_t i = 64 + n; i < size; ++i)
        if (at[i] != 0xaa) return 0;
    return 1;
}
static void sizes(void) {
    static const size_t kSizes[] = {1000, 1023, 1024, 1025, 1663,  1664,  1665,  2048,
                                    4095, 4096, 4097, 8191, 12289, 65536, 100001};
    static unsigned char to[kMost];
    for (unsigned i = 0; i < sizeof kSizes / sizeof *kSizes; ++i)
        for (size_t shift = 0; shift < 8; shift += 3)
            for (size_t from = 0; from < 9000; from += 2999) {
                size_t n = kSizes[i], all = n + 64 + 200;
                memset(to, 0xaa, all + shift);
                expect(pread(file, to + shift + 64, n, (off_t)from) == (ssize_t)n, "pread");
                expect(arrived(to + shift, from, n, all), "what was read");
            }
    int copy = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
    for (unsigned i = 0; i < sizeof kSizes / sizeof *kSizes; ++i)
        for (size_t shift = 0; shift < 8; shift += 3) {
            size_t n = kSizes[i];
            expect(pwrite(copy, pattern + shift, n, (off_t)(i * 77)) == (ssize_t)n, "pwrite");
            memset(to, 0xaa, n + 264);
            expect(pread(copy, to + 64, n, (off_t)(i * 77)) == (ssize_t)n, "pread of the copy");
            expect(arrived(to, shift, n, n + 264), "what was written");
        }
}
// Pages that were not touched yet, whole and in part.
static void fresh(void) {
    for (int touched = 0; touched <= 16; touched += 4) {
        unsigned char* to = map(16 * kPage);
        for (int i = 0; i < touched; ++i) to[i * kPage] = 1;
        expect(pread(file, to, 16 * kPage, 5) == 16 * kPage, "pread");
        expect(memcmp(to, pattern + 5, 16 * kPage) == 0, "what was read");
        munmap(to, 16 * kPage);
    }
    unsigned char* mapped = mmap(NULL, kMost, PROT_READ, MAP_PRIVATE, file, 0);
    int copy = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
    expect(write(copy, mapped, kMost) == kMost, "write out of a mapping");
    unsigned char* zeros = map(8 * kPage);
    expect(write(copy, zeros, 8 * kPage) == 8 * kPage, "write out of untouched pages");
    static unsigned char back[kMost + 8 * kPage];
    expect(pread(copy, back, sizeof back, 0) == (ssize_t)sizeof back && memcmp(back, pattern, kMost) == 0, "the copy");
    for (int i = 0; i < 8 * kPage; ++i) expect(back[kMost + i] == 0 || i % kPage, "zeros");
}
// Four pages, of which one may not be written (or read): by its place.
static void missing(void) {
    int copy = open("copy", O_RDWR | O_CREAT | O_TRUNC, 0644);
    for (int how = 0; how < 3; ++how)
        for (int bad = 0; bad < 4; ++bad) {
            unsigned char* to = map(4 * kPage);
            memset(to, 0xaa, 4 * kPage);
            if (how == 0) mprotect(to + bad * kPage, kPage, PROT_READ);
            if (how == 1) mprotect(to + bad * kPage, kPage, PROT_NONE);
            if (how == 2) munmap(to + bad * kPage, kPage);
            errno = 0;
            ssize_t n = pread(file, to, 4 * kPage, 0);
            printf("pread %d %d: %s", how, bad, n < 0 ? "error" : "some");
            if (n < 0) printf(" %d", errno);
            if (n > 0)
                expect(memcmp(to, pattern, (size_t)n < (size_t)bad * kPage ? (size_t)n : (size_t)bad * kPage) == 0,
                       "before");
            errno = 0;
            n = how == 0 ? 0 : pwrite(copy, to, 4 * kPage, 0);
            printf(", pwrite: %s", n < 0 ? "error" : "some");
            if (n < 0) printf(" %d", errno);
            printf("\n");
            munmap(to, 4 * kPage);
        }
}
static void private_copy(void) {
    unsigned char* to = map(8 * kPage);
    memset(to, 0xaa, 8 * kPage);
    pid_t pid = fork();
    if (pid == 0) {
        ssize_t n = pread(file, to, 8 * kPage, 0);
        _exit(n == 8 * kPage && memcmp(to, pattern, 8 * kPage) == 0 ? 0 : 1);
    }
    int status = -1;
    expect(waitpid(pid, &status, 0) == pid && status == 0, "the child's copy");
    for (int i = 0; i < 8 * kPage; ++i)
        if (to[i] != 0xaa) {
            expect(0, "the parent's copy");
            break;
        }
}
static void pipes(void) {
    int ends[2];
    static unsigned char to[kMost];
    expect(pipe(ends) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 20; ++i)
            for (size_t at = 0; at < kMost;) {
                ssize_t n = write(ends[1], pattern + at, kMost - at);
                if (n <= 0) _exit(1);
                at += (size_t)n;
            }
        _exit(0);
    }
    close(ends[1]);
    for (int i = 0; i < 20; ++i) {
        size_t at = 0;
        for (ssize_t n; at < kMost && (n = read(ends[0], to + at, kMost - at)) > 0; at += (size_t)n) {
        }
        expect(at == kMost && memcmp(to, pattern, kMost) == 0, "through the pipe");
        memset(to, 0, kMost);
    }
    int status = -1;
    expect(waitpid(pid, &status, 0) == pid && status == 0, "the writer");
}
static unsigned char* volatile moving;
static volatile int stop;
static void* remap(void* arg) {
    while (!stop) {
        munmap(moving + 4 * kPage, 4 * kPage);
        mmap(moving + 4 * kPage, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    return arg;
}
// The end of the buffer comes and goes in another thread: a part arrives, or the call fails.
static void comes_and_goes(void) {
    pthread_t t;
    moving = map(8 * kPage);
    pthread_create(&t, NULL, remap, NULL);
    for (int i = 0; i < 3000; ++i) {
        ssize_t n = pread(file, moving, 8 * kPage, 0);
        expect(n == -1 ? errno == EFAULT : n > 0 && n <= 8 * kPage, "pread");
        expect(memcmp(moving, pattern, 4 * kPage) == 0 || n < 4 * kPage, "what stays");
        memset(moving, 0, 4 * kPage);
    }
    stop = 1;
    pthread_join(t, NULL);
}
static void killed(void) {
    for (int i = 0; i < 30; ++i) {
        pid_t pid = fork();
        if (pid == 0) {
            static unsigned char to[kMost];
            for (;;)
                if (pread(file, to, kMost, 0) != kMost) _exit(1);
        }
        struct timespec t = {0, 200000 + 91000 * i};
        nanosleep(&t, NULL);
        kill(pid, SIGKILL);
        int status = -1;
        expect(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed");
    }
}
static unsigned long long shared_copies(void) {
    static char text[8192];
    unsigned long long sum = 0;
    int fd = open("/proc/farcall/modules", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    for (char* at = text; (at = strstr(at, "copies_shared ")); ++at) sum += strtoull(at + 14, NULL, 10);
    return sum;
}
static void counted(void) {
    static unsigned char to[4 * kPage];
    unsigned long long before = shared_copies();
    while (shared_copies() < before + 100) {
        expect(pread(file, to, sizeof to, 0) == sizeof to && memcmp(to, pattern, sizeof to) == 0, "pread");
        expect(pwrite(file, to, sizeof to, 0) == sizeof to, "pwrite");
    }
}

int main(int argc, char** argv) {
    static const struct {
        const char* name;
        void (*run)(void);
    } kTests[] = {{"sizes", sizes},          {"fresh", fresh},    {"missing", missing},
                  {"private", private_copy}, {"pipes", pipes},    {"comes_and_goes", comes_and_goes},
                  {"killed", killed},        {"counted", counted}};
    start();
    for (unsigned i = 0; i < sizeof kTests / sizeof *kTests; ++i)
        if (argc == 2 && strcmp(argv[1], kTests[i].name) == 0) {
            kTests[i].run();
            if (!wrong) puts("ok");
            return wrong != 0;
        }
    return 2;
}
