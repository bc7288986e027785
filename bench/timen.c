// SPDX-License-Identifier: MIT
// `timen N PROGRAM ARGS...`: N processes of the same program, released together by a barrier. Prints "own NS" for each,
// in the order in which they end, then "elapsed NS" until the last one; all on CLOCK_MONOTONIC from the opening of the
// barrier. By then the processes exist and wait in read(2) on one pipe; each starts the program when that pipe ends.
// Exit status: that of the first process that failed, as printed by time1, else 0.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kMost = 64 };

static unsigned long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000ull + (unsigned long long)t.tv_nsec;
}

int main(int argc, char** argv) {
    int count = argc > 2 ? atoi(argv[1]) : 0, barrier[2], arrived[2];
    if (count < 1 || count > kMost) {
        fprintf(stderr, "timen N PROGRAM ARGS... (N from 1 to %d)\n", kMost);
        return 2;
    }
    if (pipe(barrier) != 0 || pipe(arrived) != 0) {
        perror("pipe");
        return 1;
    }
    for (int i = 0; i < count; ++i) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child > 0) continue;
        char byte = 0;
        close(barrier[1]);
        close(arrived[0]);
        if (write(arrived[1], &byte, 1) != 1) _exit(127);
        while (read(barrier[0], &byte, 1) > 0) {
        }
        close(barrier[0]);
        close(arrived[1]);
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    close(barrier[0]);
    char byte;
    for (int i = 0; i < count; ++i) {
        if (read(arrived[0], &byte, 1) != 1) return 1;
    }
    unsigned long long own[kMost], start = now();
    close(barrier[1]);
    int worst = 0;
    for (int i = 0; i < count; ++i) {
        int status = 0;
        if (waitpid(-1, &status, 0) < 0) {
            perror("waitpid");
            return 1;
        }
        own[i] = now() - start;
        int result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (worst == 0) worst = result;
    }
    for (int i = 0; i < count; ++i) printf("own %llu\n", own[i]);
    printf("elapsed %llu\n", own[count - 1]);
    fflush(stdout);
    return worst;
}
