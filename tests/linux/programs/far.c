// SPDX-License-Identifier: MIT
// Descriptors with large numbers: up to fs.nr_open, wherever they are in their table.
#include "check.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <sys/select.h>

static const int far_numbers[] = {65535, 65536, 81407, 81408, 262143, 262144, 500000, 700000, 1048575};
enum { kFar = sizeof far_numbers / sizeof far_numbers[0] };
static void show_far(const char* who) {
    char text[256];
    int n = snprintf(text, sizeof text, "%s:", who);
    for (int i = 0; i < kFar; i++)
        if (fcntl(far_numbers[i], F_GETFD) >= 0)
            n += snprintf(text + n, sizeof text - (size_t)n, " %d", far_numbers[i]);
    say("%s\n", text);
}
static int listed_descriptors(void) {
    int n = 0;
    DIR* d = opendir("/proc/self/fd");
    NEED(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 3;  // but for "." and "..", and that of the directory
}

HELPER(show_far_descriptors) { show_far("after execve"); }

// As many as fs.nr_open lets there be, wherever they are.
TEST(far_descriptors) {
    CALL(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1048577, 1048577}));
    CALL(setrlimit(RLIMIT_NOFILE, &(struct rlimit){1048576, 1048576}));
    int fd = open("/dev/null", O_RDWR);
    for (int i = 0; i < kFar; i++) CALL(dup3(fd, far_numbers[i], i % 3 == 0 ? O_CLOEXEC : 0));
    CALL(dup2(fd, 1048576));
    CALL(dup2(fd, -1));
    CALL(fcntl(fd, F_DUPFD, 1048575));
    CALL(fcntl(fd, F_DUPFD, 1048576));
    CALL(fcntl(fd, F_DUPFD, 81407));
    CALL(fcntl(fd, F_DUPFD_CLOEXEC, 262143));
    CALL(close(81409));
    CALL(close(81409));
    CALL(fcntl(262145, F_GETFD));
    CALL(close(262145));
    CALL(write(1048575, "x", 1));
    CALL(write(1048574, "x", 1));
    show_far("here");
    SHOW(listed_descriptors());
    int status;
    CHILD("copy") {
        show_far("child");
        CALL(close(700000));
        execl("/proc/self/exe", "far", "show_far_descriptors", NULL);
    }
    int child = (int)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        close(700000);
        dup2(fd, 700001);
        _exit(0);
    }
    NEED(waitpid(child, &status, 0) == child);
    CALL(fcntl(700000, F_GETFD));
    CALL(fcntl(700001, F_GETFD));
    CALL(syscall(SYS_close_range, 300000, ~0u, 4));  // CLOSE_RANGE_CLOEXEC
    CALL(fcntl(1048575, F_GETFD));
    CALL(syscall(SYS_close_range, 300000, ~0u, 2));  // CLOSE_RANGE_UNSHARE
    show_far("closed");
    CALL(dup(fd));
}

// The sets of select(2) may be as long as the table.
TEST(far_descriptors_are_polled) {
    enum { kNumber = 1000000 };
    static unsigned long in[1048576 / 64], out[1048576 / 64];
    int p[2];
    NEED(pipe(p) == 0 && setrlimit(RLIMIT_NOFILE, &(struct rlimit){1048576, 1048576}) == 0);
    NEED(dup2(p[0], kNumber) == kNumber);
    in[kNumber / 64] |= 1ul << (kNumber % 64);
    CALL(select(kNumber + 1, (fd_set*)in, NULL, NULL, &(struct timeval){0, 0}));
    SHOW(in[kNumber / 64]);
    NEED(write(p[1], "x", 1) == 1);
    in[kNumber / 64] |= 1ul << (kNumber % 64);
    out[p[1] / 64] |= 1ul << (p[1] % 64);
    CALL(select(1048576, (fd_set*)in, (fd_set*)out, NULL, NULL));
    FACT("both", in[kNumber / 64] == 1ul << (kNumber % 64) && out[p[1] / 64] == 1ul << (p[1] % 64));
    in[900000 / 64] |= 1;
    CALL(select(1048576, (fd_set*)in, NULL, NULL, NULL));
    struct pollfd f = {kNumber, POLLIN, 0};
    CALL(poll(&f, 1, -1));
    SHOW(f.revents);
}
