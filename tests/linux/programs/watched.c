// SPDX-License-Identifier: MIT
// What a process does has the same effect while another user looks at it in /proc.
#include "check.h"

#include <grp.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/prctl.h>

static void be_user(uid_t id) { NEED(setgroups(0, NULL) == 0 && setgid(id) == 0 && setuid(id) == 0); }

static int set_lock(int fd) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &lock);
}
// Is it held by this process?
static int holds_lock(int fd) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        NEED(fcntl(fd, F_GETLK, &lock) == 0);
        _exit(lock.l_type != F_UNLCK);
    }
    waitpid(child, &status, 0);
    return WEXITSTATUS(status) == 1;
}

// A child of another user that looks at the process whose number is in *at for ever.
static pid_t watcher(volatile pid_t* at) {
    pid_t child = fork();
    if (child != 0) return child;
    be_user(1000);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    char path[64];
    struct stat s;
    for (pid_t seen;;) {
        if ((seen = *at) == 0) continue;
        snprintf(path, sizeof path, "/proc/%d/stat", seen);
        while (*at == seen) stat(path, &s);
    }
}
static volatile pid_t* shared_number(void) {
    void* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(page != MAP_FAILED);
    return page;
}

// ---- execve ----

enum { kExecs = 300 };

static void execute_again(int fd, pid_t watching, int count, int lost) {
    char words[4][16];
    const int numbers[4] = {fd, watching, count, lost};
    for (int i = 0; i < 4; i++) snprintf(words[i], sizeof words[i], "%d", numbers[i]);
    execl("/proc/self/exe", "watched", "executed", words[0], words[1], words[2], words[3], NULL);
    NEED(!"execl");
}
HELPER(executed) {
    NEED(test_argc == 6);
    const int fd = atoi(test_argv[2]), count = atoi(test_argv[4]) + 1;
    const pid_t watching = atoi(test_argv[3]);
    int lost = atoi(test_argv[5]);
    if (!holds_lock(fd)) {
        lost++;
        NEED(set_lock(fd) == 0);
    }
    if (count < kExecs) execute_again(fd, watching, count, lost);
    kill(watching, SIGKILL);
    SHOW(lost);
}
TEST(record_lock_over_execve) {
    volatile pid_t* me = shared_number();
    *me = getpid();
    int fd = open("locked", O_RDWR | O_CREAT, 0600);
    pid_t watching = watcher(me);
    NEED(set_lock(fd) == 0);
    execute_again(fd, watching, 0, 0);
}

// ---- The end ----

TEST(descriptors_after_wait) {
    enum { kChildren = 2000 };
    volatile pid_t* at = shared_number();
    pid_t watching = watcher(at);
    int open_pipes = 0, held_locks = 0;
    NEED(make_file("locked", "", 0600) == 0);
    for (int i = 0; i < kChildren; i++) {
        int ends[2];
        NEED(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            int fd = open("locked", O_RDWR);
            NEED(flock(fd, LOCK_EX) == 0);
            close(ends[0]);
            while (*at != getpid()) {
            }
            for (volatile int n = i % 16 * 2000; n > 0; n--);
            _exit(0);
        }
        close(ends[1]);
        *at = child;
        siginfo_t info;
        NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
        struct pollfd end = {.fd = ends[0], .events = POLLIN};
        open_pipes += poll(&end, 1, 0) != 1;
        int fd = open("locked", O_RDWR);
        held_locks += flock(fd, LOCK_EX | LOCK_NB) != 0;
        close(fd);
        NEED(waitpid(child, NULL, 0) == child);
        *at = 0;
        close(ends[0]);
    }
    kill(watching, SIGKILL);
    waitpid(watching, NULL, 0);
    SHOW(open_pipes);
    SHOW(held_locks);
}

// A mount is not in use by a process that has been waited for.
TEST(mounts_after_wait) {
    enum { kChildren = 1500 };
    volatile pid_t* at = shared_number();
    pid_t watching = watcher(at);
    int busy = 0;
    NEED(mkdir("m", 0755) == 0);
    for (int i = 0; i < kChildren; i++) {
        NEED(syscall(SYS_mount, "t", "m", "tmpfs", 0, NULL) == 0);
        pid_t child = fork();
        if (child == 0) {
            NEED(chdir("m") == 0);
            while (*at != getpid()) {
            }
            for (volatile int n = i % 16 * 2000; n > 0; n--);
            _exit(0);
        }
        *at = child;
        siginfo_t info;
        NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT) == 0);
        if (syscall(SYS_umount2, "m", 0) != 0) {
            busy++;
            NEED(syscall(SYS_umount2, "m", 2) == 0);
        }
        NEED(waitpid(child, NULL, 0) == child);
        *at = 0;
    }
    kill(watching, SIGKILL);
    waitpid(watching, NULL, 0);
    SHOW(busy);
}

// ---- What the same user may not see ----

// Of one that is not dumpable, to its end.
TEST(undumpable_to_its_end) {
    enum { kRounds = 12, kDescriptors = 3000 };
    int seen = 0, shown = 0, compared = 0;
    struct rlimit limit = {kDescriptors + 100, kDescriptors + 100};
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    NEED(chmod(".", 0777) == 0);
    CHILD("the same user") {
        be_user(1000);
        prctl(PR_SET_DUMPABLE, 1);
        for (int round = 0; round < kRounds; round++) {
            int ready[2];
            char c;
            NEED(pipe(ready) == 0);
            pid_t child = fork();
            if (child == 0) {
                // Many areas and descriptors: the end takes a while.
                char* p = mmap(NULL, 4096 * 2000, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                for (int i = 0; i < 2000; i += 2) mprotect(p + i * 4096, 4096, PROT_READ | PROT_WRITE);
                for (int i = 0; i < kDescriptors; i++) dup(ready[1]);
                NEED(prctl(PR_SET_DUMPABLE, 0) == 0);
                NEED(write(ready[1], "x", 1) == 1);
                for (;;) pause();
            }
            NEED(read(ready[0], &c, 1) == 1);
            char link[64], fd[64], text[256];
            snprintf(link, sizeof link, "/proc/%d/cwd", child);
            snprintf(fd, sizeof fd, "/proc/%d/fd/%d", child, kDescriptors);
            kill(child, SIGKILL);
            siginfo_t info;
            do {
                seen += readlink(link, text, sizeof text) >= 0;
                shown += readlink(fd, text, sizeof text) >= 0;
                compared += syscall(SYS_kcmp, child, getpid(), KCMP_FILE, kDescriptors, ready[1]) == 0;
                info.si_pid = 0;
                NEED(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT | WNOHANG) == 0);
            } while (info.si_pid == 0);
            NEED(waitpid(child, NULL, 0) == child);
            close(ready[0]);
            close(ready[1]);
        }
        FACT("its directory was shown", seen);
        FACT("its file was shown", shown);
        FACT("its file was compared", compared);
    }
}
