// SPDX-License-Identifier: MIT
// Files that have no place in the tree of names (memfd, pipe, eventfd, epoll), by path and by descriptor: whatever a call
// does with the mount and the name of a file must find both. And places whose mount is no longer in the tree.
#include "check.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 1u
int memfd_create(const char*, unsigned);
#endif
enum { kFiles = 5 };
static const char* const names[kFiles] = {"memfd", "read end", "write end", "eventfd", "epoll"};
static int files[kFiles];
static char link_of[kFiles][32];

static void open_all(void) {
    int ends[2];
    NEED(pipe(ends) == 0);
    files[0] = memfd_create("m", 0);
    files[1] = ends[0];
    files[2] = ends[1];
    files[3] = eventfd(0, 0);
    files[4] = epoll_create1(0);
    for (int i = 0; i < kFiles; i++) {
        NEED(files[i] >= 0);
        snprintf(link_of[i], sizeof link_of[i], "/proc/self/fd/%d", files[i]);
    }
}

static int copy_of(const char* path, int to) {
    static char block[65536];
    int from = open(path, O_RDONLY);
    ssize_t n;
    while ((n = read(from, block, sizeof block)) > 0) NEED(write(to, block, (size_t)n) == n);
    close(from);
    return to;
}

static void execute(const char* what, int directory, const char* path, int flags) {
    char* argv[] = {"busybox", "true", NULL};
    char* envp[] = {NULL};
    CHILD(what) {
        syscall(SYS_execveat, directory, path, argv, envp, flags);
        say("%s: %s\n", what, errno_name(errno));
        _exit(120);
    }
}

TEST(executing) {
    open_all();
    for (int i = 0; i < kFiles; i++) {
        say("-- %s\n", names[i]);
        execute("by descriptor", files[i], "", AT_EMPTY_PATH);
        execute("by link", AT_FDCWD, link_of[i], 0);
        execute("link, not followed", AT_FDCWD, link_of[i], AT_SYMLINK_NOFOLLOW);
        execute("relative", files[i], "busybox", 0);
        execute("absolute", files[i], "/bin/busybox", 0);
    }
    execute("closed", 77, "", AT_EMPTY_PATH);
}

TEST(executing_memfd) {
    int m = copy_of("/bin/busybox", memfd_create("program", 0));
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", m);
    execute("open for writing", m, "", AT_EMPTY_PATH);
    execute("by link", AT_FDCWD, path, 0);
    int again = open(path, O_RDWR);
    execute("opened again for writing", m, "", AT_EMPTY_PATH);
    close(again);
    NEED(fchmod(m, 0644) == 0);
    execute("without permission", m, "", AT_EMPTY_PATH);
    NEED(fchmod(m, 0755) == 0);
    again = open(path, O_RDONLY);
    close(m);
    execute("only readable", again, "", AT_EMPTY_PATH);
    int script = memfd_create("script", 0);
    NEED(write(script, "#!/bin/busybox true\n", 20) == 20);
    execute("script", script, "", AT_EMPTY_PATH);
    NEED(fcntl(script, F_SETFD, FD_CLOEXEC) == 0);
    execute("script, closed on exec", script, "", AT_EMPTY_PATH);
    int unlinked = copy_of("/bin/busybox", open("p", O_CREAT | O_RDWR, 0755));
    execute("a file, open for writing", unlinked, "", AT_EMPTY_PATH);
    int tmp = copy_of("/bin/busybox", open(".", O_TMPFILE | O_RDWR, 0755));
    execute("O_TMPFILE, open for writing", tmp, "", AT_EMPTY_PATH);
}

TEST(executing_noexec) {
    NEED(mkdir("m", 0755) == 0 && mount("none", "m", "tmpfs", MS_NOEXEC, NULL) == 0);
    int f = copy_of("/bin/busybox", open("m/p", O_CREAT | O_RDWR, 0755));
    close(f);
    f = open("m/p", O_RDONLY);
    execute("by descriptor", f, "", AT_EMPTY_PATH);
    execute("by path", AT_FDCWD, "m/p", 0);
    close(f);
    NEED(umount("m") == 0);
}

TEST(mounting) {
    open_all();
    NEED(mkdir("d", 0755) == 0);
    for (int i = 0; i < kFiles; i++) {
        say("-- %s\n", names[i]);
        CALL(mount("none", link_of[i], "tmpfs", 0, NULL));
        CALL(mount("none", link_of[i], NULL, MS_REMOUNT, NULL));
        CALL(mount("none", link_of[i], NULL, MS_PRIVATE, NULL));
        CALL(mount("none", link_of[i], NULL, MS_MOVE, NULL));
        CALL(mount(link_of[i], "d", NULL, MS_BIND, NULL));
        CALL(mount(link_of[i], "/etc/passwd", NULL, MS_BIND, NULL));
        CALL(mount("/etc/passwd", link_of[i], NULL, MS_BIND, NULL));
        CALL(umount2(link_of[i], 0));
        CALL(umount2(link_of[i], MNT_DETACH));
        CALL(umount2(link_of[i], UMOUNT_NOFOLLOW));
    }
}

