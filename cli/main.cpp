// SPDX-License-Identifier: MIT
// The host tool of ./farcall: options and subcommands.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/announce.hpp"
#include "cli/commands.hpp"

namespace {

using namespace cli;

constexpr const char* kCachesHelp =
    "with --misses: the model, i5-8279u, cortex-a9 or server, and changes to it, such as "
    "server,l1d=32K/8,l2=none,dtlb=64/4,line=64 (also l1i, llc, itlb, stlb, itlb2m, dtlb2m)";

void add_run_options(CLI::App& app, RunOptions& options, bool farcall) {
    app.add_option("--cpus", options.cpus, "virtual CPUs, 1 to 16")->check(CLI::Range(1, 16))->capture_default_str();
    app.add_option("--memory", options.memory, "memory, say 256M or 2G")->capture_default_str();
    app.add_option("--root", options.root, "root file system: a directory, or a cpio archive (newc)");
    app.add_option(
           "--disk", options.disks,
           "a file as a disk: FILE, or FILE,ro for one that is only read; may be repeated: /dev/vda, /dev/vdb ...")
        ->allow_extra_args(false);
    app.add_option("--timeout", options.timeout, "seconds; then a dump and status 124")->check(CLI::PositiveNumber);
    app.add_flag("-v,--verbose", options.verbose, "kernel messages on standard error");
    app.add_option("--qemu-arg", options.qemu_args, "one more word for QEMU's command line")
        ->group("")
        ->allow_extra_args(false);
    app.add_option("--machine", options.machine, "q35, pc or microvm")->group("");
    app.add_option("--cpu", options.cpu, "QEMU's CPU model")->group("");
    app.add_option("--accel", options.accel, "QEMU's accelerator")->group("");
    app.add_option("--append", options.append, "more words for the kernel command line")->group("");
    app.add_flag("--test-kernel", options.test_kernel, "with the kernel that has hooks for tests")->group("");
    if (farcall) {
        app.add_option("--route", options.route,
                       "where system calls run: inline, remote (the last CPU), server, adaptive (decided by "
                       "measurement), or places of modules (task mm fs net sync time) such as fs:2+3,task:1,*:inline")
            ->capture_default_str();
        app.add_option("--capacity", options.capacity,
                       "speed of CPUs relative to the fastest, used when modules are placed: CPU:FRACTION,... such as "
                       "1:0.25; 1 for CPUs that are not named");
        app.add_option(
               "--spin", options.spin,
               "microseconds that an idle CPU of a module looks for calls before it sleeps (200; 0 if there are "
               "more CPUs than the host has)")
            ->check(CLI::Range(0, 999'999));
        app.add_option("--fastpath", options.fastpath,
                       "which IPC fastpaths the Linux server and native programs may use: none, exception, ipc, notify "
                       "or all (default)");
        app.add_option("--native", options.native,
                       "run a native program instead of a Linux program: a name such as examples/pingpong, or a file; "
                       "its arguments follow --. With --route server it runs beside the Linux program, and its "
                       "arguments stand in the same word: --native 'examples/ticker 10 100'");
        app.add_flag(
            "--stats{table}", options.stats,
            "counters on standard error at the end: per module calls, queue, times; per CPU user, kernel, idle; with "
            "--route "
            "server per server thread calls, share on the fastpaths, why the others were not, time; the "
            "longest stretch of kernel instructions with interrupts off, and the call that was entered last before "
            "(QEMU "
            "counts them, which makes the run slower); --stats=json: all of them as JSON");
        app.add_flag("--misses{table}", options.misses,
                     "misses per 1,000 instructions of modelled caches and TLBs on standard error at the end: per CPU, "
                     "of programs, kernel, spinning and user-level server (QEMU counts them, up to 15 times slower); "
                     "--misses=json: the counts as JSON");
        app.add_option("--caches", options.caches, kCachesHelp)->capture_default_str();
        app.add_option("--trace", options.trace,
                       "write what the kernel did to this file, as JSON for ui.perfetto.dev or chrome://tracing; "
                       "farcall trace FILE shows it in tables");
        app.add_option("--trace-records", options.trace_records,
                       "with --trace: how many records are kept of each CPU, the last ones (65536)")
            ->check(CLI::Range(1, 4'194'304));
    }
    app.add_flag("--gdb", options.gdb, "wait for a debugger, and print the line to type");
    app.add_flag("--debug", options.debug, "with the kernel that has assertions and lock-order checks");
    app.prefix_command();
}

void add_batch_options(CLI::App& app, BatchOptions& options) {
    app.add_option("--case", options.cases, "only the cases of this name")->allow_extra_args(false);
    app.add_flag("-v,--verbose", options.verbose, "one line for every case");
}

int dispatch(int argc, char** argv) {
    // Words after the first "--" are the program's; the option parser does not see them.
    std::vector<std::string> words(argv + 1, argv + argc), program;
    auto dashes = std::find(words.begin(), words.end(), "--");
    if (dashes != words.end()) {
        program.assign(dashes + 1, words.end());
        words.erase(dashes, words.end());
    }
    std::reverse(words.begin(), words.end());  // CLI11 takes them from the back

    CLI::App app(
        "Farcall: a multicore kernel that runs Linux programs and lets you choose where each system call runs.",
        "farcall");
    app.require_subcommand(1);
    app.footer("farcall run -- busybox wc /etc/passwd\nfarcall run --native examples/pingpong\nfarcall test");

    RunOptions run_options, oracle_options;
    BatchOptions test_options, record_options;
    BenchOptions bench_options;
    std::string test_kind, trace_file, size_json;
    size_t trace_calls = 20;

    CLI::App* run = app.add_subcommand(
        "run", "Run a program as the first process of the kernel: run [OPTIONS] -- PROGRAM [ARGS...]");
    add_run_options(*run, run_options, true);

    CLI::App* test = app.add_subcommand("test", "Run the tests; the last line is `N passed, N failed`");
    test->add_option("kind", test_kind,
                     "style, unit, tool, figures, ktest, random, checks, guest, stretch, fuzz, mutants, ltp (a build "
                     "of the Linux "
                     "Test Project, over inline and server; not in all) or debug (with the debug kernel); "
                     "all: everything, on all routes with 1, 2 and 4 CPUs, and with modules that move (by default the "
                     "other routes "
                     "run with 2 CPUs)")
        ->check(CLI::IsMember({"style", "unit", "tool", "figures", "ktest", "random", "checks", "guest", "stretch",
                               "fuzz", "mutants", "ltp", "debug", "all"}));
    test->add_option(
        "areas", test_options.areas,
        "guest, stretch: only these areas; random: random or race; mutants: only these calls; checks: how many, or "
        "which; ltp: the directory that LTP was installed into");
    test->add_option("--cpus", test_options.cpus, "numbers of CPUs to test with")
        ->check(CLI::Range(1, 16))
        ->delimiter(',')
        ->allow_extra_args(false);
    test->add_option("--route", test_options.routes, "routes to test with")->allow_extra_args(false);
    test->add_option("--fastpath", test_options.fastpath,
                     "guest: which IPC fastpaths the Linux server may use: none, exception, ipc, notify or all (the "
                     "default)")
        ->check(CLI::IsMember({"none", "exception", "ipc", "notify", "all"}));
    test->add_flag("--debug", test_options.debug, "with the kernel that has assertions and lock-order checks");
    test->add_flag("--on-linux", test_options.on_linux, "guest: compare the oracle with its own recording");
    test->add_flag("--moving", test_options.moving,
                   "guest: modules move between CPUs at random while the cases run (route remote if none is named)");
    test->add_option("--calls", test_options.calls, "fuzz: random calls over each route")
        ->check(CLI::Range(1, 1'000'000'000))
        ->capture_default_str();
    test->add_option("--programs", test_options.programs, "random: programs of each kind, for each number of CPUs")
        ->check(CLI::Range(1, 1'000'000));
    test->add_option("--seed", test_options.seed,
                     "of --moving, of the checks that are tried, and of fuzz and random: the first has this one")
        ->capture_default_str();
    add_batch_options(*test, test_options);

    CLI::App* bench = app.add_subcommand("bench",
                                         "Measure: bench [syscall] and bench ipc count guest instructions per "
                                         "operation; bench fastpath compares fastpaths "
                                         "with slowpaths in cycles; bench NAME... times works over routes");
    bench->add_option(
        "names", bench_options.names,
        "syscall (the default), ipc, fastpath, or any of task0 to task5, mix, pipe, read, stat, pipe_two, read_two, "
        "stat_two, calls (those six), two_clients (task0 and task3: calls of two clients on two CPUs over one on one "
        "CPU), "
        "remote_call_added, routes (all of these)");
    bench
        ->add_option("--routes", bench_options.routes,
                     "times: inline, remote, adaptive, server, or a placement such as fs:1+*:inline")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->capture_default_str();
    bench
        ->add_option("--route", bench_options.route,
                     "syscall: inline, or server: instructions of kernel and server, and how many times those of "
                     "inline")
        ->capture_default_str();
    bench->add_option("--json", bench_options.json, "write the rows to this file");
    bench->add_option("--markdown", bench_options.markdown, "write the results as a Markdown table to this file");
    bench->add_option("--profile", bench_options.profile,
                      "syscall, ipc: where one row's instructions go, by function and source line");
    bench->add_flag(
        "--linux-load", bench_options.linux_load,
        "fastpath: with three I/O-heavy and three CPU-heavy Linux programs on each CPU of the server route");
    bench->add_option("--plot", bench_options.plot, "fastpath: write figures (SVG) into this directory");
    bench
        ->add_option("--row", bench_options.rows,
                     "syscall, ipc: only rows whose name contains this; fastpath: only the experiments ratio, load, "
                     "contention or pairs")
        ->allow_extra_args(false);
    bench->add_option("--runs", bench_options.runs, "repeat (1; fastpath: 5; times: 20), and take the median")
        ->check(CLI::Range(1, 1000));
    bench->add_option("--repeats", bench_options.repeats, "times: of each work within one guest")
        ->check(CLI::Range(1, 100))
        ->capture_default_str();
    bench->add_option("--percent", bench_options.percent, "fastpath, times: size of each work, relative to the default")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    bench->add_flag("--misses", bench_options.misses,
                    "task0 and the like: misses of modelled caches and TLBs per 1,000 instructions and per call or "
                    "file, in place of times (3 runs)");
    bench->add_option("--caches", bench_options.caches, kCachesHelp)->capture_default_str();
    bench->add_option("--mode", bench_options.modes, "task0 and the like: where the files are: ramfs (disk: not yet)")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->capture_default_str();
    bench->add_flag("--thesis", bench_options.thesis,
                    "task0 and the like: the thesis's sizes: 10,000,000 times two calls, 100 passes, files that make "
                    "44,000 reads of 1 KiB");
    bench->add_flag("--quick", bench_options.quick,
                    "a little of every benchmark, in less than 5 minutes: with --json enough for a report");
    bench->add_option("--cpu", bench_options.cpu, "QEMU's CPU model")->capture_default_str();
    bench->add_flag("--linux", bench_options.on_linux,
                    "syscall: measure the oracle's kernel instead; times: measure it as well");
    bench->add_flag("-v,--verbose", bench_options.verbose, "kernel messages on standard error");

    CLI::App* trace = app.add_subcommand(
        "trace", "Tables of a trace: how often each path, call and test was taken, and its cycles: trace FILE");
    trace->add_option("file", trace_file, "a trace written by run --trace")->required();
    trace->add_option("--calls", trace_calls, "show this many calls, those that took most")
        ->check(CLI::Range(1, 100'000))
        ->capture_default_str();

    CLI::App* size = app.add_subcommand(
        "size", "Bytes of code and data that run privileged, with Linux in the kernel and with Linux as a server");
    size->add_option("--json", size_json, "write the rows to this file");

    CLI::App* report = app.add_subcommand("report",
                                          "One page of tables and plots, which needs no network, from results of bench "
                                          "--json: report R.json ... -o PAGE.html");
    std::vector<std::string> report_files;
    std::string report_out = "report.html";
    report->add_option("files", report_files, "results, the oldest first where the same benchmark is in several")
        ->required();
    report->add_option("-o,--output", report_out, "the page")->capture_default_str();

    CLI::App* oracle = app.add_subcommand(
        "oracle",
        "Run a program on Debian's Linux 6.1: oracle [OPTIONS] -- PROGRAM [ARGS...] | oracle record [AREA...]");
    add_run_options(*oracle, oracle_options, false);
    CLI::App* record = oracle->add_subcommand("record", "Run the guest tests on Linux and record what they give");
    record->add_option("areas", record_options.areas, "only these areas");
    add_batch_options(*record, record_options);
    CLI::App* fetch = oracle->add_subcommand("fetch", "Only fetch the kernel");

    try {
        app.parse(words);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) {
            app.exit(error);
            return 0;
        }
        std::string text = error.what();
        for (char& c : text) {
            if (c == '\n') c = ' ';
        }
        fail(text + " (farcall --help shows the options)");
    }
    // Without "--" everything from the first word that is no option on is the program.
    auto with_program = [&](CLI::App* sub, RunOptions& options) {
        std::vector<std::string> rest = sub->remaining();
        if (!rest.empty() && rest[0].starts_with("-")) fail("unknown option " + rest[0]);
        rest.insert(rest.end(), program.begin(), program.end());
        options.program = rest;
        if (options.native.empty() && (options.program.empty() || options.program[0].empty()))
            fail("PROGRAM is missing: farcall " + sub->get_name() + " -- PROGRAM [ARGS...]");
    };
    if (run->parsed()) {
        with_program(run, run_options);
        return run_command(run_options);
    }
    if (record->parsed()) return oracle_record_command(record_options);
    if (fetch->parsed()) return oracle_fetch_command();
    if (oracle->parsed()) {
        with_program(oracle, oracle_options);
        return oracle_command(oracle_options);
    }
    if (!program.empty()) fail("only run and oracle take a program");
    if (test_options.moving && test->count("--route") == 0) test_options.routes = {"remote"};
    if (test_kind == "fuzz" && test->count("--route") == 0) test_options.routes = {"inline", "remote", "server"};
    if (test_kind == "ltp") {
        // One column for each fastpath setting of the server, and one for the kernel.
        if (test->count("--route") == 0) test_options.routes = {"inline", "server"};
        if (test->count("--cpus") == 0) test_options.cpus = {2};
    }
    if (test->count("--seed") != 0) test_options.check_seed = test_options.seed;
    if (test->parsed()) return test_command(test_kind.empty() ? "usual" : test_kind, test_options);
    // What uses IPC is measured with the instructions for TLS bases, which qemu64 lacks.
    const bool native = bench_options.names == std::vector<std::string>{"ipc"} ||
                        bench_options.names == std::vector<std::string>{"fastpath"} || bench_options.route == "server";
    if (bench->count("--cpu") == 0 && native) bench_options.cpu = "max";
    if (bench->parsed()) {
        std::string what = "measuring";
        for (const std::string& name : bench_options.names) what += " " + name;
        Announcement announcement(what);
        return bench_command(bench_options);
    }
    if (trace->parsed()) return trace_command(trace_file, trace_calls);
    if (size->parsed()) return size_command(size_json);
    if (report->parsed()) return report_command(report_files, report_out);
    return kStatusUsage;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return dispatch(argc, argv);
    } catch (const cli::Failure& failure) {
        std::fprintf(stderr, "farcall: %s\n", failure.what());
        return failure.status;
    } catch (const cli::Interrupted& interrupted) {
        return 128 + interrupted.signal;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "farcall: %s\n", error.what());
        return cli::kStatusUsage;
    }
}
