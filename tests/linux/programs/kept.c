// SPDX-License-Identifier: MIT
// A call looks its descriptor up once: another thread that replaces or closes it while the call waits, or takes a fault,
// does not change which file the call is about.
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/uio.h>

enum { kSettle = 200 };  // ms: the other thread waits by then

static int one[2], two[2], started[2];
static volatile long result;
static volatile int error;
static char byte_read;

static pthread_t begin(void* (*run)(void*)) {
    pthread_t thread;
    char c;
    NEED(pipe(started) == 0 && pthread_create(&thread, NULL, run, NULL) == 0 && read(started[0], &c, 1) == 1);
    sleep_ms(kSettle);
    return thread;
}
static void done(long r) {
    result = r;
    error = errno;
}
static void finish(pthread_t thread, const char* what) {
    pthread_join(thread, NULL);
    errno = 0;
    say_result(what, result, result < 0 ? error : 0, 1);
}
#define THREAD(name, call)              \
    static void* name(void* argument) { \
        (void)argument;                 \
        write(started[1], "x", 1);      \
        done((long)(call));             \
        return NULL;                    \
    }

THREAD(reads, read(one[0], &byte_read, 1))
THREAD(reads_vector, readv(one[0], &(struct iovec){&byte_read, 1}, 1))

static void replaced(void* (*run)(void*), const char* what) {
    NEED(pipe(one) == 0 && pipe(two) == 0);
    int keep = dup(one[0]);
    byte_read = '-';
    pthread_t thread = begin(run);
    NEED(dup2(two[0], one[0]) == one[0]);
    NEED(write(two[1], "2", 1) == 1);
    sleep_ms(kSettle);
    NEED(write(one[1], "1", 1) == 1);
    finish(thread, what);
    say("byte %c\n", byte_read);
    close(keep);
}
TEST(read_of_a_replaced_pipe) {
    replaced(reads, "read");
    replaced(reads_vector, "readv");
}
TEST(read_of_a_closed_pipe) {
    NEED(pipe(one) == 0);
    byte_read = '-';
    pthread_t thread = begin(reads);
    close(one[0]);
    sleep_ms(kSettle);
    NEED(write(one[1], "1", 1) == 1);
    finish(thread, "read");
    say("byte %c\n", byte_read);
}

static char much[200000];
THREAD(writes, write(one[1], much, sizeof much))
TEST(write_to_a_closed_pipe) {
    NEED(pipe(one) == 0);
    int keep = dup(one[1]);
    pthread_t thread = begin(writes);
    close(one[1]);
    size_t got = 0;
    while (got < sizeof much) {
        char part[4096];
        ssize_t n = read(one[0], part, sizeof part);
        NEED(n > 0);
        got += (size_t)n;
    }
    finish(thread, "write");
    close(keep);
}

static int events;
static uint64_t count;
THREAD(reads_counter, read(events, &count, sizeof count))
TEST(read_of_a_replaced_counter) {
    events = eventfd(0, 0);
    int first = dup(events), second = eventfd(7, 0);
    pthread_t thread = begin(reads_counter);
    NEED(dup2(second, events) == events);
    sleep_ms(kSettle);
    uint64_t three = 3;
    NEED(write(first, &three, sizeof three) == sizeof three);
    finish(thread, "read");
    say("count %d\n", (int)count);
}

static int set;
static struct epoll_event ready;
THREAD(waits_epoll, epoll_wait(set, &ready, 1, -1))
TEST(epoll_wait_of_a_replaced_set) {
    NEED(pipe(one) == 0 && pipe(two) == 0);
    set = epoll_create1(0);
    int keep = dup(set), other = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = 1};
    NEED(epoll_ctl(set, EPOLL_CTL_ADD, one[0], &event) == 0);
    event.data.u32 = 2;
    NEED(epoll_ctl(other, EPOLL_CTL_ADD, two[0], &event) == 0);
    pthread_t thread = begin(waits_epoll);
    NEED(dup2(other, set) == set && write(two[1], "2", 1) == 1);
    sleep_ms(kSettle);
    NEED(write(one[1], "1", 1) == 1);
    finish(thread, "epoll_wait");
    say("event of %u\n", ready.data.u32);
    close(keep);
}

static int locked;
THREAD(locks, flock(locked, LOCK_EX))
THREAD(locks_range, fcntl(locked, F_SETLKW, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET}))

