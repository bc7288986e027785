// SPDX-License-Identifier: MIT
// Runs shell commands one after the other inside a guest and reports what each gave; the same binary runs on Farcall
// (as the first process) and on the oracle, so a comparison compares only the kernels. README.md in this folder says
// what a command finds.
//
// Input, /.farcall/cases: for each case name NUL timeout-seconds NUL command NUL.
// Output: "begin NAME\n" before a case; "case NAME STATUS OUT ERR\n", OUT bytes, ERR bytes, "\n" after it; "end
// COUNT\n" last. STATUS is eN for exit status N, sN for a death by signal N, t for a case that ran out of time, mN if
// programs/mover.c, which runs beside the case when /.farcall/moving holds a seed, ended with status N.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/count_plugin/marker.h"

enum { kOutputLimit = 1 << 20 };
static const char kCases[] = "/.farcall/cases";
static const char kMoving[] = "/.farcall/moving";
static const char* seed;  // of kMoving, if there is one
static const char kDirectory[] = "/tmp/case";
static const char* const kOutputs[2] = {"/.farcall/out", "/.farcall/err"};

static volatile sig_atomic_t timed_out;
static void on_alarm(int signal) { timed_out = 1; }

static void write_all(const char* bytes, size_t length) {
    while (length > 0) {
        ssize_t n = write(1, bytes, length);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) _exit(3);
        bytes += n;
        length -= (size_t)n;
    }
}

static char* read_whole(const char* path, size_t limit, size_t* length) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t capacity = 65536, used = 0;
    char* data = malloc(capacity + 1);
    while (fd >= 0 && data && used < limit) {
        if (used == capacity) {
            capacity *= 2;
            data = realloc(data, capacity + 1);
            if (!data) break;
        }
        ssize_t n = read(fd, data + used, capacity - used);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        used += (size_t)n;
    }
    if (fd >= 0) close(fd);
    if (used > limit) used = limit;
    *length = used;
    if (data) data[used] = 0;
    return data;
}

static int remove_one(const char* path, const struct stat* st, int type, struct FTW* walk) {
    remove(path);  // what cannot be removed (a mount point) stays
    return 0;
}

static void sleep_ms(long ms) {
    struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
}

// The second word of a line of /proc/self/mounts, in place: \040 and the like are what getmntent(3) says.
static char* mount_point(char* line) {
    char* from = strchr(line, ' ');
    if (!from) return NULL;
    char *path = ++from, *to = from;
    for (; *from && *from != ' '; ++to) {
        if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = 0;
    return path;
}

// How many mounts there are; with `unmount` the last one is taken away then. -1: that failed, or there is no /proc.
static int count_mounts(int unmount) {
    size_t length;
    char* text = read_whole("/proc/self/mounts", kOutputLimit, &length);
    int count = 0, gone = 1;
    char* last = NULL;
    for (char *line = text, *end; line && (end = strchr(line, '\n')); line = end + 1, ++count) {
        *end = 0;
        last = line;
    }
    if (unmount) {
        char* path = last ? mount_point(last) : NULL;
        gone = path && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0;
    }
    free(text);
    return gone && count > 0 ? count : -1;
}

static int own_mounts;  // there before the first case; the list is in the order in which they were made
static void unmount_others(void) {
    for (int now = count_mounts(0); now > own_mounts && own_mounts > 0;) {
        if (count_mounts(1) < 0) return;
        const int then = count_mounts(0);
        if (then >= now) return;
        now = then;
    }
}

// Kills all processes but this one and the first, and reaps them, for at most two seconds; what they have mounted and left
// is unmounted.
static void clean_up(void) {
    for (int round = 0; round < 2000; ++round) {
        if (kill(-1, SIGKILL) != 0 && errno == ESRCH) {
            while (waitpid(-1, NULL, WNOHANG) > 0) {
            }
            break;
        }
        int got = 0;
        pid_t pid;
        while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) got = 1;
        if (pid < 0 && errno == ECHILD) break;
        if (!got) sleep_ms(1);
    }
    unmount_others();
    nftw(kDirectory, remove_one, 200, FTW_DEPTH | FTW_PHYS);  // musl goes no deeper than it may open directories
}

