// SPDX-License-Identifier: MIT
// Calls on files concurrent with others that undo what they rely on, and calls whose work a program may make long.
#include "check.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/sendfile.h>

// Runs `body` over and over in a process of its own, as user `uid`, until stop().
static pid_t start(uid_t uid, void (*body)(void)) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    if (uid != 0) NEED(setgid(uid) == 0 && setuid(uid) == 0);
    for (;;) body();
}
static void stop(pid_t pid) {
    kill(pid, SIGKILL);
    NEED(waitpid(pid, NULL, 0) == pid);
}

static void rename_to_and_fro(void) {
    rename("x", "y");
    rename("y", "x");
}

// A lookup that takes longer than a rename ends, although renames never do.
TEST(lookup_beside_renames) {
    static char path[4096], there[8192];
    for (int i = 0; i < 2000; i++) strcat(path, "./");
    strcat(path, "f");
    make_file("x", "", 0600), make_file("f", "", 0600);
    int top = open(".", O_RDONLY);
    NEED(mkdir("deep", 0700) == 0 && chdir("deep") == 0);
    for (int i = 0; i < 60; i++)
        NEED(mkdir("a-long-name-of-a-directory", 0700) == 0 && chdir("a-long-name-of-a-directory") == 0);
    int here = open(".", O_RDONLY);
    NEED(fchdir(top) == 0);
    pid_t pid = start(0, rename_to_and_fro);
    int failed = 0;
    struct stat s;
    for (int i = 0; i < 100; i++) failed += stat(path, &s) != 0;
    for (int i = 0; i < 100; i++) {
        int fd = open(path, O_CREAT | O_RDWR, 0600);
        failed += fd < 0;
        close(fd);
    }
    NEED(fchdir(here) == 0);
    for (int i = 0; i < 100; i++) failed += getcwd(there, sizeof there) == NULL;
    NEED(fchdir(top) == 0);
    stop(pid);
    SHOW(failed);
}

static void make_set_id(void) { chmod("f", 06755); }

// Whose file it is and whether it is set-user-ID: never the one from before a chown and the other from after it.
TEST(chmod_beside_chown) {
    chmod(".", 0777);
    make_file("f", "", 0644);
    pid_t pid = start(1000, make_set_id);
    int wrong = 0;
    for (int i = 0; i < 2000; i++) {
        struct stat s;
        NEED(chown("f", 1000, 1000) == 0 && chown("f", 0, 0) == 0 && stat("f", &s) == 0);
        wrong += (s.st_mode & 06000) != 0;
    }
    stop(pid);
    SHOW(wrong);
}

static void look_into_mount(void) {
    struct stat s;
    stat("m/.", &s), stat("m/..", &s), stat("m/a/b", &s);
}

TEST(umount_beside_lookups) {
    NEED(mkdir("m", 0755) == 0);
    pid_t pid = start(0, look_into_mount), second = start(0, look_into_mount);
    int failed = 0;
    for (int i = 0; i < 100; i++) failed += mount("none", "m", "tmpfs", 0, "") != 0 || umount2("m", MNT_DETACH) != 0;
    stop(pid), stop(second);
    SHOW(failed);
}

static int mounts(void) {
    static char text[1 << 18];
    int fd = open("/proc/mounts", O_RDONLY), lines = 0;
    for (ssize_t n; (n = read(fd, text, sizeof text)) > 0;)
        for (ssize_t i = 0; i < n; i++) lines += text[i] == '\n';
    close(fd);
    return lines;
}

