// SPDX-License-Identifier: MIT
// What the kernel counted, for people.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace cli {

// Two tables and a line about the whole machine, from the JSON object of `stats` (docs/control-channel.md); one line
// that says so if it is empty or something else.
std::string stats_table(const std::string& json);

// Adds to that object what the machine was counted to do: the longest stretch with interrupts off, and its call.
void add_longest_stretch(std::string& json, const struct Stretch& longest);

// Each column as wide as its widest word; the first `left` columns begin with it, the others end with it.
using TextRow = std::vector<std::string>;
std::string aligned(const std::vector<TextRow>& rows, size_t left);

}  // namespace cli
