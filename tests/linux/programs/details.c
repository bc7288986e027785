// SPDX-License-Identifier: MIT
// Details of calls, and names that try to look like something else.
#include "check.h"

#include <dirent.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

static char text[1 << 16];
static void read_all(const char* path) {
    int fd = open(path, O_RDONLY);
    size_t n = 0;
    NEED(fd >= 0);
    for (ssize_t r; (r = read(fd, text + n, sizeof text - 1 - n)) > 0;) n += (size_t)r;
    text[n] = 0;
    close(fd);
}

// ---- /proc ----

TEST(names_forge_no_lines) {
    prctl(PR_SET_NAME, "a\nUid:\t0\\ b");
    read_all("/proc/self/status");
    *strchr(strstr(text, "Umask"), '\t') = 0;
    say("%s\n", text);
    read_all("/proc/self/comm");
    say("%s", text);
    read_all("/proc/thread-self/status");
    text[20] = 0;
    say("%s\n", text);
    int fd = open("name\n\t \\x", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 4096) == 0 && mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
    read_all("/proc/self/maps");
    char* line = strstr(text, "/tmp/case/name");
    *strchr(line, '\n') = 0;
    say("%s\n", line);
    NEED(mkdir("at\n\t \\x", 0700) == 0 && mount("s\n\t \\x", "at\n\t \\x", "tmpfs", 0, NULL) == 0);
    static const char* const tables[] = {"/proc/self/mounts", "/proc/self/mountinfo"};
    for (int i = 0; i < 2; i++) {
        read_all(tables[i]);
        line = strstr(text, "/case/at");
        line[20] = 0;
        say("%s\n", line);
        if (i == 1) continue;
        while (line[-1] != '\n') line--;
        say("%s\n", line);
    }
    NEED(umount("at\n\t \\x") == 0);
}

TEST(numbers_out_of_range) {
    static const char* const names[] = {"/proc/18446744073709551615",         "/proc/18446744073709551616",
                                        "/proc/18446744073709551615/status",  "/proc/4294967297",
                                        "/proc/self/fd/18446744073709551615", "/proc/self/task/18446744073709551615",
                                        "/proc/self/fdinfo/4294967296"};
    struct stat st;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        say("%s: %s\n", names[i], lstat(names[i], &st) == 0 ? "there" : errno_name(errno));
}

// ---- Mounts ----

TEST(remounts) {
    NEED(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0 && mount("t", "a", "tmpfs", 0, NULL) == 0);
    int fd = open("a/file", O_RDWR | O_CREAT, 0600);
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    NEED(write(fd, "x", 1) == 1);
    char* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    munmap(p, 4096);
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    CALL(open("a/file", O_RDWR));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT, NULL));
    NEED(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    fd = open("a/file", O_WRONLY);
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    CALL(open("b/file", O_WRONLY));
    CALL(write(fd, "x", 1));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    close(fd);
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND, NULL));
    fd = open("b/file", O_WRONLY);
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    NEED(mkfifo("b/fifo", 0600) == 0);
    int fifo = open("b/fifo", O_RDWR);
    close(fd);
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    close(fifo);
    CALL(umount("b"));
    static char bytes[3 * 4096];
    fd = open("a/large", O_WRONLY | O_CREAT, 0600);
    CALL(write(fd, bytes, sizeof bytes));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT, "size=4k"));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT, "nr_inodes=2"));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT, "wrong=1"));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT, "size=20k"));
    CALL(write(fd, bytes, sizeof bytes));
    close(fd);
    CALL(mount(NULL, "a", NULL, MS_PRIVATE | MS_SHARED, NULL));
    CALL(mount(NULL, "a", NULL, MS_PRIVATE | MS_REC, NULL));
    CALL(mount(NULL, "a", NULL, MS_PRIVATE | MS_RDONLY, NULL));
    CALL(umount("a"));
}

