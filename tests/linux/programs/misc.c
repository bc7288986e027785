// SPDX-License-Identifier: MIT
// Calls about the system and the process that belong to no larger area.
#include "check.h"

#include <asm/prctl.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/klog.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

TEST(uname) {
    struct utsname u;
    CALL(uname(&u));
    say("%s %s\n", u.sysname, u.machine);
    FACT("release 6.1", strncmp(u.release, "6.1.", 4) == 0);
    FACT("some version", u.version[0] != 0);
    CALL(syscall(SYS_uname, (void*)8));
}

TEST(host_name) {
    char before[65], name[65];
    NEED(gethostname(before, sizeof before) == 0);
    CALL(sethostname("abc", 3));
    CALL(gethostname(name, sizeof name));
    say("%s\n", name);
    CALL(syscall(SYS_sethostname, "x", 65));
    CALL(syscall(SYS_sethostname, "x", -1));
    CALL(syscall(SYS_sethostname, (void*)8, 3));
    CALL(syscall(SYS_setdomainname, "dom", 3));
    struct utsname u;
    NEED(uname(&u) == 0);
    say("%s %s\n", u.nodename, u.domainname);
    NEED(sethostname(before, strlen(before)) == 0);
}

TEST(random) {
    unsigned char a[64] = {0}, b[64] = {0};
    CALL(getrandom(a, sizeof a, 0));
    CALL(getrandom(b, sizeof b, GRND_NONBLOCK));
    FACT("differ", memcmp(a, b, sizeof a) != 0);
    unsigned long ones = 0;
    for (int i = 0; i < 64; i++) ones += (unsigned)__builtin_popcount(a[i]);
    FACT("about half the bits", ones > 150 && ones < 362);
    CALL(getrandom(a, 0, 0));
    CALL(getrandom(a, 1, 0x100));
    CALL(getrandom((void*)8, 10, 0));
    CALL(getrandom(a, 1, GRND_RANDOM));
    CHILD("child") {
        unsigned char c[64];
        NEED(getrandom(c, sizeof c, 0) == sizeof c);
        FACT("child's differ", memcmp(a, c, 64) != 0);
    }
}

TEST(sysinfo) {
    struct sysinfo s;
    memset(&s, 0xff, sizeof s);
    CALL(sysinfo(&s));
    FACT("free is less than total", s.freeram < s.totalram && s.freeram > 0);
    FACT("plausible total", (double)s.totalram * s.mem_unit > 8e6);
    FACT("some processes", s.procs > 0 && s.procs < 10000);
    FACT("uptime", s.uptime < 1000000000);
    CALL(syscall(SYS_sysinfo, (void*)8));
}

TEST(process_name) {
    char name[17] = "";
    CALL(prctl(PR_GET_NAME, name));
    say("%s\n", name);
    CALL(prctl(PR_SET_NAME, "a name that is much too long"));
    CALL(prctl(PR_GET_NAME, name));
    say("%s\n", name);
    show_file("/proc/self/comm");
    CALL(prctl(PR_SET_NAME, (void*)8));
    CHILD("child") {
        NEED(prctl(PR_GET_NAME, name) == 0);
        say("%s\n", name);
    }
}

TEST(prctl_values) {
    int v = -1;
    CALL(prctl(PR_GET_DUMPABLE));
    CALL(prctl(PR_SET_DUMPABLE, 0));
    CALL(prctl(PR_GET_DUMPABLE));
    CALL(prctl(PR_SET_DUMPABLE, 5));
    CALL(prctl(PR_GET_PDEATHSIG, &v));
    SHOW(v);
    CALL(prctl(PR_SET_PDEATHSIG, 100));
    CALL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CALL(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CALL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    CALL(prctl(PR_GET_KEEPCAPS));
    CALL(prctl(PR_CAPBSET_READ, 0));
    CALL(prctl(PR_CAPBSET_READ, 1000));
    CALL(prctl(PR_GET_TIMERSLACK));
    CALL(prctl(123456, 0, 0, 0, 0));
}

TEST(segment_bases) {
    unsigned long fs = 0, gs = 0;
    CALL(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
    FACT("FS is set", fs != 0);
    CALL(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
    SHOW(gs);
    static unsigned long word = 0x1122334455667788;
    CALL(syscall(SYS_arch_prctl, ARCH_SET_GS, &word));
    unsigned long value;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(value));
    say("%lx\n", value);
    CHILD("child") {
        __asm__ volatile("mov %%gs:0, %0" : "=r"(value));
        say("%lx\n", value);
    }
    sleep_ms(5);
    __asm__ volatile("mov %%gs:0, %0" : "=r"(value));
    say("%lx\n", value);
    CALL(syscall(SYS_arch_prctl, ARCH_GET_GS, &gs));
    IS(gs == (unsigned long)&word);
    CALL(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x800000000000ul));
    CALL(syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000ul));
    CALL(syscall(SYS_arch_prctl, ARCH_GET_FS, (void*)8));
    CALL(syscall(SYS_arch_prctl, 0x9999, 0));
}

