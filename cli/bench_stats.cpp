// SPDX-License-Identifier: MIT
// Figures of the route benchmarks: see bench_stats.hpp. The goals are those of docs/benchmarks.md; a
// rival is what the thesis reports for its own remote and inline routes.
#include "cli/bench_stats.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "cli/util.hpp"

namespace cli {

namespace {

// Goals are ratios: remote to inline with user code on one CPU, and remote to Linux's own calls.
struct Work {
    const char* name;
    const char* group;  // a name of the command line for several works
    std::optional<double> thesis, over_inline, over_linux;
};
constexpr Work kWorks[] = {
    {"task0", "", 4.33, 2.5, 0.5},
    {"task1", "", 1.00, 1.0, 0.6},
    {"task2", "", 1.01, 1.0, 1.0},
    {"task3", "", 3.85, 1.3, 0.3},
    {"task4", "", 1.00, 0.75, 0.6},
    {"task5", "", 1.02, 1.0, 1.0},
    {"mix", "", {}, {}, {}},
    {"pipe", "calls", {}, 1.4, 0.5},
    {"read", "calls", {}, 1.4, 0.5},
    {"stat", "calls", {}, 1.4, 0.5},
    {"pipe_two", "calls", {}, 0.95, 0.5},
    {"read_two", "calls", {}, 0.95, 0.5},
    {"stat_two", "calls", {}, 0.95, 0.5},
    {"long", "", {}, {}, {}},
    {"long_two", "", {}, {}, {}},
};
constexpr const char* kAllWorks = "routes";
constexpr const char* kTwoClients = "two_clients";  // the works of that figure
constexpr const char *kOneClientWork = "task0", *kTwoClientsWork = "task3";
constexpr double kTwoClientsGoal = 1.8;
constexpr double kAdaptiveGoal = 1.05;
constexpr double kLongCall = 300;  // ns: a call that is long enough to be sent to another CPU

const Work* work_of(const std::string& name) {
    for (const Work& work : kWorks) {
        if (name == work.name) return &work;
    }
    return nullptr;
}

std::optional<long long> number_or_dash(const std::string& word) {
    if (word == "-") return std::nullopt;
    return std::strtoll(word.c_str(), nullptr, 10);
}

double middle(const std::vector<double>& values) { return quantile(values, 0.5); }

// Calls per second, where two works make the same calls.
double rate_of(const WorkRun& run) {
    return static_cast<double>(run.processes) * static_cast<double>(run.count) / run.ns;
}

// The runs of one work by two settings (or one), round by round; or of two works, then the ratio is that of their rates.
struct Pairs {
    std::vector<double> values, pings;
    std::vector<double> slow_values, slow_pings;  // of rounds whose line was too slow
    size_t left_out = 0, verified = 0, unverified = 0, wrong = 0;
    std::string wrong_text;
};

Pairs pairs_of(const std::vector<Round>& rounds, const std::string& work, const Setting& over, const Setting* under,
               const std::string& under_work = "") {
    Pairs pairs;
    for (const Round& round : rounds) {
        auto find = [&](const Setting& setting, const std::string& work) -> const WorkRun* {
            if (round.left_out.count(setting.name)) return nullptr;
            auto column = round.runs.find(setting.name);
            if (column == round.runs.end()) return nullptr;
            auto cell = column->second.find(work);
            return cell == column->second.end() ? nullptr : &cell->second;
        };
        const WorkRun* a = find(over, work);
        const WorkRun* b = under ? find(*under, under_work.empty() ? work : under_work) : nullptr;
        if (!a || (under && !b)) {
            ++pairs.left_out;
            continue;
        }
        double value = !under ? a->ns / 1e6 : under_work.empty() ? a->ns / b->ns : rate_of(*a) / rate_of(*b);
        auto line_of = [&](const Setting& setting) -> std::optional<double> {
            auto found = round.pings.find(setting.name);
            return found == round.pings.end() ? std::nullopt : std::optional(found->second);
        };
        std::optional<double> ping = line_of(over);
        if (under) {
            std::optional<double> other = line_of(*under);
            ping = ping && other ? std::optional(std::max(*ping, *other)) : std::nullopt;
        }
        if (!ping || *ping > kPingLimit) {
            ++pairs.left_out;
            pairs.slow_values.push_back(value);
            if (ping) pairs.slow_pings.push_back(*ping);
        } else {
            pairs.values.push_back(value);
            pairs.pings.push_back(*ping);
        }
        // Other placements send some of the calls: there is nothing to compare with.
        for (auto [run, setting] : {std::pair{a, &over}, std::pair{b, under}}) {
            if (!run || setting->route != "remote") continue;
            Verdict verdict = verdict_of(*run);
            pairs.verified += verdict == Verdict::kVerified;
            pairs.unverified += verdict == Verdict::kUnverified;
            if (verdict == Verdict::kWrong) {
                ++pairs.wrong;
                pairs.wrong_text = std::to_string(run->made.value_or(0)) + " calls made, " +
                                   std::to_string(run->counted.value_or(0)) + " counted by the modules' CPUs, " +
                                   std::to_string(run->elsewhere.value_or(0)) + " elsewhere";
                if (run->known)
                    pairs.wrong_text += "; " + std::to_string(*run->known) + " repetitions' calls by the program, " +
                                        std::to_string(run->beyond.value_or(0)) + " by the modules' CPUs";
            }
        }
    }
    return pairs;
}

Figure figure_of(std::string name, std::string unit, const Pairs& pairs) {
    Figure figure;
    figure.name = std::move(name);
    figure.unit = std::move(unit);
    const bool all_slow = pairs.values.empty() && !pairs.slow_values.empty();
    const auto& values = all_slow ? pairs.slow_values : pairs.values;
    const auto& pings = all_slow ? pairs.slow_pings : pairs.pings;
    figure.spread = spread_of(values);
    figure.left_out = pairs.left_out;
    figure.calls = pairs.wrong ? "wrong" : pairs.unverified ? "unverified" : pairs.verified ? "verified" : "";
    if (!pings.empty()) figure.ping = middle(pings);
    if (values.empty()) {
        figure.valid = false;
        figure.notes.push_back("no run");
        return figure;
    }
    figure.value = figure.spread.median;
    if (all_slow) {
        figure.valid = false;
        figure.notes.push_back(pings.empty() ? "the line between the CPUs was not measured"
                                             : "in every run the line took more than 150 ns");
    }
    if (pairs.wrong > 0) {
        figure.valid = false;
        figure.notes.push_back("in " + std::to_string(pairs.wrong) +
                               " runs not every call was the module's: " + pairs.wrong_text);
    }
    if (values.size() < kSamplesWanted)
        figure.notes.push_back("only " + std::to_string(values.size()) + (values.size() == 1 ? " run" : " runs"));
    return figure;
}

}  // namespace

double quantile(std::vector<double> values, double share) {
    std::sort(values.begin(), values.end());
    double at = share * static_cast<double>(values.size() - 1);
    size_t low = static_cast<size_t>(at), high = std::min(low + 1, values.size() - 1);
    return values[low] + (values[high] - values[low]) * (at - static_cast<double>(low));
}

Spread spread_of(const std::vector<double>& values) {
    Spread spread;
    if (values.empty()) return spread;
    spread.count = values.size();
    spread.median = middle(values);
    spread.q1 = quantile(values, 0.25);
    spread.q3 = quantile(values, 0.75);
    spread.min = quantile(values, 0);
    spread.max = quantile(values, 1);
    std::vector<double> distances;
    for (double value : values) distances.push_back(std::abs(value - spread.median));
    spread.mad = middle(distances);
    return spread;
}

bool is_work_name(const std::string& name) {
    return name == kAllWorks || name == "calls" || name == kTwoClients || work_of(name) != nullptr;
}

std::vector<std::string> works_of(const std::vector<std::string>& names) {
    for (const std::string& name : names) {
        if (!is_work_name(name)) fail("bench: there is no benchmark '" + name + "' (farcall bench --help lists them)");
    }
    std::vector<std::string> works;
    for (const Work& work : kWorks) {
        bool wanted = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
            if (name == kTwoClients)
                return std::string_view(work.name) == kOneClientWork || std::string_view(work.name) == kTwoClientsWork;
            return name == work.name || name == work.group || name == kAllWorks;
        });
        if (wanted) works.push_back(work.name);
    }
    return works;
}

