// SPDX-License-Identifier: MIT
// `farcall bench fastpath --linux-load`: experiment (a) of "Adding SMP support to fastpaths in an L4 microkernel" with
// Linux programs on the server route: on each CPU three that do I/O, block and fault, beside three that compute. Three
// guests a run: one counts, without a trace; one with fastpaths and one without give the cycles of the paths.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "abi/native.hpp"
#include "cli/bench.hpp"
#include "cli/bench_figures.hpp"
#include "cli/stats.hpp"
#include "cli/trace.hpp"

namespace cli {

namespace {

using namespace figures;
using namespace abi::trace;
using Json = nlohmann::json;

constexpr int kRuns = 5;
constexpr double kSeconds = 3, kTimeout = 120;
constexpr uint64_t kTraceRecords = 1 << 17;  // of each CPU
constexpr double kShareGoal = 0.95, kRatioGoal = 2;

// The kinds of IPC, as the stats and as the trace name them.
struct Kind {
    const char *name, *count, *slow, *what;
};
constexpr Kind kKinds[] = {{"calls", "calls", "call", "system calls"},
                           {"page_faults", "page_faults", "page_fault", "page faults"},
                           {"replies", "replies", "reply", "replies"}};

// The programs of one CPU: they run until the machine ends.
std::string programs_of(int cpu) {
    constexpr const char* kPrograms[] = {
        "find / -xdev | xargs stat",
        "tar c /bin /etc /usr | gzip -1",
        "dd if=/dev/zero bs=512 count=20000 | dd bs=512",
    };
    char mask[16];
    std::snprintf(mask, sizeof mask, "%x", 1u << cpu);
    const std::string pinned = std::string("taskset ") + mask + " sh -c '";
    std::string text;
    for (const char* program : kPrograms) text += pinned + "while :; do " + program + "; done' >/dev/null 2>&1 &\n";
    for (int i = 0; i < 3; ++i) text += pinned + "exec awk \"BEGIN { for (;;) x = x * 3 + 1 }\"' &\n";
    return text;
}

struct Load {
    int cpus;
    bool fast, traced;
    double seconds;
};
struct Result {
    Json stats;
    std::string trace;
};

Result run_load(const BenchOptions& options, const Load& load) {
    RunOptions run;
    run.cpu = options.cpu;
    run.cpus = load.cpus;
    run.verbose = options.verbose;
    run.route = "server";
    run.fastpath = load.fast ? "all" : "none";
    if (load.traced) {
        run.trace = "records";
        run.trace_records = kTraceRecords;
    } else {
        run.stats = "json";
    }
    BenchGuest guest;
    guest.spec = farcall_machine(run);
    guest.route = run.route;
    guest.timeout = kTimeout;
    std::string script;
    for (int cpu = 0; cpu < load.cpus; ++cpu) script += programs_of(cpu);
    guest.argv = {"sh", "-c", script + "sleep " + std::to_string(load.seconds)};
    Result result;
    Streams streams;
    streams.on_output = [](std::string_view) {};
    streams.on_trace = [&](std::string_view bytes) { result.trace += bytes; };
    std::string stats;
    streams.on_control = [&](std::string_view line) {
        if (line.starts_with("stats ")) stats = line.substr(6);
    };
    const MachineSpec spec = guest.spec;
    const Outcome outcome = run_bench_guest(std::move(guest), streams);
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0) {
        report(outcome, spec, "the load");
        fail("bench fastpath --linux-load: the load did not end as it should");
    }
    if (load.traced && result.trace.empty()) fail("bench fastpath --linux-load: the kernel sent no trace");
    if (!load.traced) {
        result.stats = Json::parse(stats, nullptr, false);
        if (!result.stats.is_object() || !result.stats.contains("server"))
            fail("bench fastpath --linux-load: the kernel gave no counters");
    }
    return result;
}

using Reasons = std::map<std::string, uint64_t>;

// Counts and shares of all server threads together.
void take_counts(const Json& stats, const std::string& prefix, int run, Data& data,
                 std::map<std::string, Reasons>& reasons) {
    for (const Kind& kind : kKinds) {
        uint64_t all = 0, slow = 0;
        for (const Json& server : stats.at("server")) {
            all += server.at(kind.count).get<uint64_t>();
            for (const auto& [why, count] : server.at("slow").at(kind.slow).items()) {
                slow += count.get<uint64_t>();
                reasons[prefix + kind.name][why] += count.get<uint64_t>();
            }
        }
        const std::string name = prefix + kind.name;
        data[name + ".count"][{run, 0}] = static_cast<double>(all);
        data[name + ".rate"][{run, 0}] = static_cast<double>(all) / (stats.at("nanoseconds").get<double>() / 1e9);
        if (all != 0) data[name + ".share"][{run, 0}] = 1 - static_cast<double>(slow) / static_cast<double>(all);
    }
}

// Cycles of paths of one kind, those of a fastpath that was left added to the slowpath's.
struct Cycles {
    std::vector<double> fast, slow;
    static double sum(const std::vector<double>& list) {
        double all = 0;
        for (double c : list) all += c;
        return all;
    }
};
using CyclesOfKinds = std::map<std::string, Cycles>;

std::string exception_kind(const Record& r) {
    const uint16_t what = number_in(r.detail);
    return what == kPageFault ? "page_faults" : what >= kKick ? "others" : "calls";
}

bool answers(const Record& r) {
    const uint16_t call = number_in(r.detail) & abi::native::kCallMask;
    if (r.path == Path::kFastReply) return r.partner != 0;
    if (r.path == Path::kSlowReply) return call == abi::native::kReplyReceive;
    return r.path == Path::kSlowOther && (call == abi::native::kReply || call == abi::native::kReplyTo);
}

// Of one CPU. Its records are in the order in which the paths ended: a fastpath that was left comes before its slowpath.
void take_records(const std::vector<Record>& records, CyclesOfKinds& all) {
    double left = 0;
    auto add = [&](const std::string& kind, const Record& r, bool fast) {
        (fast ? all[kind].fast : all[kind].slow).push_back(r.cycles + std::exchange(left, 0));
    };
    for (const Record& r : records) {
        switch (r.path) {
            case Path::kFastException:
            case Path::kFastReply:
                if (r.reason == Reason::kSlowpath) {
                    left = r.cycles;
                } else {
                    const bool exception = r.path == Path::kFastException;
                    if (exception || answers(r)) add(exception ? exception_kind(r) : "replies", r, true);
                }
                break;
            case Path::kSlowException: add(exception_kind(r), r, false); break;
            case Path::kSlowReply:
            case Path::kSlowOther:
                if (answers(r)) add("replies", r, false);
                break;
            default: continue;
        }
    }
}

CyclesOfKinds cycles_of(const std::string& bytes) {
    uint64_t hz = 0;
    CyclesOfKinds all;
    for (const TraceBuffer& buffer : read_trace(bytes, hz)) take_records(buffer.records, all);
    all["replies"];  // also if there are none
    Cycles& exceptions = all["exceptions"];
    for (const char* kind : {"calls", "page_faults", "others"}) {
        const Cycles& c = all[kind];
        exceptions.fast.insert(exceptions.fast.end(), c.fast.begin(), c.fast.end());
        exceptions.slow.insert(exceptions.slow.end(), c.slow.begin(), c.slow.end());
    }
    return all;
}

constexpr const char* kPathKinds[] = {"calls", "page_faults", "exceptions", "replies"};

void take_cycles(const CyclesOfKinds& fast, const CyclesOfKinds& none, const std::string& prefix, int run, Data& data) {
    auto put = [&](const std::string& name, const std::vector<double>& list) {
        if (list.empty()) return;
        data[prefix + name + ".median"][{run, 0}] = quantile(list, 0.5);
        data[prefix + name + ".p99"][{run, 0}] = quantile(list, 0.99);
    };
    for (const std::string kind : kPathKinds) {
        const Cycles &with = fast.at(kind), &without = none.at(kind);
        put(kind + ".fast", with.fast);
        put(kind + ".slow", without.slow);
        const double all = Cycles::sum(with.fast) + Cycles::sum(with.slow);
        if (all > 0) data[prefix + kind + ".cycles_share"][{run, 0}] = Cycles::sum(with.fast) / all;
    }
}

std::string percent(double share) { return number(100 * share) + " %"; }

class Report {
public:
    Report(const Data& data, const std::map<std::string, Reasons>& reasons) : data_(data), reasons_(reasons) {}
    std::vector<Row> rows;
    std::vector<Table> tables;

