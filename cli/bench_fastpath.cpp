// SPDX-License-Identifier: MIT
// `farcall bench fastpath`: fastpaths against slowpaths in cycles, by the experiments of "Adding SMP support to
// fastpaths in an L4 microkernel" and Farcall's own (bench/native/fastpath.cpp, docs/benchmarks.md). Fast and slow
// alternate within a guest; ratios are taken between adjacent runs and their median is the figure.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "abi/trace.hpp"
#include "cli/bench.hpp"
#include "cli/bench_figures.hpp"
#include "cli/stats.hpp"

namespace cli {

namespace {

using namespace figures;

constexpr int kRuns = 5;
constexpr double kGuestTimeout = 300;
constexpr int kThreads[] = {1, 2, 4, 8, 16}, kFactors[] = {0, 1, 4, 16, 64};

void run_guest(const BenchOptions& options, Data& data, int run_number, int cpus,
               const std::vector<std::string>& words) {
    RunOptions run;
    run.cpu = options.cpu;
    run.cpus = cpus;
    run.verbose = options.verbose;
    run.native = "bench/native/fastpath";
    run.program = words;
    TempDir scratch;
    MachineSpec spec = native_machine(run, scratch);
    std::string output;
    Streams streams;
    streams.on_output = [&](std::string_view text) { output.append(text); };
    Session session(spec, streams);
    session.set_timeout(kGuestTimeout);
    Outcome outcome = session.run();
    bool done = false;
    for (const std::string& line : split_lines(output)) {
        char name[128];
        int block;
        double value;
        if (std::sscanf(line.c_str(), "v %127s %d %lf", name, &block, &value) == 3)
            data[name][{run_number, block}] = value;
        else if (line.starts_with("error "))
            std::fprintf(stderr, "farcall: bench fastpath: %s", line.c_str());
        else
            done |= line.starts_with("done");
    }
    if (!done || outcome.kind != Outcome::Kind::Exit || outcome.value != 0) report(outcome, spec, run.native);
}

class Report {
public:
    explicit Report(const Data& data) : data_(data) {}
    std::vector<Row> rows;
    std::vector<Table> tables;

    void add(std::string name, std::string what, const Values& values, double goal, std::string note = "",
             std::string unit = "slow / fast") {
        rows.push_back({.name = std::move(name),
                        .unit = std::move(unit),
                        .what = std::move(what),
                        .note = std::move(note),
                        .spread = spread(values),
                        .goal = goal});
    }

    void ratio_rows() {
        struct Kind {
            const char *name, *send, *what;
            double goal;
        };
        constexpr Kind kKinds[] = {{"exception", "exception", "system-call exception to its handler and back", 2.5},
                                   {"ipc", "call", "call and answer", 2},
                                   {"signal", "signal", "signal that wakes a thread", 0}};
        Table table{.title = "Cycles of each path, one space, one CPU",
                    .head = {"path", "fast", "99th", "slow", "99th", "slow / fast"},
                    .lines = {}};
        const double counter = median(data_, "counter");
        for (const Kind& k : kKinds) {
            const std::string prefix = std::string("ratio.") + k.name + ".", name = k.name;
            add(name + "_round", std::string(k.what) + ", untraced",
                ratio(data_, prefix + "round.slow", prefix + "round.fast"), k.goal);
            std::vector<std::string> halves{prefix + k.send};
            if (k.goal != 0) halves.push_back(prefix + "reply");
            std::vector<std::string> names;
            for (const char* mode : {".slow.median", ".fast.median"})
                for (const std::string& half : halves) names.push_back(half + mode);
            // Each record holds what one look at the counter costs.
            Values paths = together(data_, names, [&](const std::vector<double>& v) {
                double sum[2] = {};
                for (size_t i = 0; i < v.size(); ++i) sum[i >= v.size() / 2] += v[i] - counter;
                return sum[1] > 0 ? sum[0] / sum[1] : 0;
            });
            add(name + "_paths", std::string(k.what) + ", the paths in the kernel", paths, k.goal,
                "less " + number(counter) + " cycles of the counter itself in each");
            for (const std::string& half : halves)
                table.lines.push_back(path_line(half.substr(6), half + ".fast", half + ".slow"));
            table.lines.push_back({name + " round trip", number(median(data_, prefix + "round.fast")), "",
                                   number(median(data_, prefix + "round.slow")), "",
                                   number(rows[rows.size() - 2].spread.median)});
        }
        tables.push_back(table);
    }

