// SPDX-License-Identifier: MIT
// The guest's side of `farcall bench task0 ...`: runs works one after another with bench/time1 and bench/timen, and
// prints how long each took and how many calls other CPUs executed during that time. The same binary runs on Farcall
// over every route and on Linux, as the first process or as a child of it.
//
// `routes [--pin] [--ping] [--thesis] [--repeats N] [--percent N] WORK...`
//   --pin      user code on CPU 0 only     --ping     bench/ping before and after the works
//   --percent  of the usual counts         --thesis   the thesis's counts and files instead of the usual ones
// Output, one line each:
//   clock NS                  CLOCK_MONOTONIC when the line was written: first, and again before the last line
//   ping NS | ping -
//   run WORK PROCESSES COUNT NS OWN,OWN... MADE COUNTED HOME KNOWN BEYOND
//     NS is the time, OWN that of each process. MADE, COUNTED and HOME cover everything that ran during that time, and
//     are exact: the system calls and page faults for modules, as counted by the CPUs where they trap; those that the
//     modules' CPUs executed; and those that other CPUs executed. KNOWN is the number of calls of the COUNT repetitions
//     as counted by the program. BEYOND is how many more calls the modules' CPUs executed than with the base count. An
//     unknown number is "-".
//   failed WORK TEXT
//   done
//
// Markers for the plugins (tools/count_plugin/marker.h) are set around each measured run (row 2) and around the last run with
// the base count before them (row 1).
//
// For BEYOND, the same work first runs with its base count (0, or one file), which also warms it up.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "bench/files.h"
#include "tools/count_plugin/marker.h"

// The counts are chosen so that a run takes some 100 ms inline under TCG.
struct work {
    const char *name, *kind;
    int processes;
    long count, base;
};
static const struct work works[] = {
    {"task0", "task0", 1, 500000, 0},   {"task1", "task1", 1, 40, 0},      {"task2", "task2", 1, kFiles, 1},
    {"task3", "task0", 2, 500000, 0},   {"task4", "task1", 2, 40, 0},      {"task5", "task2", 2, kFiles, 1},
    {"mix", "mix", 2, 2000, 0},         {"pipe", "pipe", 1, 50000, 0},     {"read", "read", 1, 200000, 0},
    {"stat", "stat", 1, 150000, 0},     {"pipe_two", "pipe", 2, 50000, 0}, {"read_two", "read", 2, 200000, 0},
    {"stat_two", "stat", 2, 150000, 0}, {"long", "long", 1, 10000, 0},     {"long_two", "long", 2, 10000, 0},
};
enum { kMostProcesses = 2 };
// The thesis's: twice 10,000,000 calls; 100 passes; files that make 44,000 reads of 1 KiB (11 each, the last gives the end).
enum { kThesisCalls = 10000000, kThesisPasses = 100, kThesisFiles = 4000 };
enum { kBaseRow = 1, kRunRow = 2 };

static long count_of(const struct work* work, int thesis) {
    if (!thesis) return work->count;
    if (strcmp(work->kind, "task0") == 0) return kThesisCalls;
    if (strcmp(work->kind, "task1") == 0) return kThesisPasses;
    return strcmp(work->kind, "task2") == 0 ? kThesisFiles : work->count;
}

struct counters {
    int known;
    unsigned long long made, counted, home;
};
struct timing {
    unsigned long long elapsed, own[kMostProcesses], calls;
    int owns;
    struct counters during;
};
static char problem[160];

static void say(const char* line) {
    for (size_t left = strlen(line); left > 0;) {
        ssize_t n = write(1, line, left);
        if (n <= 0) _exit(1);
        line += n;
        left -= (size_t)n;
    }
}

// The CPUs of a place, as a mask: "1", "2+3", "inline".
static unsigned long cpus_of(const char* place) {
    unsigned long set = 0;
    char* end;
    for (;; place = end + 1) {
        unsigned long cpu = strtoul(place, &end, 10);
        if (end == place || cpu >= 8 * sizeof set) return 0;
        set |= 1ul << cpu;
        if (*end != '+') return set;
    }
}

