// SPDX-License-Identifier: MIT
#include "boot/kernel/server.hpp"

#include <cstring>

#include "boot/kernel/control.hpp"
#include "boot/kernel/give_up.hpp"
#include "core/server/server.hpp"
#include "elf/image.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"
#include "rt/wait.hpp"

namespace boot {
namespace {

namespace native = abi::server;

constexpr unsigned kLeastOrder = 6;  // 256 KiB: less would be too many pieces
using core::server::ServerThread;

constexpr u16 kMachineX86 = 62;  // EM_X86_64; the one machine this build is for

// A frame of the kernel's, mapped into the server at `at`. Its kernel address.
Result<std::byte*> give_frame(ServerThread& s, UserAddr at, lib::Prot prot) {
    PhysAddr frame = TRY(rt::alloc_zeroed_frame());
    lib::MapEntry entry{at, frame, prot};
    TRY(s.space->map({&entry, 1}));
    return static_cast<std::byte*>(hal::Machine::phys_to_virt(frame));
}

// Pages of the pool lie at kPoolBase + their physical address.
Result<void> give_extent(ServerThread& s, const native::Extent& e) {
    for (u64 offset = 0; offset < e.size; offset += kPageSize) {
        lib::MapEntry entry{
            UserAddr{native::kPoolBase + e.start + offset}, PhysAddr{e.start + offset}, {.read = true, .write = true}};
        TRY(s.space->map({&entry, 1}));
    }
    s.extents[s.extent_count++] = e;
    return lib::kOk;
}

Result<UserAddr> load_image(ServerThread& s, std::span<const std::byte> image) {
    elf::Header header;
    if (image.size() < sizeof header) return Errno::kNoExec;
    std::memcpy(&header, image.data(), sizeof header);
    TRY(elf::check_header(header, kMachineX86));
    if (header.table_offset > image.size() || elf::table_bytes(header) > image.size() - header.table_offset)
        return Errno::kNoExec;
    for (u32 i = 0; i < header.entry_count; ++i) {
        elf::ProgramHeader p;
        std::memcpy(&p, image.data() + header.table_offset + i * sizeof p, sizeof p);
        if (p.type != elf::kLoad || p.memory_size == 0) continue;
        elf::Segment seg = TRY(elf::segment(p, native::kStackTop - native::kStackSize));
        if (p.offset > image.size() || p.file_size > image.size() - p.offset) return Errno::kNoExec;
        lib::Prot prot{.read = true, .write = (p.flags & elf::kWrite) != 0, .exec = (p.flags & elf::kExecute) != 0};
        for (u64 page = seg.start; page < seg.end; page += kPageSize) {
            std::byte* bytes = TRY(give_frame(s, UserAddr{page}, prot));
            u64 from = page > p.address ? page : p.address;
            u64 to = page + kPageSize < seg.data_end ? page + kPageSize : seg.data_end;
            if (from < to) std::memcpy(bytes + (from - page), image.data() + p.offset + (from - p.address), to - from);
        }
    }
    return UserAddr{header.entry};
}

// Tells the server when one of the kernel's streams has changed.
Task<void> watch_stream(ServerThread& server, port::Stream& stream, u32 number) {
    for (;;) {
        u32 seen = stream.changed.sequence();
        server.signal(number);
        (void)co_await rt::wait_on(stream.changed, seen, "a stream for the server");
    }
}

// The same for the size of the terminal, which the control channel has sent or will send.
constinit rt::WaitQueue window_changed;
Task<void> watch_window(ServerThread& server) {
    for (;;) {
        u32 seen = window_changed.sequence();
        server.signal(native::kEventWindow);
        (void)co_await rt::wait_on(window_changed, seen, "the terminal's size for the server");
    }
}

port::Stream* stream_of(u32 n) { return n < 3 ? port::streams.standard[n] : nullptr; }

constinit const core::server::Host kHost{
    .stream_read = [](u32 n, std::span<std::byte> to) { return stream_of(n) ? stream_of(n)->try_read(to) : size_t{0}; },
    .stream_write =
        [](u32 n, std::span<const std::byte> from) { return stream_of(n) ? stream_of(n)->try_write(from) : size_t{0}; },
    .stream_ended = [](u32 n) { return stream_of(n) == nullptr || stream_of(n)->at_end(); },
    .window_size = [] { return u32(port::streams.rows) << 16 | port::streams.columns; },
    .report = &control::report_exit,
    .log = &port::log,
    .entropy = &port::Port::entropy,
    .cannot_start = [](Errno why) { give_up("the Linux server", why); },
};

}  // namespace

Result<void> start_linux_server(const hal::BootInfo& boot, std::span<const std::byte> image) {
    auto* s = rt::make<ServerThread>();
    if (!s) return Errno::kNoMem;
    s->space = TRY(core::Space::create());
    TRY(s->allocate_fpu());
    UserAddr entry = TRY(load_image(*s, image));
    lib::Prot data{.read = true, .write = true};
    for (u64 at = native::kStackTop - native::kStackSize; at < native::kStackTop; at += kPageSize)
        TRY(give_frame(*s, UserAddr{at}, data));
    static_assert(sizeof(native::BootInfo) <= kPageSize && sizeof(native::Message) <= kPageSize);
    s->message = reinterpret_cast<native::Message*>(TRY(give_frame(*s, UserAddr{native::kMessagePage}, data)));
    auto* info = reinterpret_cast<native::BootInfo*>(TRY(give_frame(*s, UserAddr{native::kBootInfo}, data)));
    info->magic = native::kBootMagic;
    info->realtime_offset = port::Port::realtime_offset().value;
    info->tsc_base = hal::Machine::user_time_scale().tsc_base;
    info->tsc_to_ns = hal::Machine::user_time_scale().tsc_to_ns;
    info->fpu_size = hal::Machine::fpu_area_size();
    info->fpu_features = hal::Machine::fpu_features();
    info->cpus = port::Port::cpu_count();
    info->hardware_capabilities = port::Port::hardware_capabilities();
    info->hardware_capabilities2 = port::Port::hardware_capabilities2();
    info->tty = port::streams.tty;
    for (u32 n = 0; n < 3; ++n) info->streams |= u32(port::streams.standard[n] != nullptr) << n;
    size_t length = boot.command_line.size() < sizeof info->command_line - 1 ? boot.command_line.size()
                                                                             : sizeof info->command_line - 1;
    std::memcpy(info->command_line, boot.command_line.data(), length);
    info->initrd = {boot.initrd.start.value, boot.initrd.size()};
    // Half of the free memory, in the largest blocks that there are.
    u64 left = rt::mem_stats().free_bytes / 2;
    for (unsigned order = rt::kMaxOrder; order >= kLeastOrder && info->extents < std::size(info->extent);) {
        const u64 size = kPageSize << order;
        auto block = left >= size ? rt::alloc_frames(order) : Result<PhysAddr>{Errno::kNoMem};
        if (!block.ok()) {
            --order;
            continue;
        }
        native::Extent e{block.value().value, size};
        TRY(give_extent(*s, e));
        info->extent[info->extents++] = e;
        left -= size;
    }
    native::Extent disk{boot.initrd.start.down(kPageSize).value, 0};
    disk.size = boot.initrd.end.up(kPageSize).value - disk.start;
    TRY(give_extent(*s, disk));
    core::server::host = &kHost;
    for (u32 n = 0; n < 3; ++n)
        if (stream_of(n) && !rt::spawn("server stream", watch_stream(*s, *stream_of(n), n), rt::Executor::current()))
            return Errno::kNoMem;
    if (port::streams.tty) {
        port::streams.window_changed = &window_changed;
        if (!rt::spawn("server window", watch_window(*s), rt::Executor::current())) return Errno::kNoMem;
    }
    s->context.reset();
    s->context.set_pc(entry);
    s->context.set_sp(UserAddr{native::kStackTop - 8});  // as after a call: 16-byte aligned, less 8
    s->set_home(rt::Executor::current());
    core::server::the_server.store(s, std::memory_order_release);
    s->make_ready();
    return lib::kOk;
}

}  // namespace boot
