// SPDX-License-Identifier: MIT
// Parents and children: the signal that a child's end sends, waits that the child itself interrupts, zombies and leaders
// that have ended, death signals of parents.
#include "check.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

static volatile sig_atomic_t count, code;
static void note(int number, siginfo_t* info, void* context) {
    (void)number, (void)context;
    ++count;
    code = info->si_code;
}
static void catch_signal(int number, int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = note;
    action.sa_flags = SA_SIGINFO | flags;
    NEED(sigaction(number, &action, NULL) == 0);
    count = code = 0;
}
static pid_t clone_child(unsigned long flags) { return (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0); }
static void become_user(unsigned id) {
    NEED(syscall(SYS_setresgid, id, id, id) == 0 && syscall(SYS_setresuid, id, id, id) == 0);
}

TEST(exit_signal_range) {
    static const int signals[] = {0, SIGCHLD, SIGUSR1, 64, 65, 128, 200, 255};
    catch_signal(SIGUSR1, SA_RESTART);
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (signals[i] == 64) signal(64, SIG_IGN);
        pid_t child = clone_child((unsigned long)signals[i]);
        if (child == 0) _exit(i);
        int status = 0;
        pid_t got;
        do got = waitpid(child, &status, __WALL);
        while (got < 0 && errno == EINTR);
        say("%d: %s, exited %d\n", signals[i], got == child ? "waited for" : "lost", WEXITSTATUS(status));
    }
    SHOW(count);
    SHOW(code == CLD_EXITED);
}

// A sibling ends with the signal that its maker ends with, whatever was asked for.
TEST(clone_parent_keeps_the_signal) {
    CHILD("root's process") {
        pid_t user = fork();
        if (user == 0) {
            become_user(1000);
            CALL(kill(getppid(), SIGKILL));
            pid_t sibling = clone_child(CLONE_PARENT | SIGKILL);
            if (sibling == 0) _exit(3);
            sleep_ms(100);
            _exit(4);
        }
        int seen = 0;
        for (int i = 0; i < 2; i++) {
            int status = 0;
            if (wait(&status) > 0) seen += WEXITSTATUS(status);
        }
        SHOW(seen);
        _exit(7);
    }
    CHILD("of a clone child") {
        catch_signal(SIGUSR1, SA_RESTART);
        catch_signal(SIGUSR2, SA_RESTART);
        pid_t child = clone_child(SIGUSR1);
        if (child == 0) {
            pid_t sibling = clone_child(CLONE_PARENT | SIGUSR2);
            if (sibling == 0) _exit(3);
            sleep_ms(100);
            _exit(4);
        }
        int n = 0;
        while (waitpid(-1, NULL, __WCLONE) > 0 || errno == EINTR) ++n;
        SHOW(n >= 2);
        SHOW(count);
    }
}

// A parent that has executed another program gets SIGCHLD: the new program has not agreed to anything else.
HELPER(as_root) {
    NEED(syscall(SYS_setresuid, 0, 0, 0) == 0);
    sleep_ms(400);
    CALL(waitpid(-1, NULL, WNOHANG) > 0);
    say("survived\n");
}
TEST(exit_signal_after_execve) {
    char block[65536];
    ssize_t n;
    int from = open("/proc/self/exe", O_RDONLY), to = open("su", O_CREAT | O_WRONLY, 0755);
    while ((n = read(from, block, sizeof block)) > 0) NEED(write(to, block, (size_t)n) == n);
    close(to);
    NEED(chmod("su", 04755) == 0 && chmod(".", 0755) == 0);
    CHILD("executes a set-user-ID program") {
        become_user(1000);
        pid_t child = clone_child(SIGKILL);
        if (child == 0) {
            sleep_ms(200);
            CALL(kill(getppid(), SIGKILL));
            _exit(0);
        }
        execl("su", "su", "as_root", NULL);
        _exit(9);
    }
}

static long interrupted_waits(int number, long (*wait_for)(pid_t)) {
    long interrupted = 0;
    catch_signal(number, 0);
    for (int i = 0; i < 20; i++) {
        pid_t child = clone_child((unsigned long)number);
        if (child == 0) {
            sleep_ms(2);
            _exit(0);
        }
        if (wait_for(child) < 0) {
            ++interrupted;
            waitpid(child, NULL, __WALL);
        }
    }
    return interrupted;
}
static long by_wait4(pid_t child) { return syscall(SYS_wait4, child, NULL, __WALL, NULL); }
static long by_waitid(pid_t child) { return syscall(SYS_waitid, P_PID, child, NULL, WEXITED | __WALL, NULL); }
TEST(child_interrupts_its_own_wait) {
    SHOW(interrupted_waits(SIGCHLD, by_wait4));
    SHOW(interrupted_waits(SIGUSR1, by_wait4));
    SHOW(interrupted_waits(SIGCHLD, by_waitid));
    SHOW(interrupted_waits(SIGUSR1, by_waitid));
}

