// SPDX-License-Identifier: MIT
// Bad input: a bad pointer in every pointer argument of every call, closed descriptors, huge counts.
// Each row of a table is a call with good arguments; every pointer in turn is replaced by each bad one. An argument's
// calls run in a child of their own, so that what they destroy the next row does not miss.
#include "check.h"

#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>

struct argument {
    char kind;  // 'v' value, 'i' pointer that is read, 'o' pointer that is written
    long value;
};
#define V(x) {'v', (long)(x)}
#define I(x) {'i', (long)(x)}
#define O(x) {'o', (long)(x)}

struct row {
    const char* name;
    long number;
    struct argument arguments[6];
};

static char text[4096] = "some text";
static struct iovec vector = {text, 10};
static char zeros[4096], output[4096];
static struct timespec moment = {0, 1000}, zero_time;
static struct pollfd poll_entry = {1, POLLOUT, 0};
static int word;

// Descriptors that the rows may name.
enum { kFile = 3, kReader = 4, kWriter = 5, kDirectory = 6, kEpoll = 7, kTimer = 8, kEvent = 9 };

static char* edge;       // the byte before it is mapped, it is not
static char* read_only;  // a page

static void prepare(void) {
    int p[2];
    NEED(make_file("file", "0123456789abcdefghij", 0644) == 0 && symlink("file", "link") == 0 &&
         mkdir("dir", 0755) == 0);
    NEED(open("file", O_RDWR) == kFile);
    NEED(pipe2(p, O_NONBLOCK) == 0 && p[0] == kReader && p[1] == kWriter && write(kWriter, text, 2000) == 2000);
    NEED(open("dir", O_RDONLY) == kDirectory);
    NEED(epoll_create1(0) == kEpoll && timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK) == kTimer &&
         syscall(SYS_eventfd2, 5, O_NONBLOCK) == kEvent);
    read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(read_only != MAP_FAILED);
    char* m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(m != MAP_FAILED && munmap(m + 4096, 4096) == 0);
    memset(m, 'e', 4096);
    edge = m + 4096;
    NEED(syscall(SYS_setgroups, 2, zeros) == 0);
}

static void interrupted(int number) { (void)number; }

