// SPDX-License-Identifier: MIT
// What other processes have: kcmp(2), process_vm_readv(2), the owners of files; what /proc says of descriptors and threads.
#include "check.h"

#include <grp.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

enum { kPage = 4096 };

static void be_user(uid_t id) { NEED(setgroups(0, NULL) == 0 && setgid(id) == 0 && setuid(id) == 0); }
// A child that waits to be killed.
static pid_t sleeper(unsigned long flags) {
    pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    NEED(pid >= 0);
    if (pid == 0)
        for (;;) pause();
    return pid;
}
static void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

// ---- kcmp ----

static int kcmp(pid_t a, pid_t b, int type, unsigned long i, unsigned long j) {
    return (int)syscall(SYS_kcmp, a, b, type, i, j);
}
// 1 and 2 say in which order they are, which nobody is to know.
#define SAME(a, b, type, i, j)                                                  \
    do {                                                                        \
        errno = 0;                                                              \
        int r_ = kcmp(a, b, type, i, j);                                        \
        if (r_ < 0)                                                             \
            say(#type ": %s\n", errno_name(errno));                             \
        else                                                                    \
            say(#type ": %s\n", r_ == 0 ? "same" : r_ <= 2 ? "differ" : "odd"); \
    } while (0)

TEST(compare) {
    pid_t me = getpid();
    int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY), c = dup(a);
    SAME(me, me, KCMP_FILE, (unsigned)a, (unsigned)a);
    SAME(me, me, KCMP_FILE, (unsigned)a, (unsigned)b);
    SAME(me, me, KCMP_FILE, (unsigned)a, (unsigned)c);
    SAME(me, me, KCMP_FILE, (unsigned)a, 77);
    SAME(me, me, KCMP_FILE, (unsigned)a, -1ul);
    FACT("ordered",
         (kcmp(me, me, KCMP_FILE, (unsigned)a, (unsigned)b) ^ kcmp(me, me, KCMP_FILE, (unsigned)b, (unsigned)a)) == 3);
    static const unsigned long flags[] = {0, CLONE_FILES, CLONE_FS, CLONE_VM | CLONE_VFORK * 0};
    for (unsigned i = 0; i < 3; i++) {
        pid_t child = sleeper(flags[i]);
        say("flags %#lx\n", flags[i]);
        SAME(me, child, KCMP_FILE, (unsigned)a, (unsigned)a);
        SAME(me, child, KCMP_FILE, (unsigned)a, (unsigned)b);
        SAME(me, child, KCMP_VM, 0, 0);
        SAME(child, child, KCMP_VM, 0, 0);
        SAME(me, child, KCMP_FILES, 0, 0);
        SAME(me, child, KCMP_FS, 0, 0);
        SAME(me, child, KCMP_SIGHAND, 0, 0);
        SAME(me, child, KCMP_IO, 0, 0);
        end(child);
    }
    CALL(kcmp(me, me, 99, 0, 0));
    CALL(kcmp(me, 0, KCMP_VM, 0, 0));
    CALL(kcmp(me, 99999, KCMP_VM, 0, 0));
    pid_t child = sleeper(0);
    CHILD("another user") {
        be_user(1000);
        SAME(getpid(), getpid(), KCMP_VM, 0, 0);
        SAME(getpid(), child, KCMP_VM, 0, 0);
        SAME(getpid(), child, 99, 0, 0);
        SAME(getpid(), 99999, KCMP_VM, 0, 0);
    }
    end(child);
}

// ---- process_vm_readv, process_vm_writev ----

static long vm(int write, pid_t pid, void* here, size_t n, void* there, size_t m) {
    struct iovec l = {here, n}, r = {there, m};
    return syscall(write ? SYS_process_vm_writev : SYS_process_vm_readv, pid, &l, 1ul, &r, 1ul, 0ul);
}
TEST(memory) {
    char* m = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *text = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), small[16] = {0};
    NEED(m != MAP_FAILED && text != MAP_FAILED);
    for (int i = 0; i < 3 * kPage; i++) m[i] = (char)('a' + i % 23);
    pid_t child = sleeper(0);
    memset(m, '-', 3 * kPage);
    CALL(vm(0, child, text, 3 * kPage, m, 3 * kPage));
    FACT("its own", text[0] == 'a' && text[3 * kPage - 1] == (char)('a' + (3 * kPage - 1) % 23));
    CALL(vm(0, child, small, 4, m + kPage - 2, 4));
    say("%s\n", small);
    CALL(vm(0, child, small, 10, m, 3));
    CALL(vm(0, child, small, 3, m, 10));
    CALL(vm(0, child, small, 0, m, 10));
    CALL(vm(0, child, small, 3, m, 0));
    CALL(vm(1, child, (void*)"hello", 6, m + kPage - 3, 6));
    memset(small, 0, sizeof small);
    CALL(vm(0, child, small, 6, m + kPage - 3, 6));
    say("%s, here %c\n", small, m[kPage - 3]);
    say("never touched\n");
    CALL(vm(0, child, small, 6, m + 3 * kPage, 6));
    CALL(vm(1, child, (void*)"hello", 6, m + 3 * kPage, 6));
    CALL(vm(0, child, small, 6, m + 3 * kPage, 6));
    say("%s\n", small);
    say("several\n");
    char x[4] = {0}, y[8] = {0};
    struct iovec l[3] = {{x, 3}, {NULL, 0}, {y, 7}}, r[3] = {{m + kPage - 3, 2}, {NULL, 0}, {m, 9}};
    CALL(syscall(SYS_process_vm_readv, child, l, 3ul, r, 3ul, 0ul));
    say("%s %s\n", x, y);
    say("bad memory\n");
    CALL(vm(0, child, small, 6, (void*)8, 6));
    CALL(vm(0, child, (void*)8, 6, m, 6));
    CALL(vm(1, child, (void*)8, 6, m, 6));
    CALL(vm(1, child, small, 6, (void*)main, 6));
    NEED(munmap(text + kPage, kPage) == 0);
    CALL(vm(0, child, text, 2 * kPage, m, 2 * kPage));
    r[0] = (struct iovec){m, 5}, r[1] = (struct iovec){(void*)8, 5}, r[2] = (struct iovec){m, 5};
    l[0] = (struct iovec){small, 16};
    CALL(syscall(SYS_process_vm_readv, child, l, 1ul, r, 3ul, 0ul));
    CALL(syscall(SYS_process_vm_readv, child, l, 1ul, r, 1ul, 1ul));
    CALL(syscall(SYS_process_vm_readv, child, l, 1025ul, r, 1ul, 0ul));
    CALL(syscall(SYS_process_vm_readv, child, l, 1ul, r, 1025ul, 0ul));
    CALL(syscall(SYS_process_vm_readv, child, (void*)8, 1ul, r, 1ul, 0ul));
    CALL(syscall(SYS_process_vm_readv, child, l, 1ul, (void*)8, 1ul, 0ul));
    CALL(syscall(SYS_process_vm_readv, child, l, 1ul, NULL, 0ul, 0ul));
    CALL(vm(0, 99999, small, 6, m, 6));
    CALL(vm(0, 0, small, 6, m, 6));
    say("itself\n");
    CALL(vm(0, getpid(), small, 3, m, 3));
    CHILD("another user") {
        be_user(1000);
        CALL(vm(0, child, small, 3, m, 3));
        CALL(vm(1, child, small, 3, m, 3));
        CALL(vm(0, getpid(), small, 3, m, 3));
        CALL(vm(0, child, small, 0, m, 3));
    }
    end(child);
    child = fork();
    if (child == 0) _exit(0);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    CALL(vm(0, child, small, 3, m, 3));
    end(child);
}