TEST(affinity) {
    unsigned long mask[16];
    memset(mask, 0, sizeof mask);
    long n = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    FACT("a multiple of 8 bytes", n > 0 && n % 8 == 0);
    FACT("CPU 0 is in it", mask[0] & 1);
    CALL(syscall(SYS_sched_getaffinity, 0, 4, mask));
    CALL(syscall(SYS_sched_getaffinity, 0, 0, mask));
    CALL(syscall(SYS_sched_getaffinity, 1000000, sizeof mask, mask));
    CALL(syscall(SYS_sched_getaffinity, 0, sizeof mask, (void*)8));
    unsigned long one = 1;
    CALL(syscall(SYS_sched_setaffinity, 0, sizeof one, &one));
    unsigned cpu = 9, node = 9;
    CALL(syscall(SYS_getcpu, &cpu, &node, NULL));
    SHOW(cpu);
    SHOW(node);
    CHILD("child") {
        unsigned long got = 0;
        NEED(syscall(SYS_sched_getaffinity, 0, sizeof got, &got) > 0);
        SHOW(got);
    }
    one = 0;
    CALL(syscall(SYS_sched_setaffinity, 0, sizeof one, &one));
    CALL(syscall(SYS_sched_setaffinity, 1000000, sizeof one, &one));
    CALL(syscall(SYS_sched_setaffinity, 0, sizeof one, (void*)8));
    CALL(syscall(SYS_getcpu, NULL, NULL, NULL));
    CALL(syscall(SYS_getcpu, (void*)8, NULL, NULL));
}

TEST(scheduling) {
    struct sched_param param = {.sched_priority = 9};
    CALL(syscall(SYS_sched_getscheduler, 0));
    CALL(syscall(SYS_sched_getparam, 0, &param));
    SHOW(param.sched_priority);
    CALL(sched_get_priority_max(SCHED_OTHER));
    CALL(sched_get_priority_max(SCHED_FIFO));
    CALL(sched_get_priority_min(SCHED_RR));
    CALL(sched_get_priority_max(77));
    CALL(sched_yield());
    CALL(syscall(SYS_sched_getscheduler, 1000000));
    CALL(syscall(SYS_sched_getscheduler, -1));
    param.sched_priority = 200;
    CALL(syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &param));
    CALL(syscall(SYS_sched_setscheduler, 0, 99, &param));
    param.sched_priority = 0;
    CALL(syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &param));
    CALL(syscall(SYS_sched_getscheduler, 0));
}

TEST(scheduling_of_the_first_process) {
    struct sched_param param = {.sched_priority = 9};
    CALL(syscall(SYS_sched_getscheduler, 1));
    CALL(syscall(SYS_sched_setscheduler, 1, SCHED_FIFO, &param));
    CALL(syscall(SYS_sched_getscheduler, 1));
    CALL(syscall(SYS_sched_setparam, 1, &param));
    CALL(syscall(SYS_sched_getparam, 1, &param));
    SHOW(param.sched_priority);
    param.sched_priority = 0;
    CALL(syscall(SYS_sched_setscheduler, 1, SCHED_OTHER, &param));
    CALL(syscall(SYS_sched_getscheduler, 1));
    CALL(getpriority(PRIO_PROCESS, 1));
    CHILD("user") {
        NEED(setuid(1000) == 0);
        CALL(syscall(SYS_sched_getscheduler, 1));
        CALL(syscall(SYS_sched_setscheduler, 1, SCHED_BATCH, &param));
        CALL(syscall(SYS_sched_setscheduler, 1, SCHED_FIFO, &param));
        CALL(setpriority(PRIO_PROCESS, 1, 5));
        CALL(syscall(SYS_tkill, 1, 0));
    }
    CALL(syscall(SYS_tkill, 1, 0));
    IS(access("/proc/1/task/1/comm", R_OK) == 0);
}