    void load_rows(int cpus) {
        const std::string prefix = "load." + std::to_string(cpus) + ".", fast = prefix + "fast.",
                          slow = prefix + "slow.";
        Table table{.title = "Under load, " + std::to_string(cpus) + (cpus == 1 ? " CPU" : " CPUs") + ": cycles",
                    .head = {"path", "fast", "99th", "slow", "99th", "slow / fast"},
                    .lines = {}};
        for (const char* path : {"exception", "reply"})
            table.lines.push_back(path_line(path, fast + path + ".fast", slow + path + ".slow"));
        tables.push_back(table);
        // A block without any slow exception has no such value.
        Values share;
        for (const auto& [place, through] : at(data_, fast + "exception.fast.count")) {
            const Values& others = at(data_, fast + "exception.slow.count");
            auto found = others.find(place);
            share[place] = through / (through + (found == others.end() ? 0 : found->second));
        }
        std::string note;
        for (const char* path : {"exception", "reply"}) {
            std::map<std::string, uint64_t> reasons;
            const std::string start = fast + path + ".fast.failed.";
            for (const auto& [name, values] : data_) {
                if (!name.starts_with(start)) continue;
                for (const auto& [place, value] : values)
                    reasons[test_name(name.substr(start.size()))] += static_cast<uint64_t>(value);
            }
            if (!reasons.empty())
                note += (note.empty() ? "left at: " : "; ") + std::string(path) + " " + ranked(reasons);
        }
        const std::string which = "load_" + std::to_string(cpus);
        add(which + "_share", "exceptions on the fastpath", share, 0.95, note, "share");
        Values paths = together(data_,
                                {slow + "exception.slow.median", slow + "reply.slow.median",
                                 fast + "exception.fast.median", fast + "reply.fast.median"},
                                [](const auto& v) { return (v[0] + v[1]) / (v[2] + v[3]); });
        add(which + "_paths", "exception and answer under load", paths, 0);
    }

    void contention_rows(int cpus) {
        for (const char* kind : {"exception", "ipc"}) {
            Table table{
                .title =
                    std::string("Contention, ") + kind + ", " + std::to_string(cpus) + (cpus == 1 ? " CPU" : " CPUs"),
                .head = {"threads, wait factor", "fast", "slow", "slow / fast", "quartiles", "round fast", "round slow",
                         "slow / fast", "on fastpaths", "contended fast", "slow", "longest fast", "slow"},
                .lines = {}};
            double least = 0;
            Spread least_spread;
            std::string where;
            size_t below = 0, points = 0;
            for (int factor : kFactors) {
                for (int threads : kThreads) {
                    const Contention point(data_, cpus, kind, threads, factor);
                    if (point.paths.count == 0) continue;
                    ++points;
                    below += point.round.median < 1;
                    const std::string label = std::to_string(threads) + ", " + std::to_string(factor);
                    if (where.empty() || point.paths.median < least) {
                        least = point.paths.median;
                        least_spread = point.paths;
                        where = label;
                    }
                    table.lines.push_back({label, number(point.fast), number(point.slow), number(point.paths.median),
                                           number(point.paths.q1) + ".." + number(point.paths.q3),
                                           number(point.round_fast), number(point.round_slow),
                                           number(point.round.median), percent(point.through / 1000),
                                           percent(point.contended[0]), percent(point.contended[1]),
                                           number(point.longest[0]), number(point.longest[1])});
                }
            }
            tables.push_back(table);
            Row row{.name = std::string("contention_") + kind + "_" + std::to_string(cpus),
                    .unit = "slow / fast",
                    .what = std::string(kind) + ": cycles of the paths, least of the grid",
                    .note = "at " + where + "; round trips slower at " + std::to_string(below) + " of " +
                            std::to_string(points) + " points",
                    .spread = least_spread,
                    .goal = 1};
            rows.push_back(row);
        }
    }

