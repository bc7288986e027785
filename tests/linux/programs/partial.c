// SPDX-License-Identifier: MIT
// Calls of which a part has happened: a result that cannot be copied out leaves what was done done, vectors go element by
// element where Linux's file operations do, locks are given up before their conversion fails.
#include "check.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static void* const kBad = (void*)8;

TEST(mask_without_old) {
    unsigned long set = 1ul << (SIGUSR1 - 1), now = 0;
    CALL(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, kBad, 8));
    CALL(syscall(SYS_rt_sigprocmask, 0, NULL, &now, 8));
    say("%#lx\n", now);
    CALL(syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, kBad, 8));
    CALL(syscall(SYS_rt_sigprocmask, 0, NULL, &now, 8));
    say("%#lx\n", now);
    CALL(syscall(SYS_rt_sigprocmask, SIG_BLOCK, kBad, &now, 8));
    CALL(syscall(SYS_rt_sigprocmask, 77, &set, kBad, 8));
    // Onto a page that is not there yet: once, and the old value is right.
    unsigned long* fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, fresh, 8));
    say("%#lx\n", *fresh);
}
TEST(action_without_old) {
    struct {
        unsigned long handler, flags, restorer, mask;
    } to = {1, 0, 0, 0}, now;
    CALL(syscall(SYS_rt_sigaction, SIGUSR1, &to, kBad, 8));
    CALL(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &now, 8));
    SHOW(now.handler);
    CALL(syscall(SYS_rt_sigaction, SIGUSR2, kBad, &now, 8));
    CALL(syscall(SYS_rt_sigaction, SIGKILL, &to, kBad, 8));
    CALL(syscall(SYS_rt_sigaction, SIGKILL, NULL, kBad, 8));
}
TEST(stack_without_old) {
    static char room[16384];
    stack_t to = {.ss_sp = room, .ss_size = sizeof room}, now;
    CALL(syscall(SYS_sigaltstack, &to, kBad));
    CALL(syscall(SYS_sigaltstack, NULL, &now));
    IS(now.ss_sp == room && now.ss_flags == 0);
}
TEST(timers_without_old) {
    struct itimerval to = {{0, 0}, {1000, 0}}, now;
    CALL(syscall(SYS_setitimer, ITIMER_REAL, &to, kBad));
    CALL(getitimer(ITIMER_REAL, &now));
    IS(now.it_value.tv_sec > 900);
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec wanted = {{0, 0}, {1000, 0}}, left;
    CALL(syscall(SYS_timerfd_settime, fd, 0, &wanted, kBad));
    CALL(timerfd_gettime(fd, &left));
    IS(left.it_value.tv_sec > 900);
    CALL(syscall(SYS_timerfd_settime, fd, 0, kBad, &left));
}
TEST(limit_without_old) {
    struct rlimit to = {100, 200}, now;
    CALL(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &to, kBad));
    CALL(getrlimit(RLIMIT_NOFILE, &now));
    say("%ld %ld\n", (long)now.rlim_cur, (long)now.rlim_max);
    CALL(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, kBad));
}

static int signal_file(int a, int b) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, a);
    sigaddset(&set, b);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK);
}
TEST(signals_without_a_buffer) {
    int fd = signal_file(SIGUSR1, SIGUSR2);
    struct signalfd_siginfo info;
    memset(&info, 0x55, sizeof info);
    CALL(read(fd, kBad, sizeof info));
    CALL(read(fd, &info, sizeof info));
    SHOW(info.ssi_signo == 0x55555555);
    raise(SIGUSR1);
    CALL(read(fd, kBad, sizeof info));
    CALL(read(fd, &info, sizeof info));
    raise(SIGUSR1);
    raise(SIGUSR2);
    CALL(read(fd, &info, 127));
    CALL(read(fd, &info, sizeof info));
    SHOW(info.ssi_signo);
}
TEST(signals_of_the_reader) {
    int fd = signal_file(SIGUSR1, SIGUSR2);
    struct signalfd_siginfo info;
    struct pollfd p = {fd, POLLIN, 0};
    raise(SIGUSR1);
    CHILD("child") {
        CALL(poll(&p, 1, 0));
        CALL(read(fd, &info, sizeof info));
        raise(SIGUSR2);
        CALL(poll(&p, 1, 0));
        CALL(read(fd, &info, sizeof info));
        SHOW(info.ssi_signo);
    }
    CALL(poll(&p, 1, 0));
    CALL(read(fd, &info, sizeof info));
    SHOW(info.ssi_signo);
    CALL(poll(&p, 1, 0));
    // A child that waits is woken by a signal of its own.
    fcntl(fd, F_SETFL, 0);
    pid_t child = fork();
    if (child == 0) {
        CALL(poll(&p, 1, 5000));
        CALL(read(fd, &info, sizeof info));
        CALL(read(fd, &info, sizeof info));
        SHOW(info.ssi_signo);
        _exit(0);
    }
    sleep_ms(50);
    kill(child, SIGUSR1);
    sleep_ms(50);
    kill(child, SIGUSR2);
    reap("child", child);
}

