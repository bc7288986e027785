// SPDX-License-Identifier: MIT
// Memory is given back late, what others can see is not: each test leaves much behind (exit, exec, munmap, last close) and at
// once looks for what must be over by then. Where /proc/farcall/modules says that the module has a CPU of its own, the
// test also looks whether anything was left for later: without that it would prove nothing.
#include "reclaim.h"

#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>

TEST(exit_memory) {
    struct module before = module("mm");
    int late = 0;
    for (int i = 0; i < 8; i++) {
        long kib = free_kib();
        pid_t pid = fork();
        if (pid == 0) {
            fill(fresh(kPages), kPages, 1);
            _exit(0);
        }
        NEED(waitpid(pid, NULL, 0) == pid);
        late += kib - free_kib() > 3000;
    }
    SHOW(late);
    show_left("mm", before, 8 * kPages * 3 / 4);
}
TEST(killed_memory) {
    struct module before = module("mm");
    long kib = free_kib();
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        fill(fresh(kPages), kPages, 1);
        NEED(write(ready[1], "", 1) == 1);
        for (;;) pause();
    }
    char c;
    NEED(read(ready[0], &c, 1) == 1);
    kill(pid, SIGKILL);
    reap("killed", pid);
    show_memory_back(kib);
    show_left("mm", before, kPages / 2);
}
// Memory that is shared with the parent is not free when the child has gone, and is not lost either.
TEST(exit_shared_pages) {
    long kib = free_kib();
    char* p = fresh(kPages);
    fill(p, kPages, 7);
    long with = free_kib();
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            memset(p, 1, 100 * kPage);
            _exit(0);
        }
        NEED(waitpid(pid, NULL, 0) == pid);
        long now = free_kib();
        if (now < with - 3000 || now > with + 3000) say("round %d: not what the parent has\n", i);
    }
    int changed = 0;
    for (int i = 0; i < kPages; i++) changed += p[i * kPage] != 7;
    SHOW(changed);
    munmap(p, kPages * kPage);
    show_memory_back(kib);
}
TEST(exit_pipes) {
    for (int i = 0; i < 4; i++) {
        int to_child[2], from_child[2];
        NEED(pipe(to_child) == 0 && pipe(from_child) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(to_child[1]);
            close(from_child[0]);
            fill(fresh(kPages), kPages, 1);
            _exit(0);
        }
        close(to_child[0]);
        close(from_child[1]);
        NEED(waitpid(pid, NULL, 0) == pid);
        struct pollfd p[2] = {{from_child[0], POLLIN, 0}, {to_child[1], POLLOUT, 0}};
        int ready = poll(p, 2, 0);
        char c;
        fcntl(from_child[0], F_SETFL, O_NONBLOCK);
        fcntl(to_child[1], F_SETFL, O_NONBLOCK);
        long end = read(from_child[0], &c, 1);
        on_signal(SIGPIPE, SIG_IGN, 0);
        long broken = write(to_child[1], "x", 1);
        say("ready %d: read end %#x, write end %#x; read %ld, write %ld %s\n", ready, p[0].revents, p[1].revents, end,
            broken, broken < 0 ? errno_name(errno) : "");
        close(from_child[0]);
        close(to_child[1]);
    }
}
TEST(exit_locks) {
    int fd = open("locked", O_RDWR | O_CREAT, 0600), other = open("flocked", O_RDWR | O_CREAT, 0600);
    NEED(fd >= 0 && other >= 0);
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
            int own = open("flocked", O_RDWR);
            NEED(fcntl(fd, F_SETLK, &all) == 0 && flock(own, LOCK_EX | LOCK_NB) == 0);
            fill(fresh(kPages), kPages, 1);
            _exit(0);
        }
        NEED(waitpid(pid, NULL, 0) == pid);
        struct flock all = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        OKAY(fcntl(fd, F_SETLK, &all));
        OKAY(flock(other, LOCK_EX | LOCK_NB));
        all.l_type = F_UNLCK;
        NEED(fcntl(fd, F_SETLK, &all) == 0 && flock(other, LOCK_UN) == 0);
    }
}

