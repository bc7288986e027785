// SPDX-License-Identifier: MIT
// The Linux personality as a user-level server: the same linux/ and fs/, bound to port/server.
#include "linux/procfs/procfs.hpp"
#include "linux/start.hpp"
#include "linux/task/process.hpp"
#include "port/bind.hpp"
#include "port/server/cpu.hpp"
#include "rt/mem/pages.hpp"
#include "servers/linux/hooks.hpp"

namespace {

u64 console(u64 op, u64 a, u64 b = 0) {
    auto r = native::make_call(native::kConsole, native::kSlotSystem, op, a, b);
    return r.ok() ? r.value() : 0;
}

void report(i32 wait_status) {
    port::report_counts();
    console(native::kReport, u64(u32(wait_status)), u64(i32(linux::first_program_error())));
}

[[noreturn]] void cannot_start(Errno why) {
    console(native::kCannotStart, u64(i32(why)));
    hal::Machine::panic("cannot start");
}

PhysAddr archive() { return PhysAddr{hal::kMemoryStart + native::boot_info().archive_offset}; }

Task<void> start() {
    std::span<const std::byte> cpio{static_cast<const std::byte*>(hal::Machine::phys_to_virt(archive())),
                                    native::boot_info().archive_size};
    if (auto r = linux::start_from_archive(cpio, archive(), &report); !r.ok()) cannot_start(r.error());
    co_return;
}

}  // namespace

extern "C" [[noreturn]] void _start() {
    const native::BootInfo& info = native::boot_info();
    if (info.magic != native::kBootMagic || info.memory_bytes == 0)
        hal::Machine::panic("this program is started by Farcall's kernel only");
    hal::Machine::set_time_scale({info.tsc_base, info.tsc_to_ns});
    hal::Machine::set_cpu(CpuId{0});
    hal::Machine::disarm_timer();
    (void)rt::Executor::start(CpuId{0});
    // The archive is the last of the memory.
    const u64 used = info.archive_size != 0 ? info.archive_offset & ~(kPageSize - 1) : info.memory_bytes;
    rt::mem_add_range(PhysAddr{hal::kMemoryStart}, used);
    if (info.archive_size != 0) rt::mem_add_used_range(archive(), info.archive_size);
    port::Port::set_realtime_offset(Nanoseconds{info.realtime_offset});
    linux::set_command_line({info.command_line, __builtin_strlen(info.command_line)});
    linux::register_personality();
    servers::hooks::before_linux({info.command_line, __builtin_strlen(info.command_line)});
    port::serve(start());
}
