// SPDX-License-Identifier: MIT
// `farcall test fuzz`: random system calls (tests/fuzz/fuzz.c) in batches, a guest and a seed each. A batch that panics, hangs
// or loses memory is reported with its seed, and the next one begins. What was counted is added up over the batches of a
// route; a long run must have reached every goal of calls.h: each call succeeded kSuccesses times and gave each of its errors.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/commands.hpp"
#include "cli/pace.hpp"
#include "cli/symbolize.hpp"
#include "cli/tests.hpp"

namespace cli {

namespace {

constexpr uint64_t kBatchCalls = 50'000;
constexpr uint64_t kSuccesses = 100;
constexpr uint64_t kGoalCalls = 3'000'000;  // goals are for runs of this length
constexpr double kSilence = 60;             // seconds without a sign of progress: a hang
constexpr double kRouteSeconds = 40 * 60;   // no batch begins later; the host's slowness is not counted
// Free memory after a batch, against that after its first rounds, in KiB. A leak of a page for each worker would be some
// 700 KiB (50,000 calls are about 170 workers), of a page for each call of one kind 800 KiB or more. What may stay: pages of
// object caches, which go back only when they are empty (measured: up to 300 KiB).
constexpr long kMemoryTolerance = 512;
// Calls that a batch makes beyond what was asked for: each thread looks at the sum before its own next one.
constexpr uint64_t kBatchSlack = 100;

struct Counted {
    std::vector<std::string> goals;  // names of errors
    uint64_t succeeded = 0;
    std::map<int, uint64_t> errors;
};
using Counts = std::map<std::string, Counted>;

struct Batch {
    Outcome outcome;
    fs::path kernel;
    bool done = false;
    uint64_t calls = 0, killed = 0;
    long free_before = 0, free_after = 0;
};

void take_line(const std::string& line, Batch& batch, Counts& counts) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "memory") words >> batch.free_before >> batch.free_after;
    if (verb == "killed") words >> batch.killed;
    if (verb == "progress") words >> batch.calls;
    if (verb == "done") batch.done = static_cast<bool>(words >> batch.calls);
    if (verb != "call") return;
    std::string name, word;
    words >> name;
    Counted& counted = counts[name];
    counted.goals.clear();
    while (words >> word) {
        unsigned long long n;
        int error;
        if (std::sscanf(word.c_str(), "ok=%llu", &n) == 1)
            counted.succeeded += n;
        else if (std::sscanf(word.c_str(), "%d:%llu", &error, &n) == 2)
            counted.errors[error] += n;
        else if (word != "-")
            counted.goals.push_back(word);
    }
}

Batch run_batch(const std::string& route, int cpus, uint64_t seed, uint64_t calls, Counts& counts) {
    RunOptions options;
    options.cpus = cpus;
    options.route = route;
    options.memory = "512M";
    MachineSpec spec = farcall_machine(options);
    TempDir scratch;
    RootImage root = open_root("", scratch);
    CpioWriter extra;
    extra.assume(root.names);
    add_server(extra, route);
    extra.file(".farcall/fuzz", read_file(build_dir() / "guest" / "support" / "fuzz"), 0755);
    extra.file(".farcall/init",
               start_file({"/.farcall/fuzz", std::to_string(seed), std::to_string(calls)}, default_environment(false)),
               0600);
    spec.initrd = compose_initrd(root, extra.finish(), scratch);
    spec.append += " tty=0 stdin=null";
    Batch batch;
    batch.kernel = spec.kernel;
    std::string tail;
    Session* current = nullptr;
    Streams streams;
    streams.on_error = [](std::string_view) {};
    streams.on_output = [&](std::string_view bytes) {
        tail.append(bytes);
        for (size_t end; (end = tail.find('\n')) != std::string::npos; tail.erase(0, end + 1))
            take_line(tail.substr(0, end), batch, counts);
        current->set_patience(kSilence);
    };
    Session session(spec, streams);
    current = &session;
    session.set_patience(kSilence);
    batch.outcome = session.run();
    return batch;
}

// The number of an error by its name (errno.h), 0 for no such name.
int error_number(const std::string& name) {
    for (int n = 1; n < 135; ++n) {
        const char* known = ::strerrorname_np(n);
        if (known && name == known) return n;
    }
    return 0;
}

void write_json(const fs::path& path, const std::string& route, uint64_t seed, uint64_t calls, const Counts& counts) {
    nlohmann::json json{{"route", route}, {"seed", seed}, {"calls", calls}, {"rows", nlohmann::json::object()}};
    for (const auto& [name, counted] : counts) {
        nlohmann::json errors = nlohmann::json::object();
        for (const auto& [error, n] : counted.errors) {
            const char* known = ::strerrorname_np(error);
            errors[known ? known : std::to_string(error)] = n;
        }
        json["rows"][name] = {{"succeeded", counted.succeeded}, {"errors", errors}};
    }
    write_file(path, json.dump(1) + "\n");
}

}  // namespace