// One call with one argument replaced. What a null pointer makes wait for ever is interrupted by a timer.
static void try(const struct row* row, int position, const char* what, long pointer) {
    long a[6];
    for (int i = 0; i < 6; i++) a[i] = row->arguments[i].value;
    if (position >= 0) a[position] = pointer;
    struct itimerval limit = {{0, 0}, {0, 400000}}, off = {{0, 0}, {0, 0}};
    on_signal(SIGALRM, interrupted, 0);
    syscall(SYS_setitimer, ITIMER_REAL, &limit, NULL);
    errno = 0;
    long r = syscall(row->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    int error = errno;
    syscall(SYS_setitimer, ITIMER_REAL, &off, NULL);
    say(" %s=%s", what, r == -1 && error ? errno_name(error) : "ok");
}

static void finish_row(pid_t pid) {
    int status;
    NEED(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) say(" killed by %s", signal_name(WTERMSIG(status)));
    say("\n");
}

static void run(const struct row* rows, size_t count) {
    prepare();
    for (size_t i = 0; i < count; i++)
        for (int k = 0; k < 6; k++) {
            char kind = rows[i].arguments[k].kind;
            if (kind != 'i' && kind != 'o') continue;
            say("%s %d:", rows[i].name, k);
            pid_t pid = fork();
            if (pid == 0) {
                try(&rows[i], k, "unmapped", 0x1000);
                try(&rows[i], k, "kernel", (long)0xffff800000000000);
                try(&rows[i], k, "noncanonical", (long)0x8000000000000010);
                try(&rows[i], k, "top", -1);
                try(&rows[i], k, "beyond", (long)edge);
                try(&rows[i], k, "crossing", (long)edge - 1);
                if (kind == 'o') try(&rows[i], k, "readonly", (long)read_only);
                try(&rows[i], k, "null", 0);
                _exit(0);
            }
            finish_row(pid);
        }
}
#define RUN(rows) run(rows, sizeof rows / sizeof rows[0])

TEST(data) {
    static const struct row rows[] = {
        {"read file", SYS_read, {V(kFile), O(output), V(10)}},
        {"read pipe", SYS_read, {V(kReader), O(output), V(10)}},
        {"write file", SYS_write, {V(kFile), I(text), V(10)}},
        {"write pipe", SYS_write, {V(kWriter), I(text), V(10)}},
        {"pread64", SYS_pread64, {V(kFile), O(output), V(10), V(0)}},
        {"pwrite64", SYS_pwrite64, {V(kFile), I(text), V(10), V(0)}},
        {"readv", SYS_readv, {V(kFile), I(&vector), V(1)}},
        {"writev", SYS_writev, {V(kFile), I(&vector), V(1)}},
        {"preadv", SYS_preadv, {V(kFile), I(&vector), V(1), V(0)}},
        {"pwritev", SYS_pwritev, {V(kFile), I(&vector), V(1), V(0)}},
        {"sendfile", SYS_sendfile, {V(kFile), V(kFile), O(&zeros[8]), V(0)}},
        {"copy_file_range in", SYS_copy_file_range, {V(kFile), O(zeros), V(kFile), V(0), V(0), V(0)}},
        {"getdents64", SYS_getdents64, {V(kDirectory), O(output), V(512)}},
        {"pipe", SYS_pipe, {O(output)}},
        {"pipe2", SYS_pipe2, {O(output), V(0)}},
        {"read event", SYS_read, {V(kEvent), O(output), V(8)}},
        {"write event", SYS_write, {V(kEvent), I(zeros), V(8)}},
        {"read zero", SYS_read, {V(-2), O(output), V(8)}},
    };
    RUN(rows);
}

TEST(paths) {
    static const struct row rows[] = {
        {"open", SYS_open, {I("file"), V(0), V(0)}},
        {"openat", SYS_openat, {V(AT_FDCWD), I("file"), V(0), V(0)}},
        {"creat", SYS_creat, {I("new"), V(0600)}},
        {"stat", SYS_stat, {I("file"), O(output)}},
        {"lstat", SYS_lstat, {I("file"), O(output)}},
        {"fstat", SYS_fstat, {V(kFile), O(output)}},
        {"newfstatat", SYS_newfstatat, {V(AT_FDCWD), I("file"), O(output), V(0)}},
        {"statx", SYS_statx, {V(AT_FDCWD), I("file"), V(0), V(0x7ff), O(output)}},
        {"access", SYS_access, {I("file"), V(0)}},
        {"faccessat", SYS_faccessat, {V(AT_FDCWD), I("file"), V(0)}},
        {"mkdir", SYS_mkdir, {I("newdir"), V(0700)}},
        {"mkdirat", SYS_mkdirat, {V(AT_FDCWD), I("newdir2"), V(0700)}},
        {"rmdir", SYS_rmdir, {I("missing")}},
        {"unlink", SYS_unlink, {I("missing")}},
        {"unlinkat", SYS_unlinkat, {V(AT_FDCWD), I("missing"), V(0)}},
        {"rename", SYS_rename, {I("missing"), I("other")}},
        {"renameat2", SYS_renameat2, {V(AT_FDCWD), I("missing"), V(AT_FDCWD), I("other"), V(0)}},
        {"link", SYS_link, {I("file"), I("other")}},
        {"linkat", SYS_linkat, {V(AT_FDCWD), I("file"), V(AT_FDCWD), I("other"), V(0)}},
        {"symlink", SYS_symlink, {I("x"), I("dir/l1")}},
        {"symlinkat", SYS_symlinkat, {I("x"), V(AT_FDCWD), I("dir/l2")}},
        {"readlink", SYS_readlink, {I("link"), O(output), V(64)}},
        {"readlinkat", SYS_readlinkat, {V(AT_FDCWD), I("link"), O(output), V(64)}},
        {"chmod", SYS_chmod, {I("file"), V(0644)}},
        {"fchmodat", SYS_fchmodat, {V(AT_FDCWD), I("file"), V(0644)}},
        {"chown", SYS_chown, {I("file"), V(0), V(0)}},
        {"lchown", SYS_lchown, {I("file"), V(0), V(0)}},
        {"fchownat", SYS_fchownat, {V(AT_FDCWD), I("file"), V(0), V(0), V(0)}},
        {"truncate", SYS_truncate, {I("file"), V(20)}},
        {"chdir", SYS_chdir, {I(".")}},
        {"chroot", SYS_chroot, {I("/")}},
        {"getcwd", SYS_getcwd, {O(output), V(4096)}},
        {"mknod", SYS_mknod, {I("dir/node"), V(S_IFREG | 0600), V(0)}},
        {"mknodat", SYS_mknodat, {V(AT_FDCWD), I("dir/node2"), V(S_IFREG | 0600), V(0)}},
        {"statfs", SYS_statfs, {I("/"), O(output)}},
        {"fstatfs", SYS_fstatfs, {V(kFile), O(output)}},
        {"utimensat", SYS_utimensat, {V(AT_FDCWD), I("file"), I(&moment), V(0)}},
        {"utime", SYS_utime, {I("file"), I(zeros)}},
        {"utimes", SYS_utimes, {I("file"), I(zeros)}},
        {"futimesat", SYS_futimesat, {V(AT_FDCWD), I("file"), I(zeros)}},
        {"execve", SYS_execve, {I("missing"), V(0), V(0)}},
    };
    RUN(rows);
}

TEST(processes) {
    static char* arguments[] = {(char*)"x", NULL};
    static const struct row rows[] = {
        {"execve", SYS_execve, {V("/bin/true"), I(arguments), I(arguments)}},
        {"wait4", SYS_wait4, {V(-1), O(output), V(WNOHANG), O(output)}},
        {"waitid", SYS_waitid, {V(P_ALL), V(0), O(output), V(WEXITED | WNOHANG), O(output)}},
        {"getrusage", SYS_getrusage, {V(0), O(output)}},
        {"times", SYS_times, {O(output)}},
        {"prlimit64 new", SYS_prlimit64, {V(0), V(RLIMIT_CORE), I(zeros), V(0)}},
        {"prlimit64 old", SYS_prlimit64, {V(0), V(RLIMIT_CORE), V(0), O(output)}},
        {"getrlimit", SYS_getrlimit, {V(RLIMIT_CORE), O(output)}},
        {"setrlimit", SYS_setrlimit, {V(RLIMIT_CORE), I(zeros)}},
        {"getresuid", SYS_getresuid, {O(output), O(output + 4), O(output + 8)}},
        {"getresgid", SYS_getresgid, {O(output), O(output + 4), O(output + 8)}},
        {"getgroups", SYS_getgroups, {V(10), O(output)}},
        {"setgroups", SYS_setgroups, {V(2), I(zeros)}},
        {"sched_getaffinity", SYS_sched_getaffinity, {V(0), V(128), O(output)}},
        {"sched_getparam", SYS_sched_getparam, {V(0), O(output)}},
        {"sched_rr_get_interval", SYS_sched_rr_get_interval, {V(0), O(output)}},
        {"getcpu", SYS_getcpu, {O(output), O(output + 8), V(0)}},
        {"prctl set name", SYS_prctl, {V(15), I("name")}},
        {"prctl get name", SYS_prctl, {V(16), O(output)}},
        {"arch_prctl get fs", SYS_arch_prctl, {V(0x1003), O(output)}},
        {"capget", SYS_capget, {O(output), O(output + 64)}},
        {"set_robust_list", SYS_set_robust_list, {I(zeros), V(24)}},
        {"get_robust_list", SYS_get_robust_list, {V(0), O(output), O(output + 8)}},
        {"set_tid_address", SYS_set_tid_address, {O(output)}},
    };
    RUN(rows);
}

TEST(signals) {
    static unsigned long action[4];
    static sigset_t set;
    static stack_t stack = {.ss_flags = SS_DISABLE};
    static const struct row rows[] = {
        {"rt_sigaction", SYS_rt_sigaction, {V(SIGUSR1), I(action), O(output), V(8)}},
        {"rt_sigprocmask", SYS_rt_sigprocmask, {V(SIG_BLOCK), I(&set), O(output), V(8)}},
        {"rt_sigpending", SYS_rt_sigpending, {O(output), V(8)}},
        {"rt_sigtimedwait", SYS_rt_sigtimedwait, {I(&set), O(output), I(&zero_time), V(8)}},
        {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {V(0x7fffffff), V(SIGUSR1), I(zeros)}},
        {"sigaltstack", SYS_sigaltstack, {I(&stack), O(output)}},
        {"getitimer", SYS_getitimer, {V(0), O(output)}},
        {"setitimer", SYS_setitimer, {V(0), I(zeros), O(output)}},
        {"signalfd4", SYS_signalfd4, {V(-1), I(&set), V(8), V(0)}},
    };
    RUN(rows);
    say("rt_sigsuspend:");
    static const struct row suspend = {"rt_sigsuspend", SYS_rt_sigsuspend, {I(&set), V(8)}};
    try(&suspend, 0, "kernel", (long)0xffff800000000000);
    try(&suspend, 0, "unmapped", 0x1000);
    say("\n");
}

TEST(waiting) {
    static struct epoll_event event;
    static fd_set set;
    static const struct row rows[] = {
        {"poll", SYS_poll, {O(&poll_entry), V(1), V(0)}},
        {"ppoll", SYS_ppoll, {O(&poll_entry), V(1), I(&zero_time), I(zeros), V(8)}},
        {"select", SYS_select, {V(1), O(&set), O(&set), O(&set), I(&zero_time)}},
        {"pselect6", SYS_pselect6, {V(1), O(&set), O(&set), O(&set), I(&zero_time), V(0)}},
        {"epoll_ctl", SYS_epoll_ctl, {V(kEpoll), V(EPOLL_CTL_ADD), V(kReader), I(&event)}},
        {"futex wait", SYS_futex, {I(&word), V(FUTEX_WAIT), V(1), I(&moment), V(0), V(0)}},
        {"futex wake", SYS_futex, {I(&word), V(FUTEX_WAKE), V(1), V(0), V(0), V(0)}},
        {"futex requeue", SYS_futex, {I(&word), V(FUTEX_CMP_REQUEUE), V(1), V(1), I(&word), V(0)}},
        {"futex wake op", SYS_futex, {I(&word), V(FUTEX_WAKE_OP), V(1), V(1), O(&word), V(0)}},
    };
    RUN(rows);
}

TEST(time) {
    static const struct row rows[] = {
        {"clock_gettime", SYS_clock_gettime, {V(0), O(output)}},
        {"clock_getres", SYS_clock_getres, {V(0), O(output)}},
        {"gettimeofday", SYS_gettimeofday, {O(output), O(output + 64)}},
        {"time", SYS_time, {O(output)}},
        {"nanosleep", SYS_nanosleep, {I(&moment), O(output)}},
        {"clock_nanosleep", SYS_clock_nanosleep, {V(1), V(0), I(&moment), O(output)}},
        {"timerfd_settime", SYS_timerfd_settime, {V(kTimer), V(0), I(zeros), O(output)}},
        {"timerfd_gettime", SYS_timerfd_gettime, {V(kTimer), O(output)}},
        {"clock_settime", SYS_clock_settime, {V(1), I(&moment)}},
    };
    RUN(rows);
}

TEST(system) {
    static const struct row rows[] = {
        {"uname", SYS_uname, {O(output)}},
        {"sysinfo", SYS_sysinfo, {O(output)}},
        {"getrandom", SYS_getrandom, {O(output), V(16), V(0)}},
        {"sethostname", SYS_sethostname, {I("farcall"), V(7)}},
        {"mincore", SYS_mincore, {V(0), V(0), O(output)}},
        {"fcntl getlk", SYS_fcntl, {V(kFile), V(F_GETLK), O(zeros)}},
        {"fcntl setlk", SYS_fcntl, {V(kFile), V(F_SETLK), I(zeros)}},
        {"ioctl fionread", SYS_ioctl, {V(kReader), V(0x541b), O(output)}},
        {"ioctl fionbio", SYS_ioctl, {V(kReader), V(0x5421), I(&word)}},
        {"ioctl tcgets on a file", SYS_ioctl, {V(kFile), V(0x5401), O(output)}},
    };
    char name[65];
    NEED(gethostname(name, sizeof name) == 0);
    RUN(rows);
    NEED(sethostname(name, strlen(name)) == 0);
}

// The child is gone although its status could not be stored.
TEST(wait_with_child) {
    prepare();
    const long bad[] = {0x1000, (long)0xffff800000000000, (long)edge, (long)edge - 1, (long)read_only};
    for (int i = 0; i < 5; i++)
        for (int call = 0; call < 3; call++) {
            pid_t pid = fork();
            if (pid == 0) _exit(7);
            errno = 0;
            long r = call == 0   ? syscall(SYS_wait4, pid, bad[i], 0, NULL)
                     : call == 1 ? syscall(SYS_wait4, pid, NULL, 0, bad[i])
                                 : syscall(SYS_waitid, P_PID, pid, bad[i], WEXITED, NULL);
            say("pointer %d, call %d: %s", i, call, r < 0 ? errno_name(errno) : "ok");
            errno = 0;
            r = waitpid(pid, NULL, 0);
            say(", again %s\n", r < 0 ? errno_name(errno) : "ok");
        }
}

TEST(signal_information) {
    prepare();
    sigset_t set;
    struct timespec none = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    const long bad[] = {0x1000, (long)0xffff800000000000, (long)edge, (long)edge - 1, (long)read_only};
    for (int i = 0; i < 5; i++) {
        raise(SIGUSR1);
        CALL(syscall(SYS_rt_sigtimedwait, &set, bad[i], &none, 8));
        CALL(syscall(SYS_rt_sigtimedwait, &set, NULL, &none, 8));
    }
}

TEST(closed_descriptors) {
    static const struct row rows[] = {
        {"read", SYS_read, {V(0), V(output), V(1)}},
        {"write", SYS_write, {V(0), V(text), V(1)}},
        {"read nothing", SYS_read, {V(0), V(output), V(0)}},
        {"pread64", SYS_pread64, {V(0), V(output), V(1), V(0)}},
        {"pwrite64", SYS_pwrite64, {V(0), V(text), V(1), V(0)}},
        {"readv", SYS_readv, {V(0), V(&vector), V(1)}},
        {"writev", SYS_writev, {V(0), V(&vector), V(1)}},
        {"close", SYS_close, {V(0)}},
        {"fstat", SYS_fstat, {V(0), V(output)}},
        {"lseek", SYS_lseek, {V(0), V(0), V(0)}},
        {"dup", SYS_dup, {V(0)}},
        {"dup2", SYS_dup2, {V(0), V(50)}},
        {"dup3", SYS_dup3, {V(0), V(50), V(0)}},
        {"fcntl", SYS_fcntl, {V(0), V(F_GETFL)}},
        {"ioctl", SYS_ioctl, {V(0), V(0x5401), V(output)}},
        {"ftruncate", SYS_ftruncate, {V(0), V(0)}},
        {"fallocate", SYS_fallocate, {V(0), V(0), V(0), V(1)}},
        {"fsync", SYS_fsync, {V(0)}},
        {"fdatasync", SYS_fdatasync, {V(0)}},
        {"fchmod", SYS_fchmod, {V(0), V(0644)}},
        {"fchown", SYS_fchown, {V(0), V(0), V(0)}},
        {"fchdir", SYS_fchdir, {V(0)}},
        {"flock", SYS_flock, {V(0), V(1)}},
        {"fstatfs", SYS_fstatfs, {V(0), V(output)}},
        {"getdents64", SYS_getdents64, {V(0), V(output), V(512)}},
        {"openat", SYS_openat, {V(0), V("x"), V(0)}},
        {"mkdirat", SYS_mkdirat, {V(0), V("x"), V(0)}},
        {"unlinkat", SYS_unlinkat, {V(0), V("x"), V(0)}},
        {"readlinkat", SYS_readlinkat, {V(0), V("x"), V(output), V(10)}},
        {"newfstatat", SYS_newfstatat, {V(0), V("x"), V(output), V(0)}},
        {"faccessat", SYS_faccessat, {V(0), V("x"), V(0)}},
        {"sendfile", SYS_sendfile, {V(0), V(kFile), V(0), V(1)}},
        {"epoll_wait", SYS_epoll_wait, {V(0), V(output), V(1), V(0)}},
        {"epoll_ctl", SYS_epoll_ctl, {V(0), V(1), V(kFile), V(zeros)}},
        {"timerfd_gettime", SYS_timerfd_gettime, {V(0), V(output)}},
        {"syncfs", SYS_syncfs, {V(0)}},
        {"fadvise64", SYS_fadvise64, {V(0), V(0), V(0), V(0)}},
        {"readahead", SYS_readahead, {V(0), V(0), V(10)}},
    };
    prepare();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        say("%s:", rows[i].name);
        pid_t pid = fork();
        if (pid == 0) {
            try(&rows[i], 0, "-1", -1);
            try(&rows[i], 0, "99", 99);
            try(&rows[i], 0, "1000000", 1000000);
            try(&rows[i], 0, "max", INT_MAX);
            try(&rows[i], 0, "min", INT_MIN);
            try(&rows[i], 0, "wide", 0x7fffffff00000063);
            _exit(0);
        }
        finish_row(pid);
    }
}

