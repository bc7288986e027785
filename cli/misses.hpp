// SPDX-License-Identifier: MIT
// Misses of the modelled caches and TLBs (tools/cache_model), as the plugin writes them (tools/miss_plugin): reading its
// file, tables, JSON. misses_machine.cpp starts the plugin.
#pragma once
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/util.hpp"
#include "tools/cache_model/counters.hpp"

namespace cli {

struct MachineSpec;

// What one CPU executed and missed, by kind of code.
using Misses = std::array<std::array<double, cache_model::kFields>, cache_model::kCodes>;
// Every CPU's, by number.
using CpuMisses = std::vector<Misses>;

struct MissFile {
    CpuMisses boot, total;  // until the first instruction of a program; until the end
    bool booted = false, whole = false;
    // Intervals between markers, in the order in which they ended.
    std::vector<std::pair<int, CpuMisses>> intervals;
};
// Lines that are not the plugin's are left out.
MissFile read_misses(std::string_view text);

CpuMisses operator-(const CpuMisses& a, const CpuMisses& b);
// Value by value, of as many CPUs as the first has. Throws Failure without any.
CpuMisses median_of(const std::vector<CpuMisses>& runs);

// Of all CPUs, and all kinds of code or all but spinning.
std::array<double, cache_model::kFields> sum_of(const CpuMisses& cpus, bool with_spin);
double per_thousand(const std::array<double, cache_model::kFields>& counts, cache_model::Field field);

// The fields that are misses, and their headings.
struct MissColumn {
    cache_model::Field field;
    const char* heading;
};
inline constexpr MissColumn kMissColumns[] = {
    {cache_model::kL1i, "L1I"},          {cache_model::kL1d, "L1D"},          {cache_model::kL2, "L2"},
    {cache_model::kLlc, "LLC"},          {cache_model::kItlb, "ITLB"},        {cache_model::kDtlb, "DTLB"},
    {cache_model::kItlbWalk, "I walks"}, {cache_model::kDtlbWalk, "D walks"}, {cache_model::kInvalidated, "taken"}};

// {"cpus": [{"user": {"instructions": N, ...}, ...}]}; kinds that executed nothing are left out.
nlohmann::ordered_json misses_json(const CpuMisses& cpus);
// Rows by CPU and kind of code, then sums; misses per 1,000 instructions of the row.
std::string misses_table(const CpuMisses& cpus);

// Throws Failure when the text is no model.
void check_model(const std::string& model);
// Lets the machine count into `out`. Linux: Debian's kernel, which then starts without KASLR.
void count_misses(MachineSpec& spec, const fs::path& out, const std::string& model, bool on_linux, bool server);

// For `run --misses`: the table, or {"model", "boot", "run"} as JSON, of what the plugin wrote.
std::string misses_report(const fs::path& out, const std::string& model, bool json);

}  // namespace cli
