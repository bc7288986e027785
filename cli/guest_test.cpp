// SPDX-License-Identifier: MIT
// Guest tests: what a case gave on Farcall against what was recorded on Linux; and mutants, which must be noticed.
//
// Mutants: booted with `mutants=list` the kernel writes `mutant CALL TEST` lines to the control port, one for each
// implemented call with its test (AREA or AREA/CASE, as its table row names it), then `mutants done`. Booted with
// `mutant=CALL:zero` or `mutant=CALL:einval` it answers that call so for every process but the first.
#include <algorithm>
#include <cstdio>
#include <map>
#include <random>

#include "cli/commands.hpp"
#include "cli/tests.hpp"

namespace cli {

bool same_as_recorded(const Case& item, const CaseResult& result, const Recording& recording, std::string& why) {
    auto found = recording.entries.find(item.name);
    if (found == recording.entries.end()) {
        why = "nothing is recorded (./farcall oracle record " + item.area + ")";
        return false;
    }
    const Recording::Entry& entry = found->second;
    if (entry.command != item.command) {
        why = "the recording is of another command (./farcall oracle record " + item.area + ")";
        return false;
    }
    if (result == entry.result) return true;
    why.clear();
    if (result.status != entry.result.status) why += "status " + result.status + ", on Linux " + entry.result.status;
    if (!result.status.starts_with("lost")) {
        why += "\n" + unified_diff(entry.result.output, result.output, "linux/stdout", "farcall/stdout");
        why += unified_diff(entry.result.error, result.error, "linux/stderr", "farcall/stderr");
        while (why.ends_with('\n')) why.pop_back();
    }
    return false;
}

Tally test_guest(const BatchOptions& options, const std::string& label, const std::vector<Case>& all,
                 const BatchTarget& target) {
    Tally tally;
    if (all.empty()) fail("no case matches");
    std::vector<Case> cases = all;
    if (!target.disks) std::erase_if(cases, [](const Case& item) { return !item.disks.empty(); });
    std::map<std::string, Recording> recordings;
    for (const Case& item : cases) {
        if (!recordings.count(item.area)) recordings[item.area] = load_recording(item.area);
    }
    Clock::time_point last = Clock::now();
    run_cases(cases, target, [&](const Case& item, const CaseResult& result) {
        std::string why;
        bool same = same_as_recorded(item, result, recordings[item.area], why);
        const double seconds = seconds_since(last);
        last = Clock::now();
        tally.check(same, "[" + label + "] " + item.full_name(), why);
        if (options.verbose && same)
            std::printf("ok   [%s] %-48s %6.2f s\n", label.c_str(), item.full_name().c_str(), seconds);
        return true;
    });
    return tally;
}

namespace {

struct Mutant {
    std::string call, test, kind;
};

std::vector<Mutant> list_mutants() {
    std::vector<Mutant> mutants;
    RunOptions options;
    options.append = "mutants=list";
    options.test_kernel = true;
    MachineSpec spec = farcall_machine(options);
    TempDir scratch;
    RootImage root = open_root("", scratch);
    CpioWriter extra;
    extra.assume(root.names);
    extra.file(".farcall/init", start_file({"/bin/busybox", "true"}, default_environment(false)), 0600);
    spec.initrd = compose_initrd(root, extra.finish(), scratch);
    spec.append += " tty=0 stdin=null";
    Streams streams;
    streams.on_output = streams.on_error = [](std::string_view) {};
    streams.on_control = [&](std::string_view line) {
        char call[64], test[128], only[16] = "";
        if (!line.starts_with("mutant ")) return;
        if (std::sscanf(std::string(line).c_str(), "mutant %63s %127s %15s", call, test, only) < 2) return;
        for (const char* kind : {"zero", "einval"})
            if (!*only || std::string(only) == kind) mutants.push_back({call, test, kind});
    };
    Session session(spec, streams);
    session.set_patience(30);
    session.run();
    return mutants;
}

std::vector<Case> cases_of(const std::string& test) {
    size_t slash = test.find('/');
    BatchOptions options;
    options.areas = {test.substr(0, slash)};
    if (slash != std::string::npos) options.cases = {test.substr(slash + 1)};
    return load_cases(options);
}

}  // namespace

std::vector<std::string> implemented_calls() {
    std::vector<std::string> calls;
    for (const Mutant& mutant : list_mutants())
        if (calls.empty() || calls.back() != mutant.call) calls.push_back(mutant.call);
    return calls;
}

Tally test_mutants(size_t sample, const std::vector<std::string>& calls) {
    Tally tally;
    std::vector<Mutant> mutants = list_mutants();
    if (mutants.empty()) {
        std::fprintf(stderr, "farcall: the kernel lists no mutants (mutants=list)\n");
        return tally;
    }
    if (!calls.empty()) {
        std::erase_if(mutants, [&](const Mutant& mutant) {
            return std::find(calls.begin(), calls.end(), mutant.call) == calls.end();
        });
    }
    if (sample && sample < mutants.size()) {
        std::shuffle(mutants.begin(), mutants.end(), std::mt19937(1));
        mutants.resize(sample);
    }
    for (const Mutant& mutant : mutants) {
        const std::string name = "mutant " + mutant.call + ":" + mutant.kind;
        std::vector<Case> cases = mutant.test == "-" ? std::vector<Case>{} : cases_of(mutant.test);
        if (cases.empty()) {
            tally.check(false, name, "the table names no test for this call (" + mutant.test + ")");
            continue;
        }
        BatchTarget target = farcall_target(1, "inline", {}, true);
        auto machine = target.machine;
        target.machine = [machine, mutant] {
            MachineSpec spec = machine();
            spec.append += " mutant=" + mutant.call + ":" + mutant.kind;
            return spec;
        };
        std::map<std::string, Recording> recordings;
        bool noticed = false;
        std::vector<Case> limited = cases;
        for (Case& item : limited) item.timeout = std::min(item.timeout, 5);  // a mutant may well hang its test
        run_cases(limited, target, [&](const Case& item, const CaseResult& result) {
            std::string why;
            if (!recordings.count(item.area)) recordings[item.area] = load_recording(item.area);
            noticed |= !same_as_recorded(item, result, recordings[item.area], why);
            return !noticed;
        });
        tally.check(noticed, name, mutant.test + " did not notice it");
    }
    return tally;
}

}  // namespace cli
