// SPDX-License-Identifier: MIT
// `farcall bench task0 ... --routes inline,remote`: times of works over routes, on Farcall and on Linux under the same
// QEMU. One guest per setting and round; the settings of a round follow each other, so what disturbs the host for a
// while disturbs all of them (bench_stats.hpp). Before each round and after the last a guest of two CPUs measures the
// bare line between them.
//
// A guest's clock is compared with the host's over the whole guest: a guest whose clock runs wrong is left out.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/batch.hpp"
#include "cli/bench.hpp"
#include "cli/bench_stats.hpp"

namespace cli {

namespace {

constexpr double kGuestTimeout = 300;
constexpr double kClockTolerance = 0.02;                 // of the host's seconds, and besides
constexpr double kClockJitter = 0.05;                    // s, for the transfer of a line to the host
constexpr double kThesisLonger = 10, kModelLonger = 15;  // factors of kGuestTimeout
constexpr int kGiveUp = 2;                               // guests in a row that were lost

}  // namespace

RoutesBoot run_routes_guest(const BenchOptions& options, const Setting& setting, const std::vector<std::string>& words,
                            const std::function<void(MachineSpec&)>& prepare) {
    RunOptions run;
    run.cpu = options.cpu;
    run.verbose = options.verbose;
    run.cpus = setting.cpus;
    run.route = setting.route.empty() ? "inline" : setting.route;
    BenchGuest guest;
    guest.on_linux = setting.route.empty();
    guest.route = run.route;
    guest.programs = {"routes", "work", "time1", "timen", "ping"};
    guest.spec = guest.on_linux ? oracle_machine(run) : farcall_machine(run);
    guest.argv = {"/bench/routes"};
    guest.argv.insert(guest.argv.end(), words.begin(), words.end());
    guest.timeout = kGuestTimeout * (options.thesis ? kThesisLonger : 1) * (prepare ? kModelLonger : 1);
    guest.prepare = prepare;

    RoutesBoot boot;
    std::vector<Clock::time_point> seen;
    std::string buffer;
    Streams streams;
    streams.on_error = [](std::string_view text) {
        std::fprintf(stderr, "%.*s", static_cast<int>(text.size()), text.data());
    };
    streams.on_output = [&](std::string_view text) {
        buffer.append(text);
        for (size_t end; (end = buffer.find('\n')) != std::string::npos; buffer.erase(0, end + 1)) {
            std::string line = buffer.substr(0, end);
            if (!read_guest_line(boot.record, line)) {
                std::fprintf(stderr, "farcall: %s: not understood: %s\n", setting.name.c_str(), line.c_str());
            } else if (line.starts_with("clock ")) {
                seen.push_back(Clock::now());
            }
        }
    };
    const MachineSpec spec = guest.spec;
    Outcome outcome = run_bench_guest(std::move(guest), streams);
    if (outcome.kind != Outcome::Kind::Exit || outcome.value != 0 || !boot.record.done) {
        report(outcome, spec, "/bench/routes");
        boot.problem = "the guest did not come to its end";
    } else if (!prepare && seen.size() == 2 && boot.record.clocks.size() == 2) {
        double host = std::chrono::duration<double>(seen[1] - seen[0]).count();
        double inside = (boot.record.clocks[1] - boot.record.clocks[0]) / 1e9;
        if (std::abs(inside - host) > kClockTolerance * host + kClockJitter) {
            char text[96];
            std::snprintf(text, sizeof text, "the guest's clock says %.3f s, the host's %.3f s", inside, host);
            boot.problem = text;
        }
    }
    return boot;
}

std::vector<std::string> routes_words(const BenchOptions& options, const Setting& setting) {
    std::vector<std::string> words = {"--percent", std::to_string(options.percent), "--repeats",
                                      std::to_string(options.repeats)};
    if (options.thesis) words.push_back("--thesis");
    if (setting.pin) words.push_back("--pin");
    return words;
}

namespace {

// The runs of one guest, one for each work: that with the median time.
std::map<std::string, WorkRun> by_work(const GuestRecord& record) {
    std::map<std::string, std::vector<WorkRun>> all;
    for (const WorkRun& run : record.runs) all[run.work].push_back(run);
    std::map<std::string, WorkRun> result;
    for (auto& [work, runs] : all) {
        std::sort(runs.begin(), runs.end(), [](const WorkRun& a, const WorkRun& b) { return a.ns < b.ns; });
        result[work] = runs[(runs.size() - 1) / 2];
    }
    return result;
}

class Progress {
public:
    void say(const std::string& text) const {
        if (shown_) std::fprintf(stderr, "\r\033[K%s", text.c_str());
    }
    void lasting(const std::string& text) const {
        say("");
        std::fprintf(stderr, "farcall: %s\n", text.c_str());
    }

private:
    const bool shown_ = ::isatty(2);
};

std::vector<Round> run_rounds(const BenchOptions& options, const std::vector<Setting>& settings,
                              const std::vector<std::string>& works) {
    const Progress progress;
    const Setting line{.name = "line", .route = "inline", .cpus = 2};
    auto ping = [&] {
        std::optional<double> slowest;
        for (double ping : run_routes_guest(options, line, {"--ping"}).record.pings)
            slowest = std::max(slowest.value_or(0), ping);
        return slowest;
    };
    std::vector<Round> rounds;
    std::map<std::string, int> lost;
    std::optional<double> before = ping();
    for (int number = 1; number <= options.runs; ++number) {
        Round round;
        for (const Setting& setting : settings) {
            if (lost[setting.name] >= kGiveUp) {
                round.left_out[setting.name] = "given up";
                continue;
            }
            progress.say("run " + std::to_string(number) + " of " + std::to_string(options.runs) + ": " + setting.name);
            std::vector<std::string> words = routes_words(options, setting);
            if (setting.name == "inline2") words.push_back("--ping");
            words.insert(words.end(), works.begin(), works.end());
            RoutesBoot boot = run_routes_guest(options, setting, words);
            lost[setting.name] = boot.record.done ? 0 : lost[setting.name] + 1;
            for (const auto& [work, text] : boot.record.failed)
                progress.lasting(setting.name + ": " + work + " failed: " + text);
            if (!boot.problem.empty()) {
                progress.lasting(setting.name + ", run " + std::to_string(number) + " left out: " + boot.problem);
                round.left_out[setting.name] = boot.problem;
            }
            round.runs[setting.name] = by_work(boot.record);
            // The host moves its CPUs apart and together again within seconds: each guest has its own line.
            std::optional<double> after = ping();
            if (before && after) {
                double slow = std::max(*before, *after);
                for (double inside : boot.record.pings) slow = std::max(slow, inside);
                round.pings[setting.name] = slow;
            }
            before = after;
        }
        rounds.push_back(std::move(round));
    }
    progress.say("");
    return rounds;
}

std::string number(std::optional<double> value, const char* format = "%.2f") {
    if (!value) return "-";
    char text[32];
    std::snprintf(text, sizeof text, format, *value);
    return text;
}

// About three significant figures, in ms and in ratios.
const char* format_of(const Figure& figure) {
    double size = figure.value.value_or(1);
    return figure.unit == "instructions" || size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : size >= 1 ? "%.2f" : "%.3f";
}

std::string notes_of(const Figure& figure) {
    std::string text;
    for (const std::string& note : figure.notes) text += (text.empty() ? "" : "; ") + note;
    return text;
}

nlohmann::ordered_json json_of(const Figure& figure) {
    auto maybe = [](std::optional<double> value) {
        return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
    };
    const Spread& s = figure.spread;
    nlohmann::ordered_json row{{"name", figure.name},          {"unit", figure.unit},
                               {"value", maybe(figure.value)}, {"goal", maybe(figure.goal)},
                               {"rival", maybe(figure.rival)}, {"valid", figure.valid && figure.calls != "unverified"},
                               {"status", figure.status()}};
    if (s.count > 0)
        row["spread"] = {{"samples", s.count}, {"q1", s.q1},   {"q3", s.q3},
                         {"mad", s.mad},       {"min", s.min}, {"max", s.max}};
    row["left_out"] = figure.left_out;
    row["ping_ns"] = maybe(figure.ping);
    if (!figure.calls.empty()) row["calls"] = figure.calls;
    if (!figure.notes.empty()) row["notes"] = figure.notes;
    return row;
}

Figure added_figure(const BenchOptions& options) {
    RemoteCallAdded added = measure_remote_call_added(options);
    Figure figure;
    figure.name = kRemoteCallAdded;
    figure.unit = "instructions";
    figure.value = added.value;
    figure.goal = kRemoteCallAddedGoal;
    if (!added.value) {
        figure.valid = false;
        figure.notes.push_back(added.error);
        return figure;
    }
    figure.spread = {.count = 1,
                     .median = *added.value,
                     .q1 = *added.value,
                     .q3 = *added.value,
                     .min = *added.value,
                     .max = *added.value};
    char text[128];
    std::snprintf(text, sizeof text, "getpid: %.1f remote, %.1f inline; %.1f of spinning left out", added.remote_count,
                  added.inline_count, added.spin_count);
    figure.notes.push_back(text);
    if (!added.spin_known) {
        figure.calls = "unverified";
        figure.notes.push_back("the kernel does not say where it spins, so nothing was left out");
    }
    return figure;
}

// The same two tables for the terminal and for bench/RESULTS.md: times with their ratios, and figures with goals.
struct Table {
    std::vector<std::string> head;
    std::vector<std::vector<std::string>> lines;
};

Table times_of(const std::vector<Figure>& figures, const std::vector<Setting>& settings,
               const std::vector<std::string>& works) {
    auto find = [&](const std::string& name) -> const Figure* {
        for (const Figure& figure : figures) {
            if (figure.name == name) return &figure;
        }
        return nullptr;
    };
    Table table{.head = {"work", "setting", "median ms", "quartiles", "MAD", "min..max", "runs", "left out", "ping ns",
                         "/ inline1", "/ inline2", "/ linux", "calls"},
                .lines = {}};
    for (const std::string& work : works) {
        for (const Setting& setting : settings) {
            const Figure* f = find(work + "_" + setting.name);
            if (!f) continue;
            const char* format = format_of(*f);
            const bool some = f->spread.count > 0;
            auto range = [&](double low, double high) {
                return some ? number(low, format) + ".." + number(high, format) : std::string("-");
            };
            auto over = [&](const std::string& what) {
                const Figure* ratio = find(f->name + "_over_" + what);
                return ratio ? number(ratio->value, format_of(*ratio)) : std::string("");
            };
            table.lines.push_back({work, setting.name, number(f->value, format), range(f->spread.q1, f->spread.q3),
                                   some ? number(f->spread.mad, format) : "-", range(f->spread.min, f->spread.max),
                                   std::to_string(f->spread.count), std::to_string(f->left_out),
                                   number(f->ping, "%.0f"), over("inline"), over("inline2"), over("linux"), f->calls});
        }
    }
    return table;
}

Table goals_of(const std::vector<Figure>& figures) {
    Table table{.head = {"figure", "value", "quartiles", "MAD", "runs", "left out", "ping ns", "goal", "the thesis", "",
                         "notes"},
                .lines = {}};
    for (const Figure& f : figures) {
        if (!f.goal && !f.at_least) continue;
        const char* format = format_of(f);
        const bool some = f.spread.count > 0;
        table.lines.push_back(
            {f.name, number(f.value, format),
             some ? number(f.spread.q1, format) + ".." + number(f.spread.q3, format) : std::string("-"),
             some ? number(f.spread.mad, format) : "-", std::to_string(f.spread.count), std::to_string(f.left_out),
             number(f.ping, "%.0f"), (f.at_least && f.goal ? ">= " : "") + number(f.goal), number(f.rival), f.status(),
             notes_of(f)});
    }
    return table;
}

void print_table(const Table& table) {
    if (table.lines.empty()) return;
    std::vector<size_t> widths;
    for (size_t i = 0; i < table.head.size(); ++i) {
        size_t width = table.head[i].size();
        for (const auto& line : table.lines) width = std::max(width, line[i].size());
        widths.push_back(width);
    }
    auto print = [&](const std::vector<std::string>& line) {
        std::string text;
        for (size_t i = 0; i < line.size(); ++i) {
            std::string pad(widths[i] - line[i].size(), ' ');
            const bool left = i == 0 || table.head[i] == "setting" || i + 2 >= line.size();
            text += (i ? "  " : "") + (left ? line[i] + pad : pad + line[i]);
        }
        text.erase(text.find_last_not_of(' ') + 1);
        std::printf("%s\n", text.c_str());
    };
    print(table.head);
    for (const auto& line : table.lines) print(line);
    std::printf("\n");
}

std::string markdown_of(const Table& table) {
    if (table.lines.empty()) return "";
    auto row = [](const std::vector<std::string>& cells) {
        std::string text = "|";
        for (const std::string& cell : cells) text += " " + cell + " |";
        return text + "\n";
    };
    std::string text = row(table.head) + "|";
    for (size_t i = 0; i < table.head.size(); ++i)
        text += i == 0 || table.head[i] == "setting" || i + 2 >= table.head.size() ? "---|" : "--:|";
    text += "\n";
    for (const auto& line : table.lines) text += row(line);
    return text;
}

}  // namespace

int bench_routes_command(const BenchOptions& given) {
    BenchOptions options = given;
    if (options.runs == 0) options.runs = static_cast<int>(kSamplesWanted);
    // Everything that can be refused is refused before the first guest.
    std::vector<std::string> timed = options.names;
    bool added = std::erase(timed, kRemoteCallAdded) > 0;
    const std::vector<std::string> works = works_of(timed);
    const std::vector<Setting> settings = settings_of(options.routes, options.on_linux);
    if (!options.profile.empty() || !options.rows.empty()) fail("bench: --profile and --row belong to `bench syscall`");
    for (const Setting& setting : settings) {
        RunOptions run;
        run.cpus = setting.cpus;
        run.route = setting.route.empty() ? "inline" : setting.route;
        farcall_machine(run);
    }
    added = added || std::find(timed.begin(), timed.end(), "routes") != timed.end();
    double load = 0;
    ::getloadavg(&load, 1);

    std::vector<Figure> figures;
    if (!works.empty()) figures = figures_of(run_rounds(options, settings, works), settings, works);
    if (added) figures.push_back(added_figure(options));
    const Table times = times_of(figures, settings, works), with_goals = goals_of(figures);
    print_table(times);
    print_table(with_goals);

    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    size_t goals = 0, met = 0;
    for (const Figure& figure : figures) {
        rows.push_back(json_of(figure));
        goals += figure.goal.has_value();
        met += figure.status() == "met";
    }
    if (goals > 0) std::printf("%zu of %zu goals met\n", met, goals);
    std::string names;
    for (const std::string& name : options.names) names += (names.empty() ? "" : " ") + name;
    nlohmann::ordered_json json{
        {"kind", "routes"},
        {"rows", rows},
        {"machine", bench_machine("1 and 2 CPUs", options.cpu,
                                  options.on_linux ? "Farcall and " + oracle_version() : std::string("Farcall"))},
        {"commit", bench_commit()},
        {"names", names},
        {"runs", options.runs},
        {"percent", options.percent},
        {"sizes", options.thesis ? "thesis" : "usual"},
        {"host_load", load}};
    if (!options.json.empty()) write_file(options.json, json.dump(1) + "\n");
    if (!options.markdown.empty()) {
        std::string text = "Times of works over routes, by `./farcall bench " + names +
                           "`; docs/benchmarks.md says what is measured and what the columns\nmean.\n\n- " +
                           json.value("machine", "") + ", commit " + json.value("commit", "") + "\n- " +
                           std::to_string(options.runs) + " runs, " + std::to_string(options.percent) +
                           " % of the default counts; load of the host at the start: " + number(load) + "\n\n" +
                           markdown_of(times) + (works.empty() ? "" : "\n") + markdown_of(with_goals);
        std::string before = fs::exists(options.markdown) ? read_file(options.markdown) : "";
        write_file(options.markdown, with_section(before, "# Results", "Routes", text));
    }
    return 0;
}

}  // namespace cli
