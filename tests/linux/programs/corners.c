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

// ---- Second looks at what programs may ask ----

static void ask_groups(int n, gid_t last) {
    static gid_t all[300];
    for (int i = 0; i < n; i++) all[i] = (gid_t)i;
    all[n - 1] = last;
    say("%d groups\n", n);
    CALL(syscall(SYS_setgroups, n, all));
    CALL(getgroups(0, NULL));
}
TEST(groups_that_are_none) {
    CHILD("root") {
        ask_groups(3, 7);
        ask_groups(3, (gid_t)-1);
        ask_groups(300, 7);
        ask_groups(300, (gid_t)-1);
        ask_groups(3, (gid_t)-2);
    }
}

TEST(queue_to_no_thread) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    static const int codes[] = {SI_QUEUE, SI_USER, SI_TKILL};
    for (unsigned i = 0; i < 3; i++) {
        info.si_code = codes[i];
        say("code %d\n", codes[i]);
        CALL(syscall(SYS_rt_tgsigqueueinfo, 0, 0, SIGUSR1, &info));
        CALL(syscall(SYS_rt_tgsigqueueinfo, -1, getpid(), SIGUSR1, &info));
        CALL(syscall(SYS_rt_tgsigqueueinfo, getpid(), 0, SIGUSR1, &info));
        CALL(syscall(SYS_rt_tgsigqueueinfo, getpid(), -1, SIGUSR1, &info));
        CALL(syscall(SYS_rt_tgsigqueueinfo, 0, 0, SIGUSR1, NULL));
        CALL(syscall(SYS_rt_tgsigqueueinfo, 1, 1, 0, &info));
        CALL(syscall(SYS_rt_sigqueueinfo, -1, SIGUSR1, &info));
        CALL(syscall(SYS_rt_sigqueueinfo, 0, SIGUSR1, &info));
    }
}

// Signals of faults are taken before others.
static int order[80], taken_count;
static void note_order(int number) { order[taken_count++] = number; }
TEST(order_of_signals) {
    static const int sent[] = {SIGHUP, SIGSEGV, SIGTERM, SIGBUS, SIGILL, SIGUSR1, SIGTRAP, SIGFPE, SIGSYS, 40};
    enum { kSent = sizeof sent / sizeof *sent };
    sigset_t set, old;
    sigfillset(&set);
    NEED(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    for (int to_process = 0; to_process < 2; to_process++) {
        say("sent to the %s\n", to_process ? "process" : "thread");
        for (int i = 0; i < kSent; i++)
            NEED((to_process ? kill(getpid(), sent[i]) : (int)syscall(SYS_tkill, getpid(), sent[i])) == 0);
        for (int number; (number = sigtimedwait(&set, NULL, &(struct timespec){0, 0})) > 0;)
            say("took %s\n", signal_name(number));
    }
    for (int i = 0; i < kSent; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = note_order;
        sigfillset(&action.sa_mask);
        NEED(sigaction(sent[i], &action, NULL) == 0 && syscall(SYS_tkill, getpid(), sent[i]) == 0);
    }
    NEED(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    for (int i = 0; i < taken_count; i++) say("handled %s\n", signal_name(order[i]));
}

// What a frame says of the alternate stack.
static char stacks[2][65536];
static int frame_depth;
static void show_stack(int number, siginfo_t* info, void* context) {
    (void)info;
    ucontext_t* c = context;
    stack_t now;
    NEED(sigaltstack(NULL, &now) == 0);
    say("depth %d: now %x, frame %x size %ld\n", frame_depth, (unsigned)now.ss_flags, (unsigned)c->uc_stack.ss_flags,
        (long)c->uc_stack.ss_size);
    if (frame_depth++ == 0) raise(number == SIGUSR1 ? SIGUSR2 : SIGUSR1);
    frame_depth--;
}
// The frame's stack is what counts afterwards.
static int give_flags;
static void change_stack(int number, siginfo_t* info, void* context) {
    (void)number;
    (void)info;
    ucontext_t* c = context;
    c->uc_stack.ss_sp = stacks[1];
    c->uc_stack.ss_size = sizeof stacks[1];
    c->uc_stack.ss_flags = give_flags;
}
TEST(alternate_stack_in_frames) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = show_stack;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    NEED(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGUSR2, &action, NULL) == 0);
    const int kAuto = (int)(1u << 31);
    const int flags[] = {SS_DISABLE, 0, SS_ONSTACK, kAuto, kAuto | SS_ONSTACK, kAuto | SS_DISABLE};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
        stack_t s = {.ss_sp = stacks[0], .ss_size = sizeof stacks[0], .ss_flags = flags[i]}, now;
        say("flags %x\n", (unsigned)flags[i]);
        CALL(syscall(SYS_sigaltstack, &s, NULL));
        raise(SIGUSR1);
        NEED(sigaltstack(NULL, &now) == 0);
        say("after: %x %ld\n", (unsigned)now.ss_flags, (long)now.ss_size);
        s.ss_flags = SS_DISABLE;
        NEED(sigaltstack(&s, NULL) == 0);
    }
    action.sa_sigaction = change_stack;
    action.sa_flags = SA_SIGINFO;
    NEED(sigaction(SIGUSR1, &action, NULL) == 0);
    action.sa_sigaction = show_stack;
    NEED(sigaction(SIGUSR2, &action, NULL) == 0);
    frame_depth = 1;
    static const int given[] = {0, SS_ONSTACK, SS_DISABLE, SS_ONSTACK | SS_DISABLE, 8};
    for (unsigned i = 0; i < 2 * sizeof given / sizeof *given; i++) {
        stack_t s = {.ss_sp = stacks[0], .ss_size = sizeof stacks[0], .ss_flags = 0}, now;
        NEED(sigaltstack(&s, NULL) == 0);
        give_flags = given[i / 2] | (i % 2 ? kAuto : 0);
        say("given %x\n", (unsigned)give_flags);
        raise(SIGUSR1);
        NEED(sigaltstack(NULL, &now) == 0);
        say("then %x, %s\n", (unsigned)now.ss_flags,
            now.ss_sp == stacks[0]   ? "first"
            : now.ss_sp == stacks[1] ? "second"
                                     : "none");
        raise(SIGUSR2);
        s.ss_flags = SS_DISABLE;
        NEED(sigaltstack(&s, NULL) == 0);
    }
}

