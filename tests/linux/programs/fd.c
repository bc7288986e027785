// SPDX-License-Identifier: MIT
// Descriptors and file data: dup and fcntl, offsets, vectors, sparse files, truncation, locks.
#include "check.h"

#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

static int file(const char* text) {
    NEED(make_file("f", text, 0600) == 0);
    int fd = open("f", O_RDWR);
    NEED(fd >= 0);
    return fd;
}
static off_t size_of(int fd) {
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    return s.st_size;
}

TEST(lowest_number) {
    CALL(open("/dev/null", O_RDONLY));
    CALL(open("/dev/null", O_RDONLY));
    CALL(dup(0));
    CALL(close(3));
    CALL(dup(0));
    CALL(close(0));
    CALL(open("/dev/null", O_RDONLY));
    CALL(close(3));
    CALL(close(3));
    CALL(close(-1));
    CALL(close(INT_MAX));
}

TEST(dup_family) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CALL(dup2(fd, 20));
    CALL(fcntl(20, F_GETFD));
    CALL(dup2(fd, fd));
    CALL(fcntl(fd, F_GETFD));
    CALL(dup2(99, 5));
    CALL(dup2(99, 99));
    CALL(dup2(fd, -1));
    CALL(dup2(fd, 1000000));
    CALL(dup3(fd, 21, O_CLOEXEC));
    CALL(fcntl(21, F_GETFD));
    CALL(dup3(fd, fd, 0));
    CALL(dup3(fd, 22, O_NONBLOCK));
    CALL(dup3(99, 22, 0));
    CALL(dup(99));
    CALL(fcntl(fd, F_DUPFD, 30));
    CALL(fcntl(fd, F_DUPFD, 30));
    CALL(fcntl(fd, F_DUPFD_CLOEXEC, 30));
    CALL(fcntl(32, F_GETFD));
    CALL(fcntl(fd, F_DUPFD, -1));
    CALL(fcntl(fd, F_DUPFD, 1000000));
}

