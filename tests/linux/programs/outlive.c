// SPDX-License-Identifier: MIT
// What has to be over when a call returns, and what must not outlive what it belongs to: locks, sets, groups, mappings of
// files that are cut off.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>

static int lock_of(int fd, int command, short type) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET};
    int r = fcntl(fd, command, &l);
    return command == F_GETLK && r == 0 ? l.l_type : r;
}
static const char* seen_by_another(const char* name) {
    pid_t child = fork();
    if (child == 0) {
        int fd = open(name, O_RDWR);
        _exit(lock_of(fd, F_GETLK, F_WRLCK) == F_UNLCK ? 0 : 1);
    }
    int status = -1;
    NEED(waitpid(child, &status, 0) == child);
    return status == 0 ? "free" : "locked";
}

// A descriptor that only names a file is none by which it was locked.
TEST(path_descriptor_is_closed) {
    int fd = open("locked", O_CREAT | O_RDWR, 0600);
    NEED(fd >= 0 && lock_of(fd, F_SETLK, F_WRLCK) == 0);
    CALL(close(open("locked", O_PATH)));
    say("%s\n", seen_by_another("locked"));
    int path = open("locked", O_PATH);
    NEED(dup2(0, path) == path);
    say("%s\n", seen_by_another("locked"));
    NEED(close(open("locked", O_RDONLY)) == 0);
    say("%s\n", seen_by_another("locked"));
}

static int waited_for;
static void* close_and_end(void* name) {
    usleep(20000);  // the other one waits by then
    close(waited_for);
    return NULL;
}
// The lock comes when the descriptor has been closed, by a thread that is gone.
TEST(lock_comes_after_close) {
    int fd = open("wanted", O_CREAT | O_RDWR, 0600), ends[2];
    NEED(fd >= 0 && pipe(ends) == 0);
    pid_t holder = fork();
    if (holder == 0) {
        int own = open("wanted", O_RDWR);
        if (lock_of(own, F_SETLK, F_WRLCK) != 0) _exit(1);
        close(ends[1]);
        usleep(60000);
        _exit(0);
    }
    close(ends[1]);
    char byte;
    NEED(read(ends[0], &byte, 1) == 0);
    waited_for = fd;
    pthread_t closer;
    NEED(pthread_create(&closer, NULL, close_and_end, NULL) == 0 && pthread_detach(closer) == 0);
    CALL(lock_of(fd, F_SETLKW, F_WRLCK));
    NEED(waitpid(holder, NULL, 0) == holder);
    say("%s\n", seen_by_another("wanted"));
}

// A process with many stopped children in a group of their own ends: they are hung up.
static void many_stopped(int count) {
    int ends[2];
    NEED(pipe(ends) == 0);
    pid_t parent = fork();
    if (parent == 0) {
        pid_t first = 0;
        for (int i = 0; i < count; ++i) {
            pid_t child = fork();
            if (child == 0) {
                for (;;) pause();
            }
            setpgid(child, first);
            if (!first) first = child;
        }
        kill(-first, SIGSTOP);
        for (int i = 0; i < count; ++i)
            if (waitpid(-1, NULL, WUNTRACED) < 0) _exit(1);
        _exit(0);
    }
    close(ends[1]);
    int status = -1;
    NEED(waitpid(parent, &status, 0) == parent && status == 0);
    // The last one that ends closes the pipe.
    struct pollfd all_gone = {.fd = ends[0], .events = POLLIN};
    say("%d: %s\n", count, poll(&all_gone, 1, 5000) == 1 ? "hung up" : "still there");
    close(ends[0]);
}
TEST(stopped_orphans) {
    many_stopped(10);
    many_stopped(65);
    many_stopped(130);
}

enum { kSets = 1500 };
static void allow_descriptors(void) {
    struct rlimit limit = {2 * kSets + 100, 2 * kSets + 100};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}
static void set_limit(const char* text) {
    int fd = open("/proc/sys/fs/epoll/max_user_watches", O_WRONLY);
    NEED(fd >= 0 && write(fd, text, strlen(text)) > 0);
    close(fd);
}
// What a closed set had is its user's again.
TEST(closed_set_costs_nothing) {
    char before[32] = "";
    int fd = open("/proc/sys/fs/epoll/max_user_watches", O_RDONLY), ends[2];
    NEED(fd >= 0 && read(fd, before, sizeof before - 1) > 0 && pipe(ends) == 0);
    allow_descriptors();
    set_limit("1500");
    for (int round = 0; round < 3; ++round) {
        int set = epoll_create1(0), added = 0;
        struct epoll_event event = {.events = EPOLLIN};
        for (int i = 0; i < kSets; ++i) {
            int other = round == 0 ? dup(ends[0]) : ends[1] + 1 + i + (ends[1] + 1 + i >= set);
            added += epoll_ctl(set, EPOLL_CTL_ADD, other, &event) == 0;
        }
        SHOW(added);
        close(set);
    }
    set_limit(before);
}

