// SPDX-License-Identifier: MIT
// Waiting for descriptors: poll, select, epoll, eventfd, signalfd.
#include "check.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>

static int p[2];

TEST(poll_basic) {
    NEED(pipe(p) == 0);
    struct pollfd e[4] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {-1, POLLIN, 7}, {99, POLLIN, 0}};
    CALL(poll(e, 1, 0));
    CALL(poll(e, 4, 1000));
    say("%x %x %x %x\n", e[0].revents, e[1].revents, e[2].revents, e[3].revents);
    CALL(poll(e, 0, 0));
    CALL(poll(NULL, 0, 10));
    CALL(poll(NULL, 1, 0));
    CALL(poll((void*)8, 1, 0));
    CALL(poll(e, 100000000, 0));
    e[0].fd = open(".", O_RDONLY), e[1].fd = open("/dev/null", O_RDWR);
    e[0].events = e[1].events = POLLIN | POLLOUT | POLLPRI;
    CALL(poll(e, 2, 0));
    say("%x %x\n", e[0].revents, e[1].revents);
}

TEST(poll_timeout) {
    NEED(pipe(p) == 0);
    struct pollfd e = {p[0], POLLIN, 0};
    long start = now_ms();
    CALL(poll(&e, 1, 40));
    FACT("waited", now_ms() - start >= 40);
    struct timespec t = {0, 20000000};
    start = now_ms();
    CALL(syscall(SYS_ppoll, &e, 1, &t, NULL, 8));
    FACT("waited", now_ms() - start >= 20);
    FACT("remaining time written back", t.tv_sec == 0 && t.tv_nsec == 0);
    t.tv_nsec = 1000000000;
    CALL(syscall(SYS_ppoll, &e, 1, &t, NULL, 8));
    t.tv_nsec = 0;
    CALL(syscall(SYS_ppoll, &e, 1, &t, (void*)8, 8));
    CALL(syscall(SYS_ppoll, &e, 1, &t, &t, 4));
}

TEST(poll_wakes) {
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(30);
        NEED(write(p[1], "x", 1) == 1);
        _exit(0);
    }
    struct pollfd e = {p[0], POLLIN, 0};
    CALL(poll(&e, 1, -1));
    SHOW(e.revents);
    reap("child", pid);
}

TEST(poll_wakes_on_hangup) {
    NEED(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(p[0]);
        sleep_ms(30);
        _exit(0);
    }
    close(p[1]);
    struct pollfd e = {p[0], 0, 0};
    CALL(poll(&e, 1, 10000));
    SHOW(e.revents);
    reap("child", pid);
}

TEST(select_basic) {
    NEED(pipe(p) == 0);
    fd_set r, w, x;
    FD_ZERO(&r);
    FD_ZERO(&w);
    FD_ZERO(&x);
    FD_SET(p[0], &r), FD_SET(p[1], &w), FD_SET(p[0], &x);
    struct timeval t = {0, 0};
    CALL(select(p[1] + 1, &r, &w, &x, &t));
    say("%d %d %d\n", !!FD_ISSET(p[0], &r), !!FD_ISSET(p[1], &w), !!FD_ISSET(p[0], &x));
    NEED(write(p[1], "x", 1) == 1);
    FD_SET(p[0], &r);
    CALL(select(p[1] + 1, &r, &w, NULL, NULL));
    say("%d %d\n", !!FD_ISSET(p[0], &r), !!FD_ISSET(p[1], &w));
    FD_ZERO(&r);
    FD_SET(10, &r);
    CALL(select(11, &r, NULL, NULL, &t));
    CALL(select(10, &r, NULL, NULL, &t));
    CALL(select(-1, NULL, NULL, NULL, &t));
    CALL(syscall(SYS_select, 4, (void*)8, NULL, NULL, &t));
    t.tv_usec = -1;
    CALL(syscall(SYS_select, 0, NULL, NULL, NULL, &t));
    struct timeval wait = {0, 20000};
    long start = now_ms();
    CALL(syscall(SYS_select, 0, NULL, NULL, NULL, &wait));
    FACT("waited", now_ms() - start >= 20);
    FACT("remaining time written back", wait.tv_sec == 0 && wait.tv_usec == 0);
    FD_ZERO(&r);
    FD_SET(p[0], &r);
    struct timeval rest = {100, 0};
    CALL(syscall(SYS_select, p[0] + 1, &r, NULL, NULL, &rest));
    FACT("some time left", rest.tv_sec >= 90);
}

TEST(pselect_mask) {
    struct timespec t = {0, 0};
    CALL(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &t, NULL));
    struct {
        const void* set;
        size_t size;
    } arg = {(void*)8, 8};
    CALL(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &t, &arg));
    arg.size = 4;
    CALL(syscall(SYS_pselect6, 0, NULL, NULL, NULL, &t, &arg));
}

TEST(event_descriptor) {
    int fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
    uint64_t v = 0;
    OKAY(fd);
    CALL(read(fd, &v, 8));
    SHOW(v);
    CALL(read(fd, &v, 8));
    v = 5;
    CALL(write(fd, &v, 8));
    CALL(write(fd, &v, 8));
    CALL(read(fd, &v, 8));
    SHOW(v);
    v = (uint64_t)-1;
    CALL(write(fd, &v, 8));
    v = (uint64_t)-2;
    CALL(write(fd, &v, 8));
    v = 1;
    CALL(write(fd, &v, 8));
    struct pollfd e = {fd, POLLIN | POLLOUT, 0};
    CALL(poll(&e, 1, 0));
    SHOW(e.revents);
    CALL(read(fd, &v, 4));
    CALL(write(fd, &v, 4));
    CALL(lseek(fd, 0, SEEK_SET));
    int s = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    CALL(read(s, &v, 8));
    SHOW(v);
    CALL(read(s, &v, 8));
    CALL(read(s, &v, 8));
    CALL(eventfd(0, 0x1000));
}

