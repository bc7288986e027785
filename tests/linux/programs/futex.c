// SPDX-License-Identifier: MIT
// futex: wait and wake between processes and threads, bit sets, requeue, timeouts, errors.
#include "check.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>

static long futex(volatile void* word, int op, long value, const void* timeout_or_value2, volatile void* word2,
                  int value3) {
    return syscall(SYS_futex, word, op, value, timeout_or_value2, word2, value3);
}
static volatile int* shared_words(void) {
    int* p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}
// The waiters of the tests are known to sleep when they have been counted and then given some time.
static void await_count(volatile int* counter, int value) {
    while (*counter < value) sched_yield();
    sleep_ms(200);  // until they sleep, on a busy host too
}

TEST(simple_results) {
    volatile int word = 5;
    struct timespec t = {0, 10000000};
    CALL(futex(&word, FUTEX_WAIT, 4, NULL, NULL, 0));
    CALL(futex(&word, FUTEX_WAIT, 5, &t, NULL, 0));
    CALL(futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 5, &t, NULL, 0));
    CALL(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
    CALL(futex(&word, FUTEX_WAKE, -1, NULL, NULL, 0));
    CALL(futex((char*)&word + 1, FUTEX_WAIT, 5, &t, NULL, 0));
    CALL(futex((char*)&word + 1, FUTEX_WAKE, 1, NULL, NULL, 0));
    CALL(futex((void*)8, FUTEX_WAIT, 5, &t, NULL, 0));
    CALL(futex((void*)8, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
    CALL(futex((void*)8, FUTEX_WAKE, 1, NULL, NULL, 0));
    CALL(futex(NULL, FUTEX_WAKE, 1, NULL, NULL, 0));
    CALL(futex((void*)0xffff800000000000, FUTEX_WAKE, 1, NULL, NULL, 0));
    t.tv_nsec = 1000000000;
    CALL(futex(&word, FUTEX_WAIT, 5, &t, NULL, 0));
    CALL(futex(&word, FUTEX_WAIT, 5, (void*)8, NULL, 0));
    CALL(futex(&word, 77, 5, NULL, NULL, 0));
    CALL(futex(&word, FUTEX_WAIT_BITSET, 5, NULL, NULL, 0));
    CALL(futex(&word, FUTEX_WAKE_BITSET, 5, NULL, NULL, 0));
    struct timespec past = {1, 0};
    CALL(futex(&word, FUTEX_WAIT_BITSET, 5, &past, NULL, -1));
    CALL(futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 5, &past, NULL, -1));
}

TEST(timeouts_are_kept) {
    volatile int word = 0;
    struct timespec t = {0, 40000000};
    long start = now_ms();
    CALL(futex(&word, FUTEX_WAIT, 0, &t, NULL, 0));
    FACT("relative", now_ms() - start >= 40);
    start = now_ms();  // first: the thread may lose the CPU after it
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += 40000000;
    if (t.tv_nsec > 999999999) t.tv_nsec -= 1000000000, t.tv_sec++;
    CALL(futex(&word, FUTEX_WAIT_BITSET, 0, &t, NULL, -1));
    FACT("absolute", now_ms() - start >= 39);
}

TEST(wake_another_process) {
    volatile int* w = shared_words();
    pid_t pid = fork();
    if (pid == 0) {
        w[1]++;
        CALL(futex(w, FUTEX_WAIT, 0, NULL, NULL, 0));
        _exit(0);
    }
    await_count(w + 1, 1);
    NEED(futex(w, FUTEX_WAKE, 10, NULL, NULL, 0) == 1);
    reap("waiter", pid);
}

TEST(wake_counts) {
    volatile int* w = shared_words();
    for (int i = 0; i < 5; i++)
        if (fork() == 0) {
            __atomic_fetch_add(w + 1, 1, __ATOMIC_SEQ_CST);
            futex(w, FUTEX_WAIT, 0, NULL, NULL, 0);
            __atomic_fetch_add(w + 2, 1, __ATOMIC_SEQ_CST);
            _exit(0);
        }
    await_count(w + 1, 5);
    CALL(futex(w, FUTEX_WAKE, 2, NULL, NULL, 0));
    sleep_ms(200);  // until they sleep, on a busy host too
    SHOW(w[2]);
    CALL(futex(w, FUTEX_WAKE, INT_MAX, NULL, NULL, 0));
    for (int i = 0; i < 5; i++) reap("waiter", -1);
    SHOW(w[2]);
    CALL(futex(w, FUTEX_WAKE, 1, NULL, NULL, 0));
}

TEST(private_words_are_per_process) {
    static volatile int word[2];
    pid_t pid = fork();
    if (pid == 0) {
        struct timespec t = {0, 200000000};
        CALL(futex(word, FUTEX_WAIT, 0, &t, NULL, 0));
        _exit(0);
    }
    sleep_ms(200);  // until they sleep, on a busy host too
    NEED(futex(word, FUTEX_WAKE, 1, NULL, NULL, 0) == 0);
    reap("waiter", pid);
}

TEST(shared_file_words) {
    int fd = open("f", O_RDWR | O_CREAT, 0600);
    NEED(ftruncate(fd, 4096) == 0);
    volatile int* a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t pid = fork();
    if (pid == 0) {
        volatile int* b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open("f", O_RDWR), 0);
        b[1] = 1;
        CALL(futex(b, FUTEX_WAIT, 0, NULL, NULL, 0));
        _exit(0);
    }
    await_count(a + 1, 1);
    NEED(futex(a, FUTEX_WAKE, 1, NULL, NULL, 0) == 1);
    reap("waiter at another address", pid);
}

