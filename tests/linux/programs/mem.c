// SPDX-License-Identifier: MIT
// Address spaces: mmap and its flags, munmap, mprotect, mremap, madvise, brk, the stack.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/sysinfo.h>

enum { kPage = 4096 };
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static char* map(size_t count, int rights, int flags) { return mmap(NULL, count * kPage, rights, flags, -1, 0); }
static char* area(size_t count) {
    char* p = map(count, RW, ANON);
    NEED(p != MAP_FAILED);
    return p;
}
// For calls that return an address: ok or the errno.
#define MAPS(expression)                                                                  \
    do {                                                                                  \
        errno = 0;                                                                        \
        void* result_ = (void*)(expression);                                              \
        say("%s -> %s\n", #expression, result_ == MAP_FAILED ? errno_name(errno) : "ok"); \
    } while (0)
// One letter a page: what is there.
static void layout(const char* p, int count) {
    char text[64];
    unsigned char vector;
    for (int i = 0; i < count; i++) text[i] = mincore((void*)(p + i * kPage), kPage, &vector) == 0 ? 'm' : '-';
    text[count] = 0;
    say("layout %s\n", text);
}

TEST(anonymous_is_zero) {
    char* p = area(64);
    long sum = 0;
    for (int i = 0; i < 64 * kPage; i += 64) sum += p[i];
    SHOW(sum);
    p[5 * kPage + 1] = 7;
    SHOW(p[5 * kPage + 1]);
    CALL(munmap(p, 64 * kPage));
    TOUCH_READ(p + 5 * kPage);
}

TEST(bad_arguments) {
    MAPS(mmap(NULL, 0, RW, ANON, -1, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_ANONYMOUS, -1, 0));
    MAPS(mmap(NULL, kPage, RW, ANON, -1, 100));
    MAPS(mmap(NULL, kPage, RW, MAP_PRIVATE, -1, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_PRIVATE, 99, 0));
    MAPS(mmap(NULL, (size_t)-1, RW, ANON, -1, 0));
    MAPS(mmap(NULL, (size_t)1 << 47, RW, ANON, -1, 0));
    MAPS(mmap(NULL, (size_t)-1 & ~4095ul, RW, ANON, -1, 0));
    MAPS(mmap((void*)0x7ffffffff000, kPage, RW, ANON | MAP_FIXED, -1, 0));
    MAPS(mmap((void*)0xffff800000000000, kPage, RW, ANON | MAP_FIXED, -1, 0));
    MAPS(mmap((void*)0x100000001, kPage, RW, ANON | MAP_FIXED, -1, 0));
    MAPS(mmap((void*)0x100000001, kPage, RW, ANON, -1, 0));
    MAPS(mmap(NULL, kPage, 0x100, ANON, -1, 0));
    MAPS(mmap(NULL, kPage, RW, ANON | 0x8000000, -1, 0));
    CALL(munmap((void*)1, kPage));
    CALL(munmap((void*)kPage, 0));
    CALL(munmap((void*)kPage, kPage));
    CALL(munmap((void*)0xffff800000000000, kPage));
    CALL(munmap((void*)0x7fffffff0000, (size_t)1 << 40));
    CALL(munmap((void*)kPage, (size_t)-1));
}

TEST(low_addresses) {
    MAPS(mmap((void*)0, kPage, RW, ANON | MAP_FIXED, -1, 0));
    CHILD("user") {
        NEED(setuid(1000) == 0);
        MAPS(mmap((void*)0, kPage, RW, ANON | MAP_FIXED, -1, 0));
        MAPS(mmap((void*)0x8000, kPage, RW, ANON | MAP_FIXED, -1, 0));
        MAPS(mmap((void*)0x10000, kPage, RW, ANON | MAP_FIXED, -1, 0));
    }
}

TEST(file_kinds) {
    make_file("f", "content", 0600);
    int r = open("f", O_RDONLY), w = open("f", O_WRONLY), rw = open("f", O_RDWR), p[2];
    NEED(pipe(p) == 0);
    MAPS(mmap(NULL, kPage, PROT_READ, MAP_SHARED, r, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED, r, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_PRIVATE, r, 0));
    MAPS(mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, w, 0));
    MAPS(mmap(NULL, kPage, PROT_WRITE, MAP_SHARED, w, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED, rw, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED, rw, -kPage));
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED, rw, kPage * 100));
    MAPS(mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, p[0], 0));
    MAPS(mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, open(".", O_RDONLY), 0));
    MAPS(mmap(NULL, kPage, RW, MAP_PRIVATE, open("/dev/zero", O_RDWR), 0));
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED, open("/dev/null", O_RDWR), 0));
    MAPS(mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, open("f", O_PATH), 0));
    char* q = mmap(NULL, kPage, PROT_READ, MAP_SHARED, r, 0);
    CALL(mprotect(q, kPage, RW));
    q = mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, r, 0);
    CALL(mprotect(q, kPage, RW));
    close(r);
    say("%.7s\n", q);
}

