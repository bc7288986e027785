// SPDX-License-Identifier: MIT
// Corners of calls that programs meet seldom: settings of prctl(2), masks of poll(2), order of checks.
#include "check.h"

#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <ucontext.h>

// ---- prctl(2) ----

TEST(settings_of_prctl) {
    int value = 0;
    CALL(prctl(PR_GET_TIMING));
    CALL(prctl(PR_SET_TIMING, 0));
    CALL(prctl(PR_SET_TIMING, 1));
    CALL(prctl(PR_GET_TSC, &value));
    SHOW(value);
    CALL(prctl(PR_GET_TSC, 8));
    CALL(prctl(PR_SET_TSC, PR_TSC_ENABLE));
    CALL(prctl(PR_SET_TSC, 0));
    CALL(prctl(PR_TASK_PERF_EVENTS_DISABLE));
    CALL(prctl(PR_TASK_PERF_EVENTS_ENABLE));
    CALL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    CALL(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0));
    CALL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    CHILD("child") CALL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    CALL(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, 3, 0, 0));
    CALL(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 1, 0, 0));
    CALL(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0));
    CALL(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    CALL(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
    CALL(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    CALL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    CHILD("child") CALL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    CALL(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
    CALL(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    CALL(prctl(PR_SET_THP_DISABLE, 0, 1, 0, 0));
    CALL(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
    CALL(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0));
    CALL(prctl(PR_SET_IO_FLUSHER, 2, 0, 0, 0));
    CALL(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0));
    CALL(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 1, 0, 0));
    OKAY(prctl(PR_GET_SPECULATION_CTRL, PR_SPEC_STORE_BYPASS, 0, 0, 0));
    CALL(prctl(PR_GET_SPECULATION_CTRL, 99, 0, 0, 0));
    CALL(prctl(PR_GET_SPECULATION_CTRL, 0, 1, 0, 0));
    CALL(prctl(PR_SET_SPECULATION_CTRL, 99, 0, 0, 0));
    CALL(syscall(SYS_arch_prctl, 0x1011, 0));
    CALL(syscall(SYS_arch_prctl, 0x1012, 0));
    CHILD("user") {
        NEED(setuid(1000) == 0);
        CALL(prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0));
        CALL(prctl(PR_GET_IO_FLUSHER, 0, 0, 0, 0));
    }
}

static unsigned long long permitted(void) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    NEED(syscall(SYS_capget, &h, d) == 0);
    return d[0].permitted | (unsigned long long)d[1].permitted << 32;
}
static void show_permitted(const char* when) { say("%s: permitted %llx\n", when, permitted()); }
HELPER(tell_permitted) {
    show_permitted("after execve");
    CALL(prctl(PR_GET_SECUREBITS));
    CALL(prctl(PR_CAPBSET_READ, CAP_KILL));
}
static void execute(void) {
    execl("/proc/self/exe", "corners", "tell_permitted", NULL);
    _exit(9);
}

TEST(bounding_set) {
    CHILD("root") {
        CALL(prctl(PR_CAPBSET_READ, CAP_KILL));
        CALL(prctl(PR_CAPBSET_DROP, CAP_KILL));
        CALL(prctl(PR_CAPBSET_READ, CAP_KILL));
        CALL(prctl(PR_CAPBSET_READ, CAP_CHOWN));
        CALL(prctl(PR_CAPBSET_DROP, 41));
        show_permitted("before");
        execute();
    }
    CHILD("child of one") {
        NEED(prctl(PR_CAPBSET_DROP, CAP_KILL) == 0);
        CHILD("child") execute();
        NEED(setuid(1000) == 0);
        CALL(prctl(PR_CAPBSET_DROP, CAP_CHOWN));
        CALL(prctl(PR_CAPBSET_DROP, 41));
    }
}

TEST(secure_bits) {
    CHILD("no root") {
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT));
        CALL(prctl(PR_GET_SECUREBITS));
        CALL(prctl(PR_CAPBSET_DROP, CAP_KILL));
        execute();
    }
    CHILD("no fixup") {
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP));
        NEED(setresuid(1000, 1000, 1000) == 0);
        show_permitted("as user");
        CALL(setuid(0));
    }
    CHILD("keep") {
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
        CALL(prctl(PR_GET_KEEPCAPS));
        CHILD("child") CALL(prctl(PR_GET_KEEPCAPS));
        CALL(prctl(PR_SET_KEEPCAPS, 0));
        CALL(prctl(PR_GET_SECUREBITS));
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_KEEP_CAPS_LOCKED));
        CALL(prctl(PR_SET_KEEPCAPS, 0));
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED));
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS));
        execute();
    }
    CHILD("errors") {
        CALL(prctl(PR_SET_SECUREBITS, 0x100));
        NEED(setuid(1000) == 0);
        CALL(prctl(PR_SET_SECUREBITS, 0));
    }
}

