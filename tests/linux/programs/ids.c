// SPDX-License-Identifier: MIT
// User and group ids, the rules for changing them, and what they decide.
#include "check.h"

#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void show(void) {
    uid_t r, e, s;
    gid_t gr, ge, gs;
    NEED(getresuid(&r, &e, &s) == 0 && getresgid(&gr, &ge, &gs) == 0);
    say("  uid %d %d %d, gid %d %d %d\n", r, e, s, gr, ge, gs);
}

TEST(root) {
    SHOW(getuid());
    SHOW(geteuid());
    SHOW(getgid());
    SHOW(getegid());
    show();
}

TEST(setuid_as_root_is_for_good) {
    CHILD("child") {
        CALL(setuid(1000));
        show();
        CALL(setuid(0));
        CALL(seteuid(0));
        CALL(setuid(1000));
    }
}

TEST(seteuid_and_back) {
    CHILD("child") {
        CALL(seteuid(1000));
        show();
        CALL(setuid(2000));
        CALL(seteuid(0));
        show();
        CALL(seteuid(1000));
        CALL(setuid(0));
        show();
    }
}

TEST(setreuid_rules) {
    CHILD("root") {
        CALL(setreuid(1, 2));
        show();
        CALL(setreuid(2, 1));
        show();
        CALL(setreuid(-1, 2));
        show();
        CALL(setreuid(3, -1));
        CALL(setreuid(-1, -1));
    }
    CHILD("saved follows the effective id") {
        CALL(setreuid(-1, 5));
        show();
    }
}

TEST(setresuid_rules) {
    CHILD("child") {
        CALL(setresuid(1, 2, 3));
        show();
        CALL(setresuid(3, 1, 2));
        show();
        CALL(setresuid(-1, 4, -1));
        CALL(setresuid(-1, 3, -1));
        show();
        CALL(setresuid(-1, -1, -1));
        CALL(setresuid(1, 1, 1));
        CALL(setresuid(3, 3, 3));
    }
}

TEST(setresgid_rules) {
    CHILD("child") {
        CALL(setresgid(1, 2, 3));
        show();
        CALL(setuid(1000));
        CALL(setresgid(3, 1, 2));
        show();
        CALL(setgid(3));
        show();
        CALL(setgid(9));
        CALL(setregid(3, 1));
        show();
    }
}

TEST(invalid_ids) {
    CALL(setuid(-1));
    CALL(setgid(-1));
    CALL(syscall(SYS_setresuid, -1, -1, -1));
    CALL(syscall(SYS_getresuid, NULL, NULL, NULL));
}

TEST(groups) {
    gid_t list[10] = {0};
    CALL(setgroups(3, (const gid_t[]){30, 10, 20}));
    CALL(getgroups(0, NULL));
    CALL(getgroups(10, list));
    say("%d %d %d\n", list[0], list[1], list[2]);
    CALL(getgroups(2, list));
    CALL(getgroups(-1, list));
    CALL(setgroups(65537, list));
    CALL(syscall(SYS_setgroups, 2, (void*)8));
    CHILD("as another user") {
        CALL(setuid(1000));
        CALL(setgroups(0, NULL));
        CALL(getgroups(10, list));
    }
    CALL(setgroups(0, NULL));
    CALL(getgroups(10, list));
}

