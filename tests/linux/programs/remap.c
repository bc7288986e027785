// SPDX-License-Identifier: MIT
// remap_file_pages(2), and MADV_COLLAPSE where no huge page fits.
#include "check.h"

#define REMAP(at, size, prot, page, flags) syscall(SYS_remap_file_pages, at, size, prot, page, flags)
static void show_pages(const volatile char* m, int pages) {
    char text[64];
    for (int i = 0; i < pages; i++) text[i] = m[i * 4096] ? m[i * 4096] : '.';
    say("  %.*s\n", pages, text);
}
TEST(remap_file_pages) {
    enum { kPage = 4096 };
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    NEED(fd >= 0 && ftruncate(fd, 8 * kPage) == 0);
    for (int i = 0; i < 8; i++) NEED(pwrite(fd, &"abcdefgh"[i], 1, i * kPage) == 1);
    char* m = mmap(NULL, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    NEED(m != MAP_FAILED);
    CALL(REMAP(m, kPage, 0, 7, 0));
    CALL(REMAP(m + 2 * kPage, 2 * kPage, 0, 0, 0));
    show_pages(m, 8);
    m[2 * kPage] = 'A';
    show_pages(m, 8);
    CALL(REMAP(m + 100, kPage + 100, 0, 1, 0));
    CALL(REMAP(m + kPage, 3 * kPage, 0, 4, MAP_NONBLOCK));
    show_pages(m, 8);
    CALL(REMAP(m, kPage, PROT_READ, 0, 0));
    CALL(REMAP(m, 0, 0, 0, 0));
    CALL(REMAP(m, 100, 0, 0, 0));
    CALL(REMAP(m, -1ul, 0, 0, 0));
    CALL(REMAP(m, kPage, 0, -1ul, 0));
    CALL(REMAP(m, kPage, 0, 1ul << 52, 0));
    CALL(REMAP(m, 9 * kPage, 0, 0, 0));
    CALL(REMAP(8, kPage, 0, 0, 0));
    CALL(REMAP(m, kPage, 0, 100, 0));
    TOUCH_READ(m);
    show_pages(m + kPage, 7);
    say("read-only\n");
    char* r = mmap(NULL, 4 * kPage, PROT_READ, MAP_SHARED, fd, 0);
    CALL(REMAP(r, kPage, 0, 3, 0));
    TOUCH_READ(r);
    TOUCH_WRITE(r);
    NEED(mprotect(r + 2 * kPage, kPage, PROT_NONE) == 0);
    CALL(REMAP(r + kPage, 2 * kPage, 0, 3, 0));
    say("private\n");
    char* o = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CALL(REMAP(o, kPage, 0, 3, 0));
    say("anonymous\n");
    char* s = mmap(NULL, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 4; i++) s[i * kPage] = "wxyz"[i];
    CALL(REMAP(s, 2 * kPage, 0, 2, 0));
    show_pages(s, 4);
    CALL(REMAP(s + 3 * kPage, kPage, 0, 0, 0));
    s[3 * kPage] = 'W';
    show_pages(s, 4);
    CHILD("child") {
        s[0] = 'Y';
        show_pages(s, 4);
    }
    show_pages(s, 4);
    say("two files\n");
    int other = open("g", O_CREAT | O_RDWR, 0600);
    NEED(ftruncate(other, kPage) == 0);
    NEED(mmap(m + kPage, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, other, 0) != MAP_FAILED);
    CALL(REMAP(m, 2 * kPage, 0, 0, 0));
    CALL(REMAP(m + kPage, kPage, 0, 0, 0));
}

TEST(collapse_of_what_is_small) {
    enum { kCollapse = 25 };
    char* m = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m[0] = 1;
    CALL(madvise(m, 16384, kCollapse));
    CALL(madvise(m, 0, kCollapse));
    CALL(madvise(m + 1, 16384, kCollapse));
}
