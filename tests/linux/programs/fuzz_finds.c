// SPDX-License-Identifier: MIT
// What random calls (tests/fuzz) have found, each as a few calls of its own.
#include "check.h"

static void result(const char* what, long r) { say("%s: %s\n", what, r < 0 ? errno_name(errno) : "ok"); }

// mremap with an old length that reaches out of user memory, or wraps around, and a new one that is shorter.
TEST(remap_beyond) {
    static const unsigned long lengths[] = {0x7fffffffffff000, 0xffff800000000000, -4096ul, 0x7fffffffe000};
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; ++i) {
        char* p = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        char* low = (char*)0x10000000;
        NEED(p != MAP_FAILED);
        p[0] = 1;
        say("length %lx\n", lengths[i]);
        result("in place", syscall(SYS_mremap, p, lengths[i], 4096, 0, 0));
        result("to a place", syscall(SYS_mremap, p, lengths[i], 4096, MREMAP_MAYMOVE | MREMAP_FIXED, low));
        result("longer", syscall(SYS_mremap, p, lengths[i], lengths[i] + 4096, MREMAP_MAYMOVE, 0));
        SHOW(p[0]);
    }
}
