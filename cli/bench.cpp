// SPDX-License-Identifier: MIT
// `farcall bench syscall`: kernel instructions per operation, counted by the plugin while bench/syscall.c runs with one
// CPU. The value of a row is the median over its intervals of (kernel instructions / operations). Goals and rivals are
// those of the project's targets: Debian's Linux 6.1 cloud kernel, one virtual CPU, default CPU model, static musl
// binary, tmpfs.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "cli/batch.hpp"
#include "cli/bench.hpp"
#include "cli/bench_stats.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {

struct Target {
    const char* name;
    const char* unit;
    double goal, rival;
};
constexpr const char* kInstructions = "kernel instructions";
constexpr Target kTargets[] = {
    {"getpid", kInstructions, 80, 313},
    {"task0", kInstructions, 160, 627},
    {"write_null", kInstructions, 160, 577},
    {"pread_1", kInstructions, 350, 1339},
    {"pread_4k", kInstructions, 900, 1803},
    {"pread_64k", kInstructions, 9000, 16396},
    {"pwrite_4k", kInstructions, 1000, 2213},
    {"stat", kInstructions, 1200, 3855},
    {"fstat", kInstructions, 300, 1029},
    {"open_close", kInstructions, 2000, 6649},
    {"create_unlink", kInstructions, 7000, 26994},
    {"task1", kInstructions, 1600000, 5070000},
    {"task2", kInstructions, 8000000, 21300000},
    {"pipe_round_trip", kInstructions, 3000, 12052},
    {"socketpair_round_trip", kInstructions, 4500, 18093},
    {"futex_round_trip", kInstructions, 2000, 7573},
    {"futex_wake", kInstructions, 120, 482},
    {"sched_yield", kInstructions, 150, 796},
    {"yield_two", kInstructions, 600, 2046},
    {"fork_exit_wait", kInstructions, 35000, 117417},
    {"vfork_exit_wait", kInstructions, 12000, 50590},
    {"fork_exec_tiny", kInstructions, 90000, 330551},
    {"fork_exec_busybox", kInstructions, 180000, 704610},
    {"thread", kInstructions, 15000, 76661},
    {"mmap_touch_1", kInstructions, 6000, 22879},
    {"mmap_touch_256", kInstructions, 300000, 1070133},
    {"file_page_fault", kInstructions, 5000, 18918},
    {"mprotect_twice", kInstructions, 4000, 19535},
    {"signal", kInstructions, 1000, 3650},
    {"sigaction", kInstructions, 120, 416},
    {"eventfd", kInstructions, 350, 1512},
    {"poll_1", kInstructions, 250, 828},
    {"epoll_1", kInstructions, 220, 775},
    {"clock_gettime_vdso", kInstructions, 0, 0},
    {"clock_gettime_call", kInstructions, 110, 426},
    {"pipe_64k", kInstructions, 26000, 50490},
    {"boot", "instructions to the first user instruction", 20e6, 1602e6},
    {"boot_wall", "s", 0.3, 2.0},
    {"boot_memory", "MiB", 16, 70},
};

struct Row {
    std::optional<double> value;
    std::string error;
};
using Rows = std::map<std::string, Row>;

bool wanted(const BenchOptions& options, const std::string& name) {
    if (options.rows.empty()) return true;
    return std::any_of(options.rows.begin(), options.rows.end(),
                       [&](const std::string& part) { return name.find(part) != std::string::npos; });
}

MachineSpec base_machine(const BenchOptions& options, const std::string& memory = "256M") {
    RunOptions run;
    run.cpu = options.cpu;
    run.memory = memory;
    run.verbose = options.verbose;
    return options.on_linux ? oracle_machine(run) : farcall_machine(run);
}

fs::path bench_program(const std::string& name) {
    fs::path path = build_dir() / "guest" / "bench" / name;
    if (!fs::exists(path)) fail("the guest program " + path.string() + " has not been built");
    return path;
}

Outcome run_guest(const BenchOptions& options, MachineSpec spec, const std::vector<std::string>& argv, double timeout,
                  Streams streams, const fs::path& plugin_out) {
    BenchGuest guest{.spec = std::move(spec),
                     .on_linux = options.on_linux,
                     .programs = {"syscall", "tiny"},
                     .argv = argv,
                     .timeout = timeout,
                     .plugin = {}};
    if (!plugin_out.empty()) {
        guest.plugin = "out=" + plugin_out.string();
        if (!options.profile.empty()) guest.plugin += ",profile=" + plugin_out.string() + ".profile";
    }
    return run_bench_guest(std::move(guest), std::move(streams));
}

struct RowLine {
    int id;
    double count;
};

