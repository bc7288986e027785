// SPDX-License-Identifier: MIT
// Long lists: descriptors, locks, processes, waiters, names, areas, of which a program has thousands. What calls give is
// Linux's; that the kernel gives way while it walks them is counted by `./farcall test stretch`.
#include "check.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/select.h>

enum { kPage = 4096 };

static char* map(size_t bytes) {
    char* p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}
static void allow_descriptors(unsigned long count) {
    struct rlimit limit = {count, count};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

// Half of them are files of their own.
enum { kDescriptors = 24000 };
static void open_many(int flags) {
    for (int i = 0; i < kDescriptors / 2; i++) {
        int fd = open("/dev/null", O_RDONLY | flags);
        NEED(fd >= 0 && fcntl(fd, flags ? F_DUPFD_CLOEXEC : F_DUPFD, 3) >= 0);
    }
}
TEST(many_descriptors) {
    allow_descriptors(kDescriptors + 100);
    open_many(0);
    CHILD("closes a range") {
        CALL(syscall(SYS_close_range, 3, 5000, 0));
        CALL(fcntl(5000, F_GETFD));
        CALL(fcntl(5001, F_GETFD));
        CALL(syscall(SYS_close_range, 5001, ~0u, 4 /* CLOEXEC */));
        CALL(fcntl(kDescriptors, F_GETFD));
        CALL(syscall(SYS_close_range, 3, ~0u, 0));
        CALL(fcntl(kDescriptors, F_GETFD));
    }
    CHILD("a table of its own") {
        CALL(syscall(SYS_close_range, 10, ~0u, 2 /* UNSHARE */));
        CALL(fcntl(9, F_GETFD));
        CALL(fcntl(10, F_GETFD));
    }
    CHILD("program") {
        CALL(syscall(SYS_close_range, 3, ~0u, 4));
        CALL(execl("/proc/self/exe", "long_lists", "first_free", NULL));
    }
    CHILD("ends") _exit(7);
    CALL(fcntl(kDescriptors, F_GETFD));
}
HELPER(first_free) { SHOW(open("/dev/null", O_RDONLY)); }

TEST(large_numbers_of_descriptors) {
    allow_descriptors(1048576);
    CALL(dup2(1, 60000));
    CALL(dup2(1, 249999));
    CALL(dup2(1, 1048575));
    CALL(fcntl(1, F_DUPFD, 200000));
    CHILD("child") {
        CALL(dup2(1, 950000));
        CALL(syscall(SYS_close_range, 3, ~0u, 0));
        CALL(fcntl(249999, F_GETFD));
        CALL(fcntl(1048575, F_GETFD));
        CALL(dup(1));
    }
    CHILD("program") {
        CALL(syscall(SYS_close_range, 3, ~0u, 4));
        CALL(execl("/proc/self/exe", "long_lists", "first_free", NULL));
    }
    CALL(fcntl(1048575, F_GETFD));
}

// Sets of select(2) as long as the largest table.
TEST(sets_of_a_million_descriptors) {
    static unsigned long set[1048576 / 64];
    allow_descriptors(1048576);
    NEED(dup2(1, 1048575) == 1048575 && dup2(1, 700000) == 700000);
    set[1048575 / 64] |= 1ul << 63;
    set[700000 / 64] |= 1ul << (700000 % 64);
    set[0] |= 2;
    CALL(select(1048576, NULL, (fd_set*)set, NULL, NULL));
}

// As many as are in several pieces of the table.
TEST(descriptors_in_many_pieces) {
    enum { kMany = 100000 };
    allow_descriptors(1048576);
    for (int i = 3; i < kMany; i++) NEED(dup(1) == i);
    NEED(close(90000) == 0 && close(70000) == 0);
    CALL(dup(1));
    CHILD("child") {
        CALL(dup(1));
        CALL(fcntl(1, F_DUPFD, 70000));
        CALL(syscall(SYS_close_range, 65000, 99000, 0));
        CALL(fcntl(1, F_DUPFD, 66000));
        CALL(fcntl(99001, F_GETFD));
    }
    CHILD("program") {
        CALL(syscall(SYS_close_range, 50, ~0u, 4));
        CALL(execl("/proc/self/exe", "long_lists", "first_free", NULL));
    }
}

// Every second byte of a file.
enum { kLocks = 4000 };
static int lock(int fd, int command, short type, long start, long length) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    return fcntl(fd, command, &l);
}
static void lock_bytes(int fd, int command, short type) {
    for (int i = 0; i < kLocks; i++) NEED(lock(fd, command, type, 2 * i, 1) == 0);
}
static void show_lock(int fd, int command, long start, long length) {
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
    CALL(fcntl(fd, command, &l));
    say("type %d from %ld length %ld%s\n", l.l_type, (long)l.l_start, (long)l.l_len,
        l.l_type != F_UNLCK && l.l_pid == getppid() ? " of the parent" : "");
}
TEST(many_locks_of_a_process) {
    int fd = open("locks", O_RDWR | O_CREAT, 0600);
    lock_bytes(fd, F_SETLK, F_WRLCK);
    CHILD("child") {
        show_lock(fd, F_GETLK, 0, 0);
        show_lock(fd, F_GETLK, 2 * kLocks - 3, 2);
        show_lock(fd, F_GETLK, 2 * kLocks - 1, 0);
        show_lock(fd, F_GETLK, 4001, 1);
        CALL(lock(fd, F_SETLK, F_RDLCK, 4000, 1));
        CALL(lock(fd, F_SETLK, F_RDLCK, 4001, 1));
        CALL(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    }
    CALL(lock(fd, F_SETLK, F_RDLCK, 3, 5000));
    CHILD("child") {
        show_lock(fd, F_GETLK, 1, 1);
        show_lock(fd, F_GETLK, 3, 0);
        show_lock(fd, F_GETLK, 5003, 0);
    }
    CALL(lock(fd, F_SETLK, F_UNLCK, 100, 2 * kLocks - 200));
    CHILD("child") show_lock(fd, F_GETLK, 100, 0);
    lock_bytes(fd, F_SETLK, F_WRLCK);
    CALL(close(dup(fd)));
    CHILD("child") show_lock(fd, F_GETLK, 0, 0);
    lock_bytes(fd, F_SETLK, F_RDLCK);
    CALL(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    lock_bytes(fd, F_SETLK, F_RDLCK);  // they end with the process
}
TEST(many_locks_of_open_files) {
    int fd = open("locks", O_RDWR | O_CREAT, 0600), other = open("locks", O_RDWR);
    lock_bytes(fd, F_OFD_SETLK, F_WRLCK);
    show_lock(other, F_OFD_GETLK, 2 * kLocks - 3, 0);
    CALL(lock(other, F_OFD_SETLK, F_WRLCK, 1, 1));
    CALL(lock(other, F_OFD_SETLK, F_WRLCK, 0, 0));
    CALL(close(fd));
    CALL(lock(other, F_OFD_SETLK, F_WRLCK, 0, 0));
}
TEST(many_owners_of_locks) {
    enum { kOwners = 3000 };
    allow_descriptors(kOwners + 100);
    int first = -1, last = -1;
    for (int i = 0; i < kOwners; i++) {
        last = open("locks", O_RDWR | O_CREAT, 0600);
        if (i == 0) first = last;
        NEED(last >= 0 && lock(last, F_OFD_SETLK, F_RDLCK, 0, 0) == 0 && flock(last, LOCK_SH) == 0);
    }
    CALL(lock(first, F_OFD_SETLK, F_WRLCK, 0, 1));
    CALL(flock(first, LOCK_EX | LOCK_NB));
    CALL(flock(last, LOCK_UN));
    show_lock(last, F_OFD_GETLK, 0, 0);
    CALL(syscall(SYS_close_range, first, last - 1, 0));
    CALL(lock(last, F_OFD_SETLK, F_WRLCK, 0, 1));
    CALL(flock(last, LOCK_EX | LOCK_NB));
}

// Processes that share the memory of the caller, which takes less of it and of time.
enum { kProcesses = 1500, kStack = 2048 };
static int wait_until[2];
static int wait_for_end(void* unused) {
    (void)unused;
    char byte;
    while (read(wait_until[0], &byte, 1) < 0 && errno == EINTR) {
    }
    _exit(3);
}
static void make_processes(pid_t* pids) {
    char* stacks = map(kProcesses * kStack);
    for (int i = 0; i < kProcesses; i++) {
        pids[i] = clone(wait_for_end, stacks + (i + 1) * kStack, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, NULL);
        NEED(pids[i] > 0);
    }
}
TEST(many_children) {
    static pid_t pids[kProcesses];
    NEED(pipe(wait_until) == 0);
    make_processes(pids);
    int group = fork();
    if (group == 0) {
        setpgid(0, 0);
        _exit(wait_for_end(NULL));
    }
    setpgid(group, group);
    CALL(waitpid(-1, NULL, WNOHANG));
    CALL(waitpid(-group, NULL, WNOHANG));
    CALL(waitpid(-group, NULL, WNOHANG | WUNTRACED | WCONTINUED));
    CALL(waitpid(0, NULL, WNOHANG | WUNTRACED | WCONTINUED));
    CALL(waitpid(-(1 << 20), NULL, WNOHANG | WUNTRACED));
    // A zombie that no call waits for makes each wait visit all children.
    NEED(kill(pids[kProcesses - 1], SIGKILL) == 0);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)pids[kProcesses - 1], &info, WEXITED | WNOWAIT) == 0);
    CALL(waitpid(-group, NULL, WNOHANG));
    CALL(waitpid(-1, NULL, WNOHANG | __WCLONE));
    FACT("the last", waitpid(-1, NULL, 0) == pids[kProcesses - 1]);
    NEED(kill(group, SIGKILL) == 0);
    FACT("of the group", waitpid(-group, NULL, 0) == group);
    CALL(waitpid(-group, NULL, 0));
    // Files of /proc that are about all processes.
    show_file("/proc/nothing");
    static const char* const kFiles[] = {"/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/meminfo"};
    for (int i = 0; i < 4; i++) {
        char text[8192];
        int fd = open(kFiles[i], O_RDONLY);
        FACT(kFiles[i], read(fd, text, sizeof text) > 5);
        close(fd);
    }
    CALL(kill(0, 0));
    CALL(kill(-1, 0));
    CALL(setpriority(PRIO_PGRP, 0, 1));
    CALL(getpriority(PRIO_PGRP, 0));
    CALL(getpriority(PRIO_USER, 0) <= 1);
    on_signal(SIGTERM, SIG_IGN, 0);
    CALL(kill(0, SIGTERM));
    close(wait_until[1]);
    long ended = 0;
    for (int status; waitpid(-1, &status, 0) > 0;) ended += WIFSIGNALED(status) || WEXITSTATUS(status) == 3;
    SHOW(ended);
}
TEST(many_orphans) {
    NEED(pipe(wait_until) == 0);
    pid_t middle = fork();
    if (middle == 0) {
        static pid_t pids[kProcesses];
        close(wait_until[1]);
        make_processes(pids);
        _exit(5);
    }
    reap("middle", middle);
    close(wait_until[1]);  // the orphans end
    CALL(waitpid(-1, NULL, WNOHANG));
}

