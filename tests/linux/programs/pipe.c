// SPDX-License-Identifier: MIT
// Pipes and FIFOs: blocking, capacity, ends, atomic writes, readiness.
#include "check.h"

#include <poll.h>
#include <sys/ioctl.h>

static int p[2];
static char big[200000];

static void show_poll(const char* what, int fd) {
    struct pollfd entry = {fd, POLLIN | POLLOUT, 0};
    int n = poll(&entry, 1, 0);
    say("%s: %d%s%s%s%s\n", what, n, entry.revents & POLLIN ? " IN" : "", entry.revents & POLLOUT ? " OUT" : "",
        entry.revents & POLLERR ? " ERR" : "", entry.revents & POLLHUP ? " HUP" : "");
}

TEST(basic) {
    CALL(pipe(p));
    say("ends %d %d\n", p[0], p[1]);
    CALL(write(p[1], "hello", 5));
    char text[16] = "";
    CALL(read(p[0], text, 2));
    CALL(read(p[0], text + 2, 10));
    say("%s\n", text);
    CALL(write(p[0], "x", 1));
    CALL(read(p[1], text, 1));
    CALL(lseek(p[0], 0, SEEK_SET));
    CALL(pread(p[0], text, 1, 0));
    CALL(pwrite(p[1], text, 1, 0));
    CALL(ftruncate(p[1], 0));
    CALL(fsync(p[0]));
    CALL(fcntl(p[0], F_GETFL));
    CALL(fcntl(p[1], F_GETFL));
    CALL(close(p[1]));
    CALL(read(p[0], text, 10));
    CALL(read(p[0], text, 0));
}

TEST(pipe2_flags) {
    CALL(pipe2(p, O_CLOEXEC | O_NONBLOCK));
    CALL(fcntl(p[0], F_GETFD));
    CALL(fcntl(p[1], F_GETFL));
    char c;
    CALL(read(p[0], &c, 1));
    CALL(pipe2(p, O_APPEND));
    CALL(pipe2(p, O_CREAT));
    CALL(pipe2(p, -1));
    CALL(syscall(SYS_pipe, (int*)8));
    CALL(syscall(SYS_pipe2, NULL, 0));
    CALL(open("/dev/null", O_RDONLY));
}

TEST(no_descriptors_left) {
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){4, 4});
    CALL(pipe(p));
    CALL(open("/dev/null", O_RDONLY));
}

TEST(stat_of_pipe) {
    NEED(pipe(p) == 0);
    struct stat a, b;
    NEED(fstat(p[0], &a) == 0 && fstat(p[1], &b) == 0);
    IS(S_ISFIFO(a.st_mode));
    SHOW(a.st_mode & 07777);
    SHOW(a.st_size);
    SHOW(a.st_nlink);
    SHOW(a.st_blksize);
    IS(a.st_ino == b.st_ino);
}

TEST(capacity) {
    NEED(pipe2(p, O_NONBLOCK) == 0);
    CALL(fcntl(p[1], F_GETPIPE_SZ));
    CALL(write(p[1], big, sizeof big));
    CALL(write(p[1], big, 1));
    show_poll("full", p[1]);
    CALL(read(p[0], big, 4095));
    CALL(write(p[1], big, 1));
    show_poll("one page less a byte read", p[1]);
    CALL(read(p[0], big, 1));
    show_poll("one page read", p[1]);
    CALL(write(p[1], big, 5000));
    int n = 0;
    CALL(ioctl(p[0], FIONREAD, &n));
    SHOW(n);
}

TEST(set_capacity) {
    NEED(pipe2(p, O_NONBLOCK) == 0);
    CALL(fcntl(p[1], F_SETPIPE_SZ, 1));
    CALL(write(p[1], big, sizeof big));
    CALL(fcntl(p[1], F_SETPIPE_SZ, 100000));
    CALL(fcntl(p[0], F_GETPIPE_SZ));
    CALL(write(p[1], big, sizeof big));
    CALL(fcntl(p[1], F_SETPIPE_SZ, 4096));
    CALL(fcntl(p[1], F_SETPIPE_SZ, -1));
    CALL(fcntl(0, F_GETPIPE_SZ));
}

TEST(small_writes_take_no_page_each) {
    NEED(pipe2(p, O_NONBLOCK) == 0);
    int n = 0;
    while (write(p[1], "x", 1) == 1) n++;
    SHOW(n);
}

TEST(atomic_nonblocking_write) {
    NEED(pipe2(p, O_NONBLOCK) == 0);
    CALL(write(p[1], big, 65536 - 4096));
    CALL(write(p[1], big, 3000));
    CALL(write(p[1], big, 2000));
    CALL(write(p[1], big, 4096));
    CALL(write(p[1], big, 4097));
}

