// SPDX-License-Identifier: MIT
// What one user or one program may take of the machine: room of pipes, interval timers with tiny periods, many groups.
#include "check.h"

#include <grp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

static void be_user(int id) {
    NEED(syscall(SYS_setgroups, 0, NULL) == 0 && setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0);
}
static void many_files(void) { NEED(setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096}) == 0); }
static int new_pipe(void) {
    int end[2];
    return pipe(end) < 0 ? -1 : end[0];
}
static void put(const char* path, const char* text) {
    int fd = open(path, O_WRONLY);
    NEED(fd >= 0);
    long n = write(fd, text, strlen(text));
    say("%s to %s -> %s\n", text, path, n < 0 ? errno_name(errno) : "ok");
    close(fd);
}

// ---- Pipes (pipe(7)) ----

TEST(pipes_of_one_user) {
    CHILD("user") {
        many_files();
        be_user(1000);
        int first = new_pipe(), last = -1;
        for (int i = 1; i < 1024; i++) last = new_pipe();
        CALL(fcntl(first, F_GETPIPE_SZ));
        CALL(fcntl(last, F_GETPIPE_SZ));
        last = new_pipe();
        CALL(fcntl(last, F_GETPIPE_SZ));
        CALL(fcntl(last, F_SETPIPE_SZ, 4096));
        CALL(fcntl(last, F_SETPIPE_SZ, 8192));
        CALL(fcntl(first, F_SETPIPE_SZ, 1 << 17));
        CALL(fcntl(first, F_SETPIPE_SZ, 8192));
        CALL(fcntl(last, F_SETPIPE_SZ, 16384));
    }
    CHILD("what has ended is given back") {
        be_user(1000);
        CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
    }
}

TEST(pipes_of_other_users_and_root) {
    many_files();
    CHILD("many of one user") {
        int p[2];
        NEED(pipe(p) == 0);
        pid_t other = fork();
        if (other == 0) {
            be_user(1000);
            for (int i = 0; i < 1100; i++) NEED(new_pipe() >= 0);
            NEED(write(p[1], "x", 1) == 1);
            pause();
        }
        char c;
        NEED(read(p[0], &c, 1) == 1);
        CHILD("another") {
            be_user(1001);
            CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
        }
        CHILD("the same") {
            be_user(1000);
            CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
        }
        CHILD("with the same effective id only") {
            NEED(setresuid(1001, 1000, 1000) == 0);
            CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
        }
        CHILD("a FIFO of the same") {
            NEED(chmod(".", 0777) == 0);
            be_user(1000);
            NEED(mkfifo("fifo", 0600) == 0);
            CALL(fcntl(open("fifo", O_RDWR), F_GETPIPE_SZ));
        }
        kill(other, SIGKILL);
    }
    CHILD("root") {
        int last = -1;
        for (int i = 0; i < 1100; i++) last = new_pipe();
        CALL(fcntl(last, F_GETPIPE_SZ));
        CALL(fcntl(last, F_SETPIPE_SZ, 2 << 20));
    }
}

TEST(sizes_of_a_pipe) {
    int p[2];
    NEED(pipe(p) == 0);
    CALL(fcntl(p[0], F_SETPIPE_SZ, 1 << 30));
    CALL(fcntl(p[0], F_SETPIPE_SZ, (1u << 31) + 1));
    CALL(fcntl(p[0], F_SETPIPE_SZ, -1));
    CALL(fcntl(p[0], F_GETPIPE_SZ));
    CALL(fcntl(p[0], F_SETPIPE_SZ, 0));
    CALL(fcntl(p[0], F_SETPIPE_SZ, 4097));
    CALL(fcntl(p[0], F_SETPIPE_SZ, 2 << 20));
    CHILD("user") {
        be_user(1000);
        CALL(fcntl(p[0], F_SETPIPE_SZ, 4 << 20));
        CALL(fcntl(p[0], F_SETPIPE_SZ, 2 << 20));
        CALL(fcntl(p[0], F_SETPIPE_SZ, 1 << 20));
        CALL(fcntl(p[0], F_SETPIPE_SZ, 2 << 20));
        CALL(fcntl(p[0], F_SETPIPE_SZ, 1 << 30));
    }
    static char bytes[20000];
    NEED(write(p[1], bytes, sizeof bytes) == sizeof bytes);
    CALL(fcntl(p[0], F_SETPIPE_SZ, 16384));
    CALL(fcntl(p[0], F_SETPIPE_SZ, 32768));
    CALL(read(p[0], bytes, sizeof bytes));
}