// Few processes whose numbers are far apart: a signal to all looks for those that it may be sent to.
TEST(signal_to_few_far_apart) {
    enum { kFar = 40, kApart = 512 };
    static pid_t pids[kFar];
    NEED(setresuid(1000, 1000, 1000) == 0);
    for (int i = 0; i < kFar; i++) {
        pids[i] = fork();
        NEED(pids[i] >= 0);
        if (pids[i] == 0)
            for (;;) pause();
        for (int n = 1; n < kApart; n++) {
            pid_t pid = vfork();
            if (pid == 0) _exit(0);
            NEED(pid > 0 && waitpid(pid, NULL, 0) == pid);
        }
    }
    CALL(kill(-1, 0));
    CALL(kill(-1, SIGUSR1));
    int killed = 0;
    for (int status; waitpid(-1, &status, 0) > 0;) killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1;
    SHOW(killed);
    CALL(kill(-1, 0));
}

// Threads that wait for words.
enum { kThreads = 1500 };
static int words[2];
static volatile int woken, waiting;
static int wait_for_word(void* unused) {
    (void)unused;
    __atomic_fetch_add(&waiting, 1, __ATOMIC_SEQ_CST);
    while (syscall(SYS_futex, words, FUTEX_WAIT_PRIVATE, 0, NULL) < 0 && errno == EINTR) {
    }
    __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_exit, 0);
    return 0;
}
static void make_waiters(void) {
    char* stacks = map(kThreads * kStack);
    woken = waiting = 0;
    for (int i = 0; i < kThreads; i++)
        NEED(clone(wait_for_word, stacks + (i + 1) * kStack,
                   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL) > 0);
    while (waiting != kThreads) sched_yield();
    // The last ones may still be starting: a requeue of none to itself counts the waiters.
    while (syscall(SYS_futex, words, FUTEX_REQUEUE_PRIVATE, 0, INT_MAX, words) != kThreads) sched_yield();
}
static void all_awake(int count) {
    while (woken != count) sched_yield();
    FACT("all awake", 1);
}
TEST(many_waiters) {
    make_waiters();
    CALL(syscall(SYS_futex, words, FUTEX_CMP_REQUEUE_PRIVATE, 1, INT_MAX, words + 1, 1));
    CALL(syscall(SYS_futex, words, FUTEX_CMP_REQUEUE_PRIVATE, 1, INT_MAX, words + 1, 0));
    CALL(syscall(SYS_futex, words, FUTEX_WAKE_PRIVATE, INT_MAX));
    CALL(syscall(SYS_futex, words + 1, FUTEX_WAKE_BITSET_PRIVATE, INT_MAX, NULL, NULL, 0x0fffffff));
    all_awake(kThreads);
    make_waiters();
    CALL(syscall(SYS_futex, words, FUTEX_REQUEUE_PRIVATE, 2, 100, words + 1));
    CALL(syscall(SYS_futex, words + 1, FUTEX_WAKE_OP_PRIVATE, INT_MAX, INT_MAX, words,
                 FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 0)));
    all_awake(kThreads);
    SHOW(words[0]);
    words[0] = 0;
    make_waiters();  // they end with the process
}

