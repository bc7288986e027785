// SPDX-License-Identifier: MIT
// Block devices: /dev/vda, 8 MiB, and /dev/vdb, 1 MiB and read-only. Each sector began as the line `sector N` and zeros;
// tests read what no test writes above sector 8192 (4 MiB), and write below, each in a MiB or a part of one of its own.
#include "check.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#define DISK "/dev/vda"
#define READ_ONLY "/dev/vdb"
enum { kSize = 8 << 20, kSector = 512 };
#define KIB(n) ((off_t)(n) << 10)

static int disk(int flags) {
    int fd = open(DISK, flags);
    NEED(fd >= 0);
    return fd;
}
static char* pages(size_t size) {
    char* memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(memory != MAP_FAILED);
    return memory;
}
static void show_line(const char* text) { say("'%.*s'\n", (int)strcspn(text, "\n"), text); }

TEST(node) {
    struct stat s;
    for (const char** name = (const char*[]){DISK, READ_ONLY, NULL}; *name; ++name) {
        NEED(stat(*name, &s) == 0);
        say("%s: mode %o, %u:%u, size %ld, blocks %ld of %ld\n", *name, s.st_mode, major(s.st_rdev), minor(s.st_rdev),
            (long)s.st_size, (long)s.st_blocks, (long)s.st_blksize);
    }
    int fd = disk(O_RDONLY);
    NEED(fstat(fd, &s) == 0);
    SHOW(s.st_mode);
    CALL(open(DISK, O_RDONLY | O_DIRECTORY));
    CALL(open(DISK "/x", O_RDONLY));
    CALL(mknod("again", S_IFBLK | 0600, s.st_rdev));
    char line[16] = "";
    int again = open("again", O_RDONLY);
    CALL(pread(again, line, 10, KIB(4096)));
    show_line(line);
    CALL(mknod("none", S_IFBLK | 0600, makedev(major(s.st_rdev), 240)));
    CALL(open("none", O_RDONLY));
    CALL(mknod("other", S_IFBLK | 0600, makedev(201, 0)));
    CALL(open("other", O_RDONLY));
}

TEST(what_it_is) {
    int fd = disk(O_RDWR), other = open(READ_ONLY, O_RDONLY);
    uint64_t bytes = 0;
    unsigned long sectors = 0;
    int value = -1;
    unsigned word = 77;
    CALL(ioctl(fd, BLKGETSIZE64, &bytes));
    SHOW(bytes);
    CALL(ioctl(other, BLKGETSIZE64, &bytes));
    SHOW(bytes);
    CALL(ioctl(fd, BLKGETSIZE, &sectors));
    SHOW(sectors);
    CALL(ioctl(fd, BLKSSZGET, &value));
    SHOW(value);
    CALL(ioctl(fd, BLKBSZGET, &value));
    SHOW(value);
    CALL(ioctl(fd, BLKPBSZGET, &word));
    SHOW(word);
    CALL(ioctl(fd, BLKIOMIN, &word));
    SHOW(word);
    CALL(ioctl(fd, BLKALIGNOFF, &word));
    SHOW(word);
    CALL(ioctl(fd, BLKDISCARDZEROES, &word));
    SHOW(word);
    CALL(ioctl(fd, BLKROGET, &value));
    SHOW(value);
    CALL(ioctl(other, BLKROGET, &value));
    SHOW(value);
    CALL(ioctl(fd, BLKFLSBUF, 0));
    CALL(ioctl(fd, BLKGETSIZE64, (void*)8));
    CALL(ioctl(fd, BLKSSZGET, NULL));
    CALL(ioctl(fd, 0x12ff, &value));
    int file = open("f", O_RDWR | O_CREAT, 0600), null = open("/dev/null", O_RDWR);
    CALL(ioctl(file, BLKGETSIZE64, &bytes));
    CALL(ioctl(null, BLKGETSIZE64, &bytes));
}