    void pairs_rows() {
        size_t left_out = 0;
        auto speedup = [](const std::vector<double>& v) { return (v[0] + v[1]) / 2 / v[2]; };
        auto speedups = [&](bool any_line) {
            Values result;
            left_out = 0;
            for (const auto& [place, value] : together(data_, {"pairs.one.0", "pairs.one.1", "pairs.two"}, speedup)) {
                auto ping = at(data_, "ping").find(place);
                const bool slow = ping == at(data_, "ping").end() || ping->second > kPingLimit;
                left_out += slow;
                if (!slow || any_line) result[place] = value;
            }
            return result;
        };
        Values values = speedups(false);
        std::string note = "line " + number(median(data_, "ping")) + " ns; one pair " +
                           number(median(data_, "pairs.one.0") / 10) + " and " +
                           number(median(data_, "pairs.one.1") / 10) + " cycles a round trip, two " +
                           number(median(data_, "pairs.two") / 10);
        const bool quiet = values.size() > left_out;
        if (values.empty()) {
            values = speedups(true);
            note += "; in every block the line took more than 150 ns: the host was busy";
        }
        add("pairs", "round trips of two pairs on two CPUs, of one pair", values, 1.9, note, "times");
        rows.back().left_out = left_out;
        rows.back().quiet = quiet;
        add("pairs_bare", "a loop of user code on two CPUs, of one",
            together(data_, {"bare.one.0", "bare.one.1", "bare.two"}, speedup), 0,
            "what the host gives two of the guest's CPUs", "times");
    }

