// SPDX-License-Identifier: MIT
// Directories as they are read (getdents64), and permissions for another user.
#include "check.h"

#include <dirent.h>

#include "entry.h"

static int compare(const void* a, const void* b) { return strcmp(*(char* const*)a, *(char* const*)b); }

// The names of a directory, sorted, with their types, read through a buffer of the given size.
static int list(const char* path, size_t size, int print) {
    char* names[2000];
    int count = 0, fd = open(path, O_RDONLY | O_DIRECTORY);
    NEED(fd >= 0);
    char* buffer = malloc(size);
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, size)) != 0;) {
        NEED(n > 0);
        for (long at = 0; at < n;) {
            struct entry* e = (struct entry*)(buffer + at);
            char text[300];
            snprintf(text, sizeof text, "%s %d", e->name, e->type);
            NEED(count < 2000);
            names[count++] = strdup(text);
            if (e->length % 8 != 0 || e->inode == 0) say("bad record\n");
            at += e->length;
        }
    }
    close(fd);
    qsort(names, (size_t)count, sizeof names[0], compare);
    int twice = 0;
    for (int i = 0; i < count; i++) {
        if (print) say("%s\n", names[i]);
        if (i > 0) twice += strcmp(names[i], names[i - 1]) == 0;
    }
    if (twice) say("%d names twice\n", twice);
    return count;
}

TEST(types) {
    NEED(mkdir("d", 0700) == 0 && make_file("f", "", 0600) == 0 && symlink("x", "l") == 0 && mkfifo("p", 0600) == 0);
    NEED(mknod("c", S_IFCHR | 0600, 0x103) == 0 && mknod("b", S_IFBLK | 0600, 0x700) == 0 &&
         mknod("s", S_IFSOCK | 0600, 0) == 0);
    SHOW(list(".", 4096, 1));
}

TEST(small_buffers) {
    for (int i = 0; i < 50; i++) {
        char name[300];
        memset(name, 'a' + i % 26, sizeof name);
        snprintf(name + i * 5, 8, "%d", i);
        NEED(make_file(name, "", 0600) == 0);
    }
    SHOW(list(".", 280, 0));
    SHOW(list(".", 1000, 0));
    SHOW(list(".", 65536, 0));
    int fd = open(".", O_RDONLY);
    char buffer[64];
    CALL(syscall(SYS_getdents64, fd, buffer, 10));
    CALL(syscall(SYS_getdents64, fd, buffer, 0));
    CALL(syscall(SYS_getdents64, fd, (void*)8, 64));
    CALL(syscall(SYS_getdents64, 99, buffer, 64));
    CALL(syscall(SYS_getdents64, 1, buffer, 64));
}

TEST(rewind_and_seek) {
    for (int i = 0; i < 20; i++) {
        char name[8];
        snprintf(name, sizeof name, "f%d", i);
        make_file(name, "", 0600);
    }
    DIR* d = opendir(".");
    struct dirent* e;
    int n = 0;
    long place = 0;
    char at_place[256] = "";
    while ((e = readdir(d))) {
        n++;
        if (n == 10) place = telldir(d);
        if (n == 11) strcpy(at_place, e->d_name);
    }
    SHOW(n);
    seekdir(d, place);
    e = readdir(d);
    IS(e && strcmp(e->d_name, at_place) == 0);
    rewinddir(d);
    for (n = 0; readdir(d); n++) {
    }
    SHOW(n);
    CALL(lseek(dirfd(d), 0, SEEK_SET));
    CALL(lseek(dirfd(d), -1, SEEK_SET));
}

TEST(removal_while_reading) {
    enum { kFiles = 300 };
    for (int i = 0; i < kFiles; i++) {
        char name[16];
        snprintf(name, sizeof name, "file%d", i);
        NEED(make_file(name, "", 0600) == 0);
    }
    int fd = open(".", O_RDONLY), seen = 0, failed = 0;
    char buffer[512];
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;)
        for (long at = 0; at < n;) {
            struct entry* e = (struct entry*)(buffer + at);
            if (e->name[0] == 'f') seen++, failed += unlink(e->name) != 0;
            at += e->length;
        }
    say("seen %d, not removed %d\n", seen, failed);
    SHOW(list(".", 4096, 1));
}