static void fill(const char* below) {
    char name[64];
    for (int d = 0; d < 40; d++) {
        snprintf(name, sizeof name, "%s/d%d", below, d);
        NEED(mkdir(name, 0755) == 0);
        for (int i = 0; i < 100; i++) {
            snprintf(name, sizeof name, "%s/d%d/%d", below, d, i);
            int fd = open(name, O_WRONLY | O_CREAT, 0600);
            NEED(fd >= 0 && write(fd, "text", 4) == 4 && close(fd) == 0);
        }
    }
}
TEST(umount_of_many_files) {
    NEED(mkdir("at", 0755) == 0 && mount("none", "at", "tmpfs", 0, "") == 0);
    fill("at");
    CALL(umount("at"));
    NEED(mount("none", "at", "tmpfs", 0, "") == 0);
    fill("at");
    int fd = open("at/d7/7", O_RDONLY);
    CALL(umount("at"));
    CALL(umount2("at", MNT_DETACH));
    char text[8] = "";
    CALL(read(fd, text, sizeof text));
    CALL(close(fd));
    CALL(rmdir("at"));
}

// A file of 16 TiB with a page at either end and some in between; and one in which data and holes take turns.
TEST(sparse_files) {
    int fd = memfd_create("sparse", 0);
    NEED(pwrite(fd, "x", 1, 0) == 1 && pwrite(fd, "x", 1, (16ul << 40) - 1) == 1);
    for (int i = 1; i < 64; i++) NEED(pwrite(fd, "x", 1, (long)i << 34) == 1);
    CALL(lseek(fd, 1, SEEK_HOLE));
    CALL(lseek(fd, 4096, SEEK_DATA));
    CALL(lseek(fd, 64l << 34, SEEK_DATA));
    CALL(lseek(fd, (16l << 40) - 1, SEEK_HOLE));
    long steps = 0;
    for (long at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0 && (at = lseek(fd, at, SEEK_HOLE)) >= 0;) steps++;
    SHOW(steps);
    CALL(close(fd));
    // Room that was never written is no data.
    fd = memfd_create("room", 0);
    for (int i = 0; i < 2000; i++) NEED(fallocate(fd, FALLOC_FL_KEEP_SIZE, (long)i << 26, kPage) == 0);
    NEED(ftruncate(fd, 2000l << 26) == 0);
    CALL(lseek(fd, 0, SEEK_DATA));
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(close(fd));
    fd = memfd_create("full", 0);
    enum { kSize = 48 << 20 };
    CALL(fallocate(fd, 0, 0, kSize));
    CALL(lseek(fd, 0, SEEK_DATA));
    char* p = mmap(NULL, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(p != MAP_FAILED);
    for (size_t i = 0; i < kSize; i += kPage) p[i] = 1;
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(lseek(fd, 12345, SEEK_HOLE));
    CALL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kSize - 2 * kPage, kPage));
    CALL(lseek(fd, 12345, SEEK_HOLE));
}

