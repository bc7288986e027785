// SPDX-License-Identifier: MIT
// The first native programs, one or two: a space, a thread, memory, every CPU, and a system capability each.
#include "boot/kernel/native.hpp"

#include <cstring>

#include "boot/kernel/console_calls.hpp"
#include "boot/kernel/control.hpp"
#include "boot/kernel/programs.hpp"
#include "boot/kernel/trace_port.hpp"
#include "core/ipc/counts.hpp"
#include "core/sched.hpp"
#include "core/system.hpp"
#include "core/trace.hpp"
#include "elf/image.hpp"
#include "port/bind.hpp"
#include "rt/mem/pages.hpp"

namespace boot {
namespace {

namespace native = abi::native;
using core::Memory;
using core::NativeThread;
using core::Object;
using core::SpaceObject;
using hal::Machine;

constexpr u16 kMachineX86 = 62;  // EM_X86_64; the one machine this build is for

// --- Interrupt lines: an ISA or GSI line rings a notification. Level-triggered ones stay masked until acknowledged.

constexpr u32 kLines = 24;
constinit rt::SpinLock<rt::Rank::device> lines_lock;
struct Line {
    core::ObjectRef<core::Notification> to RT_GUARDED_BY(lines_lock);
    u64 bits RT_GUARDED_BY(lines_lock) = 0;
    u32 vector RT_GUARDED_BY(lines_lock) = 0;
    u32 number = 0;  // does not change once the line has a vector
};
constinit Line* lines = nullptr;

void ring(void* argument) {
    Line& line = *static_cast<Line*>(argument);
    Machine::mask_line(line.number, true);
    core::ObjectRef<core::Notification> to;
    u64 bits;
    {
        rt::LockGuard guard{lines_lock};
        to = line.to;
        bits = line.bits;
    }
    if (to) core::ipc::notify(*to, bits);
}

// Without a notification: the line is unbound. A line whose notification has ended is unbound by itself.
Result<void> irq_bind(u64 number, core::ObjectRef<core::Notification> to, u64 bits) {
    if (number >= kLines) return Errno::kInval;  // without a badge, too: it is ~0 then
    Line& line = lines[number];
    core::ObjectRef<core::Notification> before, unused;  // dropped without the lock
    rt::LockGuard guard{lines_lock};
    if (!to || (line.to && line.to->seen_dead())) {
        if (line.to) Machine::mask_line(u32(number), true);
        before = std::move(line.to);
        if (!to) return lib::kOk;
    }
    REQUIRE(!line.to, irq_bound, kBusy);
    if (line.vector == 0) {
        line.number = u32(number);
        line.vector = TRY(Machine::allocate_vector(&ring, &line));
    }
    line.bits = bits;
    line.to = std::move(to);
    // Below 16 as the firmware describes it; otherwise level and active low. Masking takes the same number.
    const bool global = number >= 16;
    const bool routed = Machine::route_line(u32(number), line.vector, CpuId{0}, global, global);
    if (!routed) {
        unused = std::move(line.to);
        return Errno::kNoDev;
    }
    return lib::kOk;
}

Result<void> irq_ack(u64 number) {
    if (number >= kLines) return Errno::kInval;
    rt::LockGuard guard{lines_lock};
    if (!lines[number].to) return Errno::kInval;
    Machine::mask_line(u32(number), false);
    return lib::kOk;
}

// --- Traces: records into the caller's buffer

Result<i64> trace(NativeThread& t, u64 operation, u64 address, u64 size) {
    using namespace core;
    switch (operation) {
        case native::kTraceStop: trace::stop(); return i64{0};
        case native::kTraceStart: TRY(trace::start()); return i64{0};
        case native::kTraceRead: {
            trace::Record records[32];
            u64 done = 0;
            REQUIRE(size % sizeof(trace::Record) == 0, trace_buffer, kInval);
            while (done < size && !trace_port::sending()) {
                u64 room = (size - done) / sizeof(trace::Record);
                size_t n = trace::take({records, room < 32 ? room : 32});
                if (n == 0) break;
                if (t.space->copy_out(UserAddr{address + done}, records, n * sizeof records[0]) !=
                    n * sizeof records[0])
                    return Errno::kFault;
                done += n * sizeof records[0];
            }
            return i64(done);
        }
        default: REQUIRE(false, trace_op, kInval); return i64{0};
    }
}

constinit const core::System kSystem{
    .write =
        [](std::span<const std::byte> bytes) {
            port::Stream* out = port::streams.standard[1];
            return out ? out->try_write(bytes) : bytes.size();
        },
    .shut_down = &programs::shut_down,
    .irq_line_exists = [](u64 line) { return line < kLines; },
    .irq_bind = &irq_bind,
    .irq_ack = &irq_ack,
    .trace = &trace,
    .console = &console_call,
    .thread_failed = &programs::thread_failed,
    .nobody_left = &programs::nobody_left,
};

// --- Building the first space

template <class T, class... A>
Result<T*> make(A&&... args) {
    T* object = rt::make<T>(std::forward<A>(args)...);
    if (!object) return Errno::kNoMem;
    return object;
}

Result<Memory*> make_memory(u64 bytes) {
    Memory* m = TRY(make<Memory>(bytes));
    TRY(m->allocate());
    return m;
}

std::byte* bytes_of(Memory& m, u64 offset) { return static_cast<std::byte*>(Machine::phys_to_virt(m.frame(offset))); }

// What a server makes its objects of: a part of the free memory, and what it needs at least, also for each CPU. A program
// beside it has a part too.
constexpr u64 kShare = 16, kLeastShare = u64{1} << 20, kShareOfCpu = u64{64} << 10;
constexpr u64 kKernelLeast = u64{256} << 10;  // for the kernel itself, while the machine runs
// With less memory of its own a server cannot even say that it is too little.
constexpr u64 kServerLeast = u64{2560} << 10, kServerLeastOfCpu = u64{192} << 10;

u64 share_of_server(u64 free) { return free / kShare + kLeastShare + rt::executor_count() * kShareOfCpu; }

constexpr u64 kAll = native::kReadRight | native::kWriteRight | native::kExecuteRight;

// The whole program as one memory, mapped segment by segment; `info` says which.
Result<UserAddr> load_image(SpaceObject& space, std::span<const std::byte> image, Memory*& memory,
                            native::BootInfo& info) {
    elf::Header header;
    if (image.size() < sizeof header) return Errno::kNoExec;
    std::memcpy(&header, image.data(), sizeof header);
    TRY(elf::check_header(header, kMachineX86));
    if (header.table_offset > image.size() || elf::table_bytes(header) > image.size() - header.table_offset)
        return Errno::kNoExec;
    u64 start = ~u64{0}, end = 0;
    // Twice over the table: how much there is, then what it holds.
    for (bool load : {false, true}) {
        if (load) {
            if (start >= end) return Errno::kNoExec;
            memory = TRY(make_memory(end - start));
            info.image_start = start;
        }
        for (u32 i = 0; i < header.entry_count; ++i) {
            elf::ProgramHeader p;
            std::memcpy(&p, image.data() + header.table_offset + i * sizeof p, sizeof p);
            if (p.type != elf::kLoad || p.memory_size == 0) continue;
            elf::Segment seg = TRY(elf::segment(p, native::kStackTop - native::kStackSize));
            if (p.offset > image.size() || p.file_size > image.size() - p.offset) return Errno::kNoExec;
            if (!load) {
                start = seg.start < start ? seg.start : start;
                end = seg.end > end ? seg.end : end;
                continue;
            }
            for (u64 done = 0; done < p.file_size;) {
                u64 at = p.address + done - start, room = kPageSize - (at & (kPageSize - 1));
                u64 n = p.file_size - done < room ? p.file_size - done : room;
                std::memcpy(bytes_of(*memory, at & ~(kPageSize - 1)) + (at & (kPageSize - 1)),
                            image.data() + p.offset + done, n);
                done += n;
            }
            u64 rights = native::kReadRight | ((p.flags & elf::kWrite) ? native::kWriteRight : 0) |
                         ((p.flags & elf::kExecute) ? native::kExecuteRight : 0);
            TRY(space.map(*memory, seg.start, seg.start - start, seg.end - seg.start, rights, rights));
            if (info.segments == std::size(info.segment)) return Errno::kNoExec;
            info.segment[info.segments++] = {seg.start, seg.end, rights};
        }
    }
    return UserAddr{header.entry};
}

Result<void> map_new(SpaceObject& space, u64 address, u64 bytes) {
    Memory* m = TRY(make_memory(bytes));
    return space.map(*m, address, 0, bytes, native::kReadRight | native::kWriteRight, kAll);
}

void describe_machine(native::BootInfo& info) {
    const hal::TimeScale& scale = Machine::user_time_scale();
    info.tsc_base = scale.tsc_base;
    info.tsc_to_ns = scale.tsc_to_ns;
    info.realtime_offset = port::Port::realtime_offset().value;
    info.fpu_size = Machine::fpu_area_size();
    info.fpu_features = Machine::fpu_features();
    info.hardware_capabilities = port::Port::hardware_capabilities();
    info.hardware_capabilities2 = port::Port::hardware_capabilities2();
    info.tty = port::streams.tty;
    for (u32 n = 0; n < 3; ++n) info.streams |= u64{port::streams.standard[n] != nullptr} << n;
}

// A server's own memory: free blocks, the largest first, and behind them the pages of the root archive. One object, mapped at
// kServerMemory.
Result<Memory*> give_memory(SpaceObject& space, const hal::BootInfo& boot, u64 bytes, native::BootInfo& info) {
    constexpr unsigned kLeastOrder = 6;  // 256 KiB: less would be too many pieces
    const PhysAddr archive = boot.initrd.start.down(kPageSize), archive_end = boot.initrd.end.up(kPageSize);
    // Linked through their first bytes: how much there is decides the size of the object.
    struct Block {
        Block* next;
        u64 size;
    };
    Block *first = nullptr, **last = &first;
    u64 taken = 0;
    for (unsigned order = rt::kMaxOrder; order >= kLeastOrder && taken < bytes;) {
        const u64 size = kPageSize << order;
        auto block = bytes - taken >= size ? rt::alloc_frames(order) : Result<PhysAddr>{Errno::kNoMem};
        if (!block.ok()) {
            --order;
            continue;
        }
        auto* b = new (Machine::phys_to_virt(block.value())) Block{nullptr, size};
        *last = b;
        last = &b->next;
        taken += size;
    }
    Memory* m = TRY(make<Memory>(taken + (archive_end - archive)));
    for (Block* b = first; b;) {
        Block* next = b->next;
        TRY(m->adopt(Machine::virt_to_phys(b), b->size, Memory::Adopted::kOwned));
        b = next;
    }
    info.archive_offset = taken + (boot.initrd.start - archive);
    info.archive_size = boot.initrd.size();
    TRY(m->adopt(archive, archive_end - archive, Memory::Adopted::kBorrowed));
    info.memory_bytes = m->size;
    TRY(space.map(*m, native::kServerMemory, 0, info.memory_bytes, native::kReadRight | native::kWriteRight, kAll));
    return m;
}

}  // namespace

Result<void> choose_fastpaths(std::string_view word) {
    u32 mask = native::kFastAll;
    if (word == "none")
        mask = 0;
    else if (word == "exception")
        mask = native::kFastException;
    else if (word == "ipc")
        mask = native::kFastCall | native::kFastReply;
    else if (word == "notify")
        mask = native::kFastNotify;
    else if (!word.empty() && word != "all")
        return Errno::kInval;
    core::ipc::fastpaths_enabled = mask;
    return lib::kOk;
}

Result<void> start_native(const FirstProgram& given) {
    core::native_system = &kSystem;
    const bool serves = given.serves != nullptr;
    if (!lines) {
        auto* all = static_cast<Line*>(rt::allocate(sizeof(Line) * kLines));
        if (!all) return Errno::kNoMem;
        for (u32 i = 0; i < kLines; ++i) new (&all[i]) Line{};
        lines = all;
    }
    const u64 free = rt::mem_stats().free_bytes;
    auto* pool = TRY(make<core::Pool>(serves ? share_of_server(free) : given.beside ? free / kShare : free / 8 * 7));
    auto* space = TRY(make<SpaceObject>());
    space->space = TRY(core::Space::create());
    TRY(space->caps.allocate(serves ? native::kServerSlots : native::kFirstSlots, *pool));
    Memory* page = TRY(make_memory(kPageSize));
    auto* info = reinterpret_cast<native::BootInfo*>(bytes_of(*page, 0));
    Memory* program = nullptr;
    UserAddr entry = TRY(load_image(*space, given.image, program, *info));
    TRY(map_new(*space, native::kStackTop - native::kStackSize, native::kStackSize));

    auto* t = TRY(make<NativeThread>());
    TRY(t->allocate_fpu());
    Memory* utcb = TRY(make_memory(kPageSize));
    const auto claim = core::ThreadClaim::of_taken(*t);  // no other CPU knows it
    t->utcb_memory.set(claim, core::ObjectRef<Memory>{utcb});
    constexpr u64 kData = native::kReadRight | native::kWriteRight;
    TRY(space->map(*utcb, native::kFirstUtcb, 0, kPageSize, kData, kData));
    t->place_utcb(claim, native::kFirstUtcb);
    t->configure(claim, {core::ObjectRef<SpaceObject>{space}, {}, 0, false, serves});

    static_assert(sizeof(native::BootInfo) <= kPageSize);
    info->magic = native::kBootMagic;
    info->version = native::kVersion;
    info->cpus = rt::executor_count();
    info->free_bytes = pool->quota();
    info->fastpaths = core::ipc::fastpaths_enabled;
    info->cycle_hz = Machine::tsc_hz();
    size_t length = given.words.size();
    if (length > sizeof info->command_line - 1) length = sizeof info->command_line - 1;
    std::memcpy(info->command_line, given.words.data(), length);
    describe_machine(*info);
    Memory* own = nullptr;
    if (serves) {
        const u64 kept = share_of_server(free) + kKernelLeast + (given.beside ? free / kShare : 0);
        const u64 left = rt::mem_stats().free_bytes;  // the program and its table are there now
        if (left < kept + kServerLeast + rt::executor_count() * kServerLeastOfCpu) return Errno::kNoMem;
        own = TRY(give_memory(*space, *given.serves, left - kept, *info));
    }
    TRY(space->map(*page, native::kBootInfoPage, 0, kPageSize, native::kReadRight, native::kReadRight));

    // The highest is the server's: nobody else comes between what it does with its locks held. A program beside it shares the
    // CPUs with the server's programs, and cannot starve them.
    auto* sched = TRY(make<core::Sched>(given.beside && !serves ? native::kDefaultPriority : native::kHighestPriority));
    sched->cpus.store(core::sched::user_cpus().bits);
    t->sched.set(claim, core::ObjectRef<core::Sched>{sched});
    if (serves) core::ipc::counted = sched;
    info->counts = serves && control::wants_stats();

    // Beside the server: no interrupt lines, no console, no traces.
    const bool all = serves || !given.beside;
    const auto kind = serves ? programs::Kind::kLinuxServer : programs::Kind::kNative;
    struct {
        u64 slot;
        Object* object;
        u64 rights = native::kAllRights, badge = 0;
    } const first[] = {
        {native::kSlotSpace, space},
        {native::kSlotThread, static_cast<Object*>(t)},
        {native::kSlotPool, pool},
        {native::kSlotSched, sched},
        {native::kSlotIrq, all ? TRY(make<Object>(native::kTypeIrq)) : nullptr},
        {native::kSlotSystem, TRY(make<Object>(native::kTypeSystem)), all ? native::kAllRights : native::kWriteRight,
         serves         ? programs::kServerBadge
         : given.beside ? programs::kBesideBadge
                        : 0},
        {native::kSlotImage, program},
        {native::kSlotMemory, own}};
    core::CapTable* const originals = TRY(programs::make_given());
    for (auto& f : first) {
        if (!f.object) continue;
        TRY(core::caps::insert_first(*originals, f.slot, *f.object, native::kAllRights, nullptr, f.badge));
        TRY(core::caps::copy(*originals, f.slot, space->caps, f.slot, f.rights, 0));
    }
    programs::add(kind, *originals, *space, *t);

    t->program = u8(kind);
    t->comes_alive();
    t->context.reset();
    t->context.set_pc(entry);
    t->context.set_sp(UserAddr{native::kStackTop - 8});  // as after a call: 16-byte aligned, less 8
    t->context.set_tls_base(UserAddr{native::kFirstUtcb});
    t->state.store(native::kStateReady);
    for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu) rt::Executor::of(CpuId{cpu}).polls = true;
    t->make_ready();
    return lib::kOk;
}

}  // namespace boot