// What may only be executed or written is not read, and the kernel's own pages are nobody's.
TEST(memory_without_the_right) {
    char small[16] = "here";
    char* m = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(m != MAP_FAILED);
    memset(m, 'm', 4 * kPage);
    NEED(mprotect(m + kPage, kPage, PROT_EXEC) == 0 && mprotect(m + 2 * kPage, kPage, PROT_WRITE) == 0);
    CALL(vm(0, getpid(), small, 4, m + kPage, 4));
    CALL(vm(1, getpid(), small, 4, m + kPage, 4));
    CALL(vm(0, getpid(), small, 4, m + 2 * kPage, 4));
    CALL(vm(1, getpid(), small, 4, m + 2 * kPage, 4));
    CALL(vm(0, getpid(), small, 8, m + kPage - 4, 8));
    CALL(vm(0, getpid(), small, 4, m + 3 * kPage, 4));
    unsigned long from, to;
    char line[200], name[64];
    FILE* maps = fopen("/proc/self/maps", "r");
    NEED(maps);
    while (fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %63s", &from, &to, name) == 3 && name[0] == '[' && name[1] == 'v') {
            say("%s\n", name);
            CALL(vm(0, getpid(), small, 4, (void*)from, 4));
        }
}
TEST(memory_of_the_same_user) {
    static char text[4] = "abc", got[4];
    CHILD("user") {
        be_user(1000);
        pid_t child = sleeper(0);
        memset(text, 0, 4);
        NEED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
        CALL(vm(0, child, got, 3, text, 3));  // it was made by one that is not dumpable
        end(child);
        child = sleeper(0);
        strcpy(text, "xyz");
        CALL(vm(0, child, got, 3, text, 3));
        CALL(vm(1, child, (void*)"new", 3, text, 3));
        CALL(vm(0, child, got, 3, text, 3));
        say("%s, here %s\n", got, text);
        end(child);
    }
}

