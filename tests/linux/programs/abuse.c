// SPDX-License-Identifier: MIT
// Programs that try to take more than their share: time in one call, memory past a limit, addresses that are not theirs.
#include "check.h"

#include <elf.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

static char* map(size_t bytes) {
    char* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}
static void become_user(void) { NEED(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0); }
static long cpu_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// ---- Time in one call ----

enum { kVectors = 1024, kVectorSize = 1 << 20 };
static struct iovec vectors[kVectors];
static void make_vectors(void) {
    char* p = map(kVectorSize);
    memset(p, 1, kVectorSize);
    for (int i = 0; i < kVectors; i++) vectors[i] = (struct iovec){p, kVectorSize};
}
static void nothing(int number) { (void)number; }

static void read_until_signal(const char* path) {
    int fd = open(path, O_RDONLY);
    struct itimerval timer = {{0, 0}, {0, 20000}};
    on_signal(SIGALRM, nothing, SA_RESTART);
    NEED(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    ssize_t n = readv(fd, vectors, kVectors);
    say("%s: %s\n", path, n > 0 && n < (ssize_t)kVectors * kVectorSize ? "a part" : n < 0 ? errno_name(errno) : "all");
    pid_t reader = fork();
    if (reader == 0)
        for (;;) readv(fd, vectors, kVectors);
    sleep_ms(50);
    long before = now_ms();
    kill(reader, SIGKILL);
    reap("reader", reader);
    FACT("soon", now_ms() - before < 2000);
}
TEST(signals_end_long_reads) {
    make_vectors();
    read_until_signal("/dev/urandom");
    read_until_signal("/dev/zero");
    read_until_signal("/dev/full");
}

static long read_costs(int fd, char* to, size_t size) {
    long before = cpu_ms();
    size_t done = 0;
    for (ssize_t n; done < size && (n = read(fd, to + done, size - done)) > 0;) done += (size_t)n;
    NEED(done == size);
    return cpu_ms() - before;
}
TEST(random_into_fresh_memory) {
    enum { kSize = 2 << 20 };
    int fd = open("/dev/urandom", O_RDWR);
    char *own = map(kSize), *fresh = map(kSize);
    memset(own, 1, kSize);
    long usual = read_costs(fd, own, kSize), into_fresh = read_costs(fd, fresh, kSize);
    FACT("fresh memory costs little more", into_fresh <= 5 * usual + 50);
    NEED(munmap(fresh + 8192, 4096) == 0);
    CALL(read(fd, fresh, 100));
    CALL(read(fd, fresh, 8192 + 50));
    CALL(read(fd, fresh + 100, 65536));
    CALL(read(fd, fresh + 8192, 10));
    CALL(write(fd, fresh + 100, 65536));
    struct iovec two[] = {{fresh, 4096}, {fresh + 8192 - 10, 100}, {fresh, 4096}};
    CALL(readv(fd, two, 3));
    int nonblocking = open("/dev/random", O_RDWR | O_NONBLOCK);
    CALL(read(nonblocking, own, 100000));
    CALL(write(nonblocking, own, 100000));
}

TEST(looks_at_large_empty_ranges) {
    size_t size = 16ul << 30;
    unsigned char* there = malloc(size >> 12);
    char* p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(there && p != MAP_FAILED);
    long before = cpu_ms();
    CALL(mincore(p, size, there));
    FACT("quick", cpu_ms() - before < 2000);
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 40 << 12) == 0);
    char* file = mmap(NULL, 64 << 12, PROT_READ, MAP_SHARED, fd, 0);
    NEED(file != MAP_FAILED && pwrite(fd, "x", 1, 3 << 12) == 1 && pwrite(fd, "x", 1, 39 << 12) == 1);
    char *own = map(300ul << 12), *after = own + (100ul << 12);
    NEED(mmap(after, 64 << 12, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == after);
    own[5 << 12] = own[64 << 12] = own[299 << 12] = after[3 << 12] = after[7 << 12] = 1;
    NEED(*(volatile char*)(own + (70 << 12)) == 0);
    CALL(mincore(own, 300ul << 12, there));
    for (int i = 0; i < 300; i++)
        if (there[i] & 1) say("own %d\n", i);
    CALL(mincore(file + (2 << 12), 62 << 12, there));
    for (int i = 0; i < 62; i++)
        if (there[i] & 1) say("file %d\n", i + 2);
    NEED(munmap(own + (200ul << 12), 4096) == 0);
    CALL(mincore(own + (199ul << 12), 8192, there));
}

