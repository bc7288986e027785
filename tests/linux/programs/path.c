// SPDX-License-Identifier: MIT
// Paths: open and its flags, names and slashes, links, times, stat in its forms.
#include "check.h"

#include <linux/stat.h>
#include <sys/sysmacros.h>
#include <utime.h>

static void tree(void) {
    NEED(mkdir("dir", 0755) == 0 && make_file("file", "content", 0644) == 0 && make_file("dir/inner", "in", 0644) == 0);
    NEED(symlink("file", "link") == 0 && symlink("dir", "dirlink") == 0 && symlink("nowhere", "dangling") == 0);
    NEED(symlink("loop2", "loop1") == 0 && symlink("loop1", "loop2") == 0);
}

#define OPEN(path, flags)                                         \
    do {                                                          \
        errno = 0;                                                \
        long result_ = open(path, flags, 0644);                   \
        say_result("open " #path ", " #flags, result_, errno, 0); \
    } while (0)

TEST(open_flags_on_file) {
    tree();
    OPEN("file", O_RDONLY);
    OPEN("file", O_CREAT | O_EXCL | O_RDWR);
    OPEN("file", O_CREAT | O_RDWR);
    OPEN("file", O_DIRECTORY);
    OPEN("file", O_DIRECTORY | O_CREAT);
    OPEN("file", O_NOFOLLOW);
    OPEN("file", O_PATH);
    OPEN("file", O_ACCMODE);
    OPEN("file", O_RDONLY | O_EXCL);
    OPEN("file", O_RDONLY | O_TRUNC);
    show_file("file");
    OPEN("file/", O_RDONLY);
    OPEN("file/x", O_RDONLY);
    OPEN("file/.", O_RDONLY);
    OPEN("file/..", O_RDONLY);
}

TEST(open_flags_on_directory) {
    tree();
    OPEN("dir", O_RDONLY);
    OPEN("dir", O_WRONLY);
    OPEN("dir", O_RDWR);
    OPEN("dir", O_RDONLY | O_CREAT);
    OPEN("dir", O_RDONLY | O_CREAT | O_EXCL);
    OPEN("dir", O_RDONLY | O_TRUNC);
    OPEN("dir", O_DIRECTORY);
    OPEN("dir/", O_RDONLY);
    OPEN("dir//inner", O_RDONLY);
    OPEN("dir/./../dir/inner", O_RDONLY);
    OPEN("dir", O_PATH | O_WRONLY);
    OPEN(".", O_RDONLY);
    OPEN("/", O_RDONLY);
    OPEN("///", O_RDONLY);
    OPEN("", O_RDONLY);
    OPEN("new/", O_CREAT | O_WRONLY);
    OPEN("dir/new/", O_CREAT | O_WRONLY);
}

TEST(open_flags_on_links) {
    tree();
    OPEN("link", O_RDONLY);
    OPEN("link", O_NOFOLLOW);
    OPEN("link", O_NOFOLLOW | O_PATH);
    OPEN("link", O_CREAT | O_EXCL | O_RDWR);
    OPEN("dangling", O_RDONLY);
    OPEN("dangling", O_CREAT | O_EXCL | O_RDWR);
    OPEN("dangling", O_CREAT | O_RDWR);
    struct stat s;
    CALL(lstat("nowhere", &s));
    OPEN("dirlink", O_DIRECTORY);
    OPEN("dirlink", O_DIRECTORY | O_NOFOLLOW);
    OPEN("dirlink/", O_DIRECTORY | O_NOFOLLOW);
    OPEN("dirlink/inner", O_NOFOLLOW);
    OPEN("loop1", O_RDONLY);
    OPEN("loop1/x", O_RDONLY);
    OPEN("loop1", O_NOFOLLOW);
    OPEN("loop1", O_PATH | O_NOFOLLOW);
    OPEN("link/", O_RDONLY);
}

TEST(create_modes) {
    static const int masks[] = {0, 022, 077, 0777};
    for (int i = 0; i < 4; i++) {
        umask((mode_t)masks[i]);
        struct stat f, d;
        close(open("f", O_CREAT | O_WRONLY, 06777));
        mkdir("d", 01777);
        NEED(stat("f", &f) == 0 && stat("d", &d) == 0);
        say("umask %03o: file %o, directory %o\n", masks[i], f.st_mode, d.st_mode);
        unlink("f"), rmdir("d");
    }
    CALL(umask(01777));
    CALL(umask(0));
}

TEST(tmpfile) {
    mkdir("d", 0700);
    int fd = open("d", O_TMPFILE | O_RDWR, 0600);
    say("%s\n", fd >= 0 ? "ok" : errno_name(errno));
    if (fd >= 0) {
        struct stat s;
        NEED(fstat(fd, &s) == 0);
        say("links %ld, mode %o\n", (long)s.st_nlink, s.st_mode);
        CALL(write(fd, "abc", 3));
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        CALL(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        show_file("named");
    }
    CALL(open("d", O_TMPFILE | O_RDONLY, 0600));
    CALL(open("missing", O_TMPFILE | O_RDWR, 0600));
}

TEST(at_calls) {
    tree();
    int d = open("dir", O_RDONLY), f = open("file", O_RDONLY), p = open("dir", O_PATH);
    OKAY(openat(d, "inner", O_RDONLY));
    OKAY(openat(p, "inner", O_RDONLY));
    OKAY(openat(f, "inner", O_RDONLY));
    OKAY(openat(99, "inner", O_RDONLY));
    OKAY(openat(99, "/", O_RDONLY));
    OKAY(openat(-1, "inner", O_RDONLY));
    CALL(mkdirat(d, "sub", 0700));
    CALL(symlinkat("inner", d, "l"));
    CALL(unlinkat(d, "sub", 0));
    CALL(unlinkat(d, "l", AT_REMOVEDIR));
    CALL(unlinkat(d, "sub", AT_REMOVEDIR));
    CALL(unlinkat(d, "l", 0x10));
    CALL(faccessat(d, "inner", R_OK, 0));
    CALL(faccessat(d, "missing", R_OK, 0));
    CALL(fchmodat(d, "inner", 0600, 0));
    CALL(fchmodat(d, "missing", 0600, 0));
    CALL(fchownat(d, "inner", 1, 1, AT_SYMLINK_NOFOLLOW));
    CALL(fchownat(d, "missing", 1, 1, AT_SYMLINK_NOFOLLOW));
    struct stat s;
    CALL(fstatat(d, "", &s, AT_EMPTY_PATH));
    IS(S_ISDIR(s.st_mode));
    CALL(fstatat(d, "", &s, 0));
    CALL(fstatat(f, "", &s, AT_EMPTY_PATH));
    CALL(fstatat(d, "l", &s, AT_SYMLINK_NOFOLLOW));
    IS(S_ISLNK(s.st_mode));
    CALL(fstatat(d, "l", &s, 0x8000));
    CALL(fchdir(d));
    CALL(fchdir(f));
    CALL(access("inner", F_OK));
    // A directory that was removed while open.
    CALL(mkdir("gone", 0700));
    int gone = open("gone", O_RDONLY);
    CALL(rmdir("gone"));
    OKAY(openat(gone, "x", O_CREAT | O_RDWR, 0600));
    CALL(mkdirat(gone, "x", 0600));
    OKAY(openat(gone, ".", O_RDONLY));
    OKAY(openat(gone, "..", O_RDONLY));
}

TEST(names) {
    char name[300];
    memset(name, 'n', sizeof name);
    name[255] = 0;
    CALL(mkdir(name, 0700) == 0 && rmdir(name) == 0);
    name[255] = 'n', name[256] = 0;
    CALL(mkdir(name, 0700));
    CALL(open(name, O_RDONLY));
    CALL(symlink("x", name));
    CALL(unlink(name));
    char* path = malloc(6000);
    memset(path, '/', 6000);
    path[4095] = 0;
    OKAY(open(path, O_RDONLY));
    path[4095] = '/', path[4096] = 0;
    OKAY(open(path, O_RDONLY));
    for (int i = 0; i < 4094; i += 2) path[i] = '.', path[i + 1] = '/';
    path[4094] = '.', path[4095] = 0;
    OKAY(open(path, O_RDONLY));
    CALL(mkdir("a b\n\xff", 0700));
    CALL(access("a b\n\xff", F_OK));
    path[4095] = 0, memset(path, 'x', 4095);
    CALL(symlink(path, "long"));
    path[4095] = 'x', path[4096] = 0;
    CALL(symlink(path, "longer"));
    CALL(symlink("", "empty"));
    CALL(readlink("long", path, 6000));
}

TEST(dots) {
    tree();
    struct stat a, b;
    memset(&a, 0, sizeof a);
    NEED(stat(".", &a) == 0 && stat("dir/..", &b) == 0);
    IS(S_ISDIR(a.st_mode));
    IS(a.st_ino == b.st_ino);
    NEED(stat("/", &a) == 0 && stat("/..", &b) == 0);
    IS(a.st_ino == b.st_ino);
    CALL(mkdir(".", 0700));
    CALL(mkdir("..", 0700));
    CALL(mkdir("/", 0700));
    CALL(mkdir("dir/", 0700));
    CALL(mkdir("newdir/", 0700));
    CALL(rmdir("."));
    CALL(rmdir("dir/."));
    CALL(rmdir("dir/.."));
    CALL(rmdir("/"));
    CALL(unlink("."));
    CALL(unlink("dir/.."));
    CALL(unlink("/"));
    CALL(unlink("newdir/"));
    CALL(rmdir("newdir/"));
    CALL(link("file", "."));
    CALL(symlink("x", "."));
    CALL(open(".", O_CREAT | O_EXCL, 0600));
}

TEST(make_and_remove) {
    tree();
    CALL(mkdir("dir", 0700));
    CALL(mkdir("file", 0700));
    CALL(mkdir("link", 0700));
    CALL(mkdir("dangling", 0700));
    CALL(mkdir("no/such", 0700));
    CALL(mkdir("file/x", 0700));
    CALL(mkdir("dirlink/x", 0700));
    CALL(rmdir("dir"));
    CALL(rmdir("file"));
    CALL(rmdir("missing"));
    CALL(rmdir("dirlink"));
    CALL(rmdir("dir/x"));
    CALL(unlink("dir"));
    CALL(unlink("missing"));
    CALL(unlink("file/x"));
    CALL(unlink("dangling"));
    CALL(unlink("link"));
    CALL(unlink("file"));
    CALL(unlink("dir/inner"));
    CALL(rmdir("dir"));
    CALL(access("dirlink", F_OK));
    CALL(mknod("n", S_IFREG | 0600, 0));
    CALL(mknod("n", S_IFREG | 0600, 0));
    CALL(mknod("d", S_IFDIR | 0600, 0));
    CALL(mknod("s", S_IFLNK | 0600, 0));
    CALL(mknod("c", S_IFCHR | 0600, makedev(1, 3)));
    CALL(write(open("c", O_WRONLY), "abc", 3));
    CALL(mknod("zero", 0600, 0));
    CALL(mknod("sock", S_IFSOCK | 0600, 0));
    CALL(open("sock", O_RDONLY));
}

TEST(hard_links) {
    tree();
    struct stat a, b;
    CALL(link("file", "second"));
    NEED(stat("file", &a) == 0 && stat("second", &b) == 0);
    IS(a.st_ino == b.st_ino);
    SHOW(a.st_nlink);
    CALL(link("file", "second"));
    CALL(link("dir", "dir2"));
    CALL(link("missing", "x"));
    CALL(link("file", "no/x"));
    CALL(link("link", "link2"));
    NEED(lstat("link2", &a) == 0);
    IS(S_ISLNK(a.st_mode));
    CALL(linkat(AT_FDCWD, "link", AT_FDCWD, "link3", AT_SYMLINK_FOLLOW));
    NEED(lstat("link3", &a) == 0);
    IS(S_ISREG(a.st_mode));
    CALL(linkat(AT_FDCWD, "link", AT_FDCWD, "link4", 0x8));
    CALL(unlink("file"));
    show_file("second");
    NEED(stat("second", &a) == 0);
    SHOW(a.st_nlink);
    CALL(link("/proc/self/stat", "x"));
}

TEST(directory_link_counts) {
    struct stat s;
    NEED(mkdir("d", 0700) == 0 && stat("d", &s) == 0);
    SHOW(s.st_nlink);
    NEED(mkdir("d/a", 0700) == 0 && mkdir("d/b", 0700) == 0 && make_file("d/f", "", 0600) == 0 && stat("d", &s) == 0);
    SHOW(s.st_nlink);
    NEED(rmdir("d/a") == 0 && stat("d", &s) == 0);
    SHOW(s.st_nlink);
    int fd = open("d/b", O_RDONLY);
    NEED(rmdir("d/b") == 0 && fstat(fd, &s) == 0);
    SHOW(s.st_nlink);
}

TEST(symlink_chains) {
    char from[16], to[16];
    make_file("l0", "end", 0600);
    for (int i = 1; i <= 42; i++) {
        snprintf(to, sizeof to, "l%d", i - 1);
        snprintf(from, sizeof from, "l%d", i);
        NEED(symlink(to, from) == 0);
    }
    OKAY(open("l39", O_RDONLY));
    OKAY(open("l40", O_RDONLY));
    OKAY(open("l41", O_RDONLY));
    NEED(mkdir("d", 0700) == 0 && symlink(".", "d/here") == 0);
    char path[600] = "d";
    for (int i = 0; i < 40; i++) strcat(path, "/here");
    OKAY(open(path, O_RDONLY));
    strcat(path, "/here");
    OKAY(open(path, O_RDONLY));
}

TEST(readlink_rules) {
    tree();
    char text[64];
    memset(text, '#', sizeof text);
    CALL(readlink("link", text, sizeof text));
    CALL(text[4] == '#');
    CALL(readlink("link", text, 2));
    CALL(syscall(SYS_readlink, "link", text, 0));
    CALL(syscall(SYS_readlink, "link", text, -1));
    CALL(readlink("file", text, sizeof text));
    CALL(readlink("dir", text, sizeof text));
    CALL(readlink("missing", text, sizeof text));
    CALL(readlink("link/", text, sizeof text));
    CALL(readlink("dirlink/", text, sizeof text));
    CALL(readlink("loop1", text, sizeof text));
    int fd = open("link", O_PATH | O_NOFOLLOW);
    CALL(readlinkat(fd, "", text, sizeof text));
    struct stat s;
    NEED(lstat("link", &s) == 0);
    SHOW(s.st_size);
    SHOW(s.st_mode);
}

TEST(unlinked_open_file) {
    make_file("f", "content", 0600);
    int fd = open("f", O_RDWR);
    CALL(unlink("f"));
    CALL(access("f", F_OK));
    char text[16] = "";
    CALL(read(fd, text, 16));
    CALL(write(fd, " more", 5));
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    say("links %ld, size %ld\n", (long)s.st_nlink, (long)s.st_size);
    make_file("f", "new", 0600);
    CALL(pread(fd, text, 16, 0));
    say("%s\n", text);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    CALL(linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
    ssize_t n = readlink(path, text, 0);
    (void)n;
}

TEST(getcwd_rules) {
    char text[4096];
    NEED(getcwd(text, sizeof text));
    size_t base = strlen(text);
    mkdir("a", 0700), mkdir("a/b", 0700);
    CALL(chdir("a/b"));
    NEED(getcwd(text, sizeof text));
    say("%s\n", text + base);
    CALL(syscall(SYS_getcwd, text, base + 5) - (long)base);
    CALL(syscall(SYS_getcwd, text, base + 4));
    CALL(syscall(SYS_getcwd, text, 0));
    CALL(syscall(SYS_getcwd, (void*)8, 4096));
    CALL(chdir("../.."));
    CALL(rename("a", "c"));
    CALL(chdir("c/b"));
    NEED(getcwd(text, sizeof text));
    say("%s\n", text + base);
    CALL(rmdir("../b"));
    CALL(syscall(SYS_getcwd, text, sizeof text));
    CALL(open("x", O_CREAT | O_RDWR, 0600));
    CALL(chdir(".."));
    CALL(chdir("missing"));
    CALL(chdir("/etc/passwd"));
    CALL(chdir(""));
}

TEST(times) {
    make_file("f", "x", 0600);
    struct timespec t[2] = {{100, 5}, {200, 999999999}};
    struct stat s;
    CALL(utimensat(AT_FDCWD, "f", t, 0));
    NEED(stat("f", &s) == 0);
    say("%ld.%09ld %ld.%09ld\n", (long)s.st_atim.tv_sec, s.st_atim.tv_nsec, (long)s.st_mtim.tv_sec, s.st_mtim.tv_nsec);
    t[0].tv_nsec = UTIME_OMIT, t[1].tv_nsec = UTIME_OMIT;
    CALL(utimensat(AT_FDCWD, "f", t, 0));
    t[0].tv_nsec = UTIME_NOW;
    CALL(utimensat(AT_FDCWD, "f", t, 0));
    NEED(stat("f", &s) == 0);
    FACT("atime is now", s.st_atim.tv_sec > 1000);
    FACT("mtime kept", s.st_mtim.tv_sec == 200);
    t[0].tv_nsec = 1000000000;
    CALL(utimensat(AT_FDCWD, "f", t, 0));
    CALL(utimensat(AT_FDCWD, "missing", NULL, 0));
    CALL(utimensat(AT_FDCWD, "f", NULL, 0x8));
    CALL(futimens(open("f", O_RDONLY), NULL));
    CALL(futimens(99, NULL));
    NEED(symlink("f", "l") == 0);
    struct timespec old[2] = {{5, 0}, {6, 0}};
    CALL(utimensat(AT_FDCWD, "l", old, AT_SYMLINK_NOFOLLOW));
    NEED(lstat("l", &s) == 0);
    SHOW(s.st_mtim.tv_sec);
    struct utimbuf u = {7, 8};
    CALL(utime("f", &u));
    NEED(stat("f", &s) == 0);
    say("%ld %ld\n", (long)s.st_atim.tv_sec, (long)s.st_mtim.tv_sec);
    struct timeval v[2] = {{9, 500000}, {10, 1000000}};
    CALL(utimes("f", v));
    struct timespec far[2] = {{-1, 0}, {1L << 33, 0}};
    CALL(utimensat(AT_FDCWD, "f", far, 0));
    NEED(stat("f", &s) == 0);
    say("%ld %ld\n", (long)s.st_atim.tv_sec, (long)s.st_mtim.tv_sec);
}

static int newer(const struct timespec* a, const struct timespec* b) {
    return a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec);
}
TEST(what_changes_times) {
    NEED(mkdir("d", 0700) == 0);
    NEED(make_file("d/f", "x", 0600) == 0);
    static const char* const steps[] = {
        "write", "read", "chmod", "link", "truncate to the same size", "create in directory", "rename", "stat"};
    int fd = open("d/f", O_RDWR);
    for (int i = 0; i < 8; i++) {
        struct stat f0, d0, f1, d1;
        char c;
        NEED(fstat(fd, &f0) == 0 && stat("d", &d0) == 0);
        sleep_ms(15);
        if (i == 0) NEED(write(fd, "y", 1) == 1);
        if (i == 1) NEED(pread(fd, &c, 1, 0) == 1);
        if (i == 2) NEED(fchmod(fd, 0640) == 0);
        if (i == 3) NEED(link("d/f", "l") == 0);
        if (i == 4) NEED(ftruncate(fd, 1) == 0);
        if (i == 5) NEED(make_file("d/g", "", 0600) == 0);
        if (i == 6) NEED(rename("d/f", "d/h") == 0);
        NEED(fstat(fd, &f1) == 0 && stat("d", &d1) == 0);
        say("%s: file%s%s, directory%s%s\n", steps[i], newer(&f1.st_mtim, &f0.st_mtim) ? " mtime" : "",
            newer(&f1.st_ctim, &f0.st_ctim) ? " ctime" : "", newer(&d1.st_mtim, &d0.st_mtim) ? " mtime" : "",
            newer(&d1.st_ctim, &d0.st_ctim) ? " ctime" : "");
    }
}

TEST(statx_fields) {
    tree();
    struct statx x;
    memset(&x, 0, sizeof x);
    CALL(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x7ff, &x));
    SHOW(x.stx_mask & 0x7ff);
    SHOW(x.stx_size);
    SHOW(x.stx_mode);
    SHOW(x.stx_nlink);
    SHOW(x.stx_blksize);
    struct stat s;
    NEED(stat("file", &s) == 0);
    IS(x.stx_ino == s.st_ino);
    IS(makedev(x.stx_dev_major, x.stx_dev_minor) == s.st_dev);
    CALL(syscall(SYS_statx, AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, 0x7ff, &x));
    SHOW(x.stx_mode);
    CALL(syscall(SYS_statx, 1, "", AT_EMPTY_PATH, 0x7ff, &x));
    CALL(syscall(SYS_statx, AT_FDCWD, "missing", 0, 0x7ff, &x));
    CALL(syscall(SYS_statx, AT_FDCWD, "file", 0x20, 0x7ff, &x));
    CALL(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x80000000u, &x));
    CALL(syscall(SYS_statx, AT_FDCWD, "file", 0x6000, 0x7ff, &x));
    CALL(syscall(SYS_statx, AT_FDCWD, NULL, 0, 0x7ff, &x));
    CALL(syscall(SYS_statx, AT_FDCWD, "file", 0, 0x7ff, (void*)8));
}