TEST(epipe) {
    NEED(pipe(p) == 0);
    close(p[0]);
    signal(SIGPIPE, SIG_IGN);
    CALL(write(p[1], "x", 1));
    CALL(write(p[1], "x", 0));
    show_poll("no reader", p[1]);
    CHILD("SIGPIPE") {
        signal(SIGPIPE, SIG_DFL);
        CALL(write(p[1], "x", 1));
    }
}

TEST(reader_goes_while_writer_waits) {
    NEED(pipe(p) == 0);
    signal(SIGPIPE, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        close(p[1]);
        sleep_ms(50);
        _exit(0);
    }
    close(p[0]);
    CALL(write(p[1], big, sizeof big));
    CALL(write(p[1], big, 1));
    reap("reader", pid);
}

TEST(blocking_transfer) {
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        for (size_t i = 0; i < sizeof big; i++) big[i] = (char)(i * 7 + i / 251);
        CALL(write(p[1], big, sizeof big));
        _exit(0);
    }
    close(p[1]);
    size_t total = 0, wrong = 0;
    static char part[3333];
    for (ssize_t n; (n = read(p[0], part, sizeof part)) > 0; total += (size_t)n)
        for (ssize_t i = 0; i < n; i++) wrong += part[i] != (char)((total + (size_t)i) * 7 + (total + (size_t)i) / 251);
    reap("writer", pid);
    say("%zu bytes, %zu wrong\n", total, wrong);
}

TEST(writers_do_not_mix_small_writes) {
    enum { kWriters = 4, kRounds = 60, kSize = 1000 };
    NEED(pipe(p) == 0);
    for (int w = 0; w < kWriters; w++) {
        if (fork() != 0) continue;
        memset(big, 'a' + w, kSize);
        for (int i = 0; i < kRounds; i++)
            if (write(p[1], big, kSize) != kSize) _exit(1);
        _exit(0);
    }
    close(p[1]);
    int records = 0, mixed = 0;
    char record[kSize];
    for (;;) {
        size_t have = 0;
        ssize_t n = 0;
        while (have < kSize && (n = read(p[0], record + have, kSize - have)) > 0) have += (size_t)n;
        if (have < kSize) break;
        records++;
        for (int i = 1; i < kSize; i++)
            if (record[i] != record[0]) {
                mixed++;
                break;
            }
    }
    say("%d records, %d mixed\n", records, mixed);
    for (int w = 0; w < kWriters; w++) reap("writer", -1);
}

TEST(poll_states) {
    NEED(pipe(p) == 0);
    show_poll("empty, read end", p[0]);
    show_poll("empty, write end", p[1]);
    NEED(write(p[1], "x", 1) == 1);
    show_poll("byte, read end", p[0]);
    close(p[1]);
    show_poll("byte, no writer", p[0]);
    char c;
    NEED(read(p[0], &c, 1) == 1);
    show_poll("empty, no writer", p[0]);
}

TEST(round_trips) {
    int q[2], sum = 0;
    NEED(pipe(p) == 0 && pipe(q) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int v; read(p[0], &v, sizeof v) == sizeof v && v >= 0;) {
            v *= 2;
            if (write(q[1], &v, sizeof v) != sizeof v) _exit(1);
        }
        _exit(0);
    }
    for (int i = 0; i < 300; i++) {
        int v = i;
        NEED(write(p[1], &v, sizeof v) == sizeof v && read(q[0], &v, sizeof v) == sizeof v);
        sum += v;
    }
    int stop = -1;
    NEED(write(p[1], &stop, sizeof stop) == sizeof stop);
    SHOW(sum);
    reap("child", pid);
}

TEST(scattered) {
    NEED(pipe(p) == 0);
    struct {
        const void* base;
        size_t length;
    } out[3] = {{"abc", 3}, {"", 0}, {"defgh", 5}};
    CALL(syscall(SYS_writev, p[1], out, 3));
    char a[3] = "", b[10] = "";
    struct {
        void* base;
        size_t length;
    } in[2] = {{a, 2}, {b, 9}};
    CALL(syscall(SYS_readv, p[0], in, 2));
    say("%s %s\n", a, b);
}

TEST(shared_by_many_readers) {
    NEED(pipe(p) == 0);
    int answers[2];
    NEED(pipe(answers) == 0);
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            close(p[1]);
            char c;
            int n = 0;
            while (read(p[0], &c, 1) == 1) n++;
            NEED(write(answers[1], &n, sizeof n) == sizeof n);
            _exit(0);
        }
    for (int i = 0; i < 200; i++) NEED(write(p[1], "x", 1) == 1);
    close(p[1]);
    int total = 0;
    for (int i = 0, n; i < 4; i++) {
        NEED(read(answers[0], &n, sizeof n) == sizeof n);
        total += n;
    }
    SHOW(total);
    for (int i = 0; i < 4; i++) reap("reader", -1);
}

