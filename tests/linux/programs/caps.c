// SPDX-License-Identifier: MIT
// Ambient capabilities (capabilities(7)), and calls for the administrator on parts that a kernel may not have: who may not
// make them is refused before anything else is looked at.
#include "check.h"

#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>

#define AMBIENT(operation, capability) prctl(PR_CAP_AMBIENT, operation, capability, 0, 0)
#define RAISE(capability) AMBIENT(PR_CAP_AMBIENT_RAISE, capability)
#define LOWER(capability) AMBIENT(PR_CAP_AMBIENT_LOWER, capability)
#define IS_SET(capability) AMBIENT(PR_CAP_AMBIENT_IS_SET, capability)
#define CLEAR_ALL() AMBIENT(PR_CAP_AMBIENT_CLEAR_ALL, 0)
#define BIT(capability) (1ull << (capability))

static int set_caps(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {
        {(uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable},
        {(uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32)}};
    return (int)syscall(SYS_capset, &h, d);
}
static const uint64_t all = (1ull << 41) - 1;

// The lines of /proc/self/status about capabilities.
static void show_caps(void) {
    char text[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t n = read(fd, text, sizeof text - 1);
    NEED(n > 0);
    text[n] = 0;
    close(fd);
    for (char* line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if (strncmp(line, "Cap", 3) == 0 && strncmp(line, "CapBnd", 6) != 0) say("  %s\n", line);
}

HELPER(show_identity) {
    say("  uid %d %d, gid %d %d\n", getuid(), geteuid(), getgid(), getegid());
    show_caps();
    SHOW(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
}
static void run_self(const char* program) {
    execl(program, "caps", "show_identity", NULL);
    say("exec %s\n", errno_name(errno));
}

TEST(ambient_arguments) {
    CALL(prctl(PR_CAP_AMBIENT, 0, 0, 0, 0));
    CALL(prctl(PR_CAP_AMBIENT, 5, 0, 0, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 1, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 41, 0, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 1, 1, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 1, 0, 1));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 41, 0, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, -1ul, 0, 0));
    CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_LOWER, 64, 0, 0));
    CALL(IS_SET(CAP_CHOWN));
    CALL(RAISE(CAP_CHOWN));
    CALL(LOWER(CAP_CHOWN));
    CALL(CLEAR_ALL());
}

TEST(ambient_is_of_permitted_and_inheritable) {
    CHILD("child") {
        CALL(set_caps(all, all, BIT(CAP_KILL) | BIT(CAP_CHOWN) | BIT(CAP_SETPCAP)));
        CALL(RAISE(CAP_KILL));
        CALL(RAISE(CAP_CHOWN));
        CALL(RAISE(CAP_FOWNER));
        CALL(IS_SET(CAP_KILL));
        show_caps();
        say("given up one that is inheritable\n");
        CALL(set_caps(all, all, BIT(CAP_CHOWN)));
        show_caps();
        say("given up one that is permitted\n");
        CALL(set_caps(all & ~BIT(CAP_CHOWN), all & ~BIT(CAP_CHOWN), BIT(CAP_CHOWN)));
        show_caps();
        CALL(RAISE(CAP_CHOWN));
        CALL(IS_SET(CAP_CHOWN));
    }
    CHILD("lowered") {
        NEED(set_caps(all, all, all) == 0);
        NEED(RAISE(CAP_KILL) == 0 && RAISE(CAP_CHOWN) == 0 && RAISE(CAP_SETUID) == 0);
        CALL(LOWER(CAP_CHOWN));
        show_caps();
        CALL(CLEAR_ALL());
        show_caps();
    }
    CHILD("locked") {
        NEED(set_caps(all, all, all) == 0 && RAISE(CAP_KILL) == 0);
        CALL(prctl(PR_SET_SECUREBITS, SECBIT_NO_CAP_AMBIENT_RAISE, 0, 0, 0));
        CALL(RAISE(CAP_CHOWN));
        CALL(IS_SET(CAP_KILL));
        CALL(LOWER(CAP_KILL));
        CALL(RAISE(CAP_KILL));
    }
    CHILD("inherited by fork") {
        NEED(set_caps(all, all, all) == 0 && RAISE(CAP_KILL) == 0);
        CHILD("grandchild") { show_caps(); }
    }
}

