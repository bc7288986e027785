// SPDX-License-Identifier: MIT
// `farcall bench ipc`: round trips between threads of the native interface, in kernel instructions of all CPUs together,
// without what a CPU spins while it waits.
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/bench.hpp"
#include "cli/bench_stats.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {

struct Target {
    const char* name;
    double goal, rival;  // 0: none. Rival: seL4 16.0.0-dev on the same QEMU, one core
    int cpus;
    const char* what;
};
constexpr Target kTargets[] = {
    {"ipc_call", 260, 398, 1, "call and answer, 0 words, one space"},
    {"ipc_call_spaces", 280, 402, 1, "the same, two spaces"},
    {"ipc_call_4_words", 290, 444, 1, "the same, 4 words"},
    {"ipc_call_20_words", 700, 1720, 1, "20 words (slowpath)"},
    {"ipc_call_cap", 1200, 2185, 1, "with a capability; the server removes it"},
    {"ipc_call_slow", 800, 1435, 1, "slowpath, 0 words, one space"},
    {"exception", 420, 1602, 1, "system call to a handler and back"},
    {"exception_slow", 1200, 0, 1, "the same by the slowpath"},
    {"exception_bound", 420, 0, 1, "the same, the server has a bound notification"},
    {"exception_saved", 1000, 0, 1, "the same, saved with a call of its own, then answered with the next receive"},
    {"exception_registers", 600, 0, 1, "the same as exception_bound, answered with all registers"},
    {"page_fault", 700, 1250, 1, "page fault to a handler and back"},
    {"page_fault_map", 0, 0, 1, "the same, and the answer maps a page"},
    {"notification_ping_pong", 800, 2060, 1, "two signals, two waits"},
    {"map_frames_1", 250, 0, 1, "one page mapped into a window"},
    {"map_frames_60", 2610, 0, 1, "60 neighbouring pages in one call"},
    {"change_frames_1", 0, 0, 1, "one page of a window unmapped"},
    {"ipc_call_other_cpu", 600, 2838, 2, "another CPU that looks for work"},
    {"ipc_call_other_cpu_asleep", 1400, 2838, 2, "another CPU that sleeps"},
};

struct Run {
    std::map<std::string, double> rows;
    std::map<std::string, std::string> errors;
    std::string profile;  // lines "ADDRESS COUNT"
    double operations = 0;
};

Run count(const BenchOptions& options, const std::vector<std::string>& names, int cpus) {
    TempDir scratch;
    fs::path counts = scratch.path() / "counts";
    RunOptions run;
    run.cpu = options.cpu;
    run.cpus = cpus;
    run.verbose = options.verbose;
    run.native = "bench/native/ipc";
    run.program = names;
    MachineSpec spec = native_machine(run, scratch);
    spec.plugin =
        (build_dir() / "host" / "count_plugin.so").string() + ",out=" + counts.string() + spin_arguments(spec.kernel);
    if (!options.profile.empty()) spec.plugin += ",profile=" + counts.string() + ".profile";
    spec.quit_gently = true;
    std::string output;
    Streams streams;
    streams.on_output = [&](std::string_view text) { output.append(text); };
    Session session(spec, streams);
    session.set_timeout(120);
    Outcome outcome = session.run();
    Run result;
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) report(outcome, spec, run.native);

    // One line per CPU for each interval: the n-th of each CPU belong together.
    std::map<int, std::map<int, std::vector<double>>> kernel;
    for (const std::string& line : split_lines(read_file(counts))) {
        int id, cpu;
        unsigned long long user, in_kernel;
        if (std::sscanf(line.c_str(), "count %d %d %llu %llu", &id, &cpu, &user, &in_kernel) == 4)
            kernel[id][cpu].push_back(static_cast<double>(in_kernel));
    }
    for (const std::string& line : split_lines(output)) {
        char name[64], error[32];
        int id, operations;
        if (std::sscanf(line.c_str(), "row %d %63s error %31s", &id, name, error) == 3) {
            result.errors[name] = error;
        } else if (std::sscanf(line.c_str(), "row %d %63s %d", &id, name, &operations) == 3 && operations > 0) {
            std::vector<double> sums;
            for (const auto& [cpu, values] : kernel[id]) {
                sums.resize(std::max(sums.size(), values.size()));
                for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
            }
            if (sums.empty()) continue;
            result.rows[name] = quantile(sums, 0.5) / operations;
            result.operations = operations * static_cast<double>(sums.size());
        }
    }
    if (!options.profile.empty()) result.profile = read_file(counts.string() + ".profile");
    return result;
}

