// SPDX-License-Identifier: MIT
// Counted rows of `farcall bench syscall`: one guest with one CPU runs bench/syscall.c while the plugin counts.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.hpp"

namespace cli {

// Instructions of one operation, those of the programs left out; `calls`: system calls of the programs.
struct RowCount {
    double kernel = 0, server = 0, calls = 0;
    double sum() const { return kernel + server; }
};
struct CountedRows {
    std::map<std::string, RowCount> counts;
    std::map<std::string, std::string> errors;  // rows without a count: why
};

// The route is options.route, or Linux. Of the intervals of a row, and of the runs, that with the median sum counts. The
// row `boot` is everything until the first user instruction.
CountedRows count_syscall_rows(const BenchOptions& options, const std::vector<std::string>& names);

// `busybox true`: median seconds from QEMU's start to its end, and the least memory with which it runs. None: it does not.
std::optional<double> boot_seconds(const BenchOptions& options);
std::optional<double> boot_mebibytes(const BenchOptions& options);

// Prints where the instructions of the row options.profile go; gives the tool's exit status.
int profile_syscall_row(const BenchOptions& options);

}  // namespace cli
