// SPDX-License-Identifier: MIT
// The row remote_call_added: kernel instructions of a getpid over `remote`, on both CPUs together, less those of the
// same call inline on one CPU. Instructions with which a CPU spins while it has nothing to do are left out: the kernel
// keeps them between the symbols farcall_spin_begin and farcall_spin_end, and the counting plugin counts that range
// apart. A kernel without the symbols gives a figure that holds whatever its idle CPU executes; it is said so.
#include <algorithm>
#include <cstdio>
#include <map>
#include <sstream>

#include "cli/bench.hpp"
#include "cli/bench_stats.hpp"

namespace cli {

std::string spin_arguments(const fs::path& kernel) {
    auto tool = find_program("llvm-nm-19");
    if (!tool) return "";
    std::istringstream symbols(shell_output(*tool + " '" + kernel.string() + "' 2>/dev/null"));
    std::string begin, end;
    for (std::string line; std::getline(symbols, line);) {
        std::istringstream words(line);
        std::string address, kind, name;
        if (!(words >> address >> kind >> name)) continue;
        if (name == "farcall_spin_begin") begin = address;
        if (name == "farcall_spin_end") end = address;
    }
    if (begin.empty() || end.empty() || begin >= end) return "";
    return ",spin_begin=0x" + begin + ",spin_end=0x" + end;
}

namespace {

struct Count {
    double kernel = 0, spin = 0;  // per call
    std::string error;
};

Count count_getpid(const BenchOptions& options, const std::string& route, int cpus, bool& spin_known) {
    TempDir scratch;
    fs::path counts = scratch.path() / "counts";
    RunOptions run;
    run.cpu = options.cpu;
    run.verbose = options.verbose;
    run.cpus = cpus;
    run.route = route;
    BenchGuest guest;
    guest.spec = farcall_machine(run);
    guest.programs = {"syscall", "tiny"};
    guest.argv = {"/bench/syscall", "getpid"};
    std::string spin = spin_arguments(guest.spec.kernel);
    spin_known = !spin.empty();
    guest.plugin = "out=" + counts.string() + spin;
    std::string output;
    Streams streams;
    streams.on_error = [](std::string_view text) {
        std::fprintf(stderr, "%.*s", static_cast<int>(text.size()), text.data());
    };
    streams.on_output = [&](std::string_view text) { output.append(text); };
    const MachineSpec spec = guest.spec;
    Outcome outcome = run_bench_guest(std::move(guest), streams);
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) {
        report(outcome, spec, "/bench/syscall");
        return {.kernel = 0, .spin = 0, .error = "the guest of route " + route + " failed"};
    }
    int row = 0, calls = 0;
    for (const std::string& line : split_lines(output)) std::sscanf(line.c_str(), "row %d getpid %d", &row, &calls);
    // One line per CPU for each interval: the n-th of each CPU belong together.
    std::map<int, std::vector<double>> kernel, spins;
    for (const std::string& line : split_lines(read_file(counts))) {
        int id, cpu;
        unsigned long long user, in_kernel, in_spin;
        if (std::sscanf(line.c_str(), "count %d %d %llu %llu %llu", &id, &cpu, &user, &in_kernel, &in_spin) != 5 ||
            id != row)
            continue;
        kernel[cpu].push_back(static_cast<double>(in_kernel));
        spins[cpu].push_back(static_cast<double>(in_spin));
    }
    if (calls <= 0 || kernel.size() != static_cast<size_t>(cpus))
        return {.kernel = 0, .spin = 0, .error = "no counts for route " + route};
    auto per_call = [&](const std::map<int, std::vector<double>>& of) {
        std::vector<double> sums(of.begin()->second.size());
        for (const auto& [cpu, values] : of) {
            for (size_t i = 0; i < std::min(sums.size(), values.size()); ++i) sums[i] += values[i];
        }
        return quantile(sums, 0.5) / calls;
    };
    return {.kernel = per_call(kernel), .spin = per_call(spins), .error = {}};
}

}  // namespace

RemoteCallAdded measure_remote_call_added(const BenchOptions& options) {
    RemoteCallAdded result;
    bool unused;
    Count inlined = count_getpid(options, "inline", 1, unused);
    Count remote = count_getpid(options, "remote", 2, result.spin_known);
    for (const Count* count : {&inlined, &remote}) {
        if (!count->error.empty()) result.error = count->error;
    }
    if (!result.error.empty()) return result;
    result.inline_count = inlined.kernel;
    result.remote_count = remote.kernel;
    result.spin_count = remote.spin;
    result.value = remote.kernel - inlined.kernel;
    return result;
}

}  // namespace cli
