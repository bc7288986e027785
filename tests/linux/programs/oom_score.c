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

// ---- Longer texts, oom_adj, processes that share their memory ----

TEST(long_text) {
    int fd = open(kOwn, O_RDWR);
    NEED(fd >= 0);
    CALL(write(fd, "00000000000000000007", 20));
    SHOW(value_in(kOwn));
    CALL(write(fd, "8            9", 14));
    CALL(write(fd, "           10", 13));
    CALL(write(fd, "            9", 13));
    SHOW(value_in(kOwn));
    static char much[300];
    memset(much, ' ', sizeof much);
    CALL(write(fd, much, sizeof much));
    much[0] = '5';
    CALL(write(fd, much, sizeof much));
    SHOW(value_in(kOwn));
    memset(much, 'c', sizeof much);
    int name = open("/proc/self/comm", O_RDWR);
    NEED(name >= 0);
    CALL(write(name, much, sizeof much));
    char back[32] = {0};
    CALL(pread(name, back, sizeof back - 1, 0));
    say("%s", back);
}
TEST(old_name) {
    static const char kOld[] = "/proc/self/oom_adj";
    static const char* const texts[] = {"0", "15", "14", "-16", "-17", "-18", "16", "8", "x", "7 \n", "-1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char* got = write_to(kOld, texts[i]);
        say("%s: %s, %d, %d\n", texts[i], got, value_in(kOld), value_in(kOwn));
    }
    static const char* const news[] = {"-1000", "-999", "-942", "-5", "58", "59", "117", "941", "942", "999", "1000"};
    for (size_t i = 0; i < sizeof news / sizeof news[0]; i++) {
        NEED(write_to(kOwn, news[i])[0] == 'o');
        say("%s: %d\n", news[i], value_in(kOld));
    }
    NEED(write_to(kOwn, "-100")[0] == 'o' && write_to(kOld, "5")[0] == 'o');
    struct stat s;
    NEED(stat(kOld, &s) == 0);
    say("%o\n", s.st_mode);
    CHILD("without privilege") {
        int own = open(kOwn, O_WRONLY), old = open(kOld, O_WRONLY);
        NEED(own >= 0 && old >= 0 && setresuid(7, 7, 7) == 0);
        CALL(write(old, "4", 1));
        CALL(write(old, "6", 1));
        CALL(write(own, "-100", 4));
        CALL(write(own, "-101", 4));
        SHOW(value_in(kOld));
    }
}

static char stacks[4][65536];
static int go[2], said[2];
static const char* path_of(pid_t pid) {
    static char path[64];
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    return path;
}
static int waits(UNUSED void* nothing) {
    char byte;
    close(go[1]);
    return read(go[0], &byte, 1) == 0 ? 0 : 1;
}
static int starts_another(UNUSED void* nothing) {
    pid_t pid = clone(waits, stacks[1] + sizeof stacks[1], CLONE_VM | SIGCHLD, NULL);
    if (pid < 0 || write(said[1], &pid, sizeof pid) != sizeof pid) return 1;
    waits(NULL);
    return waitpid(pid, NULL, 0) == pid ? 0 : 1;
}
// What is set for one is set for all with its memory, as long as they have it.
TEST(with_its_memory) {
    NEED(pipe(go) == 0 && pipe(said) == 0);
    NEED(write_to(kOwn, "100")[0] == 'o');
    pid_t other = fork(), grandchild;
    NEED(other >= 0);
    if (other == 0) _exit(waits(NULL));
    pid_t child = clone(starts_another, stacks[0] + sizeof stacks[0], CLONE_VM | SIGCHLD, NULL);
    NEED(child > 0 && read(said[0], &grandchild, sizeof grandchild) == sizeof grandchild);
    SHOW(value_in(path_of(child)));
    NEED(write_to(kOwn, "200")[0] == 'o');
    SHOW(value_in(path_of(child)));
    SHOW(value_in(path_of(grandchild)));
    NEED(write_to(path_of(grandchild), "300")[0] == 'o');
    SHOW(value_in(path_of(child)));
    SHOW(value_in(kOwn));
    SHOW(value_in(path_of(other)));
    // With the least that they may be set to.
    NEED(write_to(path_of(child), "-20")[0] == 'o');
    CHILD("without privilege") {
        int own = open(kOwn, O_WRONLY);
        NEED(own >= 0 && setresuid(7, 7, 7) == 0);
        CALL(write(own, "-20", 3));
        CALL(write(own, "-21", 3));
    }
    close(go[1]);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    NEED(write_to(kOwn, "400")[0] == 'o');
    SHOW(value_in(path_of(child)));
    NEED(write_to(path_of(child), "500")[0] == 'o');
    SHOW(value_in(kOwn));
    reap("child", child);
    reap("other", other);
}
static int executes(UNUSED void* nothing) {
    char byte;
    close(said[0]);
    dup2(go[0], 0);
    fcntl(said[1], F_SETFD, FD_CLOEXEC);
    execl("/bin/busybox", "cat", NULL);
    return read(go[0], &byte, 1) == 0;
}
TEST(after_execve) {
    NEED(pipe(go) == 0 && pipe(said) == 0 && fcntl(go[1], F_SETFD, FD_CLOEXEC) == 0);
    NEED(write_to(kOwn, "100")[0] == 'o');
    pid_t child = clone(executes, stacks[0] + sizeof stacks[0], CLONE_VM | SIGCHLD, NULL);
    char byte;
    close(said[1]);
    NEED(child > 0 && read(said[0], &byte, 1) == 0);  // the program has begun
    SHOW(value_in(path_of(child)));
    NEED(write_to(kOwn, "200")[0] == 'o');
    SHOW(value_in(path_of(child)));
    NEED(write_to(path_of(child), "300")[0] == 'o');
    SHOW(value_in(kOwn));
    close(go[1]);
    reap("child", child);
}
// A child of vfork has one of its own.
TEST(in_vfork) {
    NEED(write_to(kOwn, "100")[0] == 'o');
    int status;
    pid_t pid = vfork();
    if (pid == 0) {
        int fd = open(kOwn, O_WRONLY);
        _exit(fd >= 0 && write(fd, "200", 3) == 3 ? 0 : 1);
    }
    NEED(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    SHOW(value_in(kOwn));
}
