// SPDX-License-Identifier: MIT
// Differences between two texts, for the report of a failed comparison.
#pragma once
#include <string>

namespace cli {
// A unified diff with three lines of context; empty when equal.
std::string unified_diff(const std::string& want, const std::string& got, const std::string& want_name,
                         const std::string& got_name);
}  // namespace cli
