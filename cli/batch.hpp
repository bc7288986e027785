// SPDX-License-Identifier: MIT
// Guest test cases: reading them, running many in one guest, and the recordings they are compared with.
// The formats are described in tests/linux/README.md and tests/linux/batch_runner.c.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli/commands.hpp"
#include "cli/diff.hpp"

namespace cli {

// A disk that is made for an area's guests: each sector begins with the line `sector N`, the rest is zeros.
struct CaseDisk {
    uint64_t bytes = 0;
    bool read_only = false;
    bool operator==(const CaseDisk&) const = default;
};

struct Case {
    std::string area, name, command;
    int timeout = 20;
    std::vector<CaseDisk> disks = {};
    std::string full_name() const { return area + "/" + name; }
};

struct CaseResult {
    std::string status;  // "0".."255", "signal N", "timeout"; "lost: WHY" when the guest did not get to the end of it
    std::string output, error;
    bool operator==(const CaseResult&) const = default;
};

// The areas asked for (all of tests/linux/cases when none); throws Failure with file and line for a malformed file.
std::vector<Case> load_cases(const BatchOptions& options);

// Runs the cases in as few guests as it takes: after a panic or a hang the next guest continues after the case that did
// it. A guest has the disks that the areas of its cases ask for. `machine` makes a fresh machine; `prepare` adds its own files to the root.
struct BatchTarget {
    std::function<MachineSpec()> machine;
    std::function<void(CpioWriter&)> prepare;
    std::string root = {};  // as of `run --root`
    double slowness = 1;    // how many times longer than usual the guest may take
    bool disks = true;      // false: it cannot have any, and cases that need one are left out
};
// False: enough is known, stop.
using CaseSink = std::function<bool(const Case&, const CaseResult&)>;
void run_cases(const std::vector<Case>& cases, const BatchTarget& target, const CaseSink& sink);

BatchTarget linux_target(int cpus);
// With a seed, programs/mover.c moves modules while each case runs. The test kernel is the one with mutants. `fastpath`: as of
// `run --fastpath`; empty: all.
BatchTarget farcall_target(int cpus, const std::string& route, std::optional<uint64_t> moving = {},
                           bool test_kernel = false, const std::string& fastpath = {});

struct Recording {
    std::string kernel;
    struct Entry {
        std::string command;
        CaseResult result;
    };
    std::map<std::string, Entry> entries;
};
Recording load_recording(const std::string& area);  // empty when there is none
void save_recording(const std::string& area, const std::vector<std::string>& order, const Recording& recording);

int record_areas(const BatchOptions& options);
std::string oracle_version();

}  // namespace cli