// Only root can be as quick: a file is opened for writing, or made, at the moment of the remount.
static volatile int round_begun, round_done, opened, made;
static void* opens(void* argument) {
    (void)argument;
    for (int round = 1;; round++) {
        while (round_begun != round) sched_yield();
        for (volatile int n = rand() % 300; n > 0; n--);
        opened = open("a/file", O_RDWR);
        made = mkdir("a/made", 0700);
        __atomic_store_n(&round_done, round, __ATOMIC_SEQ_CST);
    }
    return NULL;
}
TEST(remounts_and_opens) {
    enum { kRounds = 2000 };
    NEED(mkdir("a", 0700) == 0 && mount("t", "a", "tmpfs", 0, NULL) == 0 && make_file("a/file", "", 0600) == 0);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, opens, NULL) == 0);
    int both = 0, made_later = 0;
    for (int round = 1; round <= kRounds; round++) {
        __atomic_store_n(&round_begun, round, __ATOMIC_SEQ_CST);
        for (volatile int n = rand() % 300; n > 0; n--);
        int flags = MS_REMOUNT | MS_RDONLY | (round % 2 ? MS_BIND : 0);
        int changed = mount(NULL, "a", NULL, (unsigned long)flags, NULL) == 0;
        struct stat s;
        int there = changed && stat("a/made", &s) == 0;
        while (__atomic_load_n(&round_done, __ATOMIC_SEQ_CST) != round) sched_yield();
        both += changed && opened >= 0;
        made_later += changed && !there && made == 0;
        if (opened >= 0) close(opened);
        NEED(mount(NULL, "a", NULL, (unsigned long)(MS_REMOUNT | (round % 2 ? MS_BIND : 0)), NULL) == 0);
        if (made == 0) NEED(rmdir("a/made") == 0);
    }
    SHOW(both);
    SHOW(made_later);
    umount2("a", MNT_DETACH);
    _exit(0);
}

static int shown_as(const char* place) {
    struct statvfs s;
    NEED(statvfs(place, &s) == 0);
    return (s.f_flag & ST_RDONLY) != 0;
}
// Without MS_BIND a remount changes the file system, whatever its mounts are.
TEST(remounts_of_file_systems) {
    NEED(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0 && mount("t", "a", "tmpfs", 0, NULL) == 0);
    NEED(mount("a", "b", NULL, MS_BIND, NULL) == 0);
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    CALL(mkdir("b/x", 0700));
    CALL(mkdir("a/x", 0700));
    SHOW(shown_as("a"));
    SHOW(shown_as("b"));
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND, NULL));
    CALL(mkdir("b/x", 0700));
    CALL(mount(NULL, "b", NULL, MS_REMOUNT, NULL));
    CALL(mkdir("b/x", 0700));
    CALL(mkdir("a/y", 0700));
    SHOW(shown_as("a"));
    SHOW(shown_as("b"));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND, NULL));
    CALL(mkdir("a/y", 0700));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, "wrong=1"));
    CALL(mkdir("b/z", 0700));
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    int fd = open("a/file", O_RDWR | O_CREAT, 0600);
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    close(fd);
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_RDONLY, NULL));
    CALL(open("a/file", O_RDWR));
    CALL(umount("b"));
    CALL(mount(NULL, "a", NULL, MS_REMOUNT, NULL));
    CALL(open("a/file", O_RDWR));
    umount2("a", MNT_DETACH);
    NEED(mount("t", "a", "tmpfs", MS_RDONLY, NULL) == 0 && mount("a", "b", NULL, MS_BIND, NULL) == 0);
    CALL(mount(NULL, "b", NULL, MS_REMOUNT | MS_BIND, NULL));
    CALL(mkdir("b/x", 0700));
    CALL(mount(NULL, "b", NULL, MS_REMOUNT, NULL));
    CALL(mkdir("b/x", 0700));
    CALL(mkdir("a/y", 0700));
    CALL(umount("b"));
    CALL(umount("a"));
}

