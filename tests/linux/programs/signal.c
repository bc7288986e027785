// SPDX-License-Identifier: MIT
// Signals: actions, masks, queues, delivery into handlers, interruption of calls.
#include "check.h"

#include <poll.h>
#include <ucontext.h>

static volatile int count, last, nested, deepest;
static void counting(int number) {
    last = number;
    count = count + 1;
}

static void block(int how, int number) {
    sigset_t set;
    sigemptyset(&set);
    if (number) sigaddset(&set, number);
    NEED(sigprocmask(how, &set, NULL) == 0);
}
static int is_pending(int number) {
    sigset_t set;
    NEED(sigpending(&set) == 0);
    return sigismember(&set, number);
}
static int is_blocked(int number) {
    sigset_t set;
    NEED(sigprocmask(SIG_BLOCK, NULL, &set) == 0);
    return sigismember(&set, number);
}
// A child that sends a signal to its parent after a while; the parent ignores its SIGCHLD.
static pid_t send_later(int number, long milliseconds) {
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        sleep_ms(milliseconds);
        kill(parent, number);
        _exit(0);
    }
    return pid;
}

TEST(sigaction_results) {
    struct sigaction action, old;
    memset(&action, 0, sizeof action);
    action.sa_handler = counting;
    action.sa_flags = SA_RESTART | SA_NODEFER;
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaddset(&action.sa_mask, SIGKILL);
    CALL(sigaction(SIGUSR1, &action, NULL));
    CALL(sigaction(SIGUSR1, NULL, &old));
    IS(old.sa_handler == counting);
    IS((old.sa_flags & ~0x04000000) == (SA_RESTART | SA_NODEFER));  // without SA_RESTORER
    IS(sigismember(&old.sa_mask, SIGUSR2));
    IS(sigismember(&old.sa_mask, SIGKILL));
    CALL(sigaction(SIGKILL, &action, NULL));
    CALL(sigaction(SIGSTOP, &action, NULL));
    CALL(sigaction(SIGKILL, NULL, &old));
    long raw[4];
    CALL(syscall(SYS_rt_sigaction, 0, NULL, raw, 8));
    CALL(syscall(SYS_rt_sigaction, 65, NULL, raw, 8));
    CALL(syscall(SYS_rt_sigaction, 64, NULL, raw, 8));
    CALL(syscall(SYS_rt_sigaction, SIGUSR1, NULL, raw, 4));
    CALL(syscall(SYS_rt_sigaction, SIGUSR1, NULL, raw, 16));
}

TEST(mask_operations) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGKILL);
    sigaddset(&set, SIGSTOP);
    CALL(sigprocmask(SIG_BLOCK, &set, &old));
    IS(sigismember(&old, SIGUSR1));
    IS(is_blocked(SIGUSR1));
    IS(is_blocked(SIGKILL));
    IS(is_blocked(SIGSTOP));
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    CALL(sigprocmask(SIG_SETMASK, &set, NULL));
    IS(is_blocked(SIGUSR1));
    IS(is_blocked(SIGUSR2));
    CALL(sigprocmask(SIG_UNBLOCK, &set, NULL));
    IS(is_blocked(SIGUSR2));
    CALL(syscall(SYS_rt_sigprocmask, 3, &set, NULL, 8));
    CALL(syscall(SYS_rt_sigprocmask, 3, NULL, NULL, 8));
    CALL(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 128));
    CALL(syscall(SYS_rt_sigpending, &set, 9));
    CALL(syscall(SYS_rt_sigpending, &set, 8));
}

TEST(blocked_signal_waits) {
    on_signal(SIGUSR1, counting, 0);
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    SHOW(count);
    IS(is_pending(SIGUSR1));
    block(SIG_UNBLOCK, SIGUSR1);
    SHOW(count);
    IS(is_pending(SIGUSR1));
}

TEST(realtime_signals_queue) {
    on_signal(40, counting, 0);
    block(SIG_BLOCK, 40);
    for (int i = 0; i < 5; i++) raise(40);
    SHOW(count);
    block(SIG_UNBLOCK, 40);
    SHOW(count);
}

