// SPDX-License-Identifier: MIT
// What address spaces take of memory: page tables, pages of zeros.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
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

// A range whose page table was freed, and may be another range's now, is used again by calls that copy there.
TEST(page_tables_are_made_anew) {
    enum { kOthers = 24 };
    char* const base = (char*)0x200000000000;
    int fd = memfd_create("pattern", 0);
    NEED(ftruncate(fd, kPage) == 0);
    long wrong = 0;
    for (int round = 1; round < 200; round++) {
        char pattern[64], *others[kOthers];
        memset(pattern, round, sizeof pattern);
        NEED(pwrite(fd, pattern, sizeof pattern, 0) == sizeof pattern);
        char* p = mmap(base, kPage, RW, ANON | MAP_FIXED, -1, 0);
        NEED(p == base && pread(fd, p, sizeof pattern, 0) == sizeof pattern);
        wrong += memcmp(p, pattern, sizeof pattern) != 0;
        NEED(munmap(p, kPage) == 0);
        touch_far(100);  // a few tables without areas are kept
        for (int i = 0; i < kOthers; i++) {
            char* want = base + (i * 4l + 1) * 0x200000;
            others[i] = mmap(want, kPage, RW, ANON | MAP_FIXED, -1, 0);
            NEED(others[i] == want);
            memset(want, 200 + i, sizeof pattern);
        }
        p = mmap(base, kPage, RW, ANON | MAP_FIXED, -1, 0);
        NEED(p == base && pread(fd, p, sizeof pattern, 0) == sizeof pattern);
        wrong += memcmp(p, pattern, sizeof pattern) != 0;
        NEED(munmap(p, kPage) == 0);
        for (int i = 0; i < kOthers; i++) {
            for (size_t at = 0; at < sizeof pattern; at++) wrong += (unsigned char)others[i][at] != 200 + i;
            NEED(munmap(others[i], kPage) == 0);
        }
    }
    SHOW(wrong);
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

// ---- Limits and accounts ----

static long status_field(const char* name) {
    char text[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = 0;
    char* at = strstr(text, name);
    return at ? atol(at + strlen(name)) : -1;
}
static void set_limit(int which, unsigned long mib) {
    struct rlimit l = {mib << 20, mib << 20};
    NEED(setrlimit(which, &l) == 0);
}
// Moves with MREMAP_DONTUNMAP until it fails.
static int moves_that_keep(size_t bytes) {
    char* p = mmap(NULL, bytes, RW, ANON, -1, 0);
    int n = 0;
    for (; p != MAP_FAILED && n < 50; n++) {
        p = mremap(p, bytes, bytes, MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */, NULL);
        if (p == MAP_FAILED) break;
    }
    return n;
}
TEST(moves_that_keep_count_twice) {
    CHILD("address space") {
        set_limit(RLIMIT_AS, 64);
        say("%d moves\n", moves_that_keep(16 << 20));
    }
    CHILD("data") {
        set_limit(RLIMIT_DATA, 32);
        say("%d moves\n", moves_that_keep(16 << 20));
    }
}
TEST(locked_pages_are_counted_once) {
    char* p = mmap(NULL, 1 << 20, RW, ANON, -1, 0);
    CALL(mlock(p, 1 << 20));
    say("locked %ld\n", status_field("VmLck:"));
    char* q = mremap(p, 1 << 20, 1 << 20, MREMAP_MAYMOVE | 4, NULL);
    NEED(q != MAP_FAILED);
    say("after a move that keeps %ld\n", status_field("VmLck:"));
    CALL(munmap(p, 1 << 20));
    CALL(munmap(q, 1 << 20));
    say("after both have gone %ld\n", status_field("VmLck:"));
    CHILD("limit") {
        set_limit(RLIMIT_MEMLOCK, 8);
        NEED(setuid(1000) == 0);
        char* area = mmap(NULL, 10 << 20, RW, ANON, -1, 0);
        CALL(mlock(area, 6 << 20));
        CALL(mlock(area, 6 << 20));
        CALL(mlock(area, 9 << 20));
        CALL(mlock(area + (5 << 20), 3 << 20));
        CALL(mlock(area + (5 << 20), 4 << 20));
        say("locked %ld\n", status_field("VmLck:"));
    }
    CHILD("break") {
        set_limit(RLIMIT_MEMLOCK, 8);
        NEED(setuid(1000) == 0);
        CALL(mlockall(MCL_FUTURE));
        char* now = sbrk(0);
        CALL(brk(now + (32 << 20)));
    }
}
TEST(no_code_from_noexec_mounts) {
    NEED(mkdir("m", 0755) == 0);
    NEED(mount("t", "m", "tmpfs", MS_NOEXEC, "size=1m") == 0);
    int fd = open("m/file", O_RDWR | O_CREAT, 0755);
    NEED(ftruncate(fd, kPage) == 0);
    CALL(mmap(NULL, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED ? 0 : -1);
    CALL(mmap(NULL, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) != MAP_FAILED ? 0 : -1);
    char* p = mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, fd, 0);
    NEED(p != MAP_FAILED);
    CALL(mprotect(p, kPage, PROT_READ | PROT_EXEC));
    CALL(mprotect(p, kPage, PROT_READ | PROT_WRITE));
    close(fd);
    NEED(munmap(p, kPage) == 0);
    CALL(umount("m"));
}
TEST(names_and_links_count_in_a_tmpfs) {
    NEED(mkdir("m", 0755) == 0);
    NEED(mount("t", "m", "tmpfs", 0, "nr_inodes=50,size=64k") == 0);
    int fd = open("m/file", O_RDWR | O_CREAT, 0644);
    char name[64], text[3000];
    int links = 0, texts = 0, short_ones = 0;
    for (;; links++) {
        sprintf(name, "m/link%d", links);
        if (link("m/file", name) != 0) break;
    }
    say("%d links, then %s\n", links, errno_name(errno));
    for (int i = 0; i < 10; i++) {
        sprintf(name, "m/link%d", i);
        NEED(unlink(name) == 0);
    }
    NEED(rename("m/link20", "m/link21") == 0);  // two names of one file: nothing happens
    NEED(open("m/other", O_RDWR | O_CREAT, 0644) >= 0);
    NEED(rename("m/other", "m/link22") == 0);
    for (links = 0;; links++) {
        sprintf(name, "m/again%d", links);
        if (link("m/file", name) != 0) break;
    }
    say("%d links, then %s\n", links, errno_name(errno));
    close(fd);
    CALL(umount2("m", MNT_DETACH));
    NEED(mount("t", "m", "tmpfs", 0, "nr_inodes=500,size=64k") == 0);
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    for (;; texts++) {
        sprintf(name, "m/text%d", texts);
        if (symlink(text, name) != 0) break;
    }
    say("%d long links, then %s\n", texts, errno_name(errno));
    text[100] = 0;
    for (; short_ones < 100; short_ones++) {
        sprintf(name, "m/short%d", short_ones);
        if (symlink(text, name) != 0) break;
    }
    say("%d short links\n", short_ones);
    CALL(unlink("m/text0"));
    text[100] = 'x';
    CALL(symlink(text, "m/one"));
    CALL(symlink(text, "m/two"));
    CALL(umount("m"));
}

// msync(2) over many areas is done in pieces.
TEST(synchronising_many_areas) {
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    enum { kAreas = 600 };
    NEED(ftruncate(fd, kPage) == 0);
    char* all = mmap(NULL, 2 * kAreas * kPage, PROT_NONE, ANON, -1, 0);
    for (int i = 0; i < kAreas; i++)
        NEED(mmap(all + i * kPage, kPage, RW, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED);
    CALL(msync(all, kAreas * kPage, MS_SYNC));
    CALL(msync(all, kAreas * kPage, MS_ASYNC | MS_SYNC));
    CALL(msync(all, kAreas * kPage, MS_SYNC | MS_INVALIDATE));
    CALL(mlock(all + 500 * kPage, kPage));
    CALL(msync(all, kAreas * kPage, MS_SYNC | MS_INVALIDATE));
    CALL(munmap(all + 100 * kPage, kPage));
    CALL(msync(all, kAreas * kPage, MS_SYNC));
    CALL(msync(all, kAreas * kPage, MS_SYNC | MS_INVALIDATE));
    CALL(msync(all + 1, kPage, MS_SYNC));
    CALL(msync(all, ~0ul - 100, MS_SYNC));
}
HELPER(show_command_line) {
    int fd = open("/proc/self/cmdline", O_RDONLY);
    static char got[300000];
    size_t size = 0;
    for (ssize_t n; (n = read(fd, got + size, 5000)) > 0;) size += (size_t)n;
    unsigned sum = 0;
    for (size_t i = 0; i < size; i++) sum = sum * 31 + (unsigned char)got[i];
    say("%zu bytes, sum %x\n", size, sum);
    ssize_t n = pread(fd, got, 20, 100000);
    say("%zd at 100000: %.5s\n", n, got);
    say("%zd at the end\n", pread(fd, got, 20, (off_t)size));
}
// Long argument lists are shown in pieces.
TEST(long_command_lines) {
    static char* arguments[3002];
    static char first[] = "/tests/mem_use";
    arguments[0] = first;
    static char show[] = "show_command_line";
    arguments[1] = show;
    static char text[60];
    memset(text, 'a', sizeof text - 1);
    for (int i = 2; i < 3001; i++) arguments[i] = text;
    fflush(stdout);
    execv(first, arguments);
    CALL(-1);
}
