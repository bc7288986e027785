// SPDX-License-Identifier: MIT
// Which calls a signal handler interrupts: EINTR, a restart, or a short count; and the timers that send signals.
#include "check.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

static volatile int count;
static void counting(int number) {
    (void)number;
    count = count + 1;
}
static void alarm_in(long milliseconds) {
    struct itimerval timer = {{0, 0}, {milliseconds / 1000, milliseconds % 1000 * 1000}};
    NEED(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}

// A child that writes one byte into a pipe after the alarm came, so that a restarted read ends.
static pid_t write_later(int fd, long milliseconds) {
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(milliseconds);
        _exit(write(fd, "x", 1) == 1 ? 0 : 1);
    }
    return pid;
}

static void read_with(int flags) {
    int p[2];
    char c = '?';
    NEED(pipe(p) == 0);
    on_signal(SIGALRM, counting, flags);
    pid_t pid = write_later(p[1], 250);
    alarm_in(60);
    CALL(read(p[0], &c, 1));
    SHOW(count);
    reap("writer", pid);
}
TEST(read_eintr) { read_with(0); }
TEST(read_restart) { read_with(SA_RESTART); }

TEST(read_ignored_signal) {
    int p[2];
    char c;
    NEED(pipe(p) == 0);
    signal(SIGALRM, SIG_IGN);
    pid_t pid = write_later(p[1], 120);
    alarm_in(40);
    CALL(read(p[0], &c, 1));
    reap("writer", pid);
}

TEST(stop_and_continue_restarts_read) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        CALL(read(p[0], &c, 1));
        _exit(0);
    }
    sleep_ms(20);
    int status;
    kill(pid, SIGSTOP);
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    kill(pid, SIGCONT);
    sleep_ms(10);
    NEED(write(p[1], "x", 1) == 1);
    reap("reader", pid);
}

TEST(write_short_count) {
    int p[2];
    NEED(pipe(p) == 0);
    static char bytes[100000];
    on_signal(SIGALRM, counting, SA_RESTART);
    alarm_in(50);
    CALL(write(p[1], bytes, sizeof bytes));
    SHOW(count);
    alarm_in(50);
    on_signal(SIGALRM, counting, 0);
    CALL(write(p[1], bytes, 1));
    SHOW(count);
}

TEST(nanosleep_remaining) {
    struct timespec t = {5, 0}, left = {99, 99};
    on_signal(SIGALRM, counting, SA_RESTART);
    alarm_in(50);
    CALL(nanosleep(&t, &left));
    IS(left.tv_sec == 4);
    left.tv_sec = 99;
    struct timespec when;
    clock_gettime(CLOCK_MONOTONIC, &when);
    when.tv_sec += 5;
    alarm_in(50);
    errno = 0;
    say("absolute: %s\n", errno_name(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, &left)));
    IS(left.tv_sec == 99);
}

static void wait_with(int flags) {
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(250);
        _exit(9);
    }
    on_signal(SIGALRM, counting, flags);
    alarm_in(60);
    int status = 0;
    errno = 0;
    int got = waitpid(pid, &status, 0);
    say("wait: %s\n", got == pid ? "the child" : errno_name(errno));
    SHOW(count);
    if (got != pid) reap("child", pid);
}
TEST(wait_eintr) { wait_with(0); }
TEST(wait_restart) { wait_with(SA_RESTART); }

TEST(poll_family_never_restarts) {
    int p[2];
    NEED(pipe(p) == 0);
    on_signal(SIGALRM, counting, SA_RESTART);
    struct pollfd entry = {p[0], POLLIN, 0};
    struct timespec long_time = {10, 0};
    fd_set set;
    alarm_in(40);
    CALL(poll(&entry, 1, 10000));
    alarm_in(40);
    CALL(ppoll(&entry, 1, &long_time, NULL));
    FD_ZERO(&set);
    FD_SET(p[0], &set);
    struct timeval long_value = {10, 0};
    alarm_in(40);
    CALL(select(p[0] + 1, &set, NULL, NULL, &long_value));
    alarm_in(40);
    CALL(pselect(p[0] + 1, &set, NULL, NULL, &long_time, NULL));
    SHOW(count);
}

TEST(epoll_wait_eintr) {
    on_signal(SIGALRM, counting, SA_RESTART);
    int fd = epoll_create1(0);
    struct epoll_event event;
    alarm_in(40);
    CALL(epoll_wait(fd, &event, 1, 10000));
}

static void futex_with(int flags) {
    int word = 1;
    struct timespec limit = {1, 0};
    on_signal(SIGALRM, counting, flags);
    alarm_in(40);
    CALL(syscall(SYS_futex, &word, FUTEX_WAIT, 1, &limit, NULL, 0));
    SHOW(count);
    alarm_in(40);
    CALL(syscall(SYS_futex, &word, FUTEX_WAIT, 2, &limit, NULL, 0));
}
TEST(futex_eintr) { futex_with(0); }
TEST(futex_with_restart_flag) { futex_with(SA_RESTART); }