TEST(bit_sets) {
    volatile int* w = shared_words();
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            __atomic_fetch_add(w + 1, 1, __ATOMIC_SEQ_CST);
            futex(w, FUTEX_WAIT_BITSET, 0, NULL, NULL, 1 << i);
            __atomic_fetch_or(w + 2, 1 << i, __ATOMIC_SEQ_CST);
            _exit(0);
        }
    await_count(w + 1, 3);
    CALL(futex(w, FUTEX_WAKE_BITSET, 10, NULL, NULL, 8));
    CALL(futex(w, FUTEX_WAKE_BITSET, 10, NULL, NULL, 2));
    reap("waiter", -1);
    SHOW(w[2]);
    CALL(futex(w, FUTEX_WAKE, 10, NULL, NULL, 0));
    reap("waiter", -1);
    reap("waiter", -1);
    SHOW(w[2]);
}

TEST(requeue) {
    volatile int* w = shared_words();
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            __atomic_fetch_add(w + 1, 1, __ATOMIC_SEQ_CST);
            futex(w, FUTEX_WAIT, 0, NULL, NULL, 0);
            _exit(0);
        }
    await_count(w + 1, 4);
    CALL(futex(w, FUTEX_CMP_REQUEUE, 1, (void*)2, w + 8, 5));
    CALL(futex(w, FUTEX_CMP_REQUEUE, 1, (void*)2, w + 8, 0));
    reap("woken", -1);
    CALL(futex(w + 8, FUTEX_WAKE, 10, NULL, NULL, 0));
    reap("requeued", -1);
    reap("requeued", -1);
    CALL(futex(w, FUTEX_REQUEUE, 0, (void*)10, w + 8, 0));
    CALL(futex(w, FUTEX_WAKE, 10, NULL, NULL, 0));
    CALL(futex(w + 8, FUTEX_WAKE, 10, NULL, NULL, 0));
    reap("requeued", -1);
    CALL(futex(w, FUTEX_CMP_REQUEUE, -1, (void*)2, w + 8, 0));
    CALL(futex(w, FUTEX_CMP_REQUEUE, 1, (void*)2, (char*)w + 1, 0));
}

TEST(wake_op) {
    volatile int* w = shared_words();
    w[8] = 5;
    // Add 3 to the second word; wake there too if it was greater than 4.
    CALL(futex(w, FUTEX_WAKE_OP, 1, (void*)1, w + 8, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_GT, 4)));
    SHOW(w[8]);
    CALL(futex(w, FUTEX_WAKE_OP, 1, (void*)1, w + 8, FUTEX_OP(FUTEX_OP_SET, 9, FUTEX_OP_CMP_EQ, 0)));
    SHOW(w[8]);
}

