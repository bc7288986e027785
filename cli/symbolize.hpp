// SPDX-License-Identifier: MIT
// Adds function, file and line to the kernel addresses in a log.
#pragma once
#include <string>

#include "cli/util.hpp"

namespace cli {
std::string symbolize(const std::string& log, const fs::path& kernel);
}  // namespace cli
