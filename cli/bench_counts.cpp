// SPDX-License-Identifier: MIT
// Running the guests of `farcall bench syscall` and reading what the plugin counted: see bench.hpp.
#include "cli/bench_counts.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "cli/batch.hpp"
#include "cli/bench.hpp"
#include "cli/bench_stats.hpp"
#include "cli/elf_layout.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {

MachineSpec base_machine(const BenchOptions& options, const std::string& memory = "256M") {
    RunOptions run;
    run.cpu = options.cpu;
    run.memory = memory;
    run.verbose = options.verbose;
    run.route = options.route;
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
                     .route = options.route,
                     .programs = {"syscall", "tiny"},
                     .argv = argv,
                     .timeout = timeout,
                     .plugin = {},
                     .prepare = {}};
    if (!plugin_out.empty()) {
        guest.plugin = "out=" + plugin_out.string();
        if (options.route == "server") guest.plugin += server_arguments();
        if (!options.profile.empty()) guest.plugin += ",profile=" + plugin_out.string() + ".profile";
    }
    return run_bench_guest(std::move(guest), std::move(streams));
}

// What the guest says on its output: "begin NAME", "row ID NAME COUNT", "row ID NAME error ERROR".
class RowReader {
public:
    struct Line {
        int id;
        double operations;
    };
    std::map<std::string, Line> lines;
    std::map<std::string, std::string> errors;
    std::string current;  // has begun and not ended
    void add(std::string_view text) {
        buffer_.append(text);
        for (size_t end; (end = buffer_.find('\n')) != std::string::npos; buffer_.erase(0, end + 1))
            line(buffer_.substr(0, end));
    }

private:
    void line(const std::string& text) {
        char name[64], error[32];
        int id, count;
        if (std::sscanf(text.c_str(), "begin %63s", name) == 1) {
            current = name;
            if (::isatty(2)) std::fprintf(stderr, "\r\033[K%s", name);
        } else if (std::sscanf(text.c_str(), "row %d %63s error %31s", &id, name, error) == 3) {
            errors[name] = error;
            current.clear();
        } else if (std::sscanf(text.c_str(), "row %d %63s %d", &id, name, &count) == 3) {
            lines[name] = {.id = id, .operations = static_cast<double>(count)};
            current.clear();
        }
    }
    std::string buffer_;
};

// The intervals of each row, by its number.
std::map<int, std::vector<RowCount>> read_counts(const fs::path& file) {
    std::map<int, std::vector<RowCount>> intervals;
    std::ifstream in(file);
    for (std::string line; std::getline(in, line);) {
        int id, cpu;
        unsigned long long user, kernel, spin, server, calls;
        char verb[16];
        if (std::sscanf(line.c_str(), "%15s %d %d %llu %llu %llu %llu %llu", verb, &id, &cpu, &user, &kernel, &spin,
                        &server, &calls) != 8)
            continue;
        const std::string_view kind = verb;
        if (kind != "count" && kind != "note") continue;
        // A note covers everything since the machine's start, programs too.
        intervals[id].push_back({.kernel = static_cast<double>(kernel + (kind == "note" ? user : 0)),
                                 .server = static_cast<double>(server),
                                 .calls = static_cast<double>(calls)});
    }
    return intervals;
}

// The one with the median sum.
RowCount middle_of(std::vector<RowCount> counts) {
    std::sort(counts.begin(), counts.end(), [](const RowCount& a, const RowCount& b) { return a.sum() < b.sum(); });
    return counts[(counts.size() - 1) / 2];
}

// One pass over the rows in as few guests as it takes; a row that ends its guest is named and left out of the next.
void count_pass(const BenchOptions& options, std::vector<std::string> names,
                std::map<std::string, std::vector<RowCount>>& counts, std::map<std::string, std::string>& errors) {
    while (!names.empty()) {
        TempDir scratch;
        fs::path file = scratch.path() / "counts";
        RowReader reader;
        Streams streams;
        streams.on_error = [&](std::string_view text) {
            std::fprintf(stderr, "%.*s", static_cast<int>(text.size()), text.data());
        };
        streams.on_output = [&](std::string_view text) { reader.add(text); };
        std::vector<std::string> argv = {"/bench/syscall"};
        argv.insert(argv.end(), names.begin(), names.end());
        MachineSpec spec = base_machine(options);
        Outcome outcome = run_guest(options, spec, argv, 240, streams, file);
        if (::isatty(2)) std::fputs("\r\033[K", stderr);

        for (const auto& [name, error] : reader.errors) errors[name] = error;
        auto intervals = read_counts(file);
        for (const auto& [name, line] : reader.lines) {
            if (intervals[line.id].empty()) continue;
            RowCount count = middle_of(intervals[line.id]);
            for (double* part : {&count.kernel, &count.server, &count.calls}) *part /= line.operations;
            counts[name].push_back(count);
        }
        std::vector<std::string> left;
        for (const std::string& name : names) {
            if (!reader.lines.count(name) && errors[name].empty()) left.push_back(name);
        }
        if (outcome.kind == Outcome::Kind::Exit && outcome.value == 0) {
            for (const std::string& name : left) errors[name] = "not run";
            return;
        }
        report(outcome, spec, "/bench/syscall");
        if (std::find(left.begin(), left.end(), reader.current) == left.end()) {
            for (const std::string& name : left) errors[name] = "lost";
            return;
        }
        errors[reader.current] = "ended the guest";
        left.erase(std::find(left.begin(), left.end(), reader.current));
        names = left;
    }
}

