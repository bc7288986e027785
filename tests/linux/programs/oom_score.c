// SPDX-License-Identifier: MIT
// /proc/PID/oom_score_adj and oom_score: what may be written, who inherits it, and what it does when memory runs out.
#define _GNU_SOURCE
#include <sched.h>

#include "scarce.h"

static const char kOwn[] = "/proc/self/oom_score_adj";

static const char* write_to(const char* path, const char* text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0) return errno_name(errno);
    ssize_t n = write(fd, text, strlen(text));
    const char* got = n == (ssize_t)strlen(text) ? "ok" : n >= 0 ? "short" : errno_name(errno);
    close(fd);
    return got;
}
static int value_in(const char* path) {
    char text[32] = {0};
    int fd = open(path, O_RDONLY);
    NEED(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    NEED(strchr(text, '\n') && strlen(text) == strcspn(text, "\n") + 1);
    return atoi(text);
}

TEST(values) {
    static const char* const texts[] = {"0",
                                        "1000",
                                        "-1000",
                                        "1001",
                                        "-1001",
                                        "17\n",
                                        "  42  \n",
                                        "+5",
                                        "0x10",
                                        "0x",
                                        "010",
                                        "08",
                                        "",
                                        "\n",
                                        "x",
                                        "1 2",
                                        "--1",
                                        "3x",
                                        "-0x8",
                                        "- 1",
                                        "9999",
                                        "2147483647",
                                        "2147483648",
                                        "99999999999",
                                        "-2147483649",
                                        "\xa0"
                                        "9\xa0"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char* got = write_to(kOwn, texts[i]);
        say("%zu: %s, %d\n", i, got, value_in(kOwn));
    }
}
TEST(look) {
    struct stat s;
    NEED(stat(kOwn, &s) == 0);
    say("%o\n", s.st_mode);
    NEED(stat("/proc/self/oom_score", &s) == 0);
    say("%o\n", s.st_mode);
    char bytes[8];
    int fd = open(kOwn, O_RDWR);
    NEED(fd >= 0);
    CALL(write(fd, "123\n", 4));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(pread(fd, bytes, 2, 1));
    CALL(pread(fd, bytes, 8, 4));
    CALL(pwrite(fd, "7", 1, 100));
    say("%d\n", value_in(kOwn));
    CALL(write(fd, (void*)8, 4));
    close(fd);
    CALL(open("/proc/self/oom_score", O_WRONLY | O_TRUNC));
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/oom_score_adj", getpid());
    say("%s, %d\n", write_to(path, "9"), value_in(kOwn));
}
HELPER(says_it) { say("after execve: %d\n", value_in(kOwn)); }
TEST(inherited) {
    say("%s\n", write_to(kOwn, "321"));
    CHILD("child") {
        say("%d\n", value_in(kOwn));
        say("%s\n", write_to(kOwn, "400"));
        execl("/proc/self/exe", "oom_score", "says_it", NULL);
    }
    say("%d\n", value_in(kOwn));
}
// Who is not privileged may raise it, and lower it to what it was when privilege set it last.
TEST(without_privilege) {
    say("%s\n", write_to(kOwn, "-50"));
    int fd = open(kOwn, O_WRONLY);
    NEED(fd >= 0);
    CHILD("child") {
        int own = open(kOwn, O_WRONLY);
        NEED(own >= 0 && setresuid(7, 7, 7) == 0);
        CALL(write(own, "-51", 3));
        CALL(write(own, "60", 2));
        CALL(write(own, "-50", 3));
        CALL(write(own, "-1000", 5));
        CALL(write(own, "2000", 4));
        say("%d\n", value_in(kOwn));
        CALL(write(fd, "-51", 3));  // the parent's
        CALL(write(fd, "-40", 3));
        say("%s\n", write_to(kOwn, "1"));
    }
    say("%d\n", value_in(kOwn));
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    say("zombie: %s, %d\n", write_to(path, "12"), value_in(path));
    int left = open(path, O_RDWR);
    NEED(left >= 0 && waitpid(pid, NULL, 0) == pid);
    CALL(write(left, "1", 1));
    char byte;
    CALL(read(left, &byte, 1));
}
TEST(score) {
    const char path[] = "/proc/self/oom_score";
    NEED(write_to(kOwn, "0")[0] == 'o');
    const int before = value_in(path);
    memset(area(64 << 20, ANON), 1, 64 << 20);
    FACT("more memory, more points", value_in(path) > before);
    const int with = value_in(path);
    NEED(write_to(kOwn, "500")[0] == 'o');
    FACT("500 more", value_in(path) > with + 300);
    NEED(write_to(kOwn, "-999")[0] == 'o');
    FACT("less", value_in(path) < with);
    NEED(write_to(kOwn, "-1000")[0] == 'o');
    SHOW(value_in(path));
}
// A child of vfork has its parent's memory: it counts for the parent alone.
TEST(score_in_vfork) {
    NEED(write_to(kOwn, "0")[0] == 'o');
    int told[2], status;
    NEED(pipe(told) == 0);
    static char path[64];
    pid_t watcher = fork();
    if (watcher == 0) {
        pid_t pid;
        NEED(read(told[0], &pid, sizeof pid) == sizeof pid);
        snprintf(path, sizeof path, "/proc/%d/oom_score", pid);
        SHOW(value_in(path));
        snprintf(path, sizeof path, "/proc/%d/oom_score", getppid());
        FACT("the parent has some", value_in(path) > 0);
        kill(pid, SIGKILL);
        _exit(0);
    }
    pid_t pid = vfork();
    if (pid == 0) {
        pid_t own = (pid_t)syscall(SYS_getpid);
        if (write(told[1], &own, sizeof own) != sizeof own) _exit(1);
        for (;;) pause();
    }
    NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
    SHOW(WIFSIGNALED(status));
    reap("watcher", watcher);
}

// ---- Who ends ----

static pid_t start(size_t size, const char* adjustment) {
    int ready;
    pid_t pid = fork_until_ready(&ready);
    if (pid == 0) {
        NEED(write_to(kOwn, adjustment)[0] == 'o');
        memset(area(size, ANON), 1, size);
        is_ready(ready);
    }
    return pid;
}
static void chosen(const char* larger, const char* smaller) {
    const long before = free_kib();
    const size_t all = (size_t)(before - kLeft) / 100 << 10;
    pid_t large = start(all * 60 & ~4095ul, larger), small = start(all * 40 & ~4095ul, smaller);
    CHILD("needs some") memset(area(kSome, ANON), 1, kSome);
    kill(large, SIGTERM);
    reap("larger", large);
    kill(small, SIGTERM);
    reap("smaller", small);
    goes_on(before);
}
TEST(spared) { chosen("-1000", "0"); }
TEST(preferred) { chosen("0", "900"); }
