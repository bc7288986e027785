// SPDX-License-Identifier: MIT
// Large parts of files go, by truncation or as holes: their pages are given back late, what others can see is not. See
// reclaim.c.
#include "reclaim.h"

#include <sys/mount.h>

// What a file loses in the middle of its life: shorter, with a hole, opened anew, removed by way of a mapping.
static void cut(int way, int fd) {
    switch (way) {
        case 0: OKAY(ftruncate(fd, 100 * kPage + 5)); break;
        case 1: OKAY(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100 * kPage + 5, 1000 * kPage)); break;
        case 2: {
            int again;
            OKAY(again = open("file", O_RDWR | O_TRUNC));
            close(again);
            break;
        }
        case 3: {
            char* p = mmap(NULL, 1000 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 100 * kPage);
            OKAY(madvise(p, 1000 * kPage, MADV_REMOVE));
            munmap(p, 1000 * kPage);
            break;
        }
        case 4: OKAY(truncate("file", 0)); break;
    }
}
static const char* const kCuts[] = {"ftruncate", "hole", "O_TRUNC", "MADV_REMOVE", "truncate"};
TEST(cut_files) {
    struct module before = module("fs");
    long kib = free_kib();
    for (int way = 0; way < 5; way++) {
        say("%s, blocks:\n", kCuts[way]);  // standard output lies on the same file system
        long blocks = free_blocks();
        int fd = big_file("file", 1200);
        cut(way, fd);
        struct stat s;
        NEED(fstat(fd, &s) == 0);
        say("size %ld, %ld of 512, data at %ld\n", (long)s.st_size, (long)s.st_blocks,
            (long)lseek(fd, 101 * kPage, SEEK_DATA));
        // Longer again: what was there once is not.
        NEED(ftruncate(fd, 1200 * kPage) == 0);
        int old = 0, zeros = 0;
        for (int i = 0; i < 1200; i++) {
            char two[2];
            NEED(pread(fd, two, 2, i * (off_t)kPage + 4) == 2);
            old += two[0] == 0x77 && two[1] == 0x77;
            zeros += two[0] == 0 && two[1] == 0;
        }
        say("old %d, zeros %d\n", old, zeros);
        // And it can be written at once.
        for (int i = 0; i < 1200; i += 7) NEED(pwrite(fd, "y", 1, i * (off_t)kPage) == 1);
        NEED(fstat(fd, &s) == 0);
        say("%ld of 512\n", (long)s.st_blocks);
        close(fd);
        unlink("file");
        say("%ld blocks\n", blocks - free_blocks());
    }
    show_memory_back(kib);
    show_left("fs", before, 5 * 1000);
}
// The same seen through mappings, shared and private, of another process too.
TEST(cut_mapped_files) {
    for (int way = 0; way < 5; way++) {
        say("%s\n", kCuts[way]);
        int fd = big_file("file", 1200);
        char* shared = mmap(NULL, 1200 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        char* private = mmap(NULL, 1200 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        NEED(shared != MAP_FAILED && private != MAP_FAILED);
        long sum = 0;
        for (int i = 0; i < 1200; i += 3) sum += shared[i * kPage] + private[i * kPage];
        for (int i = 0; i < 1200; i += 12) private[i * kPage] = 1;
        int go[2], done[2];
        NEED(pipe(go) == 0 && pipe(done) == 0);
        pid_t pid = fork();
        if (pid == 0) {
            char c;
            for (int i = 0; i < 1200; i += 3) sum += shared[i * kPage];
            NEED(write(done[1], "", 1) == 1 && read(go[0], &c, 1) == 1);
            say("child: %s, %s\n", touch(shared + 50 * kPage, 0), touch(shared + 600 * kPage, 0));
            _exit(0);
        }
        char c;
        NEED(read(done[0], &c, 1) == 1);
        cut(way, fd);
        say("shared: %s, %s, %s\n", touch(shared + 50 * kPage, 0), touch(shared + 600 * kPage, 0),
            touch(shared + 1199 * kPage, 1));
        say("private, written: %s, not: %s\n", touch(private + 600 * kPage, 0), touch(private + 601 * kPage, 0));
        NEED(write(go[1], "", 1) == 1);
        reap("child", pid);
        NEED(ftruncate(fd, 1200 * kPage) == 0);
        int ones = 0, bytes[3] = {0};
        for (int i = 0; i < 1200; i++) {
            bytes[shared[i * kPage + 8] == 0 ? 0 : shared[i * kPage + 8] == 0x77 ? 1 : 2]++;
            ones += private[i * kPage] == 1;
        }
        say("longer again: zeros %d, old %d, other %d\n", bytes[0], bytes[1], bytes[2]);
        if (way == 1 || way == 3) say("private ones %d\n", ones);
        munmap(shared, 1200 * kPage);
        munmap(private, 1200 * kPage);
        close(fd);
        unlink("file");
        close(go[0]), close(go[1]), close(done[0]), close(done[1]);
    }
    SHOW(free_kib() > 0);
}
// Cut and grown again and again by two, in a file system that has room for little more than one of them.
TEST(cut_and_fill) {
    NEED(mkdir("small", 0700) == 0);
    NEED(mount("none", "small", "tmpfs", 0, "size=4000k") == 0);
    int fd = big_file("small/file", 0), full = 0;
    static char data[900 * kPage];
    for (int i = 0; i < 30; i++) {
        full += pwrite(fd, data, sizeof data, 0) != sizeof data;
        struct statfs s;
        NEED(statfs("small", &s) == 0);
        full += s.f_bfree != 100;
        if (i % 3 == 0) NEED(ftruncate(fd, 0) == 0);
        if (i % 3 == 1) NEED(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, sizeof data) == 0);
        if (i % 3 == 2) close(open("small/file", O_WRONLY | O_TRUNC));
        NEED(statfs("small", &s) == 0);
        full += s.f_bfree != 1000;
    }
    SHOW(full);
    close(fd);
    OKAY(umount("small"));
    rmdir("small");
}
