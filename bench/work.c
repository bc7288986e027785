// SPDX-License-Identifier: MIT
// One process of a route benchmark: `work KIND COUNT`. bench/time1.c and bench/timen.c start it and measure the time,
// so nothing is timed here.
//
//   task0   COUNT times getpid and getppid
//   task1   COUNT passes of readdir and stat over the files of bench/files.h
//   task2   Debian's `busybox wc` over the first COUNT of these files (this process executes it)
//   pipe    COUNT times 4 KiB into a pipe and out again
//   read    COUNT times pread of 4 KiB
//   long    COUNT times pread of 64 KiB, and about as much time computing on the data
//   stat    COUNT times stat of a path of three components
//   mix     COUNT times some of everything, about half of it user code
//
// All except task2 end with "calls N" on standard output: the number of system calls and page faults that the COUNT
// repetitions made. The other costs of a process (start, opening files, that line) are the same for every COUNT.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "bench/files.h"
#include "tests/linux/programs/entry.h"

enum { kPage = 4096, kComputeRounds = 12 };
static char buffer[kPage] __attribute__((aligned(kPage)));
static unsigned long calls;
static int file = -1, ends[2];

static void check(long result, const char* what) {
    ++calls;
    if (result >= 0) return;
    perror(what);
    exit(1);
}

static void task0(long count) {
    for (long i = 0; i < count; ++i) {
        syscall(SYS_getpid);
        syscall(SYS_getppid);
    }
    calls += 2 * (unsigned long)count;
}

// Reads the entries with getdents64(2) directly, because opendir and readdir would hide the number of calls.
static void task1_pass(void) {
    static char entries[2048] __attribute__((aligned(8)));
    int seen = 0, folder = open(BENCH_FILES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(folder, BENCH_FILES);
    for (;;) {
        long got = syscall(SYS_getdents64, folder, entries, sizeof entries);
        check(got, "getdents64");
        if (got == 0) break;
        for (long at = 0; at < got;) {
            struct entry* entry = (struct entry*)(entries + at);
            char path[300] = BENCH_FILES "/";
            struct stat st;
            strcat(path, entry->name);
            check(syscall(SYS_stat, path, buffer), path);
            memcpy(&st, buffer, sizeof st);
            seen += S_ISREG(st.st_mode);
            at += entry->length;
        }
    }
    check(close(folder), "close");
    if (seen != file_count()) {
        fprintf(stderr, "task1: %d files, not %d\n", seen, file_count());
        exit(1);
    }
}

static void task2(long count) {
    static char names[kMostFiles][8];
    static char* words[kMostFiles + 3] = {"busybox", "wc"};
    if (count > file_count()) count = file_count();
    for (long i = 0; i < count; ++i) {
        file_name(names[i], (int)i);
        words[2 + i] = names[i];
    }
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || chdir(BENCH_FILES) != 0) {
        perror(BENCH_FILES);
        exit(1);
    }
    execv("/bin/busybox", words);
    perror("/bin/busybox");
    exit(1);
}

static void open_file(void) {
    file = open(BENCH_FILES "/f0000", O_RDONLY);
    if (file < 0 || pipe(ends) != 0) {
        perror(BENCH_FILES "/f0000");
        exit(1);
    }
}
static void do_pipe(void) {
    check(write(ends[1], buffer, sizeof buffer), "write");
    check(read(ends[0], buffer, sizeof buffer), "read");
}
static void do_read(void) { check(syscall(SYS_pread64, file, buffer, sizeof buffer, 0L), "pread"); }
static void do_long(void) {
    static uint64_t many[16 * kPage / sizeof(uint64_t)];
    static volatile uint64_t sum;
    check(syscall(SYS_pread64, file, many, sizeof many, 0L), "pread");
    uint64_t value = sum;
    for (size_t i = 0; i < sizeof many / sizeof *many; ++i) value += many[i];
    sum = value;
}
static void do_stat(void) {
    static struct stat st;
    check(syscall(SYS_stat, BENCH_DIRECTORY "/files", &st), "stat");
}

static void mix(void) {
    static volatile unsigned sum;
    task0(20);
    for (int i = 0; i < 4; ++i) {
        do_pipe();
        do_read();
        do_stat();
    }
    int fd = open(BENCH_FILES "/f0001", O_RDONLY);
    check(fd, "open");
    check(close(fd), "close");
    char* page = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(page == MAP_FAILED ? -1 : 0, "mmap");
    page[0] = 1;
    ++calls;  // the page fault
    check(munmap(page, kPage), "munmap");
    for (int round = 0; round < kComputeRounds; ++round) {
        unsigned value = sum;
        for (size_t i = 0; i < sizeof buffer; ++i) value = value * 31 + (unsigned char)buffer[i];
        sum = value;
    }
}

int main(int argc, char** argv) {
    long count = argc == 3 ? atol(argv[2]) : -1;
    if (count < 0) {
        fprintf(stderr, "work KIND COUNT\n");
        return 2;
    }
    const char* kind = argv[1];
    if (strcmp(kind, "task2") == 0) task2(count);
    open_file();
    calls = 0;
    if (strcmp(kind, "task0") == 0) {
        task0(count);
    } else if (strcmp(kind, "task1") == 0) {
        for (long i = 0; i < count; ++i) task1_pass();
    } else if (strcmp(kind, "pipe") == 0) {
        for (long i = 0; i < count; ++i) do_pipe();
    } else if (strcmp(kind, "read") == 0) {
        for (long i = 0; i < count; ++i) do_read();
    } else if (strcmp(kind, "long") == 0) {
        // The files of bench/files.h are too short, so this uses a longer file of its own.
        if ((file = memfd_create("long", 0)) < 0 || ftruncate(file, 16 * kPage) != 0) return 1;
        for (int i = 0; i < 16; ++i)
            if (pwrite(file, buffer, kPage, (off_t)i * kPage) != kPage) return 1;
        do_long();
        calls = 0;
        for (long i = 0; i < count; ++i) do_long();
    } else if (strcmp(kind, "stat") == 0) {
        for (long i = 0; i < count; ++i) do_stat();
    } else if (strcmp(kind, "mix") == 0) {
        for (long i = 0; i < count; ++i) mix();
    } else {
        fprintf(stderr, "work: unknown kind '%s'\n", kind);
        return 2;
    }
    char line[32];
    int length = snprintf(line, sizeof line, "calls %lu\n", calls);
    return write(1, line, (size_t)length) == length ? 0 : 1;
}
