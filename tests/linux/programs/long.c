// SPDX-License-Identifier: MIT
// Long operations: calls whose length the program chooses. Their results are Linux's; that they give way in between is
// counted by `./farcall test stretch`.
#include "check.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

static char* map(size_t bytes) {
    char* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}

struct record {
    unsigned long inode;
    long offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

enum { kNames = 6000 };
static void make_names(void) {
    NEED(mkdir("names", 0755) == 0 && chdir("names") == 0);
    for (int i = 0; i < kNames; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        NEED(mknod(name, S_IFREG | 0600, 0) == 0);
    }
}
// The number of names in a buffer, and the sum of those that are numbers.
static void count_names(const char* buffer, long bytes, long* count, long* sum) {
    for (long at = 0; at < bytes;) {
        const struct record* r = (const struct record*)(buffer + at);
        ++*count;
        *sum += r->name[0] == '.' ? 0 : strtol(r->name, NULL, 10);
        at += r->length;
    }
}

TEST(names_into_fresh_memory) {
    make_names();
    int fd = open(".", O_RDONLY);
    char* buffer = map(1 << 20);
    long bytes = syscall(SYS_getdents64, fd, buffer, 1 << 20), count = 0, sum = 0;
    FACT("all at once", bytes > 0 && syscall(SYS_getdents64, fd, buffer + bytes, 1 << 19) == 0);
    count_names(buffer, bytes, &count, &sum);
    SHOW(count);
    SHOW(sum);
}

TEST(names_up_to_a_hole) {
    make_names();
    int fd = open(".", O_RDONLY);
    char* buffer = map(1 << 20);
    NEED(munmap(buffer + 100 * 1024, 4096) == 0);
    long count = 0, sum = 0, calls = 0;
    long bytes = syscall(SYS_getdents64, fd, buffer, 1 << 20);
    FACT("ends before the hole", bytes > 99 * 1024 && bytes <= 100 * 1024);
    for (; bytes > 0; bytes = syscall(SYS_getdents64, fd, buffer, 1 << 20), ++calls)
        count_names(buffer, bytes, &count, &sum);
    SHOW(count);
    SHOW(sum);
    CALL(lseek(fd, 0, SEEK_SET));
    CALL(syscall(SYS_getdents64, fd, buffer + 100 * 1024, 1 << 19));
}

TEST(maps_of_many_areas) {
    enum { kAreas = 4000 };
    char* p = mmap(NULL, kAreas * 8192ul, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    for (int i = 0; i < kAreas; i++) NEED(mprotect(p + i * 8192ul, 4096, PROT_READ) == 0);
    static char text[1 << 20];
    long size = 0, n;
    int fd = open("/proc/self/maps", O_RDONLY);
    while ((n = read(fd, text + size, sizeof text - (size_t)size - 1)) > 0) size += n;
    long readable = 0, hidden = 0;
    unsigned long before = 0;
    int ordered = 1;
    for (char* line = text; line < text + size; line = strchr(line, '\n') + 1) {
        unsigned long start = strtoul(line, NULL, 16);
        ordered &= start > before;
        before = start;
        if (start < (unsigned long)p || start >= (unsigned long)p + kAreas * 8192ul) continue;
        readable += strstr(line, " r--p ") && strstr(line, " r--p ") < strchr(line, '\n');
        hidden += strstr(line, " ---p ") && strstr(line, " ---p ") < strchr(line, '\n');
    }
    SHOW(readable);
    FACT("the rest is hidden", hidden >= kAreas - 1);
    FACT("in order", ordered);
    // The same bytes at a position in the middle, and again from the start.
    char piece[512];
    n = pread(fd, piece, sizeof piece, size / 2);
    FACT("from the middle", n > 0 && memcmp(piece, text + size / 2, (size_t)n) == 0);
    n = pread(fd, piece, sizeof piece, 0);
    FACT("from the start", n > 0 && memcmp(piece, text, (size_t)n) == 0);
    CALL(munmap(p, kAreas * 8192ul));
}

static void run_with(size_t count, size_t length) {
    char** arguments = (char**)map((count + 3) * sizeof *arguments);
    char* text = map(length + 4096);
    memset(text, 'x', length);
    arguments[0] = "long", arguments[1] = "says";
    for (size_t i = 0; i < count; i++) arguments[i + 2] = text;
    char* none[] = {NULL};
    CHILD("program") {
        CALL(execve("/proc/self/exe", arguments, none));
        _exit(1);
    }
}
HELPER(says) {
    unsigned long bytes = 0;
    for (int i = 2; i < test_argc; i++) bytes += strlen(test_argv[i]);
    SHOW(test_argc);
    SHOW(bytes);
}
TEST(many_arguments) {
    run_with(100000, 1);
    run_with(1000000, 1);
}
TEST(long_arguments) {
    run_with(8, 131071);
    run_with(8, 131072);
    run_with(3, 40000);
    run_with(30, 100000);
}
TEST(arguments_without_end) {
    enum { kBytes = 4 << 20 };
    char* p = map(kBytes + 4096);
    for (size_t i = 0; i < kBytes / sizeof(char*); i++) ((char**)p)[i] = "x";
    NEED(munmap(p + kBytes, 4096) == 0);
    char* none[] = {NULL};
    CALL(execve("/proc/self/exe", (char**)p, none));
}

static int add(int set, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}
TEST(sets_in_sets) {
    int event = eventfd(0, 0), below = event;
    for (int depth = 1; depth <= 8; depth++) {
        int set = epoll_create1(0), error = add(set, below);
        say("depth %d: %s\n", depth, error ? errno_name(-error) : "ok");
        if (error) break;
        below = set;
    }
    // From the top down: the outer sets stand already.
    int top = epoll_create1(0), above = top;
    for (int depth = 1; depth <= 8; depth++) {
        int set = epoll_create1(0), error = add(above, set);
        say("below %d: %s\n", depth, error ? errno_name(-error) : "ok");
        if (error) break;
        above = set;
    }
    CALL(add(above, event) ? -1 : 0);
    int a = epoll_create1(0), b = epoll_create1(0), c = epoll_create1(0);
    SHOW(add(a, b));
    SHOW(add(b, c));
    SHOW(add(c, a) == -ELOOP);
    SHOW(add(a, b) == -EEXIST);
}
TEST(paths_of_sets) {
    struct rlimit limit = {4000, 4000};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int event = eventfd(0, 0), inner = epoll_create1(0), taken = 0, error = 0;
    SHOW(add(inner, event));
    while (taken < 1500 && (error = add(epoll_create1(0), inner)) == 0) taken++;
    SHOW(taken);
    SHOW(error == -EINVAL);
    // Flat sets are not bounded.
    int other = eventfd(0, 0);
    for (taken = 0; taken < 1200 && add(epoll_create1(0), other) == 0;) taken++;
    SHOW(taken);
}

// Many paths lead through sets to one that is empty.
TEST(paths_to_nothing) {
    enum { kTimes = 25, kSets = 5 };
    int sets[kSets], error = 0;
    for (int i = 0; i < kSets; i++) sets[i] = epoll_create1(0);
    for (int i = kSets - 2; i >= 0; i--)
        for (int k = 0; k < kTimes; k++) error |= add(sets[i], fcntl(sets[i + 1], F_DUPFD, 20));
    SHOW(error);
    struct epoll_event out[4];
    struct pollfd p = {.fd = sets[0], .events = POLLIN};
    CALL(epoll_wait(sets[0], out, 4, 0));
    CALL(epoll_wait(sets[0], out, 4, 20));
    CALL(poll(&p, 1, 0));
    CALL(poll(&p, 1, 20));
}
// Files under several numbers each in one set, which is nested in another.
TEST(many_in_a_set) {
    enum { kFiles = 100, kNumbers = 20, kItems = kFiles * kNumbers };
    int inner = fcntl(epoll_create1(0), F_DUPFD, 600), outer = fcntl(epoll_create1(0), F_DUPFD, 600), files[kFiles];
    int error = add(outer, inner);
    for (int i = 0; i < kFiles; i++) {
        files[i] = fcntl(eventfd(0, EFD_NONBLOCK), F_DUPFD, 600);
        for (int k = 0; k < kNumbers; k++) error |= dup2(files[i], 100 + k) < 0 || add(inner, 100 + k);
    }
    SHOW(error);
    static struct epoll_event out[kItems];
    struct pollfd p = {.fd = outer, .events = POLLIN};
    CALL(epoll_wait(inner, out, kItems, 0));
    CALL(epoll_wait(inner, out, kItems, 20));
    CALL(epoll_wait(outer, out, kItems, 0));
    CALL(poll(&p, 1, 20));
    unsigned long value = 1;
    CALL(write(files[kFiles - 1], &value, 8));
    CALL(epoll_wait(inner, out, kItems, 0));
    CALL(epoll_wait(inner, out, 10, -1));
    CALL(epoll_wait(outer, out, kItems, -1));
    CALL(poll(&p, 1, -1));
    for (int i = 0; i < kFiles - 1; i++) NEED(write(files[i], &value, 8) == 8);
    CALL(epoll_wait(inner, out, kItems, 0));
    for (int i = 0; i < kFiles; i++) NEED(read(files[i], &value, 8) == 8);
    CALL(epoll_wait(inner, out, kItems, 0));
    CALL(epoll_wait(outer, out, kItems, 0));
    pid_t writer = fork();
    if (writer == 0) {
        sleep_ms(20);
        _exit(write(files[3], &value, 8) != 8);
    }
    CALL(epoll_wait(outer, out, kItems, -1));
    reap("writer", writer);
    // Its end is short.
    for (int k = 0; k < kItems; k++) {
        NEED(dup2(files[k / kNumbers], 100 + k % kNumbers) >= 0);
        NEED(epoll_ctl(inner, EPOLL_CTL_DEL, 100 + k % kNumbers, NULL) == 0);
    }
}

// A file under many numbers in each of many sets, of which one comes into another.
TEST(crowd_of_watchers) {
    enum { kNumbers = 100, kSets = 10 };
    int sets[kSets], event = fcntl(eventfd(0, 0), F_DUPFD, 600), outer = fcntl(epoll_create1(0), F_DUPFD, 600),
                     error = 0;
    for (int k = 0; k < kNumbers; k++) error |= dup2(event, 100 + k) < 0;
    for (int i = 0; i < kSets; i++) {
        sets[i] = fcntl(epoll_create1(0), F_DUPFD, 600);
        for (int k = 0; k < kNumbers; k++) error |= add(sets[i], 100 + k);
    }
    int inner = sets[0];
    SHOW(error);
    SHOW(add(outer, inner));
    SHOW(add(fcntl(epoll_create1(0), F_DUPFD, 600), outer));
    for (int i = 0; i < kSets; i++)  // so that its end is short
        for (int k = 0; k < kNumbers; k++) error |= epoll_ctl(sets[i], EPOLL_CTL_DEL, 100 + k, NULL);
    SHOW(error);
}

enum { kLarge = 24 << 20 };
TEST(large_transfers) {
    char *from = map(kLarge), *to = map(kLarge);
    for (size_t i = 0; i < kLarge; i += 8) *(size_t*)(from + i) = i * 0x9e3779b97f4a7c15u;
    int fd = open("large", O_RDWR | O_CREAT, 0600);
    CALL(write(fd, from, kLarge));
    CALL(pread(fd, to, kLarge, 0));
    FACT("the same", memcmp(from, to, kLarge) == 0);
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, kLarge - 8192));
    CALL(lseek(fd, 4096, SEEK_DATA));
    CALL(fallocate(fd, 0, 0, kLarge));
    CALL(ftruncate(fd, 10));
    CALL(close(fd));
    CALL(unlink("large"));
}

