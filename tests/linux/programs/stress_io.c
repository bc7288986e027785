// SPDX-License-Identifier: MIT
// Stress of pipes, names, files, signals and futexes on all CPUs at once. See stress.h.
#include "stress.h"

#include <linux/futex.h>
#include <poll.h>
#include <sched.h>

enum { kPage = 4096 };

static volatile int* shared_words(void) {
    int* p = mmap(NULL, 16 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}
static int pipe_pair(int index) {
    int p[2], q[2];
    if (pipe(p) < 0 || pipe(q) < 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        for (int v; read(p[0], &v, sizeof v) == sizeof v;) {
            v += index;
            if (write(q[1], &v, sizeof v) != sizeof v) _exit(1);
            if (v - index == 399) _exit(0);
        }
        _exit(2);
    }
    for (int i = 0; i < 400; i++) {
        int v = i;
        if (write(p[1], &v, sizeof v) != sizeof v || read(q[0], &v, sizeof v) != sizeof v || v != i + index) return 2;
    }
    int status;
    return waitpid(pid, &status, 0) != pid || status != 0;
}
TEST(pipe_pairs) { together("pairs", 6, pipe_pair); }

TEST(pipe_ring) {
    enum { kNodes = 8, kRounds = 150 };
    int p[kNodes][2];
    for (int i = 0; i < kNodes; i++) NEED(pipe(p[i]) == 0);
    for (int i = 1; i < kNodes; i++)
        if (fork() == 0) {
            for (int k = 0; k < kRounds; k++) {
                int v;
                if (read(p[i][0], &v, sizeof v) != sizeof v) _exit(1);
                v++;
                if (write(p[(i + 1) % kNodes][1], &v, sizeof v) != sizeof v) _exit(2);
            }
            _exit(0);
        }
    int v = 0;
    for (int k = 0; k < kRounds; k++)
        NEED(write(p[1][1], &v, sizeof v) == sizeof v && read(p[0][0], &v, sizeof v) == sizeof v);
    SHOW(v);
    for (int i = 1; i < kNodes; i++) reap("node", -1);
}

static int bulk_pair(int index) {
    int p[2];
    if (pipe(p) < 0) return 1;
    static unsigned char bytes[50000];
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        for (int k = 0; k < 8; k++) {
            for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 13 + (size_t)(k + index));
            if (write(p[1], bytes, sizeof bytes) != sizeof bytes) _exit(1);
        }
        _exit(0);
    }
    close(p[1]);
    size_t at = 0;
    for (ssize_t n; (n = read(p[0], bytes, 7777)) > 0; at += (size_t)n)
        for (ssize_t i = 0; i < n; i++) {
            size_t place = at + (size_t)i;
            if (bytes[i] != (unsigned char)(place % sizeof bytes * 13 + place / sizeof bytes + (size_t)index)) return 2;
        }
    int status;
    return at != 8 * sizeof bytes || waitpid(pid, &status, 0) != pid || status != 0;
}
TEST(bulk_pipes) { together("pairs", 4, bulk_pair); }

// --- names and files ---

static int churn_names(int index) {
    char name[32];
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "d/%d_%d", index, i % 7);
        int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd < 0) return 1;
        if (write(fd, name, sizeof name) != sizeof name) return 2;
        close(fd);
        char other[32];
        snprintf(other, sizeof other, "d/%d_moved", index);
        if (rename(name, other) < 0 || unlink(other) < 0) return 3;
    }
    return 0;
}
TEST(names_in_one_directory) {
    NEED(mkdir("d", 0700) == 0);
    together("processes", 6, churn_names);
    CALL(rmdir("d"));
}

static int same_name(int index) {
    (void)index;
    int made = 0;
    for (int i = 0; i < 100; i++) {
        int fd = open("same", O_CREAT | O_EXCL | O_RDWR, 0600);
        if (fd >= 0) {
            made++;
            close(fd);
            if (unlink("same") < 0) return 1;
        } else if (errno != EEXIST) {
            return 2;
        }
    }
    return made < 0;
}
TEST(exclusive_creation) {
    together("processes", 5, same_name);
    CALL(access("same", F_OK));
}

static int append_records(int index) {
    int fd = open("log", O_WRONLY | O_APPEND | O_CREAT, 0600);
    char record[64];
    memset(record, 'A' + index, sizeof record);
    record[63] = '\n';
    for (int i = 0; i < 100; i++)
        if (write(fd, record, sizeof record) != sizeof record) return 1;
    return 0;
}
TEST(appends) {
    together("writers", 6, append_records);
    int fd = open("log", O_RDONLY), records = 0, mixed = 0;
    char record[64];
    while (read(fd, record, sizeof record) == sizeof record) {
        records++;
        for (int i = 1; i < 63; i++)
            if (record[i] != record[0]) {
                mixed++;
                break;
            }
    }
    say("%d records, %d mixed\n", records, mixed);
}

