// SPDX-License-Identifier: MIT
// fuzz SEED CALLS: random system calls with arguments of the right kinds, by several threads of short-lived processes, as
// root and as a user (cli/fuzz_test.cpp runs it in batches). Prints
//   progress N            now and then
//   memory START END      free KiB before and after, both when all processes are gone and the files removed
//   call NAME ERRORS ok=N E:N ...     for each row of calls.h: how often it succeeded, and gave which error number
//   killed N              workers that had to be killed because a call did not end when a signal came
//   done N                last
// A worker must not be able to destroy what runs and counts it: it has none of its descriptors; counters are memory it
// shares and gets no pointer to, with room without access around it; addresses for calls that change mappings lie in an
// arena of its own; it names no process but its own and its children to calls that send signals. Worker code makes raw
// system calls and uses no thread pointer.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "calls.h"

static unsigned limit;
static uint64_t seed;
static const char kDir[] = "/tmp/x";

static void count(int row, long result) {
    long error = result < 0 && result > -4096 ? -result : 0;
    ++shared->counts[row][error < kErrors ? error : kErrors - 1];
}

// A call that ends its caller where it succeeds, made by a child. Success is shown by the status.
static void in_a_child(struct self* s, int row, int want, int (*what)(struct self*, int)) {
    long child = raw(SYS_fork, 0, 0, 0, 0, 0, 0);
    if (child == 0) raw(SYS_exit_group, what(s, row), 0, 0, 0, 0, 0);
    if (child < 0) return;
    int* status = (int*)s->pool;
    long got;
    do *status = -1, got = raw(SYS_wait4, child, (long)status, 0, 0, 0, 0);
    while (got == -EINTR);
    if (got == child && *status == want << 8) count(row, 0);
}
static int end(struct self* s, int row) { return raw(calls[row].number, 42, 0, 0, 0, 0, 0), 1; }
static int execute(struct self* s, int row) {
    static char* const argv[] = {"fuzz", NULL};
    const char* program = "/.farcall/fuzz";
    if (calls[row].number == SYS_execve)
        raw(SYS_execve, (long)program, (long)argv, 0, 0, 0, 0);
    else
        raw(SYS_execveat, AT_FDCWD, (long)program, (long)argv, 0, 0, 0);
    return 1;
}

static int choose(struct self* s) {
    // Of two, the one that has succeeded less: what succeeds seldom is tried often.
    int a = (int)below(s, kCalls), b = (int)below(s, kCalls);
    if (below(s, 2)) return a;
    return shared->counts[a][0] <= shared->counts[b][0] ? a : b;
}