TEST(chroot_confines) {
    tree();
    CHILD("child") {
        CALL(chroot("file"));
        CALL(chroot("missing"));
        CALL(chroot("dir"));
        CALL(chdir("/"));
        CALL(access("/inner", F_OK));
        CALL(access("/../inner", F_OK));
        CALL(access("/file", F_OK));
        char text[64];
        NEED(getcwd(text, sizeof text));
        say("%s\n", text);
    }
}

TEST(links_in_sticky_directories) {
    umask(0);
    NEED(mkdir("s", 0777) == 0 && chmod("s", 01777) == 0 && mkdir("d", 0777) == 0 && make_file("d/f", "x", 0666) == 0);
    chmod(".", 0777);
    CHILD("owner") {
        NEED(setuid(1000) == 0 && symlink("../d", "s/dir") == 0 && symlink("../d/f", "s/file") == 0);
        NEED(symlink("file", "s/again") == 0);
        CALL(access("s/file", R_OK));
    }
    CHILD("another") {
        NEED(setuid(2000) == 0 && symlink("s/dir", "to_dir") == 0 && symlink("s/file", "to_file") == 0);
        struct stat s;
        CALL(stat("s/dir/f", &s));
        CALL(stat("s/dir/", &s));
        CALL(stat("s/dir", &s));
        CALL(lstat("s/dir", &s));
        CALL(stat("s/file", &s));
        CALL(stat("s/again", &s));
        CALL(stat("to_dir/f", &s));
        CALL(stat("to_dir", &s));
        CALL(stat("to_file", &s));
        CALL(stat("s/dir/../d/f", &s));
        CALL(open("s/file", O_RDONLY));
        CALL(open("s/file", O_RDWR | O_CREAT, 0600));
        CALL(open("s/dir/new", O_RDWR | O_CREAT, 0600) >= 0);
        CALL(unlink("s/dir/new"));
        CALL(mkdir("s/dir/sub", 0700));
        CALL(chdir("s/dir"));
    }
}