std::vector<Setting> settings_of(const std::vector<std::string>& routes, bool on_linux) {
    std::vector<Setting> settings;
    auto add = [&](Setting setting) {
        if (std::find(settings.begin(), settings.end(), setting) == settings.end())
            settings.push_back(std::move(setting));
    };
    for (const std::string& route : routes) {
        if (route == "inline") {
            add({.name = "inline1", .route = "inline", .cpus = 1});
            add({.name = "inline2", .route = "inline", .cpus = 2});
        } else if (route == "remote") {
            add({.name = "remote", .route = "remote", .cpus = 2, .pin = true});
        } else if (route == "adaptive") {
            add({.name = "adaptive", .route = "adaptive", .cpus = 2, .pin = true});
            add({.name = "adaptive2", .route = "adaptive", .cpus = 2});
        } else if (route == "server") {
            add({.name = "server1", .route = "server", .cpus = 1});
            add({.name = "server2", .route = "server", .cpus = 2});
        } else if (route.find(':') != std::string::npos) {
            std::string placement = route;
            // In front of a digit it belongs to a set of CPUs, as in fs:0+1.
            for (size_t at = 0; at + 1 < placement.size(); ++at)
                if (placement[at] == '+' && (placement[at + 1] < '0' || placement[at + 1] > '9')) placement[at] = ',';
            add({.name = route, .route = placement, .cpus = 2, .pin = true});
        } else {
            fail("bench: not a route for --routes: '" + route +
                 "' (inline, remote, adaptive, server, or fs:1+*:inline)");
        }
    }
    if (on_linux) add({.name = "linux", .route = "", .cpus = 1});
    if (settings.empty()) fail("bench: --routes names no route");
    return settings;
}

