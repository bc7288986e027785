// SPDX-License-Identifier: MIT
// Shared by the tests of what is given back late (reclaim.c, reclaim_cut.c): what is free, and what was left for later.
#ifndef FARCALL_TESTS_LINUX_RECLAIM_H
#define FARCALL_TESTS_LINUX_RECLAIM_H

#include "check.h"

#include <sys/statfs.h>
#include <sys/sysinfo.h>

enum { kPage = 4096, kPages = 3000 };
static const char kModules[] = "/proc/farcall/modules";

UNUSED static char* memory(size_t pages, int flags) {
    char* p = mmap(NULL, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
    NEED(p != MAP_FAILED);
    return p;
}
// Populated: a fault for each page would take most of the time of the tests.
UNUSED static char* fresh(size_t pages) { return memory(pages, MAP_POPULATE); }
UNUSED static void fill(volatile void* at, size_t pages, int value) {
    char* p = (char*)at;
    for (size_t i = 0; i < pages; i++) memset(p + i * kPage, value, 64);
}
UNUSED static size_t read_text(const char* path, char* text, size_t room) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    if (fd >= 0)
        for (ssize_t n; (n = read(fd, text + used, room - 1 - used)) > 0;) used += (size_t)n;
    if (fd >= 0) close(fd);
    text[used] = 0;
    return used;
}
// What a module's line says. Without a place elsewhere (or without modules: Linux) nothing need be left for later.
struct module {
    char place[32];
    long migrations, frames;
};
UNUSED static struct module module(const char* name) {
    static char text[8192];
    struct module m = {"inline", 0, 0};
    char start[16], policy[16];
    read_text(kModules, text, sizeof text);
    snprintf(start, sizeof start, "\n%s ", name);
    char* line = strstr(text, start);
    long calls, batches, most, w1, w2, s1, s2, hops, items;
    if (line)
        NEED(sscanf(line + strlen(start), "%31s %15s %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld %ld", m.place, policy,
                    &calls, &batches, &most, &w1, &w2, &s1, &s2, &m.migrations, &hops, &items, &m.frames) == 13);
    return m;
}
// Were at least so many frames left to the module since then, if it had its place all the time?
UNUSED static void show_left(const char* name, struct module before, long frames) {
    struct module now = module(name);
    int known = now.migrations == before.migrations && strcmp(now.place, "inline") != 0;
    FACT("left to the module where it has a place", !known || now.frames - before.frames >= frames);
}

UNUSED static long free_kib(void) {
    static char text[4096];
    read_text("/proc/meminfo", text, sizeof text);
    char* at = strstr(text, "MemFree:");
    return at ? atol(at + 8) : -1;
}
// Is memory free again but for what caches of the kernel may keep? Both places that tell.
UNUSED static void show_memory_back(long before_kib) {
    long now = free_kib();
    struct sysinfo info;
    NEED(sysinfo(&info) == 0);
    FACT("MemFree is back", now > before_kib - 3000);
    FACT("freeram is back", (long)(info.freeram * info.mem_unit / 1024) > before_kib - 3000);
}
UNUSED static long free_blocks(void) {
    struct statfs s;
    NEED(statfs("/tmp", &s) == 0);
    return (long)s.f_bfree;
}
UNUSED static int big_file(const char* name, int pages) {
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    NEED(fd >= 0);
    char page[kPage];
    memset(page, 0x77, sizeof page);
    for (int i = 0; i < pages; i++) NEED(write(fd, page, sizeof page) == sizeof page);
    return fd;
}

#endif
