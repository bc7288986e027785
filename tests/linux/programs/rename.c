// SPDX-License-Identifier: MIT
// rename and renameat2: every pair of kinds, flags, loops, and what others see.
#include "check.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

static const char* const kinds[] = {"missing", "file", "empty", "full", "link", "dirlink", "dangling"};

static void wipe(void) {
    for (int i = 0; i < 2; i++) {
        if (chdir(i ? "t" : "s") < 0) continue;
        for (int k = 1; k < 7; k++) {
            char inner[32];
            snprintf(inner, sizeof inner, "%s/x", kinds[k]);
            unlink(inner);
            if (unlink(kinds[k]) < 0) rmdir(kinds[k]);
        }
        unlink("missing/x");
        if (unlink("missing") < 0) rmdir("missing");
        NEED(chdir("..") == 0 && rmdir(i ? "t" : "s") == 0);
    }
}

static void tree(void) {
    NEED(mkdir("s", 0755) == 0 && mkdir("t", 0755) == 0);
    for (int i = 0; i < 2; i++) {
        NEED(chdir(i ? "../t" : "s") == 0);
        make_file("file", i ? "target" : "source", 0644);
        mkdir("empty", 0755), mkdir("full", 0755);
        make_file("full/x", "x", 0644);
        NEED(symlink("file", "link") == 0 && symlink("full", "dirlink") == 0 && symlink("nowhere", "dangling") == 0);
    }
    NEED(chdir("..") == 0);
}

static const char* kind_of(const char* path) {
    struct stat s;
    if (lstat(path, &s) < 0) return "nothing";
    return S_ISDIR(s.st_mode) ? "directory" : S_ISLNK(s.st_mode) ? "link" : S_ISREG(s.st_mode) ? "file" : "other";
}

static void matrix(unsigned flags) {
    for (int a = 0; a < 7; a++)
        for (int b = 0; b < 7; b++) {
            char from[32], to[32];
            snprintf(from, sizeof from, "s/%s", kinds[a]);
            snprintf(to, sizeof to, "t/%s", kinds[b]);
            wipe();
            tree();
            errno = 0;
            long r = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
            say("%s -> %s: %s", kinds[a], kinds[b], r == 0 ? "ok" : errno_name(errno));
            if (r == 0) say(", left %s, now %s", kind_of(from), kind_of(to));
            say("\n");
        }
}
TEST(matrix_plain) { matrix(0); }
TEST(matrix_noreplace) { matrix(RENAME_NOREPLACE); }
TEST(matrix_exchange) { matrix(RENAME_EXCHANGE); }

TEST(bad_flags) {
    tree();
    CALL(syscall(SYS_renameat2, AT_FDCWD, "s/file", AT_FDCWD, "t/file", RENAME_NOREPLACE | RENAME_EXCHANGE));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "s/file", AT_FDCWD, "t/file", 0x100));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "s/file", AT_FDCWD, "t/file", RENAME_WHITEOUT | RENAME_EXCHANGE));
    show_file("s/file");
    show_file("t/file");
    CALL(syscall(SYS_renameat2, AT_FDCWD, "s/file", AT_FDCWD, "t/file", 0));
    show_file("t/file");
}

TEST(same_file) {
    tree();
    CALL(rename("s/file", "s/file"));
    CALL(link("s/file", "s/second"));
    CALL(rename("s/file", "s/second"));
    say("%s %s\n", kind_of("s/file"), kind_of("s/second"));
    CALL(rename("s/full", "s/full"));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "s/file", AT_FDCWD, "s/file", RENAME_NOREPLACE));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "s/file", AT_FDCWD, "s/file", RENAME_EXCHANGE));
}

TEST(into_itself) {
    NEED(mkdir("a", 0700) == 0 && mkdir("a/b", 0700) == 0 && mkdir("a/b/c", 0700) == 0);
    CALL(rename("a", "a/x"));
    CALL(rename("a", "a/b/c/x"));
    CALL(rename("a/b", "a/b/c"));
    CALL(rename("a/b/c", "a"));
    CALL(rename("a/b/c", "a/b"));
    CALL(rename("a/b/c", "a/c"));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "a/b", RENAME_EXCHANGE));
    CALL(rename("a", "a/b/../c"));
}

TEST(dots_and_slashes) {
    tree();
    CALL(rename(".", "x"));
    CALL(rename("s/.", "x"));
    CALL(rename("s/..", "x"));
    CALL(rename("s", "t/."));
    CALL(rename("s", "t/.."));
    CALL(rename("/", "x"));
    CALL(rename("s", "/"));
    CALL(rename("s/file/", "x"));
    CALL(rename("s/file", "x/"));
    CALL(rename("s/empty/", "s/moved/"));
    CALL(rename("s/link/", "x"));
    CALL(rename("s/dirlink/", "x"));
    CALL(rename("", "x"));
    CALL(rename("s", ""));
    CALL(rename("s/file/x", "y"));
    CALL(rename("s/file", "no/y"));
    CALL(rename("s/file", "t/file/y"));
}

