// SPDX-License-Identifier: MIT
// The operations whose kernel instructions `farcall bench syscall` counts, on Farcall and on Linux alike: the counting
// plugin sees the markers around each interval (tools/count_plugin/marker.h), and this program prints how many
// operations the interval contained.
//
// Arguments: names of rows to measure; none: all. Output, one line each: "begin NAME", then "row ID NAME COUNT" or "row
// ID NAME error ERRNO-NAME". A row is measured kRepeats times; the reader takes the median. After each line the program
// sleeps, so that writing its output is not counted in the next interval.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/files.h"
#include "tools/count_plugin/marker.h"

enum { kRepeats = 5, kPage = 4096 };
#define DIRECTORY BENCH_DIRECTORY

static char buffer[1 << 16] __attribute__((aligned(4096)));
static int file_fd = -1, null_fd = -1, event_fd = -1, epoll_fd = -1, file64_fd = -1;
static int ping[2] = {-1, -1}, pong[2] = {-1, -1}, local_pipe[2] = {-1, -1}, pair[2] = {-1, -1};
static char* shared;       // a page shared with helper processes
static char* scratch_map;  // 16 private anonymous pages

// Every operation returns 0 or an errno.
#define CALL(expression)                          \
    do {                                          \
        if ((long)(expression) < 0) return errno; \
    } while (0)

static int op_getpid(void) {
    CALL(syscall(SYS_getpid));
    return 0;
}
static int op_task0(void) {
    CALL(syscall(SYS_getpid));
    CALL(syscall(SYS_getppid));
    return 0;
}
static int op_write_null(void) {
    CALL(write(null_fd, buffer, 1));
    return 0;
}
static int op_pread_1(void) {
    CALL(pread(file64_fd, buffer, 1, 0));
    return 0;
}
static int op_pread_4k(void) {
    CALL(pread(file64_fd, buffer, 4096, 0));
    return 0;
}
static int op_pread_64k(void) {
    CALL(pread(file64_fd, buffer, 65536, 0));
    return 0;
}
static int op_pwrite_4k(void) {
    CALL(pwrite(file64_fd, buffer, 4096, 0));
    return 0;
}
static int op_stat(void) {
    struct stat st;
    CALL(stat(DIRECTORY "/file", &st));
    return 0;
}
static int op_fstat(void) {
    struct stat st;
    CALL(fstat(file_fd, &st));
    return 0;
}
static int op_open_close(void) {
    int fd = open(DIRECTORY "/file", O_RDONLY);
    CALL(fd);
    CALL(close(fd));
    return 0;
}
static int op_create_unlink(void) {
    int fd = open(DIRECTORY "/new", O_WRONLY | O_CREAT | O_EXCL, 0644);
    CALL(fd);
    CALL(close(fd));
    CALL(unlink(DIRECTORY "/new"));
    return 0;
}
static int op_task1(void) {
    DIR* dir = opendir(DIRECTORY "/files");
    if (!dir) return errno;
    int seen = 0;
    errno = 0;
    for (struct dirent* entry; (entry = readdir(dir));) {
        char path[300];
        struct stat st;
        strcpy(path, DIRECTORY "/files/");
        strcat(path, entry->d_name);
        if (stat(path, &st) != 0) break;
        seen += S_ISREG(st.st_mode);
    }
    closedir(dir);
    return seen == kFiles ? 0 : errno ? errno : EIO;
}