    void add(int cpus) {
        const std::string prefix = prefix_of(cpus), machine = std::to_string(cpus) + (cpus == 1 ? " CPU" : " CPUs");
        Table counts{.title = "Linux programs, " + machine + ": how many",
                     .head = {"kind", "in a run", "a second", "on the fastpath"},
                     .lines = {}};
        for (const Kind& kind : kKinds) {
            const std::string name = prefix + kind.name;
            counts.lines.push_back({kind.what, number(median(data_, name + ".count")),
                                    number(median(data_, name + ".rate")), percent(median(data_, name + ".share"))});
            const auto why = reasons_.find(name);
            rows.push_back(
                {.name = name_of(cpus, kind.name),
                 .unit = "share",
                 .what = std::string(kind.what) + " on the fastpath",
                 .note = why == reasons_.end() || why->second.empty() ? "" : "others: " + ranked(why->second),
                 .spread = spread(at(data_, name + ".share")),
                 .goal = kShareGoal});
        }
        tables.push_back(counts);
        Table cycles{.title = "Linux programs, " + machine + ": cycles of each path",
                     .head = {"kind", "fast", "99th", "slow", "99th", "slow / fast", "cycles on the fastpath"},
                     .lines = {}};
        for (const std::string kind : kPathKinds) {
            const std::string fast = prefix + kind + ".fast", slow = prefix + kind + ".slow";
            cycles.lines.push_back({kind, number(median(data_, fast + ".median")), number(median(data_, fast + ".p99")),
                                    number(median(data_, slow + ".median")), number(median(data_, slow + ".p99")),
                                    number(spread(ratio(data_, slow + ".median", fast + ".median")).median),
                                    percent(median(data_, prefix + kind + ".cycles_share"))});
        }
        tables.push_back(cycles);
        const Values paths = together(data_,
                                      {prefix + "exceptions.slow.median", prefix + "replies.slow.median",
                                       prefix + "exceptions.fast.median", prefix + "replies.fast.median"},
                                      [](const auto& v) { return (v[0] + v[1]) / (v[2] + v[3]); });
        rows.push_back({.name = name_of(cpus, "paths"),
                        .unit = "slow / fast",
                        .what = "cycles of an exception and its reply",
                        .note = "",
                        .spread = spread(paths),
                        .goal = kRatioGoal});
    }

