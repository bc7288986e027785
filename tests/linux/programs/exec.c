// SPDX-License-Identifier: MIT
// execve: its errors, #! scripts, and what survives it.
#include "check.h"

#include <elf.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

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

// Strings and pointers: a quarter of the stack's limit, at most 6 MiB.
TEST(megabytes_of_arguments) {
    enum { kSize = 131000, kMost = 52 };
    static char* arguments[kMost + 3];
    char* text = malloc(kSize + 1);
    memset(text, 'a', kSize);
    text[kSize] = 0;
    char* none[] = {NULL};
    NEED(setrlimit(RLIMIT_STACK, &(struct rlimit){64 << 20, RLIM_INFINITY}) == 0);
    arguments[0] = (char*)self();
    arguments[1] = (char*)"count_arguments";
    static const int counts[] = {30, 32, 47, 48, 49, kMost};
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        for (int n = 0; n < counts[i]; n++) arguments[n + 2] = text;
        arguments[counts[i] + 2] = NULL;
        say("%d strings\n", counts[i]);
        CHILD("child") CALL(execve(self(), arguments, none));
    }
    make_file("s", "#!/tests/exec count_arguments\n", 0755);
    arguments[0] = text;
    for (int n = 0; n < 40; n++) arguments[n + 1] = text;
    arguments[40] = NULL;
    CHILD("script") CALL(execve("./s", arguments, none));
    CHILD("environment") {
        char* few[] = {(char*)self(), (char*)"count_arguments", NULL};
        CALL(execve(self(), few, arguments));
    }
    NEED(setrlimit(RLIMIT_STACK, &(struct rlimit){16 << 20, RLIM_INFINITY}) == 0);
    CHILD("a smaller stack") CALL(execve(self(), arguments, none));
}

// setuid(2) may go to a user who has more processes than the limit; the next execve(2) fails.
TEST(processes_of_a_user_at_execve) {
    chmod(".", 0755);
    int go[2];
    NEED(pipe(go) == 0);
    for (int i = 0; i < 2; i++) {
        if (fork() == 0) {
            char c;
            NEED(setuid(4321) == 0);
            close(go[1]);
            _exit(read(go[0], &c, 1) == 0 ? 0 : 1);
        }
    }
    sleep_ms(100);
    char* arguments[] = {(char*)self(), (char*)"count_arguments", NULL};
    CHILD("too many") {
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 10}) == 0);
        CALL(setuid(4321));
        CALL(execve(self(), arguments, environ));
        CALL(execve("/missing", arguments, environ));
        CALL(execve("", arguments, environ));
        CALL(fork());
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){10, 10}) == 0);
        CALL(execve(self(), arguments, environ));
    }
    CHILD("looked at once") {
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 10}) == 0 && setuid(4321) == 0);
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){10, 10}) == 0);
        CALL(execve("/missing", arguments, environ));
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 10}) == 0);
        CALL(execve(self(), arguments, environ));
    }
    CHILD("the limit comes later") {
        NEED(setuid(4321) == 0);
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 10}) == 0);
        CALL(execve(self(), arguments, environ));
    }
    CHILD("as many as there may be") {
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){2, 10}) == 0 && setuid(4321) == 0);
        CALL(execve(self(), arguments, environ));
    }
    CHILD("the child of one that may have more") {
        NEED(setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 10}) == 0);
        CALL(setresuid(4321, 0, 0));
        CHILD("its child") CALL(execve(self(), arguments, environ));
        CALL(execve(self(), arguments, environ));
    }
    close(go[1]);
    close(go[0]);
    while (wait(NULL) > 0) {
    }
}