// ---- Files ----

TEST(append_by_flag) {
    int fd = open("file", O_RDWR | O_CREAT, 0600), two[2];
    struct iovec v[2] = {{"ab", 2}, {"cd", 2}};
    NEED(write(fd, "0123456789", 10) == 10 && lseek(fd, 2, SEEK_SET) == 2 && pipe(two) == 0);
    enum { kAppend = 16 };
    CALL(syscall(SYS_pwritev2, fd, v, 2, 0L, 0L, kAppend));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(syscall(SYS_pwritev2, fd, v, 1, 5L, 0L, kAppend));
    CALL(syscall(SYS_pwritev2, fd, v, 2, -1L, 0L, kAppend));
    CALL(lseek(fd, 0, SEEK_CUR));
    show_file("file");
    CALL(syscall(SYS_preadv2, fd, v, 0, 0L, 0L, kAppend));
    CALL(syscall(SYS_pwritev2, two[1], v, 2, -1L, 0L, kAppend));
    CALL(syscall(SYS_pwritev2, two[1], v, 2, 0L, 0L, kAppend));
    CALL(syscall(SYS_pwritev2, fd, v, 2, 0L, 0L, 1 << 20));
    CALL(syscall(SYS_pwritev2, fd, v, 2, -2L, 0L, kAppend));
    static char large[300000];
    v[0] = (struct iovec){large, sizeof large};
    CALL(syscall(SYS_pwritev2, fd, v, 1, 1L, 0L, kAppend));
    struct stat s;
    fstat(fd, &s);
    SHOW(s.st_size);
    signal(SIGXFSZ, SIG_IGN);
    NEED(setrlimit(RLIMIT_FSIZE, &(struct rlimit){300030, 300030}) == 0);
    CALL(syscall(SYS_pwritev2, fd, v, 1, 0L, 0L, kAppend));
    CALL(syscall(SYS_pwritev2, fd, v, 1, 0L, 0L, kAppend));
}

static void show_poll(const char* what, int fd) {
    struct pollfd p = {fd, 0x7fff, 0};
    int n = poll(&p, 1, 0);
    say("%s: %d %x\n", what, n, p.revents);
}

TEST(masks_of_poll) {
    int event = eventfd(0, 0);
    show_poll("empty counter", event);
    NEED(eventfd_write(event, 1) == 0);
    show_poll("counter", event);
    NEED(eventfd_write(event, 0xfffffffffffffffdul) == 0);
    show_poll("full counter", event);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec soon = {{0, 0}, {0, 1}};
    show_poll("timer", timer);
    NEED(timerfd_settime(timer, 0, &soon, NULL) == 0);
    sleep_ms(5);
    show_poll("expired timer", timer);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int signals = signalfd(-1, &set, 0);
    show_poll("signals", signals);
    raise(SIGUSR1);
    show_poll("a signal", signals);
    show_poll("status", open("/proc/self/status", O_RDONLY));
    show_poll("null", open("/dev/null", O_RDWR));
}

TEST(mounts_can_be_polled) {
    int fd = open("/proc/self/mounts", O_RDONLY), info = open("/proc/self/mountinfo", O_RDONLY), set = epoll_create1(0);
    show_poll("mounts", fd);
    show_poll("mountinfo", info);
    struct epoll_event e = {EPOLLPRI, {0}};
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e));
    CALL(epoll_wait(set, &e, 1, 0));
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(50);
        NEED(mkdir("here", 0755) == 0 && mount("x", "here", "tmpfs", 0, NULL) == 0);
        _exit(0);
    }
    CALL(epoll_wait(set, &e, 1, 5000));
    say("events %x\n", e.events);
    reap("child", child);
    show_poll("mountinfo", info);
    show_poll("again", info);
    CALL(umount("here"));
    show_poll("unmounted", info);
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, open("/proc/self/status", O_RDONLY), &e));
}