#define READ_ONLY                                                   \
    do {                                                            \
        CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_RDONLY, NULL)); \
        NEED(mount(NULL, "a", NULL, MS_REMOUNT, NULL) == 0);        \
    } while (0)
// What is still open will be freed by a write to the file system.
TEST(remounts_and_files_without_names) {
    NEED(mkdir("a", 0700) == 0 && mount("t", "a", "tmpfs", 0, NULL) == 0);
    int fd = open("a/file", O_RDONLY | O_CREAT, 0600);
    NEED(unlink("a/file") == 0);
    READ_ONLY;
    CALL(mount(NULL, "a", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    NEED(mount(NULL, "a", NULL, MS_REMOUNT, NULL) == 0);
    close(fd);
    READ_ONLY;
    NEED(mkdir("a/dir", 0700) == 0);
    fd = open("a/dir", O_RDONLY);
    NEED(rmdir("a/dir") == 0);
    READ_ONLY;
    close(fd);
    READ_ONLY;
    fd = open("a", O_TMPFILE | O_RDWR, 0600);
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int read_only = open(link, O_RDONLY);
    close(fd);
    READ_ONLY;
    snprintf(link, sizeof link, "/proc/self/fd/%d", read_only);
    NEED(linkat(AT_FDCWD, link, AT_FDCWD, "a/named", AT_SYMLINK_FOLLOW) == 0);
    READ_ONLY;
    NEED(unlink("a/named") == 0);
    READ_ONLY;
    close(read_only);
    NEED(make_file("a/from", "", 0600) == 0 && make_file("a/to", "", 0600) == 0);
    fd = open("a/to", O_RDONLY);
    NEED(rename("a/from", "a/to") == 0);
    READ_ONLY;
    close(fd);
    READ_ONLY;
    CALL(umount("a"));
}

// Sizes beyond what a number holds: of one that becomes 0 there is no limit.
static void show_size(void) {
    read_all("/proc/mounts");
    char* line = strstr(text, "/a tmpfs ");
    NEED(line && (line = strstr(line, ",size=")));
    line[1 + strcspn(line + 1, ",")] = 0;
    struct statvfs s;
    NEED(statvfs("a", &s) == 0);
    say("%s, %lu blocks\n", line + 1, (unsigned long)s.f_blocks);
}
TEST(sizes_of_file_systems) {
    static const char* const sizes[] = {"size=18446744073709551615",
                                        "size=18446744073709547521",
                                        "size=18446744073709547520",
                                        "size=9223372036854775807",
                                        "size=0",
                                        "size=2t",
                                        "size=16383p",
                                        "size=16e",
                                        "nr_blocks=9223372036854775807",
                                        "nr_inodes=18446744073709551615",
                                        "nr_inodes=0"};
    NEED(mkdir("a", 0700) == 0);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        NEED(mount("t", "a", "tmpfs", 0, "size=64k,nr_inodes=20") == 0);
        say("%s: %s\n", sizes[i], mount(NULL, "a", NULL, MS_REMOUNT, sizes[i]) == 0 ? "ok" : errno_name(errno));
        show_size();
        CALL(make_file("a/file", "x", 0600));
        CALL(mount(NULL, "a", NULL, MS_REMOUNT, "size=64k"));
        CALL(mount(NULL, "a", NULL, MS_REMOUNT, "nr_inodes=20"));
        NEED(umount("a") == 0);
        say("new: %s\n", mount("t", "a", "tmpfs", 0, sizes[i]) == 0 ? "ok" : errno_name(errno));
        if (sizes[i][0] == 's') show_size();
        int fd = open("a/file", O_RDWR | O_CREAT, 0600);
        CALL(write(fd, "x", 1));
        CALL(posix_fallocate(fd, 0, 8192));
        close(fd);
        CALL(umount("a"));
    }
}

// ---- Times ----

static uint64_t count_soon(int fd) {
    uint64_t count = 0;
    sleep_ms(20);  // Linux counts when the timer's interrupt comes
    if (read(fd, &count, 8) != 8) say("%s\n", errno_name(errno));
    return count;
}
TEST(timers_set_to_the_past) {
    struct itimerspec set = {{3600, 0}, {1, 0}}, left;
    int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    CALL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL));
    uint64_t count = count_soon(fd);
    FACT("all hours since 1970", count > 450000 && count < 4000000);
    CALL(timerfd_gettime(fd, &left));
    FACT("less than an hour is left", left.it_value.tv_sec < 3600 && left.it_interval.tv_sec == 3600);
    CALL(read(fd, &count, 8));
    set.it_interval = (struct timespec){0, 0};
    CALL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL));
    SHOW(count_soon(fd));
    set.it_interval = (struct timespec){0, 30000000};
    CALL(timerfd_settime(fd, TFD_TIMER_ABSTIME, &set, NULL));
    FACT("many", count_soon(fd) > 1000000000);
    sleep_ms(80);
    count = count_soon(fd);
    FACT("a few more", count >= 2 && count < 1000);
}