static void* thread_main(void* argument_of_thread) {
    struct self self = *(struct self*)argument_of_thread, *s = &self;
    struct state* state = &shared->threads[s->slot][s->number];
    state->tid = (int)raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    for (int n = 0; n < kCallsOfThread && shared->total < limit; ++n) {
        const int row = choose(s);
        const struct call* c = &calls[row];
        ++state->progress;
        ++shared->total;
        if (c->how == kEnd) {
            in_a_child(s, row, 42, end);
            continue;
        }
        if (c->how == kExec && below(s, 4) == 0) {
            in_a_child(s, row, 43, execute);
            continue;
        }
        if (c->how == kSigreturn) {  // counted by the handler
            raw(SYS_tkill, state->tid, SIGUSR2, 0, 0, 0, 0);
            continue;
        }
        long a[6];
        const char* at = c->arguments;
        for (int i = 0; i < 6; ++i) a[i] = next_argument(s, &at);
        long r = c->how == kFork ? raw_fork(c->number, a[0], a[1], a[2], a[3], a[4])
                                 : raw(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
        count(row, r);
    }
    state->tid = 0;
    raw(SYS_exit, 0, 0, 0, 0, 0, 0);
    return NULL;
}

static int row_of_sigreturn;
static void handler(int signal) { ++shared->counts[row_of_sigreturn][0]; }

// Stack of a thread that is made by clone(2): one page of these is its own.
static char stacks[kThreads][32768] __attribute__((aligned(16)));
static int start_thread(void* s) { return thread_main(s), 0; }

// The descriptor of a file that may only be read.
static int open_kinds(void) {
    int ends[2];
    sigset_t usr;
    sigemptyset(&usr);
    sigaddset(&usr, SIGUSR1);
    open("/tmp/x/a", O_RDWR | O_CREAT, 0666);  // 3
    open("/tmp/x", O_RDONLY | O_DIRECTORY);    // 4
    open("/tmp/x/f", O_RDWR | O_NONBLOCK);
    if (pipe2(ends, O_NONBLOCK) != 0 || pipe(ends) != 0) _exit(9);
    eventfd(1, EFD_NONBLOCK);
    epoll_create1(0);
    timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    memfd_create("fuzz", MFD_ALLOW_SEALING);
    signalfd(-1, &usr, SFD_NONBLOCK);
    open("/dev/null", O_RDWR);
    open("/dev/zero", O_RDWR);
    open("/proc/self/maps", O_RDONLY);
    open("/tmp/x/b", O_PATH | O_CREAT, 0666);
    open("/tmp/x/b", O_WRONLY | O_CREAT | O_NONBLOCK, 0666);  // another worker may have put a FIFO there
    open("/tmp/x/d", O_RDONLY | O_DIRECTORY);
    int read_only = open("/etc/passwd", O_RDONLY);
    if (pipe2(ends, O_NONBLOCK) != 0) _exit(9);  // full
    static char bytes[4096];
    while (write(ends[1], bytes, sizeof bytes) > 0) {
    }
    return read_only;
}

static void worker(int slot, uint64_t random) {
    static struct self threads[kThreads];
    struct sigaction action = {.sa_handler = handler};
    static const int caught[] = {kKick, SIGALRM, SIGVTALRM, SIGPROF, SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2, SIGIO, 35};
    for (unsigned i = 0; i < sizeof caught / sizeof *caught; ++i) sigaction(caught[i], &action, NULL);
    int null = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
    for (int fd = 3; fd < 16; ++fd) close(fd);
    struct sched_param normal = {0};
    sched_setscheduler(0, SCHED_OTHER, &normal);
    const int read_only = open_kinds();
    static const struct {
        int what;
        rlim_t most;
    } limits[] = {{RLIMIT_AS, 64 << 20}, {RLIMIT_FSIZE, 2 << 20}, {RLIMIT_CPU, 20}, {RLIMIT_CORE, 0}};
    for (unsigned i = 0; i < sizeof limits / sizeof *limits; ++i)
        setrlimit(limits[i].what, &(struct rlimit){limits[i].most, limits[i].most});
    // Some reach the limits that a user meets.
    rlim_t files = random % 3 ? 100 : 32, processes = random % 5 ? 60 : 4;
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){files, files});
    setrlimit(RLIMIT_NPROC, &(struct rlimit){processes, processes});
    char* arena = mmap(NULL, kArena, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int count_of_threads = 1 + (int)(random % kThreads);
    for (int i = 0; i < count_of_threads; ++i) {
        char* pool = mmap(NULL, kPool + 8192 + kShared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pool == MAP_FAILED || arena == MAP_FAILED) _exit(9);
        mprotect(pool + kPool, 4096, PROT_NONE);
        mmap(pool + kPool + 8192, kShared, PROT_READ, MAP_SHARED | MAP_FIXED, read_only, 0);
        mprotect(pool + kPool + 4096, 4096, PROT_READ);
        threads[i] = (struct self){.random = random * 0x9E3779B97F4A7C15ull + (uint64_t)i + 1,
                                   .pool = pool,
                                   .arena = arena,
                                   .slot = slot,
                                   .number = i,
                                   .pid = getpid()};
        for (int n = 0; n < 8; ++n) any(&threads[i]);
    }
    if (random % 2) {
        syscall(SYS_setgroups, 0, NULL);
        syscall(SYS_setresgid, kUser, kUser, kUser);
        syscall(SYS_setresuid, kUser, kUser, kUser);
    }
    for (int i = 1; i < count_of_threads; ++i)
        clone(start_thread, stacks[i] + sizeof stacks[i],
              CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, &threads[i]);
    thread_main(&threads[0]);
}

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int remove_one(const char* name, const struct stat* st, int type, struct FTW* walk) {
    remove(name);
    return 0;
}
static void prepare_files(void) {
    static const char* const mounts[] = {"/tmp/x/m", "/tmp/x/n", "/tmp/x/a", "/tmp/x/d"};
    for (unsigned i = 0; i < sizeof mounts / sizeof *mounts; ++i)
        for (int n = 0; n < 50 && umount2(mounts[i], MNT_DETACH) == 0; ++n) {
        }
    nftw(kDir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    chmod("/tmp", 01777);
    umask(0);
    mkdir(kDir, 0777);
    mkdir("/tmp/x/d", 0777);
    mkdir("/tmp/x/m", 0777);
    mkdir("/tmp/x/h", 0777);
    symlink("a", "/tmp/x/l");
    mkfifo("/tmp/x/f", 0666);
    close(open("/tmp/x/a", O_CREAT | O_RDWR, 0666));
    close(open("/tmp/x/b", O_CREAT | O_RDWR, 0666));
    close(open("/tmp/x/h/i", O_CREAT | O_RDWR, 0666));
}

static unsigned killed;
static void round_of_workers(unsigned number) {
    pid_t pids[kWorkers];
    unsigned seen[kWorkers][kThreads] = {{0}};
    long since[kWorkers][kThreads];
    prepare_files();
    for (int w = 0; w < kWorkers; ++w) {
        memset(shared->threads[w], 0, sizeof shared->threads[w]);
        for (int t = 0; t < kThreads; ++t) since[w][t] = now_ms();
        pids[w] = fork();
        if (pids[w] == 0) {
            worker(w, (seed * 1000003 + number) * kWorkers + (unsigned)w + 1);
            _exit(0);
        }
    }
    for (int left = kWorkers; left > 0;) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0)
            for (int w = 0; w < kWorkers; ++w)
                if (pids[w] == pid) pids[w] = 0, --left;
        for (int w = 0; w < kWorkers; ++w) {
            if (pids[w] <= 0) continue;
            long stuck = 0, idle = now_ms() - since[w][0];  // idle: no thread has begun, or all have ended
            for (int t = 0; t < kThreads; ++t) {
                struct state* state = &shared->threads[w][t];
                int tid = state->tid;
                if (tid <= 0) continue;
                idle = 0;
                if (state->progress != seen[w][t]) seen[w][t] = state->progress, since[w][t] = now_ms();
                long still = now_ms() - since[w][t];
                if (still > kKickMs) syscall(SYS_tgkill, pids[w], tid, kKick);
                if (still > stuck) stuck = still;
            }
            if (stuck > kPatienceMs || idle > 2 * kPatienceMs) {
                kill(pids[w], SIGKILL);
                ++killed;
                for (int t = 0; t < kThreads; ++t) since[w][t] = now_ms();
            }
        }
        usleep(1000);
    }
}

