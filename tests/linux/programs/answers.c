// SPDX-License-Identifier: MIT
// Answers at the edges of calls: limits of memory, flags that few programs use.
#include "check.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/uio.h>

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

// ---- Flags and numbers that few programs use ----

TEST(validated_flags_of_mmap) {
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 4096) == 0);
    const unsigned long shared = MAP_SHARED_VALIDATE;
    for (int bit = 4; bit < 40; bit++) {
        const unsigned long flags = shared | 1ul << bit;
        if (flags & (MAP_FIXED | MAP_ANONYMOUS | MAP_HUGETLB)) continue;
        long at = syscall(SYS_mmap, 0, 4096, PROT_READ, flags, fd, 0);
        say("bit %d: %s\n", bit, at == -1 ? errno_name(errno) : "ok");
        at = syscall(SYS_mmap, 0, 4096, PROT_READ, (long)(int)flags, fd, 0);
        say("bit %d of an int: %s\n", bit, at == -1 ? errno_name(errno) : "ok");
    }
}

TEST(sets_and_random_numbers) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0), random = open("/dev/random", O_RDONLY), urandom = open("/dev/urandom", O_RDONLY);
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, urandom, &event));
    CALL(epoll_ctl(set, EPOLL_CTL_ADD, random, &event));
    CALL(epoll_wait(set, &event, 1, 0));
    struct pollfd p[] = {{.fd = random, .events = 0xffff}, {.fd = urandom, .events = 0xffff}};
    CALL(poll(p, 2, 0));
    say("%x %x\n", p[0].revents, p[1].revents);
}

TEST(pipes_of_notifications) {
    int ends[2] = {-1, -1};
    CALL(pipe2(ends, O_EXCL));
    CALL(pipe2(ends, O_EXCL | O_CLOEXEC | O_NONBLOCK));
    CALL(pipe2(ends, O_EXCL | O_TRUNC));
    CALL(pipe2(NULL, O_EXCL));
    CALL(dup(0));
}

static void clamps(const char* what, unsigned flags, unsigned min, unsigned max, unsigned size) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
        uint32_t min, max;
    } a = {.size = size, .flags = flags, .min = min, .max = max};
    long r = syscall(SYS_sched_setattr, 0, &a, 0);
    say("%s: %s", what, r == 0 ? "ok" : errno_name(errno));
    NEED(syscall(SYS_sched_getattr, 0, &a, 56, 0) == 0);
    say(", flags %ld, %u to %u\n", (long)a.flags, a.min, a.max);
}
TEST(clamps_of_utilisation) {
    clamps("none", 0, 0, 0, 56);
    clamps("least", 0x20, 100, 0, 56);
    clamps("most", 0x40, 0, 200, 56);
    clamps("both", 0x60, 100, 900, 56);
    clamps("crossed", 0x60, 300, 200, 56);
    clamps("least above most", 0x20, 950, 0, 56);
    clamps("most below least", 0x40, 0, 50, 56);
    clamps("too large", 0x40, 0, 1025, 56);
    clamps("least too large", 0x20, 1025, 0, 56);
    clamps("reset", 0x60, ~0u, ~0u, 56);
    clamps("small", 0x60, 1, 2, 48);
    clamps("both again", 0x60, 100, 900, 56);
    clamps("untouched", 0, 0, 0, 56);
    clamps("keep all", 0x18, 0, 0, 56);
    CHILD("child") { clamps("inherited", 0, 0, 0, 56); }
    clamps("reset on fork", 0x61, 100, 900, 56);
    CHILD("child") { clamps("not inherited", 0, 0, 0, 56); }
    NEED(setresuid(1000, 1000, 1000) == 0);
    clamps("a user", 0x60, 1, 2, 56);
    CHILD("another") { clamps("a user, up", 0x60, 500, 1024, 56); }
}

static void set_attributes(const char* what, uint64_t flags, uint32_t policy, int nice, uint32_t priority) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t more[3];
    } a = {.size = 48, .policy = policy, .flags = flags, .nice = nice, .priority = priority};
    long r = syscall(SYS_sched_setattr, 0, &a, 0);
    say("%s: %s", what, r == 0 ? "ok" : errno_name(errno));
    NEED(syscall(SYS_sched_getattr, 0, &a, 48, 0) == 0);
    say(", policy %u flags %ld nice %d priority %u\n", a.policy, (long)a.flags, a.nice, a.priority);
}
TEST(attributes_kept) {
    set_attributes("batch", 0, 3, 5, 0);
    set_attributes("policy kept", 8, 0, 7, 0);
    set_attributes("policy kept, wrong one", 8, 77, 8, 0);
    set_attributes("policy kept, negative one", 8, 1u << 31, 8, 0);
    set_attributes("parameters kept", 0x10, 0, 9, 0);
    set_attributes("all kept", 0x18, 1, 9, 7);
    set_attributes("priority of a policy without", 0x10, 0, 9, 3);
    set_attributes("another policy, parameters kept", 0x10, 2, 0, 3);
    set_attributes("policy kept", 8, 0, 0, 4);
    set_attributes("parameters kept", 0x10, 1, 0, 50);
    set_attributes("all kept", 0x18, 0, 11, 0);
    set_attributes("parameters of another kind kept", 0x10, 0, 11, 0);
    set_attributes("reset on fork", 1, 0, 12, 0);
    set_attributes("all kept", 0x18, 0, 11, 0);
    set_attributes("parameters kept", 0x10, 0, 11, 0);
}