    // Of each kind: its share on the fastpath, of the count and of the cycles; cycles of both paths.
    void plot(int cpus, const fs::path& directory) const {
        const std::string prefix = prefix_of(cpus), name = "linux-load-" + std::to_string(cpus) + ".svg";
        std::string points;
        for (const std::string kind : {"calls", "page_faults", "replies"}) {
            std::string label = kind;
            if (label == "page_faults") label = "page faults";
            points += "\"" + label + "\"";
            for (const char* value : {".share", ".cycles_share"})
                points += " " + std::to_string(100 * median(data_, prefix + kind + value));
            for (const char* value : {".fast.median", ".slow.median"})
                points += " " + std::to_string(median(data_, prefix + kind + value));
            points += "\n";
        }
        draw(directory, name, points,
             "set terminal svg size 900,420 background '#ffffff'\nset output '" + name +
                 "'\nset multiplot layout 1,2 title '" + "Linux programs on " + std::to_string(cpus) +
                 (cpus == 1 ? " CPU" : " CPUs") +
                 "'\nset style data histograms\nset style fill solid 0.7\nset yrange [0:]\nset key below\n"
                 "set ylabel 'on the fastpath, %'\n"
                 "plot 'points' using 2:xtic(1) title 'of the number', '' using 3 title 'of the cycles'\n"
                 "set ylabel 'cycles of a path, median'\n"
                 "plot 'points' using 4:xtic(1) title 'fastpath', '' using 5 title 'slowpath'\n"
                 "unset multiplot\n");
    }

    static std::string prefix_of(int cpus) { return "linux_load." + std::to_string(cpus) + "."; }

private:
    static std::string name_of(int cpus, const char* what) { return "linux_load_" + std::to_string(cpus) + "_" + what; }
    const Data& data_;
    const std::map<std::string, Reasons>& reasons_;
};

}  // namespace

int bench_linux_load_command(const BenchOptions& options) {
    if (!options.rows.empty() || options.on_linux || !options.profile.empty())
        fail("bench fastpath --linux-load: --row, --linux and --profile belong to other benchmarks");
    double host_load = 0;
    ::getloadavg(&host_load, 1);
    const int runs = options.runs == 0 ? kRuns : options.runs;
    const double seconds = kSeconds * options.percent / 100;
    Data data;
    std::map<std::string, Reasons> reasons;
    for (int run = 0; run < runs; ++run) {
        for (int cpus : {1, 2}) {
            const std::string prefix = Report::prefix_of(cpus);
            take_counts(run_load(options, {cpus, true, false, seconds}).stats, prefix, run, data, reasons);
            const CyclesOfKinds fast = cycles_of(run_load(options, {cpus, true, true, seconds}).trace);
            const CyclesOfKinds none = cycles_of(run_load(options, {cpus, false, true, seconds}).trace);
            take_cycles(fast, none, prefix, run, data);
        }
    }
    Report report(data, reasons);
    for (int cpus : {1, 2}) report.add(cpus);
    show(options, report.rows, report.tables, data,
         {.section = "Fastpaths under Linux programs",
          .text =
              "Linux programs on the server route, by `./farcall bench fastpath --linux-load`; docs/benchmarks.md says "
              "what runs and what is measured.",
          .runs = runs,
          .load = host_load});
    if (!options.plot.empty())
        for (int cpus : {1, 2}) report.plot(cpus, options.plot);
    return 0;
}

}  // namespace cli
