// SPDX-License-Identifier: MIT
// Processes: fork, vfork, exit statuses, wait4 and waitid, orphans.
#include "check.h"

#include <sys/prctl.h>

TEST(fork_copies_memory) {
    static int global = 1;
    int local = 2;
    int* heap = malloc(sizeof *heap);
    *heap = 3;
    CHILD("child") {
        global += 10, local += 10, *heap += 10;
        say("child sees %d %d %d\n", global, local, *heap);
    }
    say("parent sees %d %d %d\n", global, local, *heap);
}

TEST(fork_pids) {
    pid_t self = getpid();
    CHILD("child") {
        FACT("own pid", getpid() != self);
        FACT("parent is the forker", getppid() == self);
        FACT("tid is the pid", syscall(SYS_gettid) == getpid());
        FACT("same group", getpgrp() == getpgid(self));
        FACT("same session", getsid(0) == getsid(self));
    }
}

TEST(exit_codes) {
    static const int codes[] = {0, 1, 2, 42, 127, 128, 255, 256, 257, -1};
    for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit(codes[i]);
        say("%d ", codes[i]);
        reap("child", pid);
    }
}

TEST(killed_status) {
    static const int signals[] = {SIGHUP, SIGINT, SIGKILL, SIGUSR1, SIGPIPE, SIGALRM, SIGTERM, SIGIO, SIGPROF, 35, 64};
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            kill(getpid(), signals[i]);
            _exit(0);
        }
        reap("child", pid);
    }
}

TEST(core_signals_kill) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    static const int signals[] = {SIGQUIT, SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGXCPU, SIGXFSZ, SIGSYS};
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            signal(signals[i], SIG_DFL);  // a shell may have ignored SIGQUIT
            raise(signals[i]);
            _exit(0);
        }
        int status = reap("child", pid);
        FACT("core flag", status >= 0 && WCOREDUMP(status));
    }
}

TEST(ignored_by_default) {
    static const int signals[] = {SIGCHLD, SIGURG, SIGWINCH, SIGCONT};
    for (unsigned i = 0; i < sizeof signals / sizeof signals[0]; i++) CHILD(signal_name(signals[i])) raise(signals[i]);
}

TEST(fork_shares_file_offset) {
    NEED(make_file("f", "abcdefgh", 0600) == 0);
    int fd = open("f", O_RDONLY);
    char c = 0;
    NEED(read(fd, &c, 1) == 1);
    CHILD("child") {
        NEED(read(fd, &c, 1) == 1);
        say("child read %c\n", c);
        CALL(lseek(fd, 5, SEEK_SET));
    }
    NEED(read(fd, &c, 1) == 1);
    say("parent read %c\n", c);
}

TEST(fork_descriptor_table_is_a_copy) {
    int fd = open("/dev/null", O_RDONLY);
    CHILD("child") {
        CALL(close(fd));
        CALL(fcntl(fd, F_GETFD));
    }
    CALL(fcntl(fd, F_GETFD));
}

TEST(many_children_in_order) {
    pid_t pids[20];
    for (int i = 0; i < 20; i++) {
        pids[i] = fork();
        if (pids[i] == 0) _exit(i);
    }
    int sum = 0, good = 0;
    for (int i = 19; i >= 0; i--) {
        int status;
        if (waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status)) sum += WEXITSTATUS(status), good++;
    }
    say("waited for %d, sum %d\n", good, sum);
    CALL(waitpid(-1, NULL, 0));
}

TEST(fork_chain) {
    int depth = 0;
    for (; depth < 12; depth++) {
        pid_t pid = fork();
        if (pid == 0) continue;
        int status;
        NEED(waitpid(pid, &status, 0) == pid);
        if (depth == 0) {
            say("chain returned %d\n", WEXITSTATUS(status));
            return;
        }
        _exit(WEXITSTATUS(status) + 1);
    }
    _exit(1);
}

TEST(vfork_blocks_parent_and_shares_memory) {
    static volatile int order;
    volatile int child_saw = 0;
    pid_t pid = vfork();
    if (pid == 0) {
        child_saw = order == 0;
        sleep_ms(20);
        order = 1;
        _exit(4);
    }
    FACT("parent ran after the child's end", order == 1);
    FACT("child ran first", child_saw == 1);
    reap("child", pid);
}

TEST(vfork_exec) {
    pid_t pid = vfork();
    if (pid == 0) {
        execl("/bin/busybox", "busybox", "sh", "-c", "exit 9", (char*)NULL);
        _exit(1);
    }
    reap("child", pid);
    volatile int error = 0;
    pid = vfork();
    if (pid == 0) {
        execl("/no/such/program", "x", (char*)NULL);
        error = errno;
        _exit(1);
    }
    say("exec error seen by the parent: %s\n", errno_name(error));
    reap("child", pid);
}

