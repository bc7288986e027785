// SPDX-License-Identifier: MIT
// The Linux personality as a user-level server: the linux/ and fs/ of the kernel, bound to port/server.
#include "fs/cpio.hpp"
#include "linux/start.hpp"
#include "port/bind.hpp"
#include "port/server/streams.hpp"
#include "rt/mem/pages.hpp"

namespace {

namespace native = abi::server;

void report(i32 wait_status) { (void)sysapi::call(native::kReport, u64(u32(wait_status))); }

[[noreturn]] void cannot_start(Errno why) {
    (void)sysapi::call(native::kExit, u64(i32(why)));
    hal::Machine::panic("cannot start");
}

Task<void> start() {
    const native::BootInfo& info = sysapi::boot_info();
    std::span<const std::byte> cpio{
        static_cast<const std::byte*>(hal::Machine::phys_to_virt(PhysAddr{info.initrd.start})), info.initrd.size};
    if (auto r = linux::start_from_archive(cpio, PhysAddr{info.initrd.start}, &report); !r.ok()) {
        cannot_start(r.error());
    }
    co_return;
}

}  // namespace

extern "C" [[noreturn]] void _start() {
    const native::BootInfo& info = sysapi::boot_info();
    if (info.magic != native::kBootMagic) hal::Machine::panic("this program can only be started by Farcall's kernel");
    rt::Executor& ex = rt::Executor::start(CpuId{0});
    for (u64 i = 0; i < info.extents; ++i) rt::mem_add_range(PhysAddr{info.extent[i].start}, info.extent[i].size);
    if (info.initrd.size != 0) rt::mem_add_used_range(PhysAddr{info.initrd.start}, info.initrd.size);
    port::connect_streams();
    port::Port::set_realtime_offset(Nanoseconds{info.realtime_offset});
    linux::register_personality();
    if (!rt::spawn("start", start(), ex)) cannot_start(Errno::kNoMem);
    port::serve();
}
