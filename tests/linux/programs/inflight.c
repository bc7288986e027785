// SPDX-License-Identifier: MIT
// inflight [POLICY]: processes and threads that make calls all the time are killed, exit, execute another program, get signals and
// fork. Meant for a machine where those calls (the module fs) are executed by another CPU and held up there at a named step
// (`hold=`, tests/tool.sh), so that all of it happens while calls are in flight; its output is the same everywhere.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kRounds = 12 };
static volatile int stop;
static int wrong;

static void expect(int ok, const char* what) {
    if (ok) return;
    ++wrong;
    printf("wrong: %s (errno %d)\n", what, errno);
    fflush(stdout);
}

static void pause_us(long us) {
    struct timespec t = {0, us * 1000};
    while (nanosleep(&t, &t) != 0) {
    }
}

// Each result must be this thread's own: of a directory, then of a file of known size.
static void look_once(void) {
    struct stat d, f;
    memset(&d, 0, sizeof d);
    memset(&f, 0, sizeof f);
    expect(stat("/", &d) == 0 && S_ISDIR(d.st_mode), "stat of a directory");
    expect(stat("size5", &f) == 0 && S_ISREG(f.st_mode) && f.st_size == 5, "stat of a file");
    expect(access("none", F_OK) == -1 && errno == ENOENT, "access to nothing");
}
static void* look(void* arg) {
    while (!stop) look_once();
    return arg;
}
static void look_for_ever(void) {
    for (;;) look_once();
}
static void start(pthread_t* threads, int n, void* (*fn)(void*)) {
    for (int i = 0; i < n; ++i) expect(pthread_create(&threads[i], NULL, fn, NULL) == 0, "pthread_create");
}
static int status_of(pid_t pid) {
    int status = -1;
    expect(waitpid(pid, &status, 0) == pid, "waitpid");
    return status;
}

static void killed(void) {
    for (int i = 0; i < kRounds; ++i) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t t[2];
            if (i % 2) start(t, 2, look);
            look_for_ever();
        }
        pause_us(300 + 400 * i);
        expect(kill(pid, SIGKILL) == 0, "kill");
        int status = status_of(pid);
        expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "killed by SIGKILL");
    }
    puts("killed");
}

static void exits(void) {
    for (int i = 0; i < kRounds; ++i) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t t[2];
            start(t, 2, look);
            pause_us(300 + 300 * i);
            _exit(wrong ? 1 : 40 + i);
        }
        expect(status_of(pid) == (40 + i) << 8, "exit status with calls in flight");
    }
    puts("exited");
}

static void executes(void) {
    for (int i = 0; i < kRounds; ++i) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t t[2];
            start(t, 2, look);
            pause_us(300 + 300 * i);
            if (wrong) _exit(1);
            execl("/bin/busybox", "busybox", "sh", "-c", "exit 9", NULL);
            _exit(2);
        }
        expect(status_of(pid) == 9 << 8, "status of a program executed with calls in flight");
    }
    puts("executed");
}

static volatile sig_atomic_t handled;
static void handler(int number) {
    int before = errno;
    (void)number;
    look_once();  // calls in flight from a handler, too
    handled = handled + 1;
    errno = before;
}

// Bytes through a pipe under signals: EINTR where nothing was transferred, and no byte lost or doubled.
static void* send_bytes(void* arg) {
    int fd = *(int*)arg;
    for (int i = 0; i < 400; ++i) {
        unsigned char c = (unsigned char)i;
        ssize_t n;
        while ((n = write(fd, &c, 1)) == -1 && errno == EINTR) {
        }
        expect(n == 1, "write to a pipe");
        if (i % 40 == 0) pause_us(500);
    }
    close(fd);
    return NULL;
}
static void signals(void) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int ends[2], next = 0;
        pthread_t t;
        sigset_t set, old;
        expect(pipe(ends) == 0, "pipe");
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigaddset(&set, SIGUSR2);
        pthread_sigmask(SIG_BLOCK, &set, &old);
        pthread_create(&t, NULL, send_bytes, &ends[1]);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        for (;;) {
            unsigned char c = 0;
            ssize_t n = read(ends[0], &c, 1);
            if (n == -1 && errno == EINTR) continue;
            if (n == 0) break;
            expect(n == 1 && c == (unsigned char)next, "bytes in their order");
            ++next;
            look_once();
        }
        pthread_join(t, NULL);
        expect(next == 400, "all bytes");
        while (handled == 0) look_once();
        _exit(wrong ? 1 : 5);
    }
    for (int i = 0; i < 60; ++i) {
        if (kill(pid, i % 2 ? SIGUSR1 : SIGUSR2) != 0) break;
        pause_us(300);
    }
    expect(status_of(pid) == 5 << 8, "status after signals");
    puts("signalled");
}

static void forks(void) {
    pthread_t t[2];
    stop = 0;
    start(t, 2, look);
    for (int i = 0; i < kRounds; ++i) {
        pid_t pid = fork();
        if (pid == 0) {
            look_once();
            _exit(wrong ? 1 : 3);
        }
        expect(status_of(pid) == 3 << 8, "status of a child that was forked with calls in flight");
    }
    stop = 1;
    for (int i = 0; i < 2; ++i) expect(pthread_join(t[i], NULL) == 0, "pthread_join");
    stop = 0;
    puts("forked");
}

static void* look_and_end(void* arg) {
    look_once();
    return arg;
}
static void threads_end(void) {
    for (int i = 0; i < kRounds; ++i) {
        pthread_t t[3];
        start(t, 3, look_and_end);
        for (int k = 0; k < 3; ++k) expect(pthread_join(t[k], NULL) == 0, "pthread_join");
    }
    puts("ended");
}

int main(int argc, char** argv) {
    int fd = open("size5", O_CREAT | O_WRONLY, 0600);
    expect(fd >= 0 && write(fd, "12345", 5) == 5 && close(fd) == 0, "size5");
    if (argc > 1) {
        fd = open("/proc/farcall/modules", O_WRONLY);
        expect(fd >= 0 && dprintf(fd, "fs policy %s", argv[1]) > 0 && close(fd) == 0, argv[1]);
    }
    setvbuf(stdout, NULL, _IONBF, 0);
    killed();
    exits();
    executes();
    signals();
    forks();
    threads_end();
    unlink("size5");
    return wrong != 0;
}
