// SPDX-License-Identifier: MIT
// `time1 PROGRAM ARGS...`: starts one process and waits for it. Prints "elapsed NS", on CLOCK_MONOTONIC from before
// fork to after wait. Exit status: that of the program, 128 + N for signal N, or 127 if it could not be started.
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static unsigned long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (unsigned long long)t.tv_sec * 1000000000ull + (unsigned long long)t.tv_nsec;
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "time1 PROGRAM ARGS...\n");
        return 2;
    }
    unsigned long long start = now();
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child == 0) {
        execvp(argv[1], argv + 1);
        perror(argv[1]);
        _exit(127);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
        perror("waitpid");
        return 1;
    }
    printf("elapsed %llu\n", now() - start);
    fflush(stdout);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