TEST(settings_of_pipes) {
    show_file("/proc/sys/fs/pipe-max-size");
    show_file("/proc/sys/fs/pipe-user-pages-soft");
    show_file("/proc/sys/fs/pipe-user-pages-hard");
    put("/proc/sys/fs/pipe-max-size", "10000");
    show_file("/proc/sys/fs/pipe-max-size");
    put("/proc/sys/fs/pipe-max-size", "1");
    show_file("/proc/sys/fs/pipe-max-size");
    put("/proc/sys/fs/pipe-max-size", "x");
    put("/proc/sys/fs/pipe-max-size", "-1");
    CHILD("small pipes") {
        be_user(1000);
        CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
        CALL(fcntl(new_pipe(), F_SETPIPE_SZ, 8192));
        CALL(open("/proc/sys/fs/pipe-max-size", O_WRONLY));
    }
    put("/proc/sys/fs/pipe-max-size", "1048576\n");
    put("/proc/sys/fs/pipe-user-pages-hard", "20");
    CHILD("hard limit") {
        be_user(1000);
        int p = new_pipe();
        CALL(fcntl(p, F_GETPIPE_SZ));
        CALL(new_pipe());
        CALL(fcntl(p, F_SETPIPE_SZ, 1 << 17));
        CALL(fcntl(p, F_SETPIPE_SZ, 4096));
        OKAY(new_pipe());
    }
    put("/proc/sys/fs/pipe-user-pages-hard", "0");
    put("/proc/sys/fs/pipe-user-pages-soft", "8");
    CHILD("soft limit") {
        be_user(1000);
        CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
        CALL(fcntl(new_pipe(), F_GETPIPE_SZ));
    }
    put("/proc/sys/fs/pipe-user-pages-soft", "16384");
    show_file("/proc/sys/fs/pipe-user-pages-soft");
}

// ---- Timers of 1 us: the CPU stays the program's ----

static double work(void) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (volatile long i = 0; i < 5000000; ++i) {
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
}
// The shorter of two: what else the machine does counts less.
static double least_work(void) {
    double a = work(), b = work();
    return a < b ? a : b;
}
static const struct itimerval kTiny = {{0, 1}, {0, 1}}, kNever;
static void show_timer(void) {
    struct itimerval v;
    NEED(getitimer(ITIMER_REAL, &v) == 0);
    say("  every %ld us, next in %s\n", (long)(v.it_interval.tv_sec * 1000000 + v.it_interval.tv_usec),
        v.it_value.tv_sec == 0 && v.it_value.tv_usec == 0 ? "never" : "some time");
}

TEST(tiny_timer_of_a_blocked_signal) {
    double alone = least_work();
    sigset_t alarms;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    NEED(sigprocmask(SIG_BLOCK, &alarms, NULL) == 0);
    NEED(setitimer(ITIMER_REAL, &kTiny, NULL) == 0);
    FACT("costs little", least_work() < alone * 3);
    show_timer();
    // Each signal that is taken starts the next period.
    int taken = 0;
    for (; taken < 100; taken++) NEED(sigtimedwait(&alarms, NULL, &(struct timespec){5, 0}) == SIGALRM);
    SHOW(taken);
    NEED(setitimer(ITIMER_REAL, &kNever, NULL) == 0);
    while (sigtimedwait(&alarms, NULL, &(struct timespec){0, 0}) == SIGALRM) {
    }
    sleep_ms(20);
    CALL(sigtimedwait(&alarms, NULL, &(struct timespec){0, 0}));
    show_timer();
}

static volatile int alarms_seen;
static void on_alarm(int number) {
    (void)number;
    ++alarms_seen;
}

TEST(tiny_timer_of_an_ignored_signal) {
    double alone = least_work();
    signal(SIGALRM, SIG_IGN);
    NEED(setitimer(ITIMER_REAL, &kTiny, NULL) == 0);
    FACT("costs little", least_work() < alone * 3);
    show_timer();
    // Nothing takes it: it stands still, until a signal that some process sends is taken.
    on_signal(SIGALRM, on_alarm, SA_RESTART);
    sleep_ms(30);
    SHOW(alarms_seen);
    kill(getpid(), SIGALRM);
    for (int i = 0; i < 1000 && alarms_seen < 10; i++) usleep(1000);
    FACT("runs again", alarms_seen >= 10);
    NEED(setitimer(ITIMER_REAL, &kNever, NULL) == 0);
}