TEST(supplementary_group_opens_files) {
    chmod(".", 0755);
    make_file("f", "x", 0640);
    NEED(chown("f", 0, 500) == 0);
    CHILD("in the group") {
        NEED(setgroups(1, (const gid_t[]){500}) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
        OKAY(open("f", O_RDONLY));
        OKAY(open("f", O_WRONLY));
    }
    CHILD("not in the group") {
        NEED(setgroups(0, NULL) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
        OKAY(open("f", O_RDONLY));
    }
}

TEST(setfsuid) {
    CHILD("child") {
        CALL(setfsuid(1000));
        CALL(setfsuid(-1));
        CALL(setfsgid(1001));
        CALL(setfsgid(-1));
        int fd = open("f", O_CREAT | O_RDWR, 0600);
        OKAY(fd);
        struct stat s;
        if (fd >= 0 && fstat(fd, &s) == 0) say("owner %d:%d\n", s.st_uid, s.st_gid);
    }
}

TEST(inherited_by_fork_and_exec) {
    CHILD("child") {
        NEED(setresgid(5, 6, 7) == 0 && setresuid(1, 2, 3) == 0);
        CHILD("fork") show();
        execl(test_argv[0], test_argv[0], "shown_after_exec", (char*)NULL);
        say("%s\n", errno_name(errno));
    }
}
HELPER(shown_after_exec) { show(); }

TEST(capabilities) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2];
    memset(data, 0xff, sizeof data);
    CALL(syscall(SYS_capget, &header, data));
    IS(data[0].effective == 0xffffffff);
    IS(data[0].permitted == 0xffffffff);
    SHOW(data[0].inheritable);
    CHILD("as another user") {
        NEED(setuid(1000) == 0);
        CALL(syscall(SYS_capget, &header, data));
        SHOW(data[0].effective);
        SHOW(data[0].permitted);
    }
    CHILD("given up") {
        memset(data, 0, sizeof data);
        data[0].permitted = 1 << CAP_KILL;
        CALL(syscall(SYS_capset, &header, data));
        memset(data, 0xff, sizeof data);
        CALL(syscall(SYS_capget, &header, data));
        say("%x %x %x\n", data[0].effective, data[0].permitted, data[0].inheritable);
        CALL(setuid(5));
        memset(data, 0xff, sizeof data);
        CALL(syscall(SYS_capset, &header, data));
        CALL(syscall(SYS_capset, &header, (void*)8));
    }
    header.version = 1;
    CALL(syscall(SYS_capset, &header, data));
    CALL(syscall(SYS_capget, &header, data));
    IS(header.version == _LINUX_CAPABILITY_VERSION_3);
    CALL(syscall(SYS_capget, &header, NULL));
    header.pid = 1000000;
    CALL(syscall(SYS_capget, &header, data));
    CALL(syscall(SYS_capget, NULL, data));
}

TEST(new_files_belong_to_the_effective_ids) {
    chmod(".", 0777);
    CHILD("child") {
        NEED(setegid(77) == 0 && seteuid(66) == 0);
        NEED(make_file("f", "", 0644) == 0 && mkdir("d", 0755) == 0 && symlink("x", "l") == 0);
        struct stat s;
        NEED(lstat("f", &s) == 0);
        say("file %d:%d\n", s.st_uid, s.st_gid);
        NEED(lstat("d", &s) == 0);
        say("directory %d:%d\n", s.st_uid, s.st_gid);
        NEED(lstat("l", &s) == 0);
        say("link %d:%d\n", s.st_uid, s.st_gid);
    }
}

TEST(set_group_id_directory) {
    mkdir("d", 0777);
    NEED(chown("d", 0, 99) == 0 && chmod("d", 02777) == 0);
    NEED(make_file("d/f", "", 0644) == 0 && mkdir("d/sub", 0755) == 0);
    struct stat s;
    NEED(stat("d/f", &s) == 0);
    say("file group %d\n", s.st_gid);
    NEED(stat("d/sub", &s) == 0);
    say("directory group %d, mode %o\n", s.st_gid, s.st_mode & 07777);
}

TEST(privileged_calls_as_user) {
    CHILD("child") {
        NEED(setgid(1000) == 0 && setuid(1000) == 0);
        CALL(syscall(SYS_sethostname, "x", 1));
        CALL(chroot("/"));
        CALL(mknod("n", S_IFCHR | 0600, 0x103));
        CALL(syscall(SYS_settimeofday, &(struct timeval){1, 0}, NULL));
        CALL(syscall(SYS_reboot, 1, 2, 3, 4));
        CALL(syscall(SYS_setpriority, PRIO_PROCESS, 0, -5));
        CALL(setrlimit(RLIMIT_NOFILE, &(struct rlimit){100, 10000000}));
    }
}
