// SPDX-License-Identifier: MIT
// The server's start and end, its slots, and what a port has besides spaces and threads.
#include <bit>

#include "port/api/modules.hpp"
#include "port/server/cpu.hpp"
#include "rt/mem/pages.hpp"

namespace port {

constinit const ModuleControl* const module_control = nullptr;
constinit rt::Reclaimer reclaimers[kModules];

namespace {

using hal::Machine;

constexpr u64 kPriority = native::kHighestPriority;
constexpr unsigned kStackOrder = 6;  // 256 KiB
constexpr u32 kFirstSlot = native::kSlotFree;

u64 console(u64 op, u64 a = 0, u64 b = 0, u64 c = 0) {
    auto r = native::make_call(native::kConsole, native::kSlotSystem, op, a, b, c);
    return r.ok() ? r.value() : 0;
}

// Of each slot: is it in use?
struct Slots {
    u64 used[native::kServerSlots / 64] = {};
    u32 first_free = 0;  // no word before this one has room
};
constinit rt::Guarded<Slots, rt::Rank::log> slots;

}  // namespace

native::Slot new_slot() {
    auto s = slots.lock();
    for (u32 i = s->first_free; i < std::size(s->used); ++i) {
        const u64 free = ~(i == 0 ? s->used[0] | ((u64{1} << kFirstSlot) - 1) : s->used[i]);
        if (free == 0) continue;
        s->first_free = i;
        const u32 bit = u32(std::countr_zero(free));
        s->used[i] |= u64{1} << bit;
        return i * 64 + bit;
    }
    s->first_free = u32(std::size(s->used));
    return 0;
}

void free_slot(native::Slot slot) {
    auto s = slots.lock();
    const u32 i = u32(slot / 64);
    s->used[i] &= ~(u64{1} << (slot % 64));
    if (i < s->first_free) s->first_free = i;
}

void log(std::string_view line) { console(native::kConsoleLog, u64(line.data()), line.size()); }

void Port::entropy(std::span<std::byte> out) { console(native::kEntropy, u64(out.data()), out.size()); }

// --- The CPUs

namespace {

[[noreturn]] void run() { rt::Executor::current().run_forever(); }

// The first thing on the thread of another CPU.
extern "C" [[noreturn]] void farcall_server_cpu(u64 cpu) {
    Machine::set_cpu(CpuId{u32(cpu)});
    Machine::disarm_timer();
    rt::Executor::start(CpuId{u32(cpu)});
    run();
}

// A server thread on the CPU, ready to run.
Result<void> start_cpu(CpuId cpu) {
    const native::Slot thread = new_slot();
    if (thread == 0) return Errno::kNoMem;
    const u64 utcb = kOtherUtcbs + u64{cpu.value} * kPageSize;
    const PhysAddr stack = TRY(rt::alloc_frames(kStackOrder));
    TRY(native::create(native::kSlotPool, native::kTypeThread, thread));
    TRY(native::configure(thread, native::kSlotSpace, utcb, 0, native::kNoFpu));
    native::Registers r{};
    r.rip = u64(&farcall_server_cpu);
    r.rsp = u64(Machine::phys_to_virt(stack)) + (kPageSize << kStackOrder) - 8;  // as after a call
    r.rdi = cpu.value;
    r.fs_base = utcb;
    r.rflags = 0x202;
    TRY(native::set_registers(thread, r));
    TRY(watch(thread, cpu));
    TRY(ServerCpu::of(cpu).start(cpu, thread));
    TRY(native::schedule(thread, native::kSlotSched, kPriority, cpu.value));
    return native::resume(thread);
}

}  // namespace

void report_counts() {
    if (!native::boot_info().counts) return;
    static constinit native::ServerCounts all[lib::kMaxCpus] = {};
    const u32 cpus = Machine::cpu_count();
    for (u32 cpu = 0; cpu < cpus; ++cpu) all[cpu] = ServerCpu::of(CpuId{cpu}).counts();
    console(native::kServerCounts, u64(all), cpus * sizeof all[0]);
}

void serve(Task<void> start) {
    const native::BootInfo& info = native::boot_info();
    if (info.counts)
        Machine::on_event = [] { ServerCpu::current().wait<true>(); };
    else
        Machine::on_event = [] { ServerCpu::current().wait<false>(); };
    Machine::on_pause = [] { ServerCpu::current().pause(); };
    Machine::on_wake = [](CpuId cpu) { (void)native::signal(ServerCpu::of(cpu).notification(), ServerCpu::kWake); };
    Machine::set_cpu_count(u32(info.cpus));
    // This thread is CPU 0's, whatever else is to run there.
    if (!native::schedule(native::kSlotThread, native::kSlotSched, kPriority, 0).ok() ||
        !ServerCpu::of(CpuId{0}).start(CpuId{0}, native::kSlotThread).ok())
        Machine::panic("no memory for the server's first CPU");
    if (!start_watcher().ok()) Machine::panic("no memory for the server's watcher");
    for (u32 cpu = 1; cpu < info.cpus; ++cpu)
        if (auto r = start_cpu(CpuId{cpu}); !r.ok()) Machine::panic("no memory for a CPU of the server");
    // Others count executors.
    while (rt::executor_count() < info.cpus) native::yield();
    connect_streams();
    if (!rt::spawn("start", std::move(start), rt::Executor::current())) Machine::panic("no memory");
    run();
}

}  // namespace port
