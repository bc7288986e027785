// SPDX-License-Identifier: MIT
// Reading results, and the HTML around what report_sections.cpp puts on the page: see report.hpp.
#include "cli/report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/util.hpp"

namespace cli {

namespace {

using Json = nlohmann::json;

// Results of before the kind was written say by their members what they are.
std::string kind_of(const Json& json) {
    if (json.contains("kind") && json["kind"].is_string()) return json["kind"];
    if (json.contains("misses")) return "misses";
    if (json.contains("names")) return "routes";
    if (json.contains("measured")) return "fastpath";
    if (json.contains("exception")) return "server";
    if (json.value("machine", Json()).is_string() &&
        json["machine"].get<std::string>().find("linux-image") != std::string::npos)
        return "linux";
    for (const Json& row : json["rows"]) {
        if (row.contains("placement")) return "size";
        const std::string name = row.value("name", "");
        if (name == "getpid") return "syscall";
        if (name == "ipc_call") return "ipc";
    }
    return "other";
}

bool is_result(const Json& json) {
    if (!json.is_object() || !json.contains("rows") || !json["rows"].is_array()) return false;
    for (const Json& row : json["rows"]) {
        const bool named = row.is_object() && (!row.contains("name") || row["name"].is_string());
        if (!named) return false;
        const bool sized = row.contains("placement");  // of `farcall size`
        if (!sized && (!row.contains("name") || !row.contains("unit") || !row["unit"].is_string())) return false;
        for (const char* number : {"value", "goal", "rival"})
            if (row.contains(number) && !row[number].is_number() && !row[number].is_null()) return false;
    }
    if (json.contains("measured") && !json["measured"].is_object()) return false;
    if (!json.contains("misses")) return true;
    if (!json["misses"].is_array()) return false;
    for (const Json& item : json["misses"]) {
        if (!item.is_object()) return false;
        for (const char* word : {"work", "setting", "unit"})
            if (!item.contains(word) || !item[word].is_string()) return false;
        for (const char* part : {"per_1000", "per_unit", "per_unit_with_spin"})
            if (!item.contains(part) || !item[part].is_object()) return false;
        if (!item.contains("cpus") || !item["cpus"].is_array()) return false;
    }
    return true;
}

}  // namespace

std::vector<Result> read_results(const std::string& file, std::string_view text) {
    const std::string wrong = file + ": this is no result of farcall bench --json";
    // What is copied and freed level by level must not be as deep as somebody likes.
    constexpr int kMostLevels = 64;
    int deepest = 0;
    const auto note_depth = [&](int depth, Json::parse_event_t, Json&) {
        deepest = std::max(deepest, depth);
        return depth <= kMostLevels;
    };
    Json json = Json::parse(text, note_depth, false);
    if (deepest > kMostLevels) fail(file + ": more than 64 levels: this is no result of farcall bench --json");
    if (json.is_discarded() || !json.is_object()) fail(wrong);
    const Json list = json.contains("results") ? json["results"] : Json::array({json});
    if (!list.is_array() || list.empty()) fail(wrong);
    std::vector<Result> results;
    for (const Json& one : list) {
        if (!is_result(one)) fail(wrong);
        results.push_back({file, kind_of(one), one});
    }
    return results;
}

std::string escaped(std::string_view text) {
    std::string result;
    for (char c : text) {
        switch (c) {
            case '&': result += "&amp;"; break;
            case '<': result += "&lt;"; break;
            case '>': result += "&gt;"; break;
            case '"': result += "&quot;"; break;
            default: result += c;
        }
    }
    return result;
}

std::string shown(double value) {
    char text[48];
    const double size = std::abs(value);
    const char* format = size >= 1e15               ? "%g"
                         : size == std::floor(size) ? "%.0f"
                         : size >= 1000             ? "%.0f"
                         : size >= 100              ? "%.1f"
                         : size >= 10               ? "%.2f"
                         : size >= 1                ? "%.3f"
                                                    : "%.4f";
    std::snprintf(text, sizeof text, format, value);
    return text;
}

Page::Cell shown(const Json& value) {
    if (value.is_number()) return {shown(value.get<double>())};
    if (value.is_string()) return {value.get<std::string>(), "text"};
    return {"-"};
}

void Page::section(const std::string& title) {
    const std::string id = "s" + std::to_string(std::count(navigation_.begin(), navigation_.end(), '#'));
    navigation_ += "<a href=\"#" + id + "\">" + escaped(title) + "</a> ";
    body_ += "<h2 id=\"" + id + "\">" + escaped(title) + "</h2>\n";
}
void Page::heading(const std::string& title) { body_ += "<h3>" + escaped(title) + "</h3>\n"; }
void Page::text(const std::string& text) { body_ += "<p>" + escaped(text) + "</p>\n"; }

void Page::fold(const std::string& title) { body_ += "<details><summary>" + escaped(title) + "</summary>\n"; }
void Page::end_fold() { body_ += "</details>\n"; }

void Page::table(const std::vector<Row>& rows) {
    if (rows.size() < 2) return;
    body_ += "<div class=\"wide\"><table>\n";
    for (size_t i = 0; i < rows.size(); ++i) {
        body_ += i == 0 ? "<thead><tr>" : "<tr>";
        for (const Cell& cell : rows[i]) {
            const std::string style = cell.style.empty() || i == 0 ? "" : " class=\"" + escaped(cell.style) + "\"";
            body_ +=
                i == 0 ? "<th>" + escaped(cell.text) + "</th>" : "<td" + style + ">" + escaped(cell.text) + "</td>";
        }
        body_ += i == 0 ? "</tr></thead><tbody>\n" : "</tr>\n";
    }
    body_ += "</tbody></table></div>\n";
}

void Page::plot(Plot plot) {
    const std::string id = "plot" + std::to_string(plots_.size());
    // Bars that lie need room for each.
    const size_t bars = plot.labels.size() * plot.series.size();
    const std::string height =
        plot.type == "sideways" ? " style=\"height:" + std::to_string(6 + bars * 5 / 4) + "rem\"" : "";
    body_ += "<figure><figcaption>" + escaped(plot.title) + "</figcaption><div class=\"plot\"" + height +
             "><canvas id=\"" + id + "\" role=\"img\" aria-label=\"" + escaped(plot.title) +
             "\"></canvas></div></figure>\n";
    plots_.push_back(std::move(plot));
}

std::string Page::html(const std::string& css, const std::string& library, const std::string& script) const {
    Json plots = Json::array();
    for (size_t i = 0; i < plots_.size(); ++i) {
        const Plot& plot = plots_[i];
        Json series = Json::array();
        for (const Plot::Series& one : plot.series) {
            Json data = Json::array();
            for (double value : one.data) data.push_back(std::isfinite(value) ? Json(value) : Json(nullptr));
            series.push_back({{"label", one.label}, {"data", data}, {"dashed", one.dashed}});
        }
        plots.push_back({{"id", "plot" + std::to_string(i)},
                         {"type", plot.type},
                         {"unit", plot.unit},
                         {"across", plot.across},
                         {"labels", plot.labels},
                         {"log", plot.log},
                         {"series", series}});
    }
    // No text inside may end the element that holds it; invalid UTF-8 is replaced.
    std::string data = plots.dump(-1, ' ', true, Json::error_handler_t::replace);
    for (size_t at = 0; (at = data.find('<', at)) != std::string::npos;) data.replace(at, 1, "\\u003c");
    std::string drawing = library.substr(0, library.rfind("//# sourceMappingURL"));
    return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
           "content=\"width=device-width, initial-scale=1\"><title>Farcall: results</title>\n"
           "<link rel=\"icon\" href=\"data:,\"><style>\n" +
           css + "</style></head>\n<body><h1>Farcall: results</h1>\n<nav>" + navigation_ + "</nav>\n" + body_ +
           "<script id=\"plots\" type=\"application/json\">" + data + "</script>\n<script>" + drawing +
           "</script>\n<script>" + script + "</script>\n</body></html>\n";
}

}  // namespace cli