TEST(shared_file) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 3 * kPage) == 0);
    char* a = mmap(NULL, 3 * kPage, RW, MAP_SHARED, fd, 0);
    char* b = mmap(NULL, kPage, PROT_READ, MAP_SHARED, fd, kPage);
    strcpy(a + kPage, "written by the map");
    say("%s\n", b);
    char text[32] = "";
    NEED(pread(fd, text, 18, kPage) == 18);
    say("%s\n", text);
    NEED(pwrite(fd, "WRITE", 5, kPage) == 5);
    say("%s\n", b);
    CHILD("child") strcpy(a, "from the child");
    say("%s\n", a);
    CALL(msync(a, 3 * kPage, MS_SYNC));
    CALL(msync(a, kPage, MS_ASYNC | MS_SYNC));
    CALL(msync(a + 1, kPage, MS_SYNC));
    CALL(msync(a, kPage, 0x80));
    CALL(munmap(a, 3 * kPage));
    CALL(msync(a, kPage, MS_SYNC));
    close(fd);
    say("%s\n", b);
    show_file("f");
}

TEST(private_file) {
    make_file("f", "original", 0600);
    int fd = open("f", O_RDWR);
    char* a = mmap(NULL, kPage, RW, MAP_PRIVATE, fd, 0);
    char* b = mmap(NULL, kPage, RW, MAP_PRIVATE, fd, 0);
    say("%s %s\n", a, b);
    a[0] = 'X';
    NEED(pwrite(fd, "ABC", 3, 0) == 3);
    FACT("own copy", strncmp(a, "Xriginal", 8) == 0);
    FACT("unwritten map sees the file", strncmp(b, "ABCginal", 8) == 0);
    CHILD("child") a[1] = 'Y';
    say("%c%c\n", a[0], a[1]);
    show_file("f");
}

TEST(tail_of_last_page) {
    make_file("f", "abc", 0600);
    int fd = open("f", O_RDWR);
    char* p = mmap(NULL, kPage, RW, MAP_SHARED, fd, 0);
    SHOW(p[3] + p[kPage - 1]);
    p[10] = 'x';
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    SHOW(s.st_size);
    NEED(ftruncate(fd, 100) == 0);
    SHOW(p[10]);
}

TEST(copy_on_write_after_fork) {
    char* p = area(20);
    for (int i = 0; i < 20; i++) p[i * kPage] = (char)i;
    pid_t pid = fork();
    if (pid == 0) {
        int sum = 0;
        for (int i = 0; i < 20; i++) sum += p[i * kPage], p[i * kPage] = 100;
        say("child sum %d\n", sum);
        CHILD("grandchild") {
            int again = 0;
            for (int i = 0; i < 20; i++) again += p[i * kPage];
            say("grandchild sum %d\n", again);
        }
        _exit(0);
    }
    reap("child", pid);
    int sum = 0;
    for (int i = 0; i < 20; i++) sum += p[i * kPage];
    say("parent sum %d\n", sum);
}