// Seconds from QEMU's start to the end of `busybox true`; none if it does not come to that.
std::optional<double> boot(const BenchOptions& options, const std::string& memory, double timeout) {
    Streams streams;
    streams.on_output = streams.on_error = [](std::string_view) {};
    auto start = Clock::now();
    Outcome outcome = run_guest(options, base_machine(options, memory), {"/bin/busybox", "true"}, timeout, streams, {});
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) return std::nullopt;
    return seconds_since(start);
}

void print_shares(const std::map<std::string, double>& table, double total, const char* title) {
    std::vector<std::pair<double, std::string>> sorted;
    for (const auto& [name, share] : table) sorted.emplace_back(share, name);
    std::sort(sorted.rbegin(), sorted.rend());
    std::printf("\n%s\n", title);
    for (size_t i = 0; i < sorted.size() && i < 40; ++i) {
        if (sorted[i].first < total / 1000) break;
        std::printf("%10.1f %5.1f %%  %s\n", sorted[i].first, 100 * sorted[i].first / total, sorted[i].second.c_str());
    }
}

}  // namespace

std::string server_arguments() {
    auto layout = elf_layout(read_file(server_image()));
    if (!layout) fail(server_image().string() + " is damaged");
    char text[96];
    std::snprintf(text, sizeof text, ",server_begin=0x%llx,server_end=0x%llx",
                  static_cast<unsigned long long>(layout->start), static_cast<unsigned long long>(layout->end));
    return text;
}

CountedRows count_syscall_rows(const BenchOptions& options, const std::vector<std::string>& names) {
    std::map<std::string, std::vector<RowCount>> counts;
    CountedRows rows;
    for (int run = 0; run < std::max(1, options.runs); ++run) count_pass(options, names, counts, rows.errors);
    for (const auto& [name, list] : counts) rows.counts[name] = middle_of(list);
    std::erase_if(rows.errors, [](const auto& entry) { return entry.second.empty(); });
    return rows;
}

std::optional<double> boot_seconds(const BenchOptions& options) {
    std::vector<double> times;
    for (int i = 0; i < std::max(5, options.runs); ++i) {
        if (auto time = boot(options, "256M", 30)) times.push_back(*time);
    }
    if (times.empty()) return std::nullopt;
    return spread_of(times).median;
}

std::optional<double> boot_mebibytes(const BenchOptions& options) {
    for (int size : {6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 36, 40, 48, 64, 70, 80, 96, 128, 256}) {
        if (options.on_linux && size < 48) continue;
        if (boot(options, std::to_string(size) + "M", options.on_linux ? 15 : 5)) return size;
    }
    return std::nullopt;
}

int profile_syscall_row(const BenchOptions& options) {
    TempDir scratch;
    fs::path counts = scratch.path() / "counts";
    RowReader reader;
    Streams streams;
    std::string output;
    streams.on_error = [](std::string_view) {};
    streams.on_output = [&](std::string_view text) { output.append(text), reader.add(text); };
    MachineSpec spec = base_machine(options);
    Outcome outcome = run_guest(options, spec, {"/bench/syscall", options.profile}, 240, streams, counts);
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) return report(outcome, spec, "/bench/syscall");
    auto row = reader.lines.find(options.profile);
    const size_t intervals = row == reader.lines.end() ? 0 : read_counts(counts)[row->second.id].size();
    if (intervals == 0) fail("no row '" + options.profile + "' was measured:\n" + output);
    const double operations = row->second.operations * static_cast<double>(intervals);

    // The kernel's addresses have bit 63 set, the server's have not.
    std::vector<std::string> addresses[2];
    std::vector<double> shares[2];
    double totals[2] = {0, 0};
    for (const std::string& line : split_lines(read_file(counts.string() + ".profile"))) {
        char address[32];
        unsigned long long count;
        if (std::sscanf(line.c_str(), "%31s %llu", address, &count) != 2) continue;
        const bool server = !(std::stoull(address, nullptr, 16) >> 63);
        addresses[server].push_back(address);
        shares[server].push_back(static_cast<double>(count) / operations);
        totals[server] += shares[server].back();
    }
    for (bool server : {false, true}) {
        if (addresses[server].empty()) continue;
        std::vector<SourcePlace> places = places_of(addresses[server], server ? server_image() : spec.kernel);
        std::map<std::string, double> functions, lines;
        for (size_t i = 0; i < places.size(); ++i) {
            functions[places[i].function] += shares[server][i];
            lines[places[i].line] += shares[server][i];
        }
        std::printf("%s%s: %.1f %s instructions per operation\n", server ? "\n" : "", options.profile.c_str(),
                    totals[server], server ? "server" : "kernel");
        print_shares(functions, totals[server], "by function (with what was inlined into it)");
        print_shares(lines, totals[server], "by source line");
    }
    return 0;
}

Outcome run_bench_guest(BenchGuest guest, Streams streams) {
    TempDir scratch;
    RootImage root = open_root("", scratch);
    CpioWriter extra;
    extra.assume(root.names);
    if (guest.on_linux) add_oracle_files(extra);
    if (!guest.on_linux) add_server(extra, guest.route);
    for (const std::string& name : guest.programs) extra.file("bench/" + name, read_file(bench_program(name)), 0755);
    extra.file(".farcall/init", start_file(guest.argv, default_environment(false)), 0600);
    guest.spec.initrd = compose_initrd(root, extra.finish(), scratch);
    guest.spec.append += " tty=0 stdin=null";
    if (guest.prepare) guest.prepare(guest.spec);
    if (!guest.plugin.empty()) {
        guest.spec.plugin = (build_dir() / "host" / "count_plugin.so").string() + "," + guest.plugin;
        guest.spec.quit_gently = true;
    }
    Session session(guest.spec, std::move(streams));
    session.set_timeout(guest.timeout);
    return session.run();
}

}  // namespace cli
