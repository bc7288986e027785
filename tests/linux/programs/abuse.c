// SPDX-License-Identifier: MIT
// Programs that try to take more than their share: time in one call, memory past a limit, addresses that are not theirs.
#include "check.h"

#include <elf.h>
#include <poll.h>
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
    // A waiter looks at the file, which ends with its last descriptor all the same.
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

// ---- Buffers of which the last part is missing ----

static int write_page(int fd, const char* page) { return write(fd, page, 4096) == 4096; }
static const char* transfer_name;
static int transfer_file;
static void transfers(char* good, struct iovec* v, int count, int writes) {
    memset(good, 'x', 8192);
    static char page[4096];
    if (writes && !strcmp(transfer_name, "pipe")) NEED(write_page(transfer_file, page));
    errno = 0;
    ssize_t n = writes ? writev(transfer_file, v, count) : readv(transfer_file, v, count);
    say("%s %s: %d %s\n", writes ? "writev" : "readv", transfer_name, (int)n, n < 0 ? errno_name(errno) : "");
}
// A chunk of the copy covers several elements, and stops in the last.
static void transfer_parts(int write) {
    char *good = map(1 << 20), *bad = good + (64 << 10);
    NEED(munmap(bad, 4096) == 0);
    transfers(good, (struct iovec[]){{good, 3}, {good + 4096, 3000}, {bad, 1}}, 3, write);
    transfers(good, (struct iovec[]){{good + 300000, 3}, {good + 400000, 3000}, {bad, 1}}, 3, write);
    transfers(good, (struct iovec[]){{good, 100}, {bad, 100}, {good + 4096, 100}}, 3, write);
    transfers(good, (struct iovec[]){{good, 1}, {good + 200000, 5000}, {bad - 16, 20}, {good, 9000}}, 4, write);
    transfers(good, (struct iovec[]){{bad - 1, 1}, {bad, 1}, {bad + 4096, 1}}, 3, write);
    transfers(good, (struct iovec[]){{good, 10}, {good, 10}, {bad, 10}, {bad, 10}}, 4, write);
}
static void transfer_all(const char* name, const char* path) {
    CHILD(name) {
        transfer_name = name;
        if (path) {
            transfer_file = open(path, O_RDWR | O_CREAT, 0600);
            NEED(transfer_file >= 0);
            transfer_parts(1);
            CALL(lseek(transfer_file, 0, SEEK_CUR));
            CALL(lseek(transfer_file, 10, SEEK_SET));
            transfer_parts(0);
            _exit(0);
        }
        int ends[2];
        NEED(pipe(ends) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
        transfer_file = ends[1];
        transfer_parts(1);
        transfer_file = ends[0];
        char page[4096];
        int pages = 0;
        while (read(ends[0], page, sizeof page) > 0) pages++;
        SHOW(pages);
        for (int i = 0; i < 9; i++) NEED(write_page(ends[1], page));
        transfer_parts(0);
    }
}
TEST(vectors_that_end_badly) {
    chmod(".", 0777);
    become_user();
    transfer_all("random", "/dev/urandom");
    transfer_all("zero", "/dev/zero");
    transfer_all("null", "/dev/null");
    transfer_all("file", "written");
    transfer_all("pipe", NULL);
    CHILD("own memory") {
        char *good = map(1 << 20), *bad = good + (64 << 10), *from = good + 500000;
        NEED(munmap(bad, 4096) == 0);
        struct iovec to[] = {{good, 3}, {good + 4096, 3000}, {bad, 1}}, all = {from, 4000};
        CALL(process_vm_readv(getpid(), to, 3, &all, 1, 0));
        memset(from, 1, 4000);
        CALL(process_vm_readv(getpid(), to, 3, &all, 1, 0));
        CALL(process_vm_writev(getpid(), to, 3, &all, 1, 0));
    }
}

// The same of one buffer that is not there yet, so that a piece of it comes short.
TEST(signals_end_ragged_reads) {
    enum { kSize = 32 << 20 };
    int fd = open("/dev/urandom", O_RDONLY);
    on_signal(SIGALRM, nothing, SA_RESTART);
    for (int i = 0; i < 4; i++) {
        static const int offsets[] = {0, 768, 100, 300};
        char* to = map(kSize + 4096) + offsets[i];
        if (i == 3)
            for (int page = 0; page < 7; page++) to[page << 12] = 1;
        struct itimerval timer = {{0, 20000}, {0, 20000}};
        NEED(setitimer(ITIMER_REAL, &timer, NULL) == 0);
        ssize_t n = read(fd, to, kSize);
        say("%d: %s\n", offsets[i], n == kSize ? "all" : n > 0 && n % 4096 == 0 ? "some pages" : "other");
        munmap(to - offsets[i], kSize + 4096);
    }
}

// ---- What a read that fails leaves behind ----

static void* writes_one_page(void* end) {
    static char page[4096];
    return (void*)(intptr_t)write(*(int*)end, page, sizeof page);
}
TEST(readers_without_memory_wake_writers) {
    int ends[2];
    char bytes[4096];
    NEED(pipe(ends) == 0);
    CALL(write(ends[1], (void*)8, 100));  // takes up a page
    NEED(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0);
    int full = 0;
    while (write(ends[1], bytes, sizeof bytes) > 0) full++;
    SHOW(full);
    NEED(fcntl(ends[1], F_SETFL, 0) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
    pthread_t writer;
    NEED(pthread_create(&writer, NULL, writes_one_page, &ends[1]) == 0);
    sleep_ms(100);
    char* fresh = map(1 << 20);
    int pages = 0;
    while (pages < full && read(ends[0], fresh + 8192 * pages, 4096) > 0) pages++;
    SHOW(pages);
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 5;
    void* written = NULL;
    FACT("goes on", pthread_timedjoin_np(writer, &written, &end) == 0);
    SHOW((intptr_t)written);
}

// ---- Waiters on sets keep no file open ----

static void* waits_long(void* set) {
    struct epoll_event got;
    epoll_wait(*(int*)set, &got, 1, 15000);
    return NULL;
}
static void* polls_long(void* set) {
    struct pollfd p = {*(int*)set, POLLIN, 0};
    poll(&p, 1, 15000);
    return NULL;
}
static void* reads_a_byte(void* fd) {
    char byte;
    CALL(read(*(int*)fd, &byte, 1));
    return NULL;
}
static int set_with(int fd, unsigned events) {
    int set = epoll_create1(0);
    struct epoll_event event = {.events = events};
    NEED(set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    return set;
}
static void start(void* (*what)(void*), int* argument) {
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, what, argument) == 0);
    sleep_ms(100);
}
static void show_end(int fd, short events) {
    struct pollfd p = {fd, events, 0};
    int n = poll(&p, 1, 1000);
    say("poll %d, %#x\n", n, n > 0 ? (unsigned)p.revents : 0);
}
TEST(taken_out_and_closed) {
    for (int polls = 0; polls < 2; polls++) {
        int ends[2], set;
        NEED(pipe(ends) == 0);
        set = set_with(ends[1], 0);
        start(polls ? polls_long : waits_long, &set);
        start(polls ? polls_long : waits_long, &set);
        OKAY(epoll_ctl(set, EPOLL_CTL_DEL, ends[1], NULL));
        OKAY(close(ends[1]));
        show_end(ends[0], POLLIN);
    }
    _exit(0);
}
TEST(closed_while_it_is_read) {
    int ends[2], set;
    NEED(pipe(ends) == 0);
    signal(SIGPIPE, SIG_IGN);
    on_signal(SIGUSR1, nothing, 0);
    set = set_with(ends[0], 0);
    pthread_t reader;
    NEED(pthread_create(&reader, NULL, reads_a_byte, &ends[0]) == 0);
    sleep_ms(100);
    start(waits_long, &set);
    OKAY(close(ends[0]));
    sleep_ms(100);
    pthread_kill(reader, SIGUSR1);
    pthread_join(reader, NULL);
    show_end(ends[1], 0);
    CALL(write(ends[1], "x", 1));
    _exit(0);
}
TEST(closed_in_sets_of_sets) {
    int ends[2], inner, outer;
    NEED(pipe(ends) == 0);
    inner = set_with(ends[1], 0);
    outer = set_with(inner, EPOLLIN);
    start(waits_long, &outer);
    start(polls_long, &outer);
    start(waits_long, &inner);
    struct epoll_event event = {.events = EPOLLET};
    OKAY(epoll_ctl(outer, EPOLL_CTL_ADD, ends[1], &event));
    OKAY(epoll_ctl(inner, EPOLL_CTL_DEL, ends[1], NULL));
    sleep_ms(20);
    OKAY(close(inner));
    OKAY(epoll_ctl(outer, EPOLL_CTL_DEL, ends[1], NULL));
    OKAY(close(ends[1]));
    show_end(ends[0], POLLIN);
    // One more time, with what those waiters hold.
    NEED(pipe(ends) == 0);
    OKAY(epoll_ctl(outer, EPOLL_CTL_ADD, ends[1], &event));
    sleep_ms(20);
    OKAY(close(ends[1]));
    show_end(ends[0], POLLIN);
    _exit(0);
}
// Files end in a set on one CPU while others look at it and change it.
static volatile int hurry_set, hurry_over;
static void* hurries(void* unused) {
    (void)unused;
    while (!hurry_over) {
        struct epoll_event got;
        struct pollfd p = {hurry_set, POLLIN, 0};
        epoll_wait(hurry_set, &got, 1, 1);
        poll(&p, 1, 1);
    }
    return NULL;
}
TEST(ends_in_sets_that_are_looked_at) {
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    pthread_t threads[3];
    hurry_set = epoll_create1(0);
    for (int i = 0; i < 3; i++) NEED(pthread_create(&threads[i], NULL, hurries, NULL) == 0);
    int late = 0;
    long until = now_ms() + 1500;
    for (int round = 0; now_ms() < until; round++) {
        int ends[2], inner = epoll_create1(0);
        NEED(pipe(ends) == 0 && inner >= 0);
        NEED(epoll_ctl(inner, EPOLL_CTL_ADD, ends[1], &event) == 0);
        NEED(epoll_ctl(hurry_set, EPOLL_CTL_ADD, inner, &event) == 0);
        NEED(epoll_ctl(hurry_set, EPOLL_CTL_ADD, ends[1], &event) == 0);
        if (round % 3 == 0) sleep_ms(1);
        if (round % 2 == 0) NEED(epoll_ctl(hurry_set, EPOLL_CTL_DEL, ends[1], NULL) == 0);
        NEED(close(round & 4 ? inner : ends[1]) == 0);
        NEED(close(round & 4 ? ends[1] : inner) == 0);
        struct pollfd p = {ends[0], POLLIN, 0};
        late += poll(&p, 1, 2000) != 1 || p.revents != POLLHUP;
        NEED(close(ends[0]) == 0);
    }
    hurry_over = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    SHOW(late);
}

// ---- FIFOs that are opened while they end ----

static volatile int fifo_round, fifo_opened, fifo_end, fifo_stop;
static void* opens_again(void* unused) {
    (void)unused;
    unsigned seed = 1;
    for (int i = 1; !fifo_stop; i++) {
        while (fifo_round != i)
            if (fifo_stop) return NULL;
        for (volatile int wait = rand_r(&seed) % 400; wait > 0; wait--) {
        }
        fifo_end = open("fifo", O_RDWR | O_NONBLOCK);
        __sync_synchronize();
        fifo_opened = i;
    }
    return NULL;
}
static int set_limit(const char* value) {
    int fd = open("/proc/sys/fs/pipe-user-pages-soft", O_WRONLY);
    int bad = fd < 0 || write(fd, value, strlen(value)) < 0;
    close(fd);
    return !bad;
}
// A FIFO that its last end left behind as large as it was must be charged to its user.
TEST(fifos_opened_while_they_end) {
    NEED(mkfifo("fifo", 0666) == 0 && chmod("fifo", 0666) == 0 && set_limit("300"));
    CHILD("user") {
        become_user();
        pthread_t other;
        NEED(pthread_create(&other, NULL, opens_again, NULL) == 0);
        int uncharged = 0;
        unsigned seed = 7;
        long until = now_ms() + 2500;
        for (int i = 1; now_ms() < until; i++) {
            int end = open("fifo", O_RDWR | O_NONBLOCK), probe[2];
            NEED(end >= 0 && fcntl(end, F_SETPIPE_SZ, 1 << 20) > 0);
            fifo_round = i;
            for (volatile int wait = rand_r(&seed) % 400; wait > 0; wait--) {
            }
            close(end);
            while (fifo_opened != i) {
            }
            if (fcntl(fifo_end, F_GETPIPE_SZ) == 1 << 20) {
                NEED(pipe(probe) == 0);
                uncharged += fcntl(probe[0], F_SETPIPE_SZ, 64 << 12) > 0;
                close(probe[0]);
                close(probe[1]);
            }
            close(fifo_end);
        }
        fifo_stop = 1;
        SHOW(uncharged);
    }
    NEED(set_limit("16384"));
}