bool read_guest_line(GuestRecord& record, std::string_view text) {
    std::istringstream line{std::string(text)};
    std::string verb, word;
    line >> verb;
    if (verb == "done") return record.done = true;
    if (verb == "clock") {
        double ns;
        if (!(line >> ns)) return false;
        record.clocks.push_back(ns);
        return true;
    }
    if (verb == "ping") {
        double ns;
        line >> word;
        if (word == "-") return true;
        if (std::sscanf(word.c_str(), "%lf", &ns) != 1 || !(ns > 0)) return false;
        record.pings.push_back(ns);
        return true;
    }
    if (verb == "failed") {
        line >> word;
        std::string rest;
        std::getline(line >> std::ws, rest);
        record.failed[word] = rest;
        return true;
    }
    if (verb != "run") return false;
    WorkRun run;
    std::string own, made, counted, elsewhere, known, beyond;
    if (!(line >> run.work >> run.processes >> run.count >> run.ns >> own >> made >> counted >> elsewhere >> known >>
          beyond))
        return false;
    std::istringstream owns(own);
    for (std::string one; std::getline(owns, one, ',');) run.own.push_back(std::strtod(one.c_str(), nullptr));
    if (run.ns <= 0 || run.own.size() != static_cast<size_t>(run.processes)) return false;
    run.made = number_or_dash(made);
    run.counted = number_or_dash(counted);
    run.elsewhere = number_or_dash(elsewhere);
    run.known = number_or_dash(known);
    run.beyond = number_or_dash(beyond);
    record.runs.push_back(std::move(run));
    return true;
}

Verdict verdict_of(const WorkRun& run) {
    if (!run.made || !run.counted || !run.elsewhere) return Verdict::kUnverified;
    if (*run.made <= 0 || *run.counted != *run.made || *run.elsewhere != 0) return Verdict::kWrong;
    if (run.known && run.beyond && std::llabs(*run.beyond - *run.known) > kCallSlack * run.processes)
        return Verdict::kWrong;
    return Verdict::kVerified;
}

std::string Figure::status() const {
    if (!valid) return "not valid";
    if (!goal || !value) return "";
    if (calls == "unverified") return "unverified";
    return (at_least ? *value >= *goal : *value <= *goal) ? "met" : "missed";
}