TEST(tracers_allowed) {
    CALL(prctl(0x59616d61, 0));
    CALL(prctl(0x59616d61, 1));
    CALL(prctl(0x59616d61, -1));
    CALL(prctl(0x59616d61, 4194303));
    CALL(prctl(0x59616d61, getpid(), 1, 2, 3));
    CALL(prctl(0x59616d61, 0x1ffffffffL));
    CALL(prctl(0x59616d61, 0x100000001L));
    // A process that is no ancestor.
    int p[2], q[2];
    NEED(pipe(p) == 0 && pipe(q) == 0);
    static volatile long word = 7;
    NEED(setresuid(1000, 1000, 1000) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    pid_t other = fork();
    if (other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char c;
        if (read(p[0], &c, 1) == 1) NEED(prctl(0x59616d61, -1) == 0);
        NEED(write(q[1], "x", 1) == 1);
        pause();
    }
    long to = 0;
    struct iovec here = {&to, sizeof to}, there = {(void*)&word, sizeof word};
    CALL(process_vm_readv(other, &here, 1, &there, 1, 0));
    CHILD("sibling") { CALL(process_vm_readv(other, &here, 1, &there, 1, 0)); }
    CHILD("of its parent") { CALL(process_vm_readv(getppid(), &here, 1, &there, 1, 0)); }
    char c;
    NEED(write(p[1], "x", 1) == 1 && read(q[0], &c, 1) == 1);
    CHILD("sibling that may") { CALL(process_vm_readv(other, &here, 1, &there, 1, 0)); }
    kill(other, SIGKILL);
}

TEST(resolution_of_clocks) {
    for (int id = -16; id < 8; id++) {
        struct timespec t = {-1, -1};
        long r = syscall(SYS_clock_getres, id, &t);
        say("%d: %s %ld %ld\n", id, r == 0 ? "ok" : errno_name(errno), (long)t.tv_sec, t.tv_nsec);
    }
}

// ---- Files ----

static void show_map(const char* what, int fd) {
    say("%s:", what);
    for (off_t at = 0, next; (next = lseek(fd, at, SEEK_DATA)) >= 0; at = next) {
        say(" data %ld", (long)next);
        next = lseek(fd, next, SEEK_HOLE);
        say(" to %ld", (long)next);
    }
    struct stat s;
    fstat(fd, &s);
    say(", %ld blocks\n", (long)s.st_blocks);
}
// A page that is punched in part is made if it is not there, or stays room (shmem_get_folio).
TEST(pages_punched_in_part) {
    const int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 40960) == 0);
    CALL(fallocate(fd, punch, 100, 200));
    show_map("inside a hole", fd);
    CALL(fallocate(fd, punch, 5000, 10000));
    show_map("over holes", fd);
    CALL(fallocate(fd, punch, 20480, 8192));
    show_map("whole pages", fd);
    NEED(pwrite(fd, "x", 1, 24576) == 1);
    CALL(fallocate(fd, punch, 24000, 2000));
    show_map("up to data", fd);
    CALL(fallocate(fd, punch, 40000, 100000));
    show_map("beyond the end", fd);
    CALL(fallocate(fd, punch, 100000, 100));
    show_map("far beyond the end", fd);
    CALL(fallocate(fd, 0, 32768, 8192));
    show_map("room", fd);
    CALL(fallocate(fd, punch, 33000, 4096));
    show_map("in room", fd);
}

static void show_blocks(int fd) {
    struct stat st;
    NEED(fstat(fd, &st) == 0);
    say("size %ld blocks %ld\n", (long)st.st_size, (long)st.st_blocks);
}

TEST(cut_to_the_same_size) {
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 10000) == 0);
    char* p = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    p[9999] = p[10000] = 'x';
    CALL(fallocate(fd, FALLOC_FL_KEEP_SIZE, 40960, 8192));
    show_blocks(fd);
    CALL(ftruncate(fd, 10000));
    show_blocks(fd);
    SHOW(p[9999]);
    SHOW(p[10000]);
    CALL(fallocate(fd, FALLOC_FL_KEEP_SIZE, 40960, 8192));
    CALL(ftruncate(fd, 20000));
    show_blocks(fd);
    CALL(ftruncate(fd, 10000));
    show_blocks(fd);
}

TEST(facts_about_file_systems) {
    struct statfs s;
    NEED(fstatfs((int)syscall(SYS_memfd_create, "x", 0), &s) == 0);
    say("memfd: type %lx block %ld blocks %ld %ld %ld files %ld %ld name %ld flags %lx\n", (long)s.f_type,
        (long)s.f_bsize, (long)s.f_blocks, (long)s.f_bfree, (long)s.f_bavail, (long)s.f_files, (long)s.f_ffree,
        (long)s.f_namelen, (long)s.f_flags);
}

