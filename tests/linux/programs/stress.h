// SPDX-License-Identifier: MIT
// What the stress programs share: one body in many processes at once. Each of their tests has one right answer whatever
// the order; they look for lost wake-ups, stale translations, torn counts and objects used after their end.
#ifndef FARCALL_TESTS_LINUX_STRESS_H
#define FARCALL_TESTS_LINUX_STRESS_H

#include "check.h"

// Runs `body(index)` in `count` processes at once and prints how many returned 0.
static void together(const char* what, int count, int (*body)(int)) {
    int gate[2];
    NEED(pipe(gate) == 0);
    pid_t pids[64];
    for (int i = 0; i < count; i++) {
        pids[i] = fork();
        NEED(pids[i] >= 0);
        if (pids[i] == 0) {
            char c;
            close(gate[1]);
            if (read(gate[0], &c, 1) != 0) _exit(90);
            _exit(body(i));
        }
    }
    close(gate[0]);
    close(gate[1]);
    int good = 0;
    for (int i = 0; i < count; i++) {
        int status;
        if (waitpid(pids[i], &status, 0) == pids[i] && status == 0)
            good++;
        else
            say_status(what, status);
    }
    say("%s: %d of %d\n", what, good, count);
}

#endif
