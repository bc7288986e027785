// SPDX-License-Identifier: MIT
// The native suite (tests/native/ktest.cpp), and whether its tests notice when a check of the kernel is gone.
#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <regex>
#include <set>

#include "cli/commands.hpp"
#include "cli/symbolize.hpp"
#include "cli/tests.hpp"

namespace cli {

namespace {

constexpr double kTestTimeout = 30;    // of one test, on a busy host
constexpr double kBrokenTimeout = 12;  // of one test while the kernel lacks a check: then a hang is an answer

struct NativeRun {
    std::map<std::string, std::string> results;  // name: empty if it passed, otherwise why not
    std::string last;                            // that began and did not end
    bool done = false;
    Outcome outcome;
    fs::path kernel;
};

NativeRun run_native(int cpus, const std::string& fastpath, const std::string& append,
                     const std::vector<std::string>& words, double timeout) {
    RunOptions options;
    options.cpus = cpus;
    options.fastpath = fastpath;
    options.append = append;
    options.test_kernel = !append.empty();
    options.native = "tests/native/ktest";
    options.program = words;
    TempDir scratch;
    MachineSpec spec = native_machine(options, scratch);
    NativeRun run;
    run.kernel = spec.kernel;
    std::string tail;
    Session* current = nullptr;
    auto line = [&](const std::string& text) {
        char name[128], word[16];
        int used = 0;
        if (text.starts_with("ktest done")) {
            run.done = true;
            run.last.clear();
        } else if (std::sscanf(text.c_str(), "ktest start %127s", name) == 1) {
            run.last = name;
            current->set_patience(timeout);
        } else if (std::sscanf(text.c_str(), "ktest %127s %15s%n", name, word, &used) == 2) {
            bool ok = std::string(word) == "ok";
            run.results[name] = ok ? "" : text.substr(static_cast<size_t>(used));
            run.last.clear();
        }
    };
    Streams streams;
    streams.on_error = [](std::string_view) {};
    streams.on_output = [&](std::string_view bytes) {
        tail.append(bytes);
        for (size_t end; (end = tail.find('\n')) != std::string::npos; tail.erase(0, end + 1))
            line(tail.substr(0, end));
    };
    Session session(spec, streams);
    current = &session;
    session.set_patience(kTestTimeout);
    run.outcome = session.run();
    return run;
}

// The names in core/check_names.hpp, in its order.
std::vector<std::string> all_checks() {
    std::string text = read_file(source_dir() / "core" / "check_names.hpp");
    size_t from = text.find("#define FARCALL_CHECKS"), to = text.find("enum class Check");
    if (from == std::string::npos || to == std::string::npos) fail("core/check_names.hpp has no list of checks");
    text = text.substr(from, to - from);
    std::vector<std::string> names;
    static const std::regex pattern("X\\((\\w+)\\)");
    for (std::sregex_iterator i(text.begin(), text.end(), pattern), end; i != end; ++i) names.push_back((*i)[1]);
    return names;
}

}  // namespace

Tally test_native(int cpus, const std::string& fastpath) {
    Tally tally;
    const std::string label = "native[cpus=" + std::to_string(cpus) + " fastpath=" + fastpath + "] ";
    NativeRun run = run_native(cpus, fastpath, "", {}, kTestTimeout);
    for (const auto& [name, why] : run.results) tally.check(why.empty(), label + name, why);
    if (!run.done) {
        std::string text = symbolize(run.outcome.dump.empty() ? run.outcome.serial : run.outcome.dump, run.kernel);
        size_t from = text.size() > 6000 ? text.size() - 6000 : 0;
        tally.check(false, label + (run.last.empty() ? "end" : run.last),
                    "the run did not end after " + std::to_string(run.results.size()) + " tests\n" + run.outcome.text +
                        text.substr(from));
    }
    return tally;
}

// A check counts as tested when each test that names it fails without it, or takes the machine with it.
Tally test_checks(size_t sample, uint64_t seed, const std::vector<std::string>& only) {
    Tally tally;
    std::vector<std::string> names = only.empty() ? all_checks() : only;
    if (sample != 0 && sample < names.size()) {
        std::mt19937_64 random(seed);
        std::shuffle(names.begin(), names.end(), random);
        names.resize(sample);
        std::printf("checks: %zu of them, seed %llu\n", sample, static_cast<unsigned long long>(seed));
    }
    for (const std::string& name : names) {
        // With one CPU no test can miss another.
        const int cpus = name == "sched_cpus_held" ? 2 : 1;
        NativeRun run = run_native(cpus, "none", "check=" + name, {"check=" + name}, kBrokenTimeout);
        // A test that crashed or hung is recorded; those after it run in the next machine.
        std::string blind;
        size_t noticed = 0;
        std::set<std::string> seen;
        for (;;) {
            for (const auto& [test, why] : run.results) {
                if (!seen.insert(test).second) continue;
                if (why.empty())
                    blind += " " + test;
                else
                    ++noticed;
            }
            if (run.done || run.last.empty() || !seen.insert(run.last).second) break;
            ++noticed;
            run = run_native(cpus, "none", "check=" + name, {"check=" + name, "after=" + run.last}, kBrokenTimeout);
        }
        bool ok = noticed != 0 && blind.empty();
        tally.check(ok, "checks/" + name,
                    !blind.empty()             ? "passed without it:" + blind
                    : run.outcome.text.empty() ? "no test names it"
                                               : run.outcome.text);
    }
    return tally;
}

}  // namespace cli