TEST(fifo_open) {
    NEED(mkfifo("f", 0600) == 0);
    CALL(mkfifo("f", 0600));
    CALL(open("f", O_WRONLY | O_NONBLOCK));
    CALL(open("f", O_RDONLY | O_NONBLOCK));
    CALL(open("f", O_WRONLY | O_NONBLOCK));
    CALL(open("f", O_RDWR));
    struct stat s;
    NEED(stat("f", &s) == 0);
    IS(S_ISFIFO(s.st_mode));
    CALL(write(4, "abc", 3));
    char text[8] = "";
    CALL(read(3, text, 8));
    say("%s\n", text);
    CALL(unlink("f"));
    CALL(write(4, "abc", 3));
    CALL(read(3, text, 8));
}

TEST(fifo_open_waits_for_the_other_end) {
    NEED(mkfifo("f", 0600) == 0);
    long start = now_ms();
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(60);
        int fd = open("f", O_WRONLY);
        _exit(write(fd, "x", 1) == 1 ? 0 : 1);
    }
    int fd = open("f", O_RDONLY);
    FACT("waited", now_ms() - start >= 50);
    char c = 0;
    CALL(read(fd, &c, 1));
    reap("writer", pid);
    CALL(read(fd, &c, 1));
}

TEST(open_through_proc) {
    NEED(pipe(p) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", p[1]);
    OKAY(open(path, O_WRONLY));
    snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
    OKAY(open(path, O_RDONLY | O_NONBLOCK));
}

TEST(read_only_what_fits) {
    // A copy-out that fails part of the way consumes only what was delivered.
    NEED(pipe(p) == 0);
    char* m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    NEED(m != MAP_FAILED && munmap(m + 4096, 4096) == 0);
    NEED(write(p[1], "abcdefgh", 8) == 8);
    CALL(read(p[0], m + 8192, 8));
    CALL(read(p[0], m, 8));
    say("%.8s\n", m);
    CALL(write(p[1], m + 4096, 10));
    CALL(write(p[1], (void*)8, 10));
    NEED(fcntl(p[0], F_SETFL, O_NONBLOCK) == 0);
    CALL(read(p[0], m, 8));
}

// A write that fails for its buffer has taken a page by then, unless it would have gone to the end of the last one.
static void show_pipe(void) {
    int n = -1;
    ioctl(p[0], FIONREAD, &n);
    struct pollfd f[2] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}};
    poll(f, 2, 0);
    say("  %d bytes, poll %#x %#x\n", n, (unsigned)f[0].revents, (unsigned)f[1].revents);
}
TEST(writes_from_nowhere) {
    static char data[65536];
    NEED(pipe2(p, O_NONBLOCK) == 0);
    CALL(write(p[1], (void*)8, 10));
    show_pipe();
    CALL(write(p[1], data, 65536));
    show_pipe();
    CALL(read(p[0], data, 65536));
    show_pipe();
    CALL(write(p[1], data, 65536));
    CALL(read(p[0], data, 65536));
    CALL(write(p[1], (void*)8, 4096));
    CALL(write(p[1], (void*)8, 4096));
    CALL(write(p[1], (void*)8, 10));
    CALL(write(p[1], "abc", 3));
    CALL(write(p[1], (void*)8, 10));
    CALL(write(p[1], data, 65536));
    show_pipe();
    CALL(read(p[0], data, 2));
    CALL(read(p[0], data, 65536));
    show_pipe();
    CALL(read(p[0], data, 1));
    show_pipe();
    CALL(write(p[1], (void*)8, 4096));
    show_pipe();
    CALL(read(p[0], data, 1));
    show_pipe();
}
TEST(packets_from_nowhere) {
    static char data[8192];
    NEED(pipe2(p, O_NONBLOCK | O_DIRECT) == 0);
    CALL(write(p[1], (void*)8, 10));
    show_pipe();
    CALL(write(p[1], "abc", 3));
    CALL(write(p[1], (void*)8, 4096));
    CALL(write(p[1], "de", 2));
    show_pipe();
    CALL(read(p[0], data, 100));
    CALL(read(p[0], data, 100));
    CALL(read(p[0], data, 100));
    CALL(read(p[0], data, 100));
    CALL(read(p[0], data, 100));
    show_pipe();
}
TEST(reader_waits_behind_an_empty_page) {
    char c = 0;
    NEED(pipe(p) == 0);
    CALL(write(p[1], (void*)8, 10));
    CHILD("writer") {
        sleep_ms(50);
        CALL(write(p[1], "x", 1));
    }
    CALL(read(p[0], &c, 1));
    say("%c\n", c);
}
