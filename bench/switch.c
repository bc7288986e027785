// SPDX-License-Identifier: MIT
// The cost of sharing CPU 0 between two threads: it decides how long a call must take before its caller should give up
// the CPU (docs/benchmarks.md, "Two callers"). Everything runs on CPU 0. Prints "NAME NS" for each:
//   getpid_one getpid_threads getpid_processes   getpid by one thread, by two of one process, by two processes
//   yield_one yield_threads yield_processes      sched_yield likewise; with two, each is a switch
// Two processes have two address spaces: the difference between the last two lines is the cost of a change of space,
// including the TLB misses after it.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kRounds = 7 };

struct shared {
    volatile int arrived, wanted;
};
static struct shared* shared;
static long number, count;

static unsigned long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000ull + (unsigned long long)t.tv_nsec;
}

static void* calls(void* unused) {
    (void)unused;
    __atomic_add_fetch(&shared->arrived, 1, __ATOMIC_SEQ_CST);
    while (shared->arrived < shared->wanted) sched_yield();
    for (long i = 0; i < count; ++i) syscall(number);
    return NULL;
}

static int compare(const void* a, const void* b) {
    double x = *(const double*)a, y = *(const double*)b;
    return (x > y) - (x < y);
}

enum how { kOne, kThreads, kProcesses };
static void measure(const char* name, long call, long how_many, enum how how) {
    double ns[kRounds];
    number = call;
    count = how_many;
    for (int round = 0; round < kRounds; ++round) {
        shared->arrived = 0;
        shared->wanted = how == kOne ? 1 : 2;
        unsigned long long start = now();
        pthread_t thread;
        pid_t child = -1;
        if (how == kThreads && pthread_create(&thread, NULL, calls, NULL) != 0) exit(1);
        if (how == kProcesses) {
            child = fork();
            if (child < 0) exit(1);
            if (child == 0) {
                calls(NULL);
                _exit(0);
            }
        }
        calls(NULL);
        if (how == kThreads) pthread_join(thread, NULL);
        if (how == kProcesses) waitpid(child, NULL, 0);
        ns[round] = (double)(now() - start) / (double)(count * shared->wanted);
    }
    qsort(ns, kRounds, sizeof *ns, compare);
    printf("%s %.0f\n", name, ns[kRounds / 2]);
    fflush(stdout);
}

int main(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("switch");
        return 1;
    }
    measure("getpid_one", SYS_getpid, 50000, kOne);
    measure("getpid_threads", SYS_getpid, 50000, kThreads);
    measure("getpid_processes", SYS_getpid, 50000, kProcesses);
    measure("yield_one", SYS_sched_yield, 20000, kOne);
    measure("yield_threads", SYS_sched_yield, 20000, kThreads);
    measure("yield_processes", SYS_sched_yield, 20000, kProcesses);
    return 0;
}
