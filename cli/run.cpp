// SPDX-License-Identifier: MIT
// `farcall run`: one program as the first process of a guest, with the tool's own streams.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cli/commands.hpp"
#include "cli/elf_layout.hpp"
#include "cli/host_program.hpp"
#include "cli/misses.hpp"
#include "cli/route.hpp"
#include "cli/stats.hpp"
#include "cli/stretch.hpp"
#include "cli/symbolize.hpp"
#include "cli/trace.hpp"

namespace cli {

namespace {

constexpr uint64_t kTraceRecords = 65536;

bool debug_kernel = false;

bool is_null_device(int fd) {
    struct stat st;
    return ::fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

}  // namespace

void use_debug_kernel() { debug_kernel = true; }

MachineSpec farcall_machine(const RunOptions& options) {
    check_route(options.route, options.cpus);
    if (!options.fastpath.empty()) {
        constexpr std::array kFastpaths = {"none", "exception", "ipc", "notify", "all"};
        if (std::find(kFastpaths.begin(), kFastpaths.end(), options.fastpath) == kFastpaths.end()) {
            fail("--fastpath is one of none, exception, ipc, notify, all");
        }
        if (options.native.empty() && options.route != "server" && options.fastpath != "none")
            fail("--fastpath " + options.fastpath +
                 ": only --route server and programs of the native interface use IPC");
    }
    if (!options.stats.empty() && options.stats != "table" && options.stats != "json")
        fail("--stats takes table or json, not '" + options.stats + "'");
    if (!options.misses.empty()) {
        if (options.misses != "table" && options.misses != "json")
            fail("--misses takes table or json, not '" + options.misses + "'");
        if (!options.stats.empty()) fail("--misses and --stats count in runs of their own");
        check_model(options.caches);
    }
    if (!options.disks.empty() && options.route == "server") fail("--disk is not possible over the server route yet");
    if (!options.disks.empty() && !options.native.empty()) fail("--disk: native programs have no disks");
    if (options.trace.empty() && options.trace_records != 0) fail("--trace-records: there is no --trace");
    MachineSpec spec;
    const bool debug = debug_kernel || options.debug;
    // With Linux as a server, the kernel has none; the test kernel has it, unused.
    const char* image = debug || options.test_kernel ? "farcall-test.elf"
                        : options.route == "server"  ? "farcall-core.elf"
                                                     : "farcall.elf";
    spec.kernel = build_dir() / (debug ? "debug" : "kernel") / image;
    spec.cpus = options.cpus;
    spec.memory = parse_size(options.memory);
    spec.machine = options.machine;
    for (const std::string& disk : options.disks) spec.disks.push_back(parse_disk(disk));
    spec.cpu = options.cpu;
    spec.accel = options.accel;
    spec.extra_args = options.qemu_args;
    spec.gdb = options.gdb;
    spec.verbose = options.verbose;
    spec.append = "route=" + options.route;
    if (!options.fastpath.empty()) spec.append += " fastpath=" + options.fastpath;
    if (!options.capacity.empty()) {
        check_capacity(options.capacity, options.cpus);
        spec.append += " capacity=" + options.capacity;
    }
    // A CPU that spins takes time from one that works where there are more of them than of the host's.
    if (options.spin)
        spec.append += " spin=" + std::to_string(*options.spin);
    else if (options.cpus > host_cpus())
        spec.append += " spin=0";
    if (!options.stats.empty()) spec.append += " stats=1";
    if (!options.trace.empty()) {
        spec.trace = true;
        spec.append += " trace=" + std::to_string(options.trace_records != 0 ? options.trace_records : kTraceRecords);
    }
    if (!options.append.empty()) spec.append += " " + options.append;
    return spec;
}

// The program of `run --native`: one of those that are built with the tool, or a file.
fs::path native_program(const std::string& name) {
    fs::path built = build_dir() / "native" / name;
    if (name.find("..") == std::string::npos && fs::is_regular_file(built)) return built;
    if (fs::is_regular_file(name)) return name;
    fail("--native " + name + ": no such program");
}

fs::path server_image(bool for_tests) {
    fs::path server = build_dir() / "server" / (for_tests ? "linux-server-test" : "linux-server");
    if (!fs::exists(server)) fail("--route server: the server " + server.string() + " has not been built");
    return server;
}

void add_server(CpioWriter& extra, const std::string& route, bool for_tests) {
    if (route == "server") extra.file(".farcall/linux-server", loaded_part(read_file(server_image(for_tests))), 0755);
}

// What the kernel's image takes, from its start at the bottom of memory.
uint64_t image_end(const fs::path& kernel) {
    auto layout = elf_layout(read_file(kernel));
    return layout ? layout->physical_end : 0;
}

// Image and archive.
uint64_t loaded_bytes(const MachineSpec& spec) {
    std::error_code error;
    const uint64_t archive = fs::file_size(spec.initrd, error);
    return image_end(spec.kernel) + (error ? 0 : archive);
}

// What a machine needs for them, and to start a first program. Measured: a root of busybox alone starts with 2.5 MiB above
// image and archive, on the server route with 7.5 MiB and 0.4 MiB for each CPU.
uint64_t least_memory(const MachineSpec& spec) {
    constexpr uint64_t kMib = 1 << 20, kBesides = kMib * 5 / 2, kServer = 5 * kMib, kServerCpu = kMib * 7 / 16;
    constexpr uint64_t kTraceRecord = 32;
    uint64_t least = loaded_bytes(spec) + kBesides;
    if (spec.append.find("route=server") != std::string::npos)
        least += kServer + static_cast<uint64_t>(spec.cpus) * kServerCpu;
    if (size_t at = spec.append.find("trace="); at != std::string::npos) {
        // Each CPU's ring, rounded up to a power of two; and what the ring's blocks leave unused.
        uint64_t records = std::strtoull(spec.append.c_str() + at + 6, nullptr, 10);
        least += static_cast<uint64_t>(spec.cpus) * std::bit_ceil(records) * kTraceRecord * 9 / 8 + (4 << 20);
    }
    return least;
}

std::string size_to_try(const MachineSpec& spec) {
    constexpr uint64_t kMib = 1 << 20;
    return "try --memory " + std::to_string((least_memory(spec) + kMib - 1) / kMib) + "M";
}

// Refuses what cannot work: with less the loader puts the root archive over the kernel, which then cannot report it. Between
// this and what a program needs, the kernel reports that memory is too small.
void check_memory(const MachineSpec& spec, const std::string& asked) {
    constexpr uint64_t kLoader = 1792 << 10;
    if (spec.memory >= loaded_bytes(spec) + kLoader) return;
    fail("--memory " + asked + " is too little for the kernel and the root; " + size_to_try(spec));
}

Streams user_streams() {
    Streams streams;
    struct stat st;
    bool open = ::fstat(0, &st) == 0;
    streams.input = !open || is_null_device(0) ? -1 : 0;
    streams.terminal = streams.input == 0 && ::isatty(0) && ::isatty(1);
    return streams;
}

int report(const Outcome& outcome, const MachineSpec& spec, const std::string& program) {
    using Kind = Outcome::Kind;
    auto say = [](const std::string& text) { std::fprintf(stderr, "farcall: %s\n", text.c_str()); };
    switch (outcome.kind) {
        case Kind::Exit:
        case Kind::Signal:
        case Kind::OutputClosed:
        case Kind::Cancelled: break;
        case Kind::NotFound: say(program + ": not found"); break;
        case Kind::NotExecutable: say(program + ": cannot be executed"); break;
        case Kind::Panic:
            say("kernel panic");
            std::fputs(symbolize(outcome.dump, spec.kernel).c_str(), stderr);
            break;
        case Kind::Timeout:
            say("timeout; the kernel's state:");
            std::fputs(outcome.dump.empty() ? "(no answer to the NMI)\n" : symbolize(outcome.dump, spec.kernel).c_str(),
                       stderr);
            if (outcome.dump.empty() && !spec.verbose) {
                size_t from = outcome.serial.size() > 4096 ? outcome.serial.size() - 4096 : 0;
                std::fputs(symbolize(outcome.serial.substr(from), spec.kernel).c_str(), stderr);
            }
            break;
        case Kind::CannotStart: {
            const bool memory = outcome.text.find("too little memory") != std::string::npos;
            say("the kernel cannot start: " + outcome.text +
                (memory && spec.memory < least_memory(spec) ? "; " + size_to_try(spec) : ""));
            break;
        }
        case Kind::Stopped:
            say("the machine stopped without an exit status (triple fault or reset)");
            std::fputs(symbolize(outcome.dump, spec.kernel).c_str(), stderr);
            break;
        case Kind::QemuFailed: {
            say("QEMU ended: " + outcome.text.substr(0, outcome.text.find('\n')));
            break;
        }
    }
    return outcome.status();
}

// What the server's last thread printed on the serial line, or what the kernel did if it could not.
void report_death_of_server(const Outcome& outcome, const MachineSpec& spec, const fs::path& server) {
    constexpr std::string_view kStart = "=== the Linux server died ===", kEnd = "=== end of the server ===";
    std::fputs("farcall: the Linux server died\n", stderr);
    if (spec.verbose) return;  // shown already
    size_t from = outcome.serial.find(kStart);
    if (from == outcome.serial.npos) from = outcome.serial.find("farcall: a thread of the Linux server stops");
    if (from == outcome.serial.npos) return;
    // A line before it says why, if the server ended itself.
    size_t line = outcome.serial.rfind('\n', from);
    const size_t why = outcome.serial.rfind("server failure: ", from);
    if (why != outcome.serial.npos) line = outcome.serial.rfind('\n', why);
    line = line == outcome.serial.npos ? 0 : line + 1;
    std::string dump = outcome.serial.substr(line, outcome.serial.find(kEnd, from) - line);
    for (size_t at; (at = dump.find("farcall: ")) != dump.npos;) dump.erase(at, 9);
    std::fputs(symbolize(dump, server, Symbols::kServer).c_str(), stderr);
}

// Into the machine's root; `words`: its command line.
void add_native_program(MachineSpec& spec, CpioWriter& files, const std::string& name, const std::string& words) {
    files.file(".farcall/native", read_file(native_program(name)), 0755);
    spec.append += " native -- " + words;
}
// A machine without Linux: the root holds the program alone.
void native_alone(MachineSpec& spec, const RunOptions& options, const TempDir& scratch) {
    CpioWriter files;
    std::string words = options.native;
    for (const std::string& word : options.program) words += " " + word;
    add_native_program(spec, files, options.native, words);
    spec.initrd = scratch.path() / "native.cpio";
    write_file(spec.initrd, files.finish());
}
// Beside the Linux server: the words of PROGRAM are Linux's, those of the native program stand in --native.
void native_beside(MachineSpec& spec, CpioWriter& files, const std::string& native) {
    add_native_program(spec, files, native.substr(0, native.find(' ')), native);
}

// The file of --trace. Opened before anything else, so that an error is not found only at the end of a long run.
class TraceFile {
public:
    explicit TraceFile(const RunOptions& options) : options_(options) {
        if (options.trace.empty()) return;
        made_ = ::access(options.trace.c_str(), F_OK) != 0;
        fd_.reset(::open(options.trace.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
        if (fd_.get() < 0) fail("--trace: cannot write " + options.trace + ": " + std::strerror(errno));
    }
    ~TraceFile() {
        if (made_ && !written_) ::unlink(options_.trace.c_str());
    }
    void collect(Streams& streams) {
        if (fd_.get() >= 0) streams.on_trace = [this](std::string_view bytes) { bytes_ += bytes; };
    }
    // Says what became of it, if that is not all.
    void finish(const Outcome& outcome) {
        if (fd_.get() < 0) return;
        using Kind = Outcome::Kind;
        if (bytes_.empty()) {
            if (outcome.kind == Kind::CannotStart || outcome.kind == Kind::QemuFailed) return;
            bool ended = outcome.kind == Kind::Exit || outcome.kind == Kind::Signal;
            std::fprintf(stderr, "farcall: no trace: %s\n",
                         ended ? "the kernel sent none" : "it is written when the program has ended by itself");
            return;
        }
        TraceInfo info{.command = "", .route = options_.native.empty() ? options_.route : "native"};
        if (!options_.native.empty()) info.command = options_.native;
        for (const std::string& word : options_.program) info.command += (info.command.empty() ? "" : " ") + word;
        TraceCounts counts = write_trace_json(bytes_, info, [this](std::string_view text) { write(text); });
        uint64_t lost = 0;
        for (uint64_t n : counts.lost) lost += n;
        if (lost != 0)
            std::fprintf(stderr,
                         "farcall: the trace lacks its oldest records, %llu of %llu: more fit with --trace-records\n",
                         static_cast<unsigned long long>(lost), static_cast<unsigned long long>(lost + counts.records));
    }

private:
    [[noreturn]] void cannot_write() { fail("cannot write " + options_.trace + ": " + std::strerror(errno)); }
    void write(std::string_view text) {
        struct stat st;
        if (!written_ && ::fstat(fd_.get(), &st) == 0 && S_ISREG(st.st_mode) && ::ftruncate(fd_.get(), 0) != 0)
            cannot_write();
        written_ = true;
        while (!text.empty()) {
            ssize_t n = ::write(fd_.get(), text.data(), text.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) cannot_write();
            text.remove_prefix(static_cast<size_t>(n));
        }
    }
    const RunOptions& options_;
    UniqueFd fd_;
    bool made_ = false, written_ = false;
    std::string bytes_;
};

int trace_command(const std::string& file, size_t calls) {
    std::fputs(trace_summary(read_file(file), file, calls).c_str(), stdout);
    return 0;
}

MachineSpec native_machine(const RunOptions& options, const TempDir& scratch) {
    MachineSpec spec = farcall_machine(options);
    spec.append += " stdin=null";
    native_alone(spec, options, scratch);
    return spec;
}

// A line of the guest about a native program.
void say_of_native(std::string_view line) {
    if (line == "native-stuck")
        std::fputs("farcall: the native program has ended: no thread of it is left that can run\n", stderr);
}

// The program ended with 0, and not all that it wrote may be in the files.
constexpr int kFlushFailed = 73;

// A line of the guest about its disks.
void say_of_disks(std::string_view line) {
    if (line == "flush-failed")
        std::fputs("farcall: a disk could not be flushed: not all that was written to it may be in its file\n", stderr);
}

// --misses: after everything that the program wrote.
void show_misses(const RunOptions& options, const fs::path& counted) {
    if (options.misses.empty()) return;
    std::fputs(misses_report(counted, options.caches, options.misses == "json").c_str(), stderr);
}

int run_command(const RunOptions& options) {
    if (options.debug) use_debug_kernel();
    MachineSpec spec = farcall_machine(options);
    const DiskFiles disks(spec.disks);
    TempDir scratch;
    const fs::path counted = scratch.path() / "misses";
    if (!options.misses.empty()) count_misses(spec, counted, options.caches, false, options.route == "server");
    const bool beside = !options.native.empty() && options.route == "server";
    if (beside && options.program.empty()) fail("--native with --route server: PROGRAM is missing");
    if (!options.native.empty() && !beside) {
        if (!options.root.empty()) fail("--native: there is no root file system");
        if (options.route != "inline")
            fail("--native runs without Linux, or beside the Linux server with --route server");
        Streams streams = user_streams();
        spec.append += streams.input < 0 ? " stdin=null" : " stdin=port";
        native_alone(spec, options, scratch);
        streams.on_control = say_of_native;
        TraceFile trace(options);
        trace.collect(streams);
        Session session(spec, streams);
        session.set_timeout(options.timeout);
        Outcome outcome = session.run();
        show_misses(options, counted);
        trace.finish(outcome);
        return report(outcome, spec, options.native);
    }
    RootImage root = open_root(options.root, scratch);
    Streams streams = user_streams();
    spec.append += streams.terminal ? " tty=1" : " tty=0";
    spec.append += streams.input < 0 ? " stdin=null" : " stdin=port";

    CpioWriter extra;
    extra.assume(root.names);
    std::vector<std::string> argv = options.program;
    provide_program(root, extra, argv);
    add_server(extra, options.route, options.test_kernel);
    if (beside) native_beside(spec, extra, options.native);
    extra.file(".farcall/init", start_file(argv, default_environment(streams.terminal)), 0600);
    spec.initrd = compose_initrd(root, extra.finish(), scratch);
    check_memory(spec, options.memory);

    TraceFile trace(options);
    trace.collect(streams);
    // Shown after everything that the program wrote.
    std::string stats;
    bool server_died = false, flush_failed = false;
    streams.on_control = [&](std::string_view line) {
        if (line.starts_with("stats ")) stats = line.substr(6);
        if (line == "server-died") server_died = true;
        say_of_native(line);
        if (line == "flush-failed") flush_failed = true;
        say_of_disks(line);
    };
    const bool stretches = !options.stats.empty();
    if (stretches) count_longest_stretch(spec, scratch.path() / "stretch");
    Session session(spec, streams);
    session.set_timeout(options.timeout);
    Outcome outcome = session.run();
    if (server_died) report_death_of_server(outcome, spec, server_image(options.test_kernel));
    if (stretches) add_longest_stretch(stats, longest_stretch(scratch.path() / "stretch"));
    if (options.stats == "json")
        std::fprintf(stderr, "%s\n", stats.c_str());
    else if (!options.stats.empty())
        std::fputs(stats_table(stats).c_str(), stderr);
    show_misses(options, counted);
    trace.finish(outcome);
    const int status = report(outcome, spec, argv[0]);
    return status == 0 && flush_failed ? kFlushFailed : status;
}

}  // namespace cli
