// SPDX-License-Identifier: MIT
// Calls that no C library wrapper and no other program here reaches, each by its own number: so that a broken handler
// of any call in the table is noticed.
#include "check.h"

#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/uio.h>

TEST(pwritev2) {
    int fd = open("file", O_RDWR | O_CREAT, 0644);
    struct iovec two[2] = {{"abc", 3}, {"defg", 4}};
    CALL(syscall(SYS_pwritev2, fd, two, 2L, 2L, 0L, 0L));
    CALL(syscall(SYS_pwritev2, fd, two, 1L, -1L, 0L, 0L));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(syscall(SYS_pwritev2, fd, two, 1L, -2L, 0L, 0L));
    CALL(syscall(SYS_pwritev2, fd, two, 1L, 0L, 0L, 0x40000000L));
    CALL(syscall(SYS_pwritev2, 99, two, 1L, 0L, 0L, 0L));
    char all[16] = {0};
    CALL(pread(fd, all, sizeof all, 0));
    say("%s\n", all);
}

TEST(eventfd) {
    int fd = (int)syscall(SYS_eventfd, 5L);
    unsigned long value = 0;
    IS(fd > 2);
    CALL(read(fd, &value, 8));
    SHOW(value);
    CALL(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

TEST(identity) {
    CHILD("child") {
        NEED(syscall(SYS_setresgid, 11L, 12L, 13L) == 0);
        NEED(syscall(SYS_setresuid, 21L, 22L, 23L) == 0);
        CALL(syscall(SYS_getuid));
        CALL(syscall(SYS_geteuid));
        CALL(syscall(SYS_getgid));
        CALL(syscall(SYS_getegid));
        int real = 0, effective = 0, saved = 0;
        CALL(syscall(SYS_getresuid, &real, &effective, &saved));
        say("%d %d %d\n", real, effective, saved);
        CALL(syscall(SYS_getresgid, &real, &effective, &saved));
        say("%d %d %d\n", real, effective, saved);
        CALL(syscall(SYS_setregid, 13L, 11L));
        CALL(syscall(SYS_getgid));
    }
}

TEST(getdents) {
    NEED(mkdir("d", 0755) == 0 && close(creat("d/one", 0644)) == 0 && mkdir("d/two", 0755) == 0);
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    char buffer[512] __attribute__((aligned(8)));
    long n = syscall(SYS_getdents, fd, buffer, sizeof buffer);
    int entries = 0, directories = 0;
    for (long at = 0; at < n;) {
        unsigned short length = *(unsigned short*)(buffer + at + 16);
        entries++;
        directories += buffer[at + length - 1] == 4;  // DT_DIR, in the last byte of an entry
        at += length;
    }
    SHOW(entries);
    SHOW(directories);
    CALL(syscall(SYS_getdents, fd, buffer, sizeof buffer));
    CALL(syscall(SYS_getdents, 99L, buffer, sizeof buffer));
}

TEST(renameat) {
    NEED(mkdir("a", 0755) == 0 && mkdir("b", 0755) == 0 && close(creat("a/file", 0644)) == 0);
    int a = open("a", O_RDONLY), b = open("b", O_RDONLY);
    CALL(syscall(SYS_renameat, a, "file", b, "other"));
    CALL(access("b/other", F_OK));
    CALL(access("a/file", F_OK));
    CALL(syscall(SYS_renameat, a, "file", b, "other"));
}

TEST(mounting) {
    NEED(mkdir("m", 0700) == 0 && close(creat("m/below", 0644)) == 0);
    CALL(syscall(SYS_mount, "none", "m", "tmpfs", 0L, "size=1m,mode=711"));
    struct stat st;
    CALL(stat("m", &st));
    say("%o\n", st.st_mode & 07777);
    CALL(access("m/below", F_OK));
    CALL(close(creat("m/above", 0644)));
    CALL(syscall(SYS_mount, "none", "m", "no-such-type", 0L, NULL));
    CALL(syscall(SYS_mount, "none", "missing", "tmpfs", 0L, NULL));
    CALL(syscall(SYS_umount2, "m", 0L));
    CALL(access("m/below", F_OK));
    CALL(access("m/above", F_OK));
    CALL(syscall(SYS_umount2, "m", 0L));
    CALL(syscall(SYS_umount2, "missing", 0L));
}

TEST(memfd) {
    int fd = (int)syscall(SYS_memfd_create, "name", 1L);  // MFD_CLOEXEC
    IS(fd > 2);
    CALL(fcntl(fd, F_GETFD));
    CALL(write(fd, "abc", 3));
    CALL(ftruncate(fd, 10));
    CALL(lseek(fd, 0, SEEK_END));
    CALL(syscall(SYS_memfd_create, "name", 0x1000L));
    CALL(syscall(SYS_memfd_create, (void*)8, 0L));
}

TEST(sync) { CALL(syscall(SYS_sync)); }

TEST(yield) { CALL(syscall(SYS_sched_yield)); }

TEST(epoll_pwait2) {
    int set = (int)syscall(SYS_epoll_create1, 0L), ends[2];
    NEED(pipe(ends) == 0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 7}, got = {0};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, ends[0], &event) == 0);
    struct timespec none = {0, 0}, bad = {0, 2000000000};
    CALL(syscall(SYS_epoll_pwait2, set, &got, 1L, &none, NULL, 8L));
    NEED(write(ends[1], "x", 1) == 1);
    CALL(syscall(SYS_epoll_pwait2, set, &got, 1L, NULL, NULL, 8L));
    SHOW(got.data.u32);
    CALL(syscall(SYS_epoll_pwait2, set, &got, 1L, &bad, NULL, 8L));
    CALL(syscall(SYS_epoll_wait, set, &got, 1L, 0L));
}