TEST(vfork_child_killed) {
    pid_t pid = vfork();
    if (pid == 0) {
        kill(getpid(), SIGKILL);
        _exit(1);
    }
    reap("child", pid);
}

TEST(wait_without_children) {
    CALL(wait(NULL));
    CALL(waitpid(-1, NULL, WNOHANG));
    CALL(waitpid(1000000, NULL, 0));
    CALL(waitpid(getpid(), NULL, 0));
    CALL(waitpid(0, NULL, 0));
    CALL(waitpid(-1000000, NULL, 0));
    CALL(syscall(SYS_wait4, INT_MIN, NULL, 0, NULL));
}

TEST(wait_bad_options) {
    CALL(waitpid(-1, NULL, 0x80));
    CALL(waitpid(-1, NULL, WNOWAIT));
    CALL(waitpid(-1, NULL, WEXITED));
    CALL(waitpid(-1, NULL, -1));
    siginfo_t info;
    CALL(waitid(P_ALL, 0, &info, 0));
    CALL(waitid(P_ALL, 0, &info, WNOHANG));
    CALL(waitid(P_ALL, 0, &info, WEXITED | 0x80));
    CALL(waitid((idtype_t)77, 0, &info, WEXITED));
    CALL(waitid(P_PID, 0, &info, WEXITED));
    CALL(waitid(P_PID, (id_t)-5, &info, WEXITED));
    CALL(waitid(P_PGID, (id_t)-5, &info, WEXITED));
    CALL(waitid(P_ALL, 0, &info, WEXITED));
}

TEST(wait_nohang) {
    int hold[2];
    NEED(pipe(hold) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        close(hold[1]);
        _exit(read(hold[0], &c, 1) == 0 ? 5 : 6);
    }
    int status = 12345;
    CALL(waitpid(pid, &status, WNOHANG));
    FACT("status untouched", status == 12345);
    close(hold[1]);
    reap("child", pid);
    CALL(waitpid(pid, &status, WNOHANG));
}

TEST(wait_by_group) {
    pid_t a = fork();
    if (a == 0) {
        setpgid(0, 0);
        _exit(1);
    }
    setpgid(a, a);
    pid_t b = fork();
    if (b == 0) _exit(2);
    int status;
    FACT("group of the first", waitpid(-a, &status, 0) == a);
    say_status("first", status);
    CALL(waitpid(-a, &status, 0));
    FACT("own group", waitpid(0, &status, 0) == b);
    say_status("second", status);
}

// In a group of its own, so that the group is not an orphaned one, where SIGTSTP does nothing.
static pid_t paused_child(void) {
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    NEED(setpgid(pid, pid) == 0);
    return pid;
}

TEST(wait_stopped_and_continued) {
    pid_t pid = paused_child();
    int status;
    CALL(kill(pid, SIGSTOP));
    FACT("stop reported", waitpid(pid, &status, WUNTRACED) == pid);
    say_status("child", status);
    CALL(waitpid(pid, &status, WUNTRACED | WNOHANG));
    CALL(kill(pid, SIGCONT));
    FACT("continue reported", waitpid(pid, &status, WCONTINUED) == pid);
    say_status("child", status);
    CALL(waitpid(pid, &status, WCONTINUED | WNOHANG));
    CALL(kill(pid, SIGTSTP));
    FACT("stop reported", waitpid(pid, &status, WUNTRACED) == pid);
    say_status("child", status);
    CALL(kill(pid, SIGKILL));
    reap("child", pid);
}

static void say_info(const siginfo_t* info, pid_t pid) {
    static const char* const codes[] = {"?",           "CLD_EXITED",  "CLD_KILLED",   "CLD_DUMPED",
                                        "CLD_TRAPPED", "CLD_STOPPED", "CLD_CONTINUED"};
    int code = info->si_code;
    say("si_signo %s, si_code %s, si_status %d, si_uid %d, si_pid %s\n", signal_name(info->si_signo),
        code > 0 && code < 7 ? codes[code] : "?", info->si_status, (int)info->si_uid,
        info->si_pid == pid ? "the child"
        : info->si_pid == 0 ? "0"
                            : "another");
}

TEST(waitid_fields) {
    siginfo_t info;
    pid_t pid = fork();
    if (pid == 0) _exit(300);
    CALL(waitid(P_PID, (id_t)pid, &info, WEXITED));
    say_info(&info, pid);
    pid = fork();
    if (pid == 0) {
        raise(SIGTERM);
        _exit(0);
    }
    CALL(waitid(P_ALL, 0, &info, WEXITED));
    say_info(&info, pid);
}