// ---- Transfers ----

TEST(vectors_that_overlap) {
    char* p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED && munmap(p + 4096, 4096) == 0);
    memset(p, 'p', 4096);
    int fd = open("file", O_RDWR | O_CREAT, 0600), ends[2];
    struct iovec v[] = {{p + 4000, 96}, {p + 4090, 100}, {p, 10}};
    CALL(writev(fd, v, 2));
    CALL(writev(fd, v, 3));
    CALL(lseek(fd, 0, SEEK_SET));
    CALL(readv(fd, v, 2));
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(pwritev(fd, v + 1, 2, 7000));
    NEED(pipe2(ends, O_NONBLOCK) == 0);
    CALL(writev(ends[1], v, 2));
    CALL(read(ends[0], p, 4096));
    NEED(write(ends[1], p, 200) == 200);
    CALL(readv(ends[0], v, 2));
}

TEST(flags_of_preadv2) {
    struct iovec v[] = {{text, 10}, {text, 0}};
    int fd = open("file", O_RDWR | O_CREAT, 0600), ends[2];
    NEED(pipe(ends) == 0);
    for (long flag = 0x20; flag < 0x200; flag <<= 1) {
        say("flag %lx\n", flag);
        CALL(syscall(SYS_preadv2, fd, v, 0, 0L, 0, flag));
        CALL(syscall(SYS_pwritev2, fd, v, 0, 0L, 0, flag));
        CALL(syscall(SYS_preadv2, ends[0], v + 1, 1, -1L, -1, flag));
        CALL(syscall(SYS_pwritev2, fd, v, 1, 0L, 0, flag));
        CALL(syscall(SYS_preadv2, fd, v, 1, -1L, 0, flag));
        CALL(syscall(SYS_preadv2, 99, v, 1, -1L, 0, flag));
        CALL(syscall(SYS_preadv2, fd, v, 1, -2L, 0, flag));
        CALL(syscall(SYS_preadv2, ends[0], v, 1, 0L, 0, flag));
        CALL(syscall(SYS_preadv2, fd, 8, 1, 0L, 0, flag));
    }
}

// ---- Descriptors ----

TEST(flags_of_new_files) {
    int fd = open("new", O_CREAT | O_EXCL | O_RDWR, 0600);
    say("%x\n", fcntl(fd, F_GETFL));
    say("%x\n", fcntl(open("new2", O_CREAT | O_EXCL | O_NOFOLLOW | O_RDONLY, 0600), F_GETFL));
    NEED(symlink("nowhere", "link") == 0);
    CALL(open("link", O_CREAT | O_EXCL | O_RDWR, 0600));
    CALL(access("nowhere", F_OK));
    CALL(open("link", O_RDONLY | O_NOFOLLOW));
    fd = open("new", O_RDWR | O_APPEND);
    CALL(fallocate(fd, 0, 0, 8192));
    CALL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    int ends[2];
    NEED(pipe(ends) == 0);
    CALL(fcntl(ends[1], F_SETPIPE_SZ, 1L << 32));
    CALL(fcntl(ends[1], F_SETPIPE_SZ, (1L << 32) + 8192));
    CALL(fcntl(ends[1], F_SETPIPE_SZ, 8192));
}