TEST(umount_of_the_top) {
    NEED(mkdir("m", 0700) == 0 && mount("t", "m", "tmpfs", 0, NULL) == 0 && mkdir("m/d", 0700) == 0);
    CHILD("below the top") {
        NEED(chroot("m/d") == 0 && chdir("/") == 0);
        CALL(umount("/"));
        CALL(umount2("/", MNT_DETACH));
    }
    CHILD("a user") {
        NEED(chroot("m") == 0 && chdir("/") == 0 && setresuid(1000, 1000, 1000) == 0);
        CALL(umount("/"));
    }
    CHILD("the top") {
        NEED(chroot("m") == 0 && chdir("/") == 0);
        CALL(umount2("/", MNT_EXPIRE));
        CALL(umount2("/", MNT_FORCE));
        CALL(mkdir("/e", 0700));
        CALL(mkdir("/f", 0700));
        int fd = open("/file", O_RDWR | O_CREAT, 0600);
        CALL(umount("/"));
        close(fd);
        CALL(umount("/"));
        CALL(umount("/"));
        CALL(mkdir("/g", 0700));
    }
    CALL(mkdir("m/h", 0700));
    CALL(mount(NULL, "m", NULL, MS_REMOUNT, NULL));
    CALL(mkdir("m/h", 0700));
    CHILD("the top, detached") {
        NEED(chroot("m") == 0 && chdir("/") == 0);
        CALL(umount2("/", MNT_DETACH));
        CALL(umount("/"));
    }
    CALL(umount("m"));
}

TEST(links_into_removed_directories) {
    NEED(mkdir("d", 0700) == 0 && make_file("file", "", 0600) == 0 && mkdir("other", 0700) == 0);
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    NEED(mount("t", "other", "tmpfs", 0, NULL) == 0 && make_file("other/file", "", 0600) == 0 && rmdir("d") == 0);
    CALL(linkat(AT_FDCWD, "file", fd, "name", 0));
    CALL(linkat(AT_FDCWD, "other", fd, "name", 0));
    CALL(linkat(AT_FDCWD, "other/file", fd, "name", 0));
    CALL(linkat(AT_FDCWD, "missing", fd, "name", 0));
    CALL(symlinkat("x", fd, "name"));
    CALL(renameat(AT_FDCWD, "file", fd, "name"));
    CALL(mkdirat(fd, "name", 0700));
    CALL(openat(fd, "name", O_CREAT | O_RDWR, 0600));
    CALL(mknodat(fd, "name", S_IFIFO | 0600, 0));
    CHILD("a user") {
        NEED(setresuid(1000, 1000, 1000) == 0);
        CALL(linkat(AT_FDCWD, "file", fd, "name", 0));
        CALL(mkdirat(fd, "name", 0700));
    }
    CALL(umount("other"));
}

// Which of access, modification and change went on since then.
static struct stat before;
static void changed(const char* what, int fd) {
    struct stat s;
    NEED(fstat(fd, &s) == 0);
#define AFTER(x) (s.x.tv_sec != before.x.tv_sec || s.x.tv_nsec != before.x.tv_nsec)
    say("%s:%s%s%s\n", what, AFTER(st_atim) ? " accessed" : "", AFTER(st_mtim) ? " modified" : "",
        AFTER(st_ctim) ? " changed" : "");
    sleep_ms(20);
    NEED(futimens(fd, (struct timespec[]){{1000, 0}, {1000, 0}}) == 0 && fstat(fd, &before) == 0);
    sleep_ms(20);
}
TEST(times_of_pipes) {
    char c[8];
    NEED(mkfifo("fifo", 0600) == 0);
    int fd = open("fifo", O_RDWR | O_NONBLOCK);
    changed("start", fd);
    CALL(read(fd, c, 1));
    changed("nothing to read", fd);
    CALL(write(fd, "abcd", 4));
    changed("write", fd);
    CALL(write(fd, "", 0));
    changed("empty write", fd);
    CALL(read(fd, c, 0));
    changed("empty read", fd);
    CALL(read(fd, c, 2));
    changed("read", fd);
    CALL(read(fd, c, 8));
    changed("the rest", fd);
    CALL(read(fd, c, 8));
    changed("no more", fd);
    NEED(write(fd, "abcd", 4) == 4);
    changed("write", fd);
    CALL(read(fd, NULL, 4));
    changed("read to a bad place", fd);
    CALL(write(fd, NULL, 4));
    changed("write from a bad place", fd);
}

TEST(times_of_mapped_files) {
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 16384) == 0);
    volatile char* p = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    volatile char* q = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    changed("start", fd);
    q[0] = 1;
    changed("private write", fd);
    p[4096] = 1;
    changed("write", fd);
    p[4097] = 1;
    changed("the same page again", fd);
    CALL(read(open("/proc/self/comm", O_RDONLY), (void*)(p + 8192), 1));
    changed("by the kernel", fd);
    CALL(madvise((void*)(p + 4096), 4096, MADV_DONTNEED));
    p[4096] = 2;
    changed("after MADV_DONTNEED", fd);
}
