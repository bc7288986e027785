// SPDX-License-Identifier: MIT
#include "cli/bench_figures.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/bench.hpp"

namespace cli::figures {

std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, value >= 100 ? "%.0f" : value >= 10 ? "%.1f" : "%.2f", value);
    return text;
}

Spread spread(const Values& values) {
    std::vector<double> list;
    for (const auto& [place, value] : values) list.push_back(value);
    return spread_of(list);
}
const Values& at(const Data& data, const std::string& name) {
    static const Values none;
    auto found = data.find(name);
    return found == data.end() ? none : found->second;
}
double median(const Data& data, const std::string& name) { return spread(at(data, name)).median; }
Values ratio(const Data& data, const std::string& over, const std::string& under) {
    return together(data, {over, under}, [](const auto& v) { return v[1] > 0 ? v[0] / v[1] : 0; });
}

namespace {

std::string markdown(const Table& table) {
    auto row = [](const std::vector<std::string>& cells) {
        std::string text = "|";
        for (const std::string& cell : cells) text += " " + cell + " |";
        return text + "\n";
    };
    std::string text = (table.title.empty() ? "" : table.title + "\n\n") + row(table.head) + "|";
    for (size_t i = 0; i < table.head.size(); ++i) text += i == 0 ? "---|" : "--:|";
    text += "\n";
    for (const auto& line : table.lines) text += row(line);
    return text;
}
void print(const Table& table) {
    if (table.lines.empty()) return;
    std::vector<size_t> width;
    for (size_t i = 0; i < table.head.size(); ++i) {
        width.push_back(table.head[i].size());
        for (const auto& line : table.lines) width[i] = std::max(width[i], line[i].size());
    }
    auto show = [&](const std::vector<std::string>& line) {
        std::string text;
        for (size_t i = 0; i < line.size(); ++i) {
            std::string pad(width[i] - line[i].size(), ' ');
            text += (i ? "  " : "") + (i == 0 ? line[i] + pad : pad + line[i]);
        }
        std::printf("%s\n", text.c_str());
    };
    if (!table.title.empty()) std::printf("%s\n", table.title.c_str());
    show(table.head);
    for (const auto& line : table.lines) show(line);
    std::printf("\n");
}

Table table_of(const std::vector<Row>& rows) {
    Table figures{.title = "",
                  .head = {"figure", "what", "value", "quartiles", "blocks", "left out", "goal", "", "note"},
                  .lines = {}};
    for (const Row& row : rows)
        figures.lines.push_back(
            {row.name, row.what + ", " + row.unit, row.valid() ? number(row.spread.median) : "not run",
             row.valid() ? number(row.spread.q1) + ".." + number(row.spread.q3) : "-", std::to_string(row.spread.count),
             std::to_string(row.left_out), row.goal > 0 ? number(row.goal) : "-", row.status(), row.note});
    return figures;
}

using Json = nlohmann::ordered_json;

Json json_of(const Row& row) {
    Json item{{"name", row.name}, {"unit", row.unit}};
    item["value"] = row.valid() ? Json(row.spread.median) : Json(nullptr);
    item["goal"] = row.goal > 0 ? Json(row.goal) : Json(nullptr);
    item["spread"] = {{"samples", row.spread.count},
                      {"q1", row.spread.q1},
                      {"q3", row.spread.q3},
                      {"min", row.spread.min},
                      {"max", row.spread.max}};
    item["left_out"] = row.left_out;
    if (!row.status().empty()) item["status"] = row.status();
    if (!row.note.empty()) item["note"] = row.note;
    return item;
}

void write_json(const BenchOptions& options, const std::vector<Row>& rows, const Data& data, const About& about) {
    Json json_rows = Json::array(), all;
    for (const Row& row : rows) json_rows.push_back(json_of(row));
    for (const auto& [name, values] : data) {
        Spread s = spread(values);
        all[name] = {{"median", s.median}, {"q1", s.q1}, {"q3", s.q3}, {"samples", s.count}};
    }
    Json json{{"kind", options.linux_load ? "linux_load" : "fastpath"},
              {"rows", json_rows},
              {"machine", bench_machine("1 and 2 CPUs", options.cpu, "Farcall")},
              {"commit", bench_commit()},
              {"runs", about.runs},
              {"percent", options.percent},
              {"host_load", about.load},
              {"measured", all}};
    write_file(options.json, json.dump(1) + "\n");
}

void write_markdown(const BenchOptions& options, const Table& figures, const std::vector<Table>& tables,
                    const About& about) {
    std::string text =
        about.text + "\n\n- " + bench_machine("1 and 2 CPUs", options.cpu, "Farcall") + ", commit " + bench_commit() +
        "\n- " + std::to_string(about.runs) + " runs, " + std::to_string(options.percent) +
        " % of the default counts; load of the host at the start: " + number(about.load) + "\n\n" + markdown(figures);
    for (const Table& table : tables) text += "\n" + markdown(table);
    std::string before = fs::exists(options.markdown) ? read_file(options.markdown) : "";
    write_file(options.markdown, with_section(before, "# Results", about.section, text));
}

}  // namespace

void show(const BenchOptions& options, const std::vector<Row>& rows, const std::vector<Table>& tables, const Data& data,
          const About& about) {
    const Table figures = table_of(rows);
    for (const Table& table : tables) print(table);
    // Notes are too long for a terminal's table.
    Table shown = figures;
    for (auto& line : shown.lines) line.pop_back();
    shown.head.pop_back();
    print(shown);
    for (const Row& row : rows)
        if (!row.note.empty()) std::printf("%s: %s\n", row.name.c_str(), row.note.c_str());
    std::printf(
        "%d of the figures shown miss their goal\n",
        static_cast<int>(std::count_if(rows.begin(), rows.end(), [](const Row& r) { return r.status() == "missed"; })));
    if (!options.json.empty()) write_json(options, rows, data, about);
    if (!options.markdown.empty()) write_markdown(options, figures, tables, about);
}

void draw(const fs::path& directory, const std::string& name, const std::string& points, const std::string& script) {
    fs::create_directories(directory);
    TempDir scratch;
    write_file(scratch.path() / "points", points);
    write_file(scratch.path() / "script", script);
    std::string said =
        shell_output("cd '" + scratch.path().string() +
                     "' && { command -v gnuplot >/dev/null || echo 'gnuplot is missing'; gnuplot script 2>&1; }");
    if (!fs::exists(scratch.path() / name)) fail("bench fastpath --plot: " + said);
    write_file(directory / name, read_file(scratch.path() / name));
}

}  // namespace cli::figures