static void lock(volatile int* m) {
    int c = 0;
    if (__atomic_compare_exchange_n(m, &c, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
    while (__atomic_exchange_n(m, 2, __ATOMIC_SEQ_CST) != 0) futex(m, FUTEX_WAIT, 2, NULL, NULL, 0);
}
static void unlock(volatile int* m) {
    if (__atomic_exchange_n(m, 0, __ATOMIC_SEQ_CST) == 2) futex(m, FUTEX_WAKE, 1, NULL, NULL, 0);
}
TEST(mutex_between_processes) {
    enum { kProcesses = 4, kRounds = 400 };
    volatile int* w = shared_words();
    for (int i = 0; i < kProcesses; i++)
        if (fork() == 0) {
            for (int k = 0; k < kRounds; k++) {
                lock(w);
                w[1] = w[1] + 1;
                if (k % 50 == 0) sched_yield();
                unlock(w);
            }
            _exit(0);
        }
    for (int i = 0; i < kProcesses; i++) reap("process", -1);
    SHOW(w[1]);
}

TEST(ping_pong) {
    volatile int* w = shared_words();
    pid_t pid = fork();
    int me = pid == 0;
    for (int i = 0; i < 200; i++) {
        for (int v; (v = *w) % 2 != me;) futex(w, FUTEX_WAIT, v, NULL, NULL, 0);
        __atomic_fetch_add(w, 1, __ATOMIC_SEQ_CST);
        futex(w, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    if (pid == 0) _exit(0);
    reap("partner", pid);
    SHOW(*w);
}

// Who waits on memory that has been unmapped waits for ever: what is mapped anew, by whomever, has nothing to do with it.
enum { kMappings = 24 };
static volatile int sleeping, roused;
static void* waits(void* word) {
    __sync_fetch_and_add(&sleeping, 1);
    if (futex(word, FUTEX_WAIT, 0, NULL, NULL, 0) == 0) __sync_fetch_and_add(&roused, 1);
    return NULL;
}
static void map_and_wait(volatile int* words[]) {
    for (int i = 0; i < kMappings; i++) {
        pthread_t t;
        words[i] = shared_words();
        NEED(pthread_create(&t, NULL, waits, (void*)words[i]) == 0);
    }
    await_count(&sleeping, kMappings);
    sleep_ms(200);
}
TEST(waiters_outlive_their_memory) {
    volatile int* words[kMappings];
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t other = fork();
    if (other == 0) {
        map_and_wait(words);
        for (int i = 0; i < kMappings; i++) NEED(munmap((void*)words[i], 4096) == 0);
        sleep_ms(100);
        NEED(write(ready[1], "x", 1) == 1);
        for (;;) pause();
    }
    char c;
    NEED(read(ready[0], &c, 1) == 1);
    map_and_wait(words);
    long said = 0;
    for (int i = 0; i < kMappings; i++) said += futex(words[i], FUTEX_WAKE, 1, NULL, NULL, 0);
    SHOW(said);
    for (int i = 0; i < 100 && roused < kMappings; i++) sleep_ms(10);
    SHOW(roused);
    NEED(kill(other, SIGKILL) == 0);
    reap("other", other);
}

// A private mapping that may not be written has the file's own words, until it has a copy.
TEST(private_view_of_a_file) {
    int fd = memfd_create("words", 0);
    NEED(ftruncate(fd, 4096) == 0);
    int* shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int* view = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    int* copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    NEED(shared != MAP_FAILED && view != MAP_FAILED && copy != MAP_FAILED);
    copy[1] = 1;
    NEED(mprotect(copy, 4096, PROT_READ) == 0);
    pid_t child = fork();
    if (child == 0) _exit(futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0) != 0);
    CALL(futex(copy, FUTEX_WAKE, 1, NULL, NULL, 0));
    long woken = 0;
    for (int i = 0; i < 1000 && woken == 0; i++) {
        woken = futex(view, FUTEX_WAKE, 1, NULL, NULL, 0);
        if (woken == 0) sleep_ms(10);
    }
    SHOW(woken);
    if (woken == 0) kill(child, SIGKILL);
    reap("child", child);
}
