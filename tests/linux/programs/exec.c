// SPDX-License-Identifier: MIT
// execve: its errors, #! scripts, and what survives it.
#include "check.h"

#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>

static const char* self(void) { return test_argv[0]; }

static void try_exec(const char* what, const char* path) {
    char* const arguments[] = {(char*)"x", NULL};
    char* const environment[] = {NULL};
    CHILD(what) {
        execve(path, arguments, environment);
        say("%s -> %s\n", what, errno_name(errno));
    }
}

TEST(errors) {
    mkdir("dir", 0700);
    make_file("plain", "text\n", 0644);
    make_file("empty", "", 0755);
    make_file("text", "no magic here, and long enough to be looked at\n", 0755);
    make_file("short", "\x7f", 0755);
    make_file("nobits", "#!/bin/busybox true\n", 0600);
    NEED(symlink("loop", "loop") == 0);
    NEED(symlink("nowhere", "dangling") == 0);
    char name[300], path[5000];
    memset(name, 'n', sizeof name - 1), name[sizeof name - 1] = 0;
    memset(path, '/', sizeof path - 1), path[sizeof path - 1] = 0;
    try_exec("missing", "missing");
    try_exec("empty name", "");
    try_exec("directory", "dir");
    try_exec("not executable", "plain");
    try_exec("script without x bit", "nobits");
    try_exec("empty file", "empty");
    try_exec("text without #!", "text");
    try_exec("one byte", "short");
    try_exec("symlink loop", "loop");
    try_exec("dangling symlink", "dangling");
    try_exec("file as a directory", "plain/x");
    try_exec("trailing slash", "text/");
    try_exec("missing directory", "none/x");
    try_exec("long name", name);
    try_exec("long path", path);
    try_exec("device", "/dev/null");
    try_exec("null", NULL);
    try_exec("bad pointer", (char*)8);
}

TEST(bad_pointers) {
    char* bad_entry[] = {(char*)"x", (char*)8, NULL};
    char* good[] = {(char*)"x", NULL};
    CALL(syscall(SYS_execve, self(), bad_entry, good));
    CALL(syscall(SYS_execve, self(), good, bad_entry));
    CALL(syscall(SYS_execve, self(), (char**)8, good));
    CALL(syscall(SYS_execve, self(), good, (char**)8));
    char* wild[] = {(char*)0xffff800000000000, NULL};
    CALL(syscall(SYS_execve, self(), wild, good));
    CALL(syscall(SYS_execve, "missing", bad_entry, good));
}

TEST(too_big) {
    struct rlimit stack = {1 << 20, 8 << 20};
    NEED(setrlimit(RLIMIT_STACK, &stack) == 0);
    size_t big = 128 * 1024;
    char* text = malloc(big + 1);
    memset(text, 'a', big + 1);
    char* one[] = {(char*)"count_arguments", text, NULL};
    char* none[] = {NULL};
    text[big] = 0;
    CALL(execve(self(), one, none));
    text[big - 1] = 0;
    CHILD("largest argument") {
        char* arguments[] = {(char*)self(), (char*)"count_arguments", text, NULL};
        CALL(execve(self(), arguments, none));
    }
    char** many = calloc(12, sizeof *many);
    many[0] = (char*)self();
    for (int i = 1; i < 11; i++) many[i] = text;
    CALL(execve(self(), many, none));
    CALL(execve(self(), none, many));
}

HELPER(count_arguments) {
    unsigned long bytes = 0;
    for (int i = 0; i < test_argc; i++) bytes += strlen(test_argv[i]) + 1;
    say("%d arguments, last of %zu bytes\n", test_argc, strlen(test_argv[test_argc - 1]));
    FACT("terminated", test_argv[test_argc] == NULL);
    (void)bytes;
}

TEST(many_arguments) {
    enum { kMany = 3000 };
    char** arguments = calloc(kMany + 1, sizeof *arguments);
    for (int i = 0; i < kMany; i++) arguments[i] = (char*)"arg";
    arguments[0] = (char*)self();
    arguments[1] = (char*)"count_arguments";
    CHILD("child") CALL(execve(self(), arguments, environ));
}

TEST(empty_arguments) {
    make_file("s", "#!/bin/busybox echo\n", 0755);
    char* none[] = {NULL};
    CHILD("no arguments to a script") CALL(execve("s", none, none));
    CHILD("null vectors") CALL(syscall(SYS_execve, "s", NULL, NULL));
}

