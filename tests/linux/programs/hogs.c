// SPDX-License-Identifier: MIT
// Which processes end when memory has run out, and which do not.
#define _GNU_SOURCE
#include <sched.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "scarce.h"

// A child that runs `how`, up to is_ready().
static pid_t start(void (*how)(int ready, size_t size), size_t size) {
    int ready;
    pid_t pid = fork_until_ready(&ready);
    if (pid == 0) {
        how(ready, size);
        _exit(0);
    }
    return pid;
}
static void has_private(int ready, size_t size) {
    memset(area(size, ANON), 1, size);
    is_ready(ready);
}
static void maps_a_file(int ready, size_t size) {
    int fd = memfd_create("hog", 0);
    NEED(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    char* p = mmap(NULL, size, RW, MAP_SHARED, fd, 0);
    NEED(p != MAP_FAILED);
    memset(p, 1, size);
    is_ready(ready);
}
// Of what is free but for kLeft, so many per cent.
static size_t part_of(long free, long percent) {
    const size_t kib = (size_t)((free - kLeft) * percent / 100);
    return kib / 4 * kPage;
}

static int is_alive(pid_t pid) { return waitpid(pid, NULL, WNOHANG) == 0; }
// Ends one that sleeps, and says whether it was still there.
static void end_sleeper(const char* who, pid_t pid) {
    kill(pid, SIGTERM);
    reap(who, pid);
}
static void takes(size_t size) {
    char* p = area(size, ANON);
    memset(p, 1, size);
}

// ---- Whose memory is shared ----

enum { kSharers = 16 };

static int sleeps(void* argument) {
    (void)argument;
    for (;;) pause();
    return 0;
}
static void has_kin(int ready, size_t size) {
    memset(area(size, ANON), 1, size);
    for (int i = 0; i < kSharers; i++) {
        char* stack = area(16 << 10, ANON);
        NEED(clone(sleeps, stack + (16 << 10), CLONE_VM | SIGCHLD, NULL) > 0);
    }
    is_ready(ready);
}
// All that share the memory of the one that is chosen end with it.
TEST(one_memory) {
    const long before = free_kib();
    pid_t hog = start(has_kin, part_of(before, 100));
    CHILD("needs some") takes(kSome);
    reap("the hog", hog);
    goes_on(before);
}
static int orphan[2];
static void loses_its_parent(int ready, size_t size) {
    const pid_t parent = getpid();
    pid_t pid = vfork();
    if (pid == 0) {
        const pid_t own = (pid_t)syscall(SYS_getpid);
        kill(parent, SIGKILL);
        while (getppid() == parent) sched_yield();
        if (write(orphan[1], &own, sizeof own) == sizeof own) has_private(ready, size);
        _exit(1);
    }
}
// A child of vfork counts for its parent, but not if that has gone.
TEST(orphan_of_vfork) {
    const long before = free_kib();
    NEED(pipe(orphan) == 0 && prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t parent = start(loses_its_parent, part_of(before, 100)), hog;
    NEED(read(orphan[0], &hog, sizeof hog) == sizeof hog);
    reap("its parent", parent);
    CHILD("needs some") takes(kSome);
    end_sleeper("the hog", hog);
    goes_on(before);
}
// Those that have the same pages end one after the other, until these are free.
TEST(one_object) {
    enum { kShared = 64 << 20 };
    const long before = free_kib();
    char* p = area(kShared, MAP_SHARED | MAP_ANONYMOUS);
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t pid[kSharers];
    for (int i = 0; i < kSharers; i++) {
        NEED((pid[i] = fork()) >= 0);
        if (pid[i] == 0) {
            memset(p, 1, kShared);
            is_ready(ready[1]);
        }
    }
    munmap(p, kShared);
    char byte;
    for (int i = 0; i < kSharers; i++) NEED(read(ready[0], &byte, 1) == 1);
    // The rest belongs to no process: a file that none has mapped.
    int fd = memfd_create("rest", 0);
    static char bytes[kPiece];
    while (free_kib() > kLeft) NEED(write(fd, bytes, sizeof bytes) == sizeof bytes);
    // Linux may end this one, too: it does not wait for the last of the object.
    pid_t needy = fork();
    if (needy == 0) {
        takes(kLeft / 2 * 3 << 10);
        _exit(0);
    }
    NEED(waitpid(needy, NULL, 0) == needy);
    int killed = 0, status;
    for (int i = 0; i < kSharers; i++) {
        kill(pid[i], SIGTERM);
        NEED(waitpid(pid[i], &status, 0) == pid[i]);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    }
    SHOW(killed);
    close(fd);
    goes_on(before);
}

// ---- Who counts ----

// Of two processes the one that has more, however it has it.
static pid_t ends_before(pid_t hog, pid_t other) {
    CHILD("needs some") takes(kSome);
    end_sleeper("has more", hog);
    return other;
}
TEST(the_larger_ends) {
    const long before = free_kib();
    pid_t hog = start(has_private, part_of(before, 70));
    end_sleeper("has less", ends_before(hog, start(has_private, part_of(before, 30))));
    goes_on(before);
}
// Linux may end the other, too: it does not wait for the last of the file.
TEST(a_mapped_file_counts) {
    const long before = free_kib();
    pid_t hog = start(maps_a_file, part_of(before, 70));
    pid_t other = ends_before(hog, start(has_private, part_of(before, 30)));
    kill(other, SIGTERM);
    NEED(waitpid(other, NULL, 0) == other);
    goes_on(before);
}

// None has much. Those that need some have less.
TEST(many_small_ones) {
    enum { kHogs = 40, kNeedy = 8, kNeeded = 5 << 20, kHog = 9 << 20 };
    const long before = free_kib();
    pid_t hog[kHogs];
    int hogs = 0;
    while (hogs < kHogs && free_kib() > kLeft + (kHog >> 10)) hog[hogs++] = start(has_private, kHog);
    pid_t needy[kNeedy];
    int alive = 0, killed = 0;
    for (int i = 0; i < kNeedy; i++) needy[i] = start(has_private, kNeeded);
    for (int i = 0; i < hogs; i++) killed += !is_alive(hog[i]);
    for (int i = 0; i < kNeedy; i++) alive += is_alive(needy[i]);
    SHOW(alive);
    FACT("some have ended", killed > 0);
    for (int i = 0; i < hogs; i++) kill(hog[i], SIGTERM);
    for (int i = 0; i < kNeedy; i++) kill(needy[i], SIGTERM);
    while (waitpid(-1, NULL, 0) > 0) {
    }
    goes_on(before);
}

// ---- How many end ----

// Several need some at the same time: one that has enough for all of them ends, and no other.
TEST(one_is_enough) {
    enum { kNeedy = 6, kNeeded = 8 << 20 };
    const long before = free_kib();
    pid_t hog = start(has_private, part_of(before, 70)), other = start(has_private, part_of(before, 30));
    int go[2], have[2], stop[2], status, well = 0;
    char byte;
    NEED(pipe(go) == 0 && pipe(have) == 0 && pipe(stop) == 0);
    pid_t needy[kNeedy];
    for (int i = 0; i < kNeedy; i++) {
        NEED((needy[i] = fork()) >= 0);
        if (needy[i] == 0) {
            close(go[1]), close(stop[1]);
            NEED(read(go[0], &byte, 1) == 0);
            takes(kNeeded);
            close(have[1]);
            NEED(read(stop[0], &byte, 1) == 0);  // until all have theirs
            _exit(0);
        }
    }
    close(go[1]), close(have[1]);
    NEED(read(have[0], &byte, 1) == 0);
    close(stop[1]);
    for (int i = 0; i < kNeedy; i++) well += waitpid(needy[i], &status, 0) == needy[i] && status == 0;
    SHOW(well);
    end_sleeper("has more", hog);
    end_sleeper("has less", other);
    goes_on(before);
}

static char* there;
static void has_there(int ready, size_t size) {
    memset(there, 1, size);
    is_ready(ready);
}
// The one that ends is being read, by a process that needs memory for what it reads.
TEST(ends_while_it_is_read) {
    const long before = free_kib();
    const size_t size = part_of(before, 70);
    there = area(size, ANON);
    pid_t hog = start(has_there, size);
    pid_t other = start(has_private, part_of(before, 30));
    CHILD("reads") {
        char* here = area(size, ANON);
        struct iovec from = {there, size}, to = {here, size};
        ssize_t n = process_vm_readv(hog, &to, 1, &from, 1, 0);
        FACT("has read some", n > 0);
    }
    end_sleeper("has been read", hog);
    end_sleeper("has less", other);
    goes_on(before);
}

// A write of which memory runs out in the middle is finished with what another leaves.
TEST(writes_are_whole) {
    enum { kBytes = 100000, kWrites = kSome / kBytes };
    static char bytes[kBytes];
    const long before = free_kib();
    pid_t hog = start(has_private, part_of(before, 100));
    int fd = memfd_create("file", 0);
    int whole = 0;
    for (int i = 0; i < kWrites; i++) whole += write(fd, bytes, kBytes) == kBytes;
    FACT("all are whole", whole == kWrites);
    reap("the hog", hog);
    close(fd);
    goes_on(before);
}
