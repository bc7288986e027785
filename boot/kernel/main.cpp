// SPDX-License-Identifier: MIT
// Wiring: from the machine layer's hand-over to the first program. Everything after the executors have started runs as
// the job "boot" on CPU 0.
#include "boot/kernel/cmdline.hpp"
#include "boot/kernel/control.hpp"
#include "boot/kernel/dump.hpp"
#include "boot/kernel/give_up.hpp"
#include "boot/kernel/hooks.hpp"
#include "boot/kernel/native.hpp"
#include "boot/kernel/personality.hpp"
#include "boot/kernel/trace_port.hpp"
#include "drivers/virtio_blk.hpp"
#include "drivers/virtio_console.hpp"
#include "fs/cpio.hpp"
#include "rt/mem/pages.hpp"

namespace boot {
namespace {

using hal::Machine;

constinit const hal::BootInfo* info = nullptr;

CommandLine command_line() { return CommandLine{info->command_line}; }

constinit bool has_console = false;

// Disks belong to the Linux that is part of this kernel. A user-level server cannot reach them yet.
void find_devices() {
    drivers::probe_virtio(info->command_line, [](drivers::VirtioDevice& d) {
        switch (d.type()) {
            case abi::virtio::kDeviceConsole:
                if (auto r = drivers::start_virtio_console(d); !r.ok())
                    port::logf("virtio console: error {}", i32(r.error()));
                else
                    has_console = true;
                break;
            case abi::virtio::kDeviceBlock:
                if (command_line().value("route") == "server")
                    port::log("a disk is not used: it is not possible over the server route yet");
                else if (command_line().has("native"))
                    port::log("a disk is not used: native programs have none");
                else if (auto r = drivers::start_virtio_blk(d); !r.ok())
                    port::logf("virtio block device: error {}", i32(r.error()));
                break;
            default: break;
        }
    });
}

// The host announces the ports one by one: within milliseconds, unless it is busy. A machine that has a console device but
// no port for its exit status could only stop without telling it, so it waits long.
Task<void> find_streams() {
    find_devices();
    constexpr std::string_view kNames[] = {"farcall.stdin", "farcall.stdout", "farcall.stderr", "farcall.control",
                                           "farcall.trace"};
    const int wanted = trace_port::started() ? 5 : 4;
    port::Stream* found[5] = {};
    const Nanoseconds give_up_at = Machine::now() + lib::milliseconds(has_console ? 20'000 : 0);
    while (Machine::now() < give_up_at) {
        drivers::poll_virtio_console();
        bool all = true;
        for (int i = 0; i < wanted; ++i) all &= (found[i] = drivers::find_console_port(kNames[i])) != nullptr;
        if (all) break;
        rt::Wait wait{"console ports"};
        wait.until(Machine::now() + Nanoseconds{200'000});
        (void)co_await wait;
    }
    // The first four, or none; without the fifth there is no trace.
    if (found[0] && found[1] && found[2] && found[3]) {
        for (int i = 0; i < 3; ++i) port::streams.standard[i] = found[i];
        port::streams.control = found[3];
        trace_port::use(found[4]);
    }
    if (command_line().value("stdin") == "null") port::streams.standard[0] = nullptr;
    port::streams.tty = command_line().value("tty") == "1";
    if (port::streams.control) control::start(*port::streams.control);
}

// A program of the native interface, which gets the words after `--`, the Linux server, or both.
void start_native_programs(std::span<const std::byte> cpio, bool server) {
    const bool beside = command_line().has("native");
    if (auto r = choose_fastpaths(command_line().value("fastpath")); !r.ok()) give_up("bad fastpath=", r.error());
    if (beside) {
        std::string_view words = info->command_line;
        const size_t dashes = words.find(" -- ");
        words = dashes == words.npos ? std::string_view{} : words.substr(dashes + 4);
        auto image = fs::find_in_cpio(cpio, ".farcall/native");
        if (!image.ok()) give_up("no /.farcall/native in the root", image.error());
        hooks::before_native(command_line());
        if (auto r = start_native({std::as_bytes(std::span{image.value()}), words, nullptr, server}); !r.ok())
            give_up("the native program", r.error());
    }
    if (!server) return;
    auto image = fs::find_in_cpio(cpio, ".farcall/linux-server");
    if (!image.ok()) give_up("no /.farcall/linux-server in the root", image.error());
    if (auto r = start_native({std::as_bytes(std::span{image.value()}), info->command_line, info, beside}); !r.ok())
        give_up("the Linux server", r.error());
}

Task<void> boot_main() {
    hooks::check_words(command_line());
    if (command_line().has("spin")) {
        u64 microseconds;
        if (!lib::parse_u64(command_line().value("spin"), microseconds) || microseconds >= 1'000'000)
            give_up("bad spin=", Errno::kInval);
        rt::Executor::spin_budget = Nanoseconds{microseconds * 1000};
    }
    if (command_line().has("trace"))
        if (auto r = trace_port::start(command_line().value("trace")); !r.ok())
            give_up(r.error() == Errno::kNoMem ? "trace=" : "bad trace=", r.error());
    const bool server = command_line().value("route") == "server";
    const bool native = server || command_line().has("native");
    if (!native) personality::configure(command_line());
    co_await hooks::before_streams(command_line());
    co_await find_streams();
    std::span<const std::byte> cpio{static_cast<const std::byte*>(Machine::phys_to_virt(info->initrd.start)),
                                    info->initrd.size()};
    if (cpio.empty()) give_up("no root file system (-initrd)", Errno::kNoEnt);
    control::send("ready");
    if (command_line().value("stats") == "1") control::want_stats();
    if (native)
        start_native_programs(cpio, server);
    else
        co_await personality::start(*info, cpio);
}

}  // namespace
}  // namespace boot

extern "C" [[noreturn]] void kernel_main(const hal::BootInfo& boot_info) {
    using hal::Machine;
    boot::info = &boot_info;
    rt::Executor& ex = rt::Executor::start(CpuId{0});
    boot::install_dump_hook();
    for (u32 i = 0; i < boot_info.memory_count; ++i)
        rt::mem_add_range(boot_info.memory[i].start, boot_info.memory[i].size());
    if (boot_info.initrd.size() != 0) rt::mem_add_used_range(boot_info.initrd.start, boot_info.initrd.size());
    rt::epoch_cpu_unsettled = [](CpuId cpu) {
        return !Machine::flush_done(cpu, hal::cpus[cpu.value]->flush_wanted.load());
    };
    port::Port::set_realtime_offset(Nanoseconds{Machine::wall_clock_at_boot() * 1'000'000'000});
    ex.idle_work = &rt::zero_some_in_idle;
    // A started CPU is on its way to its executor: routes and affinity masks count executors.
    for (u32 cpus = Machine::start_cpus(lib::kMaxCpus), spins = 0; rt::executor_count() < cpus;) {
        if ((++spins & 255) == 0) Machine::relax();
        Machine::poll_mailbox();
    }
    boot::personality::add();
    if (!rt::spawn("boot", boot::boot_main(), ex)) boot::give_up("no memory", Errno::kNoMem);
    ex.run_forever();
}

extern "C" [[noreturn]] void kernel_ap_main() {
    rt::Executor& ex = rt::Executor::start(hal::Machine::this_cpu());
    ex.idle_work = &rt::zero_some_in_idle;
    ex.run_forever();
}
