// SPDX-License-Identifier: MIT
// Threads that wait on sets of many files: their end, the memory that the waits take, the end of a file in many sets.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>

static struct {
    volatile int files, waiting;
}* shared;
static int set;

static void begin(void) {
    struct rlimit limit = {100000, 100000};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(shared != MAP_FAILED);
}
static pthread_t start(void* (*body)(void*), void* data) {
    pthread_attr_t small;
    pthread_t thread;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 20480);
    NEED(pthread_create(&thread, &small, body, data) == 0);
    return thread;
}
static long free_mb(void) {
    struct sysinfo s;
    NEED(sysinfo(&s) == 0);
    return (long)(s.freeram * s.mem_unit >> 20);
}
static int add(int to, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(to, EPOLL_CTL_ADD, fd, &event);
}

static void* waits_on_the_set(void* polls) {
    __atomic_add_fetch(&shared->waiting, 1, __ATOMIC_SEQ_CST);
    for (;;) {
        struct epoll_event out[8];
        struct pollfd p = {.fd = set, .events = POLLIN};
        // A user may hold only so much memory to wait.
        if ((polls ? poll(&p, 1, -1) : epoll_wait(set, out, 8, -1)) < 0 && errno == ENOMEM) usleep(10000);
    }
    return NULL;
}
// A set as large as a user may have, of which each second file has queues of its own.
static pid_t user_with_a_set(int files, int threads) {
    shared->files = shared->waiting = 0;
    pid_t pid = fork();
    NEED(pid >= 0);
    if (pid != 0) return pid;
    NEED(setgid(1000) == 0 && setuid(1000) == 0);
    set = epoll_create1(0);
    const int event = eventfd(0, 0);
    for (int n = 0; n < files && add(set, n % 2 ? eventfd(0, 0) : dup(event)) == 0; n++) shared->files = n + 1;
    for (size_t i = 0; i < (size_t)threads; i++) start(waits_on_the_set, (void*)(size_t)(i % 4 == 3));
    struct epoll_event out;
    const int one_more = epoll_wait(set, &out, 1, threads == 0 ? 10 : -1);
    _exit(one_more == 0 ? 0 : one_more < 0 && errno == ENOMEM ? 1 : 2);
}
// How long the end of a process with so many waiting threads lasts.
static long time_of_a_kill(int threads, long* least_free) {
    pid_t pid = user_with_a_set(1000000, threads);
    while (shared->waiting < threads) usleep(10000);
    for (int i = 0; i < 25; i++) {
        usleep(100000);
        if (free_mb() < *least_free) *least_free = free_mb();
    }
    const long from = now_ms();
    NEED(kill(pid, SIGKILL) == 0);
    NEED(waitpid(pid, NULL, 0) == pid);
    return now_ms() - from;
}
TEST(killed_while_they_wait_on_a_large_set) {
    begin();
    const long first = free_mb();
    long least = first;
    const long one = time_of_a_kill(1, &least);
    const long with_one = least;
    const long many = time_of_a_kill(40, &least);
    FACT("many threads end about as soon as one", many < 4 * one + 3000);
    FACT("what they take is bounded", with_one - least < 50);
    for (int i = 0; i < 100 && free_mb() + 4 < first; i++) usleep(50000);
    FACT("all of it is free again", free_mb() + 4 >= first);
    // The user has it back as well.
    reap("one that does not wait long", user_with_a_set(1000000, 0));
    if (test_argc > 2) say("%ld ms, %ld ms, %ld MB, %ld MB, %ld MB\n", one, many, first, with_one, least);
}

enum { kSets = 1500 };
static int event, sets[kSets];
static void* waits_on_its_own(void* number) {
    struct epoll_event out;
    __atomic_add_fetch(&shared->waiting, 1, __ATOMIC_SEQ_CST);
    epoll_wait(sets[(size_t)number], &out, 1, -1);
    return NULL;
}
// Each thread waits on a set of its own, and each set has the same file and one more.
TEST(end_of_a_file_in_many_sets) {
    begin();
    event = eventfd(0, 0);
    int other = eventfd(0, 0);
    static pthread_t threads[kSets];
    for (size_t i = 0; i < kSets; i++) {
        sets[i] = epoll_create1(0);
        NEED(add(sets[i], event) == 0 && add(sets[i], other) == 0);
        threads[i] = start(waits_on_its_own, (void*)i);
    }
    while (shared->waiting < kSets) usleep(10000);
    usleep(300000);
    CALL(close(event));
    usleep(100000);
    // They still wait.
    for (size_t i = 0; i < kSets; i++) {
        struct epoll_event change = {.events = EPOLLIN | EPOLLOUT};
        NEED(epoll_ctl(sets[i], EPOLL_CTL_MOD, other, &change) == 0);
        NEED(pthread_join(threads[i], NULL) == 0);
    }
    SHOW(other > event);
}