TEST(priorities) {
    CALL(getpriority(PRIO_PROCESS, 0));
    CALL(setpriority(PRIO_PROCESS, 0, 5));
    CALL(getpriority(PRIO_PROCESS, 0));
    CHILD("child") CALL(getpriority(PRIO_PROCESS, 0));
    CALL(setpriority(PRIO_PROCESS, 0, 100));
    CALL(getpriority(PRIO_PROCESS, 0));
    CALL(setpriority(PRIO_PROCESS, 0, -100));
    CALL(syscall(SYS_getpriority, PRIO_PROCESS, 0));
    CALL(setpriority(PRIO_PROCESS, 1000000, 0));
    CALL(setpriority(77, 0, 0));
    CALL(getpriority(77, 0));
    CHILD("user") {
        NEED(setpriority(PRIO_PROCESS, 0, 3) == 0 && setuid(1000) == 0);
        CALL(setpriority(PRIO_PROCESS, 0, 4));
        CALL(setpriority(PRIO_PROCESS, 0, 3));
        CALL(setpriority(PRIO_PROCESS, 1, 4));
    }
}

TEST(limits_by_default) {
    static const struct {
        int which;
        const char* name;
    } limits[] = {{RLIMIT_CPU, "CPU"},     {RLIMIT_FSIZE, "FSIZE"}, {RLIMIT_DATA, "DATA"},    {RLIMIT_STACK, "STACK"},
                  {RLIMIT_CORE, "CORE"},   {RLIMIT_RSS, "RSS"},     {RLIMIT_AS, "AS"},        {RLIMIT_NOFILE, "NOFILE"},
                  {RLIMIT_LOCKS, "LOCKS"}, {RLIMIT_NICE, "NICE"},   {RLIMIT_RTPRIO, "RTPRIO"}};
    for (int i = 0; i < 11; i++) {
        struct rlimit l;
        NEED(getrlimit(limits[i].which, &l) == 0);
        say("%s %ld %ld\n", limits[i].name, (long)l.rlim_cur, (long)l.rlim_max);
    }
}

TEST(limit_rules) {
    struct rlimit l = {10, 5}, old;
    CALL(setrlimit(RLIMIT_NOFILE, &l));
    l.rlim_max = 20;
    CALL(setrlimit(RLIMIT_NOFILE, &l));
    CALL(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &old));
    say("%ld %ld\n", (long)old.rlim_cur, (long)old.rlim_max);
    l.rlim_max = 1ul << 40;
    CALL(setrlimit(RLIMIT_NOFILE, &l));
    CALL(syscall(SYS_prlimit64, 0, 99, NULL, &old));
    CALL(syscall(SYS_prlimit64, 1000000, RLIMIT_NOFILE, NULL, &old));
    CALL(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, (void*)8, NULL));
    CALL(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, (void*)8));
    CALL(syscall(SYS_getrlimit, RLIMIT_NOFILE, NULL));
    CHILD("child inherits") {
        NEED(getrlimit(RLIMIT_NOFILE, &old) == 0);
        say("%ld %ld\n", (long)old.rlim_cur, (long)old.rlim_max);
    }
    pid_t pid = fork();
    if (pid == 0)
        for (;;) pause();
    l.rlim_cur = 7, l.rlim_max = 9;
    CALL(syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, &l, NULL));
    CALL(syscall(SYS_prlimit64, pid, RLIMIT_NOFILE, NULL, &old));
    say("%ld %ld\n", (long)old.rlim_cur, (long)old.rlim_max);
    kill(pid, SIGKILL);
    reap("child", pid);
    CHILD("user cannot raise the hard limit") {
        l.rlim_cur = 5, l.rlim_max = 10;
        NEED(setrlimit(RLIMIT_NOFILE, &l) == 0 && setuid(1000) == 0);
        l.rlim_max = 11;
        CALL(setrlimit(RLIMIT_NOFILE, &l));
        l.rlim_max = 6;
        CALL(setrlimit(RLIMIT_NOFILE, &l));
        CALL(syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, NULL, &old));
    }
}

TEST(personality) {
    CALL(personality(0xffffffff));
    CALL(personality(ADDR_NO_RANDOMIZE));
    CALL(personality(0xffffffff));
    CHILD("child") CALL(personality(0xffffffff));
}