TEST(vectors_of_events) {
    int fd = eventfd(0, EFD_NONBLOCK);
    uint64_t two[2] = {3, 4};
    char* bytes = (char*)two;
    struct iovec halves[2] = {{bytes, 4}, {bytes + 4, 4}}, whole[2] = {{two, 8}, {two + 1, 8}}, one[1] = {{two, 8}};
    struct iovec empty_first[2] = {{two, 0}, {two, 8}}, empty_last[2] = {{two, 8}, {two, 0}};
    CALL(writev(fd, halves, 2));
    CALL(writev(fd, whole, 2));
    CALL(readv(fd, halves, 2));
    SHOW(two[0]);
    CALL(writev(fd, one, 1));
    CALL(readv(fd, whole, 2));
    CALL(writev(fd, empty_first, 2));
    CALL(writev(fd, empty_last, 2));
    CALL(writev(fd, empty_first, 1));
    struct iovec bad[2] = {{two, 8}, {kBad, 8}};
    two[0] = 1;
    CALL(writev(fd, bad, 2));
    CALL(read(fd, two, 8));
    struct iovec bad_first[2] = {{kBad, 8}, {two, 8}};
    CALL(writev(fd, bad_first, 2));
}
TEST(vectors_of_timers_and_signals) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec soon = {{0, 0}, {0, 1}};
    uint64_t two[2];
    char* bytes = (char*)two;
    struct iovec halves[2] = {{bytes, 4}, {bytes + 4, 4}}, whole[2] = {{two, 8}, {two + 1, 8}};
    NEED(timerfd_settime(fd, 0, &soon, NULL) == 0);
    sleep_ms(2);
    CALL(readv(fd, halves, 2));
    CALL(readv(fd, whole, 2));
    CALL(readv(fd, whole, 2));
    CALL(writev(fd, whole, 2));
    fd = signal_file(SIGUSR1, SIGUSR2);
    char infos[256];
    struct iovec in_halves[2] = {{infos, 64}, {infos + 64, 64}}, in_two[2] = {{infos, 128}, {infos + 128, 128}};
    raise(SIGUSR1);
    raise(SIGUSR2);
    CALL(readv(fd, in_halves, 2));
    CALL(readv(fd, in_two, 2));
    raise(SIGUSR1);
    CALL(readv(fd, in_two, 2));
}
TEST(vectors_of_devices) {
    char bytes[16] = "0123456789";
    struct iovec two[2] = {{bytes, 4}, {bytes + 4, 4}}, none[2] = {{bytes, 0}, {bytes, 0}};
    static const char* const names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"};
    for (int i = 0; i < 4; i++) {
        int fd = open(names[i], O_RDWR);
        say("-- %s\n", names[i]);
        CALL(writev(fd, two, 2));
        CALL(writev(fd, none, 2));
        CALL(readv(fd, two, 2));
        struct iovec bad[2] = {{bytes, 4}, {kBad, 4}};
        CALL(writev(fd, bad, 2));
        CALL(readv(fd, bad, 2));
        close(fd);
    }
    memcpy(bytes, "abcdefgh", 8);
    int fd = open("/proc/self/comm", O_RDWR);
    CALL(writev(fd, two, 2));
    show_file("/proc/self/comm");
}