// Runs the rows in as few guests as it takes; a row that ends its guest is named and left out of the next.
void count_rows(const BenchOptions& options, std::vector<std::string> names,
                std::map<std::string, std::vector<double>>& values, Rows& rows) {
    while (!names.empty()) {
        TempDir scratch;
        fs::path counts = scratch.path() / "counts";
        std::map<std::string, RowLine> lines;
        std::string current, buffer;
        Streams streams;
        streams.on_error = [&](std::string_view text) {
            std::fprintf(stderr, "%.*s", static_cast<int>(text.size()), text.data());
        };
        streams.on_output = [&](std::string_view text) {
            buffer.append(text);
            for (size_t end; (end = buffer.find('\n')) != std::string::npos; buffer.erase(0, end + 1)) {
                std::string line = buffer.substr(0, end);
                char name[64], error[32];
                int id, count;
                if (std::sscanf(line.c_str(), "begin %63s", name) == 1) {
                    current = name;
                    if (::isatty(2)) std::fprintf(stderr, "\r\033[K%s", name);
                } else if (std::sscanf(line.c_str(), "row %d %63s error %31s", &id, name, error) == 3) {
                    rows[name].error = error;
                    current.clear();
                } else if (std::sscanf(line.c_str(), "row %d %63s %d", &id, name, &count) == 3) {
                    lines[name] = {.id = id, .count = static_cast<double>(count)};
                    current.clear();
                }
            }
        };
        std::vector<std::string> argv = {"/bench/syscall"};
        argv.insert(argv.end(), names.begin(), names.end());
        MachineSpec spec = base_machine(options);
        Outcome outcome = run_guest(options, spec, argv, 240, streams, counts);
        if (::isatty(2)) std::fputs("\r\033[K", stderr);

        std::map<int, std::vector<double>> intervals;
        std::ifstream in(counts);
        for (std::string line; std::getline(in, line);) {
            int id, cpu;
            unsigned long long user, kernel;
            if (std::sscanf(line.c_str(), "count %d %d %llu %llu", &id, &cpu, &user, &kernel) == 4) {
                intervals[id].push_back(static_cast<double>(kernel));
            } else if (std::sscanf(line.c_str(), "note %d %d %llu %llu", &id, &cpu, &user, &kernel) == 4) {
                intervals[id].push_back(static_cast<double>(user + kernel));
            }
        }
        for (const auto& [name, line] : lines) {
            if (!intervals[line.id].empty()) values[name].push_back(spread_of(intervals[line.id]).median / line.count);
        }
        std::vector<std::string> left;
        for (const std::string& name : names) {
            if (!lines.count(name) && rows[name].error.empty()) left.push_back(name);
        }
        if (outcome.kind == Outcome::Kind::Exit && outcome.value == 0) {
            for (const std::string& name : left) rows[name].error = "not run";
            return;
        }
        report(outcome, spec, "/bench/syscall");
        if (current.empty() || std::find(left.begin(), left.end(), current) == left.end()) {
            for (const std::string& name : left) rows[name].error = "lost";
            return;
        }
        rows[current].error = "ended the guest";
        left.erase(std::find(left.begin(), left.end(), current));
        names = left;
    }
}

// Wall time from QEMU's start to the first process's end, and the least memory with which it runs.
void boot_rows(const BenchOptions& options, Rows& rows) {
    auto boots = [&](const std::string& memory, double timeout) -> std::optional<double> {
        Streams streams;
        streams.on_output = streams.on_error = [](std::string_view) {};
        auto start = Clock::now();
        Outcome outcome =
            run_guest(options, base_machine(options, memory), {"/bin/busybox", "true"}, timeout, streams, {});
        if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) return std::nullopt;
        return seconds_since(start);
    };
    if (wanted(options, "boot_wall")) {
        std::vector<double> times;
        for (int i = 0; i < std::max(5, options.runs); ++i) {
            if (auto time = boots("256M", 30)) times.push_back(*time);
        }
        if (times.empty()) {
            rows["boot_wall"].error = "does not boot";
        } else {
            rows["boot_wall"].value = spread_of(times).median;
        }
    }
    if (wanted(options, "boot_memory")) {
        rows["boot_memory"].error = "does not boot";
        for (int size : {6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 70, 80, 96, 128, 256}) {
            if (options.on_linux && size < 48) continue;
            if (boots(std::to_string(size) + "M", options.on_linux ? 15 : 5)) {
                rows["boot_memory"] = {.value = size, .error = {}};
                break;
            }
        }
    }
}

