// SPDX-License-Identifier: MIT
// Reading and showing modelled misses: see misses.hpp.
#include "cli/misses.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <sstream>

#include "cli/stats.hpp"
#include "tools/cache_model/shape.hpp"

namespace cli {

namespace {

using namespace cache_model;

constexpr size_t kMostCpus = 64;

std::string fixed(double value, int digits) {
    char text[48];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

void add(std::array<double, kFields>& to, const std::array<double, kFields>& values) {
    for (unsigned field = 0; field < kFields; ++field) to[field] += values[field];
}

}  // namespace

MissFile read_misses(std::string_view text) {
    MissFile file;
    for (const std::string& line : split_lines(text)) {
        std::istringstream words(line);
        std::string verb, kind_name;
        int row = 0;
        size_t cpu;
        if (!(words >> verb) || (verb != "boot" && verb != "total" && verb != "count")) continue;
        if (verb == "count" && !(words >> row)) continue;
        if (!(words >> cpu >> kind_name) || cpu >= kMostCpus) continue;
        const auto* kind = std::find(std::begin(kCodeNames), std::end(kCodeNames), kind_name);
        std::array<double, kFields> values{};
        for (double& value : values) words >> value;
        if (kind == std::end(kCodeNames) || !words) continue;
        // CPU 0's first kind begins an interval.
        if (verb == "count" && cpu == 0 && kind == std::begin(kCodeNames))
            file.intervals.emplace_back(row, CpuMisses{});
        if (verb == "count" && file.intervals.empty()) continue;
        (verb == "boot" ? file.booted : file.whole) |= verb != "count";
        CpuMisses& cpus = verb == "boot" ? file.boot : verb == "total" ? file.total : file.intervals.back().second;
        if (cpus.size() <= cpu) cpus.resize(cpu + 1);
        cpus[cpu][static_cast<size_t>(kind - std::begin(kCodeNames))] = values;
    }
    return file;
}

CpuMisses operator-(const CpuMisses& a, const CpuMisses& b) {
    CpuMisses result = a;
    for (size_t cpu = 0; cpu < std::min(a.size(), b.size()); ++cpu)
        for (unsigned kind = 0; kind < kCodes; ++kind)
            for (unsigned field = 0; field < kFields; ++field) result[cpu][kind][field] -= b[cpu][kind][field];
    return result;
}

CpuMisses median_of(const std::vector<CpuMisses>& runs) {
    if (runs.empty()) fail("nothing was counted");
    CpuMisses result = runs[0];
    for (size_t cpu = 0; cpu < result.size(); ++cpu) {
        for (unsigned kind = 0; kind < kCodes; ++kind) {
            for (unsigned field = 0; field < kFields; ++field) {
                std::vector<double> values;
                for (const CpuMisses& run : runs)
                    if (cpu < run.size()) values.push_back(run[cpu][kind][field]);
                std::sort(values.begin(), values.end());
                result[cpu][kind][field] = (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
            }
        }
    }
    return result;
}

std::array<double, kFields> sum_of(const CpuMisses& cpus, bool with_spin) {
    std::array<double, kFields> sum{};
    for (const Misses& cpu : cpus)
        for (unsigned kind = 0; kind < kCodes; ++kind)
            if (with_spin || kind != kSpin) add(sum, cpu[kind]);
    return sum;
}

double per_thousand(const std::array<double, kFields>& counts, Field field) {
    return counts[kInstructions] > 0 ? 1000 * counts[field] / counts[kInstructions] : 0;
}

nlohmann::ordered_json misses_json(const CpuMisses& cpus) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Misses& cpu : cpus) {
        nlohmann::ordered_json item = nlohmann::ordered_json::object();
        for (unsigned kind = 0; kind < kCodes; ++kind) {
            if (cpu[kind][kInstructions] == 0) continue;
            for (unsigned field = 0; field < kFields; ++field)
                item[kCodeNames[kind]][kFieldNames[field]] = std::llround(cpu[kind][field]);
        }
        list.push_back(item);
    }
    return list;
}

std::string misses_table(const CpuMisses& cpus) {
    std::vector<TextRow> rows{{"cpu", "code", "instructions", "loads", "stores"}};
    for (const MissColumn& column : kMissColumns) rows[0].push_back(column.heading);
    auto row = [&](const std::string& cpu, const std::string& code, const std::array<double, kFields>& counts) {
        if (counts[kInstructions] == 0) return;
        TextRow cells{cpu, code, fixed(counts[kInstructions], 0), fixed(counts[kLoads], 0), fixed(counts[kStores], 0)};
        for (const MissColumn& column : kMissColumns) cells.push_back(fixed(per_thousand(counts, column.field), 3));
        rows.push_back(std::move(cells));
    };
    Misses all{};
    for (size_t cpu = 0; cpu < cpus.size(); ++cpu) {
        for (unsigned kind = 0; kind < kCodes; ++kind) {
            row(std::to_string(cpu), kCodeNames[kind], cpus[cpu][kind]);
            add(all[kind], cpus[cpu][kind]);
        }
    }
    for (unsigned kind = 0; cpus.size() > 1 && kind < kCodes; ++kind) row("all", kCodeNames[kind], all[kind]);
    row("all", "but spinning", sum_of(cpus, false));
    row("all", "everything", sum_of(cpus, true));
    return aligned(rows, 2);
}

void check_model(const std::string& model) {
    MachineShape shape;
    if (std::string wrong = read_model(shape, model); !wrong.empty()) fail("--caches " + model + ": " + wrong);
}

std::string misses_report(const fs::path& out, const std::string& model, bool json) {
    const MissFile file = read_misses(fs::exists(out) ? read_file(out) : "");
    if (!file.whole) return "farcall: nothing was counted: QEMU did not come to its end\n";
    const CpuMisses run = file.booted ? file.total - file.boot : file.total;
    if (json) {
        nlohmann::ordered_json result{
            {"kind", "run"}, {"model", model}, {"boot", misses_json(file.boot)}, {"run", misses_json(run)}};
        return result.dump() + "\n";
    }
    const auto sum = sum_of(run, true);
    return "misses per 1,000 instructions since the first instruction of a program; caches of " + model + "\n" +
           misses_table(run) + "translations dropped: " + fixed(sum[kSpaceFlushes], 0) +
           " times those of an address space or all, " + fixed(sum[kPageFlushes], 0) + " times a page's\n";
}

}  // namespace cli