TEST(dup_shares_offset_and_flags) {
    int fd = file("abcdefgh"), copy = dup(fd), other = open("f", O_RDWR);
    CALL(lseek(fd, 3, SEEK_SET));
    CALL(lseek(copy, 0, SEEK_CUR));
    CALL(lseek(other, 0, SEEK_CUR));
    CALL(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
    SHOW(fcntl(copy, F_GETFL) & (O_APPEND | O_NONBLOCK));
    SHOW(fcntl(other, F_GETFL) & (O_APPEND | O_NONBLOCK));
    CALL(fcntl(fd, F_SETFD, FD_CLOEXEC));
    CALL(fcntl(copy, F_GETFD));
}

TEST(fcntl_flags) {
    int fd = open("f", O_CREAT | O_EXCL | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    SHOW(fcntl(fd, F_GETFL) & ~O_NOFOLLOW);
    CALL(fcntl(fd, F_SETFL, O_RDWR | O_CREAT));
    SHOW(fcntl(fd, F_GETFL) & O_ACCMODE);
    CALL(fcntl(fd, F_SETFD, 255));
    CALL(fcntl(fd, F_GETFD));
    CALL(fcntl(fd, 9999, 0));
    CALL(fcntl(99, F_GETFD));
    CALL(fcntl(99, 9999));
    CALL(fcntl(fd, F_SETFD, 0));
    CALL(fcntl(fd, F_GETFD));
}

TEST(cloexec) {
    int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY | O_CLOEXEC);
    say("%d %d\n", a, b);
    CHILD("child") {
        execl(test_argv[0], test_argv[0], "check_descriptors", (char*)NULL);
        say("%s\n", errno_name(errno));
    }
    CALL(fcntl(b, F_GETFD));
}
HELPER(check_descriptors) {
    for (int i = 0; i < 6; i++) say("%d %s\n", i, fcntl(i, F_GETFD) < 0 ? "closed" : "open");
}

TEST(emfile) {
    NEED(setrlimit(RLIMIT_NOFILE, &(struct rlimit){6, 10}) == 0);
    for (int i = 0; i < 4; i++) CALL(open("/dev/null", O_RDONLY));
    CALL(dup(0));
    CALL(fcntl(0, F_DUPFD, 5));
    CALL(fcntl(0, F_DUPFD, 6));
    CALL(dup2(0, 6));
    CALL(dup2(0, 5));
    CALL(pipe((int[2]){0, 0}));
    NEED(setrlimit(RLIMIT_NOFILE, &(struct rlimit){8, 10}) == 0);
    CALL(dup2(0, 7));
    NEED(setrlimit(RLIMIT_NOFILE, &(struct rlimit){3, 10}) == 0);
    CALL(fcntl(7, F_GETFD));
    CALL(dup(0));
    CALL(close(0));
    CALL(dup(7));
}

TEST(many_descriptors) {
    int fd = open("/dev/null", O_RDONLY), good = 0;
    for (int i = 0; i < 900; i++) good += dup(fd) == i + 4;
    SHOW(good);
    CHILD("child") SHOW(fcntl(900, F_GETFD));
    CALL(syscall(SYS_close_range, 4, ~0u, 0));
    CALL(dup(fd));
}

TEST(close_range) {
    for (int i = 3; i < 10; i++) NEED(dup(0) == i);
    CALL(syscall(SYS_close_range, 4, 5, 0));
    CALL(syscall(SYS_close_range, 5, 4, 0));
    CALL(syscall(SYS_close_range, 7, 8, 4));
    CALL(syscall(SYS_close_range, 100, 200, 0));
    CALL(syscall(SYS_close_range, 3, 4, 1));
    for (int i = 3; i < 10; i++)
        say("%d %s\n", i, fcntl(i, F_GETFD) < 0 ? "closed" : fcntl(i, F_GETFD) ? "cloexec" : "open");
}

TEST(lseek_rules) {
    int fd = file("0123456789");
    CALL(lseek(fd, 4, SEEK_SET));
    CALL(lseek(fd, 3, SEEK_CUR));
    CALL(lseek(fd, -2, SEEK_END));
    CALL(lseek(fd, -11, SEEK_END));
    CALL(lseek(fd, -1, SEEK_SET));
    CALL(lseek(fd, 100, SEEK_END));
    char c;
    CALL(read(fd, &c, 1));
    CALL(lseek(fd, LONG_MAX, SEEK_SET));
    CALL(lseek(fd, 1, SEEK_CUR));
    CALL(lseek(fd, 0, 99));
    CALL(lseek(99, 0, SEEK_SET));
    CALL(lseek(fd, 3, SEEK_DATA));
    CALL(lseek(fd, 3, SEEK_HOLE));
    CALL(lseek(fd, 10, SEEK_DATA));
    CALL(lseek(fd, 11, SEEK_HOLE));
}

TEST(holes) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    CALL(pwrite(fd, "x", 1, 100000));
    CALL(lseek(fd, 0, SEEK_DATA));
    CALL(lseek(fd, 0, SEEK_HOLE));
    CALL(lseek(fd, 98304, SEEK_HOLE));
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    say("size %ld, blocks %ld\n", (long)s.st_size, (long)s.st_blocks);
    char bytes[5000];
    memset(bytes, 1, sizeof bytes);
    CALL(pread(fd, bytes, sizeof bytes, 50000));
    int sum = 0;
    for (size_t i = 0; i < sizeof bytes; i++) sum += bytes[i];
    SHOW(sum);
}

TEST(read_write_positions) {
    int fd = file("0123456789");
    char text[16] = "";
    CALL(pread(fd, text, 4, 3));
    say("%s\n", text);
    CALL(lseek(fd, 0, SEEK_CUR));
    CALL(pwrite(fd, "AB", 2, 8));
    CALL(pwrite(fd, "CD", 2, 12));
    CALL(pread(fd, text, 4, 100));
    CALL(pread(fd, text, 4, -1));
    CALL(pwrite(fd, text, 4, -1));
    CALL(pread(fd, text, 0, 0));
    CALL(read(fd, text, 0));
    show_file("f");
}

