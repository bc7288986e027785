// SPDX-License-Identifier: MIT
// execve with other threads and processes: what they shared with the program.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>

static const char* self(void) { return test_argv[0]; }

static void* waits(void* unused) {
    for (;;) pause();
    return unused;
}
static void one_more_thread(void) {
    pthread_t t;
    NEED(pthread_create(&t, NULL, waits, NULL) == 0);
}

// A record lock is the table's of descriptors, which the program keeps unless another process has it too.
static void lock_and_execute(const char* who, int thread, int fd) {
    int ready[2], end[2];
    NEED(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
        NEED(fcntl(fd, F_SETLK, &lock) == 0);
        NEED(dup2(ready[1], 20) == 20 && dup2(end[0], 21) == 21 && close(end[1]) == 0);
        if (thread) one_more_thread();
        execl(self(), "exec", "say_and_wait", (char*)NULL);
        _exit(1);
    }
    char c;
    NEED(read(ready[0], &c, 1) == 1);
    struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
    NEED(fcntl(fd, F_GETLK, &lock) == 0);
    say("%s: the lock is %s\n", who, lock.l_type == F_UNLCK ? "gone" : "there");
    close(end[1]);
    reap(who, child);
}
TEST(record_locks_are_kept) {
    int fd = open("locked", O_RDWR | O_CREAT, 0600);
    NEED(fd >= 0);
    lock_and_execute("alone", 0, fd);
    lock_and_execute("with a thread", 1, fd);
}
HELPER(say_and_wait) {
    char c;
    NEED(write(20, "x", 1) == 1 && close(20) == 0);
    NEED(read(21, &c, 1) == 0);
}

// A process that has descriptors in common keeps them when the program closes its own.
static int close_behind[2];
static int keeps_descriptors(void* unused) {
    (void)unused;
    char c;
    close(20);  // of both
    if (read(close_behind[0], &c, 1) < 0) _exit(2);
    _exit(fcntl(21, F_GETFD) < 0);
}
TEST(descriptors_in_common) {
    for (int thread = 0; thread < 2; thread++) {
        NEED(pipe(close_behind) == 0 && dup2(0, 20) == 20 && dup2(0, 21) == 21);
        char* stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHILD("program") {
            pid_t other = clone(keeps_descriptors, stack + 65536, CLONE_FILES | SIGCHLD, NULL);
            NEED(other > 0);
            while (fcntl(20, F_GETFD) == 0) sched_yield();
            if (thread) one_more_thread();
            char number[16], pipe_end[16];
            snprintf(number, sizeof number, "%d", other);
            snprintf(pipe_end, sizeof pipe_end, "%d", close_behind[1]);
            execl(self(), "exec", "closes_its_own", number, pipe_end, (char*)NULL);
        }
    }
}
HELPER(closes_its_own) {
    NEED(close(21) == 0 && write(atoi(test_argv[3]), "x", 1) == 1);
    reap("the other", atoi(test_argv[2]));
}

