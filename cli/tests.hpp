// SPDX-License-Identifier: MIT
// The kinds of tests of `farcall test`, and what they share: a tally, and running independent parts in parallel.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "cli/batch.hpp"

namespace cli {

struct Tally {
    int passed = 0, failed = 0;
    void add(const Tally& other) {
        passed += other.passed;
        failed += other.failed;
    }
    // Counts one test and reports a failure.
    void check(bool ok, const std::string& name, const std::string& why = {});
};

// A part runs in a process of its own; its standard output is shown in one piece when it has ended.
struct Part {
    std::string name;
    std::function<Tally()> run;
};
Tally run_parts(const std::vector<Part>& parts, int at_once);

// Runs a shell command; its output (both streams) and wait status. With a limit (seconds on the reference host,
// cli/pace.hpp) it and its children are ended then, and the status is 124.
struct CommandResult {
    int status = 0;  // as a shell gives it
    std::string output;
};
CommandResult run_shell(const std::string& command, double limit = 0);

Tally test_style();
Tally test_unit(const std::string& world, const std::string& program);
Tally test_models();
Tally test_tool();
// Counted rows of `bench syscall` and `bench ipc` against bench/baseline.json; `two_cpus`: those with two CPUs too,
// which need a quiet host.
Tally test_figures(bool two_cpus);
// `seconds`: how long the tests that run for a time do so; 0: as short as is useful.
Tally test_ktest(int cpus, int seconds);
// The suite of the native interface (tests/native).
Tally test_native(int cpus, const std::string& fastpath);
// Whether its tests notice that a check is gone; `sample` 0: each check.
Tally test_checks(size_t sample, uint64_t seed, const std::vector<std::string>& only = {});
// Random programs (tests/random) with the seeds from `first` on: on one CPU the same outcome with each set of
// fastpaths, on more the invariants.
Tally test_native_random(int cpus, uint64_t first, int seeds, const std::vector<std::string>& fastpaths);
inline const std::vector<std::string> kEachFastpath = {"all", "none", "exception", "ipc", "notify"};
// Races of a thread per CPU and of those that they make; prints how often each call was done, and refused.
Tally test_native_race(int cpus, bool debug_kernel, uint64_t first, int seeds);
Tally test_guest(const BatchOptions& options, const std::string& label, const std::vector<Case>& cases,
                 const BatchTarget& target);
// Random system calls over one route, in batches with the seeds `seed`, `seed` + 1 ...; at most 40 minutes on the
// reference host.
Tally test_fuzz(const std::string& route, int cpus, uint64_t seed, uint64_t calls);
Tally test_fuzz_rows();
// `farcall test ltp DIR`: which tests of a build of LTP pass, compared between routes; one test for each of its tests, with
// the tool's exit status.
int test_ltp(const BatchOptions& options);
// The names of the calls in the kernel's table, as the test kernel reports them.
std::vector<std::string> implemented_calls();
// The same cases on one CPU, for stretches with interrupts off (cli/stretch.hpp).
Tally test_stretch(const BatchOptions& options, const std::string& label, const std::vector<Case>& cases);
// `sample` 0: every mutant; `calls`: of these only, if any are named.
Tally test_mutants(size_t sample, const std::vector<std::string>& calls);

// True when `result` is what was recorded; otherwise `why` says what is different.
bool same_as_recorded(const Case& item, const CaseResult& result, const Recording& recording, std::string& why);

}  // namespace cli