TEST(vectors) {
    int fd = file("");
    struct iovec v[3] = {{(void*)"one", 3}, {(void*)"", 0}, {(void*)"two", 3}};
    CALL(writev(fd, v, 3));
    CALL(pwritev(fd, v, 3, 2));
    CALL(writev(fd, v, 0));
    CALL(writev(fd, v, -1));
    CALL(writev(fd, v, 1025));
    CALL(syscall(SYS_writev, fd, (void*)8, 1));
    struct iovec bad[2] = {{(void*)"ok", 2}, {(void*)8, 2}};
    CALL(writev(fd, bad, 2));
    struct iovec huge[2] = {{(void*)"ok", 2}, {(void*)"x", (size_t)-1}};
    CALL(writev(fd, huge, 2));
    char a[3] = "", b[4] = "";
    struct iovec r[2] = {{a, 2}, {b, 3}};
    CALL(preadv(fd, r, 2, 1));
    say("%s %s\n", a, b);
    CALL(lseek(fd, 0, SEEK_SET));
    CALL(readv(fd, r, 2));
    say("%s %s\n", a, b);
    CALL(preadv(fd, r, 2, -5));
    CALL(syscall(SYS_preadv2, fd, r, 2, 0L, 0, 0));
    CALL(syscall(SYS_preadv2, fd, r, 2, -1L, 0, 0));
    CALL(syscall(SYS_preadv2, fd, r, 2, 0L, 0, 0x8000));
    show_file("f");
}

TEST(append) {
    make_file("f", "start", 0600);
    int a = open("f", O_WRONLY | O_APPEND), b = open("f", O_WRONLY | O_APPEND);
    CALL(write(a, "-a", 2));
    CALL(write(b, "-b", 2));
    CALL(lseek(a, 0, SEEK_SET));
    CALL(write(a, "-c", 2));
    CALL(lseek(a, 0, SEEK_CUR));
    CALL(pwrite(a, "-d", 2, 0));
    show_file("f");
}

TEST(access_mode) {
    make_file("f", "abc", 0600);
    int r = open("f", O_RDONLY), w = open("f", O_WRONLY), d = open(".", O_RDONLY), path = open("f", O_PATH);
    char c;
    CALL(write(r, "x", 1));
    CALL(read(w, &c, 1));
    CALL(ftruncate(r, 1));
    CALL(read(d, &c, 1));
    CALL(write(d, &c, 1));
    CALL(lseek(d, 0, SEEK_SET));
    CALL(read(path, &c, 1));
    CALL(lseek(path, 0, SEEK_SET));
    CALL(fchmod(path, 0600));
    CALL(fcntl(path, F_GETFL));
    CALL(ioctl(path, FIONREAD, &c));
    OKAY(dup(path));
    CALL(close(path));
}

TEST(truncation) {
    int fd = file("0123456789");
    CALL(ftruncate(fd, 4));
    show_file("f");
    CALL(ftruncate(fd, 8));
    show_file("f");
    CALL(truncate("f", 2));
    show_file("f");
    CALL(ftruncate(fd, -1));
    CALL(truncate("f", -1));
    CALL(truncate("missing", 0));
    CALL(truncate(".", 0));
    CALL(ftruncate(99, 0));
    CALL(ftruncate(fd, LONG_MAX));
    CALL(ftruncate(fd, 5000));
    CALL(ftruncate(fd, 0));
    SHOW(size_of(fd));
}

TEST(truncate_at_page_borders) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    static char bytes[12288], back[12288];
    memset(bytes, 'x', sizeof bytes);
    static const int cuts[] = {1, 4095, 4096, 4097, 8191, 8192, 12287};
    for (int i = 0; i < 7; i++) {
        NEED(pwrite(fd, bytes, sizeof bytes, 0) == sizeof bytes);
        NEED(ftruncate(fd, cuts[i]) == 0 && ftruncate(fd, sizeof bytes) == 0);
        NEED(pread(fd, back, sizeof back, 0) == sizeof back);
        int letters = 0, zeros = 0;
        for (size_t k = 0; k < sizeof back; k++) letters += back[k] == 'x', zeros += back[k] == 0;
        say("cut %d: %d letters, %d zeros\n", cuts[i], letters, zeros);
    }
}

TEST(fallocate) {
    int fd = file("abc");
    CALL(fallocate(fd, 0, 0, 10000));
    SHOW(size_of(fd));
    CALL(fallocate(fd, 1, 0, 20000));
    SHOW(size_of(fd));
    CALL(fallocate(fd, 3, 0, 2));
    show_file("f");
    CALL(fallocate(fd, 2, 0, 2));
    CALL(fallocate(fd, 0, -1, 5));
    CALL(fallocate(fd, 0, 0, 0));
    CALL(fallocate(fd, 0x8000, 0, 5));
    CALL(fallocate(99, 0, 0, 5));
    int r = open("f", O_RDONLY);
    CALL(fallocate(r, 0, 0, 5));
    int pipe_ends[2];
    NEED(pipe(pipe_ends) == 0);
    CALL(fallocate(pipe_ends[1], 0, 0, 5));
    CALL(posix_fallocate(fd, 0, 30000));
    SHOW(size_of(fd));
}

