// SPDX-License-Identifier: MIT
// Time: clocks, sleeping, timers as descriptors, limits of their arguments.
#include "check.h"

#include <poll.h>
#include <sched.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <utime.h>

static long ns(const struct timespec* t) { return t->tv_sec * 1000000000 + t->tv_nsec; }

TEST(clocks_exist) {
    static const int clocks[] = {0, 1, 2, 3, 4, 5, 6, 7, 11, 10, 12, 16, -1, 1000};
    for (int i = 0; i < 14; i++) {
        struct timespec t = {0, -1}, r = {0, 0};
        errno = 0;
        long a = syscall(SYS_clock_gettime, clocks[i], &t);
        int e = errno;
        errno = 0;
        long b = syscall(SYS_clock_getres, clocks[i], &r);
        say("clock %d: %s%s, %s\n", clocks[i], a ? errno_name(e) : "ok",
            !a && (t.tv_nsec < 0 || t.tv_nsec > 999999999) ? " bad" : "", b ? errno_name(errno) : "ok");
    }
    CALL(syscall(SYS_clock_gettime, CLOCK_REALTIME, (void*)8));
    CALL(syscall(SYS_clock_getres, CLOCK_REALTIME, NULL));
    CALL(syscall(SYS_clock_gettime, 1000, (void*)8));
}

TEST(resolution) {
    struct timespec r;
    static const int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC,          CLOCK_MONOTONIC_RAW,
                                 CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
    for (int i = 0; i < 6; i++) {
        NEED(clock_getres(clocks[i], &r) == 0);
        say("%d: %ld %ld\n", clocks[i], (long)r.tv_sec, r.tv_nsec);
    }
}

TEST(monotonic_never_goes_back) {
    struct timespec a, b;
    int back = 0;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 3000; i++) {
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b);
        back += ns(&b) < ns(&a);
        clock_gettime(CLOCK_MONOTONIC, &a);
        back += ns(&a) < ns(&b);
    }
    SHOW(back);
}

TEST(clocks_agree) {
    struct timespec real, call;
    struct timeval day;
    clock_gettime(CLOCK_REALTIME, &real);
    syscall(SYS_gettimeofday, &day, NULL);
    time_t t = (time_t)syscall(SYS_time, NULL), u = 0;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &call);
    FACT("gettimeofday", labs(day.tv_sec - real.tv_sec) <= 2);
    FACT("time", labs(t - real.tv_sec) <= 2);
    FACT("by system call", labs(call.tv_sec - real.tv_sec) <= 2);
    FACT("a plausible year", real.tv_sec > 1600000000 && real.tv_sec < 4000000000);
    IS(syscall(SYS_time, &u) == u);
    CALL(syscall(SYS_time, (void*)8));
    CALL(syscall(SYS_gettimeofday, (void*)8, NULL));
    CALL(syscall(SYS_gettimeofday, NULL, NULL));
    CALL(syscall(SYS_gettimeofday, NULL, (void*)8));
}

TEST(sleeps_long_enough) {
    struct timespec a, b, t = {0, 30000000};
    clock_gettime(CLOCK_MONOTONIC, &a);
    CALL(nanosleep(&t, NULL));
    clock_gettime(CLOCK_MONOTONIC, &b);
    FACT("30 ms", ns(&b) - ns(&a) >= 30000000);
    a = b;
    a.tv_nsec += 20000000;
    if (a.tv_nsec > 999999999) a.tv_nsec -= 1000000000, a.tv_sec++;
    CALL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &a, NULL));
    clock_gettime(CLOCK_MONOTONIC, &b);
    FACT("until then", ns(&b) >= ns(&a));
    a.tv_sec = 0, a.tv_nsec = 1;
    CALL(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &a, NULL));
    clock_gettime(CLOCK_REALTIME, &a);
    CALL(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &a, NULL));
    t.tv_nsec = 0;
    CALL(nanosleep(&t, NULL));
}

TEST(sleep_errors) {
    struct timespec bad[] = {{0, -1}, {0, 1000000000}, {-1, 0}};
    for (int i = 0; i < 3; i++) {
        CALL(syscall(SYS_nanosleep, &bad[i], NULL));
        CALL(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &bad[i], NULL));
    }
    CALL(syscall(SYS_nanosleep, NULL, NULL));
    CALL(syscall(SYS_nanosleep, (void*)8, NULL));
    struct timespec t = {0, 1};
    CALL(syscall(SYS_clock_nanosleep, 1000, 0, &t, NULL));
    CALL(syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &t, NULL));
    CALL(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &t, NULL));
    CALL(syscall(SYS_clock_nanosleep, CLOCK_BOOTTIME, 0, &t, NULL));
    CALL(syscall(SYS_nanosleep, &t, (void*)8));
}

