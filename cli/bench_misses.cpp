// SPDX-License-Identifier: MIT
// `farcall bench task0 ... --misses`: instructions and modelled misses of the works over routes, in place of times, which mean
// nothing under the model. bench/routes.c marks each run, and one with the base count before it; the difference of the two
// over the units of work beyond the base is the cost of a unit.
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/batch.hpp"
#include "cli/bench.hpp"
#include "cli/misses.hpp"
#include "cli/route.hpp"
#include "cli/stats.hpp"

namespace cli {

namespace {

using namespace cache_model;
using Json = nlohmann::ordered_json;

constexpr int kRuns = 3;
constexpr int kBaseRow = 1, kRunRow = 2;  // bench/routes.c
constexpr long kFiles = 1200, kThesisFiles = 4000;

// What one work does with one setting: of each run, everything and what is beyond the base.
struct Cell {
    std::string work, setting;
    std::vector<CpuMisses> runs, beyond;
    double units = 0;             // beyond the base
    std::vector<double> seconds;  // of each run, under the model
};

struct Unit {
    const char* name;
    double each;  // of one repetition
    long base;    // repetitions of the base count
};
Unit unit_of(const std::string& work, bool thesis) {
    if (work == "task0" || work == "task3") return {"call", 2, 0};
    if (work == "task1" || work == "task4") return {"file", static_cast<double>(thesis ? kThesisFiles : kFiles), 0};
    if (work == "task2" || work == "task5") return {"file", 1, 1};
    if (work == "pipe" || work == "pipe_two") return {"call", 2, 0};
    if (work == "mix") return {"round", 1, 0};
    return {"call", 1, 0};
}

// The lines `run` of the guest and the intervals of the plugin come in the same order.
bool add_runs(std::map<std::string, Cell>& cells, const Setting& setting, const GuestRecord& record,
              const MissFile& file, bool thesis) {
    size_t run = 0;
    CpuMisses base;
    for (const auto& [row, misses] : file.intervals) {
        if (row == kBaseRow) base = misses;
        if (row != kRunRow || run >= record.runs.size()) continue;
        const WorkRun& did = record.runs[run++];
        Cell& cell = cells[did.work + " " + setting.name];
        const Unit unit = unit_of(did.work, thesis);
        cell.work = did.work;
        cell.setting = setting.name;
        cell.units = static_cast<double>(did.count - unit.base) * unit.each * did.processes;
        cell.seconds.push_back(did.ns / 1e9);
        cell.runs.push_back(misses);
        cell.beyond.push_back(misses - base);
    }
    return run == record.runs.size();
}

// Misses of a unit of work, all CPUs together.
struct PerUnit {
    std::array<double, kFields> all, but_spin;
};
PerUnit per_unit(const Cell& cell) {
    CpuMisses beyond = median_of(cell.beyond);
    // The base may have spun for longer than the run.
    for (Misses& cpu : beyond)
        for (double& value : cpu[kSpin]) value = std::max(value, 0.0);
    PerUnit result{sum_of(beyond, true), sum_of(beyond, false)};
    for (auto* sums : {&result.all, &result.but_spin})
        for (double& value : *sums) value = std::max(value, 0.0) / cell.units;
    return result;
}

std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, value >= 1000 ? "%.0f" : value >= 10 ? "%.1f" : "%.3f", value);
    return text;
}

TextRow table_row(const Cell& cell, bool thesis) {
    const CpuMisses run = median_of(cell.runs);
    const auto sum = sum_of(run, false);
    const PerUnit unit = per_unit(cell);
    TextRow row{cell.work, cell.setting, unit_of(cell.work, thesis).name, number(unit.but_spin[kInstructions]),
                number(unit.all[kInstructions])};
    for (const MissColumn& column : kMissColumns) row.push_back(number(per_thousand(sum, column.field)));
    for (Field field : {kL1d, kLlc, kDtlb}) row.push_back(number(unit.but_spin[field]));
    return row;
}
TextRow table_head() {
    TextRow head{"work", "setting", "unit", "instr/unit", "with spin"};
    for (const MissColumn& column : kMissColumns) head.push_back(column.heading);
    for (const char* name : {"L1D/unit", "LLC/unit", "DTLB/unit"}) head.push_back(name);
    return head;
}

Json cell_json(const Cell& cell, bool thesis) {
    const CpuMisses run = median_of(cell.runs);
    const PerUnit unit = per_unit(cell);
    Json item{
        {"work", cell.work},       {"setting", cell.setting},  {"unit", unit_of(cell.work, thesis).name},
        {"units", cell.units},     {"runs", cell.runs.size()}, {"seconds_under_model", quantile(cell.seconds, 0.5)},
        {"cpus", misses_json(run)}};
    for (bool spin : {false, true}) {
        const auto sum = sum_of(run, spin);
        const auto& each = spin ? unit.all : unit.but_spin;
        const std::string suffix = spin ? "_with_spin" : "";
        for (const MissColumn& column : kMissColumns)
            item["per_1000" + suffix][kFieldNames[column.field]] = per_thousand(sum, column.field);
        for (unsigned field = 0; field < kFields; ++field) item["per_unit" + suffix][kFieldNames[field]] = each[field];
    }
    return item;
}