// Standard output may be a file too, so the limit holds for the call alone.
#define LIMITED(expression)                                                      \
    do {                                                                         \
        NEED(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, RLIM_INFINITY}) == 0); \
        errno = 0;                                                               \
        long result_ = (long)(expression);                                       \
        int error_ = errno;                                                      \
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}); \
        say_result(#expression, result_, error_, 1);                             \
    } while (0)
TEST(file_size_limit) {
    int fd = file("");
    signal(SIGXFSZ, SIG_IGN);
    LIMITED(write(fd, "0123456", 7));
    LIMITED(write(fd, "0123456", 7));
    LIMITED(write(fd, "x", 1));
    LIMITED(pwrite(fd, "x", 1, 100));
    LIMITED(ftruncate(fd, 11));
    LIMITED(ftruncate(fd, 10));
    LIMITED(fallocate(fd, 0, 0, 11));
    CHILD("SIGXFSZ") {
        signal(SIGXFSZ, SIG_DFL);
        LIMITED(write(fd, "x", 1));
    }
    SHOW(size_of(fd));
}

TEST(sendfile_and_copy) {
    int in = file("0123456789"), out = open("g", O_RDWR | O_CREAT, 0600);
    off_t offset = 2;
    CALL(sendfile(out, in, &offset, 3));
    SHOW(offset);
    CALL(lseek(in, 0, SEEK_CUR));
    CALL(sendfile(out, in, NULL, 100));
    CALL(lseek(in, 0, SEEK_CUR));
    show_file("g");
    int ends[2];
    NEED(pipe(ends) == 0);
    offset = 0;
    CALL(sendfile(ends[1], in, &offset, 4));
    CALL(sendfile(out, ends[0], NULL, 4));
    CALL(sendfile(out, 99, NULL, 4));
    offset = -1;
    CALL(sendfile(out, in, &offset, 4));
    off_t from = 1, to = 5;
    CALL(copy_file_range(in, &from, out, &to, 4, 0));
    say("from %ld, to %ld\n", (long)from, (long)to);
    CALL(copy_file_range(in, &from, out, &to, 100, 0));
    CALL(copy_file_range(in, &from, out, &to, 100, 0));
    CALL(copy_file_range(in, &from, out, &to, 1, 1));
    CALL(copy_file_range(99, NULL, out, NULL, 1, 0));
    show_file("g");
}

TEST(flock_rules) {
    int a = file("x"), b = open("f", O_RDONLY), copy = dup(a);
    CALL(flock(a, LOCK_SH));
    CALL(flock(b, LOCK_SH | LOCK_NB));
    CALL(flock(a, LOCK_EX | LOCK_NB));
    CALL(flock(b, LOCK_UN));
    CALL(flock(a, LOCK_EX | LOCK_NB));
    CALL(flock(copy, LOCK_EX | LOCK_NB));
    CALL(flock(b, LOCK_SH | LOCK_NB));
    CALL(close(a));
    CALL(flock(b, LOCK_SH | LOCK_NB));
    CALL(flock(copy, LOCK_UN));
    CALL(flock(b, LOCK_SH | LOCK_NB));
    CALL(flock(b, 0));
    CALL(flock(99, LOCK_SH));
    pid_t pid = fork();
    if (pid == 0) {
        int mine = open("f", O_RDONLY);
        CALL(flock(mine, LOCK_EX | LOCK_NB));
        close(b);
        CALL(flock(mine, LOCK_EX));
        _exit(0);
    }
    sleep_ms(50);
    NEED(flock(b, LOCK_UN) == 0);
    reap("child", pid);
}

TEST(record_locks) {
    int fd = file("0123456789");
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 4};
    CALL(fcntl(fd, F_SETLK, &lock));
    CHILD("child") {
        struct flock test = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
        CALL(fcntl(fd, F_GETLK, &test));
        say("type %d, start %ld, length %ld, holder is the parent %d\n", test.l_type, (long)test.l_start,
            (long)test.l_len, test.l_pid == getppid());
        test.l_type = F_RDLCK, test.l_start = 5, test.l_len = 1;
        CALL(fcntl(fd, F_SETLK, &test));
        test.l_type = F_RDLCK, test.l_start = 6, test.l_len = 1;
        CALL(fcntl(fd, F_SETLK, &test));
    }
    lock.l_type = F_UNLCK, lock.l_start = 3, lock.l_len = 1;
    CALL(fcntl(fd, F_SETLK, &lock));
    lock.l_type = 77;
    CALL(fcntl(fd, F_SETLK, &lock));
    CALL(fcntl(fd, F_SETLK, (struct flock*)8));
}