TEST(reading) {
    int fd = disk(O_RDONLY);
    char* bytes = pages(1 << 20);
    CALL(pread(fd, bytes, 12, KIB(5000)));
    show_line(bytes);
    CALL(pread(fd, bytes, 3000, KIB(5000) - 10));
    show_line(bytes + 10);
    show_line(bytes + 10 + 4 * kSector);
    SHOW(bytes[9]);
    CALL(lseek(fd, KIB(6000), SEEK_SET) == KIB(6000));
    CALL(read(fd, bytes, 1 << 20));
    show_line(bytes);
    show_line(bytes + (1 << 20) - kSector);
    CALL(read(fd, bytes, 20));
    show_line(bytes);
    CALL(lseek(fd, 0, SEEK_CUR) == KIB(6000) + (1 << 20) + 20);
    CALL(read(fd, bytes, 0));
    CALL(pread(fd, bytes, 4096, kSize - 100));
    CALL(pread(fd, bytes, 4096, kSize));
    CALL(pread(fd, bytes, 4096, kSize + 5));
    CALL(pread(fd, bytes, 0, kSize + 5));
    CALL(pread(fd, bytes, 4096, -1));
    CALL(write(fd, bytes, 1));
    struct iovec parts[3] = {{bytes, 5}, {bytes + 100, 600}, {bytes + 1000, 7}};
    CALL(preadv(fd, parts, 3, KIB(7000)));
    say("'%.5s' '%.5s'\n", bytes, bytes + 100);
    show_line(bytes + 100 + kSector - 5);
}

TEST(seeking) {
    int fd = disk(O_RDONLY);
    CALL(lseek(fd, 0, SEEK_END));
    CALL(lseek(fd, 1, SEEK_END));
    CALL(lseek(fd, -1, SEEK_END));
    CALL(lseek(fd, -kSize - 1, SEEK_END));
    CALL(lseek(fd, kSize, SEEK_SET));
    CALL(lseek(fd, kSize + 1, SEEK_SET));
    CALL(lseek(fd, -1, SEEK_SET));
    CALL(lseek(fd, 10, SEEK_SET));
    CALL(lseek(fd, -11, SEEK_CUR));
    CALL(lseek(fd, 5, SEEK_CUR));
    CALL(lseek(fd, INT64_MAX, SEEK_CUR));
    CALL(lseek(fd, 0, SEEK_DATA));
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(lseek(fd, 0, 9));
}

// Parts of blocks, whole ones, many; what lies around stays.
TEST(writing) {
    int fd = disk(O_RDWR);
    static char out[300000], in[300000];
    for (size_t i = 0; i < sizeof out; ++i) out[i] = (char)(i * 31 + i / 256);
    static const struct {
        off_t at;
        size_t size;
    } cases[] = {{1024, 512},  {1100, 1},       {1500, 600},         {1536, 1024},
                 {3001, 5000}, {20000, 131072}, {200001, 300000 - 7}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        char before[8], after[8], now[8];
        NEED(pread(fd, before, 8, cases[i].at - 8) == 8);
        NEED(pread(fd, after, 8, cases[i].at + (off_t)cases[i].size) == 8);
        say("%ld bytes at %ld: %ld\n", (long)cases[i].size, (long)cases[i].at,
            (long)pwrite(fd, out, cases[i].size, cases[i].at));
        NEED(pread(fd, in, cases[i].size, cases[i].at) == (ssize_t)cases[i].size);
        FACT("  they are there", memcmp(in, out, cases[i].size) == 0);
        NEED(pread(fd, now, 8, cases[i].at - 8) == 8);
        FACT("  what lies before stays", memcmp(now, before, 8) == 0);
        NEED(pread(fd, now, 8, cases[i].at + (off_t)cases[i].size) == 8);
        FACT("  what lies after stays", memcmp(now, after, 8) == 0);
    }
    CALL(lseek(fd, KIB(600), SEEK_SET));
    CALL(write(fd, "one\n", 4));
    CALL(write(fd, "two\n", 4));
    CALL(lseek(fd, 0, SEEK_CUR));
    int other = disk(O_RDONLY);
    CALL(pread(other, in, 8, KIB(600)));
    say("%.8s", in);
    struct iovec parts[2] = {{"three\n", 6}, {"four\n", 5}};
    CALL(pwritev(fd, parts, 2, KIB(600) + 600));
    CALL(pread(other, in, 11, KIB(600) + 600));
    say("%.11s", in);
}

