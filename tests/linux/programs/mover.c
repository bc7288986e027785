// SPDX-License-Identifier: MIT
// mover SEED [NAME]: until it is killed, about every 2 ms moves a module to one CPU, two CPUs or inline, or changes its policy,
// its batch size or how long idle module CPUs spin, and now and then reads the file back. Runs during the guest cases
// (batch_runner.c) and alone. Ends only if the kernel does what it should not: status 3 if there are no modules here, 4 if a
// good command is refused, 5 if a bad one is taken, 6 if what is read is not a report.
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char kFile[] = "/proc/farcall/modules";
static uint64_t state;

// splitmix64: any seed is good.
static uint32_t below(uint32_t n) {
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ (z >> 31)) % n);
}

// The number of CPUs that the report names; 0 if it is no report.
static int read_report(void) {
    static char text[16384];
    size_t used = 0;
    int fd = open(kFile, O_RDONLY | O_CLOEXEC), cpus = 0;
    if (fd < 0) return 0;
    for (ssize_t n; (n = read(fd, text + used, sizeof text - 1 - used)) > 0;) used += (size_t)n;
    close(fd);
    text[used] = 0;
    if (strncmp(text, "module place policy ", 20) != 0 || !strstr(text, "\ntotal_remote ")) return 0;
    for (char* at = text; (at = strstr(at, "\ncpu ")); ++at) ++cpus;
    return cpus;
}

// 0, or the errno.
static int command(const char* line) {
    int fd = open(kFile, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    int error = write(fd, line, strlen(line)) < 0 ? errno : 0;
    close(fd);
    return error;
}

int main(int argc, char** argv) {
    static const char* const modules[] = {"task", "mm", "fs", "net", "sync", "time"};
    static const char* const policies[] = {"fifo", "cohort", "priority", "controller"};
    static const char* const bad[] = {"fs 99", "fs policy none", "none 0", "fs batch 0", "fs", "fs 0 0", "spin x"};
    state = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    for (const char* c = argc > 2 ? argv[2] : ""; *c; ++c) state = state * 31 + (unsigned char)*c;
    int cpus = read_report();
    if (cpus == 0) return 3;
    for (;;) {
        char line[64];
        const char* module = modules[below(6)];
        switch (below(16)) {
            case 0: snprintf(line, sizeof line, "%s policy %s", module, policies[below(4)]); break;
            case 1: snprintf(line, sizeof line, "%s policy %s\n", module, policies[below(4)]); break;
            case 2: snprintf(line, sizeof line, "%s batch %u", module, 1 + below(32)); break;
            case 3: snprintf(line, sizeof line, "spin %u", below(3) * 50); break;
            case 4:
                if (command(bad[below(sizeof bad / sizeof *bad)]) != EINVAL) return 5;
                continue;
            case 5:
                if (read_report() != cpus) return 6;
                continue;
            case 6:
            case 7:
            case 8: snprintf(line, sizeof line, "%s inline", module); break;
            case 9:
            case 10:
                snprintf(line, sizeof line, "%s %u+%u", module, below((uint32_t)cpus), below((uint32_t)cpus));
                break;
            default: snprintf(line, sizeof line, "%s %u", module, below((uint32_t)cpus)); break;
        }
        if (command(line) != 0) return 4;
        struct timespec wait = {0, 1000000 + (long)below(2000000)};
        nanosleep(&wait, NULL);
    }
}