TEST(ambient_and_changes_of_user) {
    CHILD("all ids away from root") {
        NEED(set_caps(all, all, all) == 0 && RAISE(CAP_KILL) == 0);
        CALL(setresuid(1000, 1000, 1000));
        show_caps();
    }
    CHILD("kept capabilities") {
        NEED(set_caps(all, all, all) == 0 && RAISE(CAP_KILL) == 0 && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0);
        CALL(setresuid(1000, 1000, 1000));
        show_caps();
        CALL(RAISE(CAP_KILL));
        show_caps();
    }
    CHILD("the effective id alone") {
        NEED(set_caps(all, all, all) == 0 && RAISE(CAP_KILL) == 0);
        CALL(seteuid(1000));
        show_caps();
        CALL(seteuid(0));
        show_caps();
    }
    CHILD("no fix-up") {
        NEED(set_caps(all, all, all) == 0 && RAISE(CAP_KILL) == 0);
        NEED(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) == 0);
        CALL(setresuid(1000, 1000, 1000));
        show_caps();
    }
    CHILD("kept while the effective id is a user's") {
        NEED(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setresuid(0, 1000, 0) == 0);
        NEED(set_caps(all, all, all) == 0);
        CALL(setresuid(1000, 1000, 1000));
        show_caps();
    }
}

// A user with one ambient capability.
static void be_user_with_ambient(int securebits) {
    NEED(setgroups(0, NULL) == 0 && setgid(1000) == 0);
    NEED(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 && setuid(1000) == 0);
    NEED(set_caps(all, all, all) == 0);
    if (securebits) NEED(prctl(PR_SET_SECUREBITS, securebits, 0, 0, 0) == 0);
    NEED(RAISE(CAP_NET_RAW) == 0 && RAISE(CAP_KILL) == 0);
}
static void copy_self(const char* to, uid_t owner, gid_t group, mode_t mode) {
    int from = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    NEED(from >= 0 && out >= 0);
    char text[65536];
    for (ssize_t n; (n = read(from, text, sizeof text)) > 0;) NEED(write(out, text, (size_t)n) == n);
    close(from);
    close(out);
    NEED(chown(to, owner, group) == 0 && chmod(to, mode) == 0);
}

TEST(ambient_across_execve) {
    chmod(".", 0755);
    copy_self("plain", 0, 0, 0755);
    copy_self("setuid", 2000, 0, 04755);
    copy_self("setuid_root", 0, 0, 04755);
    copy_self("setgid", 0, 2000, 02755);
    copy_self("setuid_self", 1000, 1000, 06755);
    static const char* const programs[] = {"plain", "setuid", "setuid_root", "setgid", "setuid_self"};
    for (unsigned i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        say("%s\n", programs[i]);
        CHILD("as a user") {
            be_user_with_ambient(0);
            run_self(programs[i]);
        }
        CHILD("without new privileges") {
            be_user_with_ambient(0);
            NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
            run_self(programs[i]);
        }
    }
    CHILD("as root") {
        NEED(set_caps(all, all, BIT(CAP_KILL)) == 0 && RAISE(CAP_KILL) == 0);
        run_self("plain");
    }
    CHILD("as root without its privileges") {
        NEED(set_caps(all, all, BIT(CAP_KILL)) == 0 && RAISE(CAP_KILL) == 0);
        NEED(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT, 0, 0, 0) == 0);
        run_self("plain");
    }
    CHILD("with the real id of root") {
        NEED(set_caps(all, all, BIT(CAP_KILL)) == 0 && RAISE(CAP_KILL) == 0);
        NEED(setresuid(0, 1000, 1000) == 0);
        run_self("plain");
    }
}

// What an ambient capability lets the next program do.
HELPER(kill_and_chown) {
    OKAY(kill(1, 0));
    CALL(chown("f", 1000, 1000));
}
TEST(ambient_has_effect) {
    chmod(".", 0755);
    make_file("f", "x", 0644);
    copy_self("plain", 0, 0, 0755);
    CHILD("with") {
        be_user_with_ambient(0);
        execl("plain", "caps", "kill_and_chown", NULL);
    }
    CHILD("without") {
        be_user_with_ambient(0);
        NEED(CLEAR_ALL() == 0);
        execl("plain", "caps", "kill_and_chown", NULL);
    }
}

#define USER CHILD("user")
static void be_user(void) { NEED(setgroups(0, NULL) == 0 && setgid(1000) == 0 && setuid(1000) == 0); }

