// SPDX-License-Identifier: MIT
// Guest test cases: see batch.hpp.
#include "cli/batch.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

#include "cli/pace.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {

constexpr double kBootTimeout = 30;  // seconds to the first case
constexpr double kCaseGrace = 15;    // seconds a case may overrun its own limit before the guest counts as hung

fs::path cases_dir() { return source_dir() / "tests" / "linux" / "cases"; }

bool name_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-'; }

// %disk SIZE [ro]
CaseDisk parse_case_disk(const std::string& line, const std::function<void(const std::string&)>& bad) {
    char size[32] = "", mode[8] = "";
    const int words = std::sscanf(line.c_str(), "%%disk %31s %7s", size, mode);
    if (words < 1 || (words == 2 && std::string(mode) != "ro")) bad("'%disk SIZE [ro]' is wanted");
    return {.bytes = parse_size(size), .read_only = words == 2};
}

std::vector<DiskSpec> make_disks(const std::vector<CaseDisk>& disks, const fs::path& folder) {
    constexpr uint64_t kSector = 512;
    std::vector<DiskSpec> specs;
    for (const CaseDisk& disk : disks) {
        std::string bytes(disk.bytes, '\0');
        for (uint64_t at = 0; at + kSector <= disk.bytes; at += kSector) {
            const std::string text = "sector " + std::to_string(at / kSector) + "\n";
            bytes.replace(at, text.size(), text);
        }
        specs.push_back({.file = folder / ("disk" + std::to_string(specs.size())), .read_only = disk.read_only});
        write_file(specs.back().file, bytes);
    }
    return specs;
}

std::vector<Case> parse_cases(const std::string& area, const fs::path& path) {
    std::vector<Case> cases;
    std::set<std::string> names;
    std::vector<CaseDisk> disks;
    std::string indent, blank;
    bool first_continuation = true;
    int number = 0;
    auto bad = [&](const std::string& why) { fail(path.string() + ":" + std::to_string(number) + ": " + why); };
    for (std::string line : split_lines(read_file(path))) {
        ++number;
        if (line.ends_with('\n')) line.pop_back();
        if (line.starts_with('#')) continue;
        if (line.starts_with('%')) {
            if (!cases.empty()) bad("a disk after the first case");
            disks.push_back(parse_case_disk(line, bad));
            continue;
        }
        if (line.find_first_not_of(" \t") == std::string::npos) {
            blank += '\n';  // kept only if the command continues
            continue;
        }
        if (line[0] == ' ' || line[0] == '\t') {
            if (cases.empty()) bad("a continuation before the first case");
            if (first_continuation) indent = line.substr(0, line.find_first_not_of(" \t"));
            if (!line.starts_with(indent)) bad("less indented than the first continuation line");
            std::string& command = cases.back().command;
            if (!command.empty()) command += '\n';
            if (!first_continuation) command += blank;
            command += line.substr(indent.size());
            first_continuation = false;
            blank.clear();
            continue;
        }
        blank.clear();
        size_t end = 0;
        while (end < line.size() && name_char(line[end])) ++end;
        Case item{.area = area, .name = line.substr(0, end), .command = {}, .disks = disks};
        size_t at = line.find_first_not_of(' ', end);
        if (at != std::string::npos && line.compare(at, 9, "(timeout=") == 0) {
            item.timeout = std::atoi(line.c_str() + at + 9);
            size_t close = line.find(')', at);
            if (close == std::string::npos || item.timeout <= 0) bad("a malformed (timeout=SECONDS)");
            at = line.find_first_not_of(' ', close + 1);
        }
        if (end == 0 || at == std::string::npos || line[at] != ':') bad("'name: command' is wanted");
        size_t command = line.find_first_not_of(" \t", at + 1);
        if (command != std::string::npos) item.command = line.substr(command);
        if (!names.insert(item.name).second) bad("a second case named '" + item.name + "'");
        cases.push_back(item);
        first_continuation = true;
    }
    for (const Case& item : cases) {
        if (item.command.empty()) fail(path.string() + ": the case '" + item.name + "' has no command");
    }
    return cases;
}