static int truncate_and_map(int index) {
    int fd = open("mapped", O_RDWR);
    if (index == 0) {
        for (int i = 0; i < 150; i++)
            if (ftruncate(fd, i % 2 ? 8 * kPage : kPage) < 0) return 1;
        return ftruncate(fd, 8 * kPage) < 0;
    }
    volatile char* p = mmap(NULL, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int bus = 0;
    for (int i = 0; i < 150; i++) bus += touch(p + i % 8 * kPage, 1)[0] != 'o';
    return bus > 150;
}
TEST(truncation_of_mapped_files) {
    int fd = open("mapped", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 8 * kPage) == 0);
    together("processes", 4, truncate_and_map);
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    SHOW(s.st_size);
}

static int look_up(int index) {
    for (int i = 0; i < 100; i++) {
        struct stat s;
        if (index == 0) {
            if (rename("x", "y") < 0 || rename("y", "x") < 0) return 1;
        } else if (stat("x/deep/file", &s) < 0 && errno != ENOENT) {
            return 2;
        }
    }
    return 0;
}
TEST(lookups_under_renames) {
    NEED(mkdir("x", 0700) == 0 && mkdir("x/deep", 0700) == 0 && make_file("x/deep/file", "", 0600) == 0);
    together("processes", 4, look_up);
    CALL(access("x/deep/file", F_OK));
}

// --- signals and waits ---

static volatile int hits;
static void count_hit(int number) {
    (void)number;
    __atomic_fetch_add(&hits, 1, __ATOMIC_SEQ_CST);
}
TEST(queued_signals_all_arrive) {
    enum { kSenders = 4, kEach = 60 };
    on_signal(40, count_hit, SA_RESTART);
    pid_t parent = getpid();
    for (int i = 0; i < kSenders; i++)
        if (fork() == 0) {
            for (int k = 0; k < kEach; k++)
                if (sigqueue(parent, 40, (union sigval){.sival_int = k}) < 0) _exit(1);
            _exit(0);
        }
    for (int i = 0; i < kSenders; i++) reap("sender", -1);
    for (int i = 0; i < 400 && hits < kSenders * kEach; i++) sleep_ms(5);
    SHOW(hits);
}

static int stop_and_go(int index) {
    pid_t pid = fork();
    if (pid == 0) {
        volatile unsigned long x = 0;
        for (;;) x++;
    }
    setpgid(pid, pid);
    for (int i = 0; i < 15; i++) {
        int status;
        kill(pid, SIGSTOP);
        if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status)) return 1;
        kill(pid, SIGCONT);
        if (waitpid(pid, &status, WCONTINUED) != pid || !WIFCONTINUED(status)) return 2;
    }
    kill(pid, SIGKILL);
    int status;
    return waitpid(pid, &status, 0) != pid || status != SIGKILL || index < 0;
}
TEST(stops_and_continues) { together("parents", 4, stop_and_go); }

static int interrupted_reads(int index) {
    // A periodic signal restarts reads; not one byte may be lost or doubled.
    int p[2];
    if (pipe(p) < 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        for (int i = 0; i < 3000; i++) {
            char c = (char)(i % 127);
            if (write(p[1], &c, 1) != 1) _exit(1);
        }
        _exit(0);
    }
    close(p[1]);
    on_signal(SIGALRM, count_hit, SA_RESTART);
    struct itimerval timer = {{0, 1000}, {0, 1000}}, off = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, NULL);
    int expected = 0;
    char c;
    while (read(p[0], &c, 1) == 1)
        if (c != (char)(expected++ % 127)) return 2;
    setitimer(ITIMER_REAL, &off, NULL);
    int status;
    return expected != 3000 || waitpid(pid, &status, 0) != pid || status != 0 || index < 0;
}
TEST(reads_under_signals) { together("readers", 3, interrupted_reads); }

TEST(futex_chain) {
    enum { kProcesses = 8, kRounds = 100 };
    volatile int* w = shared_words();
    for (int i = 0; i < kProcesses; i++)
        if (fork() == 0) {
            for (int k = 0; k < kRounds; k++) {
                int turn = k * kProcesses + i;
                for (int v; (v = w[0]) != turn;) syscall(SYS_futex, w, FUTEX_WAIT, v, NULL, NULL, 0);
                w[0] = turn + 1;
                syscall(SYS_futex, w, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
            }
            _exit(0);
        }
    for (int i = 0; i < kProcesses; i++) reap("process", -1);
    SHOW(w[0]);
}

TEST(poll_of_many_pipes) {
    enum { kPipes = 16, kEach = 20 };
    struct pollfd e[kPipes];
    for (int i = 0; i < kPipes; i++) {
        int p[2];
        NEED(pipe(p) == 0);
        if (fork() == 0) {
            for (int k = 0; k < kEach; k++) {
                if (write(p[1], "x", 1) != 1) _exit(1);
                if (k % 5 == i % 5) sched_yield();
            }
            _exit(0);
        }
        close(p[1]);
        e[i] = (struct pollfd){p[0], POLLIN, 0};
    }
    int bytes = 0, open_ones = kPipes;
    while (open_ones > 0) {
        NEED(poll(e, kPipes, 10000) > 0);
        for (int i = 0; i < kPipes; i++) {
            if (!e[i].revents) continue;
            char c;
            if (read(e[i].fd, &c, 1) == 1) {
                bytes++;
            } else {
                close(e[i].fd);
                e[i].fd = -1;
                open_ones--;
            }
        }
    }
    SHOW(bytes);
    for (int i = 0; i < kPipes; i++) reap("writer", -1);
}