// On one CPU: does another process run during a long call?
TEST(others_run_meanwhile) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    NEED(sched_setaffinity(0, sizeof one, &one) == 0);
    volatile unsigned long* count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t other = fork();
    if (other == 0)
        for (;;) ++*count;
    char* from = map(kLarge);
    memset(from, 1, kLarge);
    int fd = open("large", O_RDWR | O_CREAT, 0600);
    int ran = 0;
    for (int i = 0; i < 5; i++) {
        unsigned long before = *count;
        NEED(pwrite(fd, from, kLarge, 0) == kLarge);
        ran += *count != before;
    }
    SHOW(ran > 0);
    kill(other, SIGKILL);
    reap("other", other);
    unlink("large");
}

// As many areas as there may be nearly: every second page of a range.
enum { kManyAreas = 60000 };
static char* many_areas(void) {
    char* p = mmap(NULL, kManyAreas * 4096ul, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    for (int i = 0; i < kManyAreas; i += 2) NEED(mprotect(p + i * 4096ul, 4096, PROT_READ | PROT_WRITE) == 0);
    return p;
}
TEST(changes_of_many_areas) {
    char* p = many_areas();
    p[0] = 1, p[59998 * 4096ul] = 2;
    CALL(madvise(p, kManyAreas * 4096ul, MADV_DONTFORK));
    CALL(madvise(p, kManyAreas * 4096ul, MADV_DOFORK));
    CALL(mlock2(p, kManyAreas * 4096ul, MLOCK_ONFAULT));
    CALL(munlock(p, kManyAreas * 4096ul));
    CHILD("child") {
        say("%d %d\n", p[0], p[59998 * 4096ul]);
        char* none[] = {NULL};
        CALL(execve("/proc/self/exe", (char*[]){"long", "says", NULL}, none));
        _exit(1);
    }
    CHILD("ends") _exit(0);
    CALL(madvise(p, kManyAreas * 4096ul, MADV_DONTNEED));
    say("%d %d\n", p[0], p[59998 * 4096ul]);
    CALL(mprotect(p, kManyAreas * 4096ul, PROT_READ));
    CALL(munmap(p, kManyAreas * 4096ul));
    TOUCH_READ(p);
    many_areas();  // they end with the program
}
TEST(changes_of_large_ranges) {
    size_t size = 64ul << 20;
    char* p = map(size);
    for (size_t i = 0; i < size; i += 4096) p[i] = (char)(i >> 12);
    CALL(mprotect(p, size, PROT_READ));
    TOUCH_WRITE(p + size / 2);
    CALL(mprotect(p, size, PROT_READ | PROT_WRITE));
    p[size / 2] = 1;
    char* to = map(2 * size);
    FACT("moved", mremap(p, size, 2 * size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
    TOUCH_READ(p);
    long wrong = 0;
    for (size_t i = 0; i < size; i += 4096) wrong += to[i] != (i == size / 2 ? 1 : (char)(i >> 12));
    SHOW(wrong);
    FACT("moved on", mremap(to, size, size, MREMAP_MAYMOVE | 4 /* DONTUNMAP */) != MAP_FAILED);
    SHOW(to[4096]);
    CALL(munmap(to, 2 * size));
}
TEST(much_room) {
    int fd = memfd_create("room", 0);
    CALL(fallocate(fd, 0, 100, 48 << 20));
    struct stat st;
    NEED(fstat(fd, &st) == 0);
    SHOW(st.st_size);
    SHOW(st.st_blocks);
    CALL(lseek(fd, 0, SEEK_DATA));
    CALL(lseek(fd, 0, SEEK_HOLE));
    NEED(pwrite(fd, "x", 1, 20000) == 1);
    CALL(lseek(fd, 0, SEEK_DATA));
    CALL(lseek(fd, 17000, SEEK_HOLE));
    char* p = mmap(NULL, 65536, PROT_READ, MAP_SHARED, fd, 0);
    NEED(p != MAP_FAILED);
    SHOW(p[40960]);
    CALL(lseek(fd, 20480, SEEK_DATA));
    CALL(fallocate(fd, 3, 5000, 47 << 20));
    NEED(fstat(fd, &st) == 0);
    SHOW(st.st_size);
    SHOW(st.st_blocks);
    CALL(ftruncate(fd, 0));
}

// The first piece of the change ends where the range as it was given begins.
TEST(grows_down_in_pieces) {
    char* room = map(8ul << 20);
    char* p = (char*)(((uintptr_t)room + (4 << 20)) & ~((2ul << 20) - 1));
    size_t size = 2ul << 20;
    NEED(mmap(p, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0) == p);
    memset(p, 1, size);
    for (int chunk = 1; chunk < 8; chunk++) {
        char* at = p + chunk * 262144;
        NEED(mprotect(at, (size_t)(p + size - at), PROT_READ | PROT_GROWSDOWN) == 0);
        TOUCH_WRITE(p);
        NEED(mprotect(p, size, PROT_READ | PROT_WRITE) == 0);
    }
}

TEST(forks_small_areas_at_the_bottom) {
    enum { kPage = 4096 };
    for (uintptr_t i = 1; i < 64; i++) {
        char* at = (char*)(i * kPage);
        int rights = PROT_READ | PROT_WRITE | (i % 2 ? PROT_EXEC : 0);
        NEED(mmap(at, kPage, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at);
        *(volatile char*)at = (char)i;
    }
    pid_t child = fork();
    if (child == 0) {
        int wrong = 0;
        for (uintptr_t i = 1; i < 64; i++) wrong += *(volatile char*)(i * kPage) != (char)i;
        _exit(wrong);
    }
    int status;
    NEED(waitpid(child, &status, 0) == child);
    SHOW(WEXITSTATUS(status));
}

// Private copies in many areas of two programs end with the file, while one of them forks and runs programs.
TEST(copies_of_many_areas_end) {
    enum { kPage = 4096, kPages = 600 };
    int fd = memfd_create("copies", 0);
    NEED(ftruncate(fd, kPages * kPage) == 0);
    char* p = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    NEED(p != MAP_FAILED);
    memset(p, 1, kPages * kPage);
    for (int i = 0; i < kPages; i += 2) NEED(mprotect(p + i * kPage, kPage, PROT_READ) == 0);
    int ready[2], go[2];
    NEED(pipe(ready) == 0 && pipe(go) == 0);
    pid_t forker = fork();
    if (forker == 0) {
        char byte;
        NEED(write(ready[1], "", 1) == 1);
        for (int i = 0; i < 20; i++) {
            pid_t child = fork();
            if (child == 0) _exit(0);
            NEED(waitpid(child, NULL, 0) == child);
        }
        NEED(read(go[0], &byte, 1) == 1);
        TOUCH_READ(p);
        TOUCH_READ(p + kPage);
        TOUCH_READ(p + (kPages - 1) * kPage);
        _exit(0);
    }
    char byte;
    NEED(read(ready[0], &byte, 1) == 1);
    CALL(ftruncate(fd, kPage));
    TOUCH_READ(p + kPage);
    TOUCH_READ(p + (kPages - 1) * kPage);
    SHOW(p[0]);
    NEED(write(go[1], "", 1) == 1);
    NEED(waitpid(forker, NULL, 0) == forker);
    CALL(ftruncate(fd, kPages * kPage));
    long sum = 0;
    for (int i = 0; i < kPages; i++) sum += p[i * kPage];
    SHOW(sum);
}

TEST(killed_while_it_populates) {
    size_t size = 32ul << 30;
    char* p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        for (;;) madvise(p, size, 22 /* MADV_POPULATE_READ */);
    }
    usleep(100000);
    NEED(kill(child, SIGKILL) == 0);
    int status;
    NEED(waitpid(child, &status, 0) == child);
    SHOW(WTERMSIG(status));
}

// A thread ends with as many robust locks as it may have, each on a page that is not there.
enum { kLocks = 2047, kStride = 16 * 4096 };
struct lock {
    struct lock* next;
    unsigned word;
};
static char* locks;
static struct lock* lock_of(int i) { return (struct lock*)(locks + (long)i * kStride); }
static int ends_with_locks(void* head) {
    NEED(syscall(SYS_set_robust_list, head, 24) == 0);
    unsigned self = (unsigned)syscall(SYS_gettid);
    for (int i = 0; i < kLocks; i++) lock_of(i)->word = self;
    NEED(madvise(locks, (size_t)kLocks * kStride, MADV_DONTNEED) == 0);
    syscall(SYS_exit, 0);
    return 0;
}
TEST(robust_locks_on_many_pages) {
    int fd = memfd_create("locks", 0);
    size_t size = (size_t)kLocks * kStride;
    NEED(fd >= 0 && ftruncate(fd, (long)size) == 0);
    locks = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(locks != MAP_FAILED);
    struct {
        struct lock* first;
        long offset;
        void* pending;
    } head = {lock_of(0), offsetof(struct lock, word), NULL};
    for (int i = 0; i < kLocks; i++) lock_of(i)->next = i + 1 < kLocks ? lock_of(i + 1) : (struct lock*)&head;
    pid_t child = clone(ends_with_locks, map(65536) + 65536, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, &head);
    NEED(child > 0);
    reap("child", child);
    int marked = 0;
    for (int i = 0; i < kLocks; i++) marked += lock_of(i)->word == 0x40000000;
    SHOW(marked);
}

// ---- Queued signals ----

enum { kQueued = 8000, kForgotten = 3000 };
static int queue_them(pid_t to, int sig, int count) {
    for (int i = 0; i < count; i++)
        if (sigqueue(to, sig, (union sigval){.sival_int = i}) < 0) return i;
    return count;
}
static void room_for_signals(unsigned count) {
    struct rlimit room = {count, count};
    NEED(setrlimit(RLIMIT_SIGPENDING, &room) == 0);
}

// Behind signals of another number are many that come to be ignored, by another process with the same actions.
static volatile int* stage;
static int lets_them_in(void* unused) {
    (void)unused;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    stage[0] = 1;
    while (stage[1] == 0) sched_yield();
    sigset_t most = all;
    sigdelset(&most, 50);
    sigprocmask(SIG_SETMASK, &most, NULL);
    sigset_t pending;
    sigpending(&pending);
    say("pending: %d %d\n", sigismember(&pending, 40), sigismember(&pending, 50));
    // The others are read at once.
    sigset_t forty;
    sigemptyset(&forty);
    sigaddset(&forty, 40);
    int fd = (int)syscall(SYS_signalfd4, -1, &forty, 8, O_NONBLOCK);
    char* infos = map((kQueued + 10) * 128l);
    long n = read(fd, infos, (kQueued + 10) * 128l) / 128, in_order = 0;
    for (long i = 0; i < n; i++) in_order += *(int*)(infos + i * 128 + 44) == i;
    say("read: %ld, in order: %ld\n", n, in_order);
    CALL(read(fd, infos, 128));
    _exit(0);
}
TEST(queued_signals_of_two_numbers) {
    room_for_signals(3 * kQueued);
    stage = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = clone(lets_them_in, map(65536) + 65536, CLONE_VM | CLONE_SIGHAND | CLONE_FILES | SIGCHLD, NULL);
    NEED(child > 0);
    while (stage[0] == 0) sched_yield();
    say("queued: %d\n", queue_them(child, 40, kQueued));
    say("queued: %d\n", queue_them(child, 50, kQueued));
    signal(50, SIG_IGN);
    stage[1] = 1;
    reap("child", child);
}

// Ignored at once, they are dropped and their memory is free again; the rest is freed with the process.
TEST(queued_signals_are_forgotten) {
    room_for_signals(3 * kForgotten);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    CHILD("child") {
        for (int round = 0; round < 4; round++) {
            say("queued: %d\n", queue_them(getpid(), 40, kForgotten) + queue_them(getpid(), 41, kForgotten));
            signal(40, SIG_IGN), signal(41, SIG_IGN);
            signal(40, SIG_DFL), signal(41, SIG_DFL);
        }
        say("queued: %d\n", queue_them(getpid(), 42, kForgotten));
    }
    say("queued: %d\n", queue_them(getpid(), 40, kForgotten) + queue_them(getpid(), 41, kForgotten) +
                            queue_them(getpid(), 42, kForgotten));
    CALL(sigqueue(getpid(), 43, (union sigval){.sival_int = 0}));
}