// A thread may give the actions to a new process until it has ended: the program does not have them in common with that one.
enum { kMagic = 0x41414140 };
struct kernel_action {
    unsigned long handler, flags, restorer, mask;
};
static struct race {
    volatile int executed, made, set, hit;
}* race;
static char* race_stack;
static volatile int race_on;
static unsigned race_delay;
static void use_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}
static int sets_an_action(void* unused) {
    (void)unused;
    race->made = 1;
    struct timespec tick = {0, 1000000};
    for (int i = 0; i < 40 && !race->executed; i++) syscall(SYS_nanosleep, &tick, NULL);
    if (race->executed) {
        struct kernel_action a = {kMagic, 0x04000000, kMagic, 0};
        syscall(SYS_rt_sigaction, SIGUSR2, &a, NULL, 8);
        race->set = 1;
    }
    syscall(SYS_exit, 0);
    return 0;
}
static void* makes_a_process(void* unused) {
    use_cpu(1);
    while (!race_on) {
    }
    for (volatile unsigned i = 0; i < race_delay; i++) {
    }
    clone(sets_an_action, race_stack + 65536, CLONE_VM | CLONE_SIGHAND | CLONE_PARENT | SIGCHLD, NULL);
    return waits(unused);
}
TEST(actions_given_away_meanwhile) {
    int fd = memfd_create("race", 0);
    NEED(fd >= 0 && ftruncate(fd, 4096) == 0 && dup2(fd, 20) == 20);
    race = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    race_stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned most = 3000;
    srand((unsigned)now_ms());
    for (long end = now_ms() + 5000; now_ms() < end && !race->hit;) {
        race->executed = race->made = race->set = 0;
        race_delay = (unsigned)rand() % most;
        pid_t child = fork();
        if (child == 0) {
            pthread_t t;
            NEED(pthread_create(&t, NULL, makes_a_process, NULL) == 0);
            use_cpu(0);
            usleep(200);
            race_on = 1;
            execl(self(), "exec", "looks_at_its_action", (char*)NULL);
            _exit(1);
        }
        waitpid(child, NULL, 0);
        while (waitpid(-1, NULL, __WALL) > 0) {
        }
        if (race->made && most < 40000) most += most / 32;
        if (!race->made && most > 1000) most -= most / 32;
    }
    FACT("another process set an action of the program", race->hit);
}
HELPER(looks_at_its_action) {
    race = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 20, 0);
    race->executed = 1;
    for (int i = 0; race->made && i < 20 && !race->set; i++) usleep(500);
    struct kernel_action a = {0};
    syscall(SYS_rt_sigaction, SIGUSR2, NULL, &a, 8);
    if (a.handler == kMagic) race->hit = 1;
}

// The leader ends while another thread executes a program and takes its number.
static volatile int leader_goes;
static void* executes(void* unused) {
    (void)unused;
    while (!leader_goes) {
    }
    execl(self(), "exec", "nothing", (char*)NULL);
    _exit(1);
}
static long threads_now(void) {
    struct sysinfo s;
    NEED(sysinfo(&s) == 0);
    return s.procs;
}
TEST(leaders_end_meanwhile) {
    // The tree of processes is looked at all the time, so that ends are held up.
    pid_t group = fork();
    if (group == 0) {
        setpgid(0, 0);
        for (int i = 0; i < 60; i++)
            if (fork() == 0) waits(NULL);
        for (;;) kill(0, 0);
    }
    sleep_ms(300);
    long before = threads_now();
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t t;
            NEED(pthread_create(&t, NULL, executes, NULL) == 0);
            usleep(200);
            leader_goes = 1;
            for (volatile int n = 0; n < i * 700; n++) {
            }
            syscall(SYS_exit, 0);
        }
        int status;
        NEED(waitpid(child, &status, 0) == child && status == 0);
    }
    FACT("fewer threads than before", threads_now() < before);
    NEED(kill(-group, SIGKILL) == 0);
}
HELPER(nothing) {}

TEST(set_user_id_clears_personality) {
    enum { kNoRandomize = 0x0040000, kPageZero = 0x0100000, kCompat = 0x0200000, kSticky = 0x4000000 };
    char command[256];
    snprintf(command, sizeof command,
             "for n in plain user group; do /bin/busybox cp %s $n; done; chmod 755 plain; chmod 4755 user; "
             "chgrp 5678 group; chmod 2755 group",
             self());
    NEED(system(command) == 0);
    struct rlimit stack = {64 << 20, 64 << 20};
    NEED(setrlimit(RLIMIT_STACK, &stack) == 0);
    const char* const programs[] = {"plain", "user", "group"};
    for (int as_user = 0; as_user < 2; as_user++)
        for (int i = 0; i < 3; i++) {
            say("%s program, %s\n", programs[i], as_user ? "user" : "root");
            CHILD("child") {
                if (as_user) NEED(setgid(1000) == 0 && setuid(1000) == 0);
                personality(kNoRandomize | kCompat | kSticky | (as_user && i != 0 ? kPageZero : 0));
                execl(programs[i], programs[i], "show_personality", (char*)NULL);
                say("%s\n", errno_name(errno));
            }
        }
}
HELPER(show_personality) {
    say("personality %#x\n", personality(0xffffffff));
    struct rlimit stack;
    NEED(getrlimit(RLIMIT_STACK, &stack) == 0);
    say("stack %ld %ld\n", (long)stack.rlim_cur, (long)stack.rlim_max);
}
