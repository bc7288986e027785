// SPDX-License-Identifier: MIT
// Counters as tables: see stats.hpp.
#include "cli/stats.hpp"
#include "cli/stretch.hpp"

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