TEST(sync_calls) {
    int fd = file("abc");
    CALL(fsync(fd));
    CALL(fdatasync(fd));
    CALL(fsync(99));
    CALL(fdatasync(99));
    CALL((sync(), 0));
    CALL(syncfs(fd));
    CALL(syncfs(99));
    CALL(sync_file_range(fd, 0, 10, 0));
    CALL(sync_file_range(99, 0, 10, 0));
    CALL(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    CALL(posix_fadvise(fd, 0, 0, 99));
    CALL(posix_fadvise(99, 0, 0, 0));
    CALL(readahead(fd, 0, 4096));
    CALL(readahead(99, 0, 4096));
}

TEST(large_transfers) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    enum { kSize = 300000 };
    char* bytes = malloc(kSize);
    for (int i = 0; i < kSize; i++) bytes[i] = (char)(i % 251);
    CALL(write(fd, bytes, kSize));
    memset(bytes, 0, kSize);
    CALL(pread(fd, bytes, kSize, 0));
    int wrong = 0;
    for (int i = 0; i < kSize; i++) wrong += bytes[i] != (char)(i % 251);
    SHOW(wrong);
    CALL(pwrite(fd, bytes + 1, 5000, 4093));
    CALL(pread(fd, bytes, 3, 4092));
    say("%d %d %d\n", bytes[0], bytes[1], bytes[2]);
}

TEST(memory_devices) {
    char bytes[64];
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    CALL(read(null, bytes, 10));
    CALL(write(null, bytes, 10));
    CALL(write(null, (void*)8, 10));
    CALL(lseek(null, 100, SEEK_SET));
    memset(bytes, 1, sizeof bytes);
    CALL(read(zero, bytes, 10));
    SHOW(bytes[9]);
    CALL(write(zero, bytes, 10));
    CALL(read(full, bytes, 10));
    CALL(write(full, bytes, 10));
    CALL(write(full, bytes, 0));
    int random = open("/dev/urandom", O_RDONLY);
    CALL(read(random, bytes, 64));
    CALL(ftruncate(null, 0));
    CALL(open("/dev/null", O_RDONLY | O_TRUNC) >= 0);
    struct stat s;
    NEED(fstat(null, &s) == 0);
    say("mode %o, device %ld\n", s.st_mode, (long)s.st_rdev);
}

TEST(access_mode_3) {
    NEED(make_file("f", "text", 0600) == 0);
    enum { kNeither = 3 };  // musl's O_ACCMODE has O_PATH in it
    int fd = open("f", kNeither);
    char byte;
    FACT("opened", fd >= 0);
    CALL(fcntl(fd, F_GETFL) & kNeither);
    CALL(read(fd, &byte, 1));
    CALL(write(fd, "x", 1));
    CALL(pread(fd, &byte, 1, 0));
    CALL(writev(fd, &(struct iovec){"x", 1}, 1));
    CALL(ftruncate(fd, 0));
    CALL(fallocate(fd, 0, 0, 10));
    CALL(lseek(fd, 0, SEEK_END));
    OKAY(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? -1 : 0);
    CHILD("without rights") {
        NEED(chmod("f", 0400) == 0 && chmod(".", 0755) == 0 && chown("f", 1000, 1000) == 0 && setuid(1000) == 0);
        CALL(open("f", kNeither));
    }
}

TEST(direct_io) {
    NEED(make_file("f", "text", 0600) == 0);
    CALL(open("f", O_RDONLY | O_DIRECT));
    CALL(open("f", O_RDWR | O_DIRECT | O_TRUNC));
    CALL(open("new", O_RDWR | O_CREAT | O_DIRECT, 0600));
    CALL(access("new", F_OK));
    CALL(open(".", O_RDONLY | O_DIRECT));
    struct stat s;
    NEED(stat("f", &s) == 0);
    SHOW(s.st_size);
    int fd = open("f", O_RDWR);
    CALL(fcntl(fd, F_SETFL, O_DIRECT));
}