TEST(detach_many_mounts) {
    int before = mounts();
    char name[32];
    NEED(mkdir("m", 0755) == 0 && mount("none", "m", "tmpfs", 0, "") == 0 && chdir("m") == 0);
    // 60 nested, and 60 side by side.
    for (int i = 0; i < 60; i++)
        NEED(mkdir("d", 0755) == 0 && mount("none", "d", "tmpfs", 0, "") == 0 && chdir("d") == 0);
    NEED(chdir("/tmp/case/m") == 0);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "s%d", i);
        NEED(mkdir(name, 0755) == 0 && mount("none", name, "tmpfs", 0, "") == 0);
    }
    NEED(chdir("/tmp/case") == 0);
    SHOW(mounts() - before);
    CALL(umount2("m", MNT_DETACH));
    SHOW(mounts() - before);
    SHOW(access("m/d", F_OK));
    // The same directory seen through two mounts: what is mounted on it in the one stays.
    NEED(mkdir("n", 0755) == 0 && mount("none", "m", "tmpfs", 0, "") == 0 && mkdir("m/p", 0755) == 0);
    NEED(mount("m", "n", NULL, MS_BIND, NULL) == 0);
    NEED(mount("none", "n/p", "tmpfs", 0, "") == 0 && mount("none", "m/p", "tmpfs", 0, "") == 0);
    make_file("n/p/seen", "", 0600);
    CALL(umount2("m", MNT_DETACH));
    CALL(access("n/p/seen", F_OK));
    CALL(umount2("n/p", 0));
    CALL(access("n/p/seen", F_OK));
    CALL(rmdir("n/p"));
    CALL(umount2("n", 0));
    SHOW(mounts() - before);
}

static int watch(int set, int fd) {
    struct epoll_event e = {.events = EPOLLIN};
    return epoll_ctl(set, EPOLL_CTL_ADD, fd, &e);
}

// Four layers of sets, each of which holds all of the layer below; then one more at the bottom, again and again.
TEST(sets_in_sets) {
    enum { kWide = 50, kLayers = 4 };
    static int sets[kLayers][kWide];
    int failed = 0;
    for (int layer = 0; layer < kLayers; layer++)
        for (int i = 0; i < kWide; i++) {
            NEED((sets[layer][i] = epoll_create1(0)) >= 0);
            for (int j = 0; layer > 0 && j < kWide; j++) failed += watch(sets[layer][i], sets[layer - 1][j]) != 0;
        }
    SHOW(failed);
    int fresh = epoll_create1(0);
    struct epoll_event e;
    for (int i = 0; i < 500; i++)
        failed += watch(sets[0][0], fresh) != 0 || epoll_ctl(sets[0][0], EPOLL_CTL_DEL, fresh, &e) != 0;
    SHOW(failed);
    // A file has too many paths.
    int event = eventfd(0, 0);
    CALL(watch(sets[0][0], event));
    CALL(watch(sets[3][0], event));
}

TEST(one_file_in_many_sets) {
    int event = eventfd(0, 0), sets[700];
    for (int i = 0; i < 700; i++) NEED((sets[i] = epoll_create1(0)) >= 0 && watch(sets[i], event) == 0);
    for (int i = 0; i < 700; i += 2) close(sets[i]);
    struct epoll_event e;
    int failed = 0;
    for (int i = 1; i < 700; i += 4) failed += epoll_ctl(sets[i], EPOLL_CTL_DEL, event, &e) != 0;
    uint64_t one = 1;
    NEED(write(event, &one, 8) == 8);
    int ready = 0;
    for (int i = 3; i < 700; i += 4) ready += epoll_wait(sets[i], &e, 1, 0);
    SHOW(failed);
    SHOW(ready);
    close(event);
    SHOW(epoll_wait(sets[3], &e, 1, 0));
}

TEST(user_watches) {
    static const char file[] = "/proc/sys/fs/epoll/max_user_watches";
    char old[32] = "";
    int fd = open(file, O_RDWR);
    NEED(fd >= 0 && read(fd, old, sizeof old - 1) > 0);
    IS(atol(old) > 1000);
    NEED(pwrite(fd, "10\n", 3, 0) == 3);
    show_file(file);
    CHILD("user") {
        NEED(setuid(1000) == 0);
        int set = epoll_create1(0), second = epoll_create1(0), event = eventfd(0, 0);
        for (int i = 0; i < 10; i++) NEED(watch(i % 2 ? set : second, dup(event)) == 0);
        CALL(watch(set, event));
        CALL(watch(second, event));
        CALL(watch(second, set));
        close(set);
        CALL(watch(second, event));
        CALL(watch(second, event));
        struct epoll_event e;
        CALL(epoll_ctl(second, EPOLL_CTL_DEL, event, &e));
        for (int i = 0; i < 5; i++) NEED(watch(second, dup(event)) == 0);
        CALL(watch(second, event));
        CALL(open("/proc/sys/fs/epoll/max_user_watches", O_WRONLY));
    }
    NEED(pwrite(fd, old, strlen(old), 0) > 0);
}