// A wait without time lets no signal in.
static volatile int let_in;
static void note_let_in(int number) {
    (void)number;
    let_in = let_in + 1;
}
TEST(signals_in_waits_without_time) {
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    NEED(sigprocmask(SIG_BLOCK, &blocked, NULL) == 0);
    on_signal(SIGUSR1, note_let_in, 0);
    int set = epoll_create1(0);
    struct epoll_event event;
    struct timespec zero = {0, 0}, some = {0, 20000000};
    raise(SIGUSR1);
    CALL(syscall(SYS_epoll_pwait, set, &event, 1, 0, &none, 8));
    SHOW(let_in);
    CALL(syscall(SYS_epoll_pwait2, set, &event, 1, &zero, &none, 8));
    SHOW(let_in);
    CALL(syscall(SYS_epoll_pwait2, set, &event, 1, &some, &none, 8));
    SHOW(let_in);
    raise(SIGUSR1);
    CALL(syscall(SYS_epoll_pwait, set, &event, 1, 20, &none, 8));
    SHOW(let_in);
    raise(SIGUSR1);
    CALL(syscall(SYS_epoll_pwait, set, &event, 1, -1, &none, 8));
    SHOW(let_in);
    raise(SIGUSR1);
    CALL(ppoll(NULL, 0, &zero, &none));
    SHOW(let_in);
    raise(SIGUSR1);
    CALL(pselect(0, NULL, NULL, NULL, &zero, &none));
    SHOW(let_in);
}

// Descriptors above a limit that was lowered take no room below it.
TEST(descriptors_above_a_lowered_limit) {
    for (int fd = 3; fd < 40; fd++) close(fd);
    NEED(dup2(1, 60) == 60 && dup2(1, 61) == 61 && dup2(1, 70) == 70 && dup2(1, 6) == 6);
    struct rlimit limit = {6, 6};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    CALL(open("/dev/null", O_RDONLY));
    CALL(open("/dev/null", O_RDONLY));
    CALL(open("/", O_DIRECTORY));
    CALL(open("/dev/null", O_RDONLY));
    CALL(dup(1));
    CALL(fcntl(1, F_DUPFD, 6));
    close(4);
    CALL(open("f", O_CREAT | O_RDWR, 0600));
    CALL(open("g", O_CREAT | O_RDWR, 0600));
    CALL(access("g", F_OK));
    CALL(write(70, "", 0));
}