Tally test_fuzz(const std::string& route, int cpus, uint64_t seed, uint64_t calls) {
    Tally tally;
    Counts counts;
    uint64_t made = 0, killed = 0;
    auto start = Clock::now();
    const std::string label = "fuzz " + route;
    for (uint64_t number = 0; made < calls && seconds_since(start) < kRouteSeconds * pace(); ++number) {
        const uint64_t batch_seed = seed + number, wanted = std::min(kBatchCalls, calls - made);
        const Counts before = counts;
        Batch batch = run_batch(route, cpus, batch_seed, wanted, counts);
        const std::string name = label + " --seed " + std::to_string(batch_seed) + " --calls " + std::to_string(wanted);
        std::string why;
        if (!batch.done) {
            why = batch.outcome.kind == Outcome::Kind::Timeout ? "hung"
                  : batch.outcome.kind == Outcome::Kind::Exit || batch.outcome.kind == Outcome::Kind::Signal
                      ? "tests/fuzz itself ended with status " + std::to_string(batch.outcome.status())
                      : "did not end";
            std::string text =
                symbolize(batch.outcome.dump.empty() ? batch.outcome.serial : batch.outcome.dump, batch.kernel);
            why += " after " + std::to_string(batch.calls) + " calls\n" + batch.outcome.text +
                   text.substr(0, std::min<size_t>(text.size(), 8000));
            if (batch.calls == 0) batch.calls = 1000;  // so that a kernel which never gets far ends the run, too
        } else if (batch.calls > wanted + kBatchSlack) {
            why = "its counters were written over: it says " + std::to_string(batch.calls) + " calls";
            batch.calls = wanted;
            counts = before;
        } else if (batch.free_before - batch.free_after > kMemoryTolerance) {
            why = "lost memory: " + std::to_string(batch.free_before) + " KiB free before, " +
                  std::to_string(batch.free_after) + " after";
        }
        tally.check(why.empty(), name, why);
        made += batch.calls;
        killed += batch.killed;
        std::printf("%s: seed %llu, %llu of %llu calls, %llu workers killed, %ld KiB less, %.0f s\n", label.c_str(),
                    static_cast<unsigned long long>(batch_seed), static_cast<unsigned long long>(made),
                    static_cast<unsigned long long>(calls), static_cast<unsigned long long>(killed),
                    batch.free_before - batch.free_after, seconds_since(start));
        std::fflush(stdout);
        write_json(build_dir() / "log" / ("fuzz-" + route + ".json"), route, seed, made, counts);
    }
    if (calls < kGoalCalls) return tally;
    tally.check(made >= calls, label + " calls",
                std::to_string(made) + " of " + std::to_string(calls) + " within the time; go on with --seed " +
                    std::to_string(seed + calls / kBatchCalls));
    for (const auto& [name, counted] : counts) {
        // What never succeeds: Linux gives EINTR whatever comes.
        const bool never = name == "pause" || name == "rt_sigsuspend" || name == "restart_syscall";
        tally.check(never || counted.succeeded >= kSuccesses, label + " " + name + " succeeds",
                    "only " + std::to_string(counted.succeeded) + " times");
        for (const std::string& goal : counted.goals) {
            auto found = counted.errors.find(error_number(goal));
            tally.check(found != counted.errors.end(), label + " " + name + " " + goal, "never");
        }
    }
    return tally;
}

// The fuzzer has a row for each call of the kernel's table.
Tally test_fuzz_rows() {
    Tally tally;
    std::set<std::string> rows;
    for (const std::string& line : split_lines(read_file(source_dir() / "tests" / "fuzz" / "calls.h"))) {
        size_t from = line.find('"'), to = line.find('"', from + 1);
        if (line.starts_with("    {") && to != std::string::npos) rows.insert(line.substr(from + 1, to - from - 1));
    }
    // Calls that this kernel only refuses, since it has no sockets, no extended attributes, no modules and the like.
    static const std::set<std::string> kRefused = {
        "socket",      "connect",           "accept",        "accept4",     "sendto",       "recvfrom",
        "sendmsg",     "recvmsg",           "sendmmsg",      "recvmmsg",    "shutdown",     "bind",
        "listen",      "getsockname",       "getpeername",   "socketpair",  "setsockopt",   "getsockopt",
        "setxattr",    "lsetxattr",         "fsetxattr",     "getxattr",    "lgetxattr",    "fgetxattr",
        "listxattr",   "llistxattr",        "flistxattr",    "removexattr", "lremovexattr", "fremovexattr",
        "init_module", "finit_module",      "delete_module", "swapon",      "swapoff",      "bpf",
        "kexec_load",  "kexec_file_load",   "pivot_root",    "fsopen",      "fsmount",      "move_mount",
        "fspick",      "open_by_handle_at", "quotactl_fd"};
    size_t known = 0;
    for (const std::string& call : implemented_calls()) {
        if (kRefused.count(call)) continue;
        ++known;
        tally.check(rows.count(call) != 0, "fuzz/row " + call, "tests/fuzz/calls.h has no row for it");
    }
    tally.check(known > 100, "fuzz/rows", "the kernel does not say which calls it has");
    return tally;
}

}  // namespace cli