std::vector<Figure> figures_of(const std::vector<Round>& rounds, const std::vector<Setting>& settings,
                               const std::vector<std::string>& works) {
    std::vector<Figure> figures;
    auto setting = [&](std::string_view name) -> const Setting* {
        for (const Setting& s : settings) {
            if (s.name == name) return &s;
        }
        return nullptr;
    };
    for (const std::string& name : works) {
        const Work& work = *work_of(name);
        std::map<std::string, double> medians;
        for (const Setting& s : settings) {
            Figure figure = figure_of(name + "_" + s.name, "ms", pairs_of(rounds, name, s, nullptr));
            if (figure.value) medians[s.name] = *figure.value;
            figures.push_back(std::move(figure));
        }
        // ns of one call inline, where the number of calls is known.
        std::vector<double> call_ns;
        for (const Round& round : rounds) {
            auto column = round.runs.find("inline1");
            if (column == round.runs.end() || !column->second.count(name)) continue;
            const WorkRun& run = column->second.at(name);
            if (auto calls = run.repeated(); calls && *calls > 0)
                call_ns.push_back(run.ns / static_cast<double>(*calls));
        }
        auto ratio = [&](const Setting* over, const Setting* under, const std::string& as, std::optional<double> goal,
                         std::optional<double> rival) {
            if (!over || !under || over == under) return;
            Figure figure = figure_of(name + "_" + over->name + "_over_" + as, "ratio of times",
                                      pairs_of(rounds, name, *over, under));
            figure.goal = goal;
            figure.rival = rival;
            if (as == "best") figure.notes.push_back("best fixed route: " + under->name);
            if (std::string_view(work.group) == "calls" && as == "inline" && !call_ns.empty() &&
                middle(call_ns) < kLongCall) {
                char text[96];
                std::snprintf(text, sizeof text, "a call takes %.0f ns inline: the goal is for 300 ns and more",
                              middle(call_ns));
                figure.notes.push_back(text);
            }
            figures.push_back(std::move(figure));
        };
        const Setting* one = setting("inline1");
        const Setting* linux = setting("linux");
        for (const Setting& s : settings) {
            if (s.route.empty()) continue;
            const bool thesis = s.name == "remote";
            ratio(&s, one, "inline", thesis ? work.over_inline : std::nullopt, thesis ? work.thesis : std::nullopt);
            if (s.remote() && s.cpus > 1) ratio(&s, setting("inline2"), "inline2", {}, {});
            ratio(&s, linux, "linux", thesis ? work.over_linux : std::nullopt, {});
            if (!s.adaptive()) continue;
            // The best fixed route gives user code the same CPUs.
            const Setting* best = nullptr;
            for (const Setting& fixed : settings) {
                if (fixed.adaptive() || fixed.server() || fixed.route.empty() || !medians.count(fixed.name)) continue;
                if (fixed.name == (s.pin ? "inline2" : "inline1")) continue;
                if (!best || medians[fixed.name] < medians[best->name]) best = &fixed;
            }
            ratio(&s, best, "best", kAdaptiveGoal, {});
        }
    }
    auto measured = [&](const char* work) { return std::find(works.begin(), works.end(), work) != works.end(); };
    for (const std::string route : {"inline", "server"}) {
        const Setting *one = setting(route + "1"), *two = setting(route + "2");
        if (!one || !two || !measured(kOneClientWork) || !measured(kTwoClientsWork)) continue;
        Figure figure = figure_of(std::string(kTwoClients) + "_" + route, "ratio of calls per second",
                                  pairs_of(rounds, kTwoClientsWork, *two, one, kOneClientWork));
        figure.at_least = true;
        if (route == "server") figure.goal = kTwoClientsGoal;
        figures.push_back(std::move(figure));
    }
    return figures;
}

std::string with_section(const std::string& text, const std::string& title, const std::string& heading,
                         const std::string& section) {
    const std::string mark = "## " + heading + "\n";
    std::string kept = text.starts_with("## ") || text.find("\n## ") != std::string::npos ? text : title + "\n";
    auto section_at = [&](const std::string& what, size_t from) {
        for (size_t at = kept.find(what, from); at != std::string::npos; at = kept.find(what, at + 1)) {
            if (at == 0 || kept[at - 1] == '\n') return at;
        }
        return std::string::npos;
    };
    const std::string body = mark + "\n" + section;
    size_t start = section_at(mark, 0);
    if (start == std::string::npos) return kept + (kept.ends_with("\n\n") ? "" : "\n") + body;
    size_t end = section_at("## ", start + mark.size());
    std::string rest = end == std::string::npos ? "" : "\n" + kept.substr(end);
    return kept.substr(0, start) + body + rest;
}

}  // namespace cli