HELPER(show_arguments) {
    for (int i = 0; i < test_argc; i++) say("argv[%d]=<%s>\n", i, i == 0 ? "self" : test_argv[i]);
    for (char** e = environ; *e; e++) say("env <%s>\n", *e);
}

TEST(arguments_and_environment) {
    char* arguments[] = {(char*)"", (char*)"show_arguments", (char*)"", (char*)" a b ", (char*)"\xff\x01", NULL};
    char* environment[] = {(char*)"A=1", (char*)"no equals", (char*)"", (char*)"A=2", NULL};
    CHILD("child") CALL(execve(self(), arguments, environment));
}

static void script(const char* name, const char* line, char* const arguments[]) {
    static char* none[] = {NULL};
    make_file(name, line, 0755);
    CHILD(name) {
        execve(name, arguments, none);
        say("%s -> %s\n", name, errno_name(errno));
    }
}

TEST(script_lines) {
    char* arguments[] = {(char*)"zero", (char*)"one", (char*)"two", NULL};
    script("./plain", "#!/bin/busybox echo\n", arguments);
    script("./spaces", "#!  \t/bin/busybox  echo -n  \t \nrest\n", arguments);
    script("./one_option", "#!/bin/busybox echo a b  c\n", arguments);
    script("./no_newline", "#!/bin/busybox echo", arguments);
    script("./no_interpreter", "#!/no/such/thing\n", arguments);
    script("./only_magic", "#!\n", arguments);
    script("./only_spaces", "#!   \n", arguments);
    script("./magic_end", "#!", arguments);
    script("./interpreter_is_dir", "#!/tmp\n", arguments);
    script("./interpreter_no_x", "#!/etc/passwd\n", arguments);
    script("./relative", "#!plain\n", arguments);
    script("./missing_relative", "#!nothing\n", arguments);
}

TEST(script_long_line) {
    char* arguments[] = {(char*)"zero", (char*)"one", NULL};
    char line[600];
    // The kernel looks at the first 256 bytes only.
    memset(line, 'x', sizeof line);
    memcpy(line, "#!/bin/busybox echo ", 20);
    line[100] = '\n', line[101] = 0;
    script("./fits", line, arguments);
    memset(line + 20, 'y', 400);
    line[500] = '\n', line[501] = 0;
    script("./argument_cut", line, arguments);
    memset(line, 'z', sizeof line);
    memcpy(line, "#!/", 3);
    line[500] = '\n', line[501] = 0;
    script("./name_cut", line, arguments);
    memset(line, ' ', sizeof line);
    memcpy(line, "#!", 2);
    memcpy(line + 300, "/bin/busybox echo\n", 19);
    script("./name_beyond", line, arguments);
}

TEST(script_chain) {
    char* arguments[] = {(char*)"zero", (char*)"one", NULL};
    char* none[] = {NULL};
    make_file("s1", "#!/bin/busybox echo 1\n", 0755);
    for (int i = 2; i <= 7; i++) {
        char name[8], line[32];
        snprintf(name, sizeof name, "s%d", i);
        snprintf(line, sizeof line, "#!./s%d %d\n", i - 1, i);
        make_file(name, line, 0755);
    }
    static const char* const names[] = {"./s1", "./s2", "./s3", "./s4", "./s5", "./s6", "./s7"};
    for (int i = 0; i < 7; i++) CHILD(names[i]) {
            execve(names[i], arguments, none);
            say("%s -> %s\n", names[i], errno_name(errno));
        }
    make_file("self", "#!./self\n", 0755);
    CHILD("interpreter is itself") CALL(execve("./self", arguments, none));
}

TEST(text_busy) {
    NEED(system("/bin/busybox cp /bin/busybox copy") == 0);
    int fd = open("copy", O_WRONLY);
    char* arguments[] = {(char*)"true", NULL};
    char* none[] = {NULL};
    CHILD("open for writing") CALL(execve("./copy", arguments, none));
    close(fd);
    CHILD("closed") CALL(execve("./copy", arguments, none));
    pid_t pid = fork();
    if (pid == 0) {
        char* sleeper[] = {(char*)"sleep", (char*)"5", NULL};
        execve("./copy", sleeper, none);
        _exit(1);
    }
    sleep_ms(100);
    CALL(open("copy", O_WRONLY));
    CALL(open("copy", O_RDWR));
    CALL(truncate("copy", 0));
    OKAY(open("copy", O_RDONLY));
    CALL(unlink("copy"));
    kill(pid, SIGKILL);
    reap("running", pid);
}

