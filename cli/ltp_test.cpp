// SPDX-License-Identifier: MIT
// `farcall test ltp DIR`: a user's own build of the Linux Test Project, over several routes. DIR is what its `make install`
// made: the tests are the lines "NAME COMMAND" of DIR/runtest/syscalls; DIR/testcases is in the guest under the same name as
// here, with the libraries that its programs need. Compared is which tests pass (status 0).
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>

#include "cli/batch.hpp"
#include "cli/elf_file.hpp"
#include "cli/elf_layout.hpp"
#include "cli/host_program.hpp"
#include "cli/tests.hpp"

namespace cli {

namespace {

constexpr int kTestTimeout = 120;      // seconds
constexpr uint64_t kFreeMemory = 384;  // MiB beside the root
constexpr size_t kShown = 160;         // of why a test did not pass

struct LtpSetting {
    std::string name;
    RunOptions options;
};

// The lines of a runtest file; '#' begins a comment.
std::vector<Case> read_runtest(const fs::path& path, const std::string& environment,
                               const std::vector<std::string>& only) {
    std::vector<Case> cases;
    std::set<std::string> names;
    int number = 0;
    for (std::string line : split_lines(read_file(path))) {
        ++number;
        while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
        const size_t start = line.find_first_not_of(" \t");
        if (start == line.npos || line[start] == '#') continue;
        const std::string place = path.string() + ":" + std::to_string(number) + ": ";
        const size_t end = line.find_first_of(" \t", start);
        const size_t command = end == line.npos ? end : line.find_first_not_of(" \t", end);
        if (command == line.npos) fail(place + "'name command' is wanted");
        const std::string name = line.substr(start, end - start);
        if (name.size() > 200) fail(place + "the name is too long");
        if (!names.insert(name).second) fail(place + "a second test named '" + name + "'");
        if (!only.empty() && std::find(only.begin(), only.end(), name) == only.end()) continue;
        cases.push_back(
            {.area = "ltp", .name = name, .command = environment + line.substr(command), .timeout = kTestTimeout});
    }
    if (cases.empty()) fail(path.string() + (only.empty() ? " names no test" : " has no test of that name"));
    return cases;
}

// The default root with DIR/testcases, as one archive. Of programs only what is loaded: with debug information they would
// not fit into a guest.
fs::path make_root(const fs::path& dir, const TempDir& scratch) {
    RootImage root = open_root("", scratch);
    CpioWriter extra;
    extra.assume(root.names);
    std::vector<fs::path> paths;
    for (const auto& entry : fs::recursive_directory_iterator(dir / "testcases")) paths.push_back(entry.path());
    std::sort(paths.begin(), paths.end());
    std::map<std::vector<std::string>, fs::path> dynamic;  // a program for each set of libraries
    for (const fs::path& path : paths) {
        const std::string name = path.relative_path().string();
        const fs::file_status status = fs::symlink_status(path);
        if (status.type() != fs::file_type::regular) {
            extra.host_file(name, path);
            continue;
        }
        const std::string bytes = read_file(path);
        extra.parents(name);
        extra.file(name, loaded_part(bytes), static_cast<uint32_t>(status.permissions()) & 07777);
        auto elf = read_elf(bytes);
        if (!elf || elf->interpreter.empty()) continue;
        std::vector<std::string> key = elf->needed;
        key.insert(key.end(), {elf->interpreter, elf->rpath, elf->runpath, path.parent_path().string()});
        dynamic.emplace(std::move(key), path);
    }
    for (const auto& [key, path] : dynamic) {
        std::vector<std::string> argv = {path.string()};
        try {
            provide_program(root, extra, argv);
        } catch (const Failure& failure) {
            // Its tests fail on each route alike.
            std::fprintf(stderr, "farcall: %s\n", failure.what());
        }
    }
    const fs::path made = compose_initrd(root, extra.finish(), scratch), path = scratch.path() / "ltp.cpio";
    fs::rename(made, path);
    return path;
}

// Those over the server twice: with all fastpaths and with none.
std::vector<LtpSetting> settings_of(const BatchOptions& options, uint64_t memory_mib) {
    std::vector<LtpSetting> settings;
    for (const std::string& route : options.routes) {
        for (int cpus : options.cpus) {
            RunOptions run;
            run.route = route;
            run.cpus = cpus;
            run.memory = std::to_string(memory_mib) + "M";
            const std::string name = route + (options.cpus.size() > 1 ? " cpus=" + std::to_string(cpus) : "");
            if (route != "server") {
                settings.push_back({name, run});
                continue;
            }
            for (const char* fastpath : {"all", "none"}) {
                run.fastpath = fastpath;
                settings.push_back({name + " fastpath=" + fastpath, run});
            }
        }
    }
    for (const LtpSetting& setting : settings) farcall_machine(setting.options);  // refuses what cannot be
    return settings;
}

bool is_lost(const std::string& status) { return status.starts_with("lost: "); }

using Statuses = std::map<std::string, std::string>;  // by test

Statuses run_setting(const LtpSetting& setting, const std::vector<Case>& cases, const fs::path& root, bool verbose) {
    Statuses statuses;
    RunOptions run = setting.options;
    BatchTarget target{.machine = [run] { return farcall_machine(run); },
                       .prepare = [run](CpioWriter& extra) { add_server(extra, run.route); },
                       .root = root.string(),
                       .slowness = 1};
    std::map<std::string, int> counts;
    run_cases(cases, target, [&](const Case& item, const CaseResult& result) {
        statuses[item.name] = result.status;
        const char* kind = result.status == "0"         ? "passed"
                           : result.status == "32"      ? "not configured"
                           : result.status == "timeout" ? "timed out"
                           : is_lost(result.status)     ? "lost"
                                                        : "failed";
        ++counts[kind];
        if (verbose) std::printf("[%s] %s: %s\n", setting.name.c_str(), item.name.c_str(), kind);
        return true;
    });
    std::printf("%-28s", setting.name.c_str());
    for (const auto& [kind, count] : counts) std::printf("  %d %s", count, kind.c_str());
    std::printf("\n");
    std::fflush(stdout);
    return statuses;
}

// One line about a test that does not pass everywhere.
std::string difference(const std::string& test, const std::vector<LtpSetting>& settings,
                       const std::vector<Statuses>& results) {
    std::string passed, others;
    for (size_t i = 0; i < settings.size(); ++i) {
        std::string status = results[i].at(test);
        if (status == "0") {
            passed += (passed.empty() ? "" : ", ") + settings[i].name;
            continue;
        }
        status = status.substr(0, status.find('\n'));
        if (status.size() > kShown) status.resize(kShown);
        if (status.find_first_not_of("0123456789") == status.npos) status = "status " + status;
        others += (others.empty() ? "" : ", ") + settings[i].name + " (" + status + ")";
    }
    return (passed.empty() ? "" : "passes over " + passed + "; ") + "not over " + others;
}

}  // namespace

int test_ltp(const BatchOptions& options) {
    if (options.areas.size() != 1) fail("test ltp: DIR is wanted, a directory that LTP was installed into");
    std::error_code error;
    const fs::path dir = fs::canonical(options.areas[0], error);
    if (error) fail("test ltp: " + options.areas[0] + ": " + error.message());
    const fs::path list = dir / "runtest" / "syscalls", programs = dir / "testcases" / "bin";
    if (!fs::is_regular_file(list)) fail("test ltp: there is no " + list.string());
    if (!fs::is_directory(programs)) fail("test ltp: there is no " + programs.string());
    const std::string environment = "export LTPROOT='" + dir.string() + "' PATH='" + programs.string() +
                                    "':$PATH TMPDIR=$PWD KCONFIG_SKIP_CHECK=1 LTP_COLORIZE_OUTPUT=n\n";
    const std::vector<Case> cases = read_runtest(list, environment, options.cases);
    TempDir scratch;
    const fs::path root = make_root(dir, scratch);
    const auto settings = settings_of(options, (fs::file_size(root) >> 20) + kFreeMemory);

    std::vector<Statuses> results;
    for (const LtpSetting& setting : settings) results.push_back(run_setting(setting, cases, root, options.verbose));
    Tally tally;
    bool any = false;
    for (const Case& item : cases) {
        size_t passed = 0, lost = 0;
        for (const Statuses& statuses : results) {
            passed += statuses.at(item.name) == "0";
            lost += is_lost(statuses.at(item.name));
        }
        any |= passed > 0;
        // A guest that ends is no result, even if all of them do.
        const bool same = lost == 0 && (passed == 0 || passed == results.size());
        tally.check(same, "ltp/" + item.name, same ? "" : difference(item.name, settings, results));
    }
    if (!any)
        tally.check(false, "ltp",
                    "no test passed on any route: are the programs of " + programs.string() + " for this machine?");
    std::printf("%d passed, %d failed\n", tally.passed, tally.failed);
    return tally.failed == 0 ? 0 : 1;
}

}  // namespace cli
