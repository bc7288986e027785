// SPDX-License-Identifier: MIT
// Answers at the edges of calls: limits of memory, flags that few programs use.
#include "check.h"

#include <sys/personality.h>

static void limit(int which, rlim_t soft, rlim_t hard) { NEED(setrlimit(which, &(struct rlimit){soft, hard}) == 0); }

// ---- Limits of memory ----

HELPER(program) { say("runs\n"); }

// The program is executed with a limit that it exceeds: too many strings are E2BIG, the rest ends it.
static void executes(const char* who, int which, rlim_t soft, rlim_t hard, size_t more) {
    CHILD(who) {
        static char string[100000];
        memset(string, 'x', more);
        limit(which, soft, hard);
        execl("/proc/self/exe", "answers", "program", string, NULL);
        say("%s\n", errno_name(errno));
    }
}

TEST(execve_and_limits) {
    if (!(personality(0xffffffff) & ADDR_NO_RANDOMIZE)) {
        NEED(personality(ADDR_NO_RANDOMIZE) >= 0);
        execl("/proc/self/exe", "answers", "execve_and_limits", NULL);
    }
    executes("RLIMIT_AS none", RLIMIT_AS, 0, 0, 0);
    executes("RLIMIT_AS one page", RLIMIT_AS, 4096, 4096, 0);
    executes("RLIMIT_AS one page, many strings", RLIMIT_AS, 4096, 4096, 5000);
    executes("RLIMIT_AS ten pages, many strings", RLIMIT_AS, 40960, 40960, 50000);
    executes("RLIMIT_AS for the stack alone", RLIMIT_AS, 40 * 4096, 40 * 4096, 0);
    executes("RLIMIT_AS enough", RLIMIT_AS, 4 << 20, 4 << 20, 0);
    executes("RLIMIT_DATA one page", RLIMIT_DATA, 4096, 4096, 0);
    executes("RLIMIT_DATA less", RLIMIT_DATA, 1000, 1000, 0);
    executes("RLIMIT_DATA none", RLIMIT_DATA, 0, 0, 0);
    executes("RLIMIT_DATA none for brk", RLIMIT_DATA, 0, RLIM_INFINITY, 0);
    executes("RLIMIT_DATA none, small hard one", RLIMIT_DATA, 0, 4096, 0);
    executes("RLIMIT_DATA enough", RLIMIT_DATA, 1 << 20, 1 << 20, 0);
    executes("RLIMIT_STACK none", RLIMIT_STACK, 0, 0, 0);
    executes("RLIMIT_STACK one page", RLIMIT_STACK, 4096, 4096, 0);
    executes("RLIMIT_STACK one page, strings fill it", RLIMIT_STACK, 4096, 4096, 3800);
    executes("RLIMIT_STACK one page, more strings", RLIMIT_STACK, 4096, 4096, 5000);
    executes("RLIMIT_STACK two pages, more strings", RLIMIT_STACK, 8192, 8192, 5000);
    executes("RLIMIT_STACK two pages, strings fill them", RLIMIT_STACK, 8192, 8192, 7800);
}

static int move_break(void) {
    const long now = syscall(SYS_brk, 0);
    return syscall(SYS_brk, now + 4096) != now;
}

TEST(limit_of_data) {
    char* read_only = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    limit(RLIMIT_DATA, 0, RLIM_INFINITY);
    FACT("the break moves", move_break());
    OKAY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    limit(RLIMIT_DATA, 0, 100 << 20);
    OKAY(mmap(NULL, 50 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    OKAY(mmap(NULL, 50 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    OKAY(mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
    limit(RLIMIT_DATA, 1, 100 << 20);
    OKAY(mprotect(read_only, 4096, PROT_READ));
    OKAY(mprotect(read_only, 4096, PROT_READ | PROT_WRITE));
    OKAY(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

// RLIMIT_AS leaves room for 20 pages; a stack grows into a hole below it.
TEST(stacks_grow_within_the_limit) {
    enum { kPages = 400 };
    char* hole = mmap(NULL, kPages * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(hole, kPages * 4096);
    char* stack = mmap(hole + (kPages - 1) * 4096, 4096, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    NEED(stack != MAP_FAILED);
    char text[4096];
    int fd = open("/proc/self/statm", O_RDONLY);
    text[read(fd, text, sizeof text - 1)] = 0;
    const rlim_t most = ((rlim_t)atol(text) + 20) * 4096;
    limit(RLIMIT_AS, most, most);
    TOUCH_READ(stack - 10 * 4096);
    TOUCH_READ(stack - 20 * 4096);
    TOUCH_READ(stack - 21 * 4096);
    CALL(read(open("/proc/self/stat", O_RDONLY), stack - 21 * 4096, 1));
    OKAY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

// Areas that do not join, until there are no more.
TEST(number_of_areas) {
    enum { kPages = 65000, kMore = 1000 };
    NEED(move_break());
    char* split = mmap(NULL, 4096L * kPages, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* at = mmap(NULL, 8192L * kMore, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(split != MAP_FAILED && at != MAP_FAILED);
    munmap(at, 8192L * kMore);
    for (long i = 1; i < kPages; i += 2) NEED(mprotect(split + i * 4096, 4096, PROT_NONE) == 0);
    int made = 0, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    while (made < kMore && mmap(at + 8192L * made, 4096, PROT_READ, flags, -1, 0) != MAP_FAILED) ++made;
    say("%s\n", errno_name(errno));
    long lines = 0;
    static char text[65536];
    int fd = open("/proc/self/maps", O_RDONLY);
    for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < n; i++) lines += text[i] == '\n';
    FACT("areas, with three of the kernel's at most", lines >= 65531 && lines <= 65534);
    char* last = at + 8192L * (made - 1);
    OKAY(mprotect(last, 4096, PROT_READ | PROT_WRITE));
    OKAY(mmap(last + 4096, 4096, PROT_READ, flags, -1, 0));
    FACT("the break moves", move_break());
    for (int i = 1; i < 10; i++) {
        munmap(at + 8192L * (made - i), 4096);
        say("%d areas fewer\n", i);
        OKAY(mmap(at, 4096, PROT_READ | PROT_WRITE, flags, -1, 0));
        OKAY(mremap(at, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at + 8192L * kMore));
        FACT("the break moves", move_break());
    }
    _exit(0);
}
