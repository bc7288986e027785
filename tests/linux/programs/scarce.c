// SPDX-License-Identifier: MIT
// Programs that use up all memory, and what others notice of it.
#include "scarce.h"

// ---- Ways to use it up ----

static void touches(void) {
    for (;;) memset(area(kPiece, ANON), 1, kPiece);
}
static void populates(void) {
    for (;;) area(kPiece, ANON | MAP_POPULATE);
}
static void populates_at_once(void) { area(8ul << 30, ANON | MAP_POPULATE); }
static void shares(void) {
    for (char* p = area(8ul << 30, MAP_SHARED | MAP_ANONYMOUS);; p += kPage) *p = 1;
}
static void locks(void) {
    char* p = area(8ul << 30, ANON);
    CALL(mlock(p, 8ul << 30));
}
static void is_advised(void) {
    char* p = area(8ul << 30, ANON);
    CALL(madvise(p, 8ul << 30, 23 /* MADV_POPULATE_WRITE */));
}
// Pieces that a leaf reads, and long ones.
static void reads(size_t piece) {
    char* p = area(8ul << 30, ANON);
    int fd = open("/dev/zero", O_RDONLY);
    for (ssize_t n; (n = read(fd, p, piece)) > 0;) p += n;
    say("%s\n", errno_name(errno));
}
static void reads_little(void) { reads(8 * kPage); }
static void reads_much(void) { reads(8 << 20); }

static void uses_up(const char* who, void (*how)(void)) {
    const long before = free_kib();
    CHILD(who) how();
    goes_on(before);
}
TEST(ended_where_it_touches) {
    uses_up("private", touches);
    uses_up("shared", shares);
}
TEST(ended_where_it_populates) {
    uses_up("piece by piece", populates);
    uses_up("at once", populates_at_once);
    uses_up("locked", locks);
    uses_up("advised", is_advised);
}
TEST(ended_where_it_reads) {
    uses_up("little", reads_little);
    uses_up("much", reads_much);
}

// ---- One has all, another needs some ----

// Takes all but some, says so, and sleeps.
static pid_t start_sleeper(void) {
    int ready;
    pid_t pid = fork_until_ready(&ready);
    if (pid == 0) {
        while (free_kib() > kLeft) memset(area(kPiece, ANON), 1, kPiece);
        is_ready(ready);
    }
    return pid;
}
static void touches_some(void) {
    char* p = area(kSome, ANON);
    memset(p, 1, kSome);
    say("has it\n");
}
static void reads_some(void) {
    char* p = area(kSome, ANON);
    int fd = open("/dev/zero", O_RDONLY);
    size_t done = 0;
    for (ssize_t n; done < kSome && (n = read(fd, p + done, kSome - done)) > 0;) done += (size_t)n;
    FACT("has it", done == kSome);
}
static void writes_some(void) {
    static char bytes[kPiece];
    int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t done = 0;
    for (ssize_t n; done < kSome && (n = write(fd, bytes, sizeof bytes)) > 0;) done += (size_t)n;
    FACT("has written it", done == kSome);
    unlink("file");
}
static void makes_processes(void) {
    int made = 0, touched[2], count = 0;
    pid_t pid[200];
    NEED(pipe(touched) == 0);
    for (; made < 200 && (pid[made] = fork()) >= 0; made++) {
        if (pid[made] == 0) {
            memset(area(kSome / 200, ANON), 1, kSome / 200);
            NEED(write(touched[1], "x", 1) == 1 && close(touched[1]) == 0);
            for (;;) pause();
        }
    }
    SHOW(made);
    close(touched[1]);
    // All of them have it at once, or one has ended for it.
    for (char byte; read(touched[0], &byte, 1) == 1;) count++;
    SHOW(count);
    for (int i = 0; i < made; i++) kill(pid[i], SIGTERM);
    for (int i = 0; i < made; i++) NEED(waitpid(pid[i], NULL, 0) == pid[i]);
}
static void needs_some(const char* who, void (*how)(void)) {
    const long before = free_kib();
    pid_t sleeper = start_sleeper();
    CHILD(who) how();
    kill(sleeper, SIGTERM);
    reap("the one that had most", sleeper);
    goes_on(before);
}
TEST(the_largest_ends) {
    needs_some("touches", touches_some);
    needs_some("reads", reads_some);
}
TEST(the_largest_ends_for_calls) {
    needs_some("writes a file", writes_some);
    needs_some("makes processes", makes_processes);
}

// ---- One that has little goes on, whatever others do ----

// A write may be short when memory runs out in the middle.
static int writes_whole(int fd, const char* from, size_t size) {
    size_t done = 0;
    for (ssize_t n; done < size && (n = write(fd, from + done, size - done)) > 0;) done += (size_t)n;
    return done == size;
}

static void works_on(int stop) {
    enum { kOwn = 4 << 20 };
    char* own = area(kOwn, ANON);
    for (int i = 0; i < kOwn; i++) own[i] = (char)(i * 3);
    char byte;
    int failed = 0, status;
    NEED(fcntl(stop, F_SETFL, O_NONBLOCK) == 0);
    while (read(stop, &byte, 1) != 1) {
        int fd = open("work", O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || !writes_whole(fd, own, 100000) || close(fd) != 0) failed++;
        pid_t pid = fork();
        if (pid == 0) _exit(3);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 3) failed++;
        sleep_ms(5);
    }
    SHOW(failed);
    int wrong = 0;
    for (int i = 0; i < kOwn; i++) wrong += own[i] != (char)(i * 3);
    SHOW(wrong);
}
TEST(others_go_on) {
    const long before = free_kib();
    int stop[2];
    NEED(pipe(stop) == 0);
    pid_t worker = fork();
    if (worker == 0) {
        works_on(stop[0]);
        _exit(0);
    }
    for (int i = 0; i < 2; i++) {
        CHILD("touches") touches();
        CHILD("populates") populates();
        CHILD("reads") reads_much();
    }
    NEED(write(stop[1], "x", 1) == 1);
    reap("worker", worker);
    unlink("work");
    goes_on(before);
}