TEST(ignored_pending_is_dropped) {
    on_signal(SIGUSR1, counting, 0);
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    IS(is_pending(SIGUSR1));
    on_signal(SIGUSR1, counting, 0);
    block(SIG_UNBLOCK, SIGUSR1);
    SHOW(count);
}

TEST(pending_not_inherited) {
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    CHILD("child") {
        IS(is_pending(SIGUSR1));
        IS(is_blocked(SIGUSR1));
    }
    IS(is_pending(SIGUSR1));
}

static int order[8], ordered;
static void in_order(int number) {
    if (ordered < 8) order[ordered++] = number;
}
TEST(delivery_order) {
    // Both frames are made at once, the lowest number first; so the highest runs first.
    static const int signals[] = {SIGTERM, 40, SIGUSR1, 36, SIGHUP};
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int i = 0; i < 5; i++) on_signal(signals[i], in_order, 0), raise(signals[i]);
    block(SIG_SETMASK, 0);
    for (int i = 0; i < ordered; i++) say("%s\n", signal_name(order[i]));
    ordered = 0;
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int i = 0; i < 5; i++) {
        struct sigaction action = {.sa_handler = in_order};
        sigfillset(&action.sa_mask);
        sigaction(signals[i], &action, NULL);
        raise(signals[i]);
    }
    block(SIG_SETMASK, 0);
    for (int i = 0; i < ordered; i++) say("with full masks %s\n", signal_name(order[i]));
}

TEST(synchronous_to_self_before_return) {
    on_signal(SIGUSR1, counting, 0);
    kill(getpid(), SIGUSR1);
    SHOW(count);
    kill(0, 0);
    syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
    SHOW(count);
}

static void nesting(int number) {
    nested = nested + 1;
    if (nested > deepest) deepest = nested;
    if (count < 3) {
        count = count + 1;
        raise(number);
    }
    nested = nested - 1;
}
TEST(deferred_in_own_handler) {
    on_signal(SIGUSR1, nesting, 0);
    raise(SIGUSR1);
    say("deepest %d, count %d\n", deepest, count);
}
TEST(nodefer_nests) {
    on_signal(SIGUSR1, nesting, SA_NODEFER);
    raise(SIGUSR1);
    say("deepest %d, count %d\n", deepest, count);
}

static void look_at_mask(int number) {
    say("in handler: USR1 %d, USR2 %d, TERM %d\n", is_blocked(SIGUSR1), is_blocked(SIGUSR2), is_blocked(SIGTERM));
    count = number;
}
TEST(handler_mask) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = look_at_mask;
    sigaddset(&action.sa_mask, SIGUSR2);
    NEED(sigaction(SIGUSR1, &action, NULL) == 0);
    block(SIG_BLOCK, SIGTERM);
    raise(SIGUSR1);
    IS(is_blocked(SIGUSR1));
    IS(is_blocked(SIGUSR2));
    IS(is_blocked(SIGTERM));
}

TEST(resethand) {
    on_signal(SIGUSR1, counting, (int)SA_RESETHAND);
    raise(SIGUSR1);
    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    IS(action.sa_handler == SIG_DFL);
    IS((action.sa_flags & (int)SA_RESETHAND) != 0);
    SHOW(count);
    CHILD("second") raise(SIGUSR1);
}

static void show_info(int number, siginfo_t* info, void* context) {
    (void)context;
    say("%s: si_signo %s, si_errno %d, si_code %d, si_uid %d, from self %d, value %d\n", signal_name(number),
        signal_name(info->si_signo), info->si_errno, info->si_code, (int)info->si_uid, info->si_pid == getpid(),
        info->si_code == SI_QUEUE ? info->si_value.sival_int : 0);
}
TEST(siginfo_of_senders) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = show_info;
    action.sa_flags = SA_SIGINFO;
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGCHLD, 40};
    for (int i = 0; i < 4; i++) NEED(sigaction(signals[i], &action, NULL) == 0);
    CALL(kill(getpid(), SIGUSR1));
    CALL(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR2));
    union sigval value = {.sival_int = 1234};
    CALL(sigqueue(getpid(), 40, value));
    pid_t pid = fork();
    if (pid == 0) _exit(5);
    siginfo_t info;
    while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0) {
    }
}

