// SPDX-License-Identifier: MIT
// Too many processes: the limit holds, nothing else suffers, and all can be removed again.
#include "check.h"

// Each test has a user of its own: the limit counts all processes of a user.
static void as_user(uid_t user, int limit) {
    NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){(rlim_t)limit, (rlim_t)limit}) == 0);
    NEED(setgid(user) == 0 && setuid(user) == 0);
}

TEST(limit_stops_it) {
    CHILD("bomber") {
        as_user(4001, 20);
        pid_t children[40];
        int made = 0;
        for (int i = 0; i < 40; i++) {
            pid_t pid = fork();
            if (pid == 0)
                for (;;) pause();
            if (pid < 0) {
                say("after %d: %s\n", made, errno_name(errno));
                break;
            }
            children[made++] = pid;
        }
        CALL(fork());
        for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
        for (int i = 0; i < made; i++) waitpid(children[i], NULL, 0);
        pid_t again = fork();
        if (again == 0) _exit(5);
        reap("a child after they went", again);
    }
}

TEST(children_of_children) {
    // Every process forks as often as it can; they end by a pipe that is closed.
    int hold[2], count[2];
    NEED(pipe(hold) == 0 && pipe(count) == 0);
    CHILD("bomber") {
        close(hold[1]);
        as_user(4002, 30);
        for (int i = 0; i < 200; i++) {
            pid_t pid = fork();
            if (pid < 0) break;
            if (pid == 0) {
                NEED(write(count[1], "x", 1) == 1);
                i = 190;
            }
        }
        sleep_ms(100);
        _exit(0);
    }
    close(count[1]);
    close(hold[1]);
    int n = 0;
    char c;
    while (read(count[0], &c, 1) == 1) n++;
    FACT("at least as many as the limit allowed", n >= 29);
    CHILD("others can fork") { CHILD("twice") say("yes\n"); }
}

TEST(exec_keeps_within_the_limit) {
    CHILD("child") {
        as_user(4003, 3);
        pid_t a = fork();
        if (a == 0)
            for (;;) pause();
        pid_t b = fork();
        if (b == 0) {
            execl("/bin/busybox", "true", (char*)NULL);
            _exit(9);
        }
        reap("exec", b);
        kill(a, SIGKILL);
        reap("other", a);
    }
}

TEST(root_is_not_limited) {
    CHILD("child") {
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 1}) == 0);
        CHILD("root's child") say("ran\n");
    }
}
