// SPDX-License-Identifier: MIT
// What the benchmarks of the tool share: starting a guest with the benchmark programs in its root.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "cli/bench_stats.hpp"
#include "cli/commands.hpp"

namespace cli {

// One guest that runs `argv` with the programs of bench/ named in `programs` under /bench of its root.
struct BenchGuest {
    MachineSpec spec;
    bool on_linux = false;
    std::string route = "inline";
    std::vector<std::string> programs, argv;
    double timeout = 240;
    std::string plugin;                              // arguments of the counting plugin; empty: without it
    std::function<void(MachineSpec&)> prepare = {};  // the last word on the machine
};
Outcome run_bench_guest(BenchGuest guest, Streams streams);

// `farcall bench task0 ...`: times of the works over the routes (bench_routes.cpp).
int bench_routes_command(const BenchOptions& options);
// One guest that runs bench/routes with these words. `prepare`: as in BenchGuest.
struct RoutesBoot {
    GuestRecord record;
    std::string problem;  // empty: everything may be used
};
RoutesBoot run_routes_guest(const BenchOptions& options, const Setting& setting, const std::vector<std::string>& words,
                            const std::function<void(MachineSpec&)>& prepare = {});
// The words that options give to bench/routes, without the names of works.
std::vector<std::string> routes_words(const BenchOptions& options, const Setting& setting);
// The same works with --misses: modelled misses of caches and TLBs (bench_misses.cpp).
int bench_misses_command(const BenchOptions& options);
// --quick: a little of every benchmark into one file (bench_quick.cpp).
int bench_quick_command(const BenchOptions& options);

// `farcall bench syscall --route server`: kernel and server apart, and over inline (bench_server.cpp).
int bench_server_command(const BenchOptions& options);
// Rows of `bench syscall` that --row wants; those that the plugin counts.
bool wanted_row(const BenchOptions& options, const std::string& name);
std::vector<std::string> counted_row_names(const BenchOptions& options);

int bench_ipc_command(const BenchOptions& options);
// One row of it with one CPU, in kernel instructions.
std::optional<double> measure_ipc_row(const BenchOptions& options, const std::string& name);
// `farcall bench fastpath`: fastpaths against slowpaths in cycles (bench_fastpath.cpp).
int bench_fastpath_command(const BenchOptions& options);
// The same with --linux-load: Linux programs on the server route (bench_linux_load.cpp).
int bench_linux_load_command(const BenchOptions& options);

// ",server_begin=0x...,server_end=0x..." for the counting plugin: where the user-level server is linked.
std::string server_arguments();
// ",spin_begin=0x...,spin_end=0x..." for the counting plugin when the kernel has the symbols.
std::string spin_arguments(const fs::path& kernel);

// Instructions that a remote call adds to an inline one, both CPUs together (bench_added.cpp).
struct RemoteCallAdded {
    std::optional<double> value;
    double inline_count = 0, remote_count = 0,
           spin_count = 0;    // per call; spin: per call, left out of the remote count
    bool spin_known = false;  // the kernel says where it spins
    std::string error;
};
inline constexpr const char* kRemoteCallAdded = "remote_call_added";
inline constexpr double kRemoteCallAddedGoal = 80;
RemoteCallAdded measure_remote_call_added(const BenchOptions& options);

// QEMU, machine, CPU model and kernels, as the rows' JSON names them; the commit of the sources.
std::string bench_machine(const std::string& cpus, const std::string& cpu, const std::string& kernel);
std::string bench_commit();

}  // namespace cli