// Splits the runner's output stream into records.
class RecordParser {
public:
    RecordParser(std::function<void(const std::string&)> begin,
                 std::function<void(const std::string&, CaseResult)> done)
        : begin_(std::move(begin)), done_(std::move(done)) {}

    void feed(std::string_view bytes) {
        buffer_.append(bytes);
        while (step()) {
        }
    }
    bool ended() const { return ended_; }
    const std::string& stray() const { return stray_; }

private:
    bool step() {
        size_t newline = buffer_.find('\n');
        if (newline == std::string::npos) return false;
        std::string line = buffer_.substr(0, newline);
        char name[256], word[16];
        size_t out, err;
        if (std::sscanf(line.c_str(), "begin %255s", name) == 1) {
            buffer_.erase(0, newline + 1);
            begin_(name);
        } else if (std::sscanf(line.c_str(), "case %255s %15s %zu %zu", name, word, &out, &err) == 4) {
            if (buffer_.size() < newline + 1 + out + err + 1) return false;
            CaseResult result;
            result.status = word[0] == 't'   ? "timeout"
                            : word[0] == 'm' ? std::string("(the mover ended with status ") + (word + 1) + ")"
                            : word[0] == 's' ? std::string("signal ") + (word + 1)
                                             : std::string(word + 1);
            result.output = buffer_.substr(newline + 1, out);
            result.error = buffer_.substr(newline + 1 + out, err);
            buffer_.erase(0, newline + 1 + out + err + 1);
            done_(name, std::move(result));
        } else if (line.starts_with("end ")) {
            ended_ = true;
            buffer_.erase(0, newline + 1);
        } else {
            stray_ += line + "\n";
            buffer_.erase(0, newline + 1);
        }
        return true;
    }
    std::function<void(const std::string&)> begin_;
    std::function<void(const std::string&, CaseResult)> done_;
    std::string buffer_, stray_;
    bool ended_ = false;
};

std::string why_lost(const Outcome& outcome, const MachineSpec& spec) {
    using Kind = Outcome::Kind;
    auto tail = [&](const std::string& text) {
        std::string clear = symbolize(text, spec.kernel);
        return clear.size() > 6000 ? clear.substr(0, 6000) + "[cut]\n" : clear;
    };
    switch (outcome.kind) {
        case Kind::Panic: return "kernel panic\n" + tail(outcome.dump);
        case Kind::Timeout: return "the guest hung\n" + tail(outcome.dump);
        case Kind::CannotStart: return "the kernel could not start: " + outcome.text;
        case Kind::Stopped: return "the machine stopped\n" + tail(outcome.dump);
        case Kind::QemuFailed: return "QEMU ended: " + outcome.text;
        case Kind::NotFound: return "the batch runner was not found in the guest";
        case Kind::NotExecutable: return "the batch runner cannot be executed by the guest";
        case Kind::Exit: return "the batch runner exited with status " + std::to_string(outcome.value);
        case Kind::Signal: return "the batch runner died of signal " + std::to_string(outcome.value);
        default: return "the guest ended";
    }
}

}  // namespace

std::vector<Case> load_cases(const BatchOptions& options) {
    std::vector<std::string> areas = options.areas;
    if (areas.empty() && fs::is_directory(cases_dir())) {
        for (const auto& entry : fs::directory_iterator(cases_dir())) {
            if (entry.path().extension() == ".txt") areas.push_back(entry.path().stem());
        }
        std::sort(areas.begin(), areas.end());
    }
    std::vector<Case> all;
    for (const std::string& area : areas) {
        fs::path path = cases_dir() / (area + ".txt");
        if (!fs::exists(path)) fail("there is no area '" + area + "' (no " + path.string() + ")");
        std::vector<Case> parsed = parse_cases(area, path);
        if (parsed.empty()) fail("area '" + area + "' has no cases (" + path.string() + ")");
        for (Case& item : parsed) {
            bool wanted = options.cases.empty() ||
                          std::find(options.cases.begin(), options.cases.end(), item.name) != options.cases.end();
            if (wanted) all.push_back(std::move(item));
        }
    }
    return all;
}

