// SPDX-License-Identifier: MIT
// clone with its flags, and threads made by hand: what is shared, the thread group, the end of threads.
#include "check.h"

#include <asm/prctl.h>
#include <linux/futex.h>
#include <sched.h>

enum { kStackBytes = 65536 };

static void* new_stack(void) {
    char* stack = mmap(NULL, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(stack != MAP_FAILED);
    return stack + kStackBytes - 64;
}

static long raw_clone(unsigned long flags, void* stack, int* parent_tid, int* child_tid, unsigned long tls) {
    return syscall(SYS_clone, flags, stack, parent_tid, child_tid, tls);
}

#define THREAD_FLAGS                                                                                          \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID | \
     CLONE_CHILD_CLEARTID)

// A thread without the library's knowledge: it shares the creator's TLS, so it makes only calls that use none of it
// (except errno, which the creator does not read until then).
static int start_thread(int (*body)(void*), void* argument, volatile int* tid_word, int extra) {
    return clone(body, new_stack(), (int)(THREAD_FLAGS | (unsigned)extra), argument, (int*)tid_word, NULL,
                 (int*)tid_word);
}
static void join(volatile int* tid_word) {
    for (int tid; (tid = *tid_word) != 0;) syscall(SYS_futex, tid_word, FUTEX_WAIT, tid, NULL, NULL, 0);
}
static void exit_thread(int code) { syscall(SYS_exit, code); }

TEST(bad_flags) {
    CALL(raw_clone(CLONE_SIGHAND | SIGCHLD, NULL, NULL, NULL, 0));
    CALL(raw_clone(CLONE_THREAD | SIGCHLD, NULL, NULL, NULL, 0));
    CALL(raw_clone(CLONE_THREAD | CLONE_VM | SIGCHLD, NULL, NULL, NULL, 0));
    CALL(raw_clone(CLONE_FS | CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, 0));
    CALL(raw_clone(CLONE_NEWPID | CLONE_THREAD | CLONE_VM | CLONE_SIGHAND, NULL, NULL, NULL, 0));
    CALL(syscall(SYS_clone3, NULL, 0));
    CALL(syscall(SYS_clone3, NULL, 64));
}

static int set_word(void* argument) {
    *(volatile int*)argument = 41;
    return 5;
}

TEST(vm_shared) {
    volatile int word = 0;
    pid_t pid = clone(set_word, new_stack(), CLONE_VM | SIGCHLD, (void*)&word);
    reap("child", pid);
    say("word %d\n", word);
    pid = clone(set_word, new_stack(), SIGCHLD, (void*)&word);
    word = 1;
    reap("child without CLONE_VM", pid);
    say("word %d\n", word);
}

static int open_one(void* argument) {
    *(int*)argument = open("/dev/null", O_RDONLY);
    close(0);
    return 0;
}

TEST(files_shared) {
    int fd = -1;
    reap("child", clone(open_one, new_stack(), CLONE_VM | CLONE_FILES | SIGCHLD, &fd));
    CALL(fcntl(fd, F_GETFD));
    CALL(fcntl(0, F_GETFD));
    fd = -1;
    reap("child without CLONE_FILES", clone(open_one, new_stack(), CLONE_VM | SIGCHLD, &fd));
    CALL(fcntl(fd, F_GETFD));
}

static int change_fs(void* argument) {
    (void)argument;
    umask(0123);
    return chdir("sub");
}
static void show_fs(void) {
    char text[64];
    NEED(getcwd(text, sizeof text));
    mode_t mask = umask(0);
    umask(mask);
    say("cwd %s, umask %o\n", strrchr(text, '/'), mask);
}
TEST(fs_shared) {
    mkdir("top", 0700);
    NEED(chdir("top") == 0 && mkdir("sub", 0700) == 0);
    umask(022);
    reap("child without CLONE_FS", clone(change_fs, new_stack(), SIGCHLD, NULL));
    show_fs();
    reap("child", clone(change_fs, new_stack(), CLONE_FS | SIGCHLD, NULL));
    show_fs();
}