// The same of reads: what was written before the signal came is read.
TEST(write_and_signal_together) {
    int ends[2], lost = 0;
    catch_signal(SIGUSR1, 0);
    NEED(pipe(ends) == 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            sleep_ms(1);
            char byte = 1;
            if (write(ends[1], &byte, 1) == 1) kill(getppid(), SIGUSR1);
            _exit(0);
        }
        char byte;
        if (read(ends[0], &byte, 1) != 1) {
            ++lost;
            NEED(read(ends[0], &byte, 1) == 1);
        }
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    SHOW(lost);
}

static pid_t zombie(int value) {
    pid_t child = fork();
    siginfo_t info;
    if (child == 0) _exit(value);
    NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    return child;
}

TEST(zombie_is_found) {
    pid_t child = zombie(5);
    unsigned long mask[16];
    void* head;
    size_t size;
    struct sched_param parameter = {0};
    struct {
        unsigned version;
        int pid;
    } header = {0x20080522, child};
    unsigned data[6];
    CALL(kill(child, 0));
    CALL(kill(child, SIGKILL));
    CALL(syscall(SYS_tkill, child, 0));
    CALL(syscall(SYS_tkill, child, SIGTERM));
    CALL(syscall(SYS_tgkill, child, child, SIGTERM));
    CALL(syscall(SYS_sched_getaffinity, child, sizeof mask, mask) > 0);
    CALL(syscall(SYS_sched_getscheduler, child));
    CALL(syscall(SYS_sched_getparam, child, &parameter));
    CALL(getpriority(PRIO_PROCESS, (id_t)child));
    CALL(setpriority(PRIO_PROCESS, (id_t)child, 1));
    CALL(syscall(SYS_capget, &header, data));
    CALL(syscall(SYS_get_robust_list, child, &head, &size));
    CALL(getpgid(child) == getpgrp());
    CALL(getsid(child) == getsid(0));
    CALL(syscall(SYS_prlimit64, child, RLIMIT_NOFILE, NULL, mask));
    reap("zombie", child);
    CALL(kill(child, 0));
    CALL(syscall(SYS_tkill, child, 0));
    CALL(syscall(SYS_sched_getscheduler, child));
    CALL(syscall(SYS_sched_getaffinity, -1, sizeof mask, mask));
    CALL(syscall(SYS_sched_setaffinity, -1, sizeof mask, mask));
    CALL(syscall(SYS_sched_getscheduler, -1));
}

// A zombie has no report for a caller that waits for stops only.
TEST(zombie_without_wexited) {
    pid_t child = zombie(5);
    siginfo_t info;
    CALL(waitid(P_PID, (id_t)child, &info, WSTOPPED | WNOHANG));
    CALL(waitid(P_PID, (id_t)child, &info, WCONTINUED));
    CALL(waitid(P_ALL, 0, &info, WSTOPPED | WCONTINUED));
    pid_t other = fork();
    if (other == 0) {
        pause();
        _exit(0);
    }
    CALL(waitid(P_ALL, 0, &info, WSTOPPED | WCONTINUED | WNOHANG));
    kill(other, SIGKILL);
    reap("other", other);
    reap("zombie", child);
}

static void show_line(pid_t pid, const char* file, const char* key) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[n < 0 ? 0 : n] = 0;
    char* at = strstr(text, key);
    say("%s %.*s\n", file, at ? (int)strcspn(at, "\n") : 1, at ? at : "?");
}
static char state_of(pid_t pid, pid_t thread) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, thread);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return '?';
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char* at = n > 0 ? strrchr(text, ')') : NULL;
    return at ? at[2] : '?';
}
static void show_process(pid_t pid) {
    char path[64], text[64];
    show_line(pid, "status", "State:");
    show_line(pid, "status", "Name:");
    show_line(pid, "status", "Threads:");
    show_line(pid, "statm", "0 0 0");
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    CALL(readlink(path, text, sizeof text) > 0);
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    int fd = open(path, O_RDONLY);
    CALL(read(fd, text, sizeof text) > 0);
    close(fd);
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR* d = opendir(path);
    int n = 0;
    while (d && readdir(d)) ++n;
    if (d) closedir(d);
    say("%d entries\n", n);
}

static int go[2];
static void* last_thread(void* unused) {
    char byte;
    NEED(read(go[0], &byte, 1) == 1);
    syscall(SYS_exit, 42);
    return unused;
}
TEST(leader_has_ended) {
    NEED(pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t t;
        NEED(pthread_create(&t, NULL, last_thread, NULL) == 0);
        syscall(SYS_exit, 5);
    }
    while (state_of(child, child) != 'Z') sleep_ms(1);
    show_process(child);
    CALL(kill(child, 0));
    CALL(syscall(SYS_tkill, child, 0));
    CALL(syscall(SYS_tgkill, child, child, SIGUSR1));
    CALL(syscall(SYS_sched_getscheduler, child));
    CALL(waitpid(child, NULL, WNOHANG));
    NEED(write(go[1], "x", 1) == 1);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
    say("-- zombie\n");
    show_process(child);
    reap("process", child);
}

