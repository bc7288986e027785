// SPDX-License-Identifier: MIT
// route=adaptive: a class of calls moves to another CPU when it is decidedly better off there, and back when it is not.
// Two threads share CPU 0. One reads much of a file at a time, which takes hundreds of microseconds; the other is always
// ready. A caller that waits for another CPU's work gives its own away after a few: it is held up much shorter. Alone, and with
// calls that read nothing, the way there is many times the call. So what is decided depends on no chance, only when: both
// are awaited, with /proc/farcall/modules' count of calls that other CPUs served. Elsewhere (Linux, other routes, or while
// modules are placed by hand) there is nothing to await, and the calls are only made.
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

enum { kLong = 256 * 1024 };

struct seen {
    int adaptive, placed, remote;  // remote: the class of pread
    long served, migrations;       // served: by all CPUs but the first
    long inline_ns, remote_ns;     // measured means of the class of pread
    char roads[4096];              // what was measured of each class
};
static struct seen look(void) {
    static char text[16384];
    struct seen s = {0};
    int fd = open("/proc/farcall/modules", O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    if (fd >= 0)
        for (ssize_t n; (n = read(fd, text + used, sizeof text - 1 - used)) > 0;) used += (size_t)n;
    if (fd >= 0) close(fd);
    text[used] = 0;
    int header = 1;
    for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), header = 0) {
        char place[32];
        long migrations, cpu, served;
        if (strncmp(line, "adaptive ", 9) == 0)
            s.adaptive = 1;
        else if (sscanf(line, "class %ld", &cpu) == 1) {
            snprintf(s.roads + strlen(s.roads), sizeof s.roads - strlen(s.roads), "%s\n", line);
            s.remote |= cpu == SYS_pread64 && strcmp(line + strlen(line) - 7, " remote") == 0;
            if (cpu == SYS_pread64) sscanf(line, "class %*d inline_ns %ld remote_ns %ld", &s.inline_ns, &s.remote_ns);
        } else if (sscanf(
                       line,
                       "cpu %ld user_ns %*d kernel_ns %*d idle_ns %*d calls_made %*d calls_kept %*d calls_served %ld",
                       &cpu, &served) == 2)
            s.served += cpu != 0 ? served : 0;
        else if (!header && sscanf(line, "%*s %31s %*s %*d %*d %*d %*d %*d %*d %*d %ld", place, &migrations) == 2) {
            s.migrations += migrations;
            s.placed |= strcmp(place, "inline") != 0;
        }
    }
    return s;
}

static volatile int stop;
static void on_first_cpu(void) {
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    NEED(sched_setaffinity(0, sizeof first, &first) == 0);
}
static void* always_ready(void* data) {
    on_first_cpu();
    while (!stop) {
    }
    return data;
}

// Makes calls of this size until their class is another CPU's and enough of them were served there (a busy host's CPU may
// be late for most); or until none but the samples are. Where nothing can be awaited, a few.
static int await_road(size_t size, int calls, int elsewhere) {
    static char bytes[kLong];
    static int file = -1;
    if (file < 0) {
        NEED((file = open("file", O_RDWR | O_CREAT | O_EXCL, 0600)) >= 0);
        NEED(write(file, bytes, sizeof bytes) == (ssize_t)sizeof bytes);
    }
    struct seen start = look();
    long there = 0;  // while the class was the other CPU's
    for (long until = now_ms() + 40000; now_ms() < until;) {
        struct seen before = look();
        for (int i = 0; i < calls; i++) NEED(pread(file, bytes, size, 0) == (ssize_t)size);
        struct seen after = look();
        if (!after.adaptive || after.placed || after.migrations != start.migrations) return 1;
        long served = after.served - before.served;
        if (before.remote && after.remote) there += served;
        if (elsewhere ? there >= calls : served < calls / 10) return 1;
    }
    struct seen now = look();
    // On a host whose other CPU is busy it is right to stay: the call takes longer there, by the kernel's own measure.
    if (elsewhere && now.inline_ns != 0 && now.remote_ns > now.inline_ns) return 1;
    say("served elsewhere %ld, then %ld\n%s", now.served - start.served, there, now.roads);
    return 0;
}
TEST(there_and_back) {
    on_first_cpu();
    for (int round = 0; round < 2; round++) {
        pthread_t other;
        stop = 0;
        NEED(pthread_create(&other, NULL, always_ready, NULL) == 0);
        FACT("long calls, with another thread ready, are made elsewhere", await_road(kLong, 40, 1));
        stop = 1;
        NEED(pthread_join(other, NULL) == 0);
        FACT("short calls, alone, are made here", await_road(0, 2000, 0));
    }
}