// A process that was not to be inspected executes another program: what it had is not to be had in between either.
static unsigned long secret;
HELPER(ends) { sleep_ms(1); }
static void execute(const char* helper) {
    execl("/proc/self/exe", "others", helper, NULL);
    _exit(1);
}
static int reads_secret(pid_t of) {
    unsigned long got = 0;
    for (;;) {
        long n = vm(0, of, &got, sizeof got, &secret, sizeof got);
        if (n < 0 && errno == ESRCH) return 0;
        if (n == sizeof got && got >> 16 == 0xdeadbeefcafe) return 1;
    }
}
TEST(memory_of_one_that_executes) {
    int seen = 0;
    for (long end = now_ms() + 2500; now_ms() < end && !seen;) {
        pid_t child = fork();
        if (child == 0) {
            secret = 0xdeadbeefcafe0000;
            be_user(1000);
            for (volatile int i = 0; i < 20000; i++);
            execute("ends");
        }
        pid_t reader = fork();
        if (reader == 0) {
            be_user(1000);
            _exit(reads_secret(child));
        }
        int status;
        waitpid(child, NULL, 0);
        NEED(waitpid(reader, &status, 0) == reader);
        seen = WEXITSTATUS(status);
    }
    FACT("seen", seen);
}

// Its descriptors that are closed on exec, as long as it takes to give its large memory back.
TEST(descriptors_of_one_that_executes) {
    enum { kMuch = 48 << 20, kNumber = 50 };
    NEED(make_file("secret", "text", 0600) == 0);
    int seen = 0;
    for (int round = 0; round < 8 && !seen; round++) {
        pid_t child = fork();
        if (child == 0) {
            char* p = mmap(NULL, kMuch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            NEED(p != MAP_FAILED);
            memset(p, 1, kMuch);
            int fd = open("secret", O_RDONLY | O_CLOEXEC);
            NEED(dup3(fd, kNumber, O_CLOEXEC) == kNumber);
            be_user(1000);
            execute("ends");
        }
        pid_t reader = fork();
        if (reader == 0) {
            be_user(1000);
            char path[40], text[40];
            sprintf(path, "/proc/%d/fd/%d", child, kNumber);
            int found = 0;
            for (long end = now_ms() + 3000; !found && now_ms() < end;) {
                found = readlink(path, text, sizeof text) > 0;
                if (!found && errno == ENOENT) break;
            }
            _exit(found);
        }
        int status;
        NEED(waitpid(reader, &status, 0) == reader);
        waitpid(child, NULL, 0);
        seen = WEXITSTATUS(status);
    }
    FACT("seen", seen);
}

// A thread of root's executes a program; the leader, whose number it takes over, was a user's.
static pthread_barrier_t at_once;
static void* executes_later(void* unused) {
    (void)unused;
    pthread_barrier_wait(&at_once);
    char* const environment[] = {"WHO=root", NULL};
    execle("/proc/self/exe", "others", "ends", NULL, environment);
    _exit(1);
}
TEST(environment_of_a_thread_that_executes) {
    enum { kMuch = 48 << 20 };
    int seen = 0;
    for (int round = 0; round < 8 && !seen; round++) {
        pid_t child = fork();
        if (child == 0) {
            char* p = mmap(NULL, kMuch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            NEED(p != MAP_FAILED);
            memset(p, 1, kMuch);
            pthread_t thread;
            pthread_barrier_init(&at_once, NULL, 2);
            NEED(pthread_create(&thread, NULL, executes_later, NULL) == 0);
            NEED(syscall(SYS_setresgid, 1000, 1000, 1000) == 0 && syscall(SYS_setresuid, 1000, 1000, 1000) == 0);
            NEED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0);
            pthread_barrier_wait(&at_once);
            for (;;) pause();
        }
        pid_t reader = fork();
        if (reader == 0) {
            be_user(1000);
            char path[40], text[4096];
            sprintf(path, "/proc/%d/environ", child);
            int found = 0;
            for (long end = now_ms() + 3000; !found && now_ms() < end;) {
                int fd = open(path, O_RDONLY);
                if (fd < 0 && errno == ENOENT) break;
                ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text);
                found = n >= 8 && memcmp(text, "WHO=root", 8) == 0;
                if (fd >= 0) close(fd);
                if (kill(child, 0) < 0 && errno == ESRCH) break;
            }
            _exit(found);
        }
        int status;
        waitpid(child, NULL, 0);
        kill(reader, SIGKILL);
        NEED(waitpid(reader, &status, 0) == reader);
        seen = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    }
    FACT("seen", seen);
}

