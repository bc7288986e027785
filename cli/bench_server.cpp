// SPDX-License-Identifier: MIT
// `farcall bench syscall --route server`: the rows of `bench syscall` with Linux as a user-level server: instructions of
// kernel and server apart, and their sum over those of the inline route. What a goal is relative to is measured in the same
// run with the same processor: the inline route's rows, and the exception round trip of `bench ipc`.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/bench.hpp"
#include "cli/bench_counts.hpp"
#include "cli/bench_stats.hpp"

namespace cli {

namespace {

// What the goals are computed from.
struct Bases {
    std::optional<double> exception;  // an exception to a handler and back, instructions
    std::optional<double> inline_getpid;
};

struct Row {
    std::string name;
    std::optional<RowCount> server;
    std::optional<double> inlined, value;  // instructions, or what the unit says
    std::string unit = "instructions", error;
    std::optional<double> goal;
    std::string goal_is;  // in words
    std::optional<double> ratio() const {
        return value && inlined && *inlined > 0 ? std::optional(*value / *inlined) : std::nullopt;
    }
    std::string verdict() const {
        if (!goal) return "";
        return value ? *value <= *goal ? "met" : "missed" : "not measured";
    }
};

constexpr double kGetpidBeyond = 200;  // what getpid may take beyond an exception round trip
constexpr double kBeside = 1.05;       // of inline's instructions with exceptions in place of its traps

struct Goal {
    const char* name;
    double share;        // of inline
    bool by_exceptions;  // or kBeside of what is said there, if that is more
};
constexpr Goal kGoals[] = {{"task1", 1.35, true},
                           {"task2", 1.6, true},
                           {"fork_exit_wait", 2, false},
                           {"file_page_fault", 2, false},
                           {"pipe_round_trip", 2, false}};
constexpr double kBootSeconds = 0.5, kBootMebibytes = 24;

std::string number(std::optional<double> value, const char* format = "%.0f") {
    if (!value) return "-";
    char text[32];
    std::snprintf(text, sizeof text, format, *value);
    return text;
}

void set_goal(Row& row, const Bases& bases) {
    if (row.name == "getpid" && bases.exception) {
        row.goal = *bases.exception + kGetpidBeyond;
        row.goal_is = "exception round trip + 200";
    }
    const auto* goal =
        std::find_if(std::begin(kGoals), std::end(kGoals), [&](const Goal& g) { return row.name == g.name; });
    if (goal == std::end(kGoals) || !row.inlined || !row.server) return;
    row.goal = goal->share * *row.inlined;
    row.goal_is = number(goal->share, "%.2f") + " of inline";
    if (!goal->by_exceptions || !bases.exception || !bases.inline_getpid) return;
    const double with_exceptions =
        kBeside * (*row.inlined + row.server->calls * (*bases.exception - *bases.inline_getpid));
    if (with_exceptions <= *row.goal) return;
    row.goal = with_exceptions;
    row.goal_is = "1.05 of inline with " + number(row.server->calls) + " exception round trips";
}

// Both routes, row by row. getpid of inline is always counted: goals of other rows need it.
std::vector<Row> measure(const BenchOptions& options, Bases& bases) {
    std::vector<std::string> names = counted_row_names(options);
    std::vector<Row> rows;
    BenchOptions inlined = options;
    inlined.route = "inline";
    if (!names.empty()) {
        CountedRows server = count_syscall_rows(options, names);
        std::vector<std::string> inline_names = names;
        if (std::find(names.begin(), names.end(), "getpid") == names.end()) inline_names.push_back("getpid");
        CountedRows base = count_syscall_rows(inlined, inline_names);
        if (base.counts.count("getpid")) bases.inline_getpid = base.counts["getpid"].sum();
        bases.exception = measure_ipc_row(options, "exception");
        for (const std::string& name : names) {
            Row row{.name = name};
            if (server.counts.count(name)) row.server = server.counts[name], row.value = row.server->sum();
            if (server.errors.count(name)) row.error = server.errors[name];
            if (base.counts.count(name)) row.inlined = base.counts[name].sum();
            set_goal(row, bases);
            rows.push_back(row);
        }
    }
    auto boot = [&](const char* name, const char* unit, double goal,
                    const std::function<std::optional<double>(const BenchOptions&)>& how) {
        if (!wanted_row(options, name)) return;
        Row row{.name = name, .inlined = how(inlined), .value = how(options), .unit = unit};
        if (!row.value) row.error = "does not boot";
        row.goal = goal;
        row.goal_is = "";
        rows.push_back(row);
    };
    boot("boot_wall", "s", kBootSeconds, boot_seconds);
    boot("boot_memory", "MiB", kBootMebibytes, boot_mebibytes);
    return rows;
}

std::vector<std::string> cells_of(const Row& row) {
    const char* format = row.unit == "s" ? "%.2f" : "%.0f";
    auto part = [&](double RowCount::* member) { return row.server ? number(*row.server.*member) : std::string("-"); };
    return {row.name,
            number(row.inlined, format),
            part(&RowCount::kernel),
            part(&RowCount::server),
            row.value           ? number(row.value, format)
            : row.error.empty() ? "-"
                                : row.error,
            number(row.ratio(), "%.2f"),
            number(row.goal, format),
            row.verdict(),
            row.goal_is};
}

nlohmann::ordered_json json_of(const Row& row) {
    auto maybe = [](std::optional<double> value) {
        return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
    };
    nlohmann::ordered_json json{{"name", row.name}, {"unit", row.unit}, {"value", maybe(row.value)}};
    if (row.server) {
        json["kernel"] = row.server->kernel;
        json["server"] = row.server->server;
        json["calls"] = row.server->calls;
    }
    json["inline"] = maybe(row.inlined);
    json["ratio"] = maybe(row.ratio());
    json["goal"] = maybe(row.goal);
    json["status"] = row.verdict();
    if (!row.error.empty()) json["error"] = row.error;
    return json;
}

const std::vector<std::string> kHead = {"operation", "inline", "kernel", "server", "sum", "/ inline", "goal", "", ""};

std::string markdown_of(const std::vector<Row>& rows, const std::string& bases, const BenchOptions& options) {
    std::string text =
        "Instructions per operation with Linux as a user-level server, those of the program left out: by the kernel, "
        "by the\n"
        "server, their sum, and that over the inline route's in the same run; boot_wall in seconds, boot_memory in "
        "MiB. Made by\n"
        "`./farcall bench syscall --route server --markdown bench/RESULTS.md`.\n\n- Farcall: " +
        bench_machine("1 CPU", options.cpu, "Farcall") + ", commit " + bench_commit() + "\n- " + bases + "\n\n|";
    for (const std::string& cell : kHead) text += " " + cell + " |";
    text += "\n|---|--:|--:|--:|--:|--:|--:|---|---|\n";
    for (const Row& row : rows) {
        text += "|";
        for (const std::string& cell : cells_of(row)) text += " " + cell + " |";
        text += "\n";
    }
    return text;
}

void print(const std::vector<std::string>& cells) {
    std::printf("%-22s %12s %12s %12s %12s %9s %12s  %-7s %s\n", cells[0].c_str(), cells[1].c_str(), cells[2].c_str(),
                cells[3].c_str(), cells[4].c_str(), cells[5].c_str(), cells[6].c_str(), cells[7].c_str(),
                cells[8].c_str());
}

}  // namespace

int bench_server_command(const BenchOptions& options) {
    Bases bases;
    const std::vector<Row> rows = measure(options, bases);
    print(kHead);
    int missed = 0;
    nlohmann::ordered_json json_rows = nlohmann::ordered_json::array();
    for (const Row& row : rows) {
        print(cells_of(row));
        missed += !row.value || row.verdict() == "missed";
        json_rows.push_back(json_of(row));
    }
    const std::string text = "exception round trip " + number(bases.exception) + ", getpid inline " +
                             number(bases.inline_getpid) + " kernel instructions";
    std::printf("%s\n%d of the rows shown miss their goal or did not run\n", text.c_str(), missed);
    if (!options.json.empty()) {
        nlohmann::ordered_json json{{"kind", "server"},
                                    {"rows", json_rows},
                                    {"machine", bench_machine("1 CPU", options.cpu, "Farcall")},
                                    {"commit", bench_commit()}};
        if (bases.exception) json["exception"] = *bases.exception;
        write_file(options.json, json.dump(1) + "\n");
    }
    if (!options.markdown.empty()) {
        std::string before = fs::exists(options.markdown) ? read_file(options.markdown) : "";
        write_file(options.markdown, with_section(before, "# Results", "System calls over the server route",
                                                  markdown_of(rows, text, options)));
    }
    return 0;
}

}  // namespace cli