static void child_info(int number, siginfo_t* info, void* context) {
    (void)number, (void)context;
    say("si_code %d, si_status %d\n", info->si_code, info->si_status);
}
TEST(sigchld_codes) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = child_info;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    NEED(sigaction(SIGCHLD, &action, NULL) == 0);
    CHILD("child") _exit(3);
    CHILD("child") raise(SIGKILL);
    int status;
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    kill(pid, SIGSTOP);
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    kill(pid, SIGCONT);
    NEED(waitpid(pid, &status, WCONTINUED) == pid);
    sleep_ms(50);  // the signal is sent by the child itself, when it runs again
    kill(pid, SIGKILL);
    reap("child", pid);
}
TEST(nocldstop) {
    on_signal(SIGCHLD, counting, SA_NOCLDSTOP);
    int status;
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    kill(pid, SIGSTOP);
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    SHOW(count);
    kill(pid, SIGCONT);
    NEED(waitpid(pid, &status, WCONTINUED) == pid);
    SHOW(count);
    kill(pid, SIGKILL);
    reap("child", pid);
    SHOW(count);
}

TEST(altstack) {
    static char area[32768];
    stack_t stack = {.ss_sp = area, .ss_size = sizeof area}, old;
    CALL(sigaltstack(NULL, &old));
    SHOW(old.ss_flags);
    CALL(sigaltstack(&stack, &old));
    CALL(sigaltstack(NULL, &old));
    IS(old.ss_sp == area && old.ss_size == sizeof area && old.ss_flags == 0);
    stack.ss_size = 100;
    CALL(syscall(SYS_sigaltstack, &stack, NULL));
    stack.ss_flags = 0x40;
    CALL(syscall(SYS_sigaltstack, &stack, NULL));
    CALL(syscall(SYS_sigaltstack, (void*)8, NULL));
    stack.ss_flags = SS_DISABLE;
    CALL(sigaltstack(&stack, NULL));
    CALL(sigaltstack(NULL, &old));
    SHOW(old.ss_flags);
}

static char alternate[65536];
static void on_alternate(int number) {
    char here;
    stack_t stack = {.ss_size = 0};
    sigaltstack(NULL, &stack);
    say("%s on the alternate stack: %d, flags %d\n", signal_name(number),
        &here >= alternate && &here < alternate + sizeof alternate, stack.ss_flags);
    stack_t other = {.ss_sp = alternate, .ss_size = 40000};
    CALL(sigaltstack(&other, NULL));
}
TEST(altstack_use) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    NEED(sigaltstack(&stack, NULL) == 0);
    on_signal(SIGUSR1, on_alternate, SA_ONSTACK);
    on_signal(SIGUSR2, on_alternate, 0);
    raise(SIGUSR1);
    raise(SIGUSR2);
}

static void overflow_handler(int number) {
    static const char text[] = "overflow handled\n";
    if (write(1, text, sizeof text - 1) < 0 || number != SIGSEGV) _exit(1);
    _exit(7);
}
static int recurse(int depth) {
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth > 1000000 ? 0 : recurse(depth + 1) + frame[0];
}
TEST(stack_overflow_on_altstack) {
    CHILD("child") {
        struct rlimit limit = {256 * 1024, 256 * 1024};
        setrlimit(RLIMIT_STACK, &limit);
        stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
        NEED(sigaltstack(&stack, NULL) == 0);
        on_signal(SIGSEGV, overflow_handler, SA_ONSTACK);
        say("%d\n", recurse(0));
    }
    CHILD("without alternate stack") {
        struct rlimit limit = {256 * 1024, 256 * 1024};
        setrlimit(RLIMIT_STACK, &limit);
        on_signal(SIGSEGV, overflow_handler, 0);
        say("%d\n", recurse(0));
    }
}