// The limit grows with each signal.
static volatile int cpu_signals;
static void note_cpu(int number) {
    (void)number;
    cpu_signals = cpu_signals + 1;
}
TEST(no_cpu_time_at_all) {
    CHILD("limited") {
        on_signal(SIGXCPU, note_cpu, 0);
        struct rlimit limit = {0, RLIM_INFINITY};
        CALL(setrlimit(RLIMIT_CPU, &limit));
        for (int n = 1; n < 3; n++) {
            while (cpu_signals < n);
            NEED(getrlimit(RLIMIT_CPU, &limit) == 0);
            SHOW(limit.rlim_cur);
            SHOW(limit.rlim_max == RLIM_INFINITY);
        }
    }
    CHILD("killed") {
        struct rlimit limit = {0, 0};
        NEED(setrlimit(RLIMIT_CPU, &limit) == 0);
        for (;;) getppid();
    }
}

TEST(clocks_that_nobody_sets) {
    for (int user = 0; user < 2; user++) {
        CHILD(user ? "user" : "root") {
            if (user) NEED(setuid(1000) == 0);
            struct timespec now = {1, 0}, odd = {1, -1};
            struct timezone zone = {0, 0}, far = {901, 0}, west = {-901, 0};
            struct timeval bad = {0, 1000000};
            CALL(syscall(SYS_clock_settime, CLOCK_PROCESS_CPUTIME_ID, &now));
            CALL(syscall(SYS_clock_settime, CLOCK_THREAD_CPUTIME_ID, &now));
            CALL(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &now));
            CALL(syscall(SYS_clock_settime, CLOCK_MONOTONIC, NULL));
            CALL(syscall(SYS_clock_settime, CLOCK_REALTIME, &odd));
            CALL(syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
            CALL(syscall(SYS_clock_settime, -6, &now));
            CALL(syscall(SYS_clock_settime, -6, &odd));
            CALL(syscall(SYS_clock_settime, -6, NULL));
            CALL(syscall(SYS_clock_settime, -2, &now));
            CALL(syscall(SYS_clock_settime, (int)(~999999u << 3 | 2), &now));
            CALL(syscall(SYS_settimeofday, NULL, &far));
            CALL(syscall(SYS_settimeofday, NULL, &west));
            CALL(syscall(SYS_settimeofday, &bad, &far));
            CALL(syscall(SYS_settimeofday, NULL, &zone));
            CALL(syscall(SYS_settimeofday, NULL, NULL));
        }
    }
}

TEST(sizes_of_scheduling_attributes) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t util_min, util_max, more[1100];
    } a;
    static const uint32_t sizes[] = {0, 1, 47, 48, 49, 55, 56, 57, 60, 400, 4096, 4097, 0xffffffff};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int dirty = 0; dirty < 2; dirty++) {
            memset(&a, 0, sizeof a);
            a.size = sizes[i];
            if (dirty) memset((char*)&a + 56, 1, sizeof a - 56);
            say("size %u%s\n", sizes[i], dirty ? ", more is set" : "");
            CALL(syscall(SYS_sched_setattr, 0, &a, 0));
            SHOW(a.size);
        }
    }
    memset(&a, 0, sizeof a);
    a.size = 48;
    a.flags = 0x20;
    CALL(syscall(SYS_sched_setattr, 0, &a, 0));
    SHOW(a.size);
    char* page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(page != MAP_FAILED && munmap(page + 4096, 4096) == 0);
    memset(page, 0, 4096);
    *(uint32_t*)(page + 4096 - 60) = 64;
    CALL(syscall(SYS_sched_setattr, 0, page + 4096 - 60, 0));
    *(uint32_t*)(page + 4096 - 4) = 47;
    CALL(syscall(SYS_sched_setattr, 0, page + 4096 - 4, 0));
    SHOW(*(uint32_t*)(page + 4096 - 4));
    NEED(mprotect(page, 4096, PROT_READ) == 0);
    CALL(syscall(SYS_sched_setattr, 0, page + 4096 - 4, 0));
}