// ---- Futexes ----

static int word;
static void* wait_private(void* unused) {
    (void)unused;
    struct timespec most = {10, 0};
    return (void*)syscall(SYS_futex, &word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &most, NULL, 0);
}
static void* wait_shared(void* unused) {
    (void)unused;
    struct timespec most = {10, 0};
    return (void*)syscall(SYS_futex, &word, FUTEX_WAIT, 0, &most, NULL, 0);
}
TEST(private_and_shared_waiters) {
    pthread_t one, two;
    NEED(pthread_create(&one, NULL, wait_private, NULL) == 0 && pthread_create(&two, NULL, wait_shared, NULL) == 0);
    sleep_ms(100);
    CALL(syscall(SYS_futex, &word, FUTEX_WAKE, 10, NULL, NULL, 0));
    CALL(syscall(SYS_futex, &word, FUTEX_WAKE, 10, NULL, NULL, 0));
    CALL(syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 10, NULL, NULL, 0));
    pthread_join(one, NULL);
    pthread_join(two, NULL);
}

// ---- /proc about processes ----

// The parent of vfork does not hear signals: it is not asleep as others are.
TEST(vfork_parent_state) {
    char path[64], text[600];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)getpid());
    pid_t child = vfork();
    if (child == 0) {
        // It may not have come to its wait yet.
        for (int looks = 0;; ++looks) {
            int fd = open(path, O_RDONLY);
            ssize_t n = read(fd, text, sizeof text - 1);
            close(fd);
            text[n > 0 ? n : 0] = 0;
            if (strrchr(text, ')')[2] != 'R' || looks == 10000) _exit(strrchr(text, ')')[2]);
            sched_yield();
        }
    }
    int status;
    NEED(waitpid(child, &status, 0) == child);
    say("%c\n", WEXITSTATUS(status));
}

TEST(writes_and_ends) {
    static const char* const files[] = {"self/stat",     "self/status", "self/maps",  "self/cmdline", "self/environ",
                                        "self/auxv",     "self/limits", "self/statm", "mounts",       "self/mountinfo",
                                        "self/loginuid", "meminfo",     "version",    "stat",         "cmdline"};
    for (unsigned i = 0; i < sizeof files / sizeof *files; ++i) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%s", files[i]);
        say("%s\n", files[i]);
        int fd = open(path, O_RDWR);
        if (fd < 0) fd = open(path, O_RDONLY);
        NEED(fd >= 0);
        if (strcmp(files[i], "self/loginuid")) CALL(write(fd, "x", 1));
        CALL(lseek(fd, 0, SEEK_END));
        CALL(lseek(fd, -1, SEEK_END));
        CALL(lseek(fd, 0, SEEK_DATA));
        CALL(lseek(fd, 0, SEEK_HOLE));
        CALL(lseek(fd, 5, SEEK_END));
        CALL(lseek(fd, 7, SEEK_SET));
        CALL(lseek(fd, -8, SEEK_CUR));
        CALL(lseek(fd, 0, 5));
        close(fd);
    }
}