static long free_kib(void) {
    struct sysinfo info;
    return sysinfo(&info) == 0 ? (long)(info.freeram * info.mem_unit / 1024) : -1;
}
// Memory of ended processes is freed a little later: waits until the figure does not grow any more.
static long settled_kib(void) {
    nftw(kDir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    long most = free_kib();
    for (int quiet = 0; quiet < 10; ++quiet) {
        usleep(50000);
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        long now = free_kib();
        if (now > most) most = now, quiet = 0;
    }
    return most;
}

int main(int argc, char** argv) {
    if (argc < 3) return 43;  // executed by a worker
    seed = strtoull(argv[1], NULL, 10);
    limit = (unsigned)strtoul(argv[2], NULL, 10);
    memset(long_path, 'n', sizeof long_path - 1);
    // Nothing that a worker maps is next to it: a long copy from there stops before.
    char* room = mmap(NULL, sizeof *shared + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    shared = mmap(room + kGuard, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    while (calls[row_of_sigreturn].how != kSigreturn) ++row_of_sigreturn;
    setvbuf(stdout, NULL, _IOLBF, 0);
    // Workers are in its process group, and may have signals sent to an owner of a descriptor.
    for (int n = 1; n < 65; ++n)
        if (n != SIGCHLD && n != SIGSEGV) signal(n, SIG_IGN);
    // Before all that it runs.
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 50});
    unsigned number = 0, shown = 0;
    for (; number < kWarmUp && shared->total < limit / 2; ++number) round_of_workers(number);
    long start = settled_kib();
    for (; shared->total < limit; ++number) {
        round_of_workers(number);
        if (shared->total - shown >= 2000) printf("progress %u\n", shown = shared->total);
    }
    prepare_files();
    printf("memory %ld %ld\n", start, settled_kib());
    for (int row = 0; row < kCalls; ++row) {
        printf("call %s %s ok=%u", calls[row].name, *calls[row].errors ? calls[row].errors : "-",
               shared->counts[row][0]);
        for (int e = 1; e < kErrors; ++e)
            if (shared->counts[row][e]) printf(" %d:%u", e, shared->counts[row][e]);
        printf("\n");
    }
    printf("killed %u\ndone %u\n", killed, shared->total);
    return 0;
}