TEST(others_are_seen_once_while_some_go) {
    // Entries that stay during the whole reading are seen exactly once.
    int count[100] = {0};
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "%c%d", i % 2 ? 'g' : 's', i / 2);
        NEED(make_file(name, "", 0600) == 0);
    }
    int fd = open(".", O_RDONLY), next = 0;
    char buffer[256];
    for (long n; (n = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0;) {
        for (long at = 0; at < n;) {
            struct entry* e = (struct entry*)(buffer + at);
            if (e->name[0] == 's') count[atoi(e->name + 1)]++;
            at += e->length;
        }
        for (int k = 0; k < 5 && next < 100; k++, next++) {
            char name[16];
            snprintf(name, sizeof name, "g%d", next);
            unlink(name);
            snprintf(name, sizeof name, "new%d", next);
            make_file(name, "", 0600);
        }
    }
    int once = 0;
    for (int i = 0; i < 100; i++) once += count[i] == 1;
    SHOW(once);
}

TEST(large_directory) {
    for (int i = 0; i < 1000; i++) {
        char name[24];
        snprintf(name, sizeof name, "entry_number_%d", i);
        NEED(mknod(name, S_IFREG | 0600, 0) == 0);
    }
    SHOW(list(".", 4096, 0));
    int found = 0, removed = 0;
    for (int i = 0; i < 1000; i++) {
        char name[24];
        snprintf(name, sizeof name, "entry_number_%d", i);
        found += access(name, F_OK) == 0;
        removed += unlink(name) == 0;
    }
    say("found %d, removed %d\n", found, removed);
    SHOW(list(".", 4096, 0));
}

TEST(removed_directory) {
    NEED(mkdir("d", 0700) == 0);
    int fd = open("d", O_RDONLY);
    NEED(rmdir("d") == 0);
    char buffer[256];
    CALL(syscall(SYS_getdents64, fd, buffer, sizeof buffer));
    CALL(rmdir("d"));
    CALL(mkdir("d", 0700));
    SHOW(list("d", 4096, 1));
}

// --- permissions ---

static void as_user(uid_t uid, gid_t gid) { NEED(setgid(gid) == 0 && setuid(uid) == 0); }

TEST(file_permission_classes) {
    chmod(".", 0755);
    static const int modes[] = {0400, 0040, 0004, 0200, 0020, 0002, 0640, 0604, 0046};
    for (int i = 0; i < 9; i++) {
        unlink("f");
        make_file("f", "x", (mode_t)modes[i]);
        NEED(chown("f", 1000, 2000) == 0);
        static const struct {
            const char* who;
            uid_t uid;
            gid_t gid;
        } users[] = {{"owner", 1000, 3000}, {"group", 1001, 2000}, {"other", 1001, 3000}};
        for (int u = 0; u < 3; u++) {
            pid_t pid = fork();
            if (pid == 0) {
                as_user(users[u].uid, users[u].gid);
                int r = open("f", O_RDONLY), w = open("f", O_WRONLY);
                say("%04o %s: read %s, write %s\n", modes[i], users[u].who, r < 0 ? "no" : "yes", w < 0 ? "no" : "yes");
                _exit(0);
            }
            waitpid(pid, NULL, 0);
        }
    }
}

TEST(directory_permissions) {
    chmod(".", 0755);
    NEED(mkdir("d", 0755) == 0 && make_file("d/f", "x", 0644) == 0);
    static const int modes[] = {0700, 0701, 0702, 0703, 0704, 0705, 0706, 0707};
    for (int i = 0; i < 8; i++) {
        NEED(chmod("d", (mode_t)modes[i]) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            as_user(1000, 1000);
            say("%04o: list %s, ", modes[i], open("d", O_RDONLY) < 0 ? errno_name(errno) : "ok");
            say("search %s, ", open("d/f", O_RDONLY) < 0 ? errno_name(errno) : "ok");
            say("create %s, ", open("d/g", O_CREAT | O_EXCL | O_RDWR, 0600) < 0 ? errno_name(errno) : "ok");
            say("remove %s, ", unlink("d/g") < 0 ? errno_name(errno) : "ok");
            say("missing %s, ", access("d/none", F_OK) < 0 ? errno_name(errno) : "ok");
            say("enter %s\n", chdir("d") < 0 ? errno_name(errno) : "ok");
            _exit(0);
        }
        waitpid(pid, NULL, 0);
        unlink("d/g");
    }
}