static void* executes(void* unused) {
    while (state_of(getpid(), getpid()) != 'Z') sleep_ms(1);
    execl("/tests/kin", "kin", "executed", NULL);
    return unused;
}
HELPER(executed) {
    char path[64];
    FACT("has the leader's number", getpid() == (pid_t)syscall(SYS_gettid));
    snprintf(path, sizeof path, "/proc/self/task/%d", getpid());
    FACT("is the only thread", access(path, F_OK) == 0);
    show_line(getpid(), "status", "Threads:");
    CALL(syscall(SYS_tkill, getpid(), 0));
    say("state %c\n", state_of(getpid(), getpid()));
}
TEST(thread_executes_after_the_leader) {
    CHILD("process") {
        pthread_t t;
        NEED(pthread_create(&t, NULL, executes, NULL) == 0);
        syscall(SYS_exit, 5);
    }
}

// Each thread has a state of its own.
static volatile pid_t spinner, sleeper;
static void* spins(void* unused) {
    spinner = (pid_t)syscall(SYS_gettid);
    for (;;) {
    }
    return unused;
}
static void* sleeps(void* unused) {
    sleeper = (pid_t)syscall(SYS_gettid);
    for (;;) pause();
    return unused;
}
TEST(states_of_threads) {
    pthread_t t;
    NEED(pthread_create(&t, NULL, spins, NULL) == 0 && pthread_create(&t, NULL, sleeps, NULL) == 0);
    while (!spinner || !sleeper || state_of(getpid(), sleeper) != 'S') sleep_ms(1);
    say("spinner %c, sleeper %c, caller %c\n", state_of(getpid(), spinner), state_of(getpid(), sleeper),
        state_of(getpid(), getpid()));
    CALL(syscall(SYS_tkill, sleeper, 0));
    _exit(0);
}

static int ready[2];
static void* forks(void* out) {
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        NEED(write(ready[1], "x", 1) == 1);
        sleep_ms(3000);
        _exit(0);
    }
    char byte;
    NEED(read(ready[0], &byte, 1) == 1);
    *(pid_t*)out = child;
    return NULL;
}
TEST(death_signal_is_the_makers) {
    pthread_t t;
    pid_t child = 0;
    NEED(pipe(ready) == 0);
    NEED(pthread_create(&t, NULL, forks, &child) == 0 && pthread_join(t, NULL) == 0);
    reap("child of a thread that ended", child);
}
// It is sent as if by the parent: one without permission does not send it.
TEST(death_signal_needs_permission) {
    NEED(pipe(ready) == 0);
    CHILD("grandparent") {
        NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
        pid_t parent = fork();
        if (parent == 0) {
            pid_t child = fork();
            if (child == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                NEED(write(ready[1], "x", 1) == 1);
                sleep_ms(300);
                _exit(6);
            }
            char byte;
            NEED(read(ready[0], &byte, 1) == 1);
            become_user(1000);
            _exit(1);
        }
        reap("parent", parent);
        reap("root's child", -1);
    }
}

static void* waits_alone(void* out) {
    *(long*)out = waitpid(-1, NULL, WNOHANG | 0x20000000) < 0 ? -errno : 0;
    return NULL;
}
TEST(wait_for_own_children_only) {
    pid_t child = zombie(1);
    pthread_t t;
    long other = 1;
    NEED(pthread_create(&t, NULL, waits_alone, &other) == 0 && pthread_join(t, NULL) == 0);
    say("another thread: %s\n", other < 0 ? errno_name((int)-other) : "none");
    CALL(waitpid(-1, NULL, WNOHANG | 0x20000000) == child);
}

TEST(comm_of_another) {
    pid_t child = fork();
    if (child == 0) {
        for (;;) pause();
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", child);
    int fd = open(path, O_WRONLY);
    CALL(write(fd, "other", 5));
    close(fd);
    show_line(child, "status", "Name:");
    fd = open("/proc/self/comm", O_RDWR);
    CALL(write(fd, "a name that is too long", 23));
    show_line(getpid(), "status", "Name:");
    CHILD("with the parent's descriptor") { CALL(write(fd, "child's", 7)); }
    kill(child, SIGKILL);
    reap("child", child);
}

TEST(timer_slack_is_inherited) {
    CALL(prctl(PR_SET_TIMERSLACK, 70000));
    CHILD("child") {
        CALL(prctl(PR_GET_TIMERSLACK));
        CALL(prctl(PR_SET_TIMERSLACK, 80000));
        CALL(prctl(PR_GET_TIMERSLACK));
        CALL(prctl(PR_SET_TIMERSLACK, 0));
        CALL(prctl(PR_GET_TIMERSLACK));
    }
    CALL(prctl(PR_SET_TIMERSLACK, 0));
    CALL(prctl(PR_GET_TIMERSLACK));
}

TEST(groups_that_cannot_be_read) {
    CALL(syscall(SYS_setgroups, 65536, 8));
    CALL(syscall(SYS_setgroups, 65537, 8));
    CALL(syscall(SYS_setgroups, -1, 8));
    CALL(syscall(SYS_setgroups, 1, 8));
    CALL(syscall(SYS_setgroups, 0, 8));
}
