// SPDX-License-Identifier: MIT
// Signals to many processes and threads: kill(2) to a group is as if sent at one moment, however many there are and whatever
// they do meanwhile; stopping and continuing thousands of threads.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

enum { kPage = 4096, kChains = 70 };  // more processes than are signalled in one go

// Each chain is a process that makes another one and ends, again and again, until told to stop. What a process has counted its
// child begins with: however often a chain has moved on, its last process has counted each signal once.
static struct shared {
    volatile int go, stop, begun, left[kChains];
}* shared;
static volatile int count;
static void counting(int number) {
    (void)number;
    count = count + 1;
}
static void chain(int slot) {
    __atomic_add_fetch(&shared->begun, 1, __ATOMIC_SEQ_CST);
    while (!shared->go) usleep(10000);
    while (!shared->stop) {
        usleep(50000);
        // Not the library's: that one blocks all signals meanwhile, and who is made with one pending and blocked has not got it.
        if (syscall(SYS_fork) > 0) _exit(0);
    }
    usleep(20000);  // a signal that was sent before may have yet to interrupt this CPU
    shared->left[slot] = 1 + count;
    _exit(0);
}
static void reap_some(void) {
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}
// Children of the test, who adopts all orphans, in a group of their own.
static pid_t begin_chains(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(shared != MAP_FAILED);
    NEED(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    on_signal(SIGUSR1, counting, SA_RESTART);
    pid_t group = 0;
    for (int i = 0; i < kChains; i++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) {
            setpgid(0, group);
            chain(i);
        }
        // Its first process may have ended already; the group is there as long as the first chain is.
        if (group == 0) group = pid;
        setpgid(pid, group);
    }
    while (__atomic_load_n(&shared->begun, __ATOMIC_SEQ_CST) < kChains) usleep(10000);
    shared->go = 1;
    usleep(100000);
    return group;
}
static void reap_all(void) {
    while (wait(NULL) > 0) {
    }
}

TEST(each_gets_a_signal_once) {
    pid_t group = begin_chains();
    for (int i = 0; i < 20; i++) {
        NEED(kill(-group, SIGUSR1) == 0);
        reap_some();
    }
    shared->stop = 1;
    reap_all();
    int missed = 0, twice = 0;
    for (int i = 0; i < kChains; i++) {
        int got = shared->left[i] - 1;
        missed += got < 1;
        twice += got > 20;
    }
    // Twenty signals may have come while the one before was pending: between 1 and 20 are counted.
    SHOW(missed);
    SHOW(twice);
}

TEST(one_signal_is_one) {
    pid_t group = begin_chains();
    NEED(kill(-group, SIGUSR1) == 0);
    shared->stop = 1;
    reap_all();
    int missed = 0, twice = 0;
    for (int i = 0; i < kChains; i++) {
        missed += shared->left[i] < 2;
        twice += shared->left[i] > 2;
    }
    SHOW(missed);
    SHOW(twice);
}

TEST(none_gets_away) {
    pid_t group = begin_chains();
    NEED(kill(-group, SIGKILL) == 0);
    reap_all();
    CALL(kill(-group, 0));
    int ended_by_themselves = 0;
    for (int i = 0; i < kChains; i++) ended_by_themselves += shared->left[i] != 0;
    SHOW(ended_by_themselves);
}

