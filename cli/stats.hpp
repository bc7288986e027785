// SPDX-License-Identifier: MIT
// What the kernel counted, for people.
#pragma once
#include <string>

namespace cli {

// Two tables and a line about the whole machine, from the JSON object behind `stats` (docs/control-channel.md); one line
// that says so if it is empty or something else.
std::string stats_table(const std::string& json);

}  // namespace cli
