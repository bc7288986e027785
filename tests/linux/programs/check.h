// SPDX-License-Identifier: MIT
// Shared by the guest test programs. A program is a set of tests: `PROGRAM NAME` runs one, `PROGRAM` lists them.
// A test prints facts (results, errno names, states) that do not change from run to run; what is right is what
// Linux 6.1 printed when the outputs were recorded. So no pids, times, addresses or inode numbers are printed, only
// relations between them. Output is written at once, without stdio, so that fork and kill lose and repeat nothing.
#ifndef FARCALL_TESTS_LINUX_CHECK_H
#define FARCALL_TESTS_LINUX_CHECK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

UNUSED static int test_argc;
UNUSED static char** test_argv;

struct test {
    const char* name;
    void (*run)(void);
    int helper;
    struct test* next;
};
static struct test *first_test, **last_test = &first_test;

#define TEST_ENTRY(id, is_helper)                                      \
    static void test_##id(void);                                       \
    static struct test entry_##id = {#id, test_##id, is_helper, NULL}; \
    __attribute__((constructor)) static void register_##id(void) {     \
        *last_test = &entry_##id;                                      \
        last_test = &entry_##id.next;                                  \
    }                                                                  \
    static void test_##id(void)
#define TEST(id) TEST_ENTRY(id, 0)
// A helper is run by a test of the same program through exec and is not listed.
#define HELPER(id) TEST_ENTRY(id, 1)

UNUSED __attribute__((format(printf, 1, 2))) static void say(const char* format, ...) {
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length > (int)sizeof line - 1) length = (int)sizeof line - 1;
    for (int done = 0; done < length;) {
        ssize_t n = write(1, line + done, (size_t)(length - done));
        if (n < 0 && errno != EINTR) return;
        if (n > 0) done += (int)n;
    }
}

UNUSED static const char* errno_name(int number) {
    static const struct {
        int number;
        const char* name;
    } names[] = {
#define E(x) {x, #x}
        E(EPERM),           E(ENOENT),       E(ESRCH),   E(EINTR),     E(EIO),         E(ENXIO),     E(E2BIG),
        E(ENOEXEC),         E(EBADF),        E(ECHILD),  E(EAGAIN),    E(ENOMEM),      E(EACCES),    E(EFAULT),
        E(ENOTBLK),         E(EBUSY),        E(EEXIST),  E(EXDEV),     E(ENODEV),      E(ENOTDIR),   E(EISDIR),
        E(EINVAL),          E(ENFILE),       E(EMFILE),  E(ENOTTY),    E(ETXTBSY),     E(EFBIG),     E(ENOSPC),
        E(ESPIPE),          E(EROFS),        E(EMLINK),  E(EPIPE),     E(EDOM),        E(ERANGE),    E(EDEADLK),
        E(ENAMETOOLONG),    E(ENOLCK),       E(ENOSYS),  E(ENOTEMPTY), E(ELOOP),       E(EOVERFLOW), E(ENOTSOCK),
        E(EOPNOTSUPP),      E(ETIMEDOUT),    E(ENODATA), E(EALREADY),  E(EINPROGRESS), E(ECANCELED), E(EOWNERDEAD),
        E(ENOTRECOVERABLE), E(EDESTADDRREQ), E(EUSERS),  E(ELIBBAD),
#undef E
    };
    static char other[16];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].number == number) return names[i].name;
    snprintf(other, sizeof other, "E%d", number);
    return other;
}

UNUSED static const char* signal_name(int number) {
    static const char* const names[] = {
        "0",         "SIGHUP",  "SIGINT",    "SIGQUIT", "SIGILL",   "SIGTRAP", "SIGABRT", "SIGBUS",
        "SIGFPE",    "SIGKILL", "SIGUSR1",   "SIGSEGV", "SIGUSR2",  "SIGPIPE", "SIGALRM", "SIGTERM",
        "SIGSTKFLT", "SIGCHLD", "SIGCONT",   "SIGSTOP", "SIGTSTP",  "SIGTTIN", "SIGTTOU", "SIGURG",
        "SIGXCPU",   "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",   "SIGPWR",  "SIGSYS"};
    static char other[16];
    if (number >= 0 && number < 32) return names[number];
    snprintf(other, sizeof other, "SIG%d", number);
    return other;
}

