// SPDX-License-Identifier: MIT
// Stretches with interrupts off, counted by tools/stretch_plugin; on one CPU under `-icount shift=0,sleep=off` for the
// test, as the machine is for `run --stats`.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "cli/machine.hpp"

namespace cli {

// The longest stretch with interrupts off that is allowed, in guest instructions.
inline constexpr uint64_t kLongestStretch = 100'000;

struct Stretch {
    unsigned marks = 0;  // how many cases of the batch had begun
    uint64_t instructions = 0;
    std::string call;                  // the name of the call that was entered last, or "trap"
    std::vector<std::string> samples;  // addresses of the kernel inside it, oldest first
};

// Counts the instructions of a machine, which takes it longer: its longest stretch, and each of more than `limit` (0: none).
void count_longest_stretch(MachineSpec& spec, const fs::path& out, uint64_t limit = 0);
// Makes a machine of one CPU write its stretches of more than kLongestStretch to `out`, and its longest one at its end.
void measure_stretches(MachineSpec& spec, const fs::path& out);
// Those that were written since the last call with the same `from`, which starts as 0 and moves on.
std::vector<Stretch> read_stretches(const fs::path& out, size_t& from);
// The longest stretch; only after the machine has ended.
Stretch longest_stretch(const fs::path& out);
// "f 60 %, g 40 %": where the samples of some stretches lie.
std::string where_spent(const std::vector<Stretch>& stretches, const fs::path& kernel);

// The exceptions: tests/linux/stretches.txt, lines `CALL INSTRUCTIONS REASON`.
struct StretchException {
    uint64_t instructions = 0;
    std::string reason;
};
std::map<std::string, StretchException> load_stretch_exceptions();

}  // namespace cli