// Rows as the other benchmarks have them: ratios of remote to inline, with the goal of last-level and TLB misses.
Json ratio_rows(const std::map<std::string, Cell>& cells) {
    Json rows = Json::array();
    for (const auto& [name, cell] : cells) {
        auto base = cells.find(cell.work + " inline1");
        if (cell.setting == "inline1" || base == cells.end()) continue;
        const PerUnit over = per_unit(cell), under = per_unit(base->second);
        const bool judged =
            cell.setting == "remote" && (cell.work == "task1" || cell.work == "task3" || cell.work == "task4");
        for (Field field : {kInstructions, kL1d, kL1i, kLlc, kItlb, kDtlb}) {
            for (bool spin : {false, true}) {
                const double a = (spin ? over.all : over.but_spin)[field],
                             b = (spin ? under.all : under.but_spin)[field];
                Json row{{"name", cell.work + "_" + cell.setting + "_over_inline_" + kFieldNames[field] +
                                      (spin ? "_with_spin" : "")},
                         {"unit", field == kInstructions ? "ratio of instructions" : "ratio of misses"}};
                row["value"] = b > 0 ? Json(a / b) : Json(nullptr);
                const bool goal = judged && !spin && (field == kLlc || field == kItlb || field == kDtlb);
                row["goal"] = goal ? Json(1.0) : Json(nullptr);
                if (goal) row["status"] = a <= b ? "met" : "missed";
                row["counts"] = {a, b};
                rows.push_back(std::move(row));
            }
        }
    }
    return rows;
}

void write_markdown(const BenchOptions& options, const std::vector<TextRow>& table) {
    std::string names;
    for (const std::string& name : options.names) names += " " + name;
    std::string text =
        "Misses of modelled caches and TLBs per 1,000 instructions of all CPUs, spinning left out; by `./farcall "
        "bench" +
        names + " --misses`.\ndocs/benchmarks.md says what the columns mean and what the model leaves out.\n\n- " +
        bench_machine("1 and 2 CPUs", options.cpu, options.on_linux ? "Farcall and " + oracle_version() : "Farcall") +
        ", commit " + bench_commit() + "\n- caches of " + options.caches + "; medians of " +
        std::to_string(options.runs) + " runs, " + std::to_string(options.percent) + " % of the " +
        (options.thesis ? "thesis's" : "default") + " counts\n\n";
    for (size_t i = 0; i < table.size(); ++i) {
        text += "|";
        for (const std::string& cell : table[i]) text += " " + cell + " |";
        text += "\n";
        if (i > 0) continue;
        text += "|";
        for (size_t column = 0; column < table[i].size(); ++column) text += column < 3 ? "---|" : "--:|";
        text += "\n";
    }
    const std::string before = fs::exists(options.markdown) ? read_file(options.markdown) : "";
    write_file(options.markdown, with_section(before, "# Results", "Misses of caches and TLBs", text));
}

}  // namespace

int bench_misses_command(const BenchOptions& given) {
    BenchOptions options = given;
    if (options.runs == 0) options.runs = kRuns;
    check_model(options.caches);
    const std::vector<std::string> works = works_of(options.names);
    const std::vector<Setting> settings = settings_of(options.routes, options.on_linux);
    if (!options.profile.empty() || !options.rows.empty()) fail("bench: --profile and --row belong to `bench syscall`");
    for (const Setting& setting : settings) check_route(setting.route.empty() ? "inline" : setting.route, setting.cpus);

    std::map<std::string, Cell> cells;
    int lost = 0;
    for (int run = 1; run <= options.runs; ++run) {
        for (const Setting& setting : settings) {
            if (::isatty(2)) std::fprintf(stderr, "\r\033[Krun %d of %d: %s", run, options.runs, setting.name.c_str());
            TempDir scratch;
            const fs::path out = scratch.path() / "misses";
            std::vector<std::string> words = routes_words(options, setting);
            words.insert(words.end(), works.begin(), works.end());
            RoutesBoot boot = run_routes_guest(options, setting, words, [&](MachineSpec& spec) {
                count_misses(spec, out, options.caches, setting.route.empty(), setting.server());
            });
            const MissFile file = read_misses(fs::exists(out) ? read_file(out) : "");
            for (const auto& [work, text] : boot.record.failed) boot.problem += " " + work + " failed: " + text;
            // Into a copy: a run that turns out to be bad leaves nothing.
            std::map<std::string, Cell> with = cells;
            if (boot.problem.empty() && !add_runs(with, setting, boot.record, file, options.thesis))
                boot.problem = "the plugin counted fewer runs than the guest made";
            if (boot.problem.empty()) {
                cells = std::move(with);
                continue;
            }
            ++lost;
            std::fprintf(stderr, "farcall: %s left out: %s\n", setting.name.c_str(), boot.problem.c_str());
        }
    }
    if (::isatty(2)) std::fputs("\r\033[K", stderr);

    std::vector<TextRow> table{table_head()};
    Json items = Json::array();
    for (const std::string& work : works) {
        for (const Setting& setting : settings) {
            auto cell = cells.find(work + " " + setting.name);
            if (cell == cells.end()) continue;
            table.push_back(table_row(cell->second, options.thesis));
            items.push_back(cell_json(cell->second, options.thesis));
        }
    }
    std::printf("misses per 1,000 instructions of all CPUs, spinning left out; caches of %s\n%s",
                options.caches.c_str(), aligned(table, 3).c_str());
    if (!options.markdown.empty()) write_markdown(options, table);
    if (!options.json.empty()) {
        Json json{{"kind", "misses"},
                  {"rows", ratio_rows(cells)},
                  {"model", options.caches},
                  {"misses", items},
                  {"machine", bench_machine("1 and 2 CPUs", options.cpu,
                                            options.on_linux ? "Farcall and " + oracle_version() : "Farcall")},
                  {"commit", bench_commit()},
                  {"runs", options.runs},
                  {"percent", options.percent},
                  {"sizes", options.thesis ? "thesis" : "usual"},
                  {"left_out", lost}};
        write_file(options.json, json.dump(1) + "\n");
    }
    return cells.empty() || lost != 0 ? 1 : 0;
}

}  // namespace cli
