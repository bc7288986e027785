// SPDX-License-Identifier: MIT
// What random calls (tests/fuzz) have found, each as a few calls of its own.
#include <sys/select.h>
#include <sys/timerfd.h>

#include "check.h"

static void result(const char* what, long r) { say("%s: %s\n", what, r < 0 ? errno_name(errno) : "ok"); }

// mremap with an old length that reaches out of user memory, or wraps around, and a new one that is shorter.
TEST(remap_beyond) {
    static const unsigned long lengths[] = {0x7fffffffffff000, 0xffff800000000000, -4096ul, 0x7fffffffe000};
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        char* p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char* low = (char*)0x10000000;
        NEED(p != MAP_FAILED);
        p[0] = 1;
        say("length %lx\n", lengths[i]);
        result("in place", syscall(SYS_mremap, p, lengths[i], 4096, 0, 0));
        result("to a place", syscall(SYS_mremap, p, lengths[i], 4096, MREMAP_MAYMOVE | MREMAP_FIXED, low));
        result("longer", syscall(SYS_mremap, p, lengths[i], lengths[i] + 4096, MREMAP_MAYMOVE, 0));
        SHOW(p[0]);
    }
}

// Lengths that reach far beyond the last address of a program.
TEST(range_beyond) {
    static const unsigned long lengths[] = {0x7fffffffffff000, 0xfff0000000000000, 0x800000000000};
    static const int advices[] = {MADV_NORMAL, MADV_SEQUENTIAL, MADV_DONTDUMP, MADV_DODUMP};
    static unsigned char there[4096];
    char* p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    p[0] = 1;
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        say("length %lx\n", lengths[i]);
        for (unsigned k = 0; k < sizeof advices / sizeof *advices; ++k)
            result("madvise", madvise(p, lengths[i], advices[k]));
        result("mprotect", mprotect(p, lengths[i], PROT_READ | PROT_WRITE));
        result("munlock", munlock(p, lengths[i]));
        result("msync", msync(p, lengths[i], MS_ASYNC));
        result("mincore", mincore(p, lengths[i], there));
        result("munmap", munmap(p, lengths[i]));
    }
    SHOW(p[0]);
}

// A timer that is due while the kernel frees the memory of ended programs fires nevertheless.
TEST(sleep_while_memory_is_freed) {
    for (int round = 0; round < 30; ++round) {
        pid_t child = fork();
        if (child == 0) {
            // A page table for each page.
            const size_t far = 2 << 20, count = 600;
            char* p =
                mmap(NULL, count * far, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (p == MAP_FAILED) _exit(1);
            for (size_t i = 0; i < count; ++i) p[i * far] = 1;
            _exit(0);
        }
        int status = -1;
        while (waitpid(child, &status, WNOHANG) == 0) usleep(20);
        NEED(status == 0);
        for (int n = 0; n < 20; ++n) usleep(20);
    }
}

// Who waits for an exception of a file that only becomes readable sleeps, and can be killed.
TEST(except_of_timer) {
    struct itimerspec often = {{0, 1}, {0, 1}};
    int files[2] = {timerfd_create(CLOCK_MONOTONIC, 0), open("/proc/self/maps", O_RDONLY)};
    NEED(files[0] >= 0 && files[1] >= 0 && timerfd_settime(files[0], 0, &often, NULL) == 0);
    for (int n = 0; n < 2; ++n) {
        pid_t child = fork();
        if (child == 0) {
            fd_set set;
            FD_ZERO(&set);
            FD_SET(files[n], &set);
            _exit(select(files[n] + 1, NULL, NULL, &set, NULL) == 1 ? 1 : 2);
        }
        usleep(20000);
        int status = -1;
        NEED(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
        say("file %d: %s\n", n, WIFSIGNALED(status) ? "killed" : "ended");
    }
}
