// SPDX-License-Identifier: MIT
// The page of `farcall report`: results of `bench --json` as tables and plots, in one HTML file that needs no network.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

struct Result {
    std::string file;
    // syscall, linux, server, ipc, fastpath, linux_load, routes, misses, size; or other
    std::string kind;
    nlohmann::json json;
};

// The results of one file: one, or several under "results". Throws Failure with one line for what is no result.
std::vector<Result> read_results(const std::string& file, std::string_view text);

// A plot; page.js draws it. `series` are as long as `labels`; NaN: no value.
struct Plot {
    struct Series {
        std::string label;
        std::vector<double> data;
        bool dashed = false;
    };
    std::string type;  // bars, sideways (bars), line
    std::string title, unit, across;
    std::vector<std::string> labels;
    std::vector<Series> series;
    bool log = false;
};

// Builds the page's body: headings, tables, figures.
class Page {
public:
    struct Cell {
        std::string text;
        std::string style = {};  // of CSS: text, met, missed
    };
    using Row = std::vector<Cell>;
    void section(const std::string& title);
    void heading(const std::string& title);
    void text(const std::string& text);
    // The first row is the head.
    void table(const std::vector<Row>& rows);
    void plot(Plot plot);
    // What comes until the end is shown only when the reader opens it.
    void fold(const std::string& title);
    void end_fold();
    // All of it, with the style, the library and the script inside.
    std::string html(const std::string& css, const std::string& library, const std::string& script) const;

private:
    std::string body_, navigation_;
    std::vector<Plot> plots_;
};

std::string escaped(std::string_view text);  // for HTML
std::string shown(double value);             // about four figures
Page::Cell shown(const nlohmann::json& value);

// What the page holds (report_sections.cpp).
Page page_of(const std::vector<Result>& results);

}  // namespace cli