// The end of a pipe that is in many sets hangs up when it is closed.
TEST(closed_end_in_many_sets) {
    int ends[2];
    NEED(pipe(ends) == 0);
    allow_descriptors();
    struct epoll_event event = {.events = EPOLLOUT | EPOLLET};
    int added = 0;
    for (int i = 0; i < 900; ++i) added += epoll_ctl(epoll_create1(0), EPOLL_CTL_ADD, ends[1], &event) == 0;
    SHOW(added);
    close(ends[1]);
    struct pollfd reader = {.fd = ends[0], .events = POLLIN};
    SHOW(poll(&reader, 1, 0));
    SHOW(reader.revents);
}

enum { kPages = 64, kUsers = 13, kRounds = 250 };
static int cut;
static volatile int go, over, begun, split;
static volatile unsigned delay;
static sigjmp_buf beyond;
static void bus(int signal) { siglongjmp(beyond, 1); }
static char* last;
static void* split_each_time(void* unused) {
    for (int round = 1; round <= kRounds; split = round++) {
        while (begun < round) sched_yield();
        for (volatile unsigned n = 0; n < delay; ++n) {
        }
        madvise(last + kPages / 2 * 4096, kPages / 2 * 4096, MADV_DONTFORK);
    }
    return NULL;
}
// An area is split while the file that it maps is cut off: no page beyond the end can be read then. The file is mapped often
// enough for all to be done at once, but not so quickly.
TEST(split_beside_truncation) {
    signal(SIGBUS, bus);
    cut = memfd_create("cut", 0);
    NEED(cut >= 0 && ftruncate(cut, kPages * 4096) == 0);
    for (int i = 0; i < kUsers; ++i) {
        last = mmap(NULL, kPages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, cut, 0);
        NEED(last != MAP_FAILED);
        *last = 1;
    }
    pthread_t other;
    NEED(pthread_create(&other, NULL, split_each_time, NULL) == 0);
    volatile int stale = 0;
    unsigned random = 1;
    for (volatile int round = 1; round <= kRounds && stale == 0; ++round) {
        NEED(ftruncate(cut, kPages * 4096) == 0);
        memset(last, 'A', kPages * 4096);
        random = random * 1103515245 + 12345;
        delay = random / 65536 % 20000;
        begun = round;
        NEED(ftruncate(cut, 0) == 0);
        while (split < round) sched_yield();
        for (volatile int page = kPages / 2; page < kPages; ++page)
            if (sigsetjmp(beyond, 1) == 0) (void)*(volatile char*)(last + page * 4096), ++stale;
        madvise(last + kPages / 2 * 4096, kPages / 2 * 4096, MADV_DOFORK);
    }
    SHOW(stale);
}

static long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}
static void* cut_off_slowly(void* unused) {
    go = 1;
    ftruncate(cut, 0);
    over = 1;
    return NULL;
}
// While a huge mapping of it is being cut off, it goes, and another area of the file is made in its place.
TEST(area_takes_the_place_of_another) {
    const size_t size = 1 << 20, huge = 1ul << 46;
    signal(SIGBUS, bus);
    volatile int stale = 0;
    for (int round = 0; round < 4; ++round) {
        cut = memfd_create("cut", 0);
        NEED(cut >= 0 && ftruncate(cut, (long)size) == 0);
        char* whole = mmap(NULL, huge, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, cut, 0);
        char* part = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, cut, 0);
        NEED(whole != MAP_FAILED && part != MAP_FAILED);
        memset(part, 'A', size);
        go = over = 0;
        pthread_t other;
        NEED(pthread_create(&other, NULL, cut_off_slowly, NULL) == 0);
        while (!go) {
        }
        // On one CPU: the other one has worked, if some time is missing. Twice, so that it is in the middle.
        int gaps = 2 + round;
        for (long before = now_ns(); !over;) {
            long now = now_ns();
            if (now - before > 300000 && --gaps == 0) break;
            before = now;
        }
        NEED(munmap(whole, huge) == 0);
        madvise(part + size / 2, size / 2, MADV_DONTFORK);
        NEED(munmap(part, size / 2) == 0);
        NEED(pthread_join(other, NULL) == 0);
        for (volatile size_t at = size / 2; at < size; at += 4096)
            if (sigsetjmp(beyond, 1) == 0) (void)*(volatile char*)(part + at), ++stale;
        munmap(part + size / 2, size / 2);
        close(cut);
    }
    SHOW(stale);
}

