// SPDX-License-Identifier: MIT
// The oracle: Debian's Linux 6.1 under the same QEMU, with the same root and the same ports as Farcall.
#include <cstdlib>

#include "cli/announce.hpp"
#include "cli/batch.hpp"
#include "cli/commands.hpp"
#include "cli/host_program.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {
fs::path oracle_dir() { return build_dir() / "oracle"; }
fs::path support(const char* name) {
    fs::path path = build_dir() / "guest" / "support" / name;
    if (!fs::exists(path)) fail("the guest program " + path.string() + " has not been built");
    return path;
}
}  // namespace

int oracle_fetch_command() {
    if (fs::exists(oracle_dir() / "version")) return 0;
    Announcement announcement("fetching the kernel of the oracle");
    std::string command = "'" + (source_dir() / "scripts" / "oracle").string() + "' '" + oracle_dir().string() + "'";
    if (std::system(command.c_str()) != 0) fail("the oracle's kernel could not be fetched");
    return 0;
}

std::string oracle_version() {
    std::string text = read_file(oracle_dir() / "version");
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
}

MachineSpec oracle_machine(const RunOptions& options) {
    oracle_fetch_command();
    MachineSpec spec;
    spec.kernel = oracle_dir() / "vmlinuz";
    spec.cpus = options.cpus;
    spec.memory = parse_size(options.memory);
    spec.machine = options.machine;
    for (const std::string& disk : options.disks) spec.disks.push_back(parse_disk(disk));
    spec.cpu = options.cpu;
    spec.accel = options.accel;
    spec.extra_args = options.qemu_args;
    spec.gdb = options.gdb;
    spec.verbose = options.verbose;
    // Four levels of page tables, as Farcall has: the border of the user half shows in results.
    spec.append = "console=ttyS0 panic=-1 no5lvl no_timer_check rdinit=/.farcall/oracle_init " +
                  std::string(options.verbose ? "loglevel=7" : "quiet loglevel=2");
    if (!options.append.empty()) spec.append += " " + options.append;
    return spec;
}

void add_oracle_files(CpioWriter& extra) {
    extra.file(".farcall/oracle_init", read_file(support("oracle_init")), 0755);
    for (const auto& entry : fs::directory_iterator(oracle_dir() / "modules")) {
        extra.file(".farcall/modules/" + entry.path().filename().string(), read_file(entry.path()));
    }
}

int oracle_command(const RunOptions& options) {
    MachineSpec spec = oracle_machine(options);
    const DiskFiles disks(spec.disks);
    TempDir scratch;
    RootImage root = open_root(options.root, scratch);
    Streams streams = user_streams();
    streams.terminal = false;  // the program gets pipes
    spec.append += streams.input < 0 ? " stdin=null" : " stdin=port";

    CpioWriter extra;
    extra.assume(root.names);
    std::vector<std::string> argv = options.program;
    provide_program(root, extra, argv);
    add_oracle_files(extra);
    if (options.root.empty()) add_test_programs(extra);
    extra.file(".farcall/init", start_file(argv, default_environment(false)), 0600);
    spec.initrd = compose_initrd(root, extra.finish(), scratch);
    Session session(spec, streams);
    session.set_timeout(options.timeout);
    return report(session.run(), spec, argv[0]);
}

int oracle_record_command(const BatchOptions& options) { return record_areas(options); }

}  // namespace cli