TEST(umask_rules) {
    CALL(umask(027));
    CALL(umask(07777));
    CALL(umask(0));
    CHILD("child") CALL(umask(0));
}

TEST(file_system_facts) {
    struct statfs s;
    static const char* const paths[] = {".", "/", "/proc", "/dev", "/tmp"};
    for (int i = 0; i < 5; i++) {
        NEED(statfs(paths[i], &s) == 0);
        say("%s: type %lx, block %ld, names up to %ld\n", paths[i], (long)s.f_type, (long)s.f_bsize, (long)s.f_namelen);
    }
    CALL(statfs("missing", &s));
    CALL(syscall(SYS_statfs, "/", (void*)8));
    CALL(fstatfs(99, &s));
    int p[2];
    NEED(pipe(p) == 0);
    CALL(fstatfs(p[0], &s));
    say("pipe type %lx\n", (long)s.f_type);
}

// What the log holds is the machine's affair; how it is asked is not.
TEST(kernel_log_to_bad_memory) {
    CALL(klogctl(3, (char*)8, 4096));
    CALL(klogctl(4, (char*)8, 4096));
    CALL(klogctl(3, (char*)-4096, 4096));
    CALL(klogctl(3, (char*)8, 0));
    char* page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CALL(klogctl(3, page, 4096));
    NEED(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    OKAY(klogctl(3, page, 4096));
}

TEST(kernel_log) {
    static char text[64];
    CALL(klogctl(-1, text, 10));
    CALL(klogctl(11, text, 10));
    CALL(klogctl(3, NULL, 10));
    CALL(klogctl(3, text, -1));
    CALL(klogctl(3, text, 0));
    CALL(klogctl(2, NULL, 10));
    CALL(klogctl(2, text, 0));
    CALL(klogctl(4, text, -1));
    CALL(klogctl(8, NULL, 0));
    CALL(klogctl(8, NULL, 9));
    CALL(klogctl(0, NULL, 0));
    CALL(klogctl(1, NULL, 0));
    CHILD("user") {
        NEED(setuid(1000) == 0);
        CALL(klogctl(3, text, 0));
        CALL(klogctl(5, NULL, 0));
        CALL(klogctl(11, text, 10));
        CALL(klogctl(-1, text, 10));
    }
}

TEST(unknown_calls) {
    CALL(syscall(1000));
    CALL(syscall(-1));
    CALL(syscall(0x40000000 + 39));
    CALL(syscall(500));
    CALL(syscall(SYS_create_module));
    CALL(syscall(SYS_afs_syscall));
}

TEST(number_is_32_bits) {
    // Linux looks at eax only.
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(0xffffffff00000000ul + SYS_getpid) : "rcx", "r11", "memory");
    IS(r == getpid());
}

TEST(arguments_are_truncated) {
    // A descriptor is an int: the upper half of the register does not matter.
    long r;
    __asm__ volatile("syscall" : "=a"(r) : "a"(SYS_dup), "D"(0xabcdef0000000000ul) : "rcx", "r11", "memory");
    say("%ld\n", r);
}

TEST(processor_identity) {
    IS(getauxval(AT_PAGESZ) == 4096);
    IS(sysconf(_SC_PAGESIZE) == 4096);
    IS(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    IS(sysconf(_SC_PHYS_PAGES) > 1000);
    IS(sysconf(_SC_CLK_TCK) == 100);
}

TEST(proc_self) {
    char text[64];
    ssize_t n = readlink("/proc/self", text, sizeof text - 1);
    NEED(n > 0);
    text[n] = 0;
    IS(atoi(text) == getpid());
    n = readlink("/proc/self/exe", text, sizeof text - 1);
    NEED(n > 0);
    text[n] = 0;
    say("%s\n", strrchr(text, '/'));
    show_file("/proc/self/cmdline");
    n = readlink("/proc/self/cwd", text, sizeof text - 1);
    char cwd[64];
    text[n] = 0;
    IS(getcwd(cwd, sizeof cwd) && strcmp(cwd, text) == 0);
    n = readlink("/proc/self/root", text, sizeof text - 1);
    IS(n == 1 && text[0] == '/');
    int fd = open("/dev/null", O_RDONLY);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    say("%s\n", text);
    CALL(access("/proc/self/fd/99", F_OK));
    CALL(access("/proc/1000000", F_OK));
    CALL(mkdir("/proc/x", 0700));
    CALL(unlink("/proc/self/comm"));
    CALL(open("/proc/self/stat", O_WRONLY));
}
