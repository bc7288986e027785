// SPDX-License-Identifier: MIT
// What the report holds: a section for each kind of result, the misses and the routes first, and the history of what is in
// several results. Of a kind that is in several, the tables show the last.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

#include "cli/report.hpp"
#include "tools/cache_model/counters.hpp"

namespace cli {

namespace {

using Json = nlohmann::json;
using Row = Page::Row;
constexpr double kNone = NAN;

constexpr struct {
    const char* kind;
    const char* title;
} kKinds[] = {{"misses", "Cache and TLB misses"},
              {"routes", "Times over routes"},
              {"syscall", "System calls"},
              {"server", "System calls over the server route"},
              {"ipc", "IPC"},
              {"fastpath", "Fastpaths"},
              {"linux_load", "Fastpaths under Linux programs"},
              {"size", "Privileged bytes"},
              {"linux", "Linux 6.1's system calls"},
              {"other", "Others"}};

std::optional<double> number_at(const Json& object, const char* name) {
    auto found = object.find(name);
    return found != object.end() && found->is_number() ? std::optional(found->get<double>()) : std::nullopt;
}
std::string text_at(const Json& object, const char* name) {
    auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}
Page::Cell cell_at(const Json& object, const char* name) {
    auto value = number_at(object, name);
    return {value ? shown(*value) : "-"};
}

const Json* row_of(const Json& result, const std::string& name) {
    for (const Json& row : result.at("rows"))
        if (row.value("name", "") == name) return &row;
    return nullptr;
}

// Each value once, in the order of appearance.
void add_once(std::vector<std::string>& list, const std::string& word) {
    if (std::find(list.begin(), list.end(), word) == list.end()) list.push_back(word);
}

void origin(Page& page, const Result& result) {
    std::string text = result.file;
    if (auto machine = text_at(result.json, "machine"); !machine.empty()) text += ": " + machine;
    if (auto commit = text_at(result.json, "commit"); !commit.empty()) text += ", commit " + commit.substr(0, 12);
    if (auto runs = number_at(result.json, "runs")) text += ", " + shown(*runs) + " runs";
    if (auto percent = number_at(result.json, "percent"))
        text += ", " + shown(*percent) + " % of the " +
                (text_at(result.json, "sizes") == "thesis" ? "thesis's" : "usual") + " counts";
    page.text(text);
}

bool any_row(const Json&) { return true; }
// Rows as they are: all, or those that are wanted.
void rows_table(Page& page, const Json& result, bool (*wanted)(const Json&) = any_row) {
    std::vector<Row> table{{{"figure"}, {"value"}, {"unit"}, {"goal"}, {"rival"}, {"q1"}, {"q3"}, {"status"}}};
    for (const Json& row : result.at("rows")) {
        if (!row.contains("name") || !wanted(row)) continue;
        const Json spread = row.value("spread", Json::object());
        auto value = number_at(row, "value"), goal = number_at(row, "goal");
        const std::string error = text_at(row, "error");
        std::string status = text_at(row, "status");
        if (status.empty() && value && goal && *goal > 0 && !row.contains("spread"))
            status = *value <= *goal ? "met" : "missed";
        table.push_back({{row.at("name"), "text"},
                         {value           ? shown(*value)
                          : error.empty() ? "-"
                                          : error},
                         {row.at("unit"), "text"},
                         cell_at(row, "goal"),
                         cell_at(row, "rival"),
                         cell_at(spread, "q1"),
                         cell_at(spread, "q3"),
                         {status, status}});
    }
    page.table(table);
}

// --- Misses

constexpr const char* kMissFields[] = {"l1d", "l1i", "l2", "llc", "dtlb", "itlb", "dtlb_walk", "itlb_walk"};

// Per CPU and kind of code.
void misses_by_cpu(Page& page, const Json& items) {
    std::vector<Row> table{{{"work"}, {"setting"}, {"CPU"}, {"code"}, {"instructions"}}};
    for (const char* field : kMissFields) table[0].push_back({field});
    for (const Json& item : items) {
        size_t cpu = 0;
        for (const Json& kinds : item.at("cpus")) {
            for (const char* kind : cache_model::kCodeNames) {
                auto counts = kinds.find(kind);
                if (counts == kinds.end() || !counts->is_object()) continue;
                const double all = number_at(*counts, "instructions").value_or(0);
                Row row{{item.at("work"), "text"},
                        {item.at("setting"), "text"},
                        {std::to_string(cpu)},
                        {kind, "text"},
                        {shown(all)}};
                for (const char* field : kMissFields)
                    row.push_back({all > 0 ? shown(1000 * number_at(*counts, field).value_or(0) / all) : "-"});
                table.push_back(std::move(row));
            }
            ++cpu;
        }
    }
    page.table(table);
}

void misses_section(Page& page, const Json& result) {
    page.text("Counted by a model of caches and TLBs fed by QEMU: " + text_at(result, "model") +
              ". Page walks, prefetchers and speculation are not modelled, and a TLB entry that INVLPG drops is "
              "noticed only when "
              "its page has another frame. Misses are ours; the thesis measured hardware under KVM, so ratios between "
              "routes are "
              "compared, never counts. Its tables 5.2 to 5.7 are not part of this repository and are left out.");
    const Json& items = result.at("misses");
    std::vector<std::string> works, settings;
    std::map<std::string, const Json*> of;
    for (const Json& item : items) {
        add_once(works, item.at("work"));
        add_once(settings, item.at("setting"));
        of[item.at("work").get<std::string>() + " " + item.at("setting").get<std::string>()] = &item;
    }
    auto value = [&](const std::string& work, const std::string& setting, const char* part, const char* field) {
        auto found = of.find(work + " " + setting);
        return found == of.end() ? kNone : number_at(found->second->at(part), field).value_or(kNone);
    };

    page.heading("Misses per 1,000 instructions, all CPUs, without spinning");
    std::vector<Row> table{{{"work"}, {"setting"}}};
    for (const char* field : kMissFields) table[0].push_back({field});
    for (const Json& item : items) {
        Row row{{item.at("work"), "text"}, {item.at("setting"), "text"}};
        for (const char* field : kMissFields) row.push_back(cell_at(item.at("per_1000"), field));
        table.push_back(std::move(row));
    }
    page.table(table);
    for (const char* field : {"l1d", "l1i", "llc", "dtlb", "itlb"}) {
        Plot plot{.type = "bars",
                  .title = std::string(field) + " misses per 1,000 instructions",
                  .unit = "misses",
                  .across = "",
                  .labels = works,
                  .series = {}};
        for (const std::string& setting : settings) {
            Plot::Series series{.label = setting, .data = {}};
            for (const std::string& work : works) series.data.push_back(value(work, setting, "per_1000", field));
            plot.series.push_back(std::move(series));
        }
        page.plot(std::move(plot));
    }

    page.heading("For a unit of work: instructions with and without spinning, and misses without");
    table = {
        {{"work"}, {"setting"}, {"unit"}, {"instructions"}, {"with spinning"}, {"over inline"}, {"with spinning"}}};
    for (const char* field : kMissFields) table[0].push_back({field});
    Plot ratios{.type = "bars",
                .title = "Instructions of a unit of work over those of inline1",
                .unit = "ratio",
                .across = "",
                .labels = works,
                .series = {},
                .log = true};
    for (const std::string& setting : settings) {
        if (setting == "inline1") continue;
        for (const char* part : {"per_unit", "per_unit_with_spin"}) {
            const bool spin = std::string_view(part) != "per_unit";
            Plot::Series series{.label = setting + (spin ? ", with spinning" : ""), .data = {}};
            for (const std::string& work : works)
                series.data.push_back(value(work, setting, part, "instructions") /
                                      value(work, "inline1", "per_unit", "instructions"));
            ratios.series.push_back(std::move(series));
        }
    }
    for (const Json& item : items) {
        const std::string work = item.at("work");
        Row row{{work, "text"}, {item.at("setting"), "text"}, {item.at("unit"), "text"}};
        const double base = value(work, "inline1", "per_unit", "instructions");
        std::vector<double> counts;
        for (const char* part : {"per_unit", "per_unit_with_spin"})
            counts.push_back(number_at(item.at(part), "instructions").value_or(kNone));
        for (double count : counts) row.push_back({shown(count)});
        for (double count : counts) row.push_back({std::isfinite(count / base) ? shown(count / base) : "-"});
        for (const char* field : kMissFields) row.push_back(cell_at(item.at("per_unit"), field));
        table.push_back(std::move(row));
    }
    page.table(table);
    if (!ratios.series.empty()) page.plot(std::move(ratios));
    page.heading("Misses per 1,000 instructions of each CPU and kind of code");
    misses_by_cpu(page, items);
    page.heading("Ratios to inline that have a goal");
    rows_table(page, result, [](const Json& row) { return number_at(row, "goal").has_value(); });
    page.fold("All ratios to inline");
    rows_table(page, result, [](const Json& row) { return number_at(row, "value").has_value(); });
    page.end_fold();
}

// --- Times over routes

// remote / inline beside the thesis's and the goal.
void routes_section(Page& page, const Json& result) {
    page.text(
        "Ratios of times within one run, under QEMU's TCG. The thesis's were measured with KVM: ratios are compared, "
        "never times.");
    Plot plot{.type = "bars",
              .title = "Time over remote, relative to inline with one CPU",
              .unit = "ratio",
              .across = "",
              .labels = {},
              .series = {{"Farcall", {}}, {"the thesis", {}}, {"goal", {}}}};
    const std::string tail = "_remote_over_inline";
    std::vector<Row> table{{{"work"}, {"Farcall"}, {"the thesis"}, {"goal"}, {"status"}}};
    for (const Json& row : result.at("rows")) {
        const std::string name = row.value("name", "");
        if (!name.ends_with(tail) || !number_at(row, "value")) continue;
        plot.labels.push_back(name.substr(0, name.size() - tail.size()));
        plot.series[0].data.push_back(*number_at(row, "value"));
        plot.series[1].data.push_back(number_at(row, "rival").value_or(kNone));
        plot.series[2].data.push_back(number_at(row, "goal").value_or(kNone));
        table.push_back({{plot.labels.back(), "text"},
                         cell_at(row, "value"),
                         cell_at(row, "rival"),
                         cell_at(row, "goal"),
                         {text_at(row, "status"), text_at(row, "status")}});
    }
    page.table(table);
    if (!plot.labels.empty()) page.plot(std::move(plot));
    page.fold("All figures");
    rows_table(page, result);
    page.end_fold();
}

// --- System calls: beside Linux's

void syscall_section(Page& page, const Json& result, const Json* linux) {
    Plot plot{.type = "sideways",
              .title = "Kernel instructions per operation",
              .unit = "instructions",
              .across = "",
              .labels = {},
              .series = {{"Farcall", {}}, {"Linux 6.1", {}}},
              .log = true};
    std::vector<Row> table{{{"operation"}, {"Farcall"}, {"goal"}, {"Linux 6.1"}, {"share of Linux, %"}}};
    for (const Json& row : result.at("rows")) {
        auto value = number_at(row, "value");
        const std::string name = row.at("name");
        const Json* other = linux ? row_of(*linux, name) : nullptr;
        auto rival = other ? number_at(*other, "value") : number_at(row, "rival");
        const bool share = value && rival && *rival > 0;
        table.push_back({{name, "text"},
                         {value ? shown(*value) : text_at(row, "error")},
                         cell_at(row, "goal"),
                         {rival ? shown(*rival) : "-"},
                         {share ? shown(100 * *value / *rival) : "-"}});
        if (!share || *value <= 0 || row.at("unit").get<std::string>().find("instructions") == std::string::npos)
            continue;
        plot.labels.push_back(name);
        plot.series[0].data.push_back(*value);
        plot.series[1].data.push_back(*rival);
    }
    page.table(table);
    if (!plot.labels.empty()) page.plot(std::move(plot));
}

// --- Fastpaths: the paper's first figure, from the points of the grid "contention.CPUS.KIND.THREADS.WAIT.MODE.round"

void fastpath_section(Page& page, const Json& result) {
    rows_table(page, result);
    struct Curve {
        std::map<int, double> points;  // by threads
    };
    std::map<std::string, std::map<std::string, Curve>> figures;
    for (const auto& [name, value] : result.value("measured", Json::object()).items()) {
        int cpus, threads, wait;
        char kind[32], mode[16];
        if (std::sscanf(name.c_str(), "contention.%d.%31[a-z].%d.%d.%15[a-z].round", &cpus, kind, &threads, &wait,
                        mode) != 5 ||
            !name.ends_with(".round"))
            continue;
        if (auto median = number_at(value, "median"))
            figures[std::string(kind) + ", " + std::to_string(cpus) + (cpus == 1 ? " CPU" : " CPUs")]
                   ["wait factor " + std::to_string(wait) + ", " + mode]
                       .points[threads] = *median;
    }
    for (const auto& [title, curves] : figures) {
        std::set<int> threads;
        for (const auto& [label, curve] : curves)
            for (const auto& [count, cycles] : curve.points) threads.insert(count);
        Plot plot{.type = "line",
                  .title = "Round trips under contention: " + title,
                  .unit = "cycles",
                  .across = "threads per handler",
                  .labels = {},
                  .series = {},
                  .log = true};
        for (int count : threads) plot.labels.push_back(std::to_string(count));
        for (const auto& [label, curve] : curves) {
            Plot::Series series{.label = label, .data = {}, .dashed = label.ends_with("slow")};
            for (int count : threads) {
                auto point = curve.points.find(count);
                series.data.push_back(point == curve.points.end() ? kNone : point->second);
            }
            plot.series.push_back(std::move(series));
        }
        page.plot(std::move(plot));
    }
}

void size_section(Page& page, const Json& result) {
    std::vector<Row> table{{{"placement"}}};
    std::vector<std::string> columns;
    for (const Json& row : result.at("rows"))
        for (const auto& [name, value] : row.items())
            if (value.is_number()) add_once(columns, name);
    for (const std::string& column : columns) table[0].push_back({column});
    for (const Json& row : result.at("rows")) {
        Row cells{{text_at(row, "placement"), "text"}};
        for (const std::string& column : columns) cells.push_back(cell_at(row, column.c_str()));
        table.push_back(std::move(cells));
    }
    page.table(table);
}

// --- History

// Figures that are in several results of one kind: their values in order, and how the values moved.
void history(Page& page, const char* kind, const char* title, const std::vector<const Result*>& results) {
    if (results.size() < 2) return;
    page.heading(std::string(title) + ": history");
    std::vector<Row> table{{{"figure"}}};
    Plot plot{.type = "line",
              .title = std::string(title) + ", relative to the first result",
              .unit = "ratio",
              .across = "commit",
              .labels = {},
              .series = {}};
    for (const Result* result : results) {
        std::string commit = text_at(result->json, "commit").substr(0, 8);
        plot.labels.push_back(commit.empty() ? result->file : commit);
        table[0].push_back({plot.labels.back()});
    }
    constexpr size_t kMostCurves = 12;
    const std::string wanted = std::string_view(kind) == "routes" ? "_over_" : "";
    for (const Json& first : results[0]->json.at("rows")) {
        const std::string name = first.value("name", "");
        auto base = number_at(first, "value");
        if (!base || name.find(wanted) == std::string::npos) continue;
        Row row{{name, "text"}};
        Plot::Series series{.label = name, .data = {}};
        for (const Result* result : results) {
            const Json* other = row_of(result->json, name);
            auto value = other ? number_at(*other, "value") : std::nullopt;
            row.push_back({value ? shown(*value) : "-"});
            series.data.push_back(value && *base != 0 ? *value / *base : kNone);
        }
        table.push_back(std::move(row));
        plot.series.push_back(std::move(series));
    }
    page.table(table);
    // Those that moved most.
    auto moved = [](const Plot::Series& series) {
        double most = 0;
        for (double value : series.data)
            if (std::isfinite(value) && value > 0) most = std::max(most, std::abs(std::log(value)));
        return most;
    };
    std::sort(plot.series.begin(), plot.series.end(), [&](const auto& a, const auto& b) {
        return moved(a) != moved(b) ? moved(a) > moved(b) : a.label < b.label;
    });
    if (plot.series.size() > kMostCurves) {
        plot.series.resize(kMostCurves);
        plot.title += " (the " + std::to_string(kMostCurves) + " figures that moved most)";
    }
    if (!plot.series.empty()) page.plot(std::move(plot));
}

}  // namespace

Page page_of(const std::vector<Result>& results) {
    std::map<std::string, std::vector<const Result*>> by_kind;
    for (const Result& result : results) by_kind[result.kind].push_back(&result);
    const Json* linux = by_kind.count("linux") ? &by_kind["linux"].back()->json : nullptr;
    Page page;
    auto known = [](const std::string& kind) {
        return std::any_of(std::begin(kKinds), std::end(kKinds), [&](const auto& one) { return kind == one.kind; });
    };
    for (const auto& [kind, title] : kKinds) {
        std::vector<const Result*> list = by_kind[kind];
        if (std::string_view(kind) == "other")
            for (const auto& [name, more] : by_kind)
                if (!known(name)) list.insert(list.end(), more.begin(), more.end());
        if (list.empty()) continue;
        page.section(title);
        const Result& last = *list.back();
        origin(page, last);
        const std::string_view name = kind;
        if (name == "misses") {
            misses_section(page, last.json);
        } else if (name == "routes") {
            routes_section(page, last.json);
        } else if (name == "syscall") {
            syscall_section(page, last.json, linux);
        } else if (name == "fastpath" || name == "linux_load") {
            fastpath_section(page, last.json);
        } else if (name == "size") {
            size_section(page, last.json);
        } else {
            rows_table(page, last.json);
        }
        history(page, kind, title, list);
    }
    return page;
}

}  // namespace cli
