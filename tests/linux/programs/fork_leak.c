// SPDX-License-Identifier: MIT
// Processes that start and end leak no memory: free memory is compared before and after.
#include "check.h"

#include <sys/sysinfo.h>

static long free_kib(void) {
    struct sysinfo s;
    NEED(sysinfo(&s) == 0);
    return (long)(s.freeram * s.mem_unit / 1024);
}

// Memory freed a little later than the wait returns is given time; caches of the kernel are warm by then.
// On Farcall the figure must return to within 64 KiB. Linux keeps per-CPU lists and slabs, so that there the same
// work is repeated: what does not grow from round to round is no leak.
enum { kSlackKib = 64, kRounds = 8 };
static void judge(void (*work)(void)) {
    work();
    int leaks = 1;
    long best = LONG_MAX;
    for (int round = 0; round < kRounds && leaks; round++) {
        sleep_ms(50);
        long before = free_kib();
        work();
        for (int i = 0; i < 20; i++) {
            long lost = before - free_kib();
            if (lost < best) best = lost;
            if (lost <= kSlackKib) {
                leaks = 0;
                break;
            }
            sleep_ms(20);
        }
    }
    say("leak: %s\n", leaks ? "yes" : "no");
    if (leaks) say("lost %ld KiB\n", best);
}

static void spawn(int count, int at_once) {
    for (volatile int done = 0; done < count; done += at_once) {
        for (volatile int i = 0; i < at_once; i++) {
            pid_t pid = vfork();
            if (pid == 0) {
                execl(test_argv[0], test_argv[0], "nothing", (char*)NULL);
                _exit(1);
            }
            NEED(pid > 0);
        }
        for (int i = 0; i < at_once; i++) {
            int status;
            NEED(wait(&status) > 0 && status == 0);
        }
    }
}
HELPER(nothing) { _exit(0); }

static void forks(void) {
    for (int i = 0; i < 250; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        NEED(waitpid(pid, NULL, 0) == pid);
    }
}
static void execs(void) { spawn(125, 1); }
static void fork_exec_thousand(void) {
    for (int i = 0; i < 500; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl(test_argv[0], test_argv[0], "nothing", (char*)NULL);
            _exit(1);
        }
        int status;
        NEED(waitpid(pid, &status, 0) == pid && status == 0);
    }
}
static void two_hundred_at_once(void) {
    pid_t pids[200];
    int hold[2];
    NEED(pipe2(hold, O_CLOEXEC) == 0);
    for (int i = 0; i < 200; i++) {
        pids[i] = fork();
        NEED(pids[i] >= 0);
        if (pids[i] == 0) {
            char c;
            close(hold[1]);
            if (read(hold[0], &c, 1) != 0) _exit(2);
            execl(test_argv[0], test_argv[0], "nothing", (char*)NULL);
            _exit(1);
        }
    }
    close(hold[1]);
    close(hold[0]);
    int good = 0;
    for (int i = 0; i < 200; i++) {
        int status;
        good += waitpid(pids[i], &status, 0) == pids[i] && status == 0;
    }
    NEED(good == 200);
}
static void killed(void) {
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;) pause();
        kill(pid, SIGKILL);
        NEED(waitpid(pid, NULL, 0) == pid);
    }
}
static void mappings(void) {
    for (int i = 0; i < 30; i++) {
        char* p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        NEED(p != MAP_FAILED);
        for (int k = 0; k < 1 << 20; k += 4096) p[k] = 1;
        NEED(munmap(p, 1 << 20) == 0);
    }
}
static void files(void) {
    static char bytes[65536];
    for (int i = 0; i < 30; i++) {
        int fd = open("f", O_RDWR | O_CREAT, 0600);
        for (int k = 0; k < 4; k++) NEED(write(fd, bytes, sizeof bytes) == sizeof bytes);
        NEED(close(fd) == 0 && unlink("f") == 0);
    }
}
static void pipes(void) {
    static char bytes[65536];
    for (int i = 0; i < 100; i++) {
        int p[2];
        NEED(pipe(p) == 0 && write(p[1], bytes, sizeof bytes) == sizeof bytes);
        NEED(close(p[0]) == 0 && close(p[1]) == 0);
    }
}
static void failures(void) {
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl("/no/such", "x", (char*)NULL);
            execl("/etc/passwd", "x", (char*)NULL);
            *(volatile char*)0 = 1;
        }
        NEED(waitpid(pid, NULL, 0) == pid);
    }
}

TEST(fork_exit) { judge(forks); }
TEST(vfork_exec) { judge(execs); }
TEST(thousand_fork_exec_in_a_row) { judge(fork_exec_thousand); }
TEST(two_hundred_together) { judge(two_hundred_at_once); }
TEST(killed_children) { judge(killed); }
TEST(mapped_memory) { judge(mappings); }
TEST(tmpfs_files) { judge(files); }
TEST(full_pipes) { judge(pipes); }
TEST(failed_execs_and_faults) { judge(failures); }
