// SPDX-License-Identifier: MIT
// The server's own faults. Each CPU's thread has the endpoint of one more thread, the watcher, for its exceptions. The watcher
// stops the other CPUs, prints where the thread was and which jobs wait for what, and ends the program: the kernel then takes
// it and its clients away (docs/server-route.md, "Death").
#include "lib/format.hpp"
#include "port/server/cpu.hpp"
#include "rt/dump.hpp"
#include "rt/mem/pages.hpp"

namespace port {
namespace {

using hal::Machine;

constexpr unsigned kStackOrder = 3;                                  // 32 KiB
constexpr u64 kUtcb = kOtherUtcbs + u64{lib::kMaxCpus} * kPageSize;  // behind those of the CPUs
constexpr u64 kFirstStack = native::kStackTop - native::kStackSize;  // of CPU 0's thread
constexpr u32 kMostFrames = 48;

constinit native::Slot endpoint = 0, notification = 0;  // the second is signalled when the host asks for a dump
constinit std::atomic<bool> watches{false};

// Text comes in pieces, the log takes lines.
struct Line {
    char text[256] = {};
    size_t used = 0;
};
constinit Line line;
void put(std::string_view piece) {
    for (char c : piece) {
        if (c == '\n' || line.used == sizeof line.text) {
            log({line.text, line.used});
            line.used = 0;
        }
        if (c != '\n') line.text[line.used++] = c;
    }
}
template <class... A>
void print(const char* fmt, const A&... args) {
    char text[256];
    put({text, lib::format_to(text, fmt, args...)});
}

// Can two words be read there, as far as the server's stacks go?
bool on_a_stack(u64 at) {
    if (at % sizeof(u64) != 0) return false;
    const u64 memory = native::boot_info().memory_bytes - 2 * sizeof(u64);
    return (at >= native::kServerMemory && at - native::kServerMemory <= memory) ||
           (at >= kFirstStack && at <= native::kStackTop - 2 * sizeof(u64));
}

void print_backtrace(const native::Registers& r) {
    print("  #0 0x{:x}\n", r.rip);
    u64 frame = r.rbp;
    for (u32 n = 1; n < kMostFrames && on_a_stack(frame); ++n) {
        const u64* words = reinterpret_cast<const u64*>(frame);
        if (words[1] == 0) return;
        print("  #{} 0x{:x}\n", n, words[1]);
        if (words[0] <= frame) return;
        frame = words[0];
    }
}

void print_state() {
    for (u32 n = 0; n < rt::executor_count(); ++n) rt::dump::print_cpu(CpuId{n}, &put);
    rt::dump::print_jobs(&put);
}

[[noreturn]] void tell(const native::Message& m) {
    const u32 cpu = u32(m.badge - 1);
    for (u32 other = 0; other < Machine::cpu_count(); ++other)
        if (other != cpu) (void)native::suspend(ServerCpu::of(CpuId{other}).thread());
    put("=== the Linux server died ===\n");
    if (m.label() == native::kLabelPageFault)
        print("cpu {}: page fault at 0x{:x}\n", cpu, m.words[0]);
    else
        print("cpu {}: exception {}\n", cpu, m.words[0]);
    native::Registers r{};
    if (native::get_registers(ServerCpu::of(CpuId{cpu}).thread(), r).ok()) print_backtrace(r);
    print_state();
    put("=== end of the server ===\n");
    native::shut_down(1);
}

extern "C" [[noreturn]] void farcall_server_watcher() {
    Machine::set_cpu(CpuId{0});
    // The program's first thread had no handler from the beginning; only a stopped thread gets another.
    if (!native::suspend(native::kSlotThread).ok() || !native::set_handler(native::kSlotThread, endpoint, 1).ok() ||
        !native::resume(native::kSlotThread).ok())
        native::shut_down(1);
    watches.store(true);
    // Without it a timeout does not show the server.
    (void)native::do_call(native::kConsole, native::kSlotSystem, native::kConsoleDumps, notification, 1);
    native::Message m;
    for (;;) {
        if (!native::receive(endpoint, m).ok()) continue;
        if (m.label() != native::kLabelSignal) tell(m);
        put("=== the Linux server ===\n");
        print_state();
    }
}

}  // namespace

Result<void> watch(native::Slot thread, CpuId cpu) { return native::set_handler(thread, endpoint, cpu.value + 1); }

Result<void> start_watcher() {
    endpoint = new_slot();
    notification = new_slot();
    const native::Slot thread = new_slot();
    if (endpoint == 0 || notification == 0 || thread == 0) return Errno::kNoMem;
    TRY(native::create(native::kSlotPool, native::kTypeEndpoint, endpoint));
    TRY(native::create(native::kSlotPool, native::kTypeNotification, notification));
    TRY(native::create(native::kSlotPool, native::kTypeThread, thread));
    TRY(native::configure(thread, native::kSlotSpace, kUtcb));
    const PhysAddr stack = TRY(rt::alloc_frames(kStackOrder));
    native::Registers r{};
    r.rip = u64(&farcall_server_watcher);
    r.rsp = u64(Machine::phys_to_virt(stack)) + (kPageSize << kStackOrder) - 8;  // as after a call
    r.fs_base = kUtcb;
    r.rflags = 0x202;
    TRY(native::set_registers(thread, r));
    TRY(native::bind(thread, notification));
    TRY(native::schedule(thread, native::kSlotSched, native::kHighestPriority, 0));
    TRY(native::resume(thread));
    while (!watches.load()) native::yield();
    return lib::kOk;
}

}  // namespace port
