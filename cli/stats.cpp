// SPDX-License-Identifier: MIT
// Counters as tables: see stats.hpp.
#include "cli/stats.hpp"
#include "cli/stretch.hpp"
#include "cli/util.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

namespace cli {

namespace {

using Json = nlohmann::json;
using Row = TextRow;

// A nanosecond figure in microseconds or milliseconds.
std::string scaled(uint64_t ns, double unit, int digits) {
    char text[40];
    std::snprintf(text, sizeof text, "%.*f", digits, static_cast<double>(ns) / unit);
    return text;
}
std::string micro(uint64_t ns) { return scaled(ns, 1e3, 1); }
std::string milli(uint64_t ns) { return scaled(ns, 1e6, 1); }
std::string number(const Json& json) { return std::to_string(json.get<uint64_t>()); }

// By kind of IPC and reason: how often a slowpath was taken.
using Reasons = std::map<std::string, uint64_t>;

Reasons reasons_of(const Json& slow, std::initializer_list<const char*> kinds) {
    Reasons all;
    for (const char* kind : kinds)
        for (const auto& [why, count] : slow.at(kind).items()) all[why] += count.get<uint64_t>();
    return all;
}

uint64_t sum(const Reasons& reasons) {
    uint64_t all = 0;
    for (const auto& [why, count] : reasons) all += count;
    return all;
}

// A thread of the server: how much IPC of each kind, the share of it on fastpaths, and why the rest was not.
std::string server_table(const Json& servers, uint64_t ns) {
    std::vector<Row> rows{{"server", "calls", "page faults", "others", "% fast", "replies", "% fast", "receives",
                           "% fast", "busy ms", "%"}};
    std::vector<std::string> why{"not on the fastpath because of"};
    for (const Json& n : servers) {
        const Json& slow = n.at("slow");
        Row row{std::to_string(rows.size() - 1)};
        std::string text;
        auto share = [&](uint64_t all, const char* what, std::initializer_list<const char*> kinds) {
            const Reasons reasons = reasons_of(slow, kinds);
            row.push_back(all == 0 ? "-"
                                   : scaled(100 * (all - std::min(all, sum(reasons))), static_cast<double>(all), 1));
            if (!reasons.empty()) text += (text.empty() ? "" : "; ") + std::string(what) + " " + ranked(reasons);
        };
        uint64_t exceptions = 0;
        for (const char* kind : {"calls", "page_faults", "other_traps"}) {
            row.push_back(number(n.at(kind)));
            exceptions += n.at(kind).get<uint64_t>();
        }
        share(exceptions, "exceptions:", {"call", "page_fault", "other_trap"});
        row.push_back(number(n.at("replies")));
        share(n.at("replies"), "replies:", {"reply"});
        row.push_back(number(n.at("receives")));
        share(n.at("receives"), "receives:", {"receive"});
        const uint64_t busy = n.at("busy_ns");
        row.push_back(milli(busy));
        row.push_back(scaled(100 * busy, static_cast<double>(std::max<uint64_t>(ns, 1)), 1));
        rows.push_back(std::move(row));
        why.push_back(text);
    }
    return with_last(rows, why);
}

std::string tables(const Json& stats) {
    std::string text;
    std::vector<Row> rows{{"module", "place", "policy", "calls", "batches", "longest queue", "wait us, median", "99 %",
                           "service us, median", "99 %", "hops", "moves", "reclaimed", "frames"}};
    for (const Json& m : stats.at("modules"))
        rows.push_back({m.at("name"), m.at("place"), m.at("policy"), number(m.at("calls")), number(m.at("batches")),
                        number(m.at("queue_max")), micro(m.at("wait_ns").at(0)), micro(m.at("wait_ns").at(1)),
                        micro(m.at("service_ns").at(0)), micro(m.at("service_ns").at(1)), number(m.at("hops")),
                        number(m.at("migrations")), number(m.at("reclaimed")), number(m.at("reclaimed_frames"))});
    if (rows.size() > 1) text += aligned(rows, 3);
    rows = {{"cpu", "user ms", "%", "kernel ms", "%", "idle ms", "%", "module calls"}};
    for (const Json& cpu : stats.at("cpus")) {
        uint64_t user = cpu.at("user_ns"), kernel = cpu.at("kernel_ns"), idle = cpu.at("idle_ns");
        uint64_t all = std::max<uint64_t>(user + kernel + idle, 1);
        Row row{std::to_string(rows.size() - 1)};
        for (uint64_t ns : {user, kernel, idle}) {
            row.push_back(milli(ns));
            row.push_back(scaled(100 * ns, static_cast<double>(all), 1));
        }
        row.push_back(number(cpu.at("calls")));
        rows.push_back(std::move(row));
    }
    text += aligned(rows, 1);
    if (auto servers = stats.find("server"); servers != stats.end())
        text += server_table(*servers, stats.at("nanoseconds"));
    text += milli(stats.at("nanoseconds")) + " ms since boot, " + number(stats.at("remote_calls")) + " remote calls, " +
            number(stats.at("sleeps")) + " sleeps, " + number(stats.at("coroutine_frames")) +
            " coroutine frames; memory " + std::to_string(stats.at("memory_bytes").get<uint64_t>() >> 10) +
            " KiB, free " + std::to_string(stats.at("free_bytes").get<uint64_t>() >> 10) + ", slabs " +
            std::to_string(stats.at("slab_bytes").get<uint64_t>() >> 10) + ", coroutine frames " +
            std::to_string(stats.at("frame_bytes").get<uint64_t>() >> 10) + "\n";
    if (auto longest = stats.find("longest_stretch"); longest != stats.end())
        text += "longest stretch with interrupts off: " + number(longest->at("instructions")) + " instructions, in " +
                longest->at("call").get<std::string>() + "\n";
    return text;
}

}  // namespace

std::string aligned(const std::vector<TextRow>& rows, size_t left) {
    std::vector<size_t> width(rows.at(0).size());
    for (const TextRow& row : rows)
        for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
    std::string text;
    for (const TextRow& row : rows) {
        std::string line;
        for (size_t i = 0; i < row.size(); ++i) {
            std::string gap(width[i] - row[i].size(), ' ');
            line += (i ? "  " : "") + (i < left ? row[i] + gap : gap + row[i]);
        }
        line.resize(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

std::string with_last(const std::vector<TextRow>& rows, const std::vector<std::string>& last) {
    // The others are aligned as if each row ended with a word.
    std::vector<TextRow> padded = rows;
    for (TextRow& row : padded) row.push_back("|");
    std::string text;
    size_t i = 0;
    for (std::string line : split_lines(aligned(padded, 1))) {
        line = line.substr(0, line.rfind('|')) + last.at(i++);
        line.resize(line.find_last_not_of(' ') + 1);
        text += line + "\n";
    }
    return text;
}

std::string ranked(const std::map<std::string, uint64_t>& counts) {
    std::vector<std::pair<std::string, uint64_t>> all(counts.begin(), counts.end());
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    std::string text;
    for (const auto& [what, count] : all) text += (text.empty() ? "" : ", ") + what + " " + std::to_string(count);
    return text;
}

void add_longest_stretch(std::string& json, const Stretch& longest) {
    if (!json.ends_with('}') || longest.call.empty()) return;
    json.pop_back();
    json += ", \"longest_stretch\": {\"instructions\": " + std::to_string(longest.instructions) + ", \"call\": \"" +
            longest.call + "\"}}";
}

std::string stats_table(const std::string& json) {
    if (json.empty()) return "farcall: the kernel gave no counters\n";
    try {
        return tables(Json::parse(json));
    } catch (const Json::exception&) {
        return "farcall: the kernel's counters cannot be read: " + json + "\n";
    }
}

}  // namespace cli
