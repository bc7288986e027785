// SPDX-License-Identifier: MIT
// `farcall bench syscall`: kernel instructions per operation, counted by the plugin while bench/syscall.c runs with one
// CPU. The value of a row is the median over its intervals of (kernel instructions / operations). Goals and rivals are
// those of the project's targets: Debian's Linux 6.1 cloud kernel, one virtual CPU, default CPU model, static musl
// binary, tmpfs.
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/batch.hpp"
#include "cli/bench.hpp"
#include "cli/bench_counts.hpp"
#include "cli/bench_stats.hpp"

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

void boot_rows(const BenchOptions& options, Rows& rows) {
    auto measure = [&](const char* name, auto&& how) {
        if (!wanted_row(options, name)) return;
        rows[name].value = how(options);
        if (!rows[name].value) rows[name].error = "does not boot";
    };
    measure("boot_wall", boot_seconds);
    measure("boot_memory", boot_mebibytes);
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

}  // namespace

std::string bench_machine(const std::string& cpus, const std::string& cpu, const std::string& kernel) {
    return shell_output("qemu-system-x86_64 --version | head -n 1") + ", q35, " + cpus + ", -cpu " + cpu +
           ", TCG; kernel " + kernel;
}

std::string bench_commit() { return shell_output("git -C '" + source_dir().string() + "' rev-parse HEAD 2>/dev/null"); }

bool wanted_row(const BenchOptions& options, const std::string& name) {
    if (options.rows.empty()) return true;
    return std::any_of(options.rows.begin(), options.rows.end(),
                       [&](const std::string& part) { return name.find(part) != std::string::npos; });
}

std::vector<std::string> counted_row_names(const BenchOptions& options) {
    std::vector<std::string> names;
    for (const Target& target : kTargets) {
        std::string name = target.name;
        if (wanted_row(options, name) && name != "boot_wall" && name != "boot_memory") names.push_back(name);
    }
    return names;
}

int bench_command(const BenchOptions& options) {
    if (options.route != "inline" && !options.names.empty() && options.names != std::vector<std::string>{"syscall"})
        fail("bench: --route belongs to `bench syscall`; works take --routes");
    if (options.quick) return bench_quick_command(options);
    const bool works =
        !options.names.empty() && std::all_of(options.names.begin(), options.names.end(),
                                              [](const std::string& name) { return is_work_name(name); });
    for (const std::string& mode : options.modes) {
        if (mode == "disk") fail("bench: --mode disk: there is no disk yet, only ramfs");
        if (mode != "ramfs") fail("bench: --mode is ramfs or disk, not '" + mode + "'");
    }
    if (!works && options.misses) fail("bench: --misses belongs to works, such as task0");
    if (!works && options.thesis) fail("bench: --thesis belongs to works, such as task0");
    if (options.misses) return bench_misses_command(options);
    if (options.names == std::vector<std::string>{"fastpath"}) return bench_fastpath_command(options);
    if (options.linux_load) fail("bench: --linux-load belongs to `bench fastpath`");
    if (!options.plot.empty()) fail("bench: --plot belongs to `bench fastpath`");
    if (options.names == std::vector<std::string>{"ipc"}) return bench_ipc_command(options);
    const bool syscall = std::find(options.names.begin(), options.names.end(), "syscall") != options.names.end();
    if (!options.names.empty() && !(syscall && options.names.size() == 1)) {
        if (syscall) fail("bench: syscall counts instructions and runs alone");
        return bench_routes_command(options);
    }
    if (options.route != "inline" && options.route != "server")
        fail("bench syscall: --route is inline or server, not '" + options.route + "'");
    if (options.on_linux && options.route != "inline") fail("bench syscall: --linux has no --route");
    if (!options.profile.empty()) return profile_syscall_row(options);
    if (options.route == "server") return bench_server_command(options);
    Rows rows;
    CountedRows counted = count_syscall_rows(options, counted_row_names(options));
    for (const auto& [name, count] : counted.counts) rows[name].value = count.sum();
    for (const auto& [name, error] : counted.errors) rows[name].error = error;
    boot_rows(options, rows);

    nlohmann::ordered_json json_rows = nlohmann::ordered_json::array();
    std::printf("%-22s %14s %14s %14s  %s\n", "operation", options.on_linux ? "Linux here" : "Farcall", "goal", "rival",
                "");
    int missed = 0;
    for (const Target& target : kTargets) {
        if (!wanted_row(options, target.name)) continue;
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
            {"kind", options.on_linux ? "linux" : "syscall"},
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