TEST(offsets_at_the_end) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    char bytes[16] = "0123456789";
    NEED(write(fd, bytes, 10) == 10);
    CALL(lseek(fd, INT64_MAX, SEEK_SET) == INT64_MAX);
    CALL(write(fd, bytes, 10));
    CALL(read(fd, bytes, 10));
    CALL(pwrite(fd, bytes, 10, INT64_MAX - 5));
    CALL(pwrite(fd, bytes, 10, INT64_MAX - 10));
    CALL(pread(fd, bytes, 10, INT64_MAX - 10));
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    FACT("grown to the end", s.st_size == INT64_MAX);
}

TEST(no_sockets) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    char bytes[128];
    memset(bytes, 0, sizeof bytes);
    CALL(syscall(SYS_socket, 46, 1, 0));
    CALL(syscall(SYS_socket, -1, 1, 0));
    CALL(syscall(SYS_socket, 1, 11, 0));
    CALL(syscall(SYS_socket, 1, 0x10001, 0));
    CALL(syscall(SYS_socketpair, 46, 1, 0, bytes));
    CALL(syscall(SYS_socketpair, 1, 0x10001, 0, bytes));
    static const int calls[] = {SYS_connect,     SYS_bind,        SYS_listen, SYS_shutdown,
                                SYS_getsockname, SYS_getpeername, SYS_accept, SYS_getsockopt};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        CALL(syscall(calls[i], fd, bytes, 0, bytes + 64, bytes, 0));
        CALL(syscall(calls[i], 99, bytes, 0, bytes + 64, bytes, 0));
    }
    for (int i = 0; i < 2; i++) {
        int number = i ? 99 : fd;
        CALL(syscall(SYS_sendmsg, number, bytes, 0));
        CALL(syscall(SYS_recvmsg, number, bytes, 0));
        CALL(syscall(SYS_sendmsg, number, bytes, 0x80000000u));
        CALL(syscall(SYS_recvmsg, number, bytes, 0x80000000u));
        CALL(syscall(SYS_sendmmsg, number, bytes, 1, 0));
        CALL(syscall(SYS_recvmmsg, number, bytes, 1, 0, NULL));
        CALL(syscall(SYS_sendmmsg, number, bytes, 1, 0x80000000u));
        CALL(syscall(SYS_setsockopt, number, 1, 2, bytes, 4));
        CALL(syscall(SYS_setsockopt, number, 1, 2, bytes, -1));
    }
    CALL(syscall(SYS_sendto, fd, bytes, 1, 0, NULL, 0));
    CALL(syscall(SYS_sendto, 99, bytes, 1, 0, NULL, 0));
    CALL(syscall(SYS_recvfrom, fd, bytes, 1, 0, NULL, NULL));
    CALL(syscall(SYS_accept4, fd, NULL, NULL, 0));
    CALL(syscall(SYS_accept4, 99, NULL, NULL, 1));
}

static int file_mode(int fd) {
    struct stat s;
    NEED(fstat(fd, &s) == 0);
    return (int)(s.st_mode & 07777);
}
TEST(set_id_bits_of_a_file_that_was_passed_on) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    CHILD("user") {
        NEED(fchmod(fd, 06755) == 0 && write(fd, "a", 1) == 1);
        say("root's write: %o\n", file_mode(fd));
        NEED(setgid(1000) == 0 && setuid(1000) == 0);
        NEED(write(fd, "a", 1) == 1);
        say("a user's write: %o\n", file_mode(fd));
    }
    CHILD("user, truncation") {
        NEED(fchmod(fd, 06745) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
        CALL(ftruncate(fd, 5));
        say("truncated: %o\n", file_mode(fd));
    }
    CHILD("user, allocation") {
        NEED(fchmod(fd, 06755) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
        CALL(fallocate(fd, 0, 0, 10000));
        say("allocated: %o\n", file_mode(fd));
    }
    CHILD("user, hole") {
        NEED(fchmod(fd, 06755) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
        CALL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10000));
        say("punched: %o\n", file_mode(fd));
    }
    CHILD("user, vector") {
        NEED(fchmod(fd, 06755) == 0 && setgid(1000) == 0 && setuid(1000) == 0);
        NEED(pwritev(fd, &(struct iovec){"abc", 3}, 1, 0) == 3);
        say("a user's vector: %o\n", file_mode(fd));
    }
}
