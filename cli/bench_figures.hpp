// SPDX-License-Identifier: MIT
// Figures of the benchmarks of fastpaths: what guests said, values that were measured one after the other, and how figures
// are shown: on the terminal, as JSON, as a section of a Markdown file.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench_stats.hpp"
#include "cli/commands.hpp"

namespace cli::figures {

// By name, then by run and block: what two names have at the same place was measured one after the other.
using Values = std::map<std::pair<int, int>, double>;
using Data = std::map<std::string, Values>;

std::string number(double value);
Spread spread(const Values& values);
const Values& at(const Data& data, const std::string& name);  // empty if there is none of the name
double median(const Data& data, const std::string& name);     // 0 if there is none of the name

// What `combine` makes of the values that the names have at the same place.
template <class F>
Values together(const Data& data, const std::vector<std::string>& names, F&& combine) {
    Values result;
    for (const auto& [place, first] : at(data, names[0])) {
        std::vector<double> values{first};
        for (size_t i = 1; i < names.size(); ++i) {
            auto found = at(data, names[i]).find(place);
            if (found != at(data, names[i]).end()) values.push_back(found->second);
        }
        if (values.size() == names.size()) result[place] = combine(values);
    }
    return result;
}
Values ratio(const Data& data, const std::string& over, const std::string& under);

struct Row {
    std::string name, unit, what, note;
    Spread spread;
    double goal = 0;      // at least; 0: none
    size_t left_out = 0;  // blocks
    bool quiet = true;    // the host was, for enough of them
    bool valid() const { return spread.count > 0; }
    std::string status() const {
        return !quiet ? "not valid" : goal == 0 ? "" : valid() && spread.median >= goal ? "met" : "missed";
    }
};

struct Table {
    std::string title;
    std::vector<std::string> head;
    std::vector<std::vector<std::string>> lines;
};

// Of the Markdown section.
struct About {
    std::string section, text;
    int runs = 0;
    double load = 0;  // of the host when they began
};
// All of them on standard output, and into the files that the options name.
void show(const BenchOptions& options, const std::vector<Row>& rows, const std::vector<Table>& tables, const Data& data,
          const About& about);

// gnuplot's script, which reads `points` and writes `name`, into the directory. Throws Failure.
void draw(const fs::path& directory, const std::string& name, const std::string& points, const std::string& script);

}  // namespace cli::figures