// A table of descriptors that is long is copied in pieces; other threads change what was copied already, meanwhile, and it
// grows meanwhile.
static volatile int changing, source;
static void* changes_low_numbers(void* data) {
    unsigned seed = (unsigned)(size_t)data * 77 + 1;
    while (changing) {
        seed = seed * 1103515245 + 12345;
        int fd = 64 + (int)((seed >> 12) % 1980);
        if ((seed >> 3) & 1)
            dup2(source, fd);
        else
            close(fd);
    }
    return NULL;
}
static void* grows_far(void* data) {
    static const int numbers[] = {16000, 32000, 49000, 65000, 66000};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) NEED(dup2(0, numbers[i]) == numbers[i]);
    return data;
}
TEST(table_copied_while_it_changes) {
    struct rlimit limit = {4096, 4096};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    source = open("/dev/null", O_RDONLY);
    for (int fd = 100; fd < 4096; fd++) NEED(dup2(source, fd) == fd);
    changing = 1;
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) NEED(pthread_create(&threads[i], NULL, changes_low_numbers, (void*)i) == 0);
    int copies = 0;
    for (long until = now_ms() + 4000; now_ms() < until && copies < 400; copies++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) _exit(fcntl(4000, F_GETFD) == 0 ? 0 : 1);
        int status;
        NEED(waitpid(pid, &status, 0) == pid && status == 0);
    }
    changing = 0;
    for (size_t i = 0; i < 2; i++) NEED(pthread_join(threads[i], NULL) == 0);
    FACT("copied", copies > 0);
}
TEST(table_grows_while_it_is_copied) {
    struct rlimit limit = {100000, 100000};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) {
            pthread_t thread;
            NEED(pthread_create(&thread, NULL, grows_far, NULL) == 0);
            for (int n = 0; n < i * 50; n++) getpid();
            NEED(syscall(SYS_close_range, 90000, 90001, 2 /* UNSHARE */) == 0);
            NEED(pthread_join(thread, NULL) == 0);
            _exit(0);
        }
        int status;
        NEED(waitpid(pid, &status, 0) == pid && status == 0);
    }
}

// A process that sends signals to all must not keep others from making processes.
TEST(fork_beside_signals_to_all) {
    pid_t group = 0;
    for (int i = 0; i < 120; i++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) {
            setpgid(0, group);
            if (i < 100)
                for (;;) pause();
            NEED(setresuid(1000, 1000, 1000) == 0);
            for (;;) kill(-1, SIGCONT);
        }
        if (group == 0) group = pid;
        setpgid(pid, group);
    }
    for (int i = 0; i < 100; i++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) _exit(0);
        NEED(waitpid(pid, NULL, 0) == pid);
    }
    NEED(kill(-group, SIGKILL) == 0);
    reap_all();
    CALL(kill(-group, 0));
}

// Who has ended and was not waited for is a number and a status.
TEST(zombies_keep_little) {
    enum { kZombies = 300 };
    struct sysinfo before, with;
    for (int round = 0; round < 2; round++) {  // the second: what is allocated once is there
        usleep(100000);
        NEED(sysinfo(&before) == 0);
        for (int i = 0; i < kZombies; i++) {
            pid_t pid = fork();
            NEED(pid >= 0);
            if (pid == 0) _exit(0);
        }
        for (int i = 0; i < kZombies; i++) {
            siginfo_t info;
            NEED(waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0);
            if (i == 0) usleep(200000);
        }
        NEED(sysinfo(&with) == 0);
        reap_all();
    }
    long kib = ((long)before.freeram - (long)with.freeram) / 1024;
    FACT("at most 20 KiB each", kib < 20 * kZombies);
}

