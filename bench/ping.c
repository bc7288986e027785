// SPDX-License-Identifier: MIT
// `ping`: the cost of moving one cache line from CPU 0 to CPU 1 and back: two threads, each pinned to its CPU, store to
// it alternately. Prints "ping NS", the median over kBatches batches of the time of a round trip, or "ping -" if there
// are no two CPUs. No system call is made between a batch's two reads of the clock.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { kBatches = 15, kRounds = 20000 };

static struct {
    _Atomic unsigned turn;  // even: CPU 0 stores next, odd: CPU 1
} line __attribute__((aligned(128)));

static int pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set);
}

// Release pairs with the other side's acquire. A pause instruction would add its own cost under QEMU.
static _Atomic int missing;
static void* answer(void* unused) {
    if (pin(1) != 0) {
        missing = 1;
        return unused;
    }
    atomic_store_explicit(&line.turn, 0, memory_order_release);
    for (unsigned i = 0; i < (kBatches + 1) * kRounds; ++i) {
        while (atomic_load_explicit(&line.turn, memory_order_acquire) != 2 * i + 1) {
        }
        atomic_store_explicit(&line.turn, 2 * i + 2, memory_order_release);
    }
    return NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static int order(const void* a, const void* b) {
    double x = *(const double*)a, y = *(const double*)b;
    return (x > y) - (x < y);
}

int main(void) {
    pthread_t other;
    line.turn = ~0u;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || !CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed) ||
        pin(0) != 0 || pthread_create(&other, NULL, answer, NULL) != 0) {
        puts("ping -");
        return 0;
    }
    static double took[kBatches + 1];
    while (!missing && atomic_load_explicit(&line.turn, memory_order_acquire) == ~0u) sched_yield();
    if (missing) {
        puts("ping -");
        return 0;
    }
    for (unsigned batch = 0, i = 0; batch <= kBatches; ++batch) {
        double start = now();
        for (unsigned end = i + kRounds; i < end; ++i) {
            atomic_store_explicit(&line.turn, 2 * i + 1, memory_order_release);
            while (atomic_load_explicit(&line.turn, memory_order_acquire) != 2 * i + 2) {
            }
        }
        took[batch] = (now() - start) / kRounds;
    }
    pthread_join(other, NULL);
    qsort(took + 1, kBatches, sizeof *took, order);  // the first batch warms up
    printf("ping %.1f\n", took[1 + kBatches / 2]);
    return 0;
}