TEST(scheduling_parameters) {
    struct sched_param param = {.sched_priority = 0};
    CALL(syscall(SYS_sched_setparam, 0L, &param));
    param.sched_priority = 5;
    CALL(syscall(SYS_sched_setparam, 0L, &param));
    CALL(syscall(SYS_sched_setparam, 0L, NULL));
    struct {
        unsigned size, policy;
        unsigned long flags;
        int nice;
        unsigned priority;
        unsigned long times[3];
        unsigned clamps[2];
    } attr = {.size = 48, .nice = 3};
    CALL(syscall(SYS_sched_setattr, 0L, &attr, 0L));
    CALL(syscall(SYS_getpriority, 0L, 0L));
    CALL(syscall(SYS_sched_setattr, 0L, &attr, 1L));
    memset(&attr, 0xff, sizeof attr);
    CALL(syscall(SYS_sched_getattr, 0L, &attr, 48L, 0L));
    say("size %u policy %u nice %d priority %u\n", attr.size, attr.policy, attr.nice, attr.priority);
    CALL(syscall(SYS_sched_getattr, 0L, &attr, 47L, 0L));
    CALL(syscall(SYS_sched_getattr, 1000000L, &attr, 48L, 0L));
}

static volatile int got_value;
static void note_value(int number, siginfo_t* info, void* context) {
    (void)number, (void)context;
    got_value = info->si_value.sival_int;
}
TEST(queue_to_thread) {
    struct sigaction action = {.sa_sigaction = note_value, .sa_flags = SA_SIGINFO};
    NEED(sigaction(SIGUSR1, &action, NULL) == 0);
    siginfo_t info = {0};
    info.si_signo = SIGUSR1;
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = 42;
    long tid = syscall(SYS_gettid);
    CALL(syscall(SYS_rt_tgsigqueueinfo, (long)getpid(), tid, (long)SIGUSR1, &info));
    SHOW(got_value);
    CALL(syscall(SYS_rt_tgsigqueueinfo, (long)getpid(), 1000000L, (long)SIGUSR1, &info));
    CALL(syscall(SYS_rt_tgsigqueueinfo, 0L, tid, (long)SIGUSR1, &info));
}

TEST(restart_syscall) { CALL(syscall(SYS_restart_syscall)); }

TEST(group_number) {
    IS(syscall(SYS_getpgrp) == syscall(SYS_getpgid, 0L));
    CHILD("child") {
        NEED(syscall(SYS_setpgid, 0L, 0L) == 0);
        IS(syscall(SYS_getpgrp) == getpid());
    }
}

TEST(alarm) {
    CALL(syscall(SYS_alarm, 100L));
    IS(syscall(SYS_alarm, 0L) > 98);
    CALL(syscall(SYS_alarm, 0L));
}

// A thread that only ends itself, by exit(2): the other one continues.
static char stack[16384] __attribute__((aligned(16)));
TEST(exit_ends_one_thread) {
    long tid;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tmov $60, %%eax\n\tmov $5, %%edi\n\tsyscall\n1:"
                     : "=a"(tid)
                     : "a"(SYS_clone), "D"(0x50f00L), "S"(stack + sizeof stack),
                       "d"(0L)  // VM FS FILES SIGHAND THREAD SYSVSEM
                     : "rcx", "r11", "memory");
    IS(tid > 0);
    for (int i = 0; i < 1000 && syscall(SYS_tkill, tid, 0L) == 0; i++) sleep_ms(2);
    CALL(syscall(SYS_tkill, tid, 0L));
}