// ---- One file in many sets ----

static void* wait_for_one(void* set) {
    struct epoll_event got;
    return (void*)(intptr_t)epoll_wait(*(int*)set, &got, 1, 5000);
}
TEST(file_in_many_sets) {
    enum { kSets = 15000 };
    struct rlimit most = {kSets + 100, kSets + 100};
    NEED(setrlimit(RLIMIT_NOFILE, &most) == 0);
    int pipe_ends[2], last = -1;
    NEED(pipe(pipe_ends) == 0);
    struct epoll_event readable = {.events = EPOLLIN};
    for (int i = 0; i < kSets; i++) {
        NEED((last = epoll_create1(0)) >= 0);
        NEED(epoll_ctl(last, EPOLL_CTL_ADD, pipe_ends[1], &readable) == 0);
    }
    // A waiter holds the file, and lets go of it when its last descriptor is closed.
    pthread_t waiter;
    NEED(pthread_create(&waiter, NULL, wait_for_one, &last) == 0);
    sleep_ms(50);
    for (int i = 0; i < 20; i++) NEED(close(dup(pipe_ends[1])) == 0);
    NEED(close(pipe_ends[1]) == 0);
    char byte;
    CALL(read(pipe_ends[0], &byte, 1));
    close(last);
}

// ---- Pipes without an end ----

enum { kNeither = 3 };  // the access mode that allows neither reads nor writes
static int reopen(int fd, int flags) {
    char name[40];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    return open(name, flags);
}
TEST(reopened_pipes_are_new) {
    int ends[2];
    char bytes[10];
    NEED(pipe(ends) == 0);
    CALL(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20));
    NEED(write(ends[1], "abc", 3) == 3);
    int handle = reopen(ends[0], O_PATH);
    int another = reopen(ends[0], O_RDONLY | O_NONBLOCK);
    CALL(fcntl(another, F_GETPIPE_SZ));
    CALL(read(another, bytes, 2));
    close(another), close(ends[0]), close(ends[1]);
    another = reopen(handle, O_RDWR | O_NONBLOCK);
    CALL(fcntl(another, F_GETPIPE_SZ));
    CALL(read(another, bytes, 2));
    CALL(write(another, "xy", 2));
    close(another);
    another = reopen(handle, O_RDONLY | O_NONBLOCK);
    CALL(read(another, bytes, 2));
    CALL(reopen(handle, kNeither | O_NONBLOCK));
    NEED(mkfifo("fifo", 0600) == 0);
    CALL(open("fifo", kNeither | O_NONBLOCK));
    CALL(open("fifo", kNeither));
}
TEST(reopened_pipes_count) {
    enum { kPipes = 100 };
    int handles[kPipes], large = 0, small = 0, usual = 0;
    become_user();
    for (int i = 0; i < kPipes; i++) {
        int ends[2];
        NEED(pipe(ends) == 0 && fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) == 1 << 20);
        NEED((handles[i] = reopen(ends[0], O_PATH)) >= 0);
        close(ends[0]), close(ends[1]);
    }
    for (int i = 0; i < kPipes; i++) {
        int fd = reopen(handles[i], O_RDWR);
        NEED(fd >= 0);
        int size = fcntl(fd, F_GETPIPE_SZ);
        large += size == 1 << 20, usual += size == 65536, small += size == 8192;
    }
    SHOW(large);
    SHOW(usual);
    SHOW(small);
}
static void set_number(const char* path, const char* number) {
    int fd = open(path, O_WRONLY);
    NEED(fd >= 0 && write(fd, number, strlen(number)) == (ssize_t)strlen(number));
    close(fd);
}
TEST(reopened_pipes_above_the_limit) {
    NEED(mkfifo("fifo", 0600) == 0 && chmod("fifo", 0666) == 0);
    set_number("/proc/sys/fs/pipe-user-pages-hard", "40");
    CHILD("user") {
        become_user();
        int first[2], second[2], third[2];
        NEED(pipe(first) == 0);
        int handle = reopen(first[0], O_PATH);
        close(first[0]), close(first[1]);
        CALL(pipe(second));
        CALL(pipe(third));
        CALL(reopen(handle, O_RDONLY));
        CALL(open("fifo", O_RDWR));
        CALL(pipe(first));
        close(third[0]), close(third[1]);
        int again = reopen(handle, O_RDONLY);
        CALL(fcntl(again, F_GETPIPE_SZ));
    }
    set_number("/proc/sys/fs/pipe-user-pages-hard", "0");
}