void run_cases(const std::vector<Case>& cases, const BatchTarget& target, const CaseSink& sink) {
    size_t next = 0;
    int fruitless = 0;
    while (next < cases.size()) {
        MachineSpec spec = target.machine();
        TempDir scratch;
        spec.disks = make_disks(cases[next].disks, scratch.path());
        // The cases of this guest: those in a row that have its disks.
        size_t last = next;
        while (last < cases.size() && cases[last].disks == cases[next].disks) ++last;
        RootImage root = open_root(target.root, scratch);
        CpioWriter extra;
        extra.assume(root.names);
        target.prepare(extra);
        add_test_programs(extra);
        extra.file(".farcall/batch_runner", read_file(build_dir() / "guest" / "support" / "batch_runner"), 0755);
        std::string list;
        for (size_t i = next; i < last; ++i) {
            list += cases[i].full_name() + '\0' + std::to_string(paced_seconds(cases[i].timeout)) + '\0' +
                    cases[i].command + '\0';
        }
        extra.file(".farcall/cases", list);
        extra.file(".farcall/init", start_file({"/.farcall/batch_runner"}, default_environment(false)), 0600);
        spec.initrd = compose_initrd(root, extra.finish(), scratch);
        spec.append += " tty=0 stdin=null";

        Streams streams;
        Session* current = nullptr;
        bool running = false;
        const size_t start = next;
        RecordParser parser(
            [&](const std::string& name) {
                running = true;
                if (next < cases.size() && name == cases[next].full_name())
                    current->set_patience((cases[next].timeout + kCaseGrace) * target.slowness);
            },
            [&](const std::string& name, CaseResult result) {
                running = false;
                if (next < cases.size() && name == cases[next].full_name()) {
                    if (!sink(cases[next], result)) {
                        next = cases.size();
                        current->cancel();
                        return;
                    }
                    ++next;
                    current->set_patience(kCaseGrace * target.slowness);
                }
            });
        std::string stray_errors;
        streams.on_output = [&](std::string_view bytes) { parser.feed(bytes); };
        streams.on_error = [&](std::string_view bytes) { stray_errors.append(bytes); };
        Session session(spec, streams);
        current = &session;
        session.set_patience(kBootTimeout * target.slowness);
        Outcome outcome = session.run();
        if (next >= last) continue;
        std::string why = why_lost(outcome, spec);
        if (!stray_errors.empty()) why += "\nits standard error: " + stray_errors;
        if (running || next > start) {
            // The case in progress is at fault; if none was, the next one shall not be blamed for ever either.
            fruitless = 0;
            if (!sink(cases[next], {.status = "lost: " + why, .output = {}, .error = {}})) return;
            ++next;
        } else if (++fruitless >= 2 || outcome.kind != Outcome::Kind::Timeout) {
            // The guest does not even begin: no case can run.
            for (bool first = true; next < last; ++next, first = false) {
                sink(cases[next], {.status = first ? "lost: " + why : std::string("lost: the guest did not begin"),
                                   .output = {},
                                   .error = {}});
            }
        }
    }
}

BatchTarget linux_target(int cpus) {
    RunOptions options;
    options.cpus = cpus;
    return {.machine = [options] { return oracle_machine(options); }, .prepare = add_oracle_files, .slowness = 1};
}

BatchTarget farcall_target(int cpus, const std::string& route, std::optional<uint64_t> moving, bool test_kernel,
                           const std::string& fastpath) {
    RunOptions options;
    options.cpus = cpus;
    options.route = route;
    options.fastpath = fastpath;
    options.test_kernel = test_kernel;
    return {.machine = [options] { return farcall_machine(options); },
            .prepare =
                [route, moving](CpioWriter& extra) {
                    add_server(extra, route);
                    if (moving) extra.file(".farcall/moving", std::to_string(*moving), 0600);
                },
            .slowness = 1,
            .disks = route != "server"};
}

}  // namespace cli