static void ask(int fd, int type, long start, long length) {
    struct flock l = {.l_type = (short)type, .l_start = start, .l_len = length};
    CALL(fcntl(fd, F_GETLK, &l));
    say("type %d start %ld length %ld\n", l.l_type, (long)l.l_start, (long)l.l_len);
}
static void set(int fd, int type, long start, long length) {
    struct flock l = {.l_type = (short)type, .l_start = start, .l_len = length};
    NEED(fcntl(fd, F_SETLK, &l) == 0);
}
TEST(first_lock_in_the_way) {
    int fd = open("l", O_RDWR | O_CREAT, 0600);
    set(fd, F_WRLCK, 10, 5);
    set(fd, F_RDLCK, 1, 5);
    set(fd, F_WRLCK, 30, 20);
    set(fd, F_UNLCK, 35, 5);
    set(fd, F_RDLCK, 32, 1);
    CHILD("asks") {
        ask(fd, F_WRLCK, 0, 0);
        ask(fd, F_RDLCK, 0, 0);
        ask(fd, F_WRLCK, 16, 0);
        ask(fd, F_RDLCK, 32, 0);
        ask(fd, F_WRLCK, 33, 0);
        ask(fd, F_WRLCK, 35, 5);
    }
    // Owners in the order of their first lock.
    int ready[2], done[2];
    NEED(pipe(ready) == 0 && pipe(done) == 0);
    char byte = 0;
    pid_t child = fork();
    if (child == 0) {
        close(done[1]);
        set(fd, F_WRLCK, 100, 5);
        set(fd, F_WRLCK, 0, 1);
        NEED(write(ready[1], &byte, 1) == 1);
        NEED(read(done[0], &byte, 1) == 0);
        _exit(0);
    }
    NEED(read(ready[0], &byte, 1) == 1);
    CHILD("asks") {
        ask(fd, F_WRLCK, 0, 0);
        ask(fd, F_WRLCK, 60, 0);
    }
    set(fd, F_UNLCK, 0, 0);
    set(fd, F_WRLCK, 5, 1);
    CHILD("asks") { ask(fd, F_WRLCK, 0, 0); }
    close(done[1]);
    reap("owner", child);
}
TEST(conversion_of_flock) {
    int a = open("l", O_RDWR | O_CREAT, 0600), b = open("l", O_RDWR), third = open("l", O_RDWR);
    CALL(flock(a, LOCK_SH));
    CALL(flock(b, LOCK_SH));
    CALL(flock(a, LOCK_EX | LOCK_NB));
    CALL(flock(b, LOCK_EX | LOCK_NB));
    CALL(flock(third, LOCK_SH | LOCK_NB));
    CALL(flock(a, LOCK_SH | LOCK_NB));
    CALL(flock(b, LOCK_SH | LOCK_NB));
    CALL(flock(third, LOCK_SH | LOCK_NB));
}

// ---- A write from a mapping of the file that it makes longer: page by page, it finds what it has written before ----

enum { kPage = 4096 };
static long size_of(int fd) {
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    return s.st_size;
}
#define SHORTEN(n) NEED(ftruncate(fd, n) == 0)
TEST(write_from_beyond_the_end) {
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    NEED(fd >= 0 && ftruncate(fd, kPage + 100) == 0);
    char* at = mmap(NULL, 64 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(at != MAP_FAILED);
    for (int i = 0; i < kPage + 100; i++) at[i] = (char)(i % 251);
    CALL(pwrite(fd, at, 4 * kPage, 0));
    CALL(pwrite(fd, at, 4 * kPage, kPage));
    SHOW(size_of(fd));
    int same = 1;
    for (int i = 0; i < 4 * kPage; i++) same &= at[kPage + i] == (char)(i % kPage % 251);
    FACT("one page, five times", same);
    SHORTEN(kPage);
    CALL(pwrite(fd, at + kPage, 100, kPage));
    CALL(pwrite(fd, at + 2 * kPage, kPage, 2 * kPage));
    CALL(pwrite(fd, at + kPage - 10, 100, kPage));
    SHOW(size_of(fd));
    SHORTEN(kPage);
    CALL(pwrite(fd, at + 10, 8 * kPage - 10, kPage));
    SHORTEN(kPage);
    CALL(pwrite(fd, at, 8 * kPage, kPage + 10));
    SHOW(size_of(fd));
    SHORTEN(kPage);
    CALL(pwrite(fd, at, 64 * kPage, kPage));
    SHOW(size_of(fd));
    SHORTEN(kPage);
    CALL(lseek(fd, 0, SEEK_END));
    CALL(write(fd, at, 2 * kPage));
    CALL(lseek(fd, 0, SEEK_CUR));
    struct iovec grows[] = {{at, 10}, {at + kPage, 20}, {at + 1, 50}};
    struct iovec stays[] = {{at, 10}, {at + 3 * kPage, 20}, {at + 1, 50}};
    SHORTEN(kPage);
    CALL(pwritev(fd, grows, 3, kPage));
    SHORTEN(kPage);
    CALL(pwritev(fd, grows, 3, 0));
    CALL(pwritev(fd, stays, 3, kPage));
    SHOW(size_of(fd));
    // Nothing of a pipe or of another file makes the source longer.
    int ends[2], other = open("other", O_RDWR | O_CREAT | O_TRUNC, 0600);
    NEED(pipe2(ends, O_NONBLOCK) == 0 && other >= 0);
    SHORTEN(kPage);
    CALL(write(ends[1], at, 2 * kPage));
    CALL(pwrite(other, at, 2 * kPage, 0));
    CALL(pwrite(other, at + kPage - 10, 100, 0));
}
