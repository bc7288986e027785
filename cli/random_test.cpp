// SPDX-License-Identifier: MIT
// `farcall test ktest`, the part with random programs (tests/random): on one CPU each must have the same outcome, step by step,
// with and without fastpaths; on more the program itself checks what must hold of any outcome.
#include <algorithm>

#include "cli/commands.hpp"
#include "cli/tests.hpp"

namespace cli {

namespace {

std::string random_log(int cpus, const std::string& fastpath, int seeds) {
    RunOptions options;
    options.cpus = cpus;
    options.native = "tests/random/random";
    options.fastpath = fastpath;
    options.program = {"1", std::to_string(seeds)};
    if (cpus == 1) {
        options.program.push_back("log");
        options.accel = "tcg,thread=single";
        options.qemu_args = {"-icount", "shift=0,sleep=off"};  // a clock that counts instructions
    }
    TempDir scratch;
    MachineSpec spec = native_machine(options, scratch);
    std::string output;
    Streams streams;
    streams.on_output = [&](std::string_view text) { output.append(text); };
    Session session(spec, streams);
    session.set_patience(60 + seeds);
    Outcome outcome = session.run();
    if (outcome.kind != Outcome::Kind::Exit) report(outcome, spec, options.native);
    return output;
}

}  // namespace

Tally test_native_random(int cpus, int seeds) {
    Tally tally;
    const std::string label = "random[cpus=" + std::to_string(cpus) + "] ";
    std::vector<std::string> first;
    for (const char* fastpath : {"all", "none", "exception", "ipc", "notify"}) {
        const std::string log = random_log(cpus, fastpath, seeds);
        const auto lines = split_lines(log);
        for (const std::string& line : lines)
            if (line.find(" FAIL ") != std::string::npos) tally.check(false, label + fastpath, line);
        tally.check(log.find("random done") != std::string::npos, label + fastpath, "the run did not end:\n" + log);
        if (first.empty()) first = lines;
        if (cpus != 1) continue;
        auto [here, there] = std::mismatch(first.begin(), first.end(), lines.begin(), lines.end());
        const bool same = here == first.end() && there == lines.end();
        auto line = [](auto at, auto end) { return at == end ? std::string("nothing\n") : *at; };
        tally.check(same, label + fastpath + " as all",
                    same ? ""
                         : "line " + std::to_string(here - first.begin() + 1) + ": with all " +
                               line(here, first.end()) + "here " + line(there, lines.end()));
    }
    return tally;
}

}  // namespace cli