TEST(access_uses_real_ids) {
    chmod(".", 0755);
    make_file("f", "x", 0600);
    CHILD("real user, effective root") {
        NEED(setresuid(1000, 0, 0) == 0);
        CALL(access("f", R_OK));
        CALL(faccessat(AT_FDCWD, "f", R_OK, 0));
        CALL(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, AT_EACCESS));
        OKAY(open("f", O_RDONLY));
    }
    CALL(access("f", X_OK));
    CALL(access("f", R_OK | W_OK));
    CALL(access(".", X_OK));
    CALL(access("f", 8));
    CALL(access("missing", F_OK));
    CALL(access("f/x", F_OK));
    CALL(syscall(SYS_faccessat2, AT_FDCWD, "f", R_OK, 0x8000));
    NEED(symlink("missing", "l") == 0);
    CALL(syscall(SYS_faccessat2, AT_FDCWD, "l", F_OK, AT_SYMLINK_NOFOLLOW));
}

TEST(chmod_rules) {
    chmod(".", 0777);
    make_file("f", "", 0600);
    struct stat s;
    CALL(chmod("f", 07777));
    NEED(stat("f", &s) == 0);
    say("%o\n", s.st_mode);
    CALL(chmod("f", 0177777));
    NEED(stat("f", &s) == 0);
    say("%o\n", s.st_mode);
    CALL(chmod("missing", 0600));
    NEED(symlink("f", "l") == 0);
    CALL(chmod("l", 0640));
    NEED(stat("f", &s) == 0);
    say("%o\n", s.st_mode);
    CALL(fchmod(99, 0600));
    CHILD("not the owner") {
        as_user(1000, 1000);
        CALL(chmod("f", 0777));
        CALL(utimensat(AT_FDCWD, "f", (struct timespec[2]){{1, 0}, {1, 0}}, 0));
        CALL(utimensat(AT_FDCWD, "f", NULL, 0));
    }
    NEED(chown("f", 1000, 2000) == 0);
    CHILD("owner outside the group loses set-group-id") {
        as_user(1000, 1000);
        CALL(chmod("f", 06755));
        NEED(stat("f", &s) == 0);
        say("%o\n", s.st_mode);
    }
}

TEST(chown_rules) {
    chmod(".", 0777);
    make_file("f", "", 06755);
    struct stat s;
    CALL(chown("f", -1, -1));
    NEED(stat("f", &s) == 0);
    say("%o\n", s.st_mode);
    CALL(chmod("f", 06755));
    CALL(chown("f", 1000, 2000));
    NEED(stat("f", &s) == 0);
    say("%o %d:%d\n", s.st_mode, s.st_uid, s.st_gid);
    CALL(chmod("f", 02644));
    CALL(chown("f", -1, 2001));
    NEED(stat("f", &s) == 0);
    say("%o %d:%d\n", s.st_mode, s.st_uid, s.st_gid);
    NEED(symlink("f", "l") == 0);
    CALL(lchown("l", 7, 8));
    NEED(lstat("l", &s) == 0);
    say("%d:%d\n", s.st_uid, s.st_gid);
    CALL(chown("l", 1000, 1000));
    NEED(stat("f", &s) == 0);
    say("%d:%d\n", s.st_uid, s.st_gid);
    CHILD("owner") {
        as_user(1000, 1000);
        CALL(chown("f", 1001, -1));
        CALL(chown("f", -1, 3000));
        CALL(chown("f", 1000, 1000));
        CALL(chown("f", -1, -1));
    }
    CHILD("another") {
        as_user(1001, 1001);
        CALL(chown("f", -1, 1001));
        CALL(chown("f", -1, -1));
    }
}

TEST(writes_drop_set_id_bits) {
    chmod(".", 0777);
    make_file("f", "abc", 06777);
    struct stat s;
    CHILD("user writes") {
        as_user(1000, 1000);
        int fd = open("f", O_WRONLY);
        CALL(write(fd, "x", 1));
    }
    NEED(stat("f", &s) == 0);
    say("%o\n", s.st_mode);
    NEED(chmod("f", 06777) == 0);
    int fd = open("f", O_WRONLY);
    CALL(write(fd, "x", 1));
    NEED(stat("f", &s) == 0);
    say("%o\n", s.st_mode);
}
