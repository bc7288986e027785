// SPDX-License-Identifier: MIT
// Names for kernel addresses.
#pragma once
#include <string>
#include <vector>

#include "cli/util.hpp"

namespace cli {
// Whose addresses: those of the kernel stand anywhere in a log, those of the Linux server in its backtraces ("#n 0x...").
enum class Symbols { kKernel, kServer };
// Adds function, file and line to the addresses in a log.
std::string symbolize(const std::string& log, const fs::path& image, Symbols of = Symbols::kKernel);
// For each address ("0x...") its function, and its source line ("file:line", innermost of what was inlined).
struct SourcePlace {
    std::string function, line;
};
std::vector<SourcePlace> places_of(const std::vector<std::string>& addresses, const fs::path& kernel);
}  // namespace cli