// Pages that cannot be allocated.
TEST(locked_pages_that_are_not_there) {
    int fd = memfd_create("short", 0);
    NEED(fd >= 0 && ftruncate(fd, 4096) == 0);
    char* none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* shared = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char* private_copy = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    NEED(none != MAP_FAILED && shared != MAP_FAILED && private_copy != MAP_FAILED);
    CALL(mlock(none, 4096));
    CALL(mlock(shared, 8192));
    CALL(mlock(shared, 4096));
    CALL(mlock(private_copy + 4096, 4096));
}
TEST(populated_against_its_protection) {
    enum { kRead = 22, kWrite = 23 };
    int fd = memfd_create("file", 0);
    NEED(fd >= 0 && ftruncate(fd, 4096) == 0);
    static const int rights[] = {PROT_NONE, PROT_READ, PROT_WRITE, PROT_READ | PROT_WRITE};
    for (unsigned i = 0; i < 8; ++i) {
        char* p = i % 2 ? mmap(NULL, 4096, rights[i / 2], MAP_SHARED, fd, 0)
                        : mmap(NULL, 4096, rights[i / 2], MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NEED(p != MAP_FAILED);
        say("%s, rights %d\n", i % 2 ? "shared" : "anonymous", rights[i / 2]);
        CALL(madvise(p, 4096, kRead));
        CALL(madvise(p, 4096, kWrite));
    }
}
TEST(copies_at_odd_offsets) {
    int from = open("from", O_CREAT | O_RDWR, 0600), to = open("to", O_CREAT | O_RDWR, 0600);
    int proc = open("/proc/self/stat", O_RDONLY), null = open("/dev/null", O_WRONLY);
    NEED(write(from, "some text", 9) == 9 && proc >= 0 && null >= 0);
    static const long offsets[] = {-1, LONG_MAX, 3};
    for (unsigned i = 0; i < 3; ++i) {
        off_t in = offsets[i], out = offsets[i];
        say("offset %ld\n", offsets[i]);
        CALL(copy_file_range(from, &in, to, NULL, 5, 0));
        CALL(copy_file_range(from, &in, to, NULL, 0, 0));
        in = 0;
        CALL(copy_file_range(from, &in, to, &out, 5, 0) < 0);
    }
    CALL(copy_file_range(proc, NULL, to, NULL, 5, 0));
    CALL(syscall(SYS_sendfile, null, proc, NULL, 3));
    struct stat st;
    CALL(fstatat(AT_FDCWD, "/", &st, 0x2000));
    CALL(fstatat(AT_FDCWD, "/", &st, 0x10000));
}

// Pages that are taken out of a file are gone from all who map it, also where they are many.
static int bytes_left(char* const* maps, int count) {
    int left = 0;
    for (int i = 0; i < count; ++i)
        for (int page = 0; page < kPages; ++page) left += ((volatile char*)maps[i])[page * 4096] != 0;
    return left;
}
TEST(removed_from_many_maps) {
    enum { kMaps = 40 };
    char* maps[kMaps];
    int fd = memfd_create("many", 0);
    NEED(fd >= 0 && ftruncate(fd, kPages * 4096) == 0);
    for (int i = 0; i < kMaps; ++i) {
        maps[i] = mmap(NULL, kPages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        NEED(maps[i] != MAP_FAILED);
        memset(maps[i], 'A', kPages * 4096);
    }
    CALL(madvise(maps[0] + 4096, (kPages - 2) * 4096, MADV_REMOVE));
    SHOW(bytes_left(maps, kMaps));
    memset(maps[1], 'B', kPages * 4096);
    SHOW(bytes_left(maps, kMaps));
    CALL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPages * 4096));
    SHOW(bytes_left(maps, kMaps));
}