    // One point of the grid.
    struct Contention {
        Spread paths, round;
        double fast, slow, round_fast, round_slow, through, contended[2], longest[2];
        Contention(const Data& data, int cpus, const std::string& kind, int threads, int factor) {
            const std::string prefix = "contention." + std::to_string(cpus) + "." + kind + "." +
                                       std::to_string(threads) + "." + std::to_string(factor) + ".";
            auto sum = [](const std::vector<double>& v) { return v[0] + v[1]; };
            Data both{{"fast", together(data, {prefix + "fast.send", prefix + "fast.reply"}, sum)},
                      {"slow", together(data, {prefix + "slow.send", prefix + "slow.reply"}, sum)}};
            paths = spread(ratio(both, "slow", "fast"));
            fast = median(both, "fast");
            slow = median(both, "slow");
            round = spread(ratio(data, prefix + "slow.round", prefix + "fast.round"));
            round_fast = median(data, prefix + "fast.round");
            round_slow = median(data, prefix + "slow.round");
            through = median(data, prefix + "fast.through");
            for (int i = 0; i < 2; ++i) {
                const std::string mode = prefix + (i == 0 ? "fast." : "slow.");
                contended[i] = spread(ratio(data, mode + "contended", mode + "taken")).median;
                longest[i] = median(data, mode + "longest");
            }
        }
    };

private:
    static std::string percent(double share) { return number(share * 100) + " %"; }
    static std::string test_name(const std::string& n) {
        size_t i = static_cast<size_t>(std::atoi(n.c_str()));
        return i < std::size(abi::trace::kTestNames) && i != 0 ? abi::trace::kTestNames[i] : "test " + n;
    }
    std::vector<std::string> path_line(const std::string& label, const std::string& fast, const std::string& slow) {
        return {label,
                number(median(data_, fast + ".median")),
                number(median(data_, fast + ".p99")),
                number(median(data_, slow + ".median")),
                number(median(data_, slow + ".p99")),
                number(spread(ratio(data_, slow + ".median", fast + ".median")).median)};
    }
    const Data& data_;
};

// The paper's Figures 1 and 2: contention and duration over the number of threads, a curve for each wait factor.
void plot(const Data& data, const fs::path& directory) {
    for (int cpus : {1, 2}) {
        for (const std::string kind : {"exception", "ipc"}) {
            for (const std::string figure : {"contention", "duration"}) {
                std::string points, curves;
                int index = 0;
                for (int mode = 0; mode < 2; ++mode) {
                    for (int factor : kFactors) {
                        std::string block;
                        for (int threads : kThreads) {
                            const Report::Contention point(data, cpus, kind, threads, factor);
                            if (point.paths.count == 0) continue;
                            double value = figure == "duration" ? (mode == 0 ? point.fast : point.slow)
                                                                : 100 * point.contended[mode];
                            block += std::to_string(threads) + " " + std::to_string(value) + "\n";
                        }
                        if (block.empty()) continue;
                        points += block + "\n\n";
                        curves += std::string(curves.empty() ? "" : ", ") + "'points' index " +
                                  std::to_string(index++) + " with linespoints dashtype " + (mode == 0 ? "1" : "2") +
                                  " linecolor " +
                                  std::to_string(1 + (std::find(std::begin(kFactors), std::end(kFactors), factor) -
                                                      std::begin(kFactors))) +
                                  " title '" + (mode == 0 ? "fast" : "slow") + ", wait factor " +
                                  std::to_string(factor) + "'";
                    }
                }
                if (curves.empty()) continue;
                const std::string name = figure + "-" + kind + "-" + std::to_string(cpus) + ".svg";
                draw(directory, name, points,
                     "set terminal svg size 800,500 background '#ffffff'\nset output '" + name + "'\nset title '" +
                         kind + ", " + std::to_string(cpus) + (cpus == 1 ? " CPU" : " CPUs") +
                         "'\nset logscale x 2\nset xlabel 'threads per handler'\nset ylabel '" +
                         (figure == "duration" ? "cycles of an event in the kernel"
                                               : "contended acquisitions of the lock, %") +
                         "'\nset yrange [0:]\nset key outside right\nplot " + curves + "\n");
            }
        }
    }
}

}  // namespace

int bench_fastpath_command(const BenchOptions& options) {
    if (options.linux_load) return bench_linux_load_command(options);
    constexpr const char* kExperiments[] = {"ratio", "load", "contention", "pairs"};
    auto wanted = [&](const std::string& name) {
        return options.rows.empty() ||
               std::any_of(options.rows.begin(), options.rows.end(),
                           [&](const std::string& part) { return name.find(part) != std::string::npos; });
    };
    if (std::none_of(std::begin(kExperiments), std::end(kExperiments), wanted))
        fail("bench fastpath: --row is one of ratio, load, contention, pairs");
    if (options.on_linux || !options.profile.empty())
        fail("bench fastpath: --linux and --profile belong to other benchmarks");
    double load = 0;
    ::getloadavg(&load, 1);
    auto count = [&](int usual, int least) {
        return std::to_string(std::max(static_cast<int>(static_cast<long>(usual) * options.percent / 100), least));
    };
    const int runs = options.runs == 0 ? kRuns : options.runs;
    const int host_cpus = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
    Data data;
    for (int run = 0; run < runs; ++run) {
        if (::isatty(2)) std::fprintf(stderr, "\r\033[Krun %d of %d", run + 1, runs);
        const bool brief = options.percent < 20;
        if (wanted("ratio"))
            run_guest(options, data, run, 1,
                      {"ratio", std::string("blocks=") + (brief ? "2" : "8"), "count=" + count(2000, 40)});
        if (wanted("load")) {
            for (int cpus : {1, 2})
                run_guest(options, data, run, cpus,
                          {"load", std::string("blocks=") + (brief ? "1" : "3"), "ms=" + count(200, 50)});
        }
        if (wanted("contention")) {
            for (int cpus : {1, 2})
                run_guest(options, data, run, cpus,
                          {"contention", "events=" + count(3000, 48), "seed=" + std::to_string(run)});
        }
        if (wanted("pairs"))
            run_guest(options, data, run, 2,
                      {"pairs", std::string("blocks=") + (brief ? "2" : "8"), "count=" + count(20'000, 400)});
    }
    if (::isatty(2)) std::fputs("\r\033[K", stderr);
    Report report(data);
    if (wanted("ratio")) report.ratio_rows();
    for (int cpus : {1, 2})
        if (wanted("load")) report.load_rows(cpus);
    for (int cpus : {1, 2})
        if (wanted("contention")) report.contention_rows(cpus);
    if (wanted("pairs")) report.pairs_rows();

    if (host_cpus < 2) std::printf("the host has one CPU: figures of two say nothing\n");
    show(options, report.rows, report.tables, data,
         {.section = "Fastpaths",
          .text =
              "Fastpaths against slowpaths, in cycles, by `./farcall bench fastpath`; docs/benchmarks.md says what is "
              "measured.",
          .runs = runs,
          .load = load});
    if (!options.plot.empty()) plot(data, options.plot);
    return 0;
}

}  // namespace cli