HELPER(after) {
    sigset_t set;
    struct sigaction action;
    sigprocmask(SIG_SETMASK, NULL, &set);
    FACT("SIGUSR1 blocked", sigismember(&set, SIGUSR1));
    FACT("SIGUSR2 blocked", sigismember(&set, SIGUSR2));
    sigpending(&set);
    FACT("SIGUSR1 pending", sigismember(&set, SIGUSR1));
    sigaction(SIGINT, NULL, &action);
    FACT("SIGINT ignored", action.sa_handler == SIG_IGN);
    sigaction(SIGTERM, NULL, &action);
    FACT("SIGTERM default", action.sa_handler == SIG_DFL);
    SHOW(action.sa_flags);
    stack_t stack;
    sigaltstack(NULL, &stack);
    FACT("no alternate stack", stack.ss_flags == SS_DISABLE);
    CALL(fcntl(10, F_GETFD));
    CALL(fcntl(11, F_GETFD));
    CALL(lseek(10, 0, SEEK_CUR));
    CALL(umask(0));
    char text[64] = "", comm[17] = "";
    FACT("cwd kept", getcwd(text, sizeof text) && strcmp(text + strlen(text) - 4, "/sub") == 0);
    prctl(PR_GET_NAME, comm);
    say("name %s\n", comm);
    struct itimerval timer;
    getitimer(ITIMER_REAL, &timer);
    FACT("timer runs on", timer.it_value.tv_sec > 50);
    FACT("pid kept", getpid() == atoi(test_argv[2]));
    SHOW(getppid() != 1);
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    SHOW(limit.rlim_cur);
    FACT("memory is new", mmap((void*)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                               -1, 0) != MAP_FAILED);
}

static void nothing(int number) { (void)number; }