// The kernel's own counts. The line of a module begins with "NAME PLACE"; that of a CPU contains "calls_made N
// calls_kept N calls_served N".
static struct counters read_counters(void) {
    static char text[8192];
    struct counters result = {0, 0, 0, 0};
    unsigned long modules = 0;
    size_t used = 0;
    int fd = open("/proc/farcall/modules", O_RDONLY);
    if (fd < 0) return result;
    for (ssize_t n; used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    close(fd);
    text[used] = 0;
    char* rest = text;
    strsep(&rest, "\n");  // the header
    for (char* line; (line = strsep(&rest, "\n"));) {
        char name[32], place[64];
        unsigned cpu;
        const char* calls = strstr(line, " calls_made ");
        unsigned long long made, kept, served;
        if (calls && sscanf(line, "cpu %u ", &cpu) == 1 &&
            sscanf(calls, " calls_made %llu calls_kept %llu calls_served %llu", &made, &kept, &served) == 3) {
            result.known = 1;
            result.made += made;
            result.home += kept;
            *(modules >> cpu & 1 ? &result.counted : &result.home) += served;
        } else if (sscanf(line, "%31s %63s", name, place) == 2) {
            modules |= cpus_of(place);
        }
    }
    return result;
}

// Runs the timing tool and parses its output and that of the programs. Returns 0, or -1 with `problem` set.
static int run_timed(const struct work* work, long count, struct timing* timing) {
    char number[24], processes[8];
    snprintf(number, sizeof number, "%ld", count);
    snprintf(processes, sizeof processes, "%d", work->processes);
    char* one[] = {"/bench/time1", "/bench/work", (char*)work->kind, number, NULL};
    char* many[] = {"/bench/timen", processes, "/bench/work", (char*)work->kind, number, NULL};
    char** words = work->processes == 1 ? one : many;
    int ends[2], status = 0;
    memset(timing, 0, sizeof *timing);
    const struct counters before = read_counters();
    if (pipe(ends) != 0) return snprintf(problem, sizeof problem, "pipe: %s", strerror(errno)), -1;
    pid_t child = fork();
    if (child < 0) return snprintf(problem, sizeof problem, "fork: %s", strerror(errno)), -1;
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execv(words[0], words);
        _exit(127);
    }
    close(ends[1]);
    char text[512];
    size_t used = 0;
    for (ssize_t n; used < sizeof text - 1 && (n = read(ends[0], text + used, sizeof text - 1 - used)) > 0;)
        used += (size_t)n;
    text[used] = 0;
    close(ends[0]);
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        snprintf(problem, sizeof problem, "%s ended with status 0x%x", words[0], (unsigned)status);
        return -1;
    }
    const struct counters after = read_counters();
    timing->during = (struct counters){after.known, after.made - before.made, after.counted - before.counted,
                                       after.home - before.home};
    char* rest = text;
    for (char* line; (line = strsep(&rest, "\n"));) {
        unsigned long long value;
        if (sscanf(line, "elapsed %llu", &value) == 1) timing->elapsed = value;
        if (sscanf(line, "own %llu", &value) == 1 && timing->owns < kMostProcesses) timing->own[timing->owns++] = value;
        if (sscanf(line, "calls %llu", &value) == 1) timing->calls += value;
    }
    if (work->processes == 1) timing->own[timing->owns++] = timing->elapsed;
    if (timing->elapsed == 0 || timing->owns != work->processes) {
        snprintf(problem, sizeof problem, "%s printed no time", words[0]);
        return -1;
    }
    return 0;
}

static void run_work(const struct work* work, long count, int repeats) {
    struct timing warm, base, timing;
    int ok = run_timed(work, work->base, &warm) == 0;
    FARCALL_MARK_START(kBaseRow);
    ok = ok && run_timed(work, work->base, &base) == 0;
    FARCALL_MARK_STOP(kBaseRow);
    for (int i = 0; ok && i < repeats; ++i) {
        FARCALL_MARK_START(kRunRow);
        ok = run_timed(work, count, &timing) == 0;
        if (!ok) break;
        FARCALL_MARK_STOP(kRunRow);
        char line[400], own[64] = "", known[24] = "-", beyond[24] = "-";
        for (int k = 0; k < timing.owns; ++k)
            snprintf(own + strlen(own), sizeof own - strlen(own), "%s%llu", k ? "," : "", timing.own[k]);
        int at = snprintf(line, sizeof line, "run %s %d %ld %llu %s ", work->name, work->processes, count,
                          timing.elapsed, own);
        size_t left = sizeof line - (size_t)at;
        // busybox does not print how many calls it makes.
        if (strcmp(work->kind, "task2") != 0) snprintf(known, sizeof known, "%llu", timing.calls);
        const struct counters* during = &timing.during;
        if (during->known) {
            snprintf(beyond, sizeof beyond, "%lld", (long long)(during->counted - base.during.counted));
            snprintf(line + at, left, "%llu %llu %llu %s %s\n", during->made, during->counted, during->home, known,
                     beyond);
        } else {
            snprintf(line + at, left, "- - - %s -\n", known);
        }
        say(line);
    }
    if (!ok) {
        char line[256];
        snprintf(line, sizeof line, "failed %s %s\n", work->name, problem);
        say(line);
    }
}

static void run_ping(void) {
    pid_t child = fork();
    if (child == 0) {
        execl("/bench/ping", "ping", (char*)NULL);
        _exit(127);
    }
    if (child > 0) waitpid(child, NULL, 0);
}

static void say_clock(void) {
    struct timespec t;
    char line[48];
    clock_gettime(CLOCK_MONOTONIC, &t);
    snprintf(line, sizeof line, "clock %lld\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec);
    say(line);
}

int main(int argc, char** argv) {
    int ping = 0, thesis = 0, repeats = 1, at = 1;
    long percent = 100;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; ++at) {
        if (strcmp(argv[at], "--ping") == 0) {
            ping = 1;
        } else if (strcmp(argv[at], "--thesis") == 0) {
            thesis = 1;
        } else if (strcmp(argv[at], "--pin") == 0) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(0, &set);
            if (sched_setaffinity(0, sizeof set, &set) != 0) {
                perror("routes: sched_setaffinity");
                return 1;
            }
        } else if (strcmp(argv[at], "--repeats") == 0 && at + 1 < argc) {
            repeats = atoi(argv[++at]);
        } else if (strcmp(argv[at], "--percent") == 0 && at + 1 < argc) {
            percent = atol(argv[++at]);
        } else {
            fprintf(stderr, "routes: unknown option %s\n", argv[at]);
            return 2;
        }
    }
    if (thesis) {
        char files[16];
        snprintf(files, sizeof files, "%d", kThesisFiles);
        setenv("BENCH_FILES", files, 1);
    }
    if (at < argc && make_many_files() != 0) return 1;
    say_clock();
    if (ping) run_ping();
    for (; at < argc; ++at) {
        const struct work* found = NULL;
        for (size_t i = 0; i < sizeof works / sizeof *works; ++i) {
            if (strcmp(works[i].name, argv[at]) == 0) found = &works[i];
        }
        if (!found) {
            fprintf(stderr, "routes: unknown work %s\n", argv[at]);
            return 2;
        }
        long count = count_of(found, thesis) * percent / 100;
        if (count <= found->base) count = found->base + 1;
        run_work(found, count, repeats);
    }
    if (ping) run_ping();
    say_clock();
    say("done\n");
    return 0;
}