TEST(timer_runs_on_its_grid) {
    on_signal(SIGALRM, on_alarm, SA_RESTART);
    struct itimerval every = {{0, 20000}, {0, 20000}};
    long from = now_ms();  // before it starts: the host may delay the guest in between
    NEED(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (alarms_seen < 10) pause();
    long took = now_ms() - from;
    FACT("not early", took >= 198);
    NEED(setitimer(ITIMER_REAL, &kNever, NULL) == 0);
}

TEST(tiny_timer_files) {
    double alone = least_work();
    struct itimerspec tiny = {{0, 1000}, {0, 1000}};
    int set = epoll_create1(0);
    for (int i = 0; i < 200; i++) {
        int fd = timerfd_create(CLOCK_MONOTONIC, 0);
        NEED(fd >= 0 && timerfd_settime(fd, 0, &tiny, NULL) == 0);
        struct epoll_event e = {EPOLLIN | EPOLLONESHOT, {0}};
        NEED(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) == 0);
    }
    sleep_ms(20);
    struct epoll_event seen[256];
    int total = 0;
    for (int n; (n = epoll_wait(set, seen, 256, 0)) > 0;) total += n;
    SHOW(total);
    pid_t waiter = fork();
    if (waiter == 0) {
        epoll_wait(set, seen, 256, -1);
        _exit(1);
    }
    FACT("cost little with a waiter", least_work() < alone * 3);
    kill(waiter, SIGKILL);
    reap("waiter", waiter);
}

// ---- Supplementary groups ----

static gid_t groups[70000], back[70000];

TEST(many_groups) {
    CHILD("root") {
        for (int i = 0; i < 65536; i++) groups[i] = (gid_t)(65536 - i) * 3;
        CALL(setgroups(65537, groups));
        for (int count = 1; count <= 65536; count = count == 1      ? 33
                                                    : count == 33   ? 1000
                                                    : count == 1000 ? 65536
                                                                    : 65537) {
            CALL(setgroups((size_t)count, groups));
            CALL(getgroups(0, NULL));
            CALL(getgroups(count - 1, back));
            CALL(getgroups(65536, back));
            int sorted = 1;
            for (int i = 1; i < count; i++) sorted &= back[i - 1] < back[i];
            SHOW(sorted);
            SHOW(back[0]);
            SHOW(back[count - 1]);
        }
        NEED(make_file("mine", "text", 0640) == 0 && chown("mine", 0, 3 * 40000) == 0);
        NEED(make_file("other", "text", 0640) == 0 && chown("other", 0, 3 * 40000 + 1) == 0);
        NEED(chmod(".", 0755) == 0);
        NEED(setresuid(1000, 1000, 1000) == 0);
        OKAY(open("mine", O_RDONLY));
        OKAY(open("other", O_RDONLY));
        CHILD("child") { CALL(getgroups(0, NULL)); }
        CALL(setgroups(1, groups));
    }
    CHILD("errors") {
        CALL(setgroups(1000, (gid_t*)8));
        CALL(syscall(SYS_setgroups, -1, groups));
        CALL(setgroups(65536, groups + 65536));
        CALL(getgroups(0, NULL));
    }
    CHILD("names in /proc") {
        for (int i = 0; i < 2000; i++) groups[i] = (gid_t)i + 1;
        NEED(setgroups(2000, groups) == 0);
        FILE* f = fopen("/proc/self/status", "r");
        static char line[100000];
        int lines = 0;
        while (fgets(line, sizeof line, f)) {
            ++lines;
            if (strncmp(line, "Groups:", 7) != 0) continue;
            int n = 0;
            for (char* p = strtok(line + 7, " \t\n"); p; p = strtok(NULL, " \t\n")) n += atoi(p) == n + 1;
            SHOW(n);
        }
        FACT("more lines", lines > 20);
    }
}

// ---- Signals and children ----

static void many_signals(int n) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (int i = 0; i < n; i++)
        if (sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) < 0) {
            say("after %d: %s\n", i, errno_name(errno));
            return;
        }
    say("%d queued\n", n);
}

TEST(queued_signals_count_for_the_user) {
    CHILD("user") {
        be_user(1003);
        NEED(setrlimit(RLIMIT_SIGPENDING, &(struct rlimit){40, 40}) == 0);
        int p[2];
        NEED(pipe(p) == 0);
        many_signals(25);
        pid_t child = fork();
        if (child == 0) {
            many_signals(25);
            NEED(write(p[1], "x", 1) == 1);
            _exit(0);
        }
        char c;
        NEED(read(p[0], &c, 1) == 1);
        CALL(waitpid(child, NULL, 0) == child);
        many_signals(25);
    }
}

