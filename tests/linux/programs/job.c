// SPDX-License-Identifier: MIT
// Sessions, process groups, stopping and continuing, orphaned groups.
#include "check.h"

#include <termios.h>

static volatile int count, last;
static void counting(int number) {
    last = number;
    count = count + 1;
}
static pid_t pausing_child(void) {
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    return pid;
}
static void finish(const char* who, pid_t pid) {
    kill(pid, SIGKILL);
    reap(who, pid);
}

TEST(setsid_makes_a_leader) {
    CHILD("child") {
        FACT("not a leader", getpgrp() != getpid());
        FACT("setsid gives the pid", setsid() == getpid());
        FACT("leads group", getpgrp() == getpid());
        FACT("leads session", getsid(0) == getpid());
        CALL(setsid());
        CALL(setpgid(0, 0));
        CALL(setpgid(0, getpid()));
        CHILD("grandchild") {
            FACT("same session", getsid(0) == getppid());
            FACT("setsid works", setsid() == getpid());
        }
    }
}

TEST(setsid_of_group_leader) {
    CHILD("child") {
        CALL(setpgid(0, 0));
        CALL(setsid());
    }
}

TEST(setpgid_errors) {
    pid_t child = pausing_child();
    CALL(setpgid(-1, 0));
    CALL(setpgid(0, -1));
    CALL(setpgid(1000000, 0));
    CALL(setpgid(1, 0));
    CALL(setpgid(child, 1000000));
    CALL(setpgid(child, child));
    FACT("moved", getpgid(child) == child);
    CALL(setpgid(child, getpgrp()));
    FACT("moved back", getpgid(child) == getpgrp());
    CALL(setpgid(child, 1));
    finish("child", child);
    CALL(setpgid(child, child));
}

TEST(setpgid_after_exec) {
    int p[2];
    NEED(pipe2(p, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/busybox", "sleep", "5", (char*)NULL);
        _exit(1);
    }
    close(p[1]);
    char c;
    NEED(read(p[0], &c, 1) == 0);
    CALL(setpgid(pid, pid));
    finish("child", pid);
}

// The end of the pipe says that the program was executed: whoever hears it finds the new program.
TEST(setpgid_heard_of_exec) {
    int allowed = 0, named = 0;
    for (int i = 0; i < 60; ++i) {
        int p[2];
        NEED(pipe2(p, O_CLOEXEC) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            // Closed after the pipe: time in which the parent hears of it.
            for (int k = 0; k < 900; ++k) NEED(fcntl(0, F_DUPFD_CLOEXEC, 5) >= 0);
            execl("/bin/busybox", "sleep", "5", (char*)NULL);
            _exit(1);
        }
        close(p[1]);
        char c;
        NEED(read(p[0], &c, 1) == 0);
        allowed += setpgid(pid, pid) == 0 || errno != EACCES;
        close(p[0]);
        char name[64], program[64] = {0};
        snprintf(name, sizeof name, "/proc/%d/exe", (int)pid);
        named += readlink(name, program, sizeof program - 1) > 0 && strcmp(program, "/bin/busybox") == 0;
        kill(pid, SIGKILL);
        NEED(waitpid(pid, NULL, 0) == pid);
    }
    SHOW(allowed);
    SHOW(named);
}

TEST(setpgid_of_another_session) {
    int p[2];
    NEED(pipe2(p, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        NEED(write(p[1], "x", 1) == 1);
        for (;;) pause();
    }
    char c;
    NEED(read(p[0], &c, 1) == 1);
    CALL(setpgid(pid, pid));
    CALL(setpgid(pid, getpgrp()));
    CALL(setpgid(0, pid));
    FACT("its session", getsid(pid) == pid);
    finish("child", pid);
}

TEST(get_errors) {
    CALL(getpgid(-1));
    CALL(getpgid(1000000));
    CALL(getsid(-1));
    CALL(getsid(1000000));
    FACT("getpgid(0)", getpgid(0) == getpgrp());
    FACT("getsid(0)", getsid(0) == getsid(getpid()));
}

TEST(group_outlives_leader) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t leader = fork();
    if (leader == 0) {
        setpgid(0, 0);
        pid_t member = pausing_child();
        NEED(write(p[1], &member, sizeof member) == sizeof member);
        _exit(0);
    }
    pid_t member;
    NEED(read(p[0], &member, sizeof member) == sizeof member);
    reap("leader", leader);
    CALL(kill(leader, 0));
    CALL(kill(-leader, 0));
    FACT("group kept", getpgid(member) == leader);
    CALL(kill(-leader, SIGKILL));
}

TEST(stop_signals_stop) {
    static const int signals[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    for (int i = 0; i < 4; i++) {
        pid_t pid = pausing_child();
        setpgid(pid, pid);
        int status;
        kill(pid, signals[i]);
        NEED(waitpid(pid, &status, WUNTRACED) == pid);
        say_status("child", status);
        finish("child", pid);
    }
}

TEST(stopped_process_handles_later) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        // Blocked but in its wait: a handler that ran right before pause() would be waited for forever.
        sigset_t set, none;
        sigemptyset(&none);
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        on_signal(SIGUSR1, counting, 0);
        NEED(write(p[1], "r", 1) == 1);
        while (!count) sigsuspend(&none);
        _exit(42);
    }
    char c;
    NEED(read(p[0], &c, 1) == 1);
    int status;
    kill(pid, SIGSTOP);
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    CALL(kill(pid, SIGUSR1));
    sleep_ms(20);
    CALL(waitpid(pid, &status, WNOHANG));
    CALL(kill(pid, SIGCONT));
    reap("child", pid);
}