// Threads without a library: their stacks are a page.
enum { kThreads = 1200, kStack = kPage };
static volatile int running;
static int sleeps(void* data) {
    (void)data;
    __atomic_add_fetch(&running, 1, __ATOMIC_SEQ_CST);
    for (;;) syscall(SYS_pause);
    return 0;
}
static void begin_threads(void) {
    char* stacks = mmap(NULL, (size_t)kThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(stacks != MAP_FAILED);
    for (int i = 0; i < kThreads; i++)
        NEED(clone(sleeps, stacks + (size_t)(i + 1) * kStack,
                   CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, NULL) > 0);
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) < kThreads) sched_yield();
}
static int lines_with(const char* path, const char* word) {
    static char text[8192];
    int fd = open(path, O_RDONLY), n = 0;
    NEED(fd >= 0);
    for (ssize_t got; (got = read(fd, text, sizeof text - 1)) > 0;) {
        text[got] = 0;
        for (char* at = text; (at = strstr(at, word)); at++) n++;
    }
    close(fd);
    return n;
}
TEST(thousands_of_threads_stop) {
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        begin_threads();
        NEED(write(ready[1], "", 1) == 1);
        for (;;) pause();
    }
    char c, path[64];
    NEED(read(ready[0], &c, 1) == 1);
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    for (int round = 0; round < 3; round++) {
        NEED(kill(pid, SIGSTOP) == 0);
        int status = 0;
        NEED(waitpid(pid, &status, WUNTRACED) == pid);
        SHOW(WIFSTOPPED(status));
        FACT("all are stopped", lines_with(path, "T (stopped)") == 1);
        NEED(kill(pid, SIGCONT) == 0);
        NEED(waitpid(pid, &status, WCONTINUED) == pid);
        SHOW(WIFCONTINUED(status));
        struct rusage use;
        CALL(getrusage(RUSAGE_CHILDREN, &use));
    }
    NEED(kill(pid, SIGKILL) == 0);
    reap("child", pid);
}
TEST(thousands_of_threads_are_told) {
    CHILD("child") {
        begin_threads();
        struct rusage use;
        CALL(getrusage(RUSAGE_SELF, &use));
        FACT("threads", lines_with("/proc/self/status", "Threads:\t1201\n") == 1);
        SHOW(lines_with("/proc/self/stat", " "));
        on_signal(SIGUSR1, counting, 0);
        sigset_t one;
        sigemptyset(&one);
        sigaddset(&one, SIGUSR1);
        sigprocmask(SIG_BLOCK, &one, NULL);
        // Another thread takes it: all inherited a mask without it.
        NEED(kill(getpid(), SIGUSR1) == 0);
        while (count == 0) sched_yield();
        SHOW(count);
        CALL(setpriority(PRIO_PGRP, 0, 5));
        SHOW(getpriority(PRIO_PGRP, 0));
        syscall(SYS_exit_group, 3);
    }
}

// The shortest of many calls, in nanoseconds: of one about a process, and of the same about its group, made in turns, so that
// they are treated alike.
static void shortest(pid_t pid, int which, long best[2]) {
    best[0] = best[1] = LONG_MAX;
    for (int i = 0; i < 400; i++) {
        const int group = i % 2;
        struct timespec a, b;
        clock_gettime(CLOCK_MONOTONIC, &a);
        if (which == 0)
            NEED(kill(group ? -pid : pid, 0) == 0);
        else
            NEED(setpriority(group ? PRIO_PGRP : PRIO_PROCESS, (id_t)pid, 5) == 0);
        clock_gettime(CLOCK_MONOTONIC, &b);
        const long n = (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec;
        if (n < best[group]) best[group] = n;
    }
}
TEST(a_group_costs_its_members) {
    enum { kOthers = 400 };
    pid_t member = fork();
    if (member == 0) {
        setpgid(0, 0);
        for (;;) pause();
    }
    setpgid(member, member);
    pid_t others = 0;
    for (int i = 0; i < kOthers; i++) {
        pid_t pid = fork();
        NEED(pid >= 0);
        if (pid == 0) {
            setpgid(0, others);
            for (;;) pause();
        }
        if (i == 0) others = pid;
        setpgid(pid, others);
    }
    long best[2];
    shortest(member, 0, best);
    FACT("kill costs as much among hundreds", best[1] < 8 * best[0]);
    shortest(member, 1, best);
    FACT("setpriority costs as much among hundreds", best[1] < 8 * best[0]);
    CALL(kill(-others, 0));
    NEED(kill(-others, SIGKILL) == 0);
    int killed = 0, status;
    for (int i = 0; i < kOthers; i++) killed += waitpid(-1, &status, 0) > 0 && WTERMSIG(status) == SIGKILL;
    SHOW(killed == kOthers);
    CALL(kill(-others, SIGKILL));
    kill(member, SIGKILL);
    reap_all();
}