TEST(sleepers_wake_in_order) {
    int p[2];
    NEED(pipe(p) == 0);
    static const int delays[] = {120, 40, 160, 80, 0};
    for (int i = 0; i < 5; i++)
        if (fork() == 0) {
            sleep_ms(delays[i] * 2);
            char c = (char)('a' + delays[i] / 40);
            _exit(write(p[1], &c, 1) == 1 ? 0 : 1);
        }
    char text[6] = "";
    for (int i = 0; i < 5; i++) NEED(read(p[0], text + i, 1) == 1);
    say("%s\n", text);
    for (int i = 0; i < 5; i++) reap("sleeper", -1);
}

// Computes; reads the clock seldom, because a call that waits for another CPU is not computing.
static void burn(long milliseconds) {
    volatile unsigned long x = 0;
    for (long stop = now_ms() + milliseconds; now_ms() < stop;)
        for (int i = 0; i < 300000; i++) x += (unsigned long)i;
}
static long cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return ns(&t);
}
// Other threads may have run in the meantime: three ticks of user and system time together show in one of the two.
static void burn_ticks(void) {
    burn(60);
    for (int i = 0; i < 500 && cpu_ns() < 30000000; i++) burn(20);
}

TEST(cpu_time) {
    struct timespec a, b, c;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    sleep_ms(60);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    FACT("sleeping costs little", ns(&b) - ns(&a) < 40000000);
    burn_ticks();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &c);
    FACT("computing is counted", ns(&c) - ns(&b) > 1000000);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &c);
    FACT("thread clock runs", ns(&c) > 0);
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    FACT("user time", self.ru_utime.tv_sec * 1000000 + self.ru_utime.tv_usec > 0);
    FACT("no children yet",
         children.ru_utime.tv_sec * 1000000 + children.ru_utime.tv_usec + children.ru_stime.tv_usec == 0);
    CHILD("child") burn_ticks();
    getrusage(RUSAGE_CHILDREN, &children);
    FACT("children's time after wait",
         children.ru_utime.tv_sec * 1000000 + children.ru_utime.tv_usec + children.ru_stime.tv_usec > 0);
    struct tms t;
    FACT("times", times(&t) != -1 && t.tms_utime + t.tms_stime > 0 && t.tms_cutime + t.tms_cstime > 0);
    CALL(syscall(SYS_times, NULL) != -1);
    CALL(syscall(SYS_times, (void*)8));
    CALL(getrusage(99, &self));
    CALL(getrusage(RUSAGE_THREAD, &self));
    CALL(syscall(SYS_getrusage, RUSAGE_SELF, (void*)8));
}

TEST(cpu_time_limit) {
    signal(SIGXCPU, SIG_DFL);
    CHILD("child") {
        NEED(setrlimit(RLIMIT_CPU, &(struct rlimit){1, 3}) == 0);
        for (;;) {
        }
    }
}

static volatile int limit_signals;
static void note_limit(int number) {
    (void)number;
    limit_signals = limit_signals + 1;
}
// In nanoseconds the limit is more than a number holds.
TEST(cpu_time_limits_of_centuries) {
    on_signal(SIGXCPU, note_limit, 0);
    static const rlim_t limits[] = {18446744072, 18446744074, 20000000000, RLIM_INFINITY - 1};
    for (int i = 0; i < 4; i++) {
        struct rlimit limit = {limits[i], limits[i]};
        CHILD("limited") {
            NEED(setrlimit(RLIMIT_CPU, &limit) == 0);
            for (volatile int n = 0; n < 30000000; n++);
            NEED(getrlimit(RLIMIT_CPU, &limit) == 0);
            SHOW(limit_signals);
            FACT("the same", limit.rlim_cur == limits[i]);
        }
    }
}