TEST(huge_counts) {
    prepare();
    static const long counts[] = {-1, LONG_MAX, LONG_MIN, 1L << 32, 0x7ffff000, 0x80000000, 1L << 47};
    static const struct row rows[] = {
        {"read", SYS_read, {V(kFile), V(output), V(0)}},
        {"read pipe", SYS_read, {V(kReader), V(output), V(0)}},
        {"pread64", SYS_pread64, {V(kFile), V(output), V(0), V(0)}},
        {"readv", SYS_readv, {V(kFile), V(&vector), V(0)}},
        {"writev", SYS_writev, {V(kWriter), V(&vector), V(0)}},
        {"getdents64", SYS_getdents64, {V(kDirectory), V(output), V(0)}},
        {"readlink", SYS_readlink, {V("link"), V(output), V(0)}},
        {"sendfile", SYS_sendfile, {V(kWriter), V(kFile), V(0), V(0)}},
        {"getrandom into little", SYS_getrandom, {V(0x1000), V(0), V(0)}},
    };
    static const int position[] = {2, 2, 2, 2, 2, 2, 2, 3, 1};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        say("%s:", rows[i].name);
        for (int k = 0; k < 7; k++) {
            char name[24];
            snprintf(name, sizeof name, "%lx", counts[k]);
            try(&rows[i], position[i], name, counts[k]);
        }
        say("\n");
    }
}