TEST(what_survives) {
    CHILD("child") {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGUSR1);
        signal(SIGINT, SIG_IGN);
        on_signal(SIGTERM, nothing, SA_RESTART);
        static char area[16384];
        stack_t stack = {.ss_sp = area, .ss_size = sizeof area};
        NEED(sigaltstack(&stack, NULL) == 0);
        make_file("f", "0123456789", 0600);
        int fd = open("f", O_RDONLY);
        lseek(fd, 3, SEEK_SET);
        dup2(fd, 10);
        dup3(fd, 11, O_CLOEXEC);
        umask(027);
        mkdir("sub", 0700);
        NEED(chdir("sub") == 0);
        prctl(PR_SET_NAME, "renamed");
        alarm(100);
        struct rlimit limit = {1 << 20, 1 << 20};
        setrlimit(RLIMIT_FSIZE, &limit);
        NEED(mmap((void*)0x10000000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
        char pid[16];
        snprintf(pid, sizeof pid, "%d", getpid());
        execl(self(), self(), "after", pid, (char*)NULL);
        say("%s\n", errno_name(errno));
    }
}

HELPER(auxiliary) {
    SHOW(getauxval(AT_PAGESZ));
    SHOW(getauxval(AT_PHENT));
    SHOW(getauxval(AT_CLKTCK));
    SHOW(getauxval(AT_SECURE));
    SHOW(getauxval(AT_UID));
    SHOW(getauxval(AT_EUID));
    SHOW(getauxval(AT_GID));
    SHOW(getauxval(AT_EGID));
    SHOW(getauxval(AT_BASE));
    SHOW(getauxval(AT_FLAGS));
    FACT("AT_RANDOM is set", getauxval(AT_RANDOM) != 0);
    FACT("AT_PHNUM is set", getauxval(AT_PHNUM) > 1);
    FACT("AT_ENTRY is set", getauxval(AT_ENTRY) != 0);
    FACT("AT_HWCAP has FPU", getauxval(AT_HWCAP) & 1);
    const char* platform = (const char*)getauxval(AT_PLATFORM);
    say("AT_PLATFORM %s\n", platform ? platform : "none");
    const char* name = (const char*)getauxval(AT_EXECFN);
    say("AT_EXECFN %s\n", name ? name : "none");
    const Elf64_Phdr* headers = (const Elf64_Phdr*)getauxval(AT_PHDR);
    int loads = 0;
    for (unsigned long i = 0; headers && i < getauxval(AT_PHNUM); i++) loads += headers[i].p_type == PT_LOAD;
    FACT("AT_PHDR is readable and has loads", loads > 0);
    FACT("stack is aligned", ((uintptr_t)(test_argv - 1) & 15) == 0);
}

TEST(auxiliary_vector) {
    NEED(symlink(self(), "link") == 0);
    CHILD("child") {
        execl("./link", "zero", "auxiliary", (char*)NULL);
        say("%s\n", errno_name(errno));
    }
}

TEST(execveat) {
    char* arguments[] = {(char*)"echo", (char*)"hi", NULL};
    char* none[] = {NULL};
    int fd = open("/bin/busybox", O_RDONLY | O_CLOEXEC), dir = open("/bin", O_RDONLY | O_DIRECTORY);
    int path_fd = open("/bin/busybox", O_PATH);
    NEED(symlink("/bin/busybox", "link") == 0);
    CHILD("by descriptor") CALL(syscall(SYS_execveat, fd, "", arguments, none, AT_EMPTY_PATH));
    CHILD("by path descriptor") CALL(syscall(SYS_execveat, path_fd, "", arguments, none, AT_EMPTY_PATH));
    CHILD("by directory") CALL(syscall(SYS_execveat, dir, "busybox", arguments, none, 0));
    CHILD("empty path without the flag") CALL(syscall(SYS_execveat, fd, "", arguments, none, 0));
    CHILD("link not followed") CALL(syscall(SYS_execveat, AT_FDCWD, "link", arguments, none, AT_SYMLINK_NOFOLLOW));
    CHILD("link followed") CALL(syscall(SYS_execveat, AT_FDCWD, "link", arguments, none, 0));
    CHILD("bad flag") CALL(syscall(SYS_execveat, AT_FDCWD, "link", arguments, none, 0x4));
    CHILD("bad descriptor") CALL(syscall(SYS_execveat, 99, "x", arguments, none, 0));
}

TEST(comm_is_the_file_name) {
    NEED(symlink(self(), "a_rather_long_name_for_a_program") == 0);
    CHILD("child") execl("./a_rather_long_name_for_a_program", "zero", "show_comm", (char*)NULL);
}
HELPER(show_comm) {
    char comm[17] = "";
    prctl(PR_GET_NAME, comm);
    say("%s\n", comm);
}

TEST(as_another_user) {
    NEED(system("/bin/busybox cp /bin/busybox c711; /bin/busybox cp /bin/busybox c700; chmod 711 c711; chmod 700 c700; "
                "chmod 755 .") == 0);
    make_file("script", "#!/bin/busybox echo\n", 0711);
    mkdir("closed", 0700);
    NEED(system("/bin/busybox cp /bin/busybox closed/b") == 0);
    char* arguments[] = {(char*)"echo", (char*)"hi", NULL};
    char* none[] = {NULL};
    CHILD("x for others") {
        NEED(setuid(1000) == 0);
        CALL(execve("./c711", arguments, none));
    }
    CHILD("no x for others") {
        NEED(setuid(1000) == 0);
        CALL(execve("./c700", arguments, none));
    }
    CHILD("closed directory") {
        NEED(setuid(1000) == 0);
        CALL(execve("./closed/b", arguments, none));
    }
    CHILD("root without any x bit") {
        NEED(chmod("c700", 0600) == 0);
        CALL(execve("./c700", arguments, none));
    }
}

TEST(set_user_id_bit) {
    char command[256];
    snprintf(command, sizeof command, "/bin/busybox cp %s suid; chown 1234:5678 suid; chmod 6755 suid", self());
    NEED(system(command) == 0);
    CHILD("child") {
        NEED(setgid(1000) == 0 && setuid(1000) == 0);
        execl("./suid", "suid", "show_ids", (char*)NULL);
        say("%s\n", errno_name(errno));
    }
}
HELPER(show_ids) {
    uid_t r, e, s;
    getresuid(&r, &e, &s);
    say("uid %d %d %d\n", r, e, s);
    gid_t gr, ge, gs;
    getresgid(&gr, &ge, &gs);
    say("gid %d %d %d\n", gr, ge, gs);
    SHOW(getauxval(AT_SECURE));
    SHOW(prctl(PR_GET_DUMPABLE));
}

// ---- What other threads and processes had in common with the program ----

static void* waits(void* unused) {
    for (;;) pause();
    return unused;
}
static void one_more_thread(void) {
    pthread_t t;
    NEED(pthread_create(&t, NULL, waits, NULL) == 0);
}

// A record lock is the table's of descriptors, which the program keeps unless another process has it too.
static void lock_and_execute(const char* who, int thread, int fd) {
    int ready[2], end[2];
    NEED(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
        NEED(fcntl(fd, F_SETLK, &lock) == 0);
        NEED(dup2(ready[1], 20) == 20 && dup2(end[0], 21) == 21 && close(end[1]) == 0);
        if (thread) one_more_thread();
        execl(self(), "exec", "say_and_wait", (char*)NULL);
        _exit(1);
    }
    char c;
    NEED(read(ready[0], &c, 1) == 1);
    struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
    NEED(fcntl(fd, F_GETLK, &lock) == 0);
    say("%s: the lock is %s\n", who, lock.l_type == F_UNLCK ? "gone" : "there");
    close(end[1]);
    reap(who, child);
}
TEST(record_locks_are_kept) {
    int fd = open("locked", O_RDWR | O_CREAT, 0600);
    NEED(fd >= 0);
    lock_and_execute("alone", 0, fd);
    lock_and_execute("with a thread", 1, fd);
}
HELPER(say_and_wait) {
    char c;
    NEED(write(20, "x", 1) == 1 && close(20) == 0);
    NEED(read(21, &c, 1) == 0);
}

// A process that has descriptors in common keeps them when the program closes its own.
static int close_behind[2];
static int keeps_descriptors(void* unused) {
    (void)unused;
    char c;
    close(20);  // of both
    if (read(close_behind[0], &c, 1) < 0) _exit(2);
    _exit(fcntl(21, F_GETFD) < 0);
}
TEST(descriptors_in_common) {
    for (int thread = 0; thread < 2; thread++) {
        NEED(pipe(close_behind) == 0 && dup2(0, 20) == 20 && dup2(0, 21) == 21);
        char* stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHILD("program") {
            pid_t other = clone(keeps_descriptors, stack + 65536, CLONE_FILES | SIGCHLD, NULL);
            NEED(other > 0);
            while (fcntl(20, F_GETFD) == 0) sched_yield();
            if (thread) one_more_thread();
            char number[16], pipe_end[16];
            snprintf(number, sizeof number, "%d", other);
            snprintf(pipe_end, sizeof pipe_end, "%d", close_behind[1]);
            execl(self(), "exec", "closes_its_own", number, pipe_end, (char*)NULL);
        }
    }
}
HELPER(closes_its_own) {
    NEED(close(21) == 0 && write(atoi(test_argv[3]), "x", 1) == 1);
    reap("the other", atoi(test_argv[2]));
}

// A thread may give the actions to a new process until it has ended: the program does not have them in common with that one.
enum { kMagic = 0x41414140 };
struct kernel_action {
    unsigned long handler, flags, restorer, mask;
};
static struct race {
    volatile int executed, made, set, hit;
}* race;
static char* race_stack;
static volatile int race_on;
static unsigned race_delay;
static void use_cpu(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}
static int sets_an_action(void* unused) {
    (void)unused;
    race->made = 1;
    struct timespec tick = {0, 1000000};
    for (int i = 0; i < 40 && !race->executed; i++) syscall(SYS_nanosleep, &tick, NULL);
    if (race->executed) {
        struct kernel_action a = {kMagic, 0x04000000, kMagic, 0};
        syscall(SYS_rt_sigaction, SIGUSR2, &a, NULL, 8);
        race->set = 1;
    }
    syscall(SYS_exit, 0);
    return 0;
}
static void* makes_a_process(void* unused) {
    use_cpu(1);
    while (!race_on) {
    }
    for (volatile unsigned i = 0; i < race_delay; i++) {
    }
    clone(sets_an_action, race_stack + 65536, CLONE_VM | CLONE_SIGHAND | CLONE_PARENT | SIGCHLD, NULL);
    return waits(unused);
}
TEST(actions_given_away_meanwhile) {
    int fd = memfd_create("race", 0);
    NEED(fd >= 0 && ftruncate(fd, 4096) == 0 && dup2(fd, 20) == 20);
    race = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    race_stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned most = 3000;
    srand((unsigned)now_ms());
    for (long end = now_ms() + 5000; now_ms() < end && !race->hit;) {
        race->executed = race->made = race->set = 0;
        race_delay = (unsigned)rand() % most;
        pid_t child = fork();
        if (child == 0) {
            pthread_t t;
            NEED(pthread_create(&t, NULL, makes_a_process, NULL) == 0);
            use_cpu(0);
            usleep(200);
            race_on = 1;
            execl(self(), "exec", "looks_at_its_action", (char*)NULL);
            _exit(1);
        }
        waitpid(child, NULL, 0);
        while (waitpid(-1, NULL, __WALL) > 0) {
        }
        if (race->made && most < 40000) most += most / 32;
        if (!race->made && most > 1000) most -= most / 32;
    }
    FACT("another process set an action of the program", race->hit);
}
HELPER(looks_at_its_action) {
    race = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 20, 0);
    race->executed = 1;
    for (int i = 0; race->made && i < 20 && !race->set; i++) usleep(500);
    struct kernel_action a = {0};
    syscall(SYS_rt_sigaction, SIGUSR2, NULL, &a, 8);
    if (a.handler == kMagic) race->hit = 1;
}

