// SPDX-License-Identifier: MIT
// `farcall run`: one program as the first process of a guest, with the tool's own streams.
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <sstream>

#include "cli/commands.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {

// DESIGN section 4: one word for all modules, or MODULE:PLACE pairs ("*" is the rest).
void check_route(const std::string& route, int cpus) {
    constexpr std::array kModules = {"task", "mm", "fs", "net", "sync", "time", "*"};
    if (route == "remote" && cpus < 2) fail("--route remote needs at least two CPUs (--cpus 2)");
    if (route == "inline" || route == "remote" || route == "server") return;
    if (route == "adaptive" && cpus < 2) fail("--route adaptive needs at least two CPUs (--cpus 2)");
    if (route == "adaptive") return;
    std::istringstream pairs(route);
    bool any = false;
    for (std::string pair; std::getline(pairs, pair, ',');) {
        size_t colon = pair.find(':');
        std::string module = pair.substr(0, colon), place = colon == std::string::npos ? "" : pair.substr(colon + 1);
        bool number =
            !place.empty() && std::all_of(place.begin(), place.end(), [](char c) { return c >= '0' && c <= '9'; });
        if (std::find(kModules.begin(), kModules.end(), module) == kModules.end() || !(number || place == "inline")) {
            fail("not a route: '" + route + "' (inline, remote, server, adaptive, or MODULE:CPU,...,*:inline)");
        }
        if (number && (place.size() > 3 || std::stoi(place) >= cpus))
            fail("--route " + route + ": there is no CPU " + place);
        any = true;
    }
    if (!any) fail("not a route: '" + route + "'");
}

bool is_null_device(int fd) {
    struct stat st;
    return ::fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

}  // namespace

MachineSpec farcall_machine(const RunOptions& options) {
    check_route(options.route, options.cpus);
    if (!options.fastpath.empty()) {
        constexpr std::array kFastpaths = {"none", "exception", "ipc", "notify", "all"};
        if (std::find(kFastpaths.begin(), kFastpaths.end(), options.fastpath) == kFastpaths.end()) {
            fail("--fastpath is one of none, exception, ipc, notify, all");
        }
        if (options.fastpath != "none") fail("--fastpath " + options.fastpath + ": this kernel has no fastpaths yet");
    }
    if (!options.trace.empty()) fail("--trace: this kernel has no trace buffers yet");
    MachineSpec spec;
    spec.kernel = build_dir() / "kernel" / "farcall.elf";
    spec.cpus = options.cpus;
    spec.memory = parse_size(options.memory);
    spec.machine = options.machine;
    spec.cpu = options.cpu;
    spec.accel = options.accel;
    spec.extra_args = options.qemu_args;
    spec.gdb = options.gdb;
    spec.verbose = options.verbose;
    spec.append = "route=" + options.route;
    if (!options.fastpath.empty()) spec.append += " fastpath=" + options.fastpath;
    if (options.stats) spec.append += " stats=1";
    if (!options.append.empty()) spec.append += " " + options.append;
    return spec;
}

void add_server(CpioWriter& extra, const std::string& route) {
    if (route != "server") return;
    fs::path server = build_dir() / "server" / "linux-server";
    if (!fs::exists(server)) fail("--route server: the server " + server.string() + " has not been built");
    extra.file(".farcall/linux-server", read_file(server), 0755);
}

// What the kernel's image takes, from its start at the bottom of memory: the end of its last segment (gABI 5).
uint64_t image_end(const fs::path& kernel) {
    std::string file = read_file(kernel);
    Elf64_Ehdr header{};
    if (file.size() < sizeof header) return 0;
    std::memcpy(&header, file.data(), sizeof header);
    uint64_t end = 0;
    for (size_t i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment;
        size_t at = header.e_phoff + i * sizeof segment;
        if (at > file.size() || file.size() - at < sizeof segment) break;
        std::memcpy(&segment, file.data() + at, sizeof segment);
        if (segment.p_type == PT_LOAD) end = std::max<uint64_t>(end, segment.p_paddr + segment.p_memsz);
    }
    return end;
}

// Refuses what cannot work: with so little memory the loader puts the root archive over the kernel, which can then not even say so.
// Between this and what a program needs it is the kernel that says that memory is too little.
void check_memory(const MachineSpec& spec, const std::string& asked) {
    // Measured: a root of busybox alone starts with 2.1 MiB above image and archive.
    constexpr uint64_t kBesides = 1792 << 10, kMib = 1 << 20;
    uint64_t archive = fs::file_size(spec.initrd);
    uint64_t least = image_end(spec.kernel) + archive + kBesides;
    if (spec.memory >= least) return;
    fail("--memory " + asked + " is too little for the kernel and the root; try --memory " +
         std::to_string((least + archive + kMib - 1) / kMib) + "M");
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
        case Kind::CannotStart: say("the kernel cannot start: " + outcome.text); break;
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

int run_command(const RunOptions& options) {
    MachineSpec spec = farcall_machine(options);
    TempDir scratch;
    RootImage root = open_root(options.root, scratch);
    Streams streams = user_streams();
    spec.append += streams.terminal ? " tty=1" : " tty=0";
    spec.append += streams.input < 0 ? " stdin=null" : " stdin=port";

    CpioWriter extra;
    extra.assume(root.names);
    std::vector<std::string> argv = options.program;
    add_host_program(extra, argv);
    add_server(extra, options.route);
    extra.file(".farcall/init", start_file(argv, default_environment(streams.terminal)), 0600);
    spec.initrd = compose_initrd(root, extra.finish(), scratch);
    check_memory(spec, options.memory);

    if (options.stats) {
        streams.on_control = [](std::string_view line) {
            if (line.starts_with("stats "))
                std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size() - 6), line.data() + 6);
        };
    }
    Session session(spec, streams);
    session.set_timeout(options.timeout);
    return report(session.run(), spec, argv[0]);
}

}  // namespace cli
