// SPDX-License-Identifier: MIT
// `farcall test`: chooses the kinds, runs them, and adds up. The last line is `N passed, N failed`.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "cli/commands.hpp"
#include "cli/pace.hpp"
#include "cli/symbolize.hpp"
#include "cli/tests.hpp"

namespace cli {

namespace {

constexpr double kKtestTimeout = 120;
constexpr size_t kMutantSample = 4, kCheckSample = 20;
constexpr uint64_t kFuzzSample = 15'000;
constexpr int kRaceSample = 10;

void note(const std::string& text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    std::fflush(stderr);
}

std::string quoted(const fs::path& path) { return "'" + path.string() + "'"; }

}  // namespace

void Tally::check(bool ok, const std::string& name, const std::string& why) {
    ok ? ++passed : ++failed;
    if (ok) return;
    std::printf("FAIL %s%s%s\n", name.c_str(), why.empty() ? "" : ": ", why.c_str());
    std::fflush(stdout);
}

CommandResult run_shell(const std::string& command, double limit) {
    CommandResult result;
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) fail("cannot make a pipe");
    UniqueFd from(ends[0]), to(ends[1]);
    auto start = Clock::now();
    pid_t pid = ::fork();
    if (pid < 0) fail("cannot start a shell");
    if (pid == 0) {
        // Its own group, so that all of it can be ended; and it ends with us.
        ::setpgid(0, 0);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        int null = ::open("/dev/null", O_RDONLY);
        ::dup2(null, 0);
        ::dup2(ends[1], 1);
        ::dup2(ends[1], 2);
        ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
        ::_exit(127);
    }
    to.reset();
    bool late = false;
    for (std::array<char, 4096> buffer;;) {
        pollfd poll{.fd = from.get(), .events = POLLIN, .revents = 0};
        int ready = ::poll(&poll, 1, 1000);
        if (limit > 0 && !late && seconds_since(start) > limit * pace()) {
            late = true;
            ::kill(-pid, SIGTERM);
        } else if (late && seconds_since(start) > limit * pace() + 5) {
            ::kill(-pid, SIGKILL);
            break;
        }
        if (ready <= 0) continue;
        ssize_t n = ::read(from.get(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        result.output.append(buffer.data(), static_cast<size_t>(n));
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    result.status = late ? kStatusTimeout : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

// The group of a part's name: its first word, without what varies within the group.
std::string group_of(const std::string& name) {
    std::string word = name.substr(0, name.find(' '));
    return word == "unit_tests" || word == "linux_unit_tests" || word == "ext4_unit_tests" ? "unit" : word;
}

Tally run_parts(const std::vector<Part>& parts, int at_once) {
    struct Running {
        std::string name;
        fs::path output;
        Clock::time_point start;
    };
    TempDir scratch;
    Tally total;
    std::map<pid_t, Running> running;
    struct Killer {
        std::map<pid_t, Running>& running;
        ~Killer() {
            for (auto& [pid, part] : running) ::kill(pid, SIGTERM);
            for (auto& [pid, part] : running) ::waitpid(pid, nullptr, 0);
        }
    } killer{running};
    size_t next = 0;
    std::vector<std::pair<std::string, double>> seconds;  // of each group, its parts added up
    while (next < parts.size() || !running.empty()) {
        while (next < parts.size() && running.size() < static_cast<size_t>(at_once)) {
            fs::path output = scratch.path() / ("part" + std::to_string(next));
            std::fflush(stdout);
            pid_t pid = ::fork();
            if (pid < 0) fail("fork failed");
            if (pid == 0) {
                int fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
                ::dup2(fd, 1);
                Tally tally;
                int status = 0;
                try {
                    tally = parts[next].run();
                } catch (const Failure& failure) {
                    tally.check(false, parts[next].name, failure.what());
                } catch (const Interrupted& interrupted) {
                    status = 128 + interrupted.signal;
                } catch (const std::exception& error) {
                    tally.check(false, parts[next].name, error.what());
                }
                std::printf("\n%d %d\n", tally.passed, tally.failed);
                std::fflush(stdout);
                ::_exit(status);
            }
            note("farcall: testing " + parts[next].name);
            running[pid] = {.name = parts[next].name, .output = output, .start = Clock::now()};
            ++next;
        }
        int status;
        pid_t pid = ::waitpid(-1, &status, WNOHANG);
        if (pid == 0) {
            ::usleep(50'000);
            update_pace();
            continue;
        }
        auto found = running.find(pid);
        if (found == running.end()) continue;
        Running part = found->second;
        running.erase(found);
        // The tally is the last line.
        std::string text = read_file(part.output);
        Tally tally;
        size_t line = text.size() > 1 ? text.rfind('\n', text.size() - 2) : std::string::npos;
        bool whole = line != std::string::npos &&
                     std::sscanf(text.c_str() + line + 1, "%d %d", &tally.passed, &tally.failed) == 2;
        if (whole) text.resize(line);
        std::fputs(text.c_str(), stdout);
        if (!whole || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
            tally.check(false, part.name, "did not end by itself");
        char summary[200];
        std::snprintf(summary, sizeof summary, "%-28s %5d passed %4d failed  %.1f s", part.name.c_str(), tally.passed,
                      tally.failed, seconds_since(part.start));
        std::puts(summary);
        std::fflush(stdout);
        total.add(tally);
        const std::string group = group_of(part.name);
        auto at = std::find_if(seconds.begin(), seconds.end(), [&](const auto& entry) { return entry.first == group; });
        if (at == seconds.end()) at = seconds.insert(at, {group, 0.0});
        at->second += seconds_since(part.start);
    }
    for (const auto& [group, spent] : seconds) std::printf("group %-22s %7.1f s\n", group.c_str(), spent);
    if (pace() > 1) std::printf("limits were stretched by %.1f: the host is slow or busy\n", pace());
    return total;
}

Tally test_style() {
    Tally tally;
    CommandResult layers = run_shell(quoted(build_dir() / "host" / "check_layers") + " " + quoted(source_dir()));
    tally.check(layers.status == 0, "style/layers", "\n" + layers.output);

    const std::string cd = "cd " + quoted(source_dir()) + " && ";
    // A tree that is no repository (an unpacked archive) is searched instead.
    const std::string files =
        "{ git ls-files 2>/dev/null | grep . || find . -path ./build -prune -o -type f -print; } | grep -E "
        "'\\.(cpp|hpp|c|h)$' | sort";
    CommandResult format = run_shell(
        cd + files +
        " | xargs -P 2 -I{} sh -c 'clang-format-19 --dry-run -Werror \"{}\" >/dev/null 2>&1 || echo \"{}\"' | sort");
    tally.check(format.output.empty(), "style/format", "clang-format-19 -i is wanted for\n" + format.output);

    fs::path database = build_dir() / "kernel";
    if (fs::exists(database / "compile_commands.json")) {
        // The runtime and the core: where a bug hides best. The other folders are left to the compiler's warnings.
        CommandResult tidy = run_shell(
            cd + "ls rt/*.cpp core/*.cpp core/ipc/*.cpp 2>/dev/null | xargs -P 2 -n 4 clang-tidy-19 --quiet -p " +
            quoted(database) + " 2>/dev/null | grep -E '(warning|error):' | sort -u");
        tally.check(tidy.output.empty(), "style/tidy", "\n" + tidy.output);
    }
    CommandResult shell =
        run_shell(cd +
                  "for f in farcall scripts/* .ci/run tests/tool.sh tests/tool/*.sh; do [ -f \"$f\" ] && { sh -n "
                  "\"$f\" || echo \"$f\"; }; done; true");
    tally.check(shell.output.empty(), "style/shell", shell.output);
    CommandResult calls = run_shell(cd + "scripts/native_calls check");
    tally.check(calls.status == 0, "style/native_calls", "\n" + calls.output);
    return tally;
}

Tally test_unit(const std::string& world, const std::string& name) {
    Tally tally;
    fs::path program = build_dir() / world / name;
    TempDir scratch;
    fs::path json_path = scratch.path() / "result.json";
    CommandResult run = run_shell("TSAN_OPTIONS=halt_on_error=0 ASAN_OPTIONS=detect_leaks=1 exec " + quoted(program) +
                                      " --gtest_brief=1 --gtest_output=json:" + quoted(json_path),
                                  300);
    bool named = false;
    if (fs::exists(json_path)) {
        try {
            auto json = nlohmann::json::parse(read_file(json_path));
            for (const auto& suite : json.at("testsuites")) {
                for (const auto& test : suite.at("testsuite")) {
                    if (test.value("status", "") != "RUN") continue;
                    bool ok = !test.contains("failures");
                    named |= !ok;
                    std::string why;
                    if (!ok) why = test["failures"][0].value("failure", "");
                    tally.check(ok, "unit[" + world + "] " + suite.value("name", "") + "." + test.value("name", ""),
                                why);
                }
            }
        } catch (const nlohmann::json::exception&) {
            // A crash may leave half a file; the status below tells.
        }
    }
    // A sanitizer's report or a crash is no failure of one test.
    if (run.status != 0 && !named) {
        size_t from = run.output.size() > 6000 ? run.output.size() - 6000 : 0;
        tally.check(false, "unit[" + world + "]",
                    "status " + std::to_string(run.status) + "\n" + run.output.substr(from));
    }
    return tally;
}

// `model NAME ok` or `model NAME FAIL why` per model and mutant, then `models done`.
Tally test_models() {
    Tally tally;
    CommandResult run = run_shell("exec sh " + quoted(source_dir() / "scripts" / "check_models"), 600);
    bool done = false;
    for (std::string line : split_lines(run.output)) {
        char name[128], word[16];
        if (line.ends_with('\n')) line.pop_back();
        if (line == "models done") done = true;
        if (!line.starts_with("model ") || std::sscanf(line.c_str(), "model %127s %15s", name, word) != 2) continue;
        bool ok = std::string(word) == "ok";
        tally.check(ok, std::string("model/") + name, ok ? "" : line);
    }
    tally.check(done && tally.passed > 0, "model", "scripts/check_models did not end:\n" + run.output);
    return tally;
}

Tally test_tool() {
    Tally tally;
    CommandResult run = run_shell("exec sh " + quoted(source_dir() / "tests" / "tool.sh"), 600);
    bool done = false;
    for (std::string line : split_lines(run.output)) {
        char name[128], word[16];
        if (line.ends_with('\n')) line.pop_back();
        if (line == "tool done") done = true;
        if (line.starts_with("skipped ")) note("farcall: tool: " + line);
        if (std::sscanf(line.c_str(), "tool %127s %15s", name, word) != 2) continue;
        bool ok = std::string(word) == "ok";
        tally.check(ok, std::string("tool/") + name, ok ? "" : line);
    }
    tally.check(done, "tool", "tests/tool.sh did not end:\n" + run.output);
    return tally;
}

Tally test_ktest(int cpus, int seconds) {
    Tally tally;
    const std::string label = "ktest[cpus=" + std::to_string(cpus) + "] ";
    RunOptions options;
    options.cpus = cpus;
    options.test_kernel = true;
    options.append = seconds ? "ktest=" + std::to_string(seconds) : "ktest";
    MachineSpec spec = farcall_machine(options);
    TempDir scratch;
    RootImage root = open_root("", scratch);
    spec.initrd = root.archive;

    std::set<std::string> seen;
    bool done = false;
    std::string tail;
    Streams streams;
    Session* current = nullptr;
    streams.on_output = streams.on_error = [](std::string_view) {};
    auto line = [&](std::string text) {
        while (!text.empty() && (text.back() == '\r' || text.back() == '\n')) text.pop_back();
        char name[128], word[16];
        int used = 0;
        if (text.starts_with("ktest done")) {
            done = true;
            if (current) current->cancel();
        } else if (std::sscanf(text.c_str(), "ktest %127s %15s%n", name, word, &used) == 2 &&
                   seen.insert(name).second) {
            tally.check(std::string(word) == "ok", label + name, text.substr(static_cast<size_t>(used)));
            if (current) current->set_patience(kKtestTimeout);
        }
    };
    streams.on_control = [&](std::string_view text) { line(std::string(text)); };
    streams.on_serial = [&](std::string_view bytes) {
        tail.append(bytes);
        for (size_t end; (end = tail.find('\n')) != std::string::npos; tail.erase(0, end + 1))
            line(tail.substr(0, end));
    };
    Session session(spec, streams);
    current = &session;
    session.set_patience(kKtestTimeout);
    Outcome outcome = session.run();
    if (!done) {
        std::string text = symbolize(outcome.dump.empty() ? outcome.serial : outcome.dump, spec.kernel);
        size_t from = text.size() > 6000 ? text.size() - 6000 : 0;
        tally.check(
            false, label + "end",
            "the run did not end after " + std::to_string(seen.size()) + " tests\n" + outcome.text + text.substr(from));
    }
    return tally;
}

// `test debug` as a part of `test all`: the kernel is chosen for a whole process.
Tally test_debug() {
    Tally tally;
    CommandResult run = run_shell("exec " + quoted(build_dir() / "host" / "farcall-tool") + " test debug", 3600);
    auto lines = split_lines(run.output);
    int passed = 0, failed = 0;
    bool done = !lines.empty() && std::sscanf(lines.back().c_str(), "%d passed, %d failed", &passed, &failed) == 2;
    tally.passed = passed;
    for (const std::string& line : lines)
        if (line.starts_with("FAIL ")) tally.check(false, "debug/" + line.substr(5), "with the debug kernel");
    tally.check(done && tally.failed == failed, "debug", "./farcall test debug did not end:\n" + run.output);
    return tally;
}

// Natively and over the routes, with two CPUs: what its assertions and its lock-order check see.
std::vector<Part> debug_parts(const BatchOptions& options) {
    std::vector<Part> parts;
    for (int cpus : {1, 2, 4}) {
        const std::string of = " debug cpus=" + std::to_string(cpus);
        parts.push_back({"ktest" + of, [=] { return test_ktest(cpus, 0); }});
        parts.push_back({"native" + of, [=] { return test_native(cpus, "all"); }});
        parts.push_back({"random" + of, [=] { return test_native_random(cpus, 1, 20, kEachFastpath); }});
        parts.push_back({"race" + of, [=] { return test_native_race(cpus, true, 1, kRaceSample); }});
    }
    auto cases = load_cases(options);
    for (const char* route : {"inline", "remote", "server"}) {
        const std::string label = std::string("guest debug cpus=2 ") + route;
        const std::string name = route;
        parts.push_back({label, [=] { return test_guest(options, label, cases, farcall_target(2, name)); }});
    }
    return parts;
}

// `test random [random] [race]`: as many programs as are asked for, from a seed on. On one CPU with all fastpaths and with
// none; races with the debug kernel.
void random_parts(std::vector<Part>& parts, const BatchOptions& options) {
    const int programs = options.programs;
    const auto wanted = [&](const char* what) {
        return options.areas.empty() || std::ranges::find(options.areas, what) != options.areas.end();
    };
    for (int cpus : options.cpus) {
        const std::string of = " cpus=" + std::to_string(cpus);
        const std::vector<std::string> fastpaths =
            programs == 0 ? kEachFastpath : std::vector<std::string>{"all", "none"};
        const int seeds = programs == 0 ? 20 : programs;
        if (wanted("random"))
            parts.push_back({"random" + of, [=] { return test_native_random(cpus, options.seed, seeds, fastpaths); }});
        if (wanted("race"))
            parts.push_back({"race" + of, [=] { return test_native_race(cpus, true, options.seed, seeds); }});
    }
}

// An area that is asked for runs over one of the routes at least: there are no disks over the server route.
void check_areas(const BatchOptions& options, const std::vector<Case>& cases) {
    if (options.on_linux || std::any_of(options.routes.begin(), options.routes.end(),
                                        [](const std::string& route) { return route != "server"; }))
        return;
    for (const std::string& area : options.areas)
        if (std::none_of(cases.begin(), cases.end(),
                         [&](const Case& item) { return item.area == area && item.disks.empty(); }))
            fail("area '" + area + "': no case of it can run over route server");
}

int test_command(const std::string& kind, const BatchOptions& options) {
    auto start = Clock::now();
    // Default: all kinds, the routes other than inline with two CPUs only, and no modules that move. "all" leaves
    // nothing out.
    const bool usual = kind == "usual", all = usual || kind == "all";
    if (options.debug || kind == "debug") use_debug_kernel();
    start_pace();
    if (kind == "ltp") return test_ltp(options);
    Tally total;
    int at_once = static_cast<int>(std::clamp(::sysconf(_SC_NPROCESSORS_ONLN), 1L, 2L));
    std::vector<Part> parts;
    if (kind == "debug") parts = debug_parts(options);
    if (all || kind == "style") parts.push_back({"style", test_style});
    if (all || kind == "unit") {
        for (const char* world : {"host", "asan", "tsan"}) {
            for (const char* name : {"unit_tests", "linux_unit_tests", "ext4_unit_tests"}) {
                if (!fs::exists(build_dir() / world / name)) {
                    note(std::string("farcall: there is no ") + name + " in the " + world + " world");
                    continue;
                }
                parts.push_back({std::string(name) + " " + world, [=] { return test_unit(world, name); }});
            }
        }
        if (fs::exists(build_dir() / "host" / "explore_tests"))
            parts.push_back({"explore_tests", [] { return test_unit("host", "explore_tests"); }});
        parts.push_back({"models", test_models});
    }
    if (all || kind == "figures") parts.push_back({"figures", [=] { return test_figures(!all); }});
    if (all || kind == "tool") parts.push_back({"tool", test_tool});
    if (kind == "random") {
        random_parts(parts, options);
    } else if (all || kind == "ktest") {
        for (int cpus : options.cpus) {
            const std::string of = " cpus=" + std::to_string(cpus);
            const int seeds = !usual ? 200 : cpus == 1 ? 20 : 8;
            parts.push_back({"random" + of, [=] { return test_native_random(cpus, 1, seeds, kEachFastpath); }});
            parts.push_back({"race" + of, [=] { return test_native_race(cpus, false, 1, kRaceSample); }});
        }
    }
    if (all || kind == "ktest") {
        for (int cpus : options.cpus)
            parts.push_back({"ktest cpus=" + std::to_string(cpus), [=] { return test_ktest(cpus, usual ? 0 : 10); }});
        for (const char* fastpath : {"all", "none"}) {
            for (int cpus : options.cpus)
                parts.push_back({"native cpus=" + std::to_string(cpus) + " fastpath=" + fastpath,
                                 [=] { return test_native(cpus, fastpath); }});
        }
    }
    if (all || kind == "checks") {
        size_t sample = usual ? kCheckSample : 0;
        std::vector<std::string> which;
        if (kind == "checks" && !options.areas.empty()) {
            // How many of them, or which.
            if (options.areas.size() != 1 || std::sscanf(options.areas[0].c_str(), "%zu", &sample) != 1)
                which = options.areas;
        }
        uint64_t seed = options.check_seed != 0 ? options.check_seed : std::random_device{}();
        if (!which.empty()) sample = 0;
        parts.push_back({"checks", [=] { return test_checks(sample, seed, which); }});
    }
    if (all || kind == "guest") {
        auto cases = load_cases(options);
        check_areas(options, cases);
        if (options.on_linux) {
            parts.push_back({"guest on Linux", [=] { return test_guest(options, "linux", cases, linux_target(1)); }});
        } else if (!options.moving) {
            for (const std::string& route : options.routes) {
                for (int cpus : options.cpus) {
                    if ((route == "remote" || route == "adaptive") && cpus < 2) continue;
                    if (usual && route != "inline" && cpus != 2) continue;
                    std::string label = "guest cpus=" + std::to_string(cpus) + " " + route;
                    const std::string fastpath = route == "server" ? options.fastpath : "";
                    if (!fastpath.empty()) label += " fastpath=" + fastpath;
                    parts.push_back({label, [=] {
                                         return test_guest(options, label, cases,
                                                           farcall_target(cpus, route, {}, false, fastpath));
                                     }});
                }
            }
        }
    }
    if (all) {
        // The same over the server without fastpaths; some areas in the default run.
        BatchOptions some = options;
        if (usual) some.areas = {"skeleton", "faults", "futex", "regs", "pipe"};
        auto cases = load_cases(some);
        for (int cpus : usual ? std::vector<int>{2} : options.cpus) {
            const std::string label = "guest cpus=" + std::to_string(cpus) + " server fastpath=none";
            parts.push_back(
                {label,
                 [=] { return test_guest(some, label, cases, farcall_target(cpus, "server", {}, false, "none")); }});
        }
    }
    if ((all && !usual) || (kind == "guest" && options.moving && !options.on_linux)) {
        auto cases = load_cases(options);
        for (const std::string& route : options.moving ? options.routes : std::vector<std::string>{"remote"}) {
            for (int cpus : options.cpus) {
                if (cpus < 2) continue;
                std::string label = "guest cpus=" + std::to_string(cpus) + " " + route + " moving";
                uint64_t seed = options.seed;
                parts.push_back(
                    {label, [=] { return test_guest(options, label, cases, farcall_target(cpus, route, seed)); }});
            }
        }
    }
    if (all || kind == "stretch") {
        // All areas take long; in the default run that of long operations.
        BatchOptions some = options;
        if (usual && some.areas.empty() && some.cases.empty()) some.areas = {"long"};
        auto cases = load_cases(some);
        parts.push_back({"stretch", [=] { return test_stretch(some, "stretch", cases); }});
    }
    if (kind == "all") parts.push_back({"debug", test_debug});
    if (all || kind == "fuzz") {
        // A fixed sample in the default run: about half a minute.
        const uint64_t calls = kind == "fuzz" ? options.calls : kFuzzSample, seed = kind == "fuzz" ? options.seed : 1;
        const std::vector<std::string> some = {"inline", "remote", "server"};
        parts.push_back({"fuzz rows", test_fuzz_rows});
        for (const std::string& route : kind == "fuzz" ? options.routes : some)
            parts.push_back({"fuzz " + route, [=] { return test_fuzz(route, 2, seed, calls); }});
    }
    if (all || kind == "mutants")
        parts.push_back(
            {"mutants",
             [=] { return test_mutants(all ? kMutantSample : 0, all ? std::vector<std::string>{} : options.areas); }});
    total = run_parts(parts, at_once);
    std::printf("%.0f s\n%d passed, %d failed\n", seconds_since(start), total.passed, total.failed);
    return total.failed || total.passed == 0 ? 1 : 0;
}

}  // namespace cli
