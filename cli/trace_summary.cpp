// SPDX-License-Identifier: MIT
// A trace file as tables: see trace.hpp. The file may come from anywhere: whatever is not as write_trace_json() makes it is
// refused with one line.
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/stats.hpp"
#include "cli/trace.hpp"
#include "cli/util.hpp"

namespace cli {

namespace {

using Json = nlohmann::json;

// Cycles of one path, call or test, and how it ended.
struct Group {
    std::vector<uint32_t> cycles;
    uint64_t total = 0;
    std::map<std::string, uint64_t> exits;
};

struct Fastpath {
    uint64_t taken = 0;
    std::map<std::string, uint64_t> tests;
};

struct Summary {
    std::map<std::string, Group> paths, calls;
    std::map<std::string, Fastpath> fastpaths;
    std::map<std::string, uint64_t> moments;
    std::map<uint64_t, uint64_t> records;  // by CPU
    double first_us = 0, last_us = 0;
    bool any = false;
    std::optional<Json> other;
};

class Reader {
public:
    explicit Reader(std::string name) : name_(std::move(name)) {}

    [[noreturn]] void refuse(const std::string& why) const { fail(name_ + " is no trace of run --trace: " + why); }

    const Json& member(const Json& object, const char* key) const {
        auto at = object.find(key);
        if (at == object.end()) refuse(std::string("an event has no ") + key);
        return *at;
    }
    std::string text(const Json& object, const char* key) const {
        const Json& value = member(object, key);
        if (!value.is_string()) refuse(std::string(key) + " of an event is no text");
        return value.get<std::string>();
    }
    uint64_t number(const Json& object, const char* key) const {
        const Json& value = member(object, key);
        if (!value.is_number_unsigned()) refuse(std::string(key) + " of an event is no number");
        return value.get<uint64_t>();
    }
    double real(const Json& object, const char* key) const {
        const Json& value = member(object, key);
        if (!value.is_number()) refuse(std::string(key) + " of an event is no number");
        return value.get<double>();
    }
    const Json& arguments(const Json& event) const {
        const Json& value = member(event, "args");
        if (!value.is_object()) refuse("args of an event are not an object");
        return value;
    }

private:
    std::string name_;
};

// Does a stretch that ended so end its call?
bool is_last(const std::string& exit) {
    return exit == "done" || exit == "error" || exit == "elsewhere" || exit == "ended";
}

void add(Group& g, uint64_t cycles, const std::string& exit) {
    g.cycles.push_back(static_cast<uint32_t>(std::min<uint64_t>(cycles, ~uint32_t{0})));
    g.total += cycles;
    ++g.exits[exit];
}

void take_event(Summary& s, const Reader& reader, const Json& event) {
    std::string phase = reader.text(event, "ph");
    if (phase == "M" || phase == "C") return;
    if (phase != "X" && phase != "i") reader.refuse("it has events of another kind, " + phase.substr(0, 8));
    std::string path = reader.text(event, "cat"), name = reader.text(event, "name");
    double at = reader.real(event, "ts");
    double until = phase == "X" ? at + reader.real(event, "dur") : at;
    s.first_us = s.any ? std::min(s.first_us, at) : at;
    s.last_us = s.any ? std::max(s.last_us, until) : until;
    s.any = true;
    ++s.records[reader.number(event, "tid")];
    if (phase == "i") {
        ++s.moments[path];
        return;
    }
    const Json& arguments = reader.arguments(event);
    uint64_t cycles = reader.number(arguments, "cycles");
    std::string exit = reader.text(arguments, "exit"), how = exit;
    if (exit == "error") how = "error " + std::to_string(reader.number(arguments, "error"));
    if (path.starts_with("fast ")) {
        Fastpath& fast = s.fastpaths[path];
        if (exit == "slowpath")
            ++fast.tests[reader.text(arguments, "test")];
        else
            ++fast.taken;
    }
    add(s.paths[path], cycles, exit);
    const bool executes = path == "leaf" || path == "leaf again" || path == "task" || path == "service" ||
                          path == "server" || path == "fault" || path == "slow other";
    if (!executes || !is_last(exit)) return;
    bool has_sum = path == "leaf again" || path == "task";
    add(s.calls[name], has_sum ? reader.number(arguments, "call_cycles") : cycles, how);
}

Summary read(const std::string& json, const Reader& reader) {
    Summary s;
    std::string member;  // of the whole
    bool whole = false, events = false;
    auto look = [&](int depth, Json::parse_event_t what, Json& parsed) {
        using Event = Json::parse_event_t;
        if (depth == 0 && what == Event::object_start) whole = true;
        if (depth == 1 && what == Event::key) member = parsed.get<std::string>();
        if (depth == 1 && what == Event::array_start && member == "traceEvents") events = true;
        if (depth == 2 && what == Event::object_end && member == "traceEvents") {
            take_event(s, reader, parsed);
            return false;  // and forgotten
        }
        if (depth == 1 && what == Event::object_end && member == "otherData") s.other = parsed;
        return true;
    };
    try {
        Json rest = Json::parse(json, look);
        if (whole && events && rest.is_object() && rest.contains("traceEvents") && rest["traceEvents"].is_array())
            for (const Json& left : rest["traceEvents"])
                if (!left.is_discarded()) reader.refuse("an event is not an object");
    } catch (const Json::exception&) {
        reader.refuse("it is not JSON, or cut off");
    }
    if (!whole || !events) reader.refuse("there are no traceEvents");
    if (!s.other || !s.other->contains("farcall_trace")) reader.refuse("there is no otherData of this tool");
    return s;
}

// The value that so many of a thousand do not exceed.
uint32_t percentile(const std::vector<uint32_t>& sorted, unsigned permille) {
    size_t rank = (sorted.size() * permille + 999) / 1000;
    return sorted[std::min(rank == 0 ? 0 : rank - 1, sorted.size() - 1)];
}

std::string listed(const std::map<std::string, uint64_t>& counts) {
    std::vector<std::pair<std::string, uint64_t>> all(counts.begin(), counts.end());
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    std::string text;
    for (const auto& [what, count] : all) text += (text.empty() ? "" : ", ") + what + ": " + std::to_string(count);
    return text;
}

TextRow row_of(const std::string& name, Group& g) {
    std::sort(g.cycles.begin(), g.cycles.end());
    auto word = [](uint64_t n) { return std::to_string(n); };
    return {name,
            listed(g.exits),
            word(g.cycles.size()),
            word(g.total),
            word(percentile(g.cycles, 500)),
            word(percentile(g.cycles, 990)),
            word(g.cycles.back())};
}
// The list of ends is as long as it likes: it goes to the end of the line.
std::string table(std::vector<TextRow> rows) {
    std::vector<TextRow> numbers;
    for (TextRow& row : rows) numbers.push_back({row[0], row[2], row[3], row[4], row[5], row[6]});
    std::string all = aligned(numbers, 1), text;
    size_t i = 0;
    for (const std::string& line : split_lines(all))
        text += line.substr(0, line.size() - 1) + "  " + rows[i++][1] + "\n";
    return text;
}

std::string lost_line(const Json& lost, const Reader& reader) {
    if (!lost.is_array()) reader.refuse("lost is not a list");
    uint64_t all = 0;
    std::string each;
    for (size_t cpu = 0; cpu < lost.size(); ++cpu) {
        if (!lost[cpu].is_number_unsigned()) reader.refuse("lost is not a list of numbers");
        uint64_t n = lost[cpu].get<uint64_t>();
        all += n;
        if (n != 0) each += (each.empty() ? "" : ", ") + ("CPU " + std::to_string(cpu)) + ": " + std::to_string(n);
    }
    if (all == 0) return "no record was lost\n";
    return "records lost, the oldest (--trace-records): " + std::to_string(all) + " (" + each + ")\n";
}

}  // namespace

std::string trace_summary(const std::string& json, const std::string& name, size_t calls) {
    Reader reader(name);
    Summary s = read(json, reader);
    const Json& other = *s.other;
    uint64_t count = 0;
    for (const auto& [cpu, n] : s.records) count += n;
    char span[64];
    std::snprintf(span, sizeof span, "%.3f ms", (s.last_us - s.first_us) / 1000);
    std::string text = reader.text(other, "route") + ": " + reader.text(other, "command") + "\n" +
                       std::to_string(count) + " records in " + span + ", " +
                       std::to_string(reader.number(other, "cycle_hz") / 1'000'000) + " cycles a microsecond; " +
                       lost_line(reader.member(other, "lost"), reader);
    const TextRow head{"", "ended", "count", "cycles", "median", "99 %", "longest"};
    auto titled = [&](const char* title) {
        TextRow row = head;
        row[0] = title;
        return std::vector<TextRow>{row};
    };
    if (!s.paths.empty()) {
        auto rows = titled("path");
        for (auto& [path, group] : s.paths) rows.push_back(row_of(path, group));
        text += "\n" + table(std::move(rows));
    }
    if (!s.calls.empty()) {
        std::vector<std::pair<std::string, Group*>> order;
        for (auto& [call, group] : s.calls) order.emplace_back(call, &group);
        std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
            return a.second->total != b.second->total ? a.second->total > b.second->total : a.first < b.first;
        });
        auto rows = titled("call");
        for (auto& [call, group] : order) {
            if (rows.size() > calls) break;
            rows.push_back(row_of(call, *group));
        }
        text += "\n" + table(std::move(rows));
        if (order.size() > calls) text += "and " + std::to_string(order.size() - calls) + " more\n";
    }
    if (!s.fastpaths.empty()) {
        text += "\n";
        std::vector<TextRow> rows{{"fastpath", "taken", "left"}};
        std::vector<std::string> why{"because of"};
        for (const auto& [path, fast] : s.fastpaths) {
            uint64_t left = 0;
            for (const auto& [test, n] : fast.tests) left += n;
            rows.push_back({path, std::to_string(fast.taken), std::to_string(left)});
            why.push_back(listed(fast.tests));
        }
        size_t i = 0;
        for (const std::string& line : split_lines(aligned(rows, 1)))
            text += line.substr(0, line.size() - 1) + "  " + why[i++] + "\n";
    }
    if (!s.moments.empty()) text += "\n" + listed(s.moments) + "\n";
    return text;
}

}  // namespace cli