static void child(const char* command) {
    static char* const environment[] = {
        "PATH=/bin:/sbin:/usr/bin:/usr/sbin:/tests", "HOME=/root", "TERM=dumb", "LC_ALL=C", "TZ=UTC", NULL};
    setsid();
    umask(022);
    int in = open("/dev/null", O_RDONLY);
    int out = open(kOutputs[0], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(kOutputs[1], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || err < 0) _exit(125);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    for (int fd = 3; fd < 16; ++fd) close(fd);
    char* argv[] = {"sh", "-c", (char*)command, NULL};
    execve("/bin/busybox", argv, environment);
    _exit(126);
}

// Not seen by the case: no stream of its, another session. The case's name takes part in its seed, so that a case that is
// run alone meets the same moves.
static pid_t start_mover(const char* name) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    setsid();
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    for (int fd = 3; fd < 16; ++fd) close(fd);
    char* argv[] = {"mover", (char*)seed, (char*)name, NULL};
    char* environment[] = {NULL};
    execve("/tests/mover", argv, environment);
    _exit(126);
}

static void run_case(const char* name, int timeout, const char* command) {
    char line[512];
    FARCALL_MARK_NOTE(0);  // tools/stretch_plugin counts cases
    snprintf(line, sizeof line, "begin %s\n", name);
    write_all(line, strlen(line));
    clean_up();
    mkdir(kDirectory, 0755);
    if (chdir(kDirectory) != 0) _exit(4);
    timed_out = 0;
    pid_t mover = seed ? start_mover(name) : -1;
    pid_t pid = fork();
    if (pid == 0) child(command);
    int status = 0;
    char word[16] = "e125";
    if (pid > 0) {
        alarm((unsigned)timeout);
        pid_t got;
        while ((got = waitpid(pid, &status, 0)) < 0 && errno == EINTR && !timed_out) {
        }
        alarm(0);
        if (got != pid) {
            snprintf(word, sizeof word, "t");
        } else if (WIFSIGNALED(status)) {
            snprintf(word, sizeof word, "s%d", WTERMSIG(status));
        } else {
            snprintf(word, sizeof word, "e%d", WEXITSTATUS(status));
        }
    }
    if (mover > 0) {
        // A case may kill all there is; the mover itself ends only when the kernel refuses what it should take.
        kill(mover, SIGKILL);
        if (waitpid(mover, &status, 0) == mover && WIFEXITED(status))
            snprintf(word, sizeof word, "m%d", WEXITSTATUS(status));
    }
    if (chdir("/") != 0) _exit(5);
    clean_up();
    size_t length[2];
    char* data[2];
    for (int i = 0; i < 2; ++i) {
        data[i] = read_whole(kOutputs[i], kOutputLimit, &length[i]);
        unlink(kOutputs[i]);
    }
    snprintf(line, sizeof line, "case %s %s %zu %zu\n", name, word, length[0], length[1]);
    write_all(line, strlen(line));
    for (int i = 0; i < 2; ++i) {
        write_all(data[i], length[i]);
        free(data[i]);
    }
    write_all("\n", 1);
}

int main(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    // On the oracle we are not the first process, but shall collect orphans as on Farcall, where we are.
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    size_t length;
    char* cases = read_whole(kCases, (size_t)1 << 30, &length);
    if (!cases || length == 0) {
        fprintf(stderr, "batch_runner: no cases in %s\n", kCases);
        return 1;
    }
    size_t seed_length;
    if (access(kMoving, R_OK) == 0) seed = read_whole(kMoving, 32, &seed_length);
    own_mounts = count_mounts(0);
    int count = 0;
    for (char* at = cases; at < cases + length; ++count) {
        const char* name = at;
        const char* timeout = name + strlen(name) + 1;
        const char* command = timeout + strlen(timeout) + 1;
        at = (char*)command + strlen(command) + 1;
        run_case(name, atoi(timeout), command);
    }
    char line[32];
    snprintf(line, sizeof line, "end %d\n", count);
    write_all(line, strlen(line));
    return 0;
}