TEST(waitid_nowait) {
    siginfo_t info;
    pid_t pid = fork();
    if (pid == 0) _exit(8);
    for (int i = 0; i < 2; i++) {
        memset(&info, 0, sizeof info);
        CALL(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
        say_info(&info, pid);
    }
    reap("child", pid);
    CALL(waitid(P_PID, (id_t)pid, &info, WEXITED));
}

TEST(waitid_stopped) {
    siginfo_t info;
    pid_t pid = paused_child();
    memset(&info, 0xff, sizeof info);
    CALL(waitid(P_PID, (id_t)pid, &info, WEXITED | WSTOPPED | WNOHANG));
    say_info(&info, pid);
    CALL(kill(pid, SIGSTOP));
    CALL(waitid(P_PID, (id_t)pid, &info, WSTOPPED));
    say_info(&info, pid);
    CALL(kill(pid, SIGCONT));
    CALL(waitid(P_PID, (id_t)pid, &info, WCONTINUED));
    say_info(&info, pid);
    CALL(kill(pid, SIGKILL));
    CALL(waitid(P_PID, (id_t)pid, &info, WEXITED));
    say_info(&info, pid);
}

TEST(waitid_group) {
    siginfo_t info;
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        _exit(3);
    }
    setpgid(pid, pid);
    CALL(waitid(P_PGID, (id_t)getpgrp(), &info, WEXITED));
    CALL(waitid(P_PGID, (id_t)pid, &info, WEXITED));
    say_info(&info, pid);
}

TEST(wait4_rusage) {
    struct rusage usage;
    memset(&usage, 0xff, sizeof usage);
    pid_t pid = fork();
    if (pid == 0) {
        volatile unsigned long x = 0;
        for (long stop = now_ms() + 30; now_ms() < stop;)
            for (int i = 0; i < 10000; i++) x += (unsigned long)i;
        _exit(0);
    }
    int status;
    IS(wait4(pid, &status, 0, &usage) == pid);
    long cpu = usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_sec * 1000000 +
               usage.ru_stime.tv_usec;
    FACT("some CPU time was counted", cpu > 0 && cpu < 60000000);
}

TEST(sigchld_ignored_reaps) {
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) _exit(1);
    CALL(waitpid(pid, NULL, 0));
    CALL(kill(pid, 0));
}

TEST(nocldwait_reaps) {
    on_signal(SIGCHLD, SIG_DFL, SA_NOCLDWAIT);
    pid_t pid = fork();
    if (pid == 0) _exit(1);
    CALL(wait(NULL));
    CALL(kill(pid, 0));
}

TEST(zombie_can_be_signalled) {
    pid_t pid = fork();
    if (pid == 0) _exit(1);
    siginfo_t info;
    NEED(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    CALL(kill(pid, 0));
    CALL(kill(pid, SIGKILL));
    FACT("group of a zombie", getpgid(pid) == getpgrp());
    reap("child", pid);
    CALL(kill(pid, 0));
}

TEST(orphan_gets_a_new_parent) {
    int answer[2];
    NEED(pipe(answer) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            for (int i = 0; i < 500 && getppid() == middle; i++) sleep_ms(2);
            char c = getppid() == middle ? 'm' : 'o';
            NEED(write(answer[1], &c, 1) == 1);
            _exit(0);
        }
        _exit(0);
    }
    reap("middle", pid);
    char c = '?';
    NEED(read(answer[0], &c, 1) == 1);
    FACT("the orphan was adopted", c == 'o');
}

TEST(subreaper_adopts) {
    int value = -1;
    CALL(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
    CALL(prctl(PR_GET_CHILD_SUBREAPER, &value, 0, 0, 0));
    SHOW(value);
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            sleep_ms(20);
            _exit(77);
        }
        _exit(1);
    }
    reap("child", pid);
    reap("grandchild", -1);
    CALL(wait(NULL));
}

TEST(parent_death_signal) {
    int hold[2], answer[2];
    NEED(pipe(hold) == 0 && pipe(answer) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (fork() == 0) {
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGUSR1);
            sigprocmask(SIG_BLOCK, &set, NULL);
            prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0);
            close(hold[1]);
            NEED(write(answer[1], "r", 1) == 1);
            struct timespec limit = {5, 0};
            char c = sigtimedwait(&set, NULL, &limit) == SIGUSR1 ? 'y' : 'n';
            NEED(write(answer[1], &c, 1) == 1);
            _exit(0);
        }
        char c;
        close(hold[1]);
        NEED(read(hold[0], &c, 1) == 0);
        _exit(0);
    }
    char c = 0;
    NEED(read(answer[0], &c, 1) == 1);
    close(hold[1]);
    reap("parent", pid);
    NEED(read(answer[0], &c, 1) == 1);
    say("death signal came: %c\n", c);
}

TEST(exit_closes_descriptors) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        sleep_ms(10);
        _exit(0);
    }
    close(p[1]);
    char c;
    CALL(read(p[0], &c, 1));
    reap("child", pid);
}