// A page for each page table: where tables have a limit of their own (a server's pool), a call that finds no room for one
// fails, or the process ends, and its page is nobody's then. Neither reads nor writes may still find it, though it belongs to
// another by now.
enum { kTables = 6000, kBeyond = 8, kVictims = 256 };
static const size_t kTableSpan = 2 << 20;
static void victim_of_tables(int go, int bytes) {
    signal(SIGPIPE, SIG_IGN);
    // One table for all of its pages, which it has before the other takes them all.
    char* mine = mmap(NULL, 2 * kTableSpan, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mine = (char*)(((size_t)mine + kTableSpan - 1) & ~(kTableSpan - 1));
    mine[511 * 4096] = 1;
    char byte;
    (void)!read(go, &byte, 1);  // at its end: the other has ended
    for (int i = 0; i < kVictims; i++) sprintf(mine + i * 4096, "its own %d", i);
    (void)!write(bytes, "r", 1);
    (void)!read(go, &byte, 1);
    for (int i = 0; i < kVictims; i++)
        if (memcmp(mine + i * 4096, "its own", 7) != 0) _exit(1);
    _exit(0);
}
static void take_all_tables(int file, int go, int* bytes) {
    const size_t size = kTables * kTableSpan;
    char* base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(base != MAP_FAILED);
    char* at = base;
    while (at < base + (kTables - kBeyond) * kTableSpan && pread(file, at, 1, 0) == 1) at += kTableSpan;
    for (int i = 0; i < kBeyond; i++) (void)!pread(file, at + i * kTableSpan, 1, 0);
    char byte, seen[7];
    NEED(write(go, "x", 1) == 1 && read(bytes[0], &byte, 1) == 1);
    int foreign = 0;
    for (int i = 0; i < kBeyond; i++) {
        if (write(bytes[1], at + i * kTableSpan, sizeof seen) != sizeof seen) continue;
        NEED(read(bytes[0], seen, sizeof seen) == sizeof seen);
        foreign += memcmp(seen, "its own", sizeof seen) == 0;
        NEED(write(bytes[1], "changed", sizeof seen) == sizeof seen);
        (void)!read(bytes[0], at + i * kTableSpan, sizeof seen);
    }
    NEED(write(go, "y", 1) == 1);
    _exit(foreign == 0 ? 0 : 77);
}
TEST(tables_run_out) {
    int file = open("/proc/self/exe", O_RDONLY), go[2], bytes[2], status = -1, greedy_status = -1;
    NEED(file >= 0 && pipe(go) == 0 && pipe(bytes) == 0);
    pid_t victim = fork();
    if (victim == 0) {
        close(go[1]);
        victim_of_tables(go[0], bytes[1]);
    }
    pid_t greedy = fork();
    if (greedy == 0) {
        close(go[0]);
        take_all_tables(file, go[1], bytes);
    }
    close(go[0]), close(go[1]), close(bytes[0]), close(bytes[1]);
    NEED(waitpid(greedy, &greedy_status, 0) == greedy && waitpid(victim, &status, 0) == victim);
    say("bytes of another: %d, it: %d\n", WIFEXITED(greedy_status) && WEXITSTATUS(greedy_status) == 77, status);
}

// It is the one that took the tables that ends for them, and the others go on.
TEST(who_takes_all_tables_ends) {
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t greedy = fork();
    if (greedy == 0) {
        // Far apart: there is no room for so many tables anywhere.
        const size_t apart = 1ul << 21;
        char* base =
            mmap(NULL, apart << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        NEED(base != MAP_FAILED);
        for (size_t i = 0; i < 1ul << 20; i++) {
            base[i * apart] = 1;
            if (i == 2000) NEED(write(ready[1], "x", 1) == 1);
        }
        _exit(0);
    }
    char byte;
    NEED(read(ready[0], &byte, 1) == 1);
    // Meanwhile others begin, touch what they have not, and end.
    int failed = 0, status = 0;
    while (waitpid(greedy, &status, WNOHANG) == 0) {
        pid_t other = fork();
        if (other == 0) {
            char* p = mmap(NULL, 4 << 21, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (p == MAP_FAILED) _exit(1);
            for (int i = 0; i < 4; i++) p[(size_t)i << 21] = 1;
            _exit(0);
        }
        int how = -1;
        // A fork that finds no table fails, and is no process that ends.
        if (other > 0) failed += waitpid(other, &how, 0) != other || (WIFSIGNALED(how));
    }
    SHOW(failed);
    say("greedy: %s\n", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? "killed" : "not killed");
}
