// SPDX-License-Identifier: MIT
// Programs of several threads that fork through the C library, which blocks all signals of the forking thread while it
// does: the end of another thread's child meets a first thread that has SIGCHLD blocked.
#include "check.h"

#include <pthread.h>

enum { kPage = 4096, kForkers = 3, kMappers = 3, kForks = 25 };

static volatile int stop;
static int failures, mapped;

static void bad(void) { __atomic_add_fetch(&failures, 1, __ATOMIC_SEQ_CST); }

// Maps, touches and takes away, small and large, until the forkers are done.
static void* map_and_unmap(void* argument) {
    long seed = (long)argument;
    for (long i = 0; !stop || i < 20; i++) {
        size_t pages = (size_t)(i % 8 == 0 ? 300 : (seed + i) % 9 + 1);
        char* p = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) {
            bad();
            break;
        }
        for (size_t k = 0; k < pages; k++) {
            if (p[k * kPage] != 0) bad();
            p[k * kPage] = (char)seed;
        }
        for (size_t k = 0; k < pages; k++)
            if (p[k * kPage] != (char)seed) bad();
        if (munmap(p, pages * kPage) != 0) bad();
        __atomic_add_fetch(&mapped, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

// Every child writes to a page that it shares with its parent's threads, and ends with a status of its own.
static void* fork_and_wait(void* argument) {
    volatile char* own = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) {
        bad();
        return NULL;
    }
    for (int i = 0; i < kForks; i++) {
        int code = (int)(long)argument * 40 + i;
        *own = (char)i;
        pid_t pid = fork();
        if (pid == 0) {
            if (*own != (char)i) _exit(250);
            *own = 99;
            _exit(code);
        }
        int status = -1;
        if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != code || *own != (char)i)
            bad();
    }
    return NULL;
}

TEST(map_and_fork_at_once) {
    pthread_t mappers[kMappers], forkers[kForkers];
    for (long i = 0; i < kMappers; i++) NEED(pthread_create(&mappers[i], NULL, map_and_unmap, (void*)(i + 1)) == 0);
    for (long i = 1; i < kForkers; i++) NEED(pthread_create(&forkers[i], NULL, fork_and_wait, (void*)i) == 0);
    fork_and_wait((void*)0);  // the first thread too
    for (int i = 1; i < kForkers; i++) NEED(pthread_join(forkers[i], NULL) == 0);
    stop = 1;
    for (int i = 0; i < kMappers; i++) NEED(pthread_join(mappers[i], NULL) == 0);
    FACT("every mapper mapped", mapped >= 20 * kMappers);
    SHOW(failures);
}

static const int kHarmless[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
enum { kCount = sizeof kHarmless / sizeof kHarmless[0] };

static void say_pending(const char* who) {
    sigset_t pending;
    NEED(sigpending(&pending) == 0);
    for (int i = 0; i < kCount; i++)
        say("%s: %s pending: %s\n", who, signal_name(kHarmless[i]), sigismember(&pending, kHarmless[i]) ? "yes" : "no");
}

static void* open_thread(void* argument) {
    (void)argument;
    sigset_t set;
    sigfillset(&set);
    NEED(pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHILD("child") _exit(7);
    for (int i = 0; i < kCount; i++) {
        CALL(kill(getpid(), kHarmless[i]));
        CALL(getpid() == getppid());
    }
    say_pending("the open thread");
    return NULL;
}

// Not even when only another thread has them open do signals that are ignored by default end a program.
TEST(harmless_signals_with_the_first_thread_closed) {
    sigset_t set;
    sigfillset(&set);
    NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, open_thread, NULL) == 0);
    NEED(pthread_join(thread, NULL) == 0);
    say_pending("the first thread");
    // Nobody has them open now: they stay.
    for (int i = 0; i < kCount; i++) CALL(kill(getpid(), kHarmless[i]));
    say_pending("alone");
    NEED(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    say_pending("opened");
}

// New anonymous memory of a child is zero, whatever other threads mapped and wrote while it was made.
enum { kFresh = 64 * 4096 };
static volatile int over;
static void* write_and_unmap(void* unused) {
    (void)unused;
    while (!over) {
        char* p = mmap(NULL, kFresh, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NEED(p != MAP_FAILED);
        for (int i = 0; i < kFresh; i += 4096) p[i] = 0x5a;
        for (volatile int i = 0; i < 3000; i++) {
        }
        NEED(munmap(p, kFresh) == 0);
    }
    return NULL;
}
TEST(memory_of_a_child_is_new) {
    size_t size = 24 << 20;
    char* p = mmap((void*)0x100000000, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    NEED(p != MAP_FAILED);
    for (size_t i = 0; i < size; i += 4096) p[i] = 1;
    pthread_t others[2];
    for (int i = 0; i < 2; i++) NEED(pthread_create(&others[i], NULL, write_and_unmap, NULL) == 0);
    int stale = 0;
    for (volatile int round = 0; round < 30; round++) {
        pid_t child = fork();
        NEED(child >= 0);
        if (child == 0) {
            int dirty = 0;
            for (int k = 0; k < 6; k++) {
                char* q = mmap(NULL, kFresh, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                for (int i = 0; i < kFresh; i += 4096) dirty |= q[i] != 0;
            }
            _exit(dirty);
        }
        int status;
        NEED(waitpid(child, &status, 0) == child);
        stale += status != 0;
    }
    over = 1;
    for (int i = 0; i < 2; i++) pthread_join(others[i], NULL);
    FACT("zero in each child", stale == 0);
}