TEST(sigsuspend_waits) {
    on_signal(SIGUSR1, counting, 0);
    block(SIG_BLOCK, SIGUSR1);
    pid_t pid = send_later(SIGUSR1, 20);
    sigset_t none;
    sigemptyset(&none);
    CALL(sigsuspend(&none));
    SHOW(count);
    IS(is_blocked(SIGUSR1));
    reap("child", pid);
    raise(SIGUSR1);
    CALL(sigsuspend(&none));
    SHOW(count);
    CALL(syscall(SYS_rt_sigsuspend, &none, 4));
}

TEST(pause_ends) {
    on_signal(SIGUSR1, counting, SA_RESTART);
    pid_t pid = send_later(SIGUSR1, 100);
    CALL(pause());
    SHOW(count);
    reap("child", pid);
}

TEST(sigtimedwait_results) {
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct timespec none = {0, 0}, little = {0, 10000000}, bad = {0, 1000000000}, long_time = {10, 0};
    CALL(sigtimedwait(&set, &info, &none));
    CALL(sigtimedwait(&set, &info, &little));
    CALL(sigtimedwait(&set, &info, &bad));
    raise(SIGUSR2);
    raise(SIGUSR1);
    CALL(sigtimedwait(&set, &info, &none));
    SHOW(info.si_code);
    CALL(sigtimedwait(&set, NULL, NULL));
    CALL(sigtimedwait(&set, &info, &none));
    pid_t pid = send_later(SIGUSR1, 20);
    CALL(sigtimedwait(&set, &info, &long_time));
    IS(info.si_pid == pid);
    reap("child", pid);
    on_signal(SIGTERM, counting, SA_RESTART);
    pid = send_later(SIGTERM, 60);
    CALL(syscall(SYS_rt_sigtimedwait, &set, &info, &long_time, 8));
    reap("child", pid);
    CALL(syscall(SYS_rt_sigtimedwait, &set, NULL, &none, 4));
}

// --- kill(2) ---

TEST(kill_errors) {
    CALL(kill(getpid(), 0));
    CALL(kill(getpid(), -1));
    CALL(kill(getpid(), 65));
    CALL(kill(1000000, 0));
    CALL(kill(-1000000, 0));
    CALL(kill(INT_MIN, 0));
    CALL(kill(0, 0));
    CALL(kill(1, 0));
    CALL(kill(1000000, 100));
}

TEST(kill_permissions) {
    pid_t other = fork();
    if (other == 0)
        for (;;) pause();
    CHILD("same session, other user") {
        NEED(setuid(1000) == 0);
        CALL(kill(other, 0));
        CALL(kill(other, SIGTERM));
        CALL(kill(other, SIGCONT));
        CALL(kill(1, SIGTERM));
        CALL(kill(getppid(), 0));
        CALL(kill(getpid(), 0));
    }
    CHILD("other session, other user") {
        setsid();
        NEED(setuid(1000) == 0);
        CALL(kill(other, SIGCONT));
    }
    CHILD("real id matches") {
        NEED(setresuid(0, 1000, 0) == 0);
        CALL(kill(other, 0));
    }
    CHILD("effective id is root's") {
        NEED(setresuid(1000, 0, 1000) == 0);
        CALL(kill(other, 0));
    }
    kill(other, SIGKILL);
    reap("other", other);
}

TEST(kill_group) {
    pid_t first = fork();
    if (first == 0) {
        setpgid(0, 0);
        for (;;) pause();
    }
    setpgid(first, first);
    pid_t second = fork();
    if (second == 0)
        for (;;) pause();
    CALL(setpgid(second, first));
    CALL(kill(-first, SIGUSR1));
    reap("first", first);
    reap("second", second);
    CALL(kill(-first, 0));
}

TEST(kill_all_of_a_user) {
    CHILD("sender") {
        pid_t root_owned = fork();
        if (root_owned == 0)
            for (;;) pause();
        NEED(setuid(4321) == 0);
        pid_t own = fork();
        if (own == 0)
            for (;;) pause();
        CALL(kill(-1, SIGTERM));
        reap("same user", own);
        CALL(waitpid(root_owned, NULL, WNOHANG));
        CALL(kill(-1, 0));
    }
}

TEST(init_ignores_what_it_does_not_handle) {
    CALL(kill(1, SIGUSR2));
    CALL(kill(1, 0));
}
