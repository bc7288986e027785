// SPDX-License-Identifier: MIT
// Says once in a while that it lives: a program to run beside the Linux server, which it does not need.
//     ./farcall run --route server --native examples/ticker -- busybox sleep 1
// Words: how often (10), and after how many milliseconds each time (100).
#include "lib/format.hpp"
#include "sysapi/program.hpp"

namespace {

using namespace native;

// The n-th word of the command line, the program's name being the first, as a number; otherwise what is given.
u64 word(u32 n, u64 otherwise) {
    std::string_view line = boot_info().command_line;
    for (; n > 0; --n) {
        const size_t space = line.find(' ');
        if (space == line.npos) return otherwise;
        line.remove_prefix(space + 1);
    }
    u64 value;
    return lib::parse_u64(line.substr(0, line.find(' ')), value) ? value : otherwise;
}

}  // namespace

int native_main() {
    const u64 ticks = word(1, 10), period = word(2, 100) * 1'000'000;
    auto n = make(kTypeNotification);
    if (!n.ok()) return 1;
    const u64 start = now();
    for (u64 tick = 1; tick <= ticks; ++tick) {
        // Nobody signals it: the end of the time is what is waited for.
        for (u64 at = start + tick * period, t; (t = now()) < at;) {
            utcb().timeout = at - t;
            Message m;
            (void)receive(n.value(), m, kTimed);
        }
        print("ticker: {} of {}\n", tick, ticks);
    }
    return 0;
}