TEST(ppoll_mask) {
    int p[2];
    NEED(pipe(p) == 0);
    on_signal(SIGUSR1, counting, 0);
    sigset_t set, none;
    sigemptyset(&set);
    sigemptyset(&none);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    struct pollfd entry = {p[0], POLLIN, 0};
    struct timespec little = {0, 10000000};
    CALL(ppoll(&entry, 1, &little, &set));
    SHOW(count);
    CALL(ppoll(&entry, 1, &little, &none));
    SHOW(count);
    sigprocmask(SIG_BLOCK, NULL, &set);
    IS(sigismember(&set, SIGUSR1));
    // With something ready the signal is left pending until the mask lets it through.
    raise(SIGUSR1);
    NEED(write(p[1], "x", 1) == 1);
    CALL(ppoll(&entry, 1, &little, &none));
    SHOW(count);
}

TEST(alarm_results) {
    on_signal(SIGALRM, counting, 0);
    CALL(alarm(100));
    CALL(alarm(200));
    CALL(alarm(0));
    CALL(alarm(0));
    alarm_in(1500);
    CALL(alarm(0));
    // Blocked but in its wait: the host may stop this CPU for longer than that.
    sigset_t set, none;
    sigemptyset(&none);
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    alarm_in(40);
    sigsuspend(&none);
    SHOW(count);
}

TEST(itimer_values) {
    struct itimerval timer = {{7, 0}, {100, 500000}}, old;
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    CALL(getitimer(ITIMER_REAL, &old));
    IS(old.it_interval.tv_sec == 7 && old.it_interval.tv_usec == 0);
    IS(old.it_value.tv_sec == 100 || old.it_value.tv_sec == 99);
    timer.it_value.tv_usec = 1000000;
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    timer.it_value.tv_usec = -1;
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    timer.it_value.tv_usec = 0;
    timer.it_value.tv_sec = -1;
    CALL(setitimer(ITIMER_REAL, &timer, NULL));
    CALL(setitimer(99, &timer, NULL));
    CALL(getitimer(99, &timer));
    CALL(setitimer(ITIMER_REAL, NULL, &old));
    CALL(getitimer(ITIMER_REAL, &old));
    SHOW(old.it_value.tv_sec);
}

TEST(itimer_repeats) {
    on_signal(SIGALRM, counting, 0);
    struct itimerval timer = {{0, 10000}, {0, 10000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
    for (long stop = now_ms() + 5000; count < 5 && now_ms() < stop;) sleep_ms(5);
    setitimer(ITIMER_REAL, &off, NULL);
    IS(count >= 5);
    int before = count;
    sleep_ms(40);
    IS(count == before);
}

TEST(itimer_not_inherited) {
    alarm_in(5000);
    CHILD("child") {
        struct itimerval old;
        getitimer(ITIMER_REAL, &old);
        SHOW(old.it_value.tv_sec + old.it_value.tv_usec);
    }
}

static void burn(volatile int* until) {
    volatile unsigned long x = 0;
    for (long stop = now_ms() + 8000; !*until && now_ms() < stop;)
        for (int i = 0; i < 2000; i++) x += (unsigned long)i;
}
TEST(cpu_timers) {
    struct itimerval timer = {{0, 0}, {0, 20000}};
    on_signal(SIGVTALRM, counting, 0);
    CALL(setitimer(ITIMER_VIRTUAL, &timer, NULL));
    burn(&count);
    SHOW(count);
    count = 0;
    on_signal(SIGPROF, counting, 0);
    CALL(setitimer(ITIMER_PROF, &timer, NULL));
    burn(&count);
    SHOW(count);
}

TEST(signals_interrupt_a_loop) {
    on_signal(SIGALRM, counting, 0);
    alarm_in(40);
    burn(&count);
    SHOW(count);
}

TEST(killed_in_a_loop) {
    pid_t pid = fork();
    if (pid == 0)
        for (;;) {
        }
    sleep_ms(20);
    CALL(kill(pid, SIGKILL));
    reap("child", pid);
}

TEST(killed_in_blocking_calls) {
    int p[2], word = 0;
    NEED(pipe(p) == 0);
    static char bytes[200000];
    for (int i = 0; i < 7; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            char c;
            if (i == 0) (void)!read(p[0], &c, 1);
            if (i == 1) (void)!write(p[1], bytes, sizeof bytes);
            if (i == 2) syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
            if (i == 3) pause();
            if (i == 4) poll(NULL, 0, -1);
            if (i == 5) {
                if (fork() == 0) sleep_ms(300), _exit(0);
                wait(NULL);
            }
            if (i == 6) sleep_ms(10000);
            _exit(1);
        }
        sleep_ms(10);
        kill(pid, SIGKILL);
        say("%d ", i);
        reap("child", pid);
    }
}