// ---- Low addresses ----

static const char* place(void* got, unsigned long wanted) {
    return got == MAP_FAILED ? errno_name(errno) : got == (void*)wanted ? "there" : "elsewhere";
}
TEST(users_map_nothing_low) {
    become_user();
    char* p = map(65536);
    enum { kMove = MREMAP_MAYMOVE, kTo = MREMAP_MAYMOVE | MREMAP_FIXED, kKeep = MREMAP_MAYMOVE | 4 };
    say("0x1000: %s\n", place(mremap(p, 4096, 4096, kTo, (void*)0x1000), 0x1000));
    say("0: %s\n", place(mremap(p + 4096, 4096, 4096, kTo, NULL), 0));
    say("0xf000: %s\n", place(mremap(p + 8192, 4096, 8192, kTo, (void*)0xf000), 0xf000));
    say("0x10000: %s\n", place(mremap(p + 16384, 4096, 4096, kTo, (void*)0x10000), 0x10000));
    say("shorter: %s\n", place(mremap(p + 20480, 8192, 4096, kTo, (void*)0x1000), 0x1000));
    TOUCH_READ(p + 20480);
    TOUCH_READ(p + 24576);
    say("kept: %s\n", place(mremap(p + 28672, 4096, 4096, kTo | kKeep, (void*)0x2000), 0x2000));
    say("hint: %s\n", place((void*)syscall(SYS_mremap, p + 28672, 4096, 4096, kKeep, 0x2000), 0x2000));
    for (int flags = MAP_FIXED; flags; flags = flags == MAP_FIXED ? MAP_FIXED_NOREPLACE : 0)
        say("mmap: %s\n",
            place(mmap((void*)0x1000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0), 0x1000));
    char* low = mmap((void*)0x11000, 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    TOUCH_WRITE(low - 1);
}
TEST(root_grows_nothing_low) {
    char* low = mmap((void*)0x10000, 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    TOUCH_WRITE(low);
    TOUCH_WRITE(low - 1);
    char* p = map(8192);
    say("root: %s\n", place(mremap(p, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, (void*)0x1000), 0x1000));
}
// A program with one segment at `address` that exits with 7.
static void make_program(const char* name, unsigned long address) {
    static const unsigned char code[] = {0xbf, 7, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05};
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
        unsigned char code[sizeof code];
    } file = {
        .header = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                   .e_type = ET_EXEC,
                   .e_machine = EM_X86_64,
                   .e_version = EV_CURRENT,
                   .e_phoff = sizeof(Elf64_Ehdr),
                   .e_ehsize = sizeof(Elf64_Ehdr),
                   .e_phentsize = sizeof(Elf64_Phdr),
                   .e_phnum = 1},
        .segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_filesz = sizeof file, .p_memsz = sizeof file},
    };
    memcpy(file.code, code, sizeof code);
    file.header.e_entry = address + offsetof(__typeof__(file), code);
    file.segment.p_vaddr = file.segment.p_paddr = address;
    file.segment.p_align = 4096;
    int fd = open(name, O_WRONLY | O_CREAT, 0755);
    NEED(write(fd, &file, sizeof file) == sizeof file && close(fd) == 0);
}
static void run_as(const char* who, const char* name, int user) {
    CHILD(who) {
        if (user) become_user();
        execl(name, name, NULL);
        say("%s\n", errno_name(errno));
    }
}
TEST(programs_at_low_addresses) {
    make_program("low", 0x1000);
    make_program("lowest", 0x10000);
    run_as("root, low", "low", 0);
    run_as("user, low", "low", 1);
    run_as("user, lowest", "lowest", 1);
}
