// SPDX-License-Identifier: MIT
// Wiring: from the machine layer's hand-over to the first program. Everything after the executors have started runs as the
// job "boot" on CPU 0.
#include "boot/kernel/cmdline.hpp"
#include "boot/kernel/control.hpp"
#include "boot/kernel/dump.hpp"
#include "core/sched.hpp"
#include "drivers/virtio_console.hpp"
#include "fs/cpio.hpp"
#include "fs/devices.hpp"
#include "fs/tmpfs.hpp"
#include "linux/init.hpp"
#include "linux/procfs.hpp"
#include "port/kernel/route.hpp"
#include "rt/mem/pages.hpp"
#include "tests/kernel/ktest.hpp"

namespace boot {
namespace {

using hal::Machine;

constinit const hal::BootInfo* info = nullptr;

CommandLine command_line() { return CommandLine{info->command_line}; }

// Ends the machine with a message: for what makes going on pointless.
[[noreturn]] void give_up(const char* what, Errno why) {
    char line[160];
    port::log({line, lib::format_to(line, "cannot start: {} (error {})", what, i32(why))});
    Machine::power_off(1);
}

// The ports are announced by the host one by one; they come within milliseconds where they exist at all.
Task<void> find_streams() {
    drivers::probe_virtio(info->command_line, [](drivers::VirtioDevice& d) {
        if (d.type() != abi::virtio::kDeviceConsole) return;
        if (auto r = drivers::start_virtio_console(d); !r.ok()) port::logf("virtio console: error {}", i32(r.error()));
    });
    constexpr std::string_view kNames[] = {"farcall.stdin", "farcall.stdout", "farcall.stderr", "farcall.control"};
    Nanoseconds give_up_at = Machine::now() + lib::milliseconds(500);
    while (Machine::now() < give_up_at) {
        drivers::poll_virtio_console();
        port::Stream* found[4];
        bool all = true;
        for (int i = 0; i < 4; ++i) all &= (found[i] = drivers::find_console_port(kNames[i])) != nullptr;
        if (all) {
            for (int i = 0; i < 3; ++i) port::streams.standard[i] = found[i];
            port::streams.control = found[3];
            break;
        }
        rt::Wait wait{"console ports"};
        wait.until(Machine::now() + Nanoseconds{200'000});
        (void)co_await wait;
    }
    if (command_line().value("stdin") == "null") port::streams.standard[0] = nullptr;
    port::streams.tty = command_line().value("tty") == "1";
    if (port::streams.control) control::start(*port::streams.control);
}

// "/.farcall/init": the number of arguments, the arguments, the environment, each ended by a NUL.
struct StartFile {
    static constexpr u32 kMax = 1024;
    std::string_view words[kMax];
    u32 arguments = 0, count = 0;
};
constinit StartFile start_file;

Result<void> read_start_file(std::span<const std::byte> cpio) {
    std::string_view text = TRY(fs::find_in_cpio(cpio, ".farcall/init"));
    size_t end = text.find('\0');
    if (end == text.npos) return Errno::kInval;
    u32 n = 0;
    for (char c : text.substr(0, end)) {
        if (c < '0' || c > '9' || n > StartFile::kMax) return Errno::kInval;
        n = n * 10 + u32(c - '0');
    }
    text.remove_prefix(end + 1);
    while (!text.empty()) {
        end = text.find('\0');
        if (end == text.npos || start_file.count == StartFile::kMax) return Errno::k2Big;
        start_file.words[start_file.count++] = text.substr(0, end);
        text.remove_prefix(end + 1);
    }
    if (n == 0 || n > start_file.count) return Errno::kInval;
    start_file.arguments = n;
    return lib::kOk;
}

Result<void> mount_everything(std::span<const std::byte> cpio) {
    static const fs::Creds kRoot;
    fs::RootInode root = TRY(fs::make_tmpfs("rootfs"));
    fs::Path top = TRY(fs::mount_root(root.super, root.inode, "rootfs"));
    TRY(fs::unpack_cpio(cpio, top));
    fs::LookupContext context{top, top, &kRoot};
    auto directory = [&](std::string_view path) -> Result<fs::Path> {
        auto found = fs::lookup(context, {}, path, fs::kFollow | fs::kDirectory);
        if (found.ok() || found.error() != Errno::kNoEnt) return found;
        auto at = TRY(fs::lookup_parent(context, {}, path));
        return fs::make_node(at, fs::kTypeDirectory | 0755, 0, {}, kRoot);
    };
    fs::RootInode dev = TRY(fs::make_tmpfs("devtmpfs"));
    TRY(fs::mount_at(TRY(directory("/dev")), dev.super, dev.inode, "devtmpfs"));
    TRY(fs::populate_devices(TRY(directory("/dev")), kRoot));
    fs::RootInode proc = TRY(linux::make_procfs());
    TRY(fs::mount_at(TRY(directory("/proc")), proc.super, proc.inode, "proc"));
    return lib::kOk;
}

void print_ktest(std::string_view line) {
    Machine::early_print(line);
    Machine::early_print("\n");
}

Task<void> boot_main() {
    if (auto r = port::route::configure(command_line().value("route")); !r.ok()) give_up("bad route=", r.error());
    if (command_line().has("ktest")) {
        co_await ktest::run_all(&print_ktest);
        Machine::power_off(0);
    }
    co_await find_streams();
    std::span<const std::byte> cpio{static_cast<const std::byte*>(Machine::phys_to_virt(info->initrd.start)), info->initrd.size()};
    if (cpio.empty()) give_up("no root file system (-initrd)", Errno::kNoEnt);
    Machine::set_dump_hook(nullptr);
    install_dump_hook();
    if (auto r = mount_everything(cpio); !r.ok()) give_up("the root file system", r.error());
    if (auto r = read_start_file(cpio); !r.ok()) give_up("no program to start (/.farcall/init)", r.error());
    control::send("ready");
    linux::InitialProgram program{{start_file.words, start_file.arguments},
                                  {start_file.words + start_file.arguments, start_file.count - start_file.arguments}};
    if (auto r = linux::start_init(program, &control::report_exit); !r.ok()) give_up("the first program", r.error());
}

}  // namespace

extern "C" [[noreturn]] void kernel_main(const hal::BootInfo& boot) {
    info = &boot;
    rt::Executor& ex = rt::Executor::start(CpuId{0});
    install_dump_hook();
    for (u32 i = 0; i < boot.memory_count; ++i) rt::mem_add_range(boot.memory[i].start, boot.memory[i].size());
    if (boot.initrd.size() != 0) rt::mem_add_used_range(boot.initrd.start, boot.initrd.size());
    rt::epoch_cpu_unsettled = [](CpuId cpu) { return !Machine::flush_done(cpu, hal::cpus[cpu.value]->flush_wanted.load()); };
    port::Port::set_realtime_offset(Nanoseconds{Machine::wall_clock_at_boot() * 1'000'000'000});
    ex.idle_work = &rt::zero_some_in_idle;
    Machine::start_cpus(lib::kMaxCpus);
    linux::register_personality();
    if (!rt::spawn("boot", boot_main(), ex)) give_up("no memory", Errno::kNoMem);
    ex.run_forever();
}

extern "C" [[noreturn]] void kernel_ap_main() {
    rt::Executor& ex = rt::Executor::start(Machine::this_cpu());
    ex.run_forever();
}

}  // namespace boot