static int frames, order_kept = 1;
static void on_many(int sig, siginfo_t* info, void* context) {
    (void)sig, (void)context;
    // The last frame runs first: each is put on top of the one before.
    static int before = 1 << 30;
    order_kept &= info->si_value.sival_int < before;
    before = info->si_value.sival_int;
    ++frames;
}
TEST(many_signals_at_once) {
    struct sigaction a = {.sa_sigaction = on_many, .sa_flags = SA_SIGINFO | SA_NODEFER};
    NEED(sigaction(SIGRTMIN, &a, NULL) == 0);
    many_signals(500);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    SHOW(frames);
    SHOW(order_kept);
}

TEST(one_child_of_many) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t last = 0;
    for (int i = 0; i < 200; i++) {
        last = fork();
        if (last == 0) {
            char c;
            close(p[1]);
            if (read(p[0], &c, 1) == 0) _exit(i & 127);
        }
    }
    int status = 0;
    CALL(waitpid(-1, &status, WNOHANG));
    CALL(waitpid(last, &status, WNOHANG));
    NEED(kill(last, SIGKILL) == 0);
    CALL(waitpid(last, &status, 0) == last);
    SHOW(WTERMSIG(status));
    CALL(waitpid(last, &status, 0));
    CALL(waitpid(getpid(), &status, 0));
    close(p[1]);
    int n = 0, sum = 0;
    while (waitpid(-1, &status, 0) > 0) {
        ++n;
        sum += WEXITSTATUS(status);
    }
    SHOW(n);
    SHOW(sum);
}

// Forks that take long all begin before the first is done; nevertheless there are no more threads than the limit.
TEST(forks_at_the_same_time) {
    enum { kChildren = 12, kMore = 2, kBytes = 48 << 20 };
    volatile struct {
        int go, tried, made, stop;
    }* s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHILD("user") {
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1 + kChildren + kMore, 1 + kChildren + kMore}) == 0);
        be_user(1005);
        char* memory = mmap(NULL, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NEED(memory != MAP_FAILED);
        for (long i = 0; i < kBytes; i += 4096) memory[i] = 1;
        for (int n = 0; n < kChildren; n++) {
            pid_t child = fork();
            NEED(child >= 0);
            if (child != 0) continue;
            while (!s->go) usleep(1000);
            pid_t made = fork();
            if (made != 0) {
                if (made > 0) __sync_fetch_and_add(&s->made, 1);
                __sync_fetch_and_add(&s->tried, 1);
            }
            while (!s->stop) usleep(1000);
            if (made > 0) waitpid(made, NULL, 0);
            _exit(0);
        }
        s->go = 1;
        while (s->tried < kChildren) usleep(1000);
        FACT("more than the limit", s->made > kMore);
        s->stop = 1;
        while (wait(NULL) > 0) {
        }
        // What failed counts no longer.
        s->stop = 0;
        int n = 0;
        while (n < 100) {
            pid_t child = fork();
            if (child < 0) break;
            if (child == 0) {
                while (!s->stop) usleep(1000);
                _exit(0);
            }
            ++n;
        }
        SHOW(n);
        s->stop = 1;
        while (wait(NULL) > 0) {
        }
    }
}

// threads-max counts all threads, for every user.
static void set_most_threads(const char* text) {
    int fd = open("/proc/sys/kernel/threads-max", O_WRONLY);
    NEED(fd >= 0);
    ssize_t n = write(fd, text, strlen(text));
    FACT("set", n == (ssize_t)strlen(text));
    close(fd);
}
TEST(most_threads) {
    char before[32] = {0};
    int fd = open("/proc/sys/kernel/threads-max", O_RDONLY);
    NEED(fd >= 0 && read(fd, before, sizeof before - 1) > 0);
    close(fd);
    before[strcspn(before, "\n")] = 0;
    struct rlimit most;
    NEED(getrlimit(RLIMIT_NPROC, &most) == 0);
    FACT("RLIMIT_NPROC is half of it", (long)most.rlim_cur == atol(before) / 2);
    set_most_threads("0");
    set_most_threads("1073741824");
    set_most_threads("x");
    set_most_threads("250");
    pid_t made[250];
    int n = 0;
    while (n < 250 && (made[n] = fork()) > 0) n++;
    if (n < 250 && made[n] == 0) {
        for (;;) pause();
    }
    say("%s\n", errno_name(errno));
    FACT("some, and not all", n > 20 && n < 250);
    for (int i = 0; i < n; i++) kill(made[i], SIGKILL);
    for (int i = 0; i < n; i++) NEED(waitpid(made[i], NULL, 0) == made[i]);
    CHILD("fork again") { (void)0; }
    set_most_threads(before);
}