static int wait_for(pid_t pid) {
    int status;
    CALL(pid);
    CALL(waitpid(pid, &status, 0));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : EIO;
}
static char file_names[kFiles][8];
static char* wc_words[kFiles + 3];
static int op_task2(void) {
    pid_t pid = fork();
    if (pid == 0) {
        if (chdir(DIRECTORY "/files") != 0) _exit(1);
        dup2(null_fd, 1);
        execv("/bin/busybox", wc_words);
        _exit(1);
    }
    return wait_for(pid);
}
static int op_fork(void) {
    pid_t pid = fork();
    if (pid == 0) _exit(0);
    return wait_for(pid);
}
static int op_vfork(void) {
    pid_t pid = vfork();
    if (pid == 0) _exit(0);
    return wait_for(pid);
}
static int op_exec_tiny(void) {
    static char* const words[] = {"tiny", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execv("/bench/tiny", words);
        _exit(1);
    }
    return wait_for(pid);
}
static int op_exec_busybox(void) {
    static char* const words[] = {"true", NULL};
    pid_t pid = fork();
    if (pid == 0) {
        execv("/bin/busybox", words);
        _exit(1);
    }
    return wait_for(pid);
}
static int op_round_trip(void) {
    CALL(write(ping[1], buffer, 1));
    CALL(read(pong[0], buffer, 1));
    return 0;
}
static int op_socket_round_trip(void) {
    CALL(write(pair[0], buffer, 1));
    CALL(read(pair[0], buffer, 1));
    return 0;
}
static int op_socketpair(void) {
    CALL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    return 0;
}
static int op_pipe_64k(void) {
    CALL(write(local_pipe[1], buffer, 65536));
    for (size_t got = 0; got < 65536;) {
        ssize_t n = read(local_pipe[0], buffer, 65536);
        CALL(n);
        got += (size_t)n;
    }
    return 0;
}
static int op_futex_wake(void) {
    CALL(syscall(SYS_futex, shared, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
    return 0;
}
static int op_yield(void) {
    CALL(syscall(SYS_sched_yield));
    return 0;
}
static int op_mmap_1(void) {
    char* p = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return errno;
    *(volatile char*)p = 1;
    CALL(munmap(p, kPage));
    return 0;
}
static int op_mmap_256(void) {
    char* p = mmap(NULL, 256 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return errno;
    for (int i = 0; i < 256; ++i) ((volatile char*)p)[i * kPage] = 1;
    CALL(munmap(p, 256 * kPage));
    return 0;
}
static int op_file_fault(void) {
    char* p = mmap(NULL, kPage, PROT_READ, MAP_PRIVATE, file64_fd, 0);
    if (p == MAP_FAILED) return errno;
    (void)*(volatile char*)p;
    CALL(munmap(p, kPage));
    return 0;
}
static int op_mprotect(void) {
    // The first page of a larger mapping: it is split off and merged again.
    char* page = scratch_map;
    *(volatile char*)page = 1;
    CALL(mprotect(page, kPage, PROT_READ));
    CALL(mprotect(page, kPage, PROT_READ | PROT_WRITE));
    return 0;
}
static volatile sig_atomic_t handled;
static void on_signal(int signal) { ++handled; }
static int op_signal(void) {
    int before = handled;
    CALL(syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1));
    return handled == before + 1 ? 0 : EIO;
}
static int op_sigaction(void) {
    struct sigaction action;
    CALL(sigaction(SIGUSR2, NULL, &action));
    return 0;
}
static int op_eventfd(void) {
    uint64_t value = 1;
    CALL(write(event_fd, &value, 8));
    CALL(read(event_fd, &value, 8));
    return 0;
}
static int op_poll(void) {
    struct pollfd fd = {local_pipe[1], POLLOUT, 0};
    CALL(poll(&fd, 1, 0));
    return 0;
}
static int op_epoll(void) {
    struct epoll_event event;
    CALL(epoll_wait(epoll_fd, &event, 1, 0));
    return 0;
}
static int op_clock_vdso(void) {
    struct timespec t;
    CALL(clock_gettime(CLOCK_MONOTONIC, &t));
    return 0;
}
static int op_clock_call(void) {
    struct timespec t;
    CALL(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t));
    return 0;
}
static void* thread_body(void* data) { return data; }
static int op_thread(void) {
    pthread_t thread;
    int error = pthread_create(&thread, NULL, thread_body, NULL);
    if (error) return error;
    return pthread_join(thread, NULL);
}
static volatile int turn;
static void futex_pass(int mine, int next) {
    while (turn != mine) syscall(SYS_futex, &turn, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, next, NULL, NULL, 0);
    turn = next;
    syscall(SYS_futex, &turn, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}
static volatile int futex_stop;
static void* futex_partner(void* data) {
    while (!futex_stop) futex_pass(1, 0);
    return data;
}
static int op_futex_round_trip(void) {
    futex_pass(0, 1);
    while (turn != 0) syscall(SYS_futex, &turn, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
    return 0;
}

static char** wanted;
static int is_wanted(const char* name) {
    if (!*wanted) return 1;
    for (char** word = wanted; *word; ++word) {
        if (strcmp(*word, name) == 0) return 1;
    }
    return 0;
}
static void say(const char* line) {
    struct timespec pause = {0, 20 * 1000 * 1000};
    if (write(1, line, strlen(line)) < 0) _exit(1);
    nanosleep(&pause, NULL);
}
static const char* error_name(int error) {
    static char number[16];
    if (error == ENOSYS) return "ENOSYS";
    snprintf(number, sizeof number, "errno-%d", error);
    return number;
}

// The marker's row number is an immediate operand, so every row is a macro expansion of its own.
#define ROW(id, name, count, divisor, op)                                                     \
    do {                                                                                      \
        if (!is_wanted(name)) break;                                                          \
        char line[96];                                                                        \
        say("begin " name "\n");                                                              \
        int error = 0;                                                                        \
        for (int i = 0; i < 3 && !error; ++i) error = op();                                   \
        for (int repeat = 0; repeat < kRepeats && !error; ++repeat) {                         \
            FARCALL_MARK_START(id);                                                           \
            for (int i = 0; i < (count); ++i) error |= op();                                  \
            FARCALL_MARK_STOP(id);                                                            \
        }                                                                                     \
        if (error) {                                                                          \
            snprintf(line, sizeof line, "row %d %s error %s\n", id, name, error_name(error)); \
        } else {                                                                              \
            snprintf(line, sizeof line, "row %d %s %d\n", id, name, (count) * (divisor));     \
        }                                                                                     \
        say(line);                                                                            \
    } while (0)

static void make_files(void) {
    mkdir("/tmp", 01777);
    mkdir(DIRECTORY, 0755);
    fill_words(buffer, sizeof buffer);
    file_fd = open(DIRECTORY "/file", O_RDWR | O_CREAT, 0644);
    if (write(file_fd, "x", 1) != 1) perror(DIRECTORY "/file");
    file64_fd = open(DIRECTORY "/file64k", O_RDWR | O_CREAT, 0644);
    if (write(file64_fd, buffer, sizeof buffer) != (ssize_t)sizeof buffer) perror(DIRECTORY "/file64k");
    null_fd = open("/dev/null", O_RDWR);
}
static int make_wc_files(void) {
    wc_words[0] = "busybox";
    wc_words[1] = "wc";
    for (int i = 0; i < kFiles; ++i) {
        file_name(file_names[i], i);
        wc_words[2 + i] = file_names[i];
    }
    return make_many_files();
}
static pid_t echo_process(int from, int to, int close_a, int close_b) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    close(close_a);
    close(close_b);
    char byte;
    while (read(from, &byte, 1) == 1 && write(to, &byte, 1) == 1) {
    }
    _exit(0);
}

int main(int argc, char** argv) {
    FARCALL_MARK_NOTE(1);
    wanted = argv + 1;
    if (is_wanted("boot")) say("begin boot\nrow 1 boot 1\n");
    if (argc == 2 && strcmp(argv[1], "boot") == 0) return 0;
    make_files();
    ROW(2, "getpid", 200, 1, op_getpid);
    ROW(3, "task0", 100, 1, op_task0);
    ROW(4, "write_null", 200, 1, op_write_null);
    ROW(5, "pread_1", 100, 1, op_pread_1);
    ROW(6, "pread_4k", 100, 1, op_pread_4k);
    ROW(7, "pread_64k", 20, 1, op_pread_64k);
    ROW(8, "pwrite_4k", 100, 1, op_pwrite_4k);
    ROW(9, "stat", 100, 1, op_stat);
    ROW(10, "fstat", 100, 1, op_fstat);
    ROW(11, "open_close", 50, 1, op_open_close);
    ROW(12, "create_unlink", 20, 1, op_create_unlink);
    ROW(13, "clock_gettime_vdso", 100, 1, op_clock_vdso);
    ROW(14, "clock_gettime_call", 100, 1, op_clock_call);
    ROW(15, "sched_yield", 100, 1, op_yield);
    shared = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    scratch_map = mmap(NULL, 16 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ROW(16, "futex_wake", 100, 1, op_futex_wake);
    ROW(17, "mmap_touch_1", 20, 1, op_mmap_1);
    ROW(18, "mmap_touch_256", 2, 1, op_mmap_256);
    ROW(19, "file_page_fault", 20, 1, op_file_fault);
    if (scratch_map != MAP_FAILED) ROW(20, "mprotect_twice", 20, 1, op_mprotect);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    ROW(21, "signal", 50, 1, op_signal);
    ROW(22, "sigaction", 100, 1, op_sigaction);
    if (pipe(local_pipe) == 0) {
        ROW(23, "poll_1", 100, 1, op_poll);
        ROW(24, "pipe_64k", 10, 1, op_pipe_64k);
    }
    event_fd = eventfd(0, 0);
    ROW(25, "eventfd", 100, 1, op_eventfd);
    epoll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLOUT};
    if (epoll_fd >= 0) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, local_pipe[1], &event);
    ROW(26, "epoll_1", 100, 1, op_epoll);
    ROW(27, "fork_exit_wait", 5, 1, op_fork);
    ROW(28, "vfork_exit_wait", 5, 1, op_vfork);
    ROW(29, "fork_exec_tiny", 5, 1, op_exec_tiny);
    ROW(30, "fork_exec_busybox", 3, 1, op_exec_busybox);
    if (is_wanted("pipe_round_trip") && pipe(ping) == 0 && pipe(pong) == 0) {
        pid_t pid = echo_process(ping[0], pong[1], ping[1], pong[0]);
        if (pid > 0) ROW(31, "pipe_round_trip", 20, 1, op_round_trip);
        close(ping[1]);
        close(ping[0]);
        close(pong[1]);
        if (pid > 0) waitpid(pid, NULL, 0);
    }
    if (is_wanted("yield_two")) {
        *(volatile char*)shared = 0;
        pid_t pid = fork();
        if (pid == 0) {
            while (!*(volatile char*)shared) syscall(SYS_sched_yield);
            _exit(0);
        }
        // On average, each yield of this process is answered by one of the other: two yields, two switches.
        if (pid > 0) ROW(32, "yield_two", 1000, 2, op_yield);
        *(volatile char*)shared = 1;
        if (pid > 0) waitpid(pid, NULL, 0);
    }
    if (is_wanted("task1") || is_wanted("task2")) {
        if (make_wc_files() != 0) return 1;
        ROW(33, "task1", 1, 1, op_task1);
        ROW(34, "task2", 1, 1, op_task2);
    }
    if (is_wanted("socketpair_round_trip")) {
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
            pid_t pid = echo_process(pair[1], pair[1], pair[0], -1);
            if (pid > 0) ROW(35, "socketpair_round_trip", 20, 1, op_socket_round_trip);
            close(pair[0]);
            close(pair[1]);
            if (pid > 0) waitpid(pid, NULL, 0);
        } else {
            ROW(35, "socketpair_round_trip", 1, 1, op_socketpair);
        }
    }
    ROW(36, "thread", 5, 1, op_thread);
    if (is_wanted("futex_round_trip")) {
        pthread_t partner;
        if (pthread_create(&partner, NULL, futex_partner, NULL) == 0) {
            ROW(37, "futex_round_trip", 20, 1, op_futex_round_trip);
            futex_stop = 1;
            turn = 1;
            syscall(SYS_futex, &turn, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
            pthread_join(partner, NULL);
        }
    }
    say("done\n");
    return 0;
}
