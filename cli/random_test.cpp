// SPDX-License-Identifier: MIT
// Random programs and races of the native interface (tests/random), a part of `farcall test ktest`, and `farcall test
// random`. On one CPU a random program must have the same outcome, step by step, with and without fastpaths; on more
// the program itself checks what must hold of any outcome, as races do.
#include <algorithm>
#include <cstdio>
#include <map>
#include <thread>

#include "cli/commands.hpp"
#include "cli/symbolize.hpp"
#include "cli/tests.hpp"

namespace cli {

namespace {

constexpr int kSeedsAtOnce = 200;      // in one machine
constexpr uint64_t kSaidEvery = 2000;  // seeds, in a long run

struct Batch {
    std::string program;
    int cpus = 1;
    std::string fastpath;
    bool debug_kernel = false, with_log = false;
    uint64_t first = 1;
    int seeds = 1;
};

// What the machine reports of a batch; a panic's dump, or that it did not end, follows.
std::string output_of(const Batch& batch) {
    RunOptions options;
    options.cpus = batch.cpus;
    options.native = "tests/random/" + batch.program;
    options.fastpath = batch.fastpath;
    options.debug = batch.debug_kernel;
    options.program = {std::to_string(batch.first), std::to_string(batch.seeds)};
    if (batch.with_log) options.program.push_back("log");
    if (batch.cpus == 1 && batch.program == "random") {
        options.accel = "tcg,thread=single";
        options.qemu_args = {"-icount", "shift=0,sleep=off"};  // a clock that counts instructions
    }
    TempDir scratch;
    MachineSpec spec = native_machine(options, scratch);
    if (batch.cpus > static_cast<int>(std::thread::hardware_concurrency()))
        spec.plugin = (build_dir() / "host" / "turn_plugin.so").string();
    std::string output;
    Streams streams;
    streams.on_output = [&](std::string_view text) { output.append(text); };
    Session session(spec, streams);
    session.set_patience(60 + (batch.debug_kernel ? 4 : 1) * batch.seeds);
    Outcome outcome = session.run();
    if (outcome.kind == Outcome::Kind::Exit) return output;
    std::string dump = symbolize(outcome.dump.empty() ? outcome.serial : outcome.dump, spec.kernel);
    return output + outcome.text + "\n" + dump.substr(dump.size() > 12000 ? dump.size() - 12000 : 0);
}

// The seeds that failed, and whether all of them ran.
void check_batch(Tally& tally, const std::string& label, const Batch& batch, const std::string& output) {
    for (const std::string& line : split_lines(output))
        if (line.find(" FAIL ") != std::string::npos) tally.check(false, label, line);
    const bool done = output.find("\n" + batch.program + " done") != std::string::npos;
    tally.check(
        done, label + " seeds from " + std::to_string(batch.first),
        done ? "" : "the run did not end:\n" + output.substr(output.size() > 16000 ? output.size() - 16000 : 0));
}

std::map<uint64_t, std::string> outcomes_in(const std::string& output) {
    std::map<uint64_t, std::string> outcomes;
    for (const std::string& line : split_lines(output)) {
        unsigned long long seed;
        if (std::sscanf(line.c_str(), "outcome %llu", &seed) == 1) outcomes[seed] = line;
    }
    return outcomes;
}

// Where the logs of one seed begin to differ.
std::string difference(Batch batch, uint64_t seed, const std::string& fastpath) {
    batch.first = seed;
    batch.seeds = 1;
    batch.with_log = true;
    const auto first = split_lines(output_of(batch));
    batch.fastpath = fastpath;
    const auto second = split_lines(output_of(batch));
    auto [here, there] = std::mismatch(first.begin(), first.end(), second.begin(), second.end());
    auto line = [](auto at, auto end) { return at == end ? std::string("nothing\n") : *at; };
    return "seed " + std::to_string(seed) + ", line " + std::to_string(here - first.begin() + 1) + ": with all " +
           line(here, first.end()) + "here " + line(there, second.end());
}

void say_progress(const std::string& label, uint64_t first, uint64_t next, int left, const Tally& tally) {
    if ((next - first) % kSaidEvery != 0 || left <= 0) return;
    std::fprintf(stderr, "%s: seeds up to %llu, %d failed\n", label.c_str(), static_cast<unsigned long long>(next - 1),
                 tally.failed);
}

}  // namespace

Tally test_native_random(int cpus, uint64_t first, int seeds, const std::vector<std::string>& fastpaths) {
    Tally tally;
    const std::string label = "random[cpus=" + std::to_string(cpus) + "]";
    uint64_t next = first;
    for (int left = seeds; left > 0; left -= kSeedsAtOnce) {
        Batch batch{
            .program = "random", .cpus = cpus, .fastpath = {}, .first = next, .seeds = std::min(left, kSeedsAtOnce)};
        std::map<uint64_t, std::string> with_first;
        for (const std::string& fastpath : fastpaths) {
            batch.fastpath = fastpath;
            const std::string output = output_of(batch);
            check_batch(tally, label + " " + fastpath, batch, output);
            if (cpus != 1) continue;
            const auto outcomes = outcomes_in(output);
            if (with_first.empty()) with_first = outcomes;
            auto [here, there] = std::mismatch(with_first.begin(), with_first.end(), outcomes.begin(), outcomes.end());
            const bool same = here == with_first.end() && there == outcomes.end();
            Batch as_first = batch;
            as_first.fastpath = fastpaths[0];
            tally.check(
                same, label + " " + fastpath + " as " + fastpaths[0],
                same ? "" : difference(as_first, here == with_first.end() ? there->first : here->first, fastpath));
        }
        next += static_cast<uint64_t>(batch.seeds);
        say_progress(label, first, next, left - kSeedsAtOnce, tally);
    }
    return tally;
}

Tally test_native_race(int cpus, bool debug_kernel, uint64_t first, int seeds) {
    Tally tally;
    const std::string label = "race[cpus=" + std::to_string(cpus) + (debug_kernel ? " debug" : "") + "]";
    struct Count {
        unsigned long long done = 0, waited = 0, refused = 0;
    };
    std::map<std::string, Count> counts;
    Count all;
    uint64_t next = first;
    for (int left = seeds; left > 0; left -= kSeedsAtOnce) {
        const Batch batch{.program = "race",
                          .cpus = cpus,
                          .fastpath = "all",
                          .debug_kernel = debug_kernel,
                          .first = next,
                          .seeds = std::min(left, kSeedsAtOnce)};
        const std::string output = output_of(batch);
        check_batch(tally, label, batch, output);
        for (const std::string& line : split_lines(output)) {
            char name[64];
            Count c;
            if (std::sscanf(line.c_str(), "call %63s done %llu waited %llu refused %llu", name, &c.done, &c.waited,
                            &c.refused) != 4)
                continue;
            for (Count* sum : {&counts[name], &all}) {
                sum->done += c.done;
                sum->waited += c.waited;
                sum->refused += c.refused;
            }
        }
        next += static_cast<uint64_t>(batch.seeds);
        say_progress(label, first, next, left - kSeedsAtOnce, tally);
    }
    for (const auto& [name, c] : counts)
        std::printf("%s %-20s done %9llu  waited %9llu  refused %9llu\n", label.c_str(), name.c_str(), c.done, c.waited,
                    c.refused);
    const auto made = all.done + all.waited + all.refused;
    tally.check(all.done * 2 > made, label + " most calls succeed",
                std::to_string(all.done) + " of " + std::to_string(made));
    return tally;
}

}  // namespace cli