// ---- Owners of files, hints ----

static void show_owner(int fd) {
    struct f_owner_ex e = {-1, -1};
    int own = fcntl(fd, F_GETOWN), ex = fcntl(fd, F_GETOWN_EX, &e);
    const char* who = e.pid == 0 ? "nobody" : e.pid == getpid() ? "me" : "another";
    say("  own %s%s, ex %d type %d %s, signal %d\n", own < 0 ? "-" : "",
        own == 0                        ? "0"
        : own == e.pid || own == -e.pid ? "the same"
                                        : "odd",
        ex, e.type, who, fcntl(fd, F_GETSIG));
}
TEST(owners_of_files) {
    int p[2];
    NEED(pipe(p) == 0);
    setpgid(0, 0);  // a group of its own; it may lead a session already
    int files[] = {p[0], open("f", O_CREAT | O_RDWR, 0600), open("/dev/null", O_RDWR)};
    for (unsigned i = 0; i < 3; i++) {
        int fd = files[i];
        say("file %u\n", i);
        show_owner(fd);
        CALL(fcntl(fd, F_SETOWN, getpid()));
        show_owner(fd);
        CALL(fcntl(fd, F_SETOWN, -getpid()));
        show_owner(fd);
        CALL(fcntl(fd, F_SETOWN, 99999));
        CALL(fcntl(fd, F_SETOWN, -99999));
        CALL(fcntl(fd, F_SETOWN, INT_MIN));
        show_owner(fd);
        CALL(fcntl(fd, F_SETOWN_EX, (&(struct f_owner_ex){F_OWNER_TID, getpid()})));
        show_owner(fd);
        CALL(fcntl(fd, F_SETOWN_EX, (&(struct f_owner_ex){F_OWNER_PGRP, getpid()})));
        show_owner(fd);
        CALL(fcntl(fd, F_SETOWN_EX, (&(struct f_owner_ex){3, getpid()})));
        CALL(fcntl(fd, F_SETOWN_EX, (&(struct f_owner_ex){F_OWNER_PID, 99999})));
        CALL(fcntl(fd, F_SETOWN_EX, (void*)8));
        CALL(fcntl(fd, F_GETOWN_EX, (void*)8));
        CALL(fcntl(fd, F_SETSIG, 64));
        CALL(fcntl(fd, F_SETSIG, 65));
        CALL(fcntl(fd, F_SETSIG, -1));
        show_owner(fd);
        CALL(fcntl(fd, F_SETSIG, 0));
        CALL(fcntl(fd, F_SETOWN, 0));
        show_owner(fd);
    }
    say("one that ends\n");
    pid_t child = sleeper(0);
    CALL(fcntl(p[0], F_SETOWN, child));
    show_owner(p[0]);
    FACT("it is the child", fcntl(p[0], F_GETOWN) == child);
    kill(child, SIGKILL);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    FACT("it is the child", fcntl(p[0], F_GETOWN) == child);
    end(child);
    show_owner(p[0]);
    int path = open("f", O_PATH);
    CALL(fcntl(path, F_GETOWN));
    CALL(fcntl(path, F_SETOWN, getpid()));
    CALL(fcntl(dup(p[0]), F_SETSIG, SIGUSR1));
    show_owner(p[0]);
}