static int set_handler(void* argument) {
    (void)argument;
    signal(SIGUSR1, SIG_IGN);
    sigset_t set;
    sigfillset(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return 0;
}
TEST(sighand_shared) {
    struct sigaction action;
    reap("child", clone(set_handler, new_stack(), CLONE_VM | SIGCHLD, NULL));
    sigaction(SIGUSR1, NULL, &action);
    FACT("ignored without CLONE_SIGHAND", action.sa_handler == SIG_IGN);
    reap("child", clone(set_handler, new_stack(), CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL));
    sigaction(SIGUSR1, NULL, &action);
    FACT("ignored with CLONE_SIGHAND", action.sa_handler == SIG_IGN);
    sigset_t set;
    sigprocmask(SIG_BLOCK, NULL, &set);
    FACT("mask shared", sigismember(&set, SIGUSR2));
}

TEST(tid_words) {
    int parent_word = 0, child_word = 0;
    pid_t pid =
        (pid_t)raw_clone(CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD, NULL, &parent_word, &child_word, 0);
    if (pid == 0) {
        FACT("child's word in the child", child_word == getpid());
        FACT("parent's word in the child", parent_word == getpid());
        _exit(0);
    }
    reap("child", pid);
    FACT("parent's word", parent_word == pid);
    FACT("child's word is not written in the parent", child_word == 0);
    pid = (pid_t)raw_clone(CLONE_PARENT_SETTID | SIGCHLD, NULL, (int*)8, NULL, 0);
    if (pid == 0) _exit(3);
    FACT("bad parent word is ignored", pid > 0);
    reap("child", pid);
    pid = (pid_t)raw_clone(CLONE_CHILD_SETTID | SIGCHLD, NULL, NULL, (int*)8, 0);
    if (pid == 0) _exit(4);
    FACT("bad child word is ignored", pid > 0);
    reap("child", pid);
}

TEST(exit_signal) {
    static const int signals[] = {0, SIGUSR1, SIGCHLD};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct timespec none = {0, 0};
    for (int i = 0; i < 3; i++) {
        pid_t pid = (pid_t)raw_clone((unsigned long)signals[i], NULL, NULL, NULL, 0);
        if (pid == 0) _exit(6);
        int status = 0;
        say("exit signal %s\n", signal_name(signals[i]));
        FACT("WNOWAIT with __WALL", waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT | __WALL) == 0);
        FACT("plain wait", waitpid(pid, &status, WNOHANG) == pid);
        FACT("__WCLONE", waitpid(pid, &status, WNOHANG | __WCLONE) == pid);
        say_status("child", status);
        int got = sigtimedwait(&set, NULL, &none);
        say("signal %s\n", got < 0 ? "none" : signal_name(got));
    }
}

TEST(clone_parent) {
    int answer[2];
    NEED(pipe(answer) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t sibling = (pid_t)raw_clone(CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, 0);
        if (sibling == 0) _exit(12);
        CALL(waitpid(sibling, NULL, 0));
        NEED(write(answer[1], &sibling, sizeof sibling) == sizeof sibling);
        _exit(11);
    }
    pid_t sibling;
    NEED(read(answer[0], &sibling, sizeof sibling) == sizeof sibling);
    reap("child", pid);
    reap("sibling", sibling);
}

TEST(clone_vfork) {
    static volatile int done;
    pid_t pid = (pid_t)raw_clone(CLONE_VFORK | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) {
        sleep_ms(10);
        done = 1;
        _exit(2);
    }
    FACT("memory not shared", done == 0);
    siginfo_t info = {0};
    FACT("over", waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0 && info.si_pid == pid);
    reap("child", pid);
}

static volatile int thread_pid, thread_tid, thread_word, thread_ppid;
static int look_around(void* argument) {
    thread_pid = (int)syscall(SYS_getpid);
    thread_tid = (int)syscall(SYS_gettid);
    thread_ppid = (int)syscall(SYS_getppid);
    *(volatile int*)argument = 7;
    exit_thread(0);
    return 0;
}

TEST(thread_ids) {
    volatile int word = 1, seen = 0;
    int tid = start_thread(look_around, (void*)&seen, &word, 0);
    join(&word);
    FACT("same pid", thread_pid == getpid());
    FACT("same parent", thread_ppid == getppid());
    FACT("own tid", thread_tid != getpid() && thread_tid == tid);
    SHOW(seen);
    sleep_ms(20);  // the word is cleared a little before the thread is gone
    CALL(waitpid(tid, NULL, 0));
    CALL(waitpid(tid, NULL, __WALL));
    CALL(syscall(SYS_tgkill, getpid(), tid, 0));
    FACT("kill by a thread's id was possible only while it lived", kill(tid, 0) == -1);
}

