// SPDX-License-Identifier: MIT
// `farcall test stretch`: the guest cases on one CPU, inline, under an instruction counter: no stretch with interrupts off
// may be longer than kLongestStretch, but for the exceptions of tests/linux/stretches.txt, which may only shrink: an
// exception that no case needs any more fails the run over all areas.
//
// What the cases print is not compared: time is counted in instructions here, and `guest` compares.
#include <algorithm>
#include <cstdio>

#include "cli/commands.hpp"
#include "cli/stretch.hpp"
#include "cli/tests.hpp"

namespace cli {

Tally test_stretch(const BatchOptions& options, const std::string& label, const std::vector<Case>& cases) {
    Tally tally;
    if (cases.empty()) fail("no case matches");
    const auto exceptions = load_stretch_exceptions();
    TempDir scratch;
    const fs::path out = scratch.path() / "stretches";
    size_t from = 0;
    unsigned begun = 0;                       // cases of this batch that have ended, and the one that ends now
    std::vector<Stretch> waiting;             // of cases whose end is still under way from the guest
    std::map<std::string, uint64_t> longest;  // of the exceptions that were needed
    fs::path kernel;

    BatchTarget target = farcall_target(1, "inline");
    auto machine = target.machine;
    target.slowness = 8;
    target.machine = [&] {
        MachineSpec spec = machine();
        measure_stretches(spec, out);
        kernel = spec.kernel;
        from = 0;
        begun = 0;
        waiting.clear();
        return spec;
    };
    run_cases(cases, target, [&](const Case& item, const CaseResult& result) {
        std::map<std::string, std::vector<Stretch>> by_call;
        ++begun;
        for (Stretch& stretch : read_stretches(out, from)) waiting.push_back(std::move(stretch));
        std::erase_if(waiting, [&](Stretch& stretch) {
            if (stretch.marks > begun) return false;
            by_call[stretch.call].push_back(std::move(stretch));
            return true;
        });
        std::string why;
        if (result.status.starts_with("lost")) why = result.status;
        for (auto& [call, list] : by_call) {
            uint64_t most = 0;
            for (const Stretch& stretch : list) most = std::max(most, stretch.instructions);
            auto known = exceptions.find(call);
            if (known != exceptions.end()) longest[call] = std::max(longest[call], most);
            if (known != exceptions.end() && most <= known->second.instructions) continue;
            why += (why.empty() ? "" : "; ") + call + " " + std::to_string(list.size()) + " times, up to " +
                   std::to_string(most) + " instructions: " + where_spent(list, kernel);
        }
        tally.check(why.empty(), "[" + label + "] " + item.full_name(), why);
        if (options.verbose && why.empty()) std::printf("ok   [%s] %s\n", label.c_str(), item.full_name().c_str());
        return true;
    });
    if (options.areas.empty() && options.cases.empty()) {
        for (const auto& [call, entry] : exceptions)
            tally.check(longest.count(call) != 0, "[" + label + "] exception " + call,
                        "no case needs it any more: take it out of tests/linux/stretches.txt");
    }
    return tally;
}

}  // namespace cli