static volatile int too_large;
static void on_xfsz(int number) {
    (void)number;
    too_large++;
}

TEST(copies_keep_the_file_limit) {
    static char text[100000];
    int from = open("from", O_RDWR | O_CREAT, 0600), to = open("to", O_RDWR | O_CREAT, 0600);
    NEED(write(from, text, sizeof text) == sizeof text);
    on_signal(SIGXFSZ, on_xfsz, 0);
    struct rlimit limit = {50000, RLIM_INFINITY};
    NEED(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    off_t at = 0;
    CALL(sendfile(to, from, &at, sizeof text));
    SHOW(at);
    SHOW(too_large), too_large = 0;
    CALL(sendfile(to, from, &at, 100));
    SHOW(too_large), too_large = 0;
    loff_t in = 0, out = 40000;
    CALL(copy_file_range(from, &in, to, &out, 30000, 0));
    SHOW(too_large), too_large = 0;
    CALL(copy_file_range(from, &in, to, &out, 30000, 0));
    SHOW(too_large), too_large = 0;
    in = sizeof text;
    CALL(copy_file_range(from, &in, to, &out, 30000, 0));
    SHOW(too_large), too_large = 0;
    struct stat s;
    NEED(fstat(to, &s) == 0);
    SHOW(s.st_size);
}

static unsigned mode_of(int fd) {
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    return s.st_mode & 07777;
}

// The writer decides about the set-ID bits, not the opener of the file.
TEST(copies_take_set_id_away) {
    int from = open("from", O_RDWR | O_CREAT, 0600);
    NEED(write(from, "text", 4) == 4);
    int a = open("a", O_RDWR | O_CREAT, 0600), b = open("b", O_RDWR | O_CREAT, 0600);
    NEED(fchmod(a, 06755) == 0 && fchmod(b, 06755) == 0);
    off_t at = 0;
    CALL(sendfile(a, from, &at, 4));
    say("mode %o\n", mode_of(a));
    CHILD("user") {
        NEED(setgid(1000) == 0 && setuid(1000) == 0);
        at = 0;
        CALL(sendfile(a, from, &at, 4));
        loff_t in = 0;
        CALL(copy_file_range(from, &in, b, NULL, 4, 0));
    }
    say("modes %o %o\n", mode_of(a), mode_of(b));
}

HELPER(wait_for_end) {
    char c;
    (void)!write(3, "r", 1);
    (void)!read(4, &c, 1);
}

// A long program that runs is not cut.
TEST(truncating_a_running_program) {
    static char block[1 << 16];
    int in = open("/proc/self/exe", O_RDONLY), out = open("program", O_WRONLY | O_CREAT, 0755);
    for (ssize_t n; (n = read(in, block, sizeof block)) > 0;) NEED(write(out, block, (size_t)n) == n);
    memset(block, 1, sizeof block);
    for (int i = 0; i < 96; i++) NEED(write(out, block, sizeof block) == sizeof block);
    struct stat before, after;
    NEED(fstat(out, &before) == 0);
    close(in), close(out);
    int ready[2], end[2];
    NEED(pipe(ready) == 0 && pipe(end) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        NEED(dup2(ready[1], 20) == 20 && dup2(end[0], 21) == 21 && dup2(20, 3) == 3 && dup2(21, 4) == 4);
        for (int fd = 5; fd < 32; fd++) close(fd);
        execl("./program", "./program", "wait_for_end", NULL);
        _exit(1);
    }
    char c;
    NEED(read(ready[0], &c, 1) == 1);
    CALL(open("program", O_RDONLY | O_TRUNC));
    CALL(open("program", O_WRONLY | O_TRUNC));
    CALL(truncate("program", 0));
    NEED(stat("program", &after) == 0);
    IS(before.st_size == after.st_size && before.st_blocks == after.st_blocks);
    close(end[1]);
    reap("program", pid);
    CALL(open("program", O_RDONLY | O_TRUNC) >= 0);
    NEED(stat("program", &after) == 0);
    SHOW(after.st_size);
}