TEST(ports_of_the_machine) {
    CALL(syscall(SYS_iopl, 4));
    CALL(syscall(SYS_iopl, 0));
    CALL(syscall(SYS_ioperm, 0ul, 0ul, 1));
    CALL(syscall(SYS_ioperm, 65535ul, 2ul, 0));
    CALL(syscall(SYS_ioperm, -1ul, 2ul, 0));
    CALL(syscall(SYS_ioperm, 0x80ul, 1ul, 0));
    USER {
        be_user();
        CALL(syscall(SYS_iopl, 4));
        CALL(syscall(SYS_iopl, 3));
        CALL(syscall(SYS_iopl, 1));
        CALL(syscall(SYS_iopl, 0));
        CALL(syscall(SYS_ioperm, 0x80ul, 1ul, 1));
        CALL(syscall(SYS_ioperm, 0x80ul, 1ul, 0));
        CALL(syscall(SYS_ioperm, 65535ul, 2ul, 1));
    }
}

TEST(administration) {
    static union bpf_attr attr;
    USER {
        be_user();
        CALL(syscall(SYS_vhangup));
        CALL(syscall(SYS_swapon, "nothing", 0));
        CALL(syscall(SYS_swapon, (void*)8, 0));
        CALL(syscall(SYS_swapon, "nothing", 0x80000));
        CALL(syscall(SYS_swapoff, (void*)8));
        CALL(syscall(SYS_init_module, (void*)8, 10ul, ""));
        CALL(syscall(SYS_finit_module, -1, "", 0xffff));
        CALL(syscall(SYS_delete_module, (void*)8, 0));
        CALL(syscall(SYS_acct, NULL));
        CALL(syscall(SYS_acct, (void*)8));
        attr.map_type = BPF_MAP_TYPE_ARRAY;
        CALL(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof attr));
        CALL(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr));
        CALL(syscall(SYS_kexec_load, 0ul, 1000ul, NULL, 0xfffful));
        CALL(syscall(SYS_kexec_file_load, -1, -1, 0ul, NULL, 0xfffful));
        CALL(syscall(SYS_pivot_root, (void*)8, (void*)8));
        CALL(syscall(SYS_reboot, 1, 2, 3, 4));
        CALL(syscall(430, (void*)8, 0));                    // fsopen
        CALL(syscall(432, -1, 0, 0));                       // fsmount
        CALL(syscall(429, -1, (void*)8, -1, (void*)8, 0));  // move_mount
        CALL(syscall(433, -1, (void*)8, 0));                // fspick
        CALL(syscall(SYS_open_by_handle_at, -1, (void*)8, 0));
    }
    say("root\n");
    CALL(syscall(SYS_swapon, "nothing", 0x80000));
    CALL(syscall(SYS_swapoff, (void*)8));
    CALL(syscall(SYS_swapoff, "nothing"));
    make_file("f", "x", 0644);
    CALL(syscall(SYS_swapoff, "f"));
    CALL(syscall(SYS_delete_module, (void*)8, 0));
    CALL(syscall(SYS_delete_module, "no_such_module", O_NONBLOCK));
    CALL(syscall(SYS_acct, NULL));
    CHILD("without a terminal") {
        NEED(setsid() > 0);
        CALL(syscall(SYS_vhangup));
    }
}

TEST(quotas) {
    enum { kSync = 0x800001 << 8, kGetInfo = 0x800005 << 8 };
    make_file("f", "x", 0644);
    NEED(mknod("b", S_IFBLK | 0600, makedev(200, 77)) == 0);
    CALL(syscall(SYS_quotactl, kSync | 3, NULL, 0, NULL));
    CALL(syscall(SYS_quotactl, kSync, NULL, 0, NULL));
    CALL(syscall(SYS_quotactl, kGetInfo, NULL, 0, NULL));
    CALL(syscall(SYS_quotactl, kGetInfo, "nothing", 0, NULL));
    CALL(syscall(SYS_quotactl, kGetInfo, (void*)8, 0, NULL));
    CALL(syscall(SYS_quotactl, kGetInfo, "f", 0, NULL));
    CALL(syscall(SYS_quotactl, kGetInfo, "b", 0, NULL));
    CALL(syscall(443, -1, kGetInfo, 0, NULL));  // quotactl_fd
    int fd = open("f", O_RDONLY);
    CALL(syscall(443, fd, kGetInfo | 3, 0, NULL));
    CALL(syscall(443, fd, kGetInfo, 0, NULL));
    USER {
        be_user();
        CALL(syscall(SYS_quotactl, kGetInfo, "/dev/null", 0, NULL));
        CALL(syscall(SYS_quotactl, kGetInfo, NULL, 0, NULL));
    }
}