// The Markdown table: in addition to the goals the figures of Linux, if bench/linux-6.1.json holds them.
void write_markdown(const BenchOptions& options, const nlohmann::ordered_json& result) {
    std::map<std::string, double> here;
    fs::path linux_path = source_dir() / "bench" / "linux-6.1.json";
    std::string linux_machine = "not measured";
    if (fs::exists(linux_path)) {
        auto json = nlohmann::json::parse(read_file(linux_path));
        linux_machine = json.value("machine", "");
        for (const auto& row : json.at("rows")) {
            if (row.at("value").is_number()) here[row.at("name")] = row.at("value");
        }
    }
    auto number = [](const nlohmann::ordered_json& value) {
        if (!value.is_number()) return std::string("-");
        char text[32];
        std::snprintf(text, sizeof text, value.get<double>() < 10 && value.get<double>() > 0 ? "%.2f" : "%.0f",
                      value.get<double>());
        return std::string(text);
    };
    std::string text =
        "Kernel instructions per operation, counted by `./farcall bench syscall` (tools/count_plugin; "
        "each "
        "iteration of a `rep`\ninstruction counts once). Made by `./farcall bench syscall --markdown "
        "bench/RESULTS.md`.\n\n";
    text += "- Farcall: " + result.value("machine", "") + ", commit " + result.value("commit", "") + "\n";
    text += "- Linux here: " + linux_machine + " (bench/linux-6.1.json, made by `--linux --json`)\n";
    text += "- Target: the rival's figure that the goals were set by\n\n";
    text +=
        "| operation | Farcall | goal | | Linux here | target's Linux | share of Linux here "
        "|\n|---|--:|--:|---|--:|--:|--:|\n";
    for (const auto& row : result.at("rows")) {
        std::string name = row.at("name");
        const auto& value = row.at("value");
        bool known = value.is_number();
        text += "| " + name + " | " + (known ? number(value) : row.value("error", "-")) + " | " +
                number(row.at("goal")) + " | " +
                (!known                    ? ""
                 : value <= row.at("goal") ? "met"
                                           : "missed") +
                " | " + (here.count(name) ? number(here[name]) : "-") + " | " + number(row.at("rival")) + " | ";
        if (known && here.count(name) && here[name] > 0) {
            char share[16];
            std::snprintf(share, sizeof share, "%.0f %%", 100 * value.get<double>() / here[name]);
            text += share;
        }
        text += " |\n";
    }
    std::string before = fs::exists(options.markdown) ? read_file(options.markdown) : "";
    write_file(options.markdown, with_section(before, "# Results", "System calls", text));
}

// Where one row's kernel instructions go, per operation.
int profile_row(const BenchOptions& options) {
    TempDir scratch;
    fs::path counts = scratch.path() / "counts";
    std::string output;
    Streams streams;
    streams.on_error = [](std::string_view) {};
    streams.on_output = [&](std::string_view text) { output.append(text); };
    MachineSpec spec = base_machine(options);
    Outcome outcome = run_guest(options, spec, {"/bench/syscall", options.profile}, 240, streams, counts);
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) return report(outcome, spec, "/bench/syscall");
    int operations = 0, intervals = 0;
    for (const std::string& line : split_lines(output)) std::sscanf(line.c_str(), "row %*d %*s %d", &operations);
    for (const std::string& line : split_lines(read_file(counts))) intervals += line.starts_with("count ");
    if (operations == 0 || intervals == 0) fail("no row '" + options.profile + "' was measured:\n" + output);

    std::vector<std::string> addresses;
    std::vector<double> shares;
    double total = 0;
    for (const std::string& line : split_lines(read_file(counts.string() + ".profile"))) {
        char address[32];
        unsigned long long count;
        if (std::sscanf(line.c_str(), "%31s %llu", address, &count) != 2) continue;
        addresses.push_back(address);
        shares.push_back(static_cast<double>(count) / operations / intervals);
        total += shares.back();
    }
    std::vector<SourcePlace> places = places_of(addresses, spec.kernel);
    std::map<std::string, double> functions, lines;
    for (size_t i = 0; i < places.size(); ++i) {
        functions[places[i].function] += shares[i];
        lines[places[i].line] += shares[i];
    }
    std::printf("%s: %.1f kernel instructions per operation\n", options.profile.c_str(), total);
    for (const auto* table : {&functions, &lines}) {
        std::vector<std::pair<double, std::string>> sorted;
        for (const auto& [name, share] : *table) sorted.emplace_back(share, name);
        std::sort(sorted.rbegin(), sorted.rend());
        std::printf("\n%s\n", table == &functions ? "by function (with what was inlined into it)" : "by source line");
        for (size_t i = 0; i < sorted.size() && i < 40; ++i) {
            if (sorted[i].first < total / 1000) break;
            std::printf("%10.1f %5.1f %%  %s\n", sorted[i].first, 100 * sorted[i].first / total,
                        sorted[i].second.c_str());
        }
    }
    return 0;
}

}  // namespace