TEST(huge_write) {
    // A count beyond the mapping: what is there is written, the rest is a fault only if nothing was.
    prepare();
    int fd = open("big", O_RDWR | O_CREAT, 0600);
    CALL(write(fd, edge - 100, 1000000));
    CALL(write(fd, edge, 1000000));
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    SHOW(s.st_size);
    CALL(write(kWriter, edge - 100, 200));
    CALL(lseek(fd, 0, SEEK_SET));
    CALL(read(fd, edge - 50, 100));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(read(kReader, edge - 50, 100));
}

TEST(vector_lengths) {
    prepare();
    static struct iovec v[3];
    static const size_t lengths[] = {(size_t)-1, (size_t)LONG_MAX, (size_t)1 << 63, 0x7ffff000, 0};
    for (int i = 0; i < 5; i++) {
        v[0] = (struct iovec){text, 4};
        v[1] = (struct iovec){text, lengths[i]};
        v[2] = (struct iovec){text, 4};
        say("%zx", lengths[i]);
        errno = 0;
        long r = readv(kFile, v, 3);
        say(" read %s", r < 0 ? errno_name(errno) : "ok");
        errno = 0;
        r = writev(kWriter, v, 1);
        say(" write %s\n", r < 0 ? errno_name(errno) : "ok");
        NEED(lseek(kFile, 0, SEEK_SET) == 0);
    }
    v[0] = (struct iovec){(void*)0xffff800000000000, 4};
    CALL(readv(kFile, v, 1));
    CALL(writev(kWriter, v, 1));
    v[0] = (struct iovec){(void*)0xffff800000000000, 0};
    CALL(readv(kFile, v, 1));
    v[0] = (struct iovec){(void*)0x1000, 0};
    CALL(writev(kWriter, v, 1));
}