TEST(exclusive_is_for_good) {
    int set = epoll_create1(0), event = eventfd(0, 0);
    struct epoll_event e = {EPOLLIN | EPOLLEXCLUSIVE, {0}};
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, event, &e));
    CALL(epoll_ctl(set, EPOLL_CTL_MOD, event, &e));
    e.events = EPOLLIN;
    CALL(epoll_ctl(set, EPOLL_CTL_MOD, event, &e));
    CALL(epoll_ctl(set, EPOLL_CTL_DEL, event, &e));
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, event, &e));
    CALL(epoll_ctl(set, EPOLL_CTL_MOD, event, &e));
}

TEST(order_of_checks) {
    int file = open("file", O_RDWR | O_CREAT, 0600), named = open(".", O_PATH),
        link = open("/proc/self/status", O_RDONLY);
    CALL(syscall(SYS_copy_file_range, named, NULL, file, NULL, 1, 0));
    CALL(syscall(SYS_copy_file_range, file, NULL, named, NULL, 1, 0));
    CALL(syscall(SYS_copy_file_range, named, NULL, file, NULL, 1, 1));
    CALL(sync_file_range(link, 0, 0, 0));
    CALL(rmdir("/proc/self"));
    CALL(rmdir("/proc/version"));
    CALL(rmdir("/proc/sys"));
    CALL(rmdir("/proc/none"));
}

TEST(modes_of_generated_files) {
    struct stat s;
    CALL(chmod("/proc/version", 0600));
    NEED(stat("/proc/version", &s) == 0);
    say("mode %o\n", s.st_mode);
    CALL(chown("/proc/version", 7, -1));
    NEED(stat("/proc/version", &s) == 0);
    SHOW(s.st_uid);
    CHILD("user") {
        NEED(setuid(1000) == 0);
        CALL(open("/proc/version", O_RDONLY));
        CALL(chmod("/proc/version", 0444));
    }
    CALL(chown("/proc/version", 0, 0));
    CALL(chmod("/proc/version", 0444));
    CALL(chmod("/proc/self/status", 0600));
    CALL(chmod("/proc/sys/kernel/hostname", 0600));
    NEED(stat("/proc/uptime", &s) == 0);
    say("mode %o\n", s.st_mode);
}

// ---- Futexes and faults ----

static long futex(const void* at, int op, int value, const void* timeout, void* other, int value3) {
    return syscall(SYS_futex, at, op, value, timeout, other, value3);
}
TEST(futex_words) {
    int a = 0, b = 0;
    CALL(futex(&a, FUTEX_WAKE_OP, 1, (void*)1, &b, 1 << 12 | 6 << 24));
    SHOW(b);
    CALL(futex(&a, FUTEX_WAKE_OP, 1, (void*)1, &b, 1 << 12 | 5 << 28));
    SHOW(b);
    struct timespec soon = {0, 1000000};
    char* page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL(futex(page, FUTEX_WAIT, 0, &soon, NULL, 0));
    CALL(futex(page, FUTEX_WAKE, 1, NULL, NULL, 0));
    CALL(futex(page, FUTEX_WAIT_PRIVATE, 0, &soon, NULL, 0));
    CALL(futex(page, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
    NEED(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    CALL(futex(page, FUTEX_WAIT, 0, &soon, NULL, 0));
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 4096) == 0);
    char* shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CALL(futex(shared, FUTEX_WAIT, 0, &soon, NULL, 0));
    CALL(futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0));
    char* own = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    CALL(futex(own, FUTEX_WAIT, 0, &soon, NULL, 0));
    CALL(futex(own, FUTEX_WAKE, 1, NULL, NULL, 0));
}

static sigjmp_buf back;
static void on_fault(int number, siginfo_t* info, void* context) {
    ucontext_t* c = context;
    say("%s code %d, error code %llx\n", signal_name(number), info->si_code,
        (unsigned long long)c->uc_mcontext.gregs[REG_ERR]);
    siglongjmp(back, 1);
}
TEST(error_codes_of_faults) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    NEED(sigaction(SIGSEGV, &action, NULL) == 0);
    if (sigsetjmp(back, 1) == 0) *(volatile char*)0xffffffff81000000;
    if (sigsetjmp(back, 1) == 0) *(volatile char*)0xffffffff81000000 = 1;
    if (sigsetjmp(back, 1) == 0) *(volatile char*)8;
    if (sigsetjmp(back, 1) == 0) *(volatile char*)8 = 1;
}
