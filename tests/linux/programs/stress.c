// SPDX-License-Identifier: MIT
// Stress of processes, address spaces and threads on all CPUs at once. See stress.h.
#include "stress.h"

#include <linux/futex.h>
#include <sched.h>

enum { kPage = 4096, kStackBytes = 32768 };

#define THREAD_FLAGS                                                                                          \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | \
     CLONE_CHILD_CLEARTID)
static void start_thread(int (*body)(void*), void* argument, volatile int* word) {
    char* stack = mmap(NULL, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(stack != MAP_FAILED);
    *word = 1;
    NEED(clone(body, stack + kStackBytes - 64, THREAD_FLAGS, argument, (int*)word, NULL, (int*)word) > 0);
}
static void join(volatile int* word) {
    for (int tid; (tid = *word) != 0;) syscall(SYS_futex, word, FUTEX_WAIT, tid, NULL, NULL, 0);
}
static int end_thread(void) {
    syscall(SYS_exit, 0);
    return 0;
}

static int fork_and_wait(int index) {
    for (int i = 0; i < 25; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit((index + i) & 127);
        int status;
        if (waitpid(pid, &status, 0) != pid || status != ((index + i) & 127) << 8) return 1;
    }
    return 0;
}
TEST(forks) { together("forkers", 8, fork_and_wait); }

static int exec_and_wait(int index) {
    for (int i = 0; i < 12; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execl(test_argv[0], test_argv[0], "nothing", (char*)NULL);
            _exit(1);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 42 << 8) return 1;
    }
    return index < 0;
}
HELPER(nothing) { _exit(42); }
TEST(execs) { together("executors", 6, exec_and_wait); }

static int tree_of_forks(int depth) {
    if (depth == 0) return 0;
    pid_t a = fork();
    if (a == 0) _exit(tree_of_forks(depth - 1));
    pid_t b = fork();
    if (b == 0) _exit(tree_of_forks(depth - 1));
    int status, bad = 0;
    bad |= waitpid(b, &status, 0) != b || status != 0;
    bad |= waitpid(a, &status, 0) != a || status != 0;
    return bad;
}
TEST(fork_tree) { SHOW(tree_of_forks(5)); }

static int orphans(int index) {
    // The middle process goes at once; what it leaves is reaped by init, and may be last to hold the pipe.
    int p[2];
    for (int i = 0; i < 10; i++) {
        if (pipe(p) < 0) return 1;
        pid_t pid = fork();
        if (pid == 0) {
            if (fork() == 0) {
                close(p[0]);
                if (i % 2) sched_yield();
                _exit(write(p[1], "x", 1) != 1);
            }
            _exit(0);
        }
        close(p[1]);
        char c;
        if (read(p[0], &c, 1) != 1 || read(p[0], &c, 1) != 0) return 2;
        close(p[0]);
        if (waitpid(pid, NULL, 0) != pid) return 3;
    }
    return index < 0;
}
TEST(orphaned_writers) { together("parents", 6, orphans); }

static int map_and_touch(int index) {
    for (int round = 0; round < 12; round++) {
        char* p = mmap(NULL, 64 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) return 1;
        for (int i = 0; i < 64; i++) {
            if (p[i * kPage] != 0) return 2;
            p[i * kPage] = (char)(i + index);
        }
        pid_t pid = fork();
        for (int i = 0; i < 64; i++)
            if (p[i * kPage] != (char)(i + index)) _exit(3);
        for (int i = 0; i < 64; i += 3) p[i * kPage] = (char)(pid == 0);
        if (pid == 0) _exit(0);
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 0) return 4;
        for (int i = 0; i < 64; i += 3)
            if (p[i * kPage] != 0) return 5;
        if (munmap(p, 64 * kPage) < 0) return 6;
    }
    return 0;
}
TEST(copy_on_write) { together("processes", 6, map_and_touch); }

// --- threads of one space ---

static volatile int stop_word, wrong_bytes;
static char* volatile window;

static int reader_thread(void* argument) {
    // The page is either the old or the new one; after an unmap was answered, never a third one's.
    (void)argument;
    while (!stop_word) {
        char a = window[0], b = window[kPage];
        if ((a != 'a' && a != 'b') || (b != 'a' && b != 'b')) wrong_bytes = wrong_bytes + 1;
    }
    return end_thread();
}
TEST(replacement_under_readers) {
    // MAP_FIXED replaces two pages by a prepared file's pages again and again while other threads read them.
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    static char bytes[4 * kPage];
    memset(bytes, 'a', 2 * kPage);
    memset(bytes + 2 * kPage, 'b', 2 * kPage);
    NEED(write(fd, bytes, sizeof bytes) == sizeof bytes);
    window = mmap(NULL, 2 * kPage, PROT_READ, MAP_SHARED, fd, 0);
    NEED(window != MAP_FAILED);
    volatile int words[3];
    for (int i = 0; i < 3; i++) start_thread(reader_thread, NULL, &words[i]);
    for (int i = 0; i < 300; i++)
        NEED(mmap(window, 2 * kPage, PROT_READ, MAP_SHARED | MAP_FIXED, fd, i % 2 ? 0 : 2 * kPage) == window);
    stop_word = 1;
    for (int i = 0; i < 3; i++) join(&words[i]);
    SHOW(wrong_bytes);
}