static char dots[4096];
TEST(long_walks) {
    NEED(mkdir("here", 0755) == 0);
    for (int i = 0; i < 41; i++) {
        size_t n = 0;
        for (; n < sizeof dots - 64; n += 2) memcpy(dots + n, "./", 2);
        if (i == 0)
            strcpy(dots + n, "here");
        else
            snprintf(dots + n, 32, "link%d", i - 1);
        char name[16];
        snprintf(name, sizeof name, "link%d", i);
        NEED(symlink(dots, name) == 0);
    }
    struct stat st;
    CALL(stat("link39", &st));
    CALL(stat("link40", &st));
    CALL(open("link39", O_RDONLY | O_NOFOLLOW));
    // Behind links whose text is made for the walk.
    CALL(stat("/proc/self/cwd/link37", &st));
    CALL(stat("/proc/self/cwd/link38", &st));
    CALL(access("link39/none", F_OK));
    CALL(mkdir("link39/new", 0755));
    CALL(rename("link39/new", "link39/newer"));
    CALL(rmdir("link38/newer"));
    CALL(chdir("link39"));
    char text[64], *name = getcwd(text, sizeof text);
    FACT("there", name && strcmp(strrchr(name, '/'), "/here") == 0);
    // Up and down, through ".." each time.
    for (size_t n = 0; n + 9 < sizeof dots; n += 8) strcpy(dots + n, "../here/");
    CALL(stat(dots, &st));
}