void show_profile(const Run& run, const std::string& name, const fs::path& kernel) {
    std::vector<std::string> addresses;
    std::vector<double> shares;
    double total = 0;
    for (const std::string& line : split_lines(run.profile)) {
        char address[32];
        unsigned long long count;
        if (std::sscanf(line.c_str(), "%31s %llu", address, &count) != 2) continue;
        addresses.push_back(address);
        shares.push_back(static_cast<double>(count) / run.operations);
        total += shares.back();
    }
    std::vector<SourcePlace> places = places_of(addresses, kernel);
    std::map<std::string, double> functions, lines;
    for (size_t i = 0; i < places.size(); ++i) {
        functions[places[i].function] += shares[i];
        lines[places[i].line] += shares[i];
    }
    std::printf("%s: %.1f kernel instructions per operation\n", name.c_str(), total);
    for (const auto* table : {&functions, &lines}) {
        std::vector<std::pair<double, std::string>> sorted;
        for (const auto& [place, share] : *table) sorted.emplace_back(share, place);
        std::sort(sorted.rbegin(), sorted.rend());
        std::printf("\n%s\n", table == &functions ? "by function (with what was inlined into it)" : "by source line");
        for (size_t i = 0; i < sorted.size() && i < 60; ++i)
            std::printf("%10.1f %5.1f %%  %s\n", sorted[i].first, 100 * sorted[i].first / total,
                        sorted[i].second.c_str());
    }
}

}  // namespace

std::optional<double> measure_ipc_row(const BenchOptions& options, const std::string& name) {
    BenchOptions plain = options;
    plain.profile.clear();
    Run run = count(plain, {name}, 1);
    auto row = run.rows.find(name);
    return row == run.rows.end() ? std::nullopt : std::optional(row->second);
}

int bench_ipc_command(const BenchOptions& options) {
    if (!options.profile.empty()) {
        const auto* target = std::find_if(std::begin(kTargets), std::end(kTargets),
                                          [&](const Target& t) { return options.profile == t.name; });
        if (target == std::end(kTargets)) fail("bench ipc: no row '" + options.profile + "'");
        Run run = count(options, {options.profile}, target->cpus);
        if (run.operations == 0) fail("no row '" + options.profile + "' was measured");
        show_profile(run, options.profile, build_dir() / "kernel" / "farcall.elf");
        return 0;
    }
    Run runs[3];
    for (int cpus : {1, 2}) {
        std::vector<std::string> names;
        for (const Target& t : kTargets) {
            bool wanted = options.rows.empty();
            for (const std::string& part : options.rows) wanted |= std::string(t.name).find(part) != std::string::npos;
            if (wanted && t.cpus == cpus) names.push_back(t.name);
        }
        if (!names.empty()) runs[cpus] = count(options, names, cpus);
    }
    std::printf("%-27s %9s %9s %9s\n", "round trip", "Farcall", "goal", "seL4");
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    std::string text =
        "Kernel instructions per round trip, all CPUs together, without what a CPU spins while it waits. Made by "
        "`./farcall bench ipc\n--markdown bench/RESULTS.md`. seL4: 16.0.0-dev, one core, the same QEMU.\n\n- "
        "Farcall: " +
        bench_machine("1 and 2 CPUs", options.cpu, "Farcall") + ", commit " + bench_commit() +
        "\n\n| round trip | | Farcall | goal | | seL4 |\n|---|---|--:|--:|---|--:|\n";
    int missed = 0;
    for (const Target& t : kTargets) {
        Run& run = runs[t.cpus];
        auto value = run.rows.find(t.name);
        bool known = value != run.rows.end();
        if (!known && !options.rows.empty() && run.errors.count(t.name) == 0) continue;
        bool met = known && (t.goal == 0 || value->second <= t.goal);
        missed += !met;
        const char* verdict = t.goal == 0 && known ? "" : met ? "met" : "missed";
        std::string error = run.errors.count(t.name) ? "error " + run.errors[t.name] : "not run";
        char number[32];
        std::snprintf(number, sizeof number, "%.0f", known ? value->second : 0);
        std::printf("%-27s %9s %9.0f %9.0f  %s\n", t.name, known ? number : error.c_str(), t.goal, t.rival, verdict);
        text += std::string("| ") + t.name + " | " + t.what + " | " + (known ? number : error) + " | " +
                (t.goal > 0 ? std::to_string(static_cast<int>(t.goal)) : "-") + " | " + verdict + " | " +
                (t.rival > 0 ? std::to_string(static_cast<int>(t.rival)) : "-") + " |\n";
        nlohmann::ordered_json item{
            {"name", t.name}, {"unit", "kernel instructions"}, {"goal", t.goal}, {"rival", t.rival}};
        if (known)
            item["value"] = value->second;
        else
            item["error"] = error;
        rows.push_back(item);
    }
    if (!options.json.empty()) {
        nlohmann::ordered_json json{{"kind", "ipc"},
                                    {"rows", rows},
                                    {"machine", bench_machine("1 and 2 CPUs", options.cpu, "Farcall")},
                                    {"commit", bench_commit()}};
        write_file(options.json, json.dump(1) + "\n");
    }
    if (!options.markdown.empty()) {
        std::string before = fs::exists(options.markdown) ? read_file(options.markdown) : "";
        write_file(options.markdown, with_section(before, "# Results", "IPC", text));
    }
    std::printf("%d of the rows shown miss their goal or did not run\n", missed);
    return 0;
}

}  // namespace cli