static int writer_thread(void* argument) {
    volatile int* mine = argument;
    while (!stop_word) {
        *mine = *mine + 1;
        window[kPage / 2] = 'w';
    }
    return end_thread();
}
TEST(write_protection_takes_effect) {
    // The writer's next store after mprotect must kill the process; with a stale translation it would continue.
    window = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile int* counter = (volatile int*)window;
    CHILD("child") {
        volatile int word;
        *counter = 0;
        start_thread(writer_thread, (void*)counter, &word);
        while (*counter < 1000) sched_yield();
        alarm(10);
        NEED(mprotect(window, kPage, PROT_READ) == 0);
        for (;;) pause();
    }
}

static int allocator_thread(void* argument) {
    long seed = (long)argument;
    for (int i = 0; i < 60; i++) {
        size_t pages = (size_t)(seed + i) % 9 + 1;
        char* p = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            wrong_bytes = wrong_bytes + 1;
            break;
        }
        for (size_t k = 0; k < pages; k++) {
            if (p[k * kPage] != 0) wrong_bytes = wrong_bytes + 1;
            p[k * kPage] = (char)seed;
        }
        for (size_t k = 0; k < pages; k++)
            if (p[k * kPage] != (char)seed) wrong_bytes = wrong_bytes + 1;
        munmap(p, pages * kPage);
    }
    return end_thread();
}
TEST(threads_map_and_unmap) {
    volatile int words[6];
    for (long i = 0; i < 6; i++) start_thread(allocator_thread, (void*)(i + 1), &words[i]);
    for (int i = 0; i < 6; i++) join(&words[i]);
    SHOW(wrong_bytes);
}

static int fork_in_thread(void* argument) {
    (void)argument;
    for (int i = 0; i < 8; i++) {
        long pid = syscall(SYS_fork);
        if (pid == 0) syscall(SYS_exit_group, 0);
        int status = -1;
        if (syscall(SYS_wait4, pid, &status, 0, NULL) != pid || status != 0) wrong_bytes = wrong_bytes + 1;
    }
    return end_thread();
}
TEST(threads_fork) {
    volatile int words[4];
    for (int i = 0; i < 4; i++) start_thread(fork_in_thread, NULL, &words[i]);
    for (int i = 0; i < 4; i++) join(&words[i]);
    SHOW(wrong_bytes);
}

static int toucher_thread(void* argument) {
    volatile char* p = argument;
    for (;;)
        for (int i = 0; i < 256; i++) p[i * kPage]++;
    return 0;
}
static int exit_with_busy_threads(int index) {
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char* p = mmap(NULL, 256 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            volatile int words[3];
            for (int k = 0; k < 3; k++) start_thread(toucher_thread, p, &words[k]);
            sched_yield();
            _exit(5);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 5 << 8) return 1;
    }
    return index < 0;
}
TEST(exit_under_faulting_threads) { together("parents", 3, exit_with_busy_threads); }

static int killed_with_busy_threads(int index) {
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char* p = mmap(NULL, 256 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            volatile int word;
            start_thread(toucher_thread, p, &word);
            toucher_thread(p);
        }
        if (i % 2) sched_yield();
        kill(pid, SIGKILL);
        int status;
        if (waitpid(pid, &status, 0) != pid || status != SIGKILL) return 1;
    }
    return index < 0;
}
TEST(kill_under_faulting_threads) { together("parents", 3, killed_with_busy_threads); }

static int move_between_cpus(int index) {
    unsigned long mask = 0;
    long got = syscall(SYS_sched_getaffinity, 0, sizeof mask, &mask);
    if (got <= 0) return 1;
    unsigned long sum = 0;
    for (int i = 0; i < 40; i++) {
        unsigned long one = mask & -mask;
        for (unsigned long k = 0; k < (unsigned long)((i + index) % __builtin_popcountl(mask)); k++) {
            unsigned long rest = mask & ~((one << 1) - 1);
            one = rest & -rest;
        }
        if (syscall(SYS_sched_setaffinity, 0, sizeof one, &one) < 0) return 2;
        unsigned cpu = 99;
        syscall(SYS_getcpu, &cpu, NULL, NULL);
        if (1ul << cpu != one) return 3;
        sum += cpu;
    }
    return sum > 100000;
}
TEST(migration) { together("processes", 4, move_between_cpus); }