TEST(event_descriptor_wakes) {
    int fd = eventfd(0, 0);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        uint64_t v = 42;
        NEED(write(fd, &v, 8) == 8);
        _exit(0);
    }
    uint64_t v = 0;
    CALL(read(fd, &v, 8));
    SHOW(v);
    reap("child", pid);
}

TEST(epoll_basic) {
    NEED(pipe(p) == 0);
    int fd = epoll_create1(EPOLL_CLOEXEC);
    OKAY(fd);
    struct epoll_event e = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0}, out[4];
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &e));
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &e));
    CALL(epoll_wait(fd, out, 4, 0));
    NEED(write(p[1], "x", 1) == 1);
    CALL(epoll_wait(fd, out, 4, 0));
    say("%x %d\n", out[0].events, out[0].data.u64 == 0x123456789abcdef0);
    CALL(epoll_wait(fd, out, 4, 0));
    e.events = EPOLLOUT | EPOLLONESHOT;
    e.data.fd = p[1];
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, p[1], &e));
    CALL(epoll_wait(fd, out, 4, 0));
    CALL(epoll_wait(fd, out, 4, 0));
    CALL(epoll_ctl(fd, EPOLL_CTL_MOD, p[1], &e));
    CALL(epoll_wait(fd, out, 1, 0));
    CALL(epoll_ctl(fd, EPOLL_CTL_DEL, p[0], NULL));
    CALL(epoll_ctl(fd, EPOLL_CTL_DEL, p[0], NULL));
    CALL(epoll_ctl(fd, EPOLL_CTL_MOD, p[0], &e));
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, 99, &e));
    CALL(epoll_ctl(99, EPOLL_CTL_ADD, p[0], &e));
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, fd, &e));
    CALL(epoll_ctl(p[0], EPOLL_CTL_ADD, p[1], &e));
    CALL(epoll_ctl(fd, 77, p[0], &e));
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, open(".", O_RDONLY), &e));
    CALL(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], (void*)8));
    CALL(epoll_wait(fd, out, 0, 0));
    CALL(epoll_wait(fd, out, -1, 0));
    CALL(epoll_wait(p[0], out, 1, 0));
    CALL(epoll_create1(1));
    CALL(syscall(SYS_epoll_create, 0));
    OKAY(syscall(SYS_epoll_create, 1));
}

TEST(epoll_edge_and_close) {
    NEED(pipe(p) == 0);
    int fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.fd = 1}, out[4];
    NEED(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &e) == 0);
    NEED(write(p[1], "x", 1) == 1);
    CALL(epoll_wait(fd, out, 4, 0));
    CALL(epoll_wait(fd, out, 4, 0));
    NEED(write(p[1], "y", 1) == 1);
    CALL(epoll_wait(fd, out, 4, 0));
    close(p[1]);
    CALL(epoll_wait(fd, out, 4, 0));
    SHOW(out[0].events);
    close(p[0]);
    CALL(epoll_wait(fd, out, 4, 0));
    struct pollfd entry = {fd, POLLIN, 0};
    CALL(poll(&entry, 1, 0));
}

// A set in a set, reported by edges: each event of one of its files is one.
TEST(epoll_edges_of_sets) {
    int inner = epoll_create1(0), outer = epoll_create1(0), files[6];
    struct epoll_event e = {.events = EPOLLIN, .data.fd = 1}, out[8];
    for (int i = 0; i < 6; i++) {
        files[i] = eventfd(0, 0);
        NEED(epoll_ctl(inner, EPOLL_CTL_ADD, files[i], &e) == 0);
    }
    e.events |= EPOLLET;
    NEED(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &e) == 0);
    CALL(epoll_wait(outer, out, 8, 0));
    uint64_t one = 1;
    for (int i = 5; i >= 0; i--) {
        CALL(write(files[i], &one, 8));
        CALL(epoll_wait(outer, out, 8, 10));
        CALL(epoll_wait(outer, out, 8, 0));
    }
}

TEST(epoll_wakes) {
    NEED(pipe(p) == 0);
    int fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = 1}, out;
    NEED(epoll_ctl(fd, EPOLL_CTL_ADD, p[0], &e) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        sleep_ms(20);
        NEED(write(p[1], "x", 1) == 1);
        _exit(0);
    }
    CALL(epoll_wait(fd, &out, 1, 10000));
    reap("child", pid);
}

TEST(signal_descriptor) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK);
    OKAY(fd);
    struct signalfd_siginfo info;
    CALL(read(fd, &info, sizeof info));
    raise(SIGUSR1);
    struct pollfd e = {fd, POLLIN, 0};
    CALL(poll(&e, 1, 0));
    CALL(read(fd, &info, sizeof info));
    SHOW(info.ssi_signo);
    IS(info.ssi_pid == (unsigned)getpid());
    CALL(read(fd, &info, sizeof info));
    CALL(read(fd, &info, 10));
    CALL(signalfd(1, &set, 0));
    OKAY(syscall(SYS_signalfd, -1, &set, 8));
    CALL(syscall(SYS_signalfd, -1, &set, 4));
    CALL(syscall(SYS_signalfd, 99, &set, 8));
}
