// SPDX-License-Identifier: MIT
// Recordings of the oracle (tests/linux/recorded/AREA.json), and the comparison with them.
// Text is kept as a list of lines so that a changed recording is readable in a diff; other bytes as base64.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/batch.hpp"

namespace cli {

namespace {

using Json = nlohmann::ordered_json;

fs::path recording_path(const std::string& area) {
    return source_dir() / "tests" / "linux" / "recorded" / (area + ".json");
}

Json encode(const std::string& bytes) {
    if (!is_utf8_text(bytes)) return Json{{"base64", base64(bytes)}};
    Json lines = Json::array();
    for (const std::string& line : split_lines(bytes)) lines.push_back(line);
    return lines;
}

std::string decode(const Json& json) {
    if (json.is_object()) return unbase64(json.at("base64").get<std::string>());
    std::string text;
    for (const auto& line : json) text += line.get<std::string>();
    return text;
}

}  // namespace

Recording load_recording(const std::string& area) {
    Recording recording;
    fs::path path = recording_path(area);
    if (!fs::exists(path)) return recording;
    try {
        Json json = Json::parse(read_file(path));
        recording.kernel = json.at("kernel");
        for (const auto& item : json.at("cases")) {
            recording.entries[item.at("name")] = {.command = decode(item.at("command")),
                                                  .result = {.status = item.at("status"),
                                                             .output = decode(item.at("stdout")),
                                                             .error = decode(item.at("stderr"))}};
        }
    } catch (const Json::exception& error) {
        fail(path.string() + ": " + error.what());
    }
    return recording;
}

void save_recording(const std::string& area, const std::vector<std::string>& order, const Recording& recording) {
    Json cases = Json::array();
    for (const std::string& name : order) {
        auto found = recording.entries.find(name);
        if (found == recording.entries.end()) continue;
        const Recording::Entry& entry = found->second;
        cases.push_back(Json{{"name", name},
                             {"command", encode(entry.command)},
                             {"status", entry.result.status},
                             {"stdout", encode(entry.result.output)},
                             {"stderr", encode(entry.result.error)}});
    }
    fs::create_directories(recording_path(area).parent_path());
    Json json{
        {"area", area}, {"kernel", recording.kernel}, {"made_by", "./farcall oracle record " + area}, {"cases", cases}};
    write_file(recording_path(area), json.dump(1) + "\n");
}

int record_areas(const BatchOptions& options) {
    std::vector<Case> cases = load_cases(options);
    if (cases.empty()) fail("there are no cases to record");
    BatchTarget target = linux_target(1);
    target.machine();  // fetches the kernel, so that its version is known
    std::map<std::string, Recording> recordings;
    std::map<std::string, std::vector<std::string>> order;
    for (const Case& item : cases) {
        if (!recordings.count(item.area)) {
            // With --case the rest of the area's recording stays.
            recordings[item.area] = options.cases.empty() ? Recording{} : load_recording(item.area);
            recordings[item.area].kernel = oracle_version();
            BatchOptions whole{.areas = {item.area}};
            for (const Case& other : load_cases(whole)) order[item.area].push_back(other.name);
        }
    }
    int lost = 0;
    size_t done = 0;
    run_cases(cases, target, [&](const Case& item, const CaseResult& result) {
        ++done;
        if (result.status.starts_with("lost") || result.status == "timeout") {
            ++lost;
            std::fprintf(stderr, "farcall: %s: %s\n", item.full_name().c_str(), result.status.c_str());
            recordings[item.area].entries.erase(item.name);
            return;
        }
        if (options.verbose) std::fprintf(stderr, "%zu/%zu %s\n", done, cases.size(), item.full_name().c_str());
        recordings[item.area].entries[item.name] = {.command = item.command, .result = result};
    });
    for (const auto& [area, recording] : recordings) save_recording(area, order[area], recording);
    std::printf("%zu recorded, %d lost (%s)\n", cases.size() - static_cast<size_t>(lost), lost,
                oracle_version().c_str());
    return lost ? 1 : 0;
}

std::string unified_diff(const std::string& want, const std::string& got, const std::string& want_name,
                         const std::string& got_name) {
    if (want == got) return {};
    if (!is_utf8_text(want) || !is_utf8_text(got)) {
        size_t at = 0;
        while (at < want.size() && at < got.size() && want[at] == got[at]) ++at;
        return "binary " + want_name + " (" + std::to_string(want.size()) + " bytes) and " + got_name + " (" +
               std::to_string(got.size()) + " bytes) differ at byte " + std::to_string(at) + "\n";
    }
    std::vector<std::string> a = split_lines(want), b = split_lines(got);
    // Common ends are cut off first, which keeps the table small; a huge middle is shown as replaced.
    size_t head = 0, tail = 0;
    while (head < a.size() && head < b.size() && a[head] == b[head]) ++head;
    while (tail < a.size() - head && tail < b.size() - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
    size_t n = a.size() - head - tail, m = b.size() - head - tail;
    struct Edit {
        char kind;
        const std::string* line;
    };
    std::vector<Edit> edits;
    constexpr size_t kContext = 3;
    for (size_t i = head > kContext ? head - kContext : 0; i < head; ++i) edits.push_back({' ', &a[i]});
    if (n * m <= 4'000'000) {
        std::vector<std::vector<uint32_t>> common(n + 1, std::vector<uint32_t>(m + 1, 0));
        for (size_t i = n; i-- > 0;) {
            for (size_t j = m; j-- > 0;) {
                common[i][j] = a[head + i] == b[head + j] ? common[i + 1][j + 1] + 1
                                                          : std::max(common[i + 1][j], common[i][j + 1]);
            }
        }
        for (size_t i = 0, j = 0; i < n || j < m;) {
            if (i < n && j < m && a[head + i] == b[head + j]) {
                edits.push_back({' ', &a[head + i]}), ++i, ++j;
            } else if (i < n && (j == m || common[i + 1][j] >= common[i][j + 1])) {
                edits.push_back({'-', &a[head + i]}), ++i;
            } else {
                edits.push_back({'+', &b[head + j]}), ++j;
            }
        }
    } else {
        for (size_t i = 0; i < n; ++i) edits.push_back({'-', &a[head + i]});
        for (size_t j = 0; j < m; ++j) edits.push_back({'+', &b[head + j]});
    }
    for (size_t i = 0; i < std::min(tail, kContext); ++i) edits.push_back({' ', &a[a.size() - tail + i]});

    std::string out = "--- " + want_name + "\n+++ " + got_name + "\n@@ line " + std::to_string(head + 1) + " @@\n";
    size_t shown = 0;
    for (size_t i = 0; i < edits.size(); ++i) {
        // Long runs of equal lines inside the hunk are left out.
        if (edits[i].kind == ' ') {
            bool near = false;
            for (size_t k = i > kContext ? i - kContext : 0; k < std::min(edits.size(), i + kContext + 1); ++k)
                near |= edits[k].kind != ' ';
            if (!near) continue;
        }
        out += edits[i].kind + *edits[i].line;
        if (!out.ends_with('\n')) out += "\n\\ no newline at the end\n";
        if (++shown == 60) {
            out += "[more]\n";
            break;
        }
    }
    return out;
}

}  // namespace cli