TEST(asking) {
    open_all();
    for (int i = 0; i < kFiles; i++) {
        struct statfs fs, by_path;
        struct stat st;
        char out[256];
        say("-- %s\n", names[i]);
        CALL(fstatfs(files[i], &fs));
        CALL(statfs(link_of[i], &by_path));
        IS(fs.f_type == by_path.f_type);
        CALL(fstatat(files[i], "", &st, AT_EMPTY_PATH));
        CALL(fstatat(files[i], "x", &st, 0));
        CALL(syscall(SYS_statx, files[i], "", AT_EMPTY_PATH, 0xfff, out));
        CALL(syscall(SYS_statx, AT_FDCWD, link_of[i], 0, 0xfff, out));
        CALL(access(link_of[i], R_OK));
        CALL(access(link_of[i], X_OK));
        CALL(syscall(SYS_faccessat2, files[i], "", W_OK, AT_EMPTY_PATH));
        CALL(syscall(SYS_readlinkat, files[i], "", out, sizeof out));
    }
}

TEST(changing) {
    open_all();
    for (int i = 0; i < kFiles; i++) {
        say("-- %s\n", names[i]);
        CALL(chmod(link_of[i], 0700));
        CALL(fchmod(files[i], 0600));
        CALL(chown(link_of[i], 0, 0));
        CALL(fchownat(files[i], "", 0, 0, AT_EMPTY_PATH));
        CALL(utimensat(AT_FDCWD, link_of[i], NULL, 0));
        CALL(utimensat(files[i], NULL, NULL, 0));
        CALL(truncate(link_of[i], 10));
    }
}

TEST(walking) {
    open_all();
    for (int i = 0; i < kFiles; i++) {
        char inside[48];
        say("-- %s\n", names[i]);
        snprintf(inside, sizeof inside, "%s/..", link_of[i]);
        CALL(chdir(link_of[i]));
        CALL(fchdir(files[i]));
        CALL(chroot(link_of[i]));
        OKAY(open(inside, O_RDONLY));
        OKAY(openat(files[i], "x", O_RDONLY));
        OKAY(openat(files[i], "..", O_RDONLY));
        OKAY(openat(files[i], "", O_RDONLY));
        OKAY(open(link_of[i], O_RDONLY | O_DIRECTORY));
        OKAY(open(link_of[i], O_TMPFILE | O_RDWR, 0600));
        OKAY(open(link_of[i], O_PATH));
        OKAY(open(link_of[i], O_RDONLY | O_NONBLOCK));
        CALL(linkat(files[i], "", AT_FDCWD, "new", AT_EMPTY_PATH));
        CALL(linkat(AT_FDCWD, link_of[i], AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
        CALL(renameat(files[i], "x", AT_FDCWD, "new"));
        CALL(renameat(AT_FDCWD, "/etc/passwd", files[i], "x"));
        CALL(rename(link_of[i], "new"));
        CALL(unlinkat(files[i], "x", 0));
        CALL(mkdirat(files[i], "x", 0700));
        CALL(mkdir(link_of[i], 0700));
        CALL(symlinkat("x", files[i], "x"));
    }
}

// What the links of /proc show, also of a file that was opened anew through one.
static void show_link(const char* what, int fd) {
    char path[32], text[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(path, text, sizeof text - 1);
    for (ssize_t i = 0; i < n; i++)
        if (text[i] >= '0' && text[i] <= '9') text[i] = '#';
    for (ssize_t i = n - 1; i > 0; i--)
        if (text[i] == '#' && text[i - 1] == '#') memmove(text + i, text + i + 1, (size_t)(--n - i));
    say("%s: %.*s\n", what, (int)(n < 0 ? 0 : n), text);
}
TEST(showing) {
    open_all();
    for (int i = 0; i < kFiles; i++) {
        show_link(names[i], files[i]);
        int again = open(link_of[i], O_RDONLY | O_NONBLOCK);
        if (again >= 0) show_link("opened again", again);
        int handle = open(link_of[i], O_PATH);
        show_link("O_PATH", handle);
        char path[32];
        snprintf(path, sizeof path, "/proc/self/fd/%d", handle);
        int through = open(path, O_RDONLY | O_NONBLOCK);
        if (through >= 0) show_link("through O_PATH", through);
    }
    // F_GETFL and fdinfo show only what a program can have asked for.
    say("%#o\n", fcntl(files[0], F_GETFL));
}

// A mount that was detached lives on in the working directory and in descriptors.
TEST(detached) {
    NEED(mkdir("m", 0755) == 0 && mount("none", "m", "tmpfs", 0, NULL) == 0 && mkdir("m/in", 0755) == 0);
    NEED(make_file("m/f", "text", 0755) == 0);
    int f = open("m/f", O_RDONLY), d = open("m", O_RDONLY);
    NEED(chdir("m") == 0 && umount2("/tmp/case/m", MNT_DETACH) == 0);
    char text[256];
    struct statfs s;
    CALL(mount("none", "in", "tmpfs", 0, NULL));
    CALL(mount("none", ".", NULL, MS_REMOUNT, NULL));
    CALL(mount("none", "f", NULL, MS_BIND, NULL));
    CALL(mount("f", "/etc/passwd", NULL, MS_BIND, NULL));
    CALL(umount2(".", MNT_DETACH));
    CALL(statfs(".", &s));
    CALL(fstatfs(f, &s));
    CALL(access("..", F_OK));
    say("%s\n", getcwd(text, sizeof text) ? text : errno_name(errno));
    execute("a file in it", f, "", AT_EMPTY_PATH);
    CALL(linkat(d, "f", d, "g", 0));
    CALL(linkat(d, "f", AT_FDCWD, "/tmp/case/g", 0));
    CALL(fchdir(d));
    CALL(mkdir("more", 0700));
}