HELPER(sit) {
    fill(fresh(kPages), kPages, 1);
    NEED(write(3, "", 1) == 1);
    char c;
    _exit(read(4, &c, 1) == 0 ? 5 : 6);
}
TEST(exit_busy_program) {
    NEED(system("cp /tests/reclaim ./program") == 0);
    int ready[2], go[2];
    NEED(pipe(ready) == 0 && pipe(go) == 0);
    fcntl(ready[0], F_DUPFD, 10);
    pid_t pid = fork();
    if (pid == 0) {
        int out = fcntl(ready[1], F_DUPFD, 20), in = fcntl(go[0], F_DUPFD, 20);
        dup2(out, 3);
        dup2(in, 4);
        for (int fd = 5; fd < 30; fd++) close(fd);
        execl("./program", "program", "sit", (char*)NULL);
        _exit(1);
    }
    char c;
    NEED(read(ready[0], &c, 1) == 1);
    CALL(open("program", O_WRONLY));
    close(go[1]);
    reap("program", pid);
    OKAY(open("program", O_WRONLY | O_TRUNC));
}
// A process that nobody has waited for yet runs from no file any more.
TEST(exit_busy_zombie) {
    NEED(system("cp /bin/busybox ./true") == 0);
    pid_t pid = fork();
    if (pid == 0) {
        execl("./true", "true", (char*)NULL);
        _exit(1);
    }
    siginfo_t info;
    char link[64], target[64];
    NEED(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 && info.si_status == 0);
    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    IS(readlink(link, target, sizeof target) == -1 && errno == ENOENT);
    OKAY(open("true", O_WRONLY | O_TRUNC));
    reap("true", pid);
}
TEST(exit_usage) {
    struct rusage before, one, after;
    NEED(getrusage(RUSAGE_CHILDREN, &before) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        fill(memory(kPages, 0), kPages, 1);
        for (volatile long i = 0; i < 20000000; i++) {
        }
        _exit(0);
    }
    NEED(wait4(pid, NULL, 0, &one) == pid && getrusage(RUSAGE_CHILDREN, &after) == 0);
    IS(one.ru_maxrss >= kPages * 4 && one.ru_maxrss < kPages * 4 + 4000);
    IS(one.ru_minflt >= kPages && one.ru_minflt < kPages + 500);
    IS(one.ru_utime.tv_sec > 0 || one.ru_utime.tv_usec > 0);
    IS(after.ru_maxrss == one.ru_maxrss);
    IS(after.ru_minflt - before.ru_minflt == one.ru_minflt);
    struct rusage again;
    sleep_ms(20);
    NEED(getrusage(RUSAGE_CHILDREN, &again) == 0);
    FACT("nothing is added later", memcmp(&again, &after, sizeof after) == 0);
}
// The zombie is complete when SIGCHLD says so.
TEST(exit_signal) {
    say("blocks:\n");  // standard output lies on the same file system
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &old);
    long blocks = free_blocks();
    for (int i = 0; i < 4; i++) {
        int ends[2];
        NEED(pipe(ends) == 0);
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        pid_t pid = fork();
        if (pid == 0) {
            int fd = open("unlinked", O_RDWR | O_CREAT, 0600);
            unlink("unlinked");
            NEED(ftruncate(fd, 600 * kPage) == 0);
            fill(mmap(NULL, 600 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 600, 3);
            fill(fresh(kPages), kPages, 1);
            _exit(i);
        }
        close(ends[1]);
        siginfo_t info;
        NEED(sigwaitinfo(&set, &info) == SIGCHLD);
        char c;
        long end = read(ends[0], &c, 1);
        say("%s child, status %d, end of file %ld, blocks %ld\n", info.si_pid == pid ? "our" : "another",
            info.si_status, end, blocks - free_blocks());
        int status;
        NEED(waitpid(pid, &status, WNOHANG) == pid && status == i << 8);
        close(ends[0]);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
}

HELPER(after_exec) {
    char text[256];
    read_text("/proc/self/statm", text, sizeof text);
    long size, resident;
    NEED(sscanf(text, "%ld %ld", &size, &resident) == 2);
    FACT("resident pages of the new program alone", resident < 1000);
    show_memory_back(atol(test_argv[2]));
    struct pollfd p = {atoi(test_argv[3]), POLLIN, 0};
    SHOW(poll(&p, 1, 0));
    say("%#x\n", p.revents);
}
TEST(exec_memory) {
    struct module before = module("mm");
    long kib = free_kib();
    int ends[2];
    NEED(pipe(ends) == 0);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    CHILD("exec") {
        close(ends[1]);
        ends[1] = open("/dev/null", O_WRONLY | O_CLOEXEC);
        fill(fresh(kPages), kPages, 1);
        char number[24], fd[24];
        snprintf(number, sizeof number, "%ld", kib);
        snprintf(fd, sizeof fd, "%d", ends[0]);
        execl(test_argv[0], test_argv[0], "after_exec", number, fd, (char*)NULL);
    }
    show_left("mm", before, kPages / 2);
}
TEST(unmap_faults) {
    struct module before = module("mm");
    for (int i = 0; i < 4; i++) {
        char* p = fresh(1024);
        fill(p, 1024, 0x5a);
        NEED(munmap(p, 1024 * kPage) == 0);
        int faults = 0, zeros = 0;
        for (int page = 0; page < 1024; page += 31) faults += strcmp(touch(p + page * kPage, 0), "SIGSEGV MAPERR") == 0;
        NEED(mmap(p, 1024 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
        for (int page = 0; page < 1024; page++) zeros += p[page * kPage] == 0;
        say("%d faults, %d zeros\n", faults, zeros);
        munmap(p, 1024 * kPage);
    }
    show_left("mm", before, 4 * 900);
}
TEST(unmap_part) {
    char* p = fresh(256);
    fill(p, 256, 9);
    NEED(munmap(p + 10 * kPage, 100 * kPage) == 0);
    int here = 0;
    for (int page = 0; page < 256; page++)
        here += strcmp(touch(p + page * kPage, 1), "ok") == 0 && p[page * kPage] == 9;
    SHOW(here);
    OKAY(madvise(p + 150 * kPage, 80 * kPage, MADV_DONTNEED));
    int zeros = 0;
    for (int page = 150; page < 230; page++) zeros += p[page * kPage] == 0;
    SHOW(zeros);
    here = 0;
    for (int page = 110; page < 150; page++) here += p[page * kPage] == 9;
    SHOW(here);
}
// Another thread looks at the memory while it goes: before munmap returns it may see anything that was there, then nothing.
static volatile char* looked_at;
static volatile int unmapped, looks_after, stop_looking;
static sigjmp_buf looker_jump;
static void looker_fault(int number) {
    (void)number;
    siglongjmp(looker_jump, 1);
}
static int looker(void* argument) {
    (void)argument;
    while (!stop_looking) {
        if (sigsetjmp(looker_jump, 1) != 0) continue;
        volatile char* p = looked_at;
        int was_unmapped = unmapped;
        if (!p) continue;
        (void)*p;
        if (was_unmapped && looked_at == p && unmapped == was_unmapped) looks_after++;
    }
    syscall(SYS_exit, 0);
    return 0;
}
TEST(unmap_threads) {
    on_signal(SIGSEGV, looker_fault, SA_NODEFER);
    char* stack = fresh(8);
    static volatile int tid = 1;
    NEED(clone(looker, stack + 8 * kPage - 64,
               CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID,
               NULL, NULL, NULL, (int*)&tid) > 0);
    for (int i = 0; i < 60; i++) {
        unmapped = 0;
        char* p = fresh(200);
        fill(p, 200, 1);
        looked_at = p + (i % 200) * kPage;
        for (volatile int n = 0; n < 2000; n++) {
        }
        NEED(munmap(p, 200 * kPage) == 0);
        unmapped = 1;
        for (volatile int n = 0; n < 2000; n++) {
        }
        looked_at = NULL;
        if (i % 8 == 0) sched_yield();
    }
    stop_looking = 1;
    for (int id; (id = tid) != 0;) syscall(SYS_futex, &tid, 0, id, NULL, NULL, 0);
    SHOW(looks_after);
}
// What one process leaves behind another never sees.
TEST(no_old_data) {
    pid_t writers[2];
    for (int w = 0; w < 2; w++) {
        writers[w] = fork();
        if (writers[w] != 0) continue;
        for (int i = 0; i < 20; i++) {
            char* p = fresh(400);
            fill(p, 400, 0xee);
            if (i % 2) munmap(p, 400 * kPage);
            if (i % 4 == 0) CHILD("") memset(p, 0xdd, 200 * kPage);
        }
        _exit(0);
    }
    long old = 0;
    for (int i = 0; i < 20; i++) {
        char* p = fresh(400);
        for (int page = 0; page < 400; page++)
            for (int at = 0; at < 64; at++) old += p[page * kPage + at] != 0;
        fill(p, 400, 0x11);
        munmap(p, 400 * kPage);
    }
    for (int w = 0; w < 2; w++) NEED(waitpid(writers[w], NULL, 0) == writers[w]);
    SHOW(old);
}

TEST(last_close) {
    say("blocks:\n");  // standard output lies on the same file system
    struct module before = module("fs");
    long kib = free_kib();
    for (int i = 0; i < 3; i++) {
        long blocks = free_blocks();
        int fd = big_file("file", 1500);
        struct stat s;
        NEED(fstat(fd, &s) == 0);
        say("%ld blocks, %ld of 512\n", blocks - free_blocks(), (long)s.st_blocks);
        NEED(unlink("file") == 0);
        say("unlinked: %ld blocks\n", blocks - free_blocks());
        NEED(close(fd) == 0);
        say("closed: %ld blocks\n", blocks - free_blocks());
        int again = open("file", O_RDWR | O_CREAT | O_EXCL, 0600);
        FACT("the number is free", again == fd);
        close(again);
        unlink("file");
    }
    show_memory_back(kib);
    show_left("fs", before, 3 * 1500);
}
TEST(last_unmap) {
    say("blocks:\n");  // standard output lies on the same file system
    struct module before = module("fs");
    long blocks = free_blocks();
    int fd = big_file("file", 800);
    char* p = mmap(NULL, 800 * kPage, PROT_READ, MAP_SHARED, fd, 0);
    NEED(p != MAP_FAILED);
    close(fd);
    unlink("file");
    say("mapped: %ld blocks, byte %#x\n", blocks - free_blocks(), p[799 * kPage]);
    munmap(p, 800 * kPage);
    say("unmapped: %ld blocks\n", blocks - free_blocks());
    TOUCH_READ(p + 799 * kPage);
    show_left("fs", before, 800);
}
TEST(rename_over) {
    say("blocks:\n");  // standard output lies on the same file system
    long blocks = free_blocks();
    close(big_file("old", 700));
    close(big_file("new", 10));
    OKAY(rename("new", "old"));
    say("%ld blocks\n", blocks - free_blocks());
    unlink("old");
    say("%ld blocks\n", blocks - free_blocks());
}
// A file system of 1,000 pages can be filled again as soon as it was emptied.
TEST(fill_again) {
    say("blocks:\n");  // standard output lies on the same file system
    long blocks = free_blocks();
    NEED(mkdir("small", 0700) == 0);
    NEED(mount("none", "small", "tmpfs", 0, "size=4000k") == 0);
    for (int i = 0; i < 6; i++) {
        close(big_file("small/file", 950));
        NEED(unlink("small/file") == 0);
    }
    OKAY(umount("small"));
    rmdir("small");
    say("%ld blocks\n", blocks - free_blocks());
}
TEST(pipe_buffers) {
    struct module before = module("fs");
    long kib = free_kib();
    static char data[1 << 20];
    for (int i = 0; i < 8; i++) {
        int ends[2];
        NEED(pipe(ends) == 0);
        int size = i % 2 ? 1 << 20 : 1 << 16;
        NEED(fcntl(ends[1], F_SETPIPE_SZ, size) == size);
        NEED(write(ends[1], data, (size_t)size) == size);
        close(ends[1]);
        struct pollfd p = {ends[0], POLLIN, 0};
        poll(&p, 1, 0);
        if (i < 2) say("writer gone: %#x\n", p.revents);
        close(ends[0]);
        int again[2];
        NEED(pipe(again) == 0);
        if (again[0] != ends[0] || again[1] != ends[1]) say("other numbers\n");
        close(again[0]);
        close(again[1]);
    }
    show_memory_back(kib);
    show_left("fs", before, 4 * 256);
}
// Nearly all memory again and again: what the last one left is there for the next.
static int take_most(int percent, int flags) {
    size_t pages = (size_t)(free_kib() / 4) * (size_t)percent / 100;
    pid_t pid = fork();
    if (pid == 0) {
        char* p = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
        if (p == MAP_FAILED) _exit(1);
        for (size_t i = 0; i < pages; i++) p[i * kPage] = 1;
        _exit(0);
    }
    int status;
    NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (status != 0) say_status("a child with much memory", status);
    return status;
}
TEST(most_memory) {
    int bad = 0;
    for (int i = 0; i < 8; i++) bad += take_most(90, i % 2 ? 0 : MAP_POPULATE) != 0;
    SHOW(bad);
}
// Two take turns; the memory for a fork must be there too.
TEST(most_memory_twice) {
    int bad = 0;
    pid_t pids[2];
    for (int w = 0; w < 2; w++) {
        pids[w] = fork();
        if (pids[w] != 0) continue;
        for (int i = 0; i < 4; i++)
            if (take_most(40, i % 2 ? 0 : MAP_POPULATE) != 0) _exit(1);
        _exit(0);
    }
    for (int w = 0; w < 2; w++) {
        int status;
        NEED(waitpid(pids[w], &status, 0) == pids[w]);
        bad += status != 0;
    }
    SHOW(bad);
}
// The heir is there already and takes it all in one go, in the moment in which the holder has been waited for.
static void hand_over(int i, int* bad) {
    size_t pages = (size_t)(free_kib() / 4);
    int full[2], go[2];
    NEED(pipe(full) == 0 && pipe(go) == 0);
    pid_t holder = fork();
    if (holder == 0) {
        fresh(pages * 7 / 10);
        NEED(write(full[1], "", 1) == 1);
        for (;;) pause();
    }
    pid_t heir = fork();
    if (heir == 0) {
        char c;
        NEED(read(go[0], &c, 1) == 1);
        char* p = memory(pages * 8 / 10, i % 2 ? MAP_POPULATE : 0);
        for (size_t n = 0; n < pages * 8 / 10; n++) p[n * kPage] = 1;
        _exit(0);
    }
    char c;
    int status;
    NEED(holder > 0 && heir > 0 && read(full[0], &c, 1) == 1);
    kill(holder, SIGKILL);
    NEED(waitpid(holder, NULL, 0) == holder && write(go[1], "", 1) == 1 && waitpid(heir, &status, 0) == heir);
    if (status != 0) say_status("the heir", status);
    *bad += status != 0;
    close(full[0]), close(full[1]), close(go[0]), close(go[1]);
}
TEST(most_memory_at_once) {
    int bad = 0;
    for (int i = 0; i < 6; i++) hand_over(i, &bad);
    SHOW(bad);
}

static void write_modules(const char* name, const char* place) {
    char line[64];
    int n = snprintf(line, sizeof line, "%s %s", name, place), fd = open(kModules, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;  // Linux; on the server route there is nothing to move
    if (write(fd, line, (size_t)n) != n && errno != ENOSYS) say("%s refused: %s\n", line, errno_name(errno));
    close(fd);
}
// Modules move while much is left to them.
TEST(moved) {
    say("blocks:\n");  // standard output lies on the same file system
    struct module mm = module("mm"), fs = module("fs");
    long kib = free_kib(), blocks = free_blocks();
    const char* places[] = {mm.place, "inline", "0", "inline"};
    for (int i = 0; i < 12; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            fill(fresh(1500), 1500, 1);
            _exit(0);
        }
        NEED(waitpid(pid, NULL, 0) == pid);
        write_modules("mm", places[i % 4]);
        int fd = big_file("file", 500);
        unlink("file");
        close(fd);
        write_modules("fs", places[(i + 1) % 4]);
    }
    write_modules("mm", mm.place);
    write_modules("fs", fs.place);
    say("%ld blocks\n", blocks - free_blocks());
    show_memory_back(kib);
}
