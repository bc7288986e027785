// SPDX-License-Identifier: MIT
// `farcall test figures`: counts the rows of `bench syscall` and `bench ipc` and compares them with bench/baseline.json.
// A row may exceed its baseline by kShare or kAllowance instructions, whichever is more; the baseline is never raised.
// With one CPU, counts of guest instructions do not depend on how busy the host is. Rows with two CPUs do: a CPU that waits for
// another one takes another path when the host stops that one. They are compared only when asked for.
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/tests.hpp"
#include "cli/util.hpp"

namespace cli {

namespace {

constexpr double kShare = 0.02, kAllowance = 3;
// The least of so many counts is compared. With two CPUs a busy host decides now and then whether a CPU sleeps.
constexpr int kTries = 3, kTriesOfTwo = 30;

using Figures = std::map<std::string, double>;

// Rows of `bench NAME` that were counted. `rows` empty: all that are counted; `boot_wall` and `boot_memory` are not.
Figures count_figures(const std::string& name, const std::set<std::string>& rows, std::string& output) {
    TempDir scratch;
    fs::path json_path = scratch.path() / "figures.json";
    std::string command = "exec '" + (build_dir() / "host" / "farcall-tool").string() + "' bench " + name +
                          " --json '" + json_path.string() + "'";
    for (const std::string& row : rows) command += " --row " + row;
    CommandResult run = run_shell(command, 900);
    output = run.output;
    Figures figures;
    if (!fs::exists(json_path)) return figures;
    auto json = nlohmann::json::parse(read_file(json_path), nullptr, false);
    if (json.is_discarded() || !json.contains("rows")) return figures;
    for (const auto& row : json["rows"])
        if (row.contains("value") && row["value"].is_number()) figures[row.value("name", "")] = row["value"];
    return figures;
}

double limit_of(double baseline) { return baseline + std::max(kAllowance, baseline * kShare); }

std::set<std::string> above_limit(const Figures& baseline, const Figures& now) {
    std::set<std::string> above;
    for (const auto& [name, value] : baseline) {
        auto row = now.find(name);
        if (row == now.end() || row->second > limit_of(value)) above.insert(name);
    }
    return above;
}

// `owed`: rows that may exceed their limit up to a count of their own (bench/baseline.json says why).
void compare(Tally& tally, const std::string& name, const Figures& baseline, const nlohmann::json& owed,
             int most_tries) {
    Figures least;
    std::set<std::string> wanted;
    for (const auto& [row, value] : baseline) wanted.insert(row);
    std::string output;
    for (int tries = 0; tries < most_tries && !wanted.empty(); ++tries) {
        for (const auto& [row, value] : count_figures(name, wanted, output)) {
            auto [known, added] = least.try_emplace(row, value);
            if (!added) known->second = std::min(known->second, value);
        }
        wanted = above_limit(baseline, least);
        std::erase_if(wanted, [&](const std::string& row) {
            auto debt = owed.find(name + "/" + row);
            return debt != owed.end() && least.count(row) && least[row] <= (*debt)["limit"].get<double>();
        });
    }
    for (const auto& [row, value] : baseline) {
        auto found = least.find(row);
        char why[160] = "not counted";
        if (found != least.end())
            std::snprintf(why, sizeof why, "%.1f kernel instructions, baseline %.1f, limit %.1f", found->second, value,
                          limit_of(value));
        tally.check(!wanted.count(row), "figures/" + name + "/" + row, why);
    }
    if (least.empty()) tally.check(false, "figures/" + name, "the benchmark gave no row:\n" + output);
}

}  // namespace

Tally test_figures(bool two_cpus) {
    Tally tally;
    fs::path path = source_dir() / "bench" / "baseline.json";
    auto json = nlohmann::json::parse(read_file(path), nullptr, false);
    if (json.is_discarded()) {
        tally.check(false, "figures", path.string() + " is not JSON");
        return tally;
    }
    for (const auto& [name, rows] : json.at("benchmarks").items())
        compare(tally, name, rows.get<Figures>(), json.at("owed"), kTries);
    if (two_cpus)
        for (const auto& [name, rows] : json.at("two_cpus").items())
            compare(tally, name, rows.get<Figures>(), json.at("owed"), kTriesOfTwo);
    return tally;
}

}  // namespace cli
