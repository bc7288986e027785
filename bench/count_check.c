// SPDX-License-Identifier: MIT
// Checks the counting plugin: under `-icount shift=0` QEMU's TSC advances by one per instruction, so two RDTSC around a
// piece of work tell how many were executed. The plugin's count of row 0 must be that number, except for a few
// instructions of the markers.
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/count_plugin/marker.h"

static uint64_t tsc(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
    return (uint64_t)high << 32 | low;
}

int main(void) {
    static volatile char pages[64 * 4096];
    uint64_t from = tsc();
    FARCALL_MARK_START(0);
    for (int i = 0; i < 100; ++i) syscall(SYS_getppid);
    for (int i = 0; i < 64; ++i) pages[i * 4096] = 1;  // page faults: translation blocks that end early
    FARCALL_MARK_STOP(0);
    uint64_t to = tsc();
    printf("tsc %llu\n", (unsigned long long)(to - from));
    return 0;
}