TEST(whiteouts_by_users) {
    chmod(".", 0777);
    CHILD("user") {
        NEED(setuid(1000) == 0);
        CALL(mknod("w", S_IFCHR | 0600, 0));
        CALL(mknod("b", S_IFBLK | 0600, 0));
        CALL(mknod("n", S_IFCHR | 0600, 0x103));
        CALL(open("w", O_RDONLY));
    }
}

TEST(extended_attributes) {
    NEED(make_file("f", "x", 0600) == 0);
    int fd = open("f", O_RDWR);
    char bytes[64], longest[300];
    memset(longest, 'a', sizeof longest);
    longest[299] = 0;
    CALL(syscall(SYS_getxattr, "f", "user.a", bytes, sizeof bytes));
    CALL(syscall(SYS_lgetxattr, "f", "user.a", bytes, sizeof bytes));
    CALL(syscall(SYS_fgetxattr, fd, "user.a", bytes, sizeof bytes));
    CALL(syscall(SYS_setxattr, "f", "user.a", bytes, 1, 0));
    CALL(syscall(SYS_lsetxattr, "f", "user.a", bytes, 1, 0));
    CALL(syscall(SYS_fsetxattr, fd, "user.a", bytes, 1, 0));
    CALL(syscall(SYS_removexattr, "f", "user.a"));
    CALL(syscall(SYS_lremovexattr, "f", "user.a"));
    CALL(syscall(SYS_fremovexattr, fd, "user.a"));
    CALL(syscall(SYS_listxattr, "f", bytes, sizeof bytes));
    CALL(syscall(SYS_llistxattr, "f", bytes, sizeof bytes));
    CALL(syscall(SYS_flistxattr, fd, bytes, sizeof bytes));
    CALL(syscall(SYS_getxattr, "none", "user.a", bytes, sizeof bytes));
    CALL(syscall(SYS_listxattr, "none", bytes, sizeof bytes));
    CALL(syscall(SYS_fgetxattr, 99, "user.a", bytes, sizeof bytes));
    CALL(syscall(SYS_llistxattr, "none", bytes, sizeof bytes));
    CALL(syscall(SYS_flistxattr, 99, bytes, sizeof bytes));
    CALL(syscall(SYS_getxattr, "f", "", bytes, sizeof bytes));
    CALL(syscall(SYS_getxattr, "f", longest, bytes, sizeof bytes));
    CALL(syscall(SYS_getxattr, "f", (char*)8, bytes, sizeof bytes));
    CALL(syscall(SYS_setxattr, "f", "user.a", bytes, 1, 4));
    CALL(syscall(SYS_setxattr, "f", "user.a", bytes, 65537, 0));
}

TEST(getcwd_of_a_deep_directory) {
    char name[101], text[8192];
    memset(name, 'd', 100);
    name[100] = 0;
    for (int i = 0; i < 60; i++) NEED(mkdir(name, 0700) == 0 && chdir(name) == 0);
    CALL(syscall(SYS_getcwd, text, sizeof text));
    CALL(syscall(SYS_getcwd, text, 4096));
    CALL(syscall(SYS_getcwd, text, 10));
    CALL(readlink("/proc/self/cwd", text, sizeof text));
    for (int i = 0; i < 60; i++) NEED(chdir("..") == 0 && rmdir(name) == 0);
}