UNUSED static void say_result(const char* text, long result, int error, int as_value) {
    if (result == -1 && error)
        say("%s -> %s\n", text, errno_name(error));
    else if (as_value)
        say("%s -> %ld\n", text, result);
    else
        say("%s -> ok\n", text);
}
// CALL shows the value of a call, OKAY only that it did not fail; both show the errno of a failure.
#define CALL(expression)                            \
    do {                                            \
        errno = 0;                                  \
        long result_ = (long)(expression);          \
        say_result(#expression, result_, errno, 1); \
    } while (0)
#define OKAY(expression)                            \
    do {                                            \
        errno = 0;                                  \
        long result_ = (long)(expression);          \
        say_result(#expression, result_, errno, 0); \
    } while (0)
#define SHOW(expression) say("%s = %ld\n", #expression, (long)(expression))
#define IS(expression) say("%s: %s\n", #expression, (expression) ? "yes" : "no")
#define FACT(text, truth) say("%s: %s\n", text, (truth) ? "yes" : "no")
// For what the test itself needs and does not examine.
#define NEED(expression)                                                               \
    do {                                                                               \
        if (!(expression)) {                                                           \
            say("line %d: %s failed: %s\n", __LINE__, #expression, errno_name(errno)); \
            _exit(99);                                                                 \
        }                                                                              \
    } while (0)

UNUSED static void say_status(const char* who, int status) {
    if (WIFEXITED(status))
        say("%s: exited %d\n", who, WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        say("%s: killed by %s\n", who, signal_name(WTERMSIG(status)));
    else if (WIFSTOPPED(status))
        say("%s: stopped by %s\n", who, signal_name(WSTOPSIG(status)));
    else if (WIFCONTINUED(status))
        say("%s: continued\n", who);
    else
        say("%s: status %#x\n", who, (unsigned)status);
}

// Waits for one child to end and prints how.
UNUSED static int reap(const char* who, pid_t pid) {
    int status = 0;
    pid_t got;
    do got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        say("%s: wait %s\n", who, errno_name(errno));
        return -1;
    }
    if (pid > 0 && got != pid) say("%s: wait returned another child\n", who);
    say_status(who, status);
    return status;
}

// CHILD("name") { ... } runs its body in a child, which exits 0 at the end of it, and says how the child ended.
#define CHILD(who)                                                                  \
    for (pid_t child_pid_ = fork(), child_once_ = 1; child_once_;                   \
         child_once_ = 0, child_pid_ == 0 ? _exit(0) : (void)reap(who, child_pid_)) \
        if (child_pid_ == 0)

UNUSED static void sleep_ms(long milliseconds) {
    struct timespec t = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&t, &t) < 0 && errno == EINTR) {
    }
}
UNUSED static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

UNUSED static void on_signal(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    NEED(sigaction(number, &action, NULL) == 0);
}

// One touch of memory: "ok", or the signal and code of the fault.
static sigjmp_buf touch_jump;
static volatile int touch_signal, touch_code;
static void* volatile touch_address;
UNUSED static void touch_handler(int number, siginfo_t* info, void* context) {
    (void)context;
    touch_signal = number;
    touch_code = info->si_code;
    touch_address = info->si_addr;
    siglongjmp(touch_jump, 1);
}
UNUSED static const char* touch(volatile void* address, int write) {
    struct sigaction action, old_segv, old_bus;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = touch_handler;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &action, &old_segv);
    sigaction(SIGBUS, &action, &old_bus);
    const char* volatile verdict = "ok";
    if (sigsetjmp(touch_jump, 1) == 0) {
        volatile char* byte = (volatile char*)address;
        char value = *byte;
        if (write) *byte = value;
    } else if (touch_signal == SIGSEGV) {
        verdict = touch_code == SEGV_MAPERR   ? "SIGSEGV MAPERR"
                  : touch_code == SEGV_ACCERR ? "SIGSEGV ACCERR"
                                              : "SIGSEGV other";
    } else {
        verdict = touch_code == BUS_ADRERR ? "SIGBUS ADRERR" : "SIGBUS other";
    }
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGBUS, &old_bus, NULL);
    return verdict;
}
#define TOUCH_READ(address) say("read %s: %s\n", #address, touch((volatile void*)(address), 0))
#define TOUCH_WRITE(address) say("write %s: %s\n", #address, touch((volatile void*)(address), 1))

UNUSED static int make_file(const char* path, const char* text, mode_t mode) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return -1;
    size_t length = strlen(text);
    int bad = write(fd, text, length) != (ssize_t)length || fchmod(fd, mode) < 0;
    close(fd);
    return bad ? -1 : 0;
}
// The first bytes of a file on one line, "<ERRNO>" if it cannot be read.
UNUSED static void show_file(const char* path) {
    char text[512];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n < 0) {
        say("%s: <%s>\n", path, errno_name(errno));
    } else {
        text[n] = 0;
        for (ssize_t i = 0; i < n; i++)
            if (text[i] == '\n' || text[i] == 0) text[i] = text[i] ? '|' : '.';
        say("%s: \"%s\"\n", path, text);
    }
    if (fd >= 0) close(fd);
}

int main(int argc, char** argv) {
    test_argc = argc;
    test_argv = argv;
    if (argc < 2) {
        for (struct test* t = first_test; t; t = t->next)
            if (!t->helper) say("%s\n", t->name);
        return 0;
    }
    for (struct test* t = first_test; t; t = t->next) {
        if (strcmp(t->name, argv[1]) != 0) continue;
        t->run();
        return 0;
    }
    say("no test %s\n", argv[1]);
    return 98;
}

#endif