static int sleeper(void* argument) {
    volatile int* ready = argument;
    *ready = 1;
    for (;;) syscall(SYS_pause);
    return 0;
}

TEST(exit_group_ends_threads) {
    CHILD("exit_group by the leader") {
        volatile int words[3] = {1, 1, 1}, ready[3] = {0, 0, 0};
        for (int i = 0; i < 3; i++) start_thread(sleeper, (void*)&ready[i], &words[i], 0);
        while (!ready[0] || !ready[1] || !ready[2]) sched_yield();
        _exit(21);
    }
}

static int group_exiter(void* argument) {
    (void)argument;
    syscall(SYS_exit_group, 22);
    return 0;
}
TEST(exit_group_by_a_thread) {
    CHILD("child") {
        volatile int word = 1;
        start_thread(group_exiter, NULL, &word, 0);
        for (;;) pause();
    }
}

static int late_exiter(void* argument) {
    (void)argument;
    struct timespec t = {0, 30000000};
    syscall(SYS_nanosleep, &t, NULL);
    exit_thread(33);
    return 0;
}
TEST(leader_exits_first) {
    CHILD("child") {
        volatile int word = 1;
        start_thread(late_exiter, NULL, &word, 0);
        exit_thread(44);
    }
}

TEST(killed_with_threads) {
    CHILD("child") {
        volatile int words[3] = {1, 1, 1}, ready[3] = {0, 0, 0};
        for (int i = 0; i < 3; i++) start_thread(sleeper, (void*)&ready[i], &words[i], 0);
        while (!ready[0] || !ready[1] || !ready[2]) sched_yield();
        kill(getpid(), SIGTERM);
        for (;;) pause();
    }
}

static int faulter(void* argument) {
    *(volatile int*)argument = 1;
    return 0;
}
TEST(thread_fault_kills_all) {
    CHILD("child") {
        volatile int word = 1;
        start_thread(faulter, (void*)8, &word, 0);
        for (;;) pause();
    }
}

static int exec_from_thread(void* argument) {
    char** arguments = argument;
    syscall(SYS_execve, arguments[0], arguments, environ);
    exit_thread(1);
    return 0;
}
HELPER(after_exec) {
    FACT("the leader's pid is kept", getpid() == atoi(test_argv[2]));
    FACT("tid is the pid", syscall(SYS_gettid) == getpid());
}
TEST(exec_by_a_thread) {
    CHILD("child") {
        volatile int words[2] = {1, 1}, ready = 0;
        start_thread(sleeper, (void*)&ready, &words[0], 0);
        while (!ready) sched_yield();
        char pid[16];
        snprintf(pid, sizeof pid, "%d", getpid());
        char* arguments[] = {test_argv[0], (char*)"after_exec", pid, NULL};
        start_thread(exec_from_thread, arguments, &words[1], 0);
        for (;;) pause();
    }
}

static volatile int handler_tid;
static void remember_tid(int number) {
    (void)number;
    handler_tid = (int)syscall(SYS_gettid);
}
static int pauser(void* argument) {
    volatile int* ready = argument;
    *ready = 1;
    while (!handler_tid) sched_yield();
    exit_thread(0);
    return 0;
}
TEST(tgkill_reaches_one_thread) {
    on_signal(SIGUSR1, remember_tid, 0);
    volatile int word = 1, ready = 0;
    int tid = start_thread(pauser, (void*)&ready, &word, 0);
    while (!ready) sched_yield();
    CALL(syscall(SYS_tgkill, getpid(), tid, SIGUSR1));
    join(&word);
    FACT("handled by that thread", handler_tid == tid);
    CALL(syscall(SYS_tgkill, getpid() + 100000, getpid(), 0));
    CALL(syscall(SYS_tgkill, -1, getpid(), 0));
    CALL(syscall(SYS_tgkill, getpid(), 0, 0));
    CALL(syscall(SYS_tkill, 0, 0));
    CALL(syscall(SYS_tkill, getpid(), 0));
    CALL(syscall(SYS_tkill, 1000000, 0));
    CALL(syscall(SYS_tgkill, getppid(), getpid(), 0));
}