TEST(write_hints) {
    enum { kGet = 1035, kSet = 1036 };
    uint64_t hint = 99;
    int a = open("f", O_CREAT | O_RDWR, 0600), b = open("f", O_RDONLY);
    CALL(fcntl(a, kGet, &hint));
    SHOW(hint);
    hint = 5;
    CALL(fcntl(a, kSet, &hint));
    hint = 6;
    CALL(fcntl(a, kSet, &hint));
    CALL(fcntl(b, kGet, &hint));
    SHOW(hint);
    CALL(fcntl(a, kGet, (void*)8));
    CALL(fcntl(a, kSet, (void*)8));
    CALL(fcntl(a, 1037, &hint));
    CALL(fcntl(a, 1038, &hint));
    CALL(fcntl(a, F_GETLEASE));
}

// ---- /proc ----

// Lines of a file that begin with none of the words in `but`.
static void show_lines(const char* path, const char* but) {
    char text[8192];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0) {
        say("%s: %s\n", path, errno_name(errno));
        return;
    }
    close(fd);
    text[n] = 0;
    for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char word[32] = {0};
        sscanf(line, "%31s", word);
        if (!strstr(but, word)) say("  %s\n", line);
    }
}
static void show_info(const char* what, int fd) {
    char path[64];
    say("%s\n", what);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    show_lines(path, "mnt_id: ino: eventfd-id:");
}
// The line about the one file of a set, without what names its inode.
static void show_set(int fd, uint32_t events, uint64_t data) {
    char path[64], text[512];
    int set = epoll_create1(0);
    struct epoll_event event = {.events = events, .data.u64 = data};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set);
    int info = open(path, O_RDONLY);
    ssize_t n = read(info, text, sizeof text - 1);
    NEED(n > 0);
    text[n] = 0;
    char *line = strstr(text, "tfd:"), *rest = line ? strstr(line, " ino:") : NULL;
    NEED(rest);
    *rest = 0;
    say("  %s\n", line);
    FACT("one line", strchr(rest + 1, '\n') && !strchr(rest + 1, '\n')[1]);
    close(info);
    close(set);
}
TEST(info_of_descriptors) {
    int e = eventfd(0x123, EFD_CLOEXEC), t = timerfd_create(CLOCK_MONOTONIC, 0), b = timerfd_create(CLOCK_BOOTTIME, 0),
        p[2];
    NEED(pipe2(p, O_NONBLOCK) == 0);
    show_info("file", open("f", O_CREAT | O_RDWR | O_APPEND, 0600));
    show_info("file that closes", open("f", O_RDONLY | O_CLOEXEC));
    show_info("pipe", p[0]);
    show_info("eventfd", e);
    show_info("timerfd", t);
    NEED(timerfd_settime(t, TFD_TIMER_ABSTIME, &(struct itimerspec){{7, 5}, {0, 1}}, NULL) == 0);
    sleep_ms(20);
    show_info("timerfd that has ended", t);
    NEED(timerfd_settime(t, 0, &(struct itimerspec){{0, 0}, {0, 0}}, NULL) == 0);
    show_info("timerfd at rest", t);
    show_info("timerfd of another clock", b);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGTERM);
    show_info("signalfd", signalfd(-1, &mask, 0));
    int set = epoll_create1(0);
    show_info("empty set", set);
    show_set(e, EPOLLIN, 0x1122334455667788);
    show_set(p[1], EPOLLOUT | EPOLLET, 7);
}
TEST(info_of_many) {
    int set = epoll_create1(0), p[2], lines = 0;
    NEED(pipe(p) == 0);
    struct epoll_event event = {.events = EPOLLIN};
    for (int i = 0; i < 500; i++) {
        int fd = dup(p[0]);
        NEED(fd >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    }
    char path[64], c;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", set);
    int fd = open(path, O_RDONLY);
    while (read(fd, &c, 1) == 1) lines += c == '\n';
    SHOW(lines);
}

static void show_link(const char* what, int fd) {
    char path[64];
    struct stat s;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    NEED(lstat(path, &s) == 0);
    say("%s: mode %o, size %ld\n", what, s.st_mode, (long)s.st_size);
}
TEST(links_of_descriptors) {
    int p[2];
    NEED(pipe(p) == 0);
    show_link("read-write", open("f", O_CREAT | O_RDWR, 0600));
    show_link("read", open("f", O_RDONLY));
    show_link("write", open("f", O_WRONLY));
    show_link("path", open("f", O_PATH));
    show_link("pipe, read", p[0]);
    show_link("pipe, write", p[1]);
    show_link("eventfd", eventfd(0, 0));
    show_link("neither", open("f", 3));
}

HELPER(sleep_for_ever) {
    for (;;) pause();
}
TEST(vector_of_a_program) {
    unsigned long words[100];
    int fd = open("/proc/self/auxv", O_RDONLY);
    ssize_t n = read(fd, words, sizeof words);
    FACT("whole pairs", n > 0 && n % 16 == 0);
    n /= 8;
    FACT("ends", words[n - 2] == 0 && words[n - 1] == 0);
    int good = 0, pairs = 0;
    for (int i = 0; i + 2 < n; i += 2) {
        pairs++;
        good += getauxval(words[i]) == words[i + 1];
    }
    FACT("the same as in memory", pairs > 10 && good == pairs);
    CALL(read(fd, words, sizeof words));
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    say("mode %o\n", s.st_mode);
    pid_t child = sleeper(0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/auxv", child);
    OKAY(open(path, O_RDONLY));
    CHILD("another user") {
        be_user(1000);
        OKAY(open(path, O_RDONLY));
        OKAY(open("/proc/self/status", O_RDONLY));
    }
    end(child);
}

TEST(files_of_a_thread) {
    static const char* const files[] = {"auxv",   "cmdline", "comm", "cwd",  "environ", "exe",
                                        "limits", "maps",    "root", "stat", "statm",   "status"};
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[64];
        struct stat s;
        snprintf(path, sizeof path, "/proc/thread-self/%s", files[i]);
        if (lstat(path, &s) != 0)
            say("%s: %s\n", files[i], errno_name(errno));
        else
            say("%s: mode %o\n", files[i], s.st_mode);
    }
    char here[256] = {0}, there[256] = {0};
    NEED(getcwd(here, sizeof here));
    NEED(readlink("/proc/thread-self/cwd", there, sizeof there - 1) > 0);
    FACT("working directory", strcmp(here, there) == 0);
}

TEST(further_files) {
    show_lines("/proc/partitions", "");
    OKAY(open("/proc/devices", O_RDONLY));
    CHILD("x") {
        execl("/bin/busybox", "grep", "-E", "^  1 mem$|^  5 /dev/(tty|console)$|^(Character|Block) devices:$",
              "/proc/devices", NULL);
    }
    CHILD("y") {
        execl("/bin/busybox", "grep", "-E",
              "^(HugetlbPages|CoreDumping|Seccomp_filters|Mems_allowed_list):", "/proc/self/status", NULL);
    }
}
