// SPDX-License-Identifier: MIT
// What address spaces take of memory: page tables, pages of zeros.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/sysinfo.h>

enum { kPage = 4096 };
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char* area(size_t count) {
    char* p = mmap(NULL, count * kPage, RW, ANON, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}

static long free_kib(void) {
    struct sysinfo s;
    NEED(sysinfo(&s) == 0);
    return (long)(s.freeram * s.mem_unit / 1024);
}

// A page in each 2 MiB of 80 GiB, one after the other: kept page tables would take 160 MiB.
static void touch_far(int rounds) {
    for (long i = 0; i < rounds; i++) {
        char* want = (char*)0x100000000000 + i * 0x200000;
        char* p = mmap(want, kPage, RW, ANON | MAP_FIXED, -1, 0);
        NEED(p == want);
        *p = 1;
        NEED(munmap(p, kPage) == 0);
    }
}
TEST(page_tables_of_unmapped_ranges) {
    touch_far(100);
    long before = free_kib();
    touch_far(40000);
    // The last ones may wait for other CPUs.
    long lost = LONG_MAX;
    for (int i = 0; i < 50 && lost > 4096; i++) {
        sleep_ms(10);
        lost = before - free_kib();
    }
    FACT("page tables are freed", lost <= 4096);
}

// Whole tables of one large range, a page touched in each, also when another area is left in the middle.
TEST(page_tables_of_a_large_range) {
    size_t size = 2ul << 30;
    long before = 0, lost = LONG_MAX;
    for (int round = 0; round < 3; round++) {
        char* p = mmap(NULL, size, RW, ANON | MAP_NORESERVE, -1, 0);
        NEED(p != MAP_FAILED);
        for (size_t at = 0; at < size; at += 0x200000) p[at] = 1;
        NEED(munmap(p, size / 2) == 0 && munmap(p + size / 2 + kPage, size / 2 - kPage) == 0);
        NEED(p[size / 2] == 1);
        NEED(munmap(p + size / 2, kPage) == 0);
        if (round == 0) sleep_ms(50), before = free_kib();
    }
    for (int i = 0; i < 50 && lost > 2048; i++) {
        sleep_ms(10);
        lost = before - free_kib();
    }
    FACT("page tables are freed", lost <= 2048);
}

TEST(reads_take_no_memory) {
    enum { kPages = 60000 };  // 234 MiB
    char* p = mmap(NULL, kPages * (size_t)kPage, RW, ANON | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    long before = free_kib(), sum = 0;
    for (size_t i = 0; i < kPages; i++) sum += p[i * kPage];
    SHOW(sum);
    FACT("little memory", before - free_kib() < 8192);
    unsigned char there[4];
    NEED(mincore(p, 4 * kPage, there) == 0);
    say("mincore %d%d%d%d\n", there[0] & 1, there[1] & 1, there[2] & 1, there[3] & 1);
    // What is written is one's own, here and in a child; the rest stays zero.
    p[kPage] = 5;
    CHILD("child") {
        say("%d %d %d\n", p[0], p[kPage], p[2 * kPage]);
        p[2 * kPage] = 6;
        say("%d\n", p[2 * kPage]);
        _exit(0);
    }
    say("%d %d %d\n", p[0], p[kPage], p[2 * kPage]);
    CALL(madvise(p, 4 * kPage, MADV_DONTNEED));
    say("%d %d\n", p[kPage], p[2 * kPage]);
    int zero = open("/dev/zero", O_RDONLY), fds[2];
    NEED(pipe(fds) == 0);
    // The kernel reads it, and writes to it.
    CALL(write(fds[1], p + 100 * kPage, 64));
    memset(p + 7 * kPage, 9, 64);
    CALL(read(fds[0], p + 7 * kPage, 64));
    SHOW(p[7 * kPage + 63]);
    CALL(read(zero, p + 101 * kPage, 64));
    CALL(mprotect(p, kPages * (size_t)kPage, PROT_READ));
    TOUCH_WRITE(p + 9 * kPage);
    CALL(mprotect(p, kPages * (size_t)kPage, RW));
    p[9 * kPage] = 3;
    char* to = mremap(p, 16 * kPage, 32 * kPage, MREMAP_MAYMOVE);
    NEED(to != MAP_FAILED);
    say("%d %d %d\n", to[8 * kPage], to[9 * kPage], to[20 * kPage]);
}

// A thread waits until another has written a page that it has read: it must see that write.
static char* volatile watched;
static void* watch(void* result) {
    *(volatile long*)result = watched[0];  // the page of zeros
    for (long n = 0; n < 2000000000 && watched[0] == 0; n++) {
    }
    *(volatile long*)result = watched[0];
    return NULL;
}
TEST(a_write_is_seen_where_zeros_were_read) {
    long seen = 0;
    for (int i = 0; i < 50; i++) {
        long value = -1;
        pthread_t other;
        watched = area(1);
        NEED(pthread_create(&other, NULL, watch, &value) == 0);
        while (*(volatile long*)&value < 0) sched_yield();
        watched[0] = 4;
        NEED(pthread_join(other, NULL) == 0);
        seen += value == 4;
        munmap(watched, kPage);
    }
    SHOW(seen);
}
