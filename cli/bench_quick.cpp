// SPDX-License-Identifier: MIT
// `farcall bench --quick`: a little of every benchmark; one file of results, of which `farcall report` makes a page.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/bench.hpp"

namespace cli {

int bench_quick_command(const BenchOptions& options) {
    if (!options.names.empty()) fail("bench: --quick chooses the benchmarks itself");
    BenchOptions base;
    base.verbose = options.verbose;
    base.caches = options.caches;
    const std::vector<std::string> tasks = {"task0", "task1", "task2", "task3", "task4", "task5"};
    std::vector<BenchOptions> parts;
    auto add = [&](std::vector<std::string> names, auto&& change) {
        BenchOptions part = base;
        part.names = std::move(names);
        change(part);
        parts.push_back(std::move(part));
    };
    add({"syscall"}, [](BenchOptions&) {});
    add({"ipc"}, [](BenchOptions& part) { part.cpu = "max"; });
    add({"fastpath"}, [](BenchOptions& part) { part.cpu = "max", part.runs = 1, part.percent = 10; });
    add(tasks, [](BenchOptions& part) { part.runs = 5, part.percent = 30; });
    add(tasks, [](BenchOptions& part) { part.misses = true, part.runs = 1, part.percent = 10; });

    TempDir scratch;
    nlohmann::ordered_json results = nlohmann::ordered_json::array();
    int failed = 0;
    for (BenchOptions& part : parts) {
        std::string title;
        for (const std::string& name : part.names) title += (title.empty() ? "" : " ") + name;
        std::printf("--- %s%s\n", title.c_str(), part.misses ? " --misses" : "");
        std::fflush(stdout);
        part.json = scratch.path() / "part.json";
        failed |= bench_command(part);
        results.push_back(nlohmann::ordered_json::parse(read_file(part.json)));
    }
    if (!options.json.empty())
        write_file(options.json,
                   nlohmann::ordered_json{{"results", results}, {"commit", bench_commit()}}.dump(1) + "\n");
    return failed;
}

}  // namespace cli
