// SPDX-License-Identifier: MIT
// What the programs of this folder share: random numbers that a seed decides, and the words of the command line.
#pragma once
#include <string_view>

#include "sysapi/program.hpp"

namespace seeded {

// xorshift64*. Each thread of a seed has a stream of its own.
struct Random {
    u64 state;
    void start(u64 seed, u64 stream) {
        state = (seed * 31 + stream + 1) * 0x9e37'79b9'7f4a'7c15;
        for (int n = 0; n < 4; ++n) (void)next();
    }
    u64 next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state * 0x2545'f491'4f6c'dd1d >> 16;
    }
    u64 below(u64 n) { return next() % n; }
    bool one_in(u64 n) { return below(n) == 0; }
};

// The number that is word `word` of the program's command line; 0 if there is none.
inline u64 argument(u64 word) {
    const std::string_view line = native::boot_info().command_line;
    u64 value = 0;
    for (u64 at = 0, n = 0; at < line.size(); ++at) {
        if (line[at] == ' ')
            ++n;
        else if (n == word && line[at] >= '0' && line[at] <= '9')
            value = value * 10 + u64(line[at] - '0');
    }
    return value;
}

// One line about a seed, as cli/random_test.cpp reads it; true if it failed. `why`: null if it did not.
inline bool report(u64 seed, const char* why) {
    if (why)
        native::print("seed {} FAIL {}\n", seed, std::string_view(why));
    else
        native::print("seed {} ok\n", seed);
    return why != nullptr;
}

}  // namespace seeded