TEST(process_signal_goes_to_an_unblocked_thread) {
    on_signal(SIGUSR1, remember_tid, 0);
    volatile int word = 1, ready = 0;
    int tid = start_thread(pauser, (void*)&ready, &word, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    while (!ready) sched_yield();
    CALL(kill(getpid(), SIGUSR1));
    join(&word);
    FACT("handled by the other thread", handler_tid == tid);
}

static volatile unsigned long tls_seen;
static int tls_body(void* argument) {
    unsigned long base = 0;
    syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
    tls_seen = base;
    (void)argument;
    exit_thread(0);
    return 0;
}
TEST(settls) {
    unsigned long mine = 0;
    syscall(SYS_arch_prctl, ARCH_GET_FS, &mine);
    // A copy of the thread pointer's surroundings: the library reads its own pointer there.
    char* copy = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(copy + 8192, (void*)mine, 256);
    *(void**)(copy + 8192) = copy + 8192;
    volatile int word = 1;
    int tid =
        clone(tls_body, new_stack(), (int)(THREAD_FLAGS | CLONE_SETTLS), NULL, (int*)&word, copy + 8192, (int*)&word);
    FACT("started", tid > 0);
    join(&word);
    FACT("the thread's base", tls_seen == (unsigned long)(copy + 8192));
    unsigned long again = 0;
    syscall(SYS_arch_prctl, ARCH_GET_FS, &again);
    FACT("the creator's base is as before", again == mine);
    CALL(raw_clone(CLONE_SETTLS | SIGCHLD, NULL, NULL, NULL, 0x8000000000000000ul));
}

static volatile int counter_lock;
static volatile int counter;
static int adder(void* argument) {
    (void)argument;
    for (int i = 0; i < 2000; i++) {
        while (__atomic_exchange_n(&counter_lock, 1, __ATOMIC_ACQUIRE)) syscall(SYS_sched_yield);
        counter++;
        __atomic_store_n(&counter_lock, 0, __ATOMIC_RELEASE);
    }
    exit_thread(0);
    return 0;
}
TEST(threads_share_memory_coherently) {
    enum { kThreads = 6 };
    volatile int words[kThreads];
    for (int i = 0; i < kThreads; i++) words[i] = 1;
    for (int i = 0; i < kThreads; i++) NEED(start_thread(adder, NULL, &words[i], 0) > 0);
    for (int i = 0; i < kThreads; i++) join(&words[i]);
    SHOW(counter);
}

TEST(threads_come_and_go) {
    int good = 0;
    for (int i = 0; i < 100; i++) {
        volatile int word = 1, seen = 0;
        if (start_thread(look_around, (void*)&seen, &word, 0) > 0) {
            join(&word);
            good += seen == 7;
        }
    }
    SHOW(good);
}

TEST(set_tid_address) {
    int word = 5;
    FACT("returns the tid", syscall(SYS_set_tid_address, &word) == getpid());
    CHILD("cleared at exit") {
        int* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        *shared = 9;
        // Cleared only if the memory has other users: here it is a child made with CLONE_VM.
        volatile int word2 = 3;
        pid_t pid =
            clone(set_word, new_stack(), CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, shared, NULL, NULL, (int*)&word2);
        reap("inner", pid);
        SHOW(word2);
        SHOW(*shared);
    }
}

TEST(robust_list) {
    void* head = NULL;
    size_t length = 0;
    long raw[3] = {0, 0, 0};
    CALL(syscall(SYS_set_robust_list, raw, 24));
    CALL(syscall(SYS_set_robust_list, raw, 23));
    CALL(syscall(SYS_get_robust_list, 0, &head, &length));
    FACT("same head", head == raw);
    SHOW(length);
    CALL(syscall(SYS_get_robust_list, 1000000, &head, &length));
}

TEST(robust_futex_owner_dies) {
    struct {
        long next, offset, pending;
        long node;
        int word;
    }* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHILD("child") {
        shared->next = (long)&shared->node;
        shared->node = (long)shared;
        shared->offset = (char*)&shared->word - (char*)&shared->node;
        shared->pending = 0;
        shared->word = (int)syscall(SYS_gettid);
        NEED(syscall(SYS_set_robust_list, shared, 24) == 0);
    }
    FACT("owner died", shared->word == FUTEX_OWNER_DIED);
}