TEST(timer_descriptor) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    OKAY(fd);
    uint64_t n = 0;
    CALL(read(fd, &n, 8));
    struct itimerspec t = {{0, 10000000}, {0, 10000000}}, old;
    CALL(timerfd_settime(fd, 0, &t, NULL));
    struct pollfd entry = {fd, POLLIN, 0};
    CALL(poll(&entry, 1, 5000));
    sleep_ms(50);
    CALL(read(fd, &n, 8));
    FACT("several expirations", n >= 3);
    CALL(read(fd, &n, 4));
    CALL(timerfd_gettime(fd, &old));
    SHOW(old.it_interval.tv_nsec);
    t.it_value.tv_nsec = 0, t.it_value.tv_sec = 0;
    CALL(timerfd_settime(fd, 0, &t, &old));
    CALL(read(fd, &n, 8));
    t.it_value.tv_nsec = -1;
    CALL(timerfd_settime(fd, 0, &t, NULL));
    CALL(timerfd_settime(1, 0, &t, NULL));
    CALL(timerfd_create(99, 0));
    CALL(timerfd_create(CLOCK_MONOTONIC, 0x4000));
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    t.it_value = now, t.it_interval.tv_nsec = 0;
    CALL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL));
    CALL(poll(&entry, 1, 5000));
    CALL(read(fd, &n, 8));
    SHOW(n);
}

static volatile int ticks, tick_value;
static void on_tick(int number, siginfo_t* info, void* context) {
    (void)number, (void)context;
    ticks = ticks + 1;
    tick_value = info->si_value.sival_int;
}
TEST(posix_timers) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_tick;
    action.sa_flags = SA_SIGINFO;
    NEED(sigaction(40, &action, NULL) == 0);
    struct sigevent event;
    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = 40;
    event.sigev_value.sival_int = 77;
    int id = -1;
    CALL(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id));
    struct itimerspec t = {{0, 0}, {0, 10000000}};
    CALL(syscall(SYS_timer_settime, id, 0, &t, NULL));
    for (long stop = now_ms() + 5000; !ticks && now_ms() < stop;) sleep_ms(5);
    say("ticks %d, value %d\n", ticks, tick_value);
    CALL(syscall(SYS_timer_getoverrun, id));
    CALL(syscall(SYS_timer_gettime, id, &t));
    CALL(syscall(SYS_timer_delete, id));
    CALL(syscall(SYS_timer_delete, id));
    CALL(syscall(SYS_timer_create, 1000, &event, &id));
}

TEST(setting_the_clock) {
    struct timespec bad = {0, 1000000000};
    CALL(syscall(SYS_clock_settime, CLOCK_REALTIME, &bad));
    CALL(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &(struct timespec){1, 0}));
    CALL(syscall(SYS_settimeofday, &(struct timeval){0, 1000000}, NULL));
    // To what it shows already.
    struct timespec now;
    struct timeval day;
    NEED(clock_gettime(CLOCK_REALTIME, &now) == 0);
    CALL(syscall(SYS_clock_settime, CLOCK_REALTIME, &now));
    NEED(gettimeofday(&day, NULL) == 0);
    CALL(syscall(SYS_settimeofday, &day, NULL));
}

// Two that wake up at the same time, each of which then waits for the other without a call: both get the CPU.
TEST(woken_together) {
    enum { kRounds = 60 };
    volatile int* rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(rounds != MAP_FAILED);
    struct timespec start;
    clock_gettime(CLOCK_MONOTONIC, &start);
    pid_t pid = fork();
    const int who = pid == 0;
    for (int round = 1; round <= kRounds; round++) {
        struct timespec then = start;
        then.tv_nsec += 20000000L * round;
        then.tv_sec += then.tv_nsec / 1000000000, then.tv_nsec %= 1000000000;
        NEED(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &then, NULL) == 0);
        rounds[who] = round;
        while (rounds[1 - who] < round) {
        }
    }
    if (pid == 0) _exit(0);
    reap("the other", pid);
}

// On one CPU with a program that makes calls and never waits, others get their turns: who waits for its byte, and processes that
// come and go.
TEST(beside_one_that_never_waits) {
    cpu_set_t first, all;
    NEED(sched_getaffinity(0, sizeof all, &all) == 0);
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    NEED(sched_setaffinity(0, sizeof first, &first) == 0);
    int both[2];
    char byte;
    NEED(pipe(both) == 0);
    pid_t goes_on = fork();
    if (goes_on == 0) {
        usleep(50000);  // the other waits by then
        NEED(write(both[1], "x", 1) == 1);
        for (;;) syscall(SYS_getppid);
    }
    CALL(read(both[0], &byte, 1));
    for (int i = 0; i < 60; i++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) _exit(0);
        NEED(waitpid(pid, NULL, 0) == pid);
    }
    kill(goes_on, SIGKILL);
    reap("who never waits", goes_on);
}
