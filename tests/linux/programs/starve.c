// SPDX-License-Identifier: MIT
// starve CPU [CPUS]: on every CPU but CPU a thread makes calls without a pause; on CPU one computes, then sleeps and wakes up,
// then makes calls itself. Says when each is done. Run with all calls on CPU (tests/tool.sh): none of it may be held up for
// ever by the others' calls.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int stop;
static unsigned long calls[16];
static long cpus;

static void bind_to(long cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((int)cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        perror("sched_setaffinity");
        exit(1);
    }
}

static void* caller(void* arg) {
    long cpu = (long)arg;
    bind_to(cpu);
    while (!stop) {
        syscall(SYS_getppid);
        __atomic_fetch_add(&calls[cpu], 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

// All callers are at it.
static void all_call(void) {
    for (long cpu = 0; cpu < cpus; ++cpu)
        for (unsigned long before = __atomic_load_n(&calls[cpu], __ATOMIC_RELAXED);
             before != ~0ul && __atomic_load_n(&calls[cpu], __ATOMIC_RELAXED) < before + 100;)
            usleep(1000);
}

int main(int argc, char** argv) {
    long busy = argc > 1 ? atol(argv[1]) : 1;
    cpus = argc > 2 ? atol(argv[2]) : sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[16];
    for (long cpu = 0; cpu < cpus; ++cpu) {
        calls[cpu] = ~0ul;
        if (cpu == busy) continue;
        calls[cpu] = 0;
        pthread_create(&threads[cpu], NULL, caller, (void*)cpu);
    }
    all_call();
    bind_to(busy);
    for (volatile long n = 0; n < 3000000; ++n) {
    }
    puts("computed");
    for (int i = 0; i < 20; ++i) usleep(500);
    puts("slept");
    for (int i = 0; i < 1000; ++i) syscall(SYS_getpid);
    puts("called");
    stop = 1;
    for (long cpu = 0; cpu < cpus; ++cpu)
        if (cpu != busy) pthread_join(threads[cpu], NULL);
    return 0;
}
