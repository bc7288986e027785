// SPDX-License-Identifier: MIT
// A program that executes itself again and again with a counter as its argument.
#include "check.h"

static void again(const char* helper, int left, const char* base) {
    char number[16];
    snprintf(number, sizeof number, "%d", left);
    execl(test_argv[0], test_argv[0], helper, number, base, (char*)NULL);
    say("exec: %s\n", errno_name(errno));
    _exit(1);
}

HELPER(step) {
    int left = atoi(test_argv[2]);
    if (left > 0) again("step", left - 1, test_argv[3]);
    FACT("same pid", getpid() == atoi(test_argv[3]));
    CALL(open("/dev/null", O_RDONLY));
    _exit(17);
}
TEST(thousand) {
    CHILD("child") {
        char pid[16];
        snprintf(pid, sizeof pid, "%d", getpid());
        again("step", 1000, pid);
    }
}

HELPER(keep_descriptor) {
    int left = atoi(test_argv[2]);
    if (left > 0) again("keep_descriptor", left - 1, "x");
    char text[8] = "";
    CALL(read(9, text, 5));
    say("%s\n", text);
    _exit(0);
}
TEST(descriptor_survives) {
    make_file("f", "hello", 0600);
    CHILD("child") {
        dup2(open("f", O_RDONLY | O_CLOEXEC), 9);
        again("keep_descriptor", 50, "x");
    }
}

HELPER(forever) { again("forever", 1, "x"); }
TEST(without_end_is_killed) {
    pid_t pid = fork();
    if (pid == 0) again("forever", 1, "x");
    sleep_ms(200);
    CALL(kill(pid, SIGKILL));
    reap("child", pid);
}