// The leader ends while another thread executes a program and takes its number.
static volatile int leader_goes;
static void* executes(void* unused) {
    (void)unused;
    while (!leader_goes) {
    }
    execl(self(), "exec", "nothing", (char*)NULL);
    _exit(1);
}
static long threads_now(void) {
    struct sysinfo s;
    NEED(sysinfo(&s) == 0);
    return s.procs;
}
TEST(leaders_end_meanwhile) {
    // The tree of processes is looked at all the time, so that ends are held up.
    pid_t group = fork();
    if (group == 0) {
        setpgid(0, 0);
        for (int i = 0; i < 60; i++)
            if (fork() == 0) waits(NULL);
        for (;;) kill(0, 0);
    }
    sleep_ms(300);
    long before = threads_now();
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t t;
            NEED(pthread_create(&t, NULL, executes, NULL) == 0);
            usleep(200);
            leader_goes = 1;
            for (volatile int n = 0; n < i * 700; n++) {
            }
            syscall(SYS_exit, 0);
        }
        int status;
        NEED(waitpid(child, &status, 0) == child && status == 0);
    }
    FACT("fewer threads than before", threads_now() < before);
    NEED(kill(-group, SIGKILL) == 0);
}
HELPER(nothing) {}

TEST(set_user_id_clears_personality) {
    enum { kNoRandomize = 0x0040000, kPageZero = 0x0100000, kCompat = 0x0200000, kSticky = 0x4000000 };
    char command[256];
    snprintf(command, sizeof command,
             "for n in plain user group; do /bin/busybox cp %s $n; done; chmod 755 plain; chmod 4755 user; "
             "chgrp 5678 group; chmod 2755 group",
             self());
    NEED(system(command) == 0);
    struct rlimit stack = {64 << 20, 64 << 20};
    NEED(setrlimit(RLIMIT_STACK, &stack) == 0);
    const char* const programs[] = {"plain", "user", "group"};
    for (int as_user = 0; as_user < 2; as_user++)
        for (int i = 0; i < 3; i++) {
            say("%s program, %s\n", programs[i], as_user ? "user" : "root");
            CHILD("child") {
                if (as_user) NEED(setgid(1000) == 0 && setuid(1000) == 0);
                personality(kNoRandomize | kCompat | kSticky | (as_user && i != 0 ? kPageZero : 0));
                execl(programs[i], programs[i], "show_personality", (char*)NULL);
                say("%s\n", errno_name(errno));
            }
        }
}
HELPER(show_personality) {
    say("personality %#x\n", personality(0xffffffff));
    struct rlimit stack;
    NEED(getrlimit(RLIMIT_STACK, &stack) == 0);
    say("stack %ld %ld\n", (long)stack.rlim_cur, (long)stack.rlim_max);
}