// Each thread's own signals, in its files.
static void* blocks_and_shows(void* unused) {
    (void)unused;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTERM);
    NEED(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, 8) == 0);
    NEED(syscall(SYS_tgkill, getpid(), (int)syscall(SYS_gettid), SIGUSR1) == 0);
    char path[64], text[4096];
    for (int which = 0; which < 2; which++) {
        pid_t id = which ? getpid() : (pid_t)syscall(SYS_gettid);
        say(which ? "leader\n" : "thread\n");
        sprintf(path, "/proc/self/task/%d/status", id);
        int fd = open(path, O_RDONLY);
        ssize_t n = read(fd, text, sizeof text - 1);
        NEED(n > 0);
        text[n] = 0;
        close(fd);
        static const char* const names[] = {"SigPnd", "ShdPnd", "SigBlk"};
        for (unsigned i = 0; i < 3; i++) {
            char* at = strstr(text, names[i]);
            NEED(at);
            say("%.24s\n", at);
        }
        sprintf(path, "/proc/self/task/%d/stat", id);
        fd = open(path, O_RDONLY);
        n = read(fd, text, sizeof text - 1);
        NEED(n > 0);
        text[n] = 0;
        close(fd);
        char* at = strrchr(text, ')') + 2;
        for (int field = 3; field < 31; field++) at = strchr(at, ' ') + 1;
        unsigned long pending = strtoul(at, &at, 10), blocked = strtoul(at, NULL, 10);
        say("stat: pending %lx, blocked %lx\n", pending, blocked);
    }
    return NULL;
}
TEST(signals_of_a_thread) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    NEED(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, 8) == 0);
    pthread_t thread;
    NEED(pthread_create(&thread, NULL, blocks_and_shows, NULL) == 0);
    pthread_join(thread, NULL);
}

// sendfile(2) of what is no regular file of a disk.
TEST(sendfile_of_other_files) {
    static const char* const names[] = {"/dev/urandom",    "/dev/random",     "/dev/zero",        "/dev/null",
                                        "/dev/full",       "/proc/uptime",    "/proc/stat",       "/proc/version",
                                        "/proc/self/maps", "/proc/self/stat", "/proc/self/mounts"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int in = open(names[i], O_RDONLY), out = open("o", O_RDWR | O_CREAT | O_TRUNC, 0600);
        NEED(in >= 0 && out >= 0);
        say("%s\n", names[i]);
        off_t at = 1;
        CALL(sendfile(out, in, &at, 3));
        SHOW(at);
        CALL(sendfile(out, in, NULL, 5));
        CALL(lseek(in, 0, SEEK_CUR));
        if (i < 5) CALL(sendfile(out, in, NULL, 300000));
        close(in);
        close(out);
    }
    int ends[2], in = open("/dev/urandom", O_RDONLY);
    NEED(pipe2(ends, O_NONBLOCK) == 0);
    CALL(sendfile(ends[1], in, NULL, 300000));
}

// The check of the mount comes before those of the attribute.
TEST(attributes_on_a_read_only_mount) {
    NEED(mkdir("m", 0755) == 0);
    NEED(mount("none", "m", "tmpfs", 0, NULL) == 0);
    NEED(make_file("m/f", "x", 0600) == 0);
    NEED(mount("none", "m", NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    int fd = open("m/f", O_RDONLY);
    CALL(syscall(SYS_setxattr, "m/f", "user.a", "v", 1, 0));
    CALL(syscall(SYS_setxattr, "m/f", "", "v", 1, 99));
    CALL(syscall(SYS_lsetxattr, "m/f", "user.a", "v", 1, 0));
    CALL(syscall(SYS_fsetxattr, fd, "user.a", "v", 1, 0));
    CALL(syscall(SYS_removexattr, "m/f", "user.a"));
    CALL(syscall(SYS_lremovexattr, "m/f", "user.a"));
    CALL(syscall(SYS_fremovexattr, fd, "user.a"));
    CALL(syscall(SYS_getxattr, "m/f", "user.a", NULL, 0));
    CALL(syscall(SYS_fgetxattr, fd, "user.a", NULL, 0));
    CALL(syscall(SYS_setxattr, "m/none", "user.a", "v", 1, 0));
    CALL(syscall(SYS_fsetxattr, 99, "user.a", "v", 1, 0));
    close(fd);
    NEED(umount("m") == 0);
}