TEST(kernel_writes_break_sharing) {
    // read(2) into memory shared copy-on-write must not show in the other process.
    char* p = area(2);
    memset(p, 'a', 2 * kPage);
    int zero = open("/dev/zero", O_RDONLY);
    CHILD("child") {
        CALL(read(zero, p + 100, kPage));
        say("child %d %d\n", p[99], p[100]);
    }
    say("parent %d %d\n", p[99], p[100]);
}

TEST(shared_anonymous) {
    char* p = map(2, RW, MAP_SHARED | MAP_ANONYMOUS);
    CHILD("child") strcpy(p + kPage, "seen");
    say("%s\n", p + kPage);
    CALL(mprotect(p, 2 * kPage, PROT_READ));
    CHILD("child") TOUCH_WRITE(p);
}

TEST(fixed_replaces) {
    char* p = area(5);
    memset(p, 1, 5 * kPage);
    MAPS(mmap(p + 2 * kPage, kPage, RW, ANON | MAP_FIXED, -1, 0));
    say("%d %d %d\n", p[2 * kPage - 1], p[2 * kPage], p[3 * kPage]);
    MAPS(mmap(p + kPage, 2 * kPage, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
    CALL(munmap(p + 3 * kPage, kPage));
    MAPS(mmap(p + 3 * kPage, kPage, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
    say("%d %d\n", p[3 * kPage], p[4 * kPage]);
    IS(mmap(p + kPage, kPage, RW, ANON, -1, 0) != p + kPage);
}

TEST(hint_is_taken) {
    char* p = area(4);
    NEED(munmap(p, 4 * kPage) == 0);
    IS(mmap(p, kPage, RW, ANON, -1, 0) == p);
    IS(mmap((void*)0x20000000, kPage, RW, ANON, -1, 0) == (void*)0x20000000);
}

TEST(unmap_splits) {
    char* p = area(10);
    memset(p, 1, 10 * kPage);
    CALL(munmap(p + 3 * kPage, 2 * kPage));
    layout(p, 10);
    CALL(munmap(p + 4 * kPage, 3 * kPage));
    layout(p, 10);
    CALL(munmap(p, kPage + 1));
    layout(p, 10);
    CALL(munmap(p, 10 * kPage));
    layout(p, 10);
    CALL(munmap(p, 10 * kPage));
}

TEST(protect_faults) {
    char* p = area(6);
    memset(p, 1, 6 * kPage);
    CALL(mprotect(p + kPage, kPage, PROT_READ));
    CALL(mprotect(p + 2 * kPage, kPage, PROT_NONE));
    for (int i = 0; i < 4; i++)
        say("page %d: read %s, write %s\n", i, touch(p + i * kPage, 0), touch(p + i * kPage, 1));
    CALL(mprotect(p, 6 * kPage, RW));
    say("kept %d %d %d\n", p[kPage], p[2 * kPage], p[3 * kPage]);
    CALL(mprotect(p, 6 * kPage, PROT_WRITE));
    TOUCH_READ(p);
    CALL(mprotect(p + 1, kPage, RW));
    CALL(mprotect(p, 0, RW));
    CALL(mprotect(p, kPage, 0x100));
    CALL(mprotect(p, (size_t)-1, RW));
    CALL(munmap(p + 3 * kPage, kPage));
    CALL(mprotect(p, 6 * kPage, PROT_READ));
    say("before the hole %s, after it %s\n", touch(p, 1), touch(p + 5 * kPage, 1));
    CALL(mprotect((void*)0x10000, kPage, RW));
    CALL(mprotect(p, kPage, PROT_READ | 0x01000000));
}

TEST(system_calls_see_protection) {
    char* p = area(2);
    NEED(mprotect(p + kPage, kPage, PROT_READ) == 0);
    int zero = open("/dev/zero", O_RDONLY), fd = open("f", O_RDWR | O_CREAT, 0600);
    CALL(read(zero, p + kPage, 10));
    CALL(write(fd, p + kPage, 10));
    NEED(mprotect(p + kPage, kPage, PROT_NONE) == 0);
    CALL(write(fd, p + kPage, 10));
    CALL(write(fd, p + kPage - 10, 20));
    CALL(pwrite(fd, p, 100, 0));
    CALL(pread(fd, p + kPage - 10, 20, 0));
}

TEST(remap) {
    char* p = area(4);
    for (int i = 0; i < 4; i++) p[i * kPage] = (char)('a' + i);
    char* q = mremap(p, 4 * kPage, 2 * kPage, 0);
    IS(q == p);
    layout(p, 4);
    q = mremap(p, 2 * kPage, 16 * kPage, MREMAP_MAYMOVE);
    NEED(q != MAP_FAILED);
    say("%c %c %d\n", q[0], q[kPage], q[15 * kPage]);
    p = area(8);
    p[0] = 'p';
    MAPS(mmap(p + 4 * kPage, kPage, PROT_NONE, ANON | MAP_FIXED, -1, 0));
    MAPS(mremap(p, 4 * kPage, 5 * kPage, 0));
    char* target = area(6);
    target[5 * kPage] = 't';
    IS(mremap(p, 2 * kPage, 3 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
    say("%c %d %c\n", target[0], target[2 * kPage], target[5 * kPage]);
    layout(p, 4);
    MAPS(mremap(p + 1, kPage, kPage, 0));
    MAPS(mremap(target, kPage, 0, MREMAP_MAYMOVE));
    MAPS(mremap(target, kPage, 2 * kPage, MREMAP_FIXED, p));
    MAPS(mremap(target, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target + kPage));
    MAPS(mremap((void*)0x10000, kPage, 2 * kPage, MREMAP_MAYMOVE));
    MAPS(mremap(target, kPage, (size_t)1 << 47, MREMAP_MAYMOVE));
    MAPS(mremap(target, kPage, 2 * kPage, 0x80));
    MAPS(mremap(target, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target + 1));
}

TEST(remap_shared_copy) {
    char* p = map(1, RW, MAP_SHARED | MAP_ANONYMOUS);
    strcpy(p, "same");
    char* q = mremap(p, 0, kPage, MREMAP_MAYMOVE);
    NEED(q != MAP_FAILED);
    q[0] = 'S';
    say("%s %d\n", p, q != p);
    MAPS(mremap(area(1), 0, kPage, MREMAP_MAYMOVE));
}

TEST(advice) {
    char* p = area(4);
    memset(p, 5, 4 * kPage);
    CALL(madvise(p + kPage, kPage, MADV_DONTNEED));
    say("%d %d %d\n", p[0], p[kPage], p[2 * kPage]);
    CALL(madvise(p + 1, kPage, MADV_DONTNEED));
    CALL(madvise(p, 0, MADV_DONTNEED));
    CALL(madvise(p, kPage, 9999));
    CALL(madvise(p, kPage, MADV_NORMAL));
    CALL(madvise(p, kPage, MADV_WILLNEED));
    CALL(madvise(p, kPage, MADV_FREE));
    NEED(munmap(p + 2 * kPage, kPage) == 0);
    memset(p, 5, 2 * kPage);
    CALL(madvise(p, 4 * kPage, MADV_DONTNEED));
    say("%d %d\n", p[0], p[3 * kPage]);
    make_file("f", "file", 0600);
    char* q = mmap(NULL, kPage, RW, MAP_PRIVATE, open("f", O_RDONLY), 0);
    q[0] = 'X';
    CALL(madvise(q, kPage, MADV_DONTNEED));
    say("%s\n", q);
    char* s = map(1, RW, MAP_SHARED | MAP_ANONYMOUS);
    s[0] = 9;
    CALL(madvise(s, kPage, MADV_DONTNEED));
    SHOW(s[0]);
    CALL(madvise(s, kPage, MADV_DONTFORK));
    CHILD("after MADV_DONTFORK") TOUCH_READ(s);
    memset(p, 7, kPage);
    CALL(madvise(p, kPage, MADV_WIPEONFORK));
    CHILD("after MADV_WIPEONFORK") SHOW(p[0]);
}

TEST(in_core) {
    char* p = area(4);
    unsigned char vector[4] = {9, 9, 9, 9};
    p[kPage] = 1;
    CALL(mincore(p, 4 * kPage, vector));
    say("%d %d %d %d\n", vector[0] & 1, vector[1] & 1, vector[2] & 1, vector[3] & 1);
    CALL(mincore(p + 1, kPage, vector));
    CALL(mincore((void*)0x10000, kPage, vector));
    CALL(mincore(p, kPage, NULL));
    CALL(mincore(p, 0, vector));
    CALL(mincore(p, (size_t)-1, vector));
}

// Which pages of a file are in memory only its owner is told, and who may write it.
static void show_in_core(const char* who, uid_t user, const char* path, int flags) {
    int fd = open(path, flags);
    NEED(fd >= 0);
    CHILD(who) {
        NEED(setgid(user) == 0 && setuid(user) == 0);
        char* p = mmap(NULL, 4 * kPage, PROT_READ, MAP_SHARED, fd, 0);
        char* own = mmap(NULL, 4 * kPage, RW, MAP_PRIVATE, fd, 0);
        NEED(p != MAP_FAILED && own != MAP_FAILED);
        own[0] = 1;
        unsigned char shared[4], private[4];
        NEED(mincore(p, 4 * kPage, shared) == 0 && mincore(own, 4 * kPage, private) == 0);
        for (int i = 0; i < 4; i++) say("%d%d ", shared[i] & 1, private[i] & 1);
    }
    close(fd);
}
TEST(in_core_of_others_files) {
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 4 * kPage) == 0 && pwrite(fd, "x", 1, kPage) == 1);
    show_in_core("root", 0, "file", O_RDONLY);
    NEED(fchmod(fd, 0644) == 0);
    show_in_core("a reader", 1000, "file", O_RDONLY);
    show_in_core("a reader with a descriptor for writing", 1000, "file", O_RDWR);
    NEED(fchmod(fd, 0646) == 0);
    show_in_core("one who may write", 1000, "file", O_RDONLY);
    NEED(fchmod(fd, 0444) == 0 && fchown(fd, 1000, 1000) == 0);
    show_in_core("the owner", 1000, "file", O_RDONLY);
    NEED(fchown(fd, 1001, 1000) == 0 && fchmod(fd, 0464) == 0);
    show_in_core("the group", 1000, "file", O_RDONLY);
    NEED(fchown(fd, 1001, 1001) == 0);
    show_in_core("another", 1000, "file", O_RDONLY);
}

TEST(locking) {
    char* p = area(4);
    CALL(mlock(p, 2 * kPage));
    unsigned char vector[4] = {0};
    NEED(mincore(p, 4 * kPage, vector) == 0);
    say("%d %d %d\n", vector[0] & 1, vector[1] & 1, vector[2] & 1);
    CALL(munlock(p, 2 * kPage));
    CALL(mlock((void*)0x10000, kPage));
    CALL(munlock((void*)0x10000, kPage));
    CALL(mlockall(0));
    CALL(mlockall(8));
    CALL(munlockall());
    CALL(mlockall(MCL_FUTURE));
    char* future = area(1);
    CALL(munlockall());
    char* later = area(1);
    NEED(mincore(future, kPage, vector) == 0 && mincore(later, kPage, vector + 1) == 0);
    say("mapped while all is locked %d, afterwards %d\n", vector[0] & 1, vector[1] & 1);
    CALL(mlockall(MCL_CURRENT));
    CALL(munlockall());
    CALL(syscall(SYS_mlock2, p + 2 * kPage, kPage, 0));
    NEED(mincore(p, 4 * kPage, vector) == 0);
    SHOW(vector[2] & 1);
    CALL(syscall(SYS_mlock2, p, kPage, 77));
    char* q = mmap(NULL, 4 * kPage, RW, ANON | MAP_POPULATE, -1, 0);
    NEED(mincore(q, 4 * kPage, vector) == 0);
    say("populated %d %d\n", vector[0] & 1, vector[3] & 1);
}

TEST(program_break) {
    char* start = (char*)syscall(SYS_brk, 0);
    IS(syscall(SYS_brk, 0) == (long)start);
    IS(syscall(SYS_brk, start + 100000) == (long)(start + 100000));
    SHOW(start[99999]);
    start[99999] = 1;
    TOUCH_WRITE(start + 100000 + 2 * kPage);
    IS(syscall(SYS_brk, start + 50000) == (long)(start + 50000));
    TOUCH_READ(start + 99999);
    IS(syscall(SYS_brk, start + 100000) == (long)(start + 100000));
    SHOW(start[99999]);
    IS(syscall(SYS_brk, 1) == (long)(start + 100000));
    IS(syscall(SYS_brk, 0xffff800000000000) == (long)(start + 100000));
    NEED(setrlimit(RLIMIT_DATA, &(struct rlimit){200000, 200000}) == 0);
    IS(syscall(SYS_brk, start + 10000000) == (long)(start + 100000));
    IS(syscall(SYS_brk, start) == (long)start);
}

TEST(address_space_limit) {
    CHILD("child") {
        NEED(setrlimit(RLIMIT_AS, &(struct rlimit){64 << 20, 64 << 20}) == 0);
        MAPS(mmap(NULL, 32 << 20, RW, ANON, -1, 0));
        MAPS(mmap(NULL, 128 << 20, RW, ANON, -1, 0));
        MAPS(mmap(NULL, 32 << 20, PROT_NONE, ANON, -1, 0));
    }
}

TEST(huge_reservations) {
    // More than the machine has: without access it costs nothing.
    char* p = mmap(NULL, (size_t)1 << 40, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    IS(p != MAP_FAILED);
    CALL(mprotect(p + ((size_t)1 << 39), kPage, RW));
    p[(size_t)1 << 39] = 1;
    CALL(munmap(p, (size_t)1 << 40));
    MAPS(mmap(NULL, (size_t)1 << 46, RW, ANON, -1, 0));
}

TEST(many_mappings) {
    int good = 0;
    char* p = area(2000);
    for (int i = 0; i < 2000; i += 2) good += mprotect(p + (size_t)i * kPage, kPage, PROT_READ) == 0;
    SHOW(good);
    for (int i = 0; i < 2000; i += 2) good += munmap(p + (size_t)i * kPage, kPage) == 0;
    SHOW(good);
    p[kPage] = 1, p[1999 * kPage] = 1;
    CHILD("child") {
        SHOW(p[kPage] + p[1999 * kPage]);
        TOUCH_READ(p + 1000 * kPage);
    }
}

static int deep(int levels) {
    volatile char frame[1024];
    frame[0] = (char)levels;
    return levels ? deep(levels - 1) + frame[0] : 0;
}
TEST(stack_grows) {
    FACT("4 MiB deep", deep(4000) != 12345);
    CHILD("beyond the limit") {
        NEED(setrlimit(RLIMIT_STACK, &(struct rlimit){1 << 20, 1 << 20}) == 0);
        say("%d\n", deep(20000));
    }
}

TEST(stack_is_not_executable) {
    CHILD("child") {
        volatile unsigned char code[16] __attribute__((aligned(16))) = {0xc3};
        ((void (*)(void))(uintptr_t)code)();
    }
}

TEST(grows_down) {
    char* p = area(64);
    NEED(munmap(p, 64 * kPage) == 0);
    char* g = mmap(p + 60 * kPage, kPage, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    NEED(g == p + 60 * kPage);
    TOUCH_WRITE(g - 1);
    TOUCH_WRITE(g - 5 * kPage);
    TOUCH_WRITE(g + kPage);
}

TEST(proc_maps_agree) {
    char* p = mmap((void*)0x30000000, 3 * kPage, RW, ANON | MAP_FIXED, -1, 0);
    NEED(mprotect(p + kPage, kPage, PROT_READ) == 0);
    CALL(system("/bin/busybox grep '^3000' /proc/$PPID/maps | /bin/busybox cut -c1-45 | /bin/busybox sed 's/ *$//'"));
}

TEST(private_copies_end_with_the_file) {
    for (int way = 0; way < 3; way++) {
        int fd = memfd_create("f", 0);
        NEED(ftruncate(fd, 4 * kPage) == 0 && pwrite(fd, "abcd", 4, kPage) == 4 &&
             pwrite(fd, "wxyz", 4, 2 * kPage) == 4);
        char* p = mmap(NULL, 4 * kPage, RW, MAP_PRIVATE, fd, 0);
        NEED(p != MAP_FAILED);
        p[0] = 'P', p[kPage] = 'Q', p[2 * kPage] = 'R';
        if (way == 1) {  // in two pieces, one moved, one without rights
            NEED(mprotect(p + kPage, kPage, PROT_READ) == 0);
            char* to = area(2);
            NEED(mremap(p + 2 * kPage, 2 * kPage, 2 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
            CALL(ftruncate(fd, kPage + 2));
            TOUCH_READ(to);
            CALL(ftruncate(fd, 4 * kPage));
            say("%d %d %d\n", p[0], p[kPage], to[0]);
        } else if (way == 0) {
            CALL(ftruncate(fd, kPage));
            TOUCH_READ(p + kPage);
            CALL(ftruncate(fd, 4 * kPage));
            say("%d %d %d\n", p[0], p[kPage], p[2 * kPage]);
        } else {  // a hole takes the file's pages alone
            CALL(fallocate(fd, 3, kPage, kPage));
            say("%d %d %d\n", p[0], p[kPage], p[2 * kPage]);
        }
        CHILD("child") { say("%d %d\n", p[0], p[kPage]), _exit(0); }
        close(fd);
    }
}

TEST(addresses_of_32_bits) {
    enum { kMap32 = 0x40 };
    for (int i = 0; i < 3; i++) {
        unsigned long at = (unsigned long)mmap(NULL, kPage, RW, ANON | kMap32, -1, 0);
        FACT("between 1 and 2 GiB", at >= 0x40000000 && at < 0x80000000);
    }
    say("%lx\n", (unsigned long)mmap((void*)0x50000000, kPage, RW, ANON | kMap32, -1, 0));
    FACT("taken", (unsigned long)mmap((void*)0x50000000, kPage, RW, ANON | kMap32, -1, 0) < 0x80000000);
    FACT("too high", (unsigned long)mmap((void*)0x90000000, kPage, RW, ANON | kMap32, -1, 0) < 0x80000000);
    MAPS(mmap(NULL, 0x3ff00000, PROT_NONE, ANON | kMap32, -1, 0));
    MAPS(mmap(NULL, 0x80000001, PROT_NONE, ANON | kMap32, -1, 0));
    int fd = open("f", O_RDWR | O_CREAT, 0644);
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED_VALIDATE | 0x80000, fd, 0));
    MAPS(mmap(NULL, kPage, RW, MAP_SHARED | 0x80000, fd, 0));
}

TEST(data_limit_in_mprotect) {
    char* p = map(1024, PROT_READ, ANON);
    NEED(p != MAP_FAILED);
    struct rlimit old, limit;
    NEED(getrlimit(RLIMIT_DATA, &old) == 0);
    limit = old, limit.rlim_cur = 1 << 20;
    NEED(setrlimit(RLIMIT_DATA, &limit) == 0);
    CALL(mprotect(p, 1024 * kPage, RW));
    CALL(mprotect(p, 1024 * kPage, PROT_READ | PROT_EXEC));
    CALL(mprotect(p, 4 * kPage, RW));
    MAPS(map(1024, RW, ANON));
    CALL(setrlimit(RLIMIT_DATA, &old));
    CALL(mprotect(p, 1024 * kPage, RW));
}

TEST(moved_up_to_a_stack) {
    char* g = mmap((void*)0x10000000, kPage, RW, ANON | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    NEED(g != MAP_FAILED);
    char* p = mmap((void*)(0x10000000 - 4 * kPage), kPage, RW, ANON | MAP_FIXED, -1, 0);
    NEED(p != MAP_FAILED);
    MAPS(mremap(p, kPage, 2 * kPage, 0));
    MAPS(mremap(p, 2 * kPage, 4 * kPage, 0));
    MAPS(mremap(p, 4 * kPage, 5 * kPage, 0));
}