// Areas with holes of one page in between, which are all too small.
TEST(search_for_room) {
    enum { kAreas = 30000 };
    char* p = mmap(NULL, (size_t)kAreas * 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NEED(p != MAP_FAILED);
    for (int i = 0; i < kAreas; i++) NEED(munmap(p + (size_t)i * 2 * kPage, kPage) == 0);
    char* below = mmap(NULL, 2 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FACT("below", below != MAP_FAILED && below < p);
    // Room that appears at the top and is too small makes the search begin anew.
    CALL(munmap(p + kPage, kPage));
    char* again = mmap(NULL, 4 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FACT("below again", again != MAP_FAILED && again < p);
    NEED(munmap(p + ((size_t)kAreas * 2 - 1) * kPage, kPage) == 0);
    again = mmap(NULL, 4 * kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FACT("below once more", again != MAP_FAILED && again < p);
    char* fits = mmap(NULL, kPage, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FACT("in a hole", fits > p);
    again = mremap(fits, kPage, 8 * kPage, MREMAP_MAYMOVE);
    FACT("moved", again != MAP_FAILED && again < p);
    char* shared = mmap(NULL, 16 * kPage, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FACT("shared", shared != MAP_FAILED && shared < p);
}

TEST(copies_of_a_large_mapping_end) {
    enum { kPages = 8192 };
    int fd = memfd_create("copies", 0);
    NEED(ftruncate(fd, kPages * kPage) == 0);
    char* p = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    NEED(p != MAP_FAILED);
    for (size_t i = 0; i < kPages; i++) p[i * kPage] = 1;
    CALL(ftruncate(fd, kPage));
    TOUCH_READ(p + kPage);
    TOUCH_READ(p + (kPages - 1l) * kPage);
    CALL(ftruncate(fd, kPages * kPage));
    long sum = 0;
    for (size_t i = 0; i < kPages; i++) sum += p[i * kPage];
    SHOW(sum);
    // Far fewer copies, far apart.
    size_t size = 1ul << 36;
    NEED(ftruncate(fd, (off_t)size) == 0);
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    NEED(p != MAP_FAILED);
    for (size_t at = 0; at < size; at += size / 256) p[at] = 1;
    CALL(ftruncate(fd, kPage));
    TOUCH_READ(p + size / 2);
    SHOW(p[0]);
}

// Pieces of memory that are not large, each freed at once, end together.
enum { kPieces = 96 };
static const size_t kPiece = 1 << 20;
static void touch_all(char* p) {
    for (size_t at = 0; at < kPiece; at += kPage) p[at] = 1;
}
TEST(pieces_of_shared_memory_end) {
    CHILD("areas") {
        for (int i = 0; i < kPieces; i++) {
            char* p = mmap(NULL, kPiece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            NEED(p != MAP_FAILED);
            touch_all(p);
        }
        _exit(0);
    }
    CHILD("files") {
        for (int i = 0; i < kPieces; i++) {
            int fd = memfd_create("piece", 0);
            NEED(fd >= 0 && ftruncate(fd, (off_t)kPiece) == 0);
            char* p = mmap(NULL, kPiece, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            NEED(p != MAP_FAILED);
            touch_all(p);
            munmap(p, kPiece);
        }
        CALL(syscall(SYS_close_range, 3, ~0u, 0));
    }
}