TEST(writing_at_the_end) {
    int fd = disk(O_RDWR);
    static char bytes[8192];
    CALL(pwrite(fd, bytes, 512, kSize - 512));
    CALL(pwrite(fd, bytes, 8192, kSize - 100));
    CALL(pwrite(fd, bytes, 8192, kSize));
    CALL(pwrite(fd, bytes, 1, kSize + 1));
    CALL(pwrite(fd, bytes, 0, kSize + 1));
    CALL(lseek(fd, -10, SEEK_END));
    CALL(write(fd, bytes, 20));
    CALL(write(fd, bytes, 20));
    int append = disk(O_RDWR | O_APPEND);
    CALL(pwrite(append, bytes, 10, KIB(700)));
    CALL(lseek(append, KIB(700), SEEK_SET) == KIB(700));
    CALL(write(append, bytes, 10));
    CALL(lseek(append, 0, SEEK_CUR) - KIB(700));
    CALL(ftruncate(fd, 0));
    CALL(truncate(DISK, 0));
    CALL(close(open(DISK, O_RDWR | O_TRUNC)));
    CALL(lseek(fd, 0, SEEK_END));
    CALL(fallocate(fd, 0, 0, 4096));
    CALL(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
}

TEST(read_only) {
    int fd = open(READ_ONLY, O_RDWR);
    SHOW(fd >= 0);
    char line[16] = "";
    CALL(pread(fd, line, 10, 512 * 1000));
    show_line(line);
    CALL(pwrite(fd, "x", 1, 0));
    CALL(pwrite(fd, "x", 0, 0));
    CALL(pwrite(fd, "x", 1, 1 << 20));
    CALL(fsync(fd));
    fd = open(READ_ONLY, O_RDONLY);
    CALL(pwrite(fd, "x", 1, 0));
    uint64_t range[2] = {0, 4096};
    CALL(ioctl(fd, BLKDISCARD, range));
}

TEST(direct) {
    int fd = disk(O_RDWR | O_DIRECT);
    char* bytes = pages(1 << 20);
    memset(bytes, 'd', 8192);
    CALL(pwrite(fd, bytes, 4096, KIB(1024)));
    CALL(pread(fd, bytes + 8192, 4096, KIB(1024)));
    FACT("the same", memcmp(bytes, bytes + 8192, 4096) == 0);
    CALL(pread(fd, bytes, 512, KIB(5000)));
    show_line(bytes);
    CALL(pread(fd, bytes, 100, KIB(5000)));
    CALL(pread(fd, bytes, 513, KIB(5000)));
    CALL(pread(fd, bytes, 512, KIB(5000) + 1));
    CALL(pread(fd, bytes + 1, 512, KIB(5000)));
    CALL(pread(fd, bytes + 256, 512, KIB(5000)));
    CALL(pread(fd, bytes + 512, 512, KIB(5000)));
    CALL(pwrite(fd, bytes + 8, 512, KIB(1024)));
    CALL(pwrite(fd, bytes, 511, KIB(1024)));
    CALL(pread(fd, bytes, 8192, kSize - 512));
    CALL(pread(fd, bytes, 8192, kSize));
    CALL(pwrite(fd, bytes, 512, kSize));
    CALL(pread(fd, bytes, 0, 3));
    CALL(pread(fd, bytes, 1 << 20, KIB(6000)));
    show_line(bytes + (1 << 20) - 512);
    struct iovec parts[2] = {{bytes, 512}, {bytes + 4096, 1024}}, odd[2] = {{bytes, 100}, {bytes + 4096, 924}};
    CALL(preadv(fd, parts, 2, KIB(5000)));
    show_line(bytes + 4096);
    CALL(preadv(fd, odd, 2, KIB(5000)));
    CALL(fcntl(fd, F_GETFL) & (O_DIRECT | O_ACCMODE));
    CALL(fcntl(fd, F_SETFL, 0));
    CALL(pread(fd, bytes, 100, 1));
    CALL(fcntl(fd, F_SETFL, O_DIRECT));
    CALL(pread(fd, bytes, 100, 1));
}

// A number of /proc/diskstats; 0: how many there are.
static long column(const char* disk_name, int which) {
    static char text[4096];
    int fd = open("/proc/diskstats", O_RDONLY);
    NEED(fd >= 0);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    NEED(n > 0);
    text[n] = 0;
    char* line = strstr(text, disk_name);
    NEED(line);
    line += strlen(disk_name);
    *strchrnul(line, '\n') = 0;
    int columns = 0;
    long value = -1;
    for (char* word = strtok(line, " "); word; word = strtok(NULL, " "))
        if (++columns == which) value = atol(word);
    return which ? value : columns;
}
// Whether a call makes the disk write its cache to the medium.
enum { kFlushes = 16 };
#define FLUSHES(call)                                                                                           \
    do {                                                                                                        \
        const long before = column("vda", kFlushes);                                                            \
        const long result = (call);                                                                             \
        say("%s -> %ld, %s\n", #call, result, column("vda", kFlushes) > before ? "flushes" : "does not flush"); \
    } while (0)

TEST(durable) {
    int fd = disk(O_RDWR), reading = disk(O_RDONLY), synced = disk(O_WRONLY | O_SYNC), data = disk(O_WRONLY | O_DSYNC);
    FLUSHES(pwrite(fd, "x", 1, KIB(1100)));
    FLUSHES(fsync(fd));
    FLUSHES(fdatasync(fd));
    FLUSHES(fsync(reading));
    FLUSHES(pwrite(synced, "y", 1, KIB(1100) + 1));
    FLUSHES(pwrite(data, "z", 1, KIB(1100) + 2));
    FLUSHES(pread(reading, (char[1]){0}, 1, KIB(1100)));
    struct iovec part = {"!", 1};
    FLUSHES(syscall(SYS_pwritev2, fd, &part, 1, KIB(1100) + 3, 0, RWF_DSYNC));
    FLUSHES(syscall(SYS_pwritev2, fd, &part, 1, KIB(1100) + 4, 0, RWF_SYNC));
    FLUSHES(syscall(SYS_pwritev2, fd, &part, 1, KIB(1100) + 5, 0, 0));
    CALL(syncfs(fd));
    CALL(sync_file_range(fd, 0, 4096, SYNC_FILE_RANGE_WRITE));
    CALL(posix_fadvise(fd, 0, 4096, POSIX_FADV_DONTNEED));
    CALL(readahead(fd, 0, 4096));
    sync();
    char text[8] = "";
    CALL(pread(reading, text, 5, KIB(1100)));
    say("%s\n", text);
}

// A buffer that ends where nothing is mapped; one that is not there; one that must be faulted in.
TEST(buffers) {
    int fd = disk(O_RDWR);
    char* bytes = pages(16384);
    NEED(munmap(bytes + 8192, 8192) == 0);
    CALL(pread(fd, bytes, 16384, KIB(5000)));
    show_line(bytes + 4096);
    CALL(pread(fd, bytes + 8192, 10, KIB(5000)));
    CALL(pread(fd, (void*)16, 4096, KIB(5000)));
    CALL(pread(fd, (void*)-4096, 4096, KIB(5000)));
    CALL(pwrite(fd, bytes + 8192, 10, KIB(1200)));
    CALL(pwrite(fd, bytes, 16384, KIB(1200)));
    NEED(mprotect(bytes, 4096, PROT_READ) == 0);
    CALL(pread(fd, bytes, 4096, KIB(5000)));
    CALL(pwrite(fd, bytes, 4096, KIB(1200)));
    char* fresh = pages(1 << 20);
    CALL(pread(fd, fresh, 1 << 20, KIB(6000)));
    show_line(fresh + (1 << 20) - 512);
    struct iovec many[3] = {{fresh, 100}, {(void*)16, 100}, {fresh + 200, 100}};
    CALL(preadv(fd, many, 3, KIB(6000)));
}

TEST(exclusive) {
    int first = open(DISK, O_RDONLY | O_EXCL);
    SHOW(first >= 0);
    CALL(open(DISK, O_RDONLY | O_EXCL));
    int shared = open(DISK, O_RDONLY);
    SHOW(shared >= 0);
    CALL(close(first));
    int next = open(DISK, O_RDWR | O_EXCL);
    SHOW(next >= 0);
    CALL(close(next));
    CALL(open(DISK, O_RDWR | O_CREAT | O_EXCL, 0600));
    int path = open(DISK, O_PATH);
    char byte;
    CALL(read(path, &byte, 1));
    CALL(fsync(path));
    CALL(access(DISK, R_OK | W_OK));
    CHILD("another user") {
        NEED(setuid(1000) == 0);
        CALL(open(DISK, O_RDONLY));
        char bytes[4];
        CALL(pread(shared, bytes, 4, 0));
        CALL(ioctl(shared, BLKFLSBUF, 0));
    }
}

// sendfile keeps the promise of the file that it writes to.
TEST(sending_durably) {
    int file = open("f", O_RDWR | O_CREAT, 0600);
    char bytes[3000] = "durable\n";
    NEED(write(file, bytes, sizeof bytes) == sizeof bytes);
    const int flags[] = {0, O_SYNC, O_DSYNC};
    for (int i = 0; i < 3; ++i) {
        int fd = disk(O_WRONLY | flags[i]);
        off_t at = 0;
        NEED(lseek(fd, KIB(1310), SEEK_SET) == KIB(1310));
        FLUSHES(sendfile(fd, file, &at, sizeof bytes));
        FLUSHES(sendfile(fd, file, &at, sizeof bytes));
        SHOW(at);
    }
    char line[16] = "";
    CALL(pread(disk(O_RDONLY), line, 8, KIB(1310)));
    show_line(line);
}

// A disk does not grow: RWF_APPEND and O_APPEND.
TEST(appending) {
    int fd = disk(O_RDWR);
    struct iovec part = {"append\n", 7}, none = {"", 0};
    CALL(syscall(SYS_pwritev2, fd, &part, 1, KIB(710), 0, RWF_APPEND));
    char line[16] = "";
    CALL(pread(fd, line, 7, KIB(710)));
    show_line(line);
    CALL(lseek(fd, KIB(712), SEEK_SET) == KIB(712));
    CALL(syscall(SYS_pwritev2, fd, &part, 1, (off_t)-1, 0, RWF_APPEND));
    CALL(lseek(fd, 0, SEEK_CUR) - KIB(712));
    CALL(syscall(SYS_pwritev2, fd, &part, 1, kSize, 0, RWF_APPEND));
    CALL(syscall(SYS_pwritev2, fd, &none, 1, KIB(710), 0, RWF_APPEND));
    CALL(syscall(SYS_pwritev2, fd, &part, 1, KIB(714), 0, RWF_APPEND | RWF_DSYNC));
    int append = disk(O_RDWR | O_APPEND);
    CALL(syscall(SYS_pwritev2, append, &part, 1, KIB(716), 0, RWF_APPEND));
    CALL(pread(fd, line, 7, KIB(716)));
    show_line(line);
}

TEST(sending) {
    int fd = disk(O_RDWR), file = open("f", O_RDWR | O_CREAT, 0600);
    off_t at = KIB(5000);
    CALL(sendfile(file, fd, &at, 100000));
    SHOW(at - KIB(5000));
    char line[16] = "";
    CALL(pread(file, line, 12, 512 * 100));
    show_line(line);
    CALL(lseek(fd, KIB(1300), SEEK_SET));
    CALL(lseek(file, 0, SEEK_SET));
    CALL(sendfile(fd, file, NULL, 50000));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(pread(fd, line, 12, KIB(1300) + 512 * 97));
    show_line(line);
    CALL(copy_file_range(fd, NULL, file, NULL, 100, 0));
    at = kSize - 10;
    CALL(sendfile(file, fd, &at, 100));
}

TEST(discarding) {
    int fd = disk(O_RDWR);
    static char bytes[8192];
    memset(bytes, 'x', sizeof bytes);
    CALL(pwrite(fd, bytes, 8192, KIB(1400)));
    uint64_t range[2] = {(uint64_t)KIB(1400) + 512, 4096};
    CALL(ioctl(fd, BLKDISCARD, range));
    CALL(pread(fd, bytes, 8192, KIB(1400)));
    say("%d %d %d %d\n", bytes[511], bytes[512], bytes[4607], bytes[4608]);
    range[0] += 1;
    CALL(ioctl(fd, BLKDISCARD, range));
    range[0] = kSize;
    CALL(ioctl(fd, BLKDISCARD, range));
    CALL(ioctl(fd, BLKDISCARD, 8));
    CALL(ioctl(disk(O_RDONLY), BLKDISCARD, range));
}

TEST(polling) {
    int fd = disk(O_RDWR), set = epoll_create1(0);
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    CALL(poll(&p, 1, 0));
    SHOW(p.revents);
    struct epoll_event e = {.events = EPOLLIN};
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
    char line[16] = "";
    int nonblocking = disk(O_RDONLY | O_NONBLOCK);
    CALL(pread(nonblocking, line, 12, KIB(4500)));
    show_line(line);
}

// Each process changes bytes of its own in the same sectors.
TEST(parts_of_one_block) {
    enum { kProcesses = 8, kRounds = 40 };
    int fd = disk(O_RDWR);
    static char zeros[1024];
    NEED(pwrite(fd, zeros, sizeof zeros, KIB(1500)) == sizeof zeros);
    for (int i = 0; i < kProcesses; ++i)
        if (fork() == 0) {
            for (int round = 1; round <= kRounds; ++round) {
                char text[60];
                memset(text, round, sizeof text);
                if (pwrite(fd, text, sizeof text, KIB(1500) + i * 60 + 272) != sizeof text) _exit(1);
            }
            _exit(0);
        }
    int bad = 0, status;
    for (int i = 0; i < kProcesses; ++i) bad += wait(&status) < 0 || status != 0;
    SHOW(bad);
    NEED(pread(fd, zeros, sizeof zeros, KIB(1500)) == sizeof zeros);
    int wrong = 0;
    for (int i = 0; i < kProcesses * 60; ++i) wrong += zeros[272 + i] != kRounds;
    SHOW(wrong);
    SHOW(zeros[271] + zeros[272 + kProcesses * 60]);
}

TEST(many_processes) {
    enum { kProcesses = 12, kRounds = 30, kBytes = 16384 };
    for (int i = 0; i < kProcesses; ++i)
        if (fork() == 0) {
            int fd = open(DISK, i % 2 ? O_RDWR : O_RDWR | O_DIRECT);
            char *out = pages(kBytes), *in = pages(kBytes);
            off_t at = KIB(2048) + i * kBytes;
            for (int round = 0; round < kRounds; ++round) {
                memset(out, i * kRounds + round, kBytes);
                if (pwrite(fd, out, kBytes, at) != kBytes || pread(fd, in, kBytes, at) != kBytes) _exit(1);
                if (memcmp(in, out, kBytes) != 0) _exit(2);
                if (round % 10 == 0 && fsync(fd) != 0) _exit(3);
            }
            _exit(0);
        }
    int bad = 0, status;
    for (int i = 0; i < kProcesses; ++i) bad += wait(&status) < 0 || status != 0;
    SHOW(bad);
}

// Killed while it waits for the disk.
TEST(killed) {
    for (int i = 0; i < 12; ++i) {
        int ready[2];
        NEED(pipe(ready) == 0);
        pid_t child = fork();
        if (child == 0) {
            int fd = open(DISK, i % 2 ? O_RDWR | O_DIRECT : O_RDWR);
            char* bytes = pages(1 << 20);
            NEED(write(ready[1], "", 1) == 1);
            for (;;) {
                if (pread(fd, bytes, 1 << 20, KIB(6000)) < 0) _exit(1);
                if (i % 3 == 0 && pwrite(fd, bytes, 1 << 18, KIB(2560)) < 0) _exit(2);
            }
        }
        char byte;
        NEED(read(ready[0], &byte, 1) == 1);
        sleep_ms(i * 2);
        NEED(kill(child, SIGKILL) == 0);
        int status;
        NEED(waitpid(child, &status, 0) == child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) say_status("child", status);
        close(ready[0]);
        close(ready[1]);
    }
    char line[16] = "";
    CALL(pread(disk(O_RDONLY), line, 12, KIB(4500)));
    show_line(line);
}

TEST(shared_position) {
    int fd = disk(O_RDONLY), same = dup(fd);
    char bytes[600];
    CALL(read(fd, bytes, 600));
    CALL(lseek(same, 0, SEEK_CUR));
    CHILD("child") { CALL(read(same, bytes, 100)); }
    CALL(lseek(fd, 0, SEEK_CUR));
}

TEST(statistics) {
    SHOW(column("vda", 0));
    long reads = column("vda", 1), read_sectors = column("vda", 3), writes = column("vda", 5),
         written = column("vda", 7), flushes = column("vda", 16);
    int fd = disk(O_RDWR | O_DIRECT);
    char* bytes = pages(8192);
    NEED(pread(fd, bytes, 8192, KIB(5000)) == 8192);
    NEED(pwrite(fd, bytes, 4096, KIB(1600)) == 4096);
    NEED(fsync(fd) == 0);
    SHOW(column("vda", 1) - reads);
    SHOW(column("vda", 3) - read_sectors);
    SHOW(column("vda", 5) - writes);
    SHOW(column("vda", 7) - written);
    SHOW(column("vda", 16) > flushes);
    SHOW(column("vda", 9));
}
