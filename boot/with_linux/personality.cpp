// SPDX-License-Identifier: MIT
#include "boot/kernel/personality.hpp"

#include "block/disk.hpp"
#include "boot/kernel/control.hpp"
#include "boot/kernel/give_up.hpp"
#include "boot/kernel/hooks.hpp"
#include "linux/procfs/procfs.hpp"
#include "linux/start.hpp"
#include "linux/task/process.hpp"
#include "port/kernel/controller.hpp"
#include "port/kernel/route.hpp"

namespace boot::personality {

namespace {

void flush_failed(Errno error) {
    port::logf("flush of the disks: error {}", i32(error));
    control::send("flush-failed");
}

// What the programs wrote is durable before the host hears of the end.
Task<void> flush_and_report(i32 wait_status) {
    if (auto r = co_await block::flush_all(); !r.ok()) flush_failed(r.error());
    control::report_exit(wait_status);
}

void report(i32 wait_status) {
    control::not_started(linux::first_program_error());
    if (block::disk_count() != 0) {
        if (rt::spawn("last flush", flush_and_report(wait_status), rt::Executor::current())) return;
        flush_failed(Errno::kNoMem);
    }
    control::report_exit(wait_status);
}

}  // namespace

void add() { linux::register_personality(); }

void configure(const CommandLine& words) {
    if (auto r = port::route::set_capacities(words.value("capacity")); !r.ok()) give_up("bad capacity=", r.error());
    if (auto r = port::route::configure(words.value("route")); !r.ok()) give_up("bad route=", r.error());
}

Task<void> start(const hal::BootInfo& info, std::span<const std::byte> cpio) {
    const CommandLine words{info.command_line};
    linux::set_command_line(info.command_line);
    co_await hooks::before_linux(words);
    if (auto r = linux::start_from_archive(cpio, info.initrd.start, &report); !r.ok())
        give_up("the first program", r.error());
    hooks::after_linux(words);
}

}  // namespace boot::personality