// The lock that another process holds on f is waited for; the descriptor comes to mean g.
static void lock_of_replaced(void* (*run)(void*), int range, const char* what) {
    int go[2], held[2];
    char c;
    NEED(pipe(go) == 0 && pipe(held) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open("f", O_RDWR);
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        NEED((range ? fcntl(fd, F_SETLK, &lock) : flock(fd, LOCK_EX)) == 0);
        write(held[1], "x", 1);
        NEED(read(go[0], &c, 1) == 1);
        _exit(0);
    }
    NEED(read(held[0], &c, 1) == 1);
    locked = open("f", O_RDWR);
    int keep = dup(locked), other = open("g", O_RDWR);
    pthread_t thread = begin(run);
    NEED(dup2(other, locked) == locked);
    NEED(write(go[1], "x", 1) == 1);
    finish(thread, what);
    reap("holder", pid);
    // Who holds what now, seen by another process.
    CHILD("observer") {
        int f = open("f", O_RDWR), g = open("g", O_RDWR);
        if (range) {
            struct flock on_f = {.l_type = F_WRLCK, .l_whence = SEEK_SET}, on_g = on_f;
            NEED(fcntl(f, F_GETLK, &on_f) == 0 && fcntl(g, F_GETLK, &on_g) == 0);
            say("f locked: %d, g locked: %d\n", on_f.l_type != F_UNLCK, on_g.l_type != F_UNLCK);
        } else {
            say("f locked: %d, g locked: %d\n", flock(f, LOCK_EX | LOCK_NB) != 0, flock(g, LOCK_EX | LOCK_NB) != 0);
        }
    }
    close(keep);
}
TEST(lock_of_a_replaced_file) {
    NEED(make_file("f", "", 0600) == 0 && make_file("g", "", 0600) == 0);
    lock_of_replaced(locks, 0, "flock");
}
TEST(record_lock_of_a_replaced_file) {
    NEED(make_file("f", "", 0600) == 0 && make_file("g", "", 0600) == 0);
    lock_of_replaced(locks_range, 1, "fcntl");
}

// poll and select look again, at what the numbers mean then.
static struct pollfd polled;
THREAD(polls, poll(&polled, 1, 3000))
TEST(poll_of_a_closed_pipe) {
    NEED(pipe(one) == 0);
    int keep = dup(one[0]);
    polled = (struct pollfd){.fd = one[0], .events = POLLIN};
    pthread_t thread = begin(polls);
    close(one[0]);
    NEED(write(one[1], "1", 1) == 1);
    finish(thread, "poll");
    say("revents %x\n", polled.revents);
    close(keep);
}
static fd_set selected;
static long selects_now(void) {
    FD_ZERO(&selected);
    FD_SET(one[0], &selected);
    return select(one[0] + 1, &selected, NULL, NULL, &(struct timeval){3, 0});
}
THREAD(selects, selects_now())
TEST(select_of_a_closed_pipe) {
    NEED(pipe(one) == 0);
    int keep = dup(one[0]), number = one[0];
    pthread_t thread = begin(selects);
    close(one[0]);
    NEED(write(one[1], "1", 1) == 1);
    finish(thread, "select");
    FACT("its bit is set", FD_ISSET(number, &selected));
    close(keep);
}

// The thread that has changed the number has ended when the call goes on: no other thread shares the table any more.
static int change;
static void* changes_and_ends(void* unused) {
    (void)unused;
    sleep_ms(kSettle);
    if (change == 0)
        close(one[0]);
    else
        NEED(dup2(two[0], one[0]) == one[0]);
    return NULL;
}
static void changer_has_gone(const char* what, long (*call)(void)) {
    for (change = 0; change < 2; change++) {
        NEED(pipe(one) == 0 && pipe(two) == 0);
        int keep = dup(one[0]);
        NEED(write(two[1], "2", 1) == 1);
        byte_read = '-';
        pid_t writer = fork();
        if (writer == 0) {
            sleep_ms(4 * kSettle);
            NEED(write(one[1], "1", 1) == 1);
            _exit(0);
        }
        pthread_t thread;
        NEED(pthread_create(&thread, NULL, changes_and_ends, NULL) == 0);
        pthread_detach(thread);
        errno = 0;
        long r = call();
        say_result(what, r, r < 0 ? errno : 0, 1);
        say("byte %c\n", byte_read);
        waitpid(writer, NULL, 0);
        close(keep);
        close(one[0]);
        close(one[1]);
        close(two[0]);
        close(two[1]);
    }
}
static long read_one(void) { return read(one[0], &byte_read, 1); }
static long readv_one(void) { return readv(one[0], &(struct iovec){&byte_read, 1}, 1); }
static struct pollfd waited;
static long poll_one(void) {
    waited = (struct pollfd){one[0], POLLIN, 0};
    long r = poll(&waited, 1, 3000);
    byte_read = (char)('a' + (waited.revents & POLLIN) + 2 * ((waited.revents & POLLNVAL) != 0));
    return r;
}
TEST(read_when_the_closer_has_gone) { changer_has_gone("read", read_one); }
TEST(readv_when_the_closer_has_gone) { changer_has_gone("readv", readv_one); }
TEST(poll_when_the_closer_has_gone) { changer_has_gone("poll", poll_one); }

