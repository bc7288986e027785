// SPDX-License-Identifier: MIT
// The subcommands of the tool and the options they share.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/machine.hpp"
#include "cli/root.hpp"

namespace cli {

struct RunOptions {
    int cpus = 1;
    std::string memory = "256M";
    std::string route = "inline";
    std::string root;
    std::vector<std::string> disks;  // FILE[,ro]
    std::string fastpath;
    std::string native;  // a program of the native interface, the first and only one of the machine
    double timeout = 0;
    std::string stats;                // empty: none; table; json
    std::string capacity;             // CPU:FRACTION,...
    std::optional<int> spin;          // microseconds; none: the kernel's, or 0 with more CPUs than the host has
    std::string trace;                // a file
    uint64_t trace_records = 0;       // of each CPU; 0: the usual number
    std::string misses;               // empty: not counted; table; json
    std::string caches = "i5-8279u";  // the model of --misses
    bool gdb = false;
    bool debug = false;        // the kernel with assertions and lock-order checks
    bool test_kernel = false;  // the kernel with tests and hooks for tests (as the debug kernel is)
    bool verbose = false;
    std::vector<std::string> qemu_args;
    std::string machine = "q35";
    std::string cpu = "max";
    std::string accel;
    std::string append;
    std::vector<std::string> program;
};

struct BatchOptions {
    std::vector<std::string> areas;
    std::vector<std::string> cases;  // only these names
    std::vector<int> cpus = {1, 2, 4};
    std::vector<std::string> routes = {"inline", "remote", "adaptive", "server"};
    std::string fastpath;  // guest over the server: as of `run --fastpath`
    bool on_linux = false;
    bool debug = false;  // the kernel with assertions and lock-order checks
    bool verbose = false;
    bool moving = false;         // a process in the guest moves modules while the cases run
    uint64_t seed = 1;           // of that, and of the first batch of random calls
    uint64_t calls = 3'000'000;  // random calls over each route
    int programs = 0;            // random native programs and races of each kind; 0: a small sample
    uint64_t check_seed = 0;     // of the checks that are tried; 0: another one each time
};

struct BenchOptions {
    std::vector<std::string> names;  // empty: syscall
    std::string json;
    std::string markdown;
    std::string profile;  // a row
    std::string plot;     // fastpath: a directory for figures
    std::string cpu = "qemu64";
    std::vector<std::string> rows;
    std::string route = "inline";  // syscall: or server
    std::vector<std::string> routes = {"inline", "remote"};
    bool on_linux = false;
    bool linux_load = false;  // fastpath: Linux programs on the server route
    bool verbose = false;
    int runs = 0;  // 0: what the benchmark wants, 1 for counts and 20 for times
    int repeats = 1;
    int percent = 100;                // of each work's usual count
    bool misses = false;              // works: modelled misses of caches and TLBs in place of times
    std::string caches = "i5-8279u";  // the model
    bool thesis = false;              // works: the thesis's sizes
    bool quick = false;               // a little of every benchmark
    std::vector<std::string> modes = {"ramfs"};
};

// All machines of this process get the debug kernel.
void use_debug_kernel();
// Farcall's kernel with the options of `run`; the initrd is not set. Throws Failure for what cannot be.
MachineSpec farcall_machine(const RunOptions& options);
// Debian's Linux 6.1 with our first process; fetches the kernel when it is not there yet.
MachineSpec oracle_machine(const RunOptions& options);
// What the oracle needs in its root: our first process and the modules it loads.
void add_oracle_files(CpioWriter& extra);
// The user-level server, as built; the one with hooks for tests, or the shipped one.
fs::path server_image(bool for_tests = false);
// What is loaded of it into the root, if the route needs it.
void add_server(CpioWriter& extra, const std::string& route, bool for_tests = false);

// A machine without Linux: the root holds options.native alone.
void add_native_program(MachineSpec& spec, const RunOptions& options, const TempDir& scratch);
// The same for tests and measurements, which have no standard input.
MachineSpec native_machine(const RunOptions& options, const TempDir& scratch);

// The streams of `run`: the tool's own descriptors.
Streams user_streams();
// Says on standard error what went wrong, if anything, and gives the tool's exit status.
int report(const Outcome& outcome, const MachineSpec& spec, const std::string& program);

int run_command(const RunOptions& options);
int trace_command(const std::string& file, size_t calls);
// Bytes that run privileged, for each placement; also as JSON if a file is named.
int size_command(const std::string& json_file);
int oracle_command(const RunOptions& options);
int oracle_record_command(const BatchOptions& options);
int oracle_fetch_command();
int test_command(const std::string& kind, const BatchOptions& options);
int bench_command(const BenchOptions& options);
// One page from results of `bench --json`.
int report_command(const std::vector<std::string>& files, const std::string& out);

}  // namespace cli