TEST(replaced_file_lives_on) {
    make_file("a", "first", 0600);
    make_file("b", "second", 0600);
    int fd = open("b", O_RDONLY);
    CALL(rename("a", "b"));
    char text[16] = "";
    CALL(read(fd, text, 15));
    say("%s\n", text);
    show_file("b");
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    SHOW(s.st_nlink);
}

TEST(replaced_directory_lives_on) {
    NEED(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0 && make_file("a/x", "", 0600) == 0);
    int fd = open("b", O_RDONLY);
    CALL(rename("a", "b"));
    OKAY(openat(fd, "y", O_CREAT | O_RDWR, 0600));
    OKAY(openat(fd, "x", O_RDONLY));
    CALL(access("b/x", F_OK));
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    SHOW(s.st_nlink);
}

TEST(parents_follow) {
    NEED(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0 && mkdir("a/sub", 0700) == 0);
    int fd = open("a/sub", O_RDONLY);
    struct stat s, b;
    CALL(rename("a/sub", "b/sub"));
    NEED(fstatat(fd, "..", &s, 0) == 0 && stat("b", &b) == 0);
    IS(s.st_ino == b.st_ino);
    SHOW(b.st_nlink);
    NEED(stat("a", &s) == 0);
    SHOW(s.st_nlink);
    CALL(syscall(SYS_renameat2, AT_FDCWD, "b/sub", AT_FDCWD, "a", RENAME_EXCHANGE));
    NEED(stat("b", &b) == 0);
    SHOW(b.st_nlink);
}

TEST(across_file_systems) {
    make_file("a", "", 0600);
    CALL(rename("a", "/proc/x"));
    CALL(rename("/proc/self/stat", "b"));
    CALL(rename("a", "/dev/x_y_z") == 0 ? unlink("/dev/x_y_z") : -1);
}

TEST(sticky_directory) {
    chmod(".", 0755);
    NEED(mkdir("d", 0777) == 0 && chmod("d", 01777) == 0);
    NEED(make_file("d/roots", "", 0666) == 0 && make_file("d/users", "", 0666) == 0 &&
         chown("d/users", 1000, 1000) == 0);
    CHILD("as user 1000") {
        NEED(setgid(1000) == 0 && setuid(1000) == 0);
        CALL(unlink("d/roots"));
        CALL(rename("d/roots", "d/x"));
        CALL(rename("d/users", "d/roots"));
        CALL(rename("d/users", "d/mine"));
        CALL(unlink("d/mine"));
    }
    NEED(chmod("d", 0777) == 0);
    CHILD("without the sticky bit") {
        NEED(setgid(1000) == 0 && setuid(1000) == 0);
        CALL(unlink("d/roots"));
    }
}

TEST(concurrent_renames) {
    // Two processes move one directory to and fro under two parents; it must exist once at the end.
    NEED(mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0 && mkdir("a/d", 0700) == 0);
    pid_t pid = fork();
    for (int i = 0; i < 200; i++) {
        if (pid == 0)
            rename("a/d", "b/d");
        else
            rename("b/d", "a/d");
    }
    if (pid == 0) _exit(0);
    reap("child", pid);
    SHOW((access("a/d", F_OK) == 0) + (access("b/d", F_OK) == 0));
    struct stat a, b;
    NEED(stat("a", &a) == 0 && stat("b", &b) == 0);
    SHOW(a.st_nlink + b.st_nlink);
}

TEST(readers_always_find_one) {
    make_file("f", "old", 0600);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 100; i++) {
            make_file("g", "new", 0600);
            if (rename("g", "f") < 0) _exit(1);
        }
        _exit(0);
    }
    int missing = 0;
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        int fd = open("f", O_RDONLY);
        missing += fd < 0;
        if (fd >= 0) close(fd);
    }
    SHOW(missing);
}

TEST(whiteout) {
    enum { kWhiteout = 4 };
    NEED(make_file("f", "text", 0600) == 0 && mkdir("d", 0700) == 0);
    CALL(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "d/g", kWhiteout));
    struct stat s;
    NEED(lstat("f", &s) == 0);
    say("mode %o, device %ld, links %ld\n", s.st_mode, (long)s.st_rdev, (long)s.st_nlink);
    show_file("d/g");
    CALL(syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "e", kWhiteout));
    NEED(lstat("d", &s) == 0);
    say("mode %o\n", s.st_mode);
    NEED(stat(".", &s) == 0);
    SHOW(s.st_nlink);
    NEED(make_file("g", "more", 0600) == 0 && make_file("h", "", 0600) == 0);
    CALL(syscall(SYS_renameat2, AT_FDCWD, "g", AT_FDCWD, "h", kWhiteout));
    show_file("h");
    CALL(syscall(SYS_renameat2, AT_FDCWD, "g", AT_FDCWD, "e", kWhiteout));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "none", AT_FDCWD, "i", kWhiteout));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "g", kWhiteout | 2));
    CALL(syscall(SYS_renameat2, AT_FDCWD, "h", AT_FDCWD, "g", kWhiteout | 1));
    chmod(".", 0777);
    CHILD("user") {
        NEED(setuid(1000) == 0);
        NEED(make_file("own", "", 0600) == 0);
        CALL(syscall(SYS_renameat2, AT_FDCWD, "own", AT_FDCWD, "other", kWhiteout));
    }
    CALL(access("own", F_OK));
}
