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
            // What is not recorded now stays: with --case the rest of the area, and cases that are lost.
            recordings[item.area] = load_recording(item.area);
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
            return true;
        }
        if (options.verbose) std::fprintf(stderr, "%zu/%zu %s\n", done, cases.size(), item.full_name().c_str());
        recordings[item.area].entries[item.name] = {.command = item.command, .result = result};
        return true;
    });
    for (const auto& [area, recording] : recordings) save_recording(area, order[area], recording);
    std::printf("%zu recorded, %d lost (%s)\n", cases.size() - static_cast<size_t>(lost), lost,
                oracle_version().c_str());
    return lost ? 1 : 0;
}

}  // namespace cli