TEST(stopped_process_dies_of_kill_only) {
    pid_t pid = pausing_child();
    int status;
    kill(pid, SIGSTOP);
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    CALL(kill(pid, SIGTERM));
    sleep_ms(20);
    CALL(waitpid(pid, &status, WNOHANG));
    CALL(kill(pid, SIGCONT));
    reap("continued", pid);
    pid = pausing_child();
    kill(pid, SIGSTOP);
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    CALL(kill(pid, SIGKILL));
    reap("killed", pid);
}

TEST(sigcont_handler_and_mask) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        on_signal(SIGCONT, counting, 0);
        sigset_t set, old;
        sigemptyset(&set);
        sigaddset(&set, SIGCONT);
        sigprocmask(SIG_BLOCK, &set, &old);
        raise(SIGSTOP);
        SHOW(count);
        sigprocmask(SIG_SETMASK, &old, NULL);
        SHOW(count);
        _exit(0);
    }
    int status;
    NEED(waitpid(pid, &status, WUNTRACED) == pid);
    say_status("child", status);
    kill(pid, SIGCONT);
    reap("child", pid);
}

TEST(cont_discards_pending_stops) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGTSTP);
    sigpending(&set);
    IS(sigismember(&set, SIGTSTP));
    on_signal(SIGCONT, counting, 0);
    raise(SIGCONT);
    sigpending(&set);
    IS(sigismember(&set, SIGTSTP));
    IS(sigismember(&set, SIGCONT));
    raise(SIGTSTP);
    sigpending(&set);
    IS(sigismember(&set, SIGCONT));
}

TEST(tstp_in_orphaned_group_is_ignored) {
    int p[2];
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        if (fork() == 0) {
            sleep_ms(30);
            raise(SIGTSTP);
            NEED(write(p[1], "w", 1) == 1);
            _exit(0);
        }
        _exit(0);
    }
    reap("leader", pid);
    char c = '?';
    CALL(read(p[0], &c, 1));
    say("%c\n", c);
}

TEST(stopped_orphan_gets_hup_and_cont) {
    int p[2], q[2];
    NEED(pipe(p) == 0 && pipe(q) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        pid_t member = fork();
        if (member == 0) {
            setpgid(0, 0);
            on_signal(SIGHUP, counting, 0);
            NEED(write(p[1], "r", 1) == 1);
            raise(SIGSTOP);
            for (int i = 0; i < 100 && !count; i++) sleep_ms(5);
            say("member continued, last signal %s\n", signal_name(last));
            NEED(write(p[1], "d", 1) == 1);
            _exit(0);
        }
        int status;
        NEED(waitpid(member, &status, WUNTRACED) == member);
        say_status("member", status);
        _exit(0);
    }
    char c;
    NEED(read(p[0], &c, 1) == 1);
    NEED(read(p[0], &c, 1) == 1);
    reap("leader", pid);
}

TEST(terminal_calls_without_one) {
    struct termios t;
    CALL(tcgetpgrp(0));
    CALL(tcsetpgrp(0, getpgrp()));
    CALL(tcgetattr(0, &t));
    CALL(isatty(0));
    CALL(open("/dev/tty", O_RDWR));
}
