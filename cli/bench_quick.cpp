// SPDX-License-Identifier: MIT
// `farcall bench --quick`: a little of every benchmark; one file of results, of which `farcall report` makes a page.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/bench.hpp"

namespace cli {

int bench_quick_command(const BenchOptions& options) {
    if (!options.names.empty()) fail("bench: --quick chooses the benchmarks itself");
    const BenchOptions none;
    if (options.runs != none.runs || options.percent != none.percent || options.cpu != none.cpu || options.misses ||
        options.routes != none.routes || options.route != none.route || options.on_linux || options.linux_load ||
        options.thesis || options.repeats != none.repeats || !options.markdown.empty() || !options.profile.empty() ||
        !options.plot.empty() || !options.rows.empty())
        fail("bench: --quick goes with --json, --caches and --verbose alone");
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
        // One that cannot be measured does not cost the others.
        try {
            failed |= bench_command(part);
        } catch (const Failure& failure) {
            std::fprintf(stderr, "farcall: %s left out: %s\n", title.c_str(), failure.what());
            failed = 1;
        }
        if (fs::exists(part.json)) results.push_back(nlohmann::ordered_json::parse(read_file(part.json)));
        fs::remove(part.json);
    }
    if (!options.json.empty())
        write_file(options.json,
                   nlohmann::ordered_json{{"results", results}, {"commit", bench_commit()}}.dump(1) + "\n");
    return failed;
}

}  // namespace cli
