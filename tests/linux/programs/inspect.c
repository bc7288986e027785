// SPDX-License-Identifier: MIT
// Permissions of one process on another: identities of threads, /proc/PID, dumpable, privileges of execve.
#include "check.h"

#include <dirent.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

static void be_user(int id) {
    NEED(setgroups(0, NULL) == 0 && setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0);
}

// A path of another process: of_process(pid, "fd").
static const char* of_process(pid_t pid, const char* name) {
    static char path[128];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    return path;
}
static void try_open(const char* what, const char* path, int flags) {
    int fd = open(path, flags);
    say("open %s -> %s\n", what, fd < 0 ? errno_name(errno) : "ok");
    if (fd >= 0) close(fd);
}
static void try_link(const char* what, const char* path) {
    char text[256];
    say("readlink %s -> %s\n", what, readlink(path, text, sizeof text) < 0 ? errno_name(errno) : "ok");
}
// A child that does `run` and then stays until it is killed; what it does is done when this returns.
static pid_t stay(void (*run)(void)) {
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (run) run();
        write(ready[1], "x", 1);
        for (;;) pause();
    }
    char byte;
    NEED(read(ready[0], &byte, 1) == 1);
    close(ready[0]);
    close(ready[1]);
    return pid;
}
static void end(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}
static int copy_self(const char* to, int mode) {
    char bytes[65536];
    int from = open("/proc/self/exe", O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0755);
    ssize_t n;
    while ((n = read(from, bytes, sizeof bytes)) > 0) NEED(write(out, bytes, (size_t)n) == n);
    NEED(fchmod(out, (mode_t)mode) == 0);
    close(out);
    close(from);
    return 0;
}

// ---- Threads ----

static pthread_barrier_t barrier;
static volatile pid_t other_tid;

static void* give_up(void* argument) {
    (void)argument;
    NEED(syscall(SYS_setresgid, 1000, 1000, 1000) == 0 && syscall(SYS_setresuid, 1000, 1000, 1000) == 0);
    other_tid = (pid_t)syscall(SYS_gettid);
    pthread_barrier_wait(&barrier);
    for (;;) pause();
    return NULL;
}
static void with_user_thread(void) {
    pthread_t thread;
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, give_up, NULL);
    pthread_barrier_wait(&barrier);
}

TEST(thread_that_gave_up_its_identity) {
    pid_t root = stay(with_user_thread);
    CHILD("user") {
        be_user(1000);
        CALL(prlimit(root, RLIMIT_NOFILE, &(struct rlimit){10, 10}, NULL));
        try_open("environ", of_process(root, "environ"), O_RDONLY);
        try_open("fd", of_process(root, "fd"), O_RDONLY);
        try_open("maps", of_process(root, "maps"), O_RDONLY);
        try_open("comm to write", of_process(root, "comm"), O_WRONLY);
        CALL(setpriority(PRIO_PROCESS, (id_t)root, 10));
        CALL(kill(root, SIGKILL));
    }
    CALL(kill(root, 0));
    end(root);
}

TEST(identity_is_of_a_thread) {
    with_user_thread();
    SHOW(getuid());
    char line[128], path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/status", other_tid);
    for (int i = 0; i < 2; i++) {
        FILE* f = fopen(i ? path : "/proc/self/status", "r");
        while (f && fgets(line, sizeof line, f))
            if (strncmp(line, "Uid:", 4) == 0 || strncmp(line, "Gid:", 4) == 0) say("%d %s", i, line);
    }
    struct stat s;
    snprintf(path, sizeof path, "/proc/self/task/%d", other_tid);
    NEED(stat(path, &s) == 0);
    SHOW(s.st_uid);
    NEED(stat("/proc/self", &s) == 0);
    SHOW(s.st_uid);
}

static void* as_user_thread(void* argument) {
    pid_t leader = (pid_t)(long)argument;
    NEED(syscall(SYS_setresgid, 1000, 1000, 1000) == 0 && syscall(SYS_setresuid, 1000, 1000, 1000) == 0);
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    CALL(syscall(SYS_prlimit64, leader, RLIMIT_NOFILE, NULL, &(struct rlimit){0, 0}));
    CALL(syscall(SYS_sched_setaffinity, leader, sizeof all, &all));
    CALL(syscall(SYS_sched_setscheduler, leader, SCHED_BATCH, &(struct sched_param){0}));
    CALL(syscall(SYS_setpriority, PRIO_PROCESS, leader, 5));
    CALL(syscall(SYS_tgkill, leader, leader, 0));
    CALL(open("secret", O_RDONLY));
    return NULL;
}
TEST(thread_against_its_leader) {
    NEED(make_file("secret", "s", 0600) == 0);
    pthread_t thread;
    pthread_create(&thread, NULL, as_user_thread, (void*)(long)getpid());
    pthread_join(thread, NULL);
    FACT("the leader opens it", open("secret", O_RDONLY) >= 0);
}

