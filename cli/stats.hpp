// SPDX-License-Identifier: MIT
// What the kernel counted, for people.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace cli {

// Tables and a line about the whole machine, from the JSON object of `stats` (docs/control-channel.md); one line
// that says so if it is empty or something else.
std::string stats_table(const std::string& json);

// Adds to that object what the machine was counted to do: the longest stretch with interrupts off, and its call.
void add_longest_stretch(std::string& json, const struct Stretch& longest);

// Each column as wide as its widest word; the first `left` columns begin with it, the others end with it.
using TextRow = std::vector<std::string>;
std::string aligned(const std::vector<TextRow>& rows, size_t left);
// The same with a last column of any length, which begins with its words; the first column begins with them, too.
std::string with_last(const std::vector<TextRow>& rows, const std::vector<std::string>& last);
// `what count, ...`, the highest count first.
std::string ranked(const std::map<std::string, uint64_t>& counts);

}  // namespace cli