Outcome run_bench_guest(BenchGuest guest, Streams streams) {
    TempDir scratch;
    RootImage root = open_root("", scratch);
    CpioWriter extra;
    extra.assume(root.names);
    if (guest.on_linux) add_oracle_files(extra);
    for (const std::string& name : guest.programs) extra.file("bench/" + name, read_file(bench_program(name)), 0755);
    extra.file(".farcall/init", start_file(guest.argv, default_environment(false)), 0600);
    guest.spec.initrd = compose_initrd(root, extra.finish(), scratch);
    guest.spec.append += " tty=0 stdin=null";
    if (!guest.plugin.empty()) {
        guest.spec.plugin = (build_dir() / "host" / "count_plugin.so").string() + "," + guest.plugin;
        guest.spec.quit_gently = true;
    }
    Session session(guest.spec, std::move(streams));
    session.set_timeout(guest.timeout);
    return session.run();
}

std::string bench_machine(const std::string& cpus, const std::string& cpu, const std::string& kernel) {
    return shell_output("qemu-system-x86_64 --version | head -n 1") + ", q35, " + cpus + ", -cpu " + cpu +
           ", TCG; kernel " + kernel;
}

std::string bench_commit() { return shell_output("git -C '" + source_dir().string() + "' rev-parse HEAD 2>/dev/null"); }

int bench_command(const BenchOptions& options) {
    if (options.names == std::vector<std::string>{"fastpath"}) return bench_fastpath_command(options);
    if (!options.plot.empty()) fail("bench: --plot belongs to `bench fastpath`");
    if (options.names == std::vector<std::string>{"ipc"}) return bench_ipc_command(options);
    const bool syscall = std::find(options.names.begin(), options.names.end(), "syscall") != options.names.end();
    if (!options.names.empty() && !(syscall && options.names.size() == 1)) {
        if (syscall) fail("bench: syscall counts instructions and runs alone");
        return bench_routes_command(options);
    }
    if (!options.profile.empty()) return profile_row(options);
    Rows rows;
    std::vector<std::string> names;
    for (const Target& target : kTargets) {
        std::string name = target.name;
        if (wanted(options, name) && name != "boot_wall" && name != "boot_memory") names.push_back(name);
    }
    std::map<std::string, std::vector<double>> values;
    if (!names.empty()) {
        for (int run = 0; run < std::max(1, options.runs); ++run) count_rows(options, names, values, rows);
    }
    for (auto& [name, list] : values) rows[name].value = spread_of(list).median;
    boot_rows(options, rows);

    nlohmann::ordered_json json_rows = nlohmann::ordered_json::array();
    std::printf("%-22s %14s %14s %14s  %s\n", "operation", options.on_linux ? "Linux here" : "Farcall", "goal", "rival",
                "");
    int missed = 0;
    for (const Target& target : kTargets) {
        if (!wanted(options, target.name)) continue;
        const Row& row = rows[target.name];
        const char* format = std::string_view(target.unit) == "s" ? "%.2f" : "%.0f";
        auto number = [&](double value) {
            char text[32];
            std::snprintf(text, sizeof text, format, value);
            return std::string(text);
        };
        std::string value = row.value ? number(*row.value) : row.error.empty() ? "-" : row.error;
        bool met = row.value && *row.value <= target.goal;
        missed += !met;
        std::printf("%-22s %14s %14s %14s  %s\n", target.name, value.c_str(), number(target.goal).c_str(),
                    number(target.rival).c_str(),
                    options.on_linux ? ""
                    : met            ? "met"
                    : row.value      ? "missed"
                                     : "");
        nlohmann::ordered_json item{{"name", target.name}, {"unit", target.unit}};
        if (row.value) {
            item["value"] = *row.value;
        } else {
            item["value"] = nullptr;
            item["error"] = value;
        }
        item["goal"] = target.goal;
        item["rival"] = target.rival;
        json_rows.push_back(item);
    }
    if (!options.json.empty() || !options.markdown.empty()) {
        nlohmann::ordered_json json{
            {"rows", json_rows},
            {"machine", bench_machine("1 CPU", options.cpu, options.on_linux ? oracle_version() : "Farcall")},
            {"commit", bench_commit()}};
        if (!options.json.empty()) write_file(options.json, json.dump(1) + "\n");
        if (!options.markdown.empty()) write_markdown(options, json);
    }
    if (!options.on_linux) std::printf("%d of the rows shown miss their goal or did not run\n", missed);
    return 0;
}

}  // namespace cli
