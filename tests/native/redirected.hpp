// SPDX-License-Identifier: MIT
// Threads without a stack or a page that a server has (their code: redirected_part.cpp), for the tests of servers.
#pragma once
#include "tests/native/ktest.hpp"

// Makes system call 39 for ever; its first argument (word 3 of the message) is what the one before gave, rdi at first.
extern "C" const char ktest_client[];
// Counts at the address in rdi for ever. An invalid instruction.
extern "C" const char ktest_spinner[], ktest_stop[];
// The first argument of its system calls is what is in XMM0 (rdi at first), or at the address that was in rdi, or at
// the bases of GS and FS.
extern "C" const char ktest_fpu_client[], ktest_reader[], ktest_base_client[];

namespace ktest {

// A redirected thread whose handler is `e`.
inline Helper& client(Slot e, u64 value, u64 cpu, u64 priority = kDefaultPriority, u64 pc = u64(&ktest_client)) {
    return start_at(pc, value,
                    {.priority = priority, .cpu = cpu, .handler = e, .flags = kRedirect, .with_utcb = false});
}

}  // namespace ktest