static void* no_more_privileges(void* argument) {
    (void)argument;
    CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CALL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return NULL;
}
TEST(no_new_privileges_is_of_a_thread) {
    pthread_t thread;
    pthread_create(&thread, NULL, no_more_privileges, NULL);
    pthread_join(thread, NULL);
    CALL(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

// ---- Privileges of execve ----

HELPER(say_identity) {
    say("%s: uid %d, euid %d, dumpable %d\n", test_argv[2], getuid(), geteuid(), prctl(PR_GET_DUMPABLE));
}
static void run_identity(const char* program, const char* label, unsigned long flags) {
    char* arguments[] = {"x", "say_identity", (char*)label, NULL};
    pid_t pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        execv(program, arguments);
        _exit(9);
    }
    reap(label, pid);
}
TEST(set_user_id_with_shared_directory) {
    copy_self("su", 04755);
    chmod(".", 0777);
    CHILD("user") {
        be_user(1000);
        run_identity("./su", "alone", 0);
        run_identity("./su", "shared CLONE_FS", CLONE_FS);
        run_identity("./su", "shared CLONE_FILES", CLONE_FILES);
        run_identity("./su", "alone again", 0);
        NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        run_identity("./su", "no new privileges", 0);
    }
}
// ---- Directories, links, memory ----

static void go_in(void) { NEED(chdir("top/in") == 0); }

TEST(links_of_another_user) {
    NEED(mkdir("top", 0700) == 0 && mkdir("top/in", 0755) == 0 && make_file("top/in/key", "secret", 0644) == 0);
    chmod(".", 0777);
    pid_t other = stay(go_in);
    CHILD("user") {
        be_user(1000);
        try_open("key", "top/in/key", O_RDONLY);
        try_open("cwd/key", of_process(other, "cwd/key"), O_RDONLY);
        try_open("root", of_process(other, "root"), O_RDONLY);
        try_open("exe", of_process(other, "exe"), O_RDONLY);
        try_open("fd", of_process(other, "fd"), O_RDONLY);
        try_open("fd/0", of_process(other, "fd/0"), O_RDONLY);
        try_open("fdinfo", of_process(other, "fdinfo"), O_RDONLY);
        try_open("environ", of_process(other, "environ"), O_RDONLY);
        try_open("maps", of_process(other, "maps"), O_RDONLY);
        try_open("stat", of_process(other, "stat"), O_RDONLY);
        try_open("status", of_process(other, "status"), O_RDONLY);
        try_open("cmdline", of_process(other, "cmdline"), O_RDONLY);
        try_link("cwd", of_process(other, "cwd"));
        try_link("root", of_process(other, "root"));
        try_link("exe", of_process(other, "exe"));
        try_link("fd/0", of_process(other, "fd/0"));
        CALL(chdir(of_process(other, "cwd")));
        CALL(access(of_process(other, "cwd/key"), R_OK));
        CALL(execl(of_process(other, "exe"), "x", NULL));
    }
    CHILD("root") {
        try_open("cwd/key", of_process(other, "cwd/key"), O_RDONLY);
        try_link("cwd", of_process(other, "cwd"));
        try_open("maps", of_process(other, "maps"), O_RDONLY);
        try_open("fd", of_process(other, "fd"), O_RDONLY);
    }
    CHILD("root without capabilities over others") {
        be_user(0);
        NEED(seteuid(1000) == 0);
        try_open("cwd/key", of_process(other, "cwd/key"), O_RDONLY);
    }
    end(other);
}

// Field n of /proc/PID/stat, from 1.
static long long stat_field(pid_t pid, int n) {
    char text[1024];
    int fd = open(of_process(pid, "stat"), O_RDONLY);
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = 0;
    char* at = strrchr(text, ')');
    for (int i = 2; at && i < n; i++) at = strchr(at + 1, ' ');
    return at ? strtoll(at + 1, NULL, 10) : -1;
}
TEST(addresses_in_stat) {
    pid_t other = stay(NULL);
    static const int fields[] = {26, 27, 28, 29, 30, 45, 46, 47, 48, 49, 50, 51};
    FACT("root sees where code starts", stat_field(other, 26) > 1);
    CHILD("user") {
        be_user(1000);
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            say("field %d: %lld\n", fields[i], stat_field(other, fields[i]));
    }
    end(other);
}

static void user_1000(void) { be_user(1000); }
static void user_1000_by_exec(void) {
    be_user(1000);
    NEED(prctl(PR_SET_DUMPABLE, 1) == 0);
}

static void owner_of(const char* name) {
    struct stat s;
    char path[64];
    snprintf(path, sizeof path, "/proc/self/%s", name);
    if (stat(path, &s) < 0)
        say("%s: %s\n", name, errno_name(errno));
    else
        say("%s: uid %d gid %d mode %o\n", name, s.st_uid, s.st_gid, s.st_mode);
}
static void show_own(void) {
    CALL(prctl(PR_GET_DUMPABLE));
    owner_of(".");
    owner_of("environ");
    owner_of("fd");
    owner_of("task");
    owner_of("status");
    try_open("environ", "/proc/self/environ", O_RDONLY);
    try_open("maps", "/proc/self/maps", O_RDONLY);
    try_open("fd", "/proc/self/fd", O_RDONLY);
    try_open("fd/1", "/proc/self/fd/1", O_WRONLY);
    try_link("fd/1", "/proc/self/fd/1");
    try_link("exe", "/proc/self/exe");
    try_open("comm", "/proc/self/comm", O_WRONLY);
    CALL(access("/proc/self/fd/0", F_OK));
}
TEST(own_files_after_setuid) {
    CHILD("root") { show_own(); }
    CHILD("user") {
        be_user(1000);
        show_own();
    }
    CHILD("user, dumpable again") {
        be_user(1000);
        CALL(prctl(PR_SET_DUMPABLE, 1));
        show_own();
    }
}

TEST(users_of_the_same_name) {
    pid_t hidden = stay(user_1000), open_one = stay(user_1000_by_exec);
    CHILD("user") {
        be_user(1000);
        try_open("hidden environ", of_process(hidden, "environ"), O_RDONLY);
        try_open("hidden cwd", of_process(hidden, "cwd"), O_RDONLY);
        try_link("hidden exe", of_process(hidden, "exe"));
        try_open("open environ", of_process(open_one, "environ"), O_RDONLY);
        try_open("open cwd", of_process(open_one, "cwd"), O_RDONLY);
        try_link("open exe", of_process(open_one, "exe"));
        CALL(kill(hidden, 0));
        CALL(prlimit(hidden, RLIMIT_NOFILE, NULL, &(struct rlimit){0, 0}));
    }
    CHILD("same user, other group") {
        NEED(setgroups(0, NULL) == 0 && setresgid(2000, 2000, 2000) == 0 && setresuid(1000, 1000, 1000) == 0);
        try_open("open environ", of_process(open_one, "environ"), O_RDONLY);
        try_link("open exe", of_process(open_one, "exe"));
    }
    end(hidden);
    end(open_one);
}

HELPER(say_dumpable) {
    say("%s: dumpable %d\n", test_argv[2], prctl(PR_GET_DUMPABLE));
    owner_of("environ");
    try_open("environ", "/proc/self/environ", O_RDONLY);
}
static void run_dumpable(const char* program, const char* label, int user) {
    CHILD(label) {
        if (user) be_user(user);
        execl(program, "x", "say_dumpable", label, NULL);
        say("exec: %s\n", errno_name(errno));
    }
}
TEST(dumpable_after_execve) {
    chmod(".", 0755);
    copy_self("x", 0755);
    run_dumpable("./x", "readable", 1000);
    chmod("x", 0711);
    run_dumpable("./x", "unreadable", 1000);
    run_dumpable("./x", "unreadable, by root", 0);
    chmod("x", 04755);
    run_dumpable("./x", "set-user-ID", 1000);
    NEED(chown("x", 1000, 0) == 0 && chmod("x", 04755) == 0);
    run_dumpable("./x", "of a user, by root", 0);
    CHILD("real and effective differ") {
        NEED(chmod("x", 0755) == 0 && seteuid(1000) == 0);
        execl("./x", "x", "say_dumpable", "differ", NULL);
    }
}
TEST(dumpable_values) {
    CALL(prctl(PR_GET_DUMPABLE));
    CALL(prctl(PR_SET_DUMPABLE, 2));
    CALL(prctl(PR_SET_DUMPABLE, 0));
    CALL(prctl(PR_GET_DUMPABLE));
    CHILD("a child") { CALL(prctl(PR_GET_DUMPABLE)); }
    CALL(prctl(PR_SET_DUMPABLE, 1));
    CALL(setfsuid(5));
    CALL(prctl(PR_GET_DUMPABLE));
    CALL(prctl(PR_SET_DUMPABLE, 1));
    CALL(setfsgid(5));
    CALL(prctl(PR_GET_DUMPABLE));
}

// ---- What an open file of /proc is about ----

static void read_some(const char* what, int fd) {
    char text[64];
    ssize_t n = read(fd, text, sizeof text);
    say("read %s -> %s\n", what, n < 0 ? errno_name(errno) : n == 0 ? "nothing" : "something");
}
TEST(files_of_an_ended_process) {
    static const char* const names[] = {"status", "stat", "statm", "comm", "cmdline", "limits", "maps", "environ"};
    enum { kNames = sizeof names / sizeof *names };
    int fd[kNames];
    pid_t pid = stay(NULL);
    int directory = open(of_process(pid, ""), O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < kNames; i++) NEED((fd[i] = open(of_process(pid, names[i]), O_RDONLY)) >= 0);
    end(pid);
    for (int i = 0; i < kNames; i++) read_some(names[i], fd[i]);
    CALL(openat(directory, "comm", O_RDONLY));
    CALL(openat(directory, "nothing", O_RDONLY));
    char text[64];
    CALL(readlinkat(directory, "cwd", text, sizeof text));
    CALL(open(of_process(pid, "comm"), O_RDONLY));
}
HELPER(stay_alive) {
    write(3, "x", 1);
    for (;;) pause();
}
TEST(memory_of_an_earlier_program) {
    int go[2], ready[2];
    NEED(pipe(go) == 0 && pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        NEED(read(go[0], &byte, 1) == 1);
        dup2(ready[1], 3);
        execl("/proc/self/exe", "x", "stay_alive", NULL);
    }
    int environment = open(of_process(pid, "environ"), O_RDONLY), maps = open(of_process(pid, "maps"), O_RDONLY);
    char byte;
    NEED(environment >= 0 && maps >= 0 && write(go[1], "x", 1) == 1 && read(ready[0], &byte, 1) == 1);
    read_some("environ", environment);
    read_some("maps", maps);
    int again = open(of_process(pid, "maps"), O_RDONLY);
    read_some("maps, opened now", again);
    end(pid);
}
TEST(comm_of_another) {
    pid_t pid = stay(NULL);
    int fd = open(of_process(pid, "comm"), O_WRONLY);
    CALL(write(fd, "hello", 5));
    int own = open("/proc/self/comm", O_WRONLY);
    CALL(write(own, "mine", 4));
    CHILD("with the parent's file") { CALL(write(own, "yours", 5)); }
    show_file("/proc/self/comm");
    end(pid);
}
TEST(changes_in_proc) {
    CALL(rename("/proc/version", "/proc/v2"));
    CALL(rename("/proc/version", "/proc/uptime"));
    CALL(chown("/proc/version", 0, 0));
    CALL(chmod("/proc/self/status", 0600));
    CALL(unlink("/proc/version"));
    show_file("/proc/sys/kernel/tainted");
}

TEST(robust_list_of_another) {
    pid_t hidden = stay(user_1000), visible = stay(user_1000_by_exec), root = stay(NULL);
    CHILD("user") {
        be_user(1000);
        void* head;
        size_t size;
        CALL(syscall(SYS_get_robust_list, hidden, &head, &size));
        CALL(syscall(SYS_get_robust_list, visible, &head, &size));
        CALL(syscall(SYS_get_robust_list, root, &head, &size));
    }
    end(hidden);
    end(visible);
    end(root);
}

// pwrite(2) to a text that the kernel makes: ESPIPE before anything about how it is open.
TEST(positions_in_generated_files) {
    static const char* const files[] = {"status", "stat", "maps", "limits", "mounts", "comm", "cmdline", "environ"};
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[64], c;
        snprintf(path, sizeof path, "/proc/self/%s", files[i]);
        int fd = open(path, O_RDONLY);
        say("%s: ", files[i]);
        CALL(pwrite(fd, "x", 1, 0));
        CALL(pread(fd, &c, 1, 0));
        close(fd);
    }
    int fd = open("/proc/self/comm", O_RDWR);
    CALL(pwrite(fd, "x", 1, 0));
    CALL(pwrite(fd, "x", 1, -1));
    fd = open("/proc/meminfo", O_RDONLY);
    CALL(pwrite(fd, "x", 1, 0));
    fd = open("/proc/sys/kernel/hostname", O_RDONLY);
    CALL(pwrite(fd, "x", 1, 0));
    fd = open("/proc/sys/fs/nr_open", O_RDONLY);
    CALL(pwrite(fd, "x", 1, 0));
}
