// SPDX-License-Identifier: MIT
// For programs that use up all memory.
#ifndef FARCALL_TESTS_LINUX_SCARCE_H
#define FARCALL_TESTS_LINUX_SCARCE_H
#include "check.h"

enum { kPage = 4096, kPiece = 1 << 20, kLeft = 24 << 10 /* KiB */, kSome = 64 << 20 };
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

UNUSED static long free_kib(void) {
    char text[4096];
    int fd = open("/proc/meminfo", O_RDONLY);
    NEED(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    NEED(n > 0);
    close(fd);
    text[n] = 0;
    const char* at = strstr(text, "MemFree:");
    NEED(at);
    return atol(at + strlen("MemFree:"));
}

UNUSED static char* area(size_t size, int flags) {
    char* p = mmap(NULL, size, RW, flags | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}

// As fork(), but in the parent it returns when the child has what it wants: it calls is_ready() with `*ready`, and sleeps.
UNUSED static pid_t fork_until_ready(int* ready) {
    int both[2];
    char byte;
    NEED(pipe(both) == 0);
    pid_t pid = fork();
    NEED(pid >= 0);
    *ready = both[1];
    close(both[pid == 0 ? 0 : 1]);
    if (pid == 0) return 0;
    NEED(read(both[0], &byte, 1) == 1);
    close(both[0]);
    return pid;
}
UNUSED static void is_ready(int ready) {
    NEED(write(ready, "x", 1) == 1);
    for (;;) pause();
}

// What is left must be enough for a program, a file and a process; all that was taken has come back.
UNUSED static void goes_on(long before) {
    CHILD("another") {
        char* p = area(kPiece, ANON);
        memset(p, 1, kPiece);
        int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
        CALL(write(fd, p, kPiece));
        execl("/bin/busybox", "true", NULL);
    }
    unlink("file");
    long lost = LONG_MAX;
    for (int i = 0; i < 2000 && lost > 4096; i++) {
        sleep_ms(10);
        lost = before - free_kib();
    }
    FACT("memory is back", lost <= 4096);
    if (lost > 4096) say("%ld KiB are not\n", lost);
}

#endif