// Record locks: of two that would wait for each other one is told so, every time.
static int range(int fd, int command, int type, int at) {
    struct flock f = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, command, &f);
}
static volatile int* turns;
static void meet(int who, int at, int round) {
    __atomic_store_n(&turns[at + who], round, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&turns[at + 1 - who], __ATOMIC_SEQ_CST) < round) sched_yield();
}
static void nothing(int number) { (void)number; }
TEST(record_locks_in_a_circle) {
    enum { kRounds = 1500 };
    turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(turns != MAP_FAILED && make_file("locks", "..", 0600) == 0);
    pid_t pid = fork();
    int who = pid == 0, fd = open("locks", O_RDWR), told = 0, stuck = 0;
    on_signal(SIGALRM, nothing, 0);
    for (int round = 1; round <= kRounds; round++) {
        NEED(range(fd, F_SETLK, F_WRLCK, who) == 0);
        meet(who, 0, round);
        alarm(2);
        int r = range(fd, F_SETLKW, F_WRLCK, 1 - who), error = errno;
        alarm(0);
        told += r < 0 && error == EDEADLK;
        stuck += r < 0 && error == EINTR;
        range(fd, F_SETLK, F_UNLCK, 0);
        range(fd, F_SETLK, F_UNLCK, 1);
        turns[4 + who] = told;
        meet(who, 2, round);
        if (stuck) break;
    }
    if (pid == 0) _exit(stuck);
    int status;
    if (stuck) kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    FACT("one of each two was told", turns[4] + turns[5] == kRounds);
    FACT("stuck", stuck || status != 0);
}
// Who was let in and has not run yet waits for nobody: to wait for it closes no circle.
TEST(record_lock_of_one_that_was_woken) {
    enum { kRounds = 500 };
    turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(turns != MAP_FAILED && make_file("locks", "..", 0600) == 0);
    pid_t pid = fork();
    int who = pid == 0, fd = open("locks", O_RDWR), failed = 0;
    for (int round = 1; round <= kRounds; round++) {
        NEED(range(fd, F_SETLK, F_WRLCK, who) == 0);
        meet(who, 0, round);
        if (who == 0) {
            failed += range(fd, F_SETLKW, F_WRLCK, 1) < 0;
        } else {
            for (volatile int i = 0; i < 3000 * (round % 8); i++);
            range(fd, F_SETLK, F_UNLCK, 1);
            failed += range(fd, F_SETLKW, F_WRLCK, 0) < 0;
        }
        range(fd, F_SETLK, F_UNLCK, 0);
        range(fd, F_SETLK, F_UNLCK, 1);
        meet(who, 2, round);
    }
    if (pid == 0) _exit(failed != 0);
    reap("the other", pid);
    SHOW(failed);
}

// Many threads of one owner wait for a file that many lock: whether another owner may wait for them is soon known.
static int crowded[2];
static void* waits_for_one(void* argument) {
    (void)argument;
    range(crowded[0], F_SETLKW, F_WRLCK, 0);
    return NULL;
}
TEST(record_locks_of_a_crowd) {
    enum { kThreads = 1000, kOwners = 3500, kRounds = 1000 };
    struct rlimit limit = {kOwners + 100, kOwners + 100};
    int owners[kOwners], ready[2], go[2];
    char c;
    NEED(setrlimit(RLIMIT_NOFILE, &limit) == 0 && pipe(ready) == 0 && pipe(go) == 0);
    NEED(make_file("one", "..", 0600) == 0 && make_file("two", "..", 0600) == 0);
    crowded[0] = open("one", O_RDWR), crowded[1] = open("two", O_RDWR);
    for (int i = 0; i < kOwners; i++) {
        owners[i] = open("one", O_RDWR);
        NEED(range(owners[i], F_OFD_SETLK, F_RDLCK, 100) == 0);
    }
    pid_t pid = fork();
    if (pid == 0) {
        NEED(range(crowded[0], F_SETLK, F_WRLCK, 0) == 0 && write(ready[1], "x", 1) == 1 && read(go[0], &c, 1) == 1);
        int circles = 0;
        for (int round = 0; round < kRounds; round++)
            circles += range(crowded[1], F_SETLKW, F_WRLCK, 0) < 0 && errno == EDEADLK;
        FACT("each time a circle", circles == kRounds);
        _exit(0);
    }
    NEED(read(ready[0], &c, 1) == 1 && range(crowded[1], F_SETLK, F_WRLCK, 0) == 0);
    pthread_attr_t small;
    pthread_attr_init(&small);
    NEED(pthread_attr_setstacksize(&small, 32768) == 0);
    pthread_t threads[kThreads];
    for (int i = 0; i < kThreads; i++) NEED(pthread_create(&threads[i], &small, waits_for_one, NULL) == 0);
    sleep_ms(kSettle);
    NEED(write(go[1], "x", 1) == 1);
    reap("the other", pid);
    for (int i = 0; i < kThreads; i++) pthread_join(threads[i], NULL);
}
