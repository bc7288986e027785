// SPDX-License-Identifier: MIT
// Starts the other CPUs by INIT and SIPI (SDM vol. 3A, 9.4.4), one after another, and compares their TSCs with the boot
// CPU's while they wait. CpuIds are given in the order in which CPUs came up, without gaps.
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

extern "C" {
hal::Cpu* hal_starting_cpu;
}

namespace hal {
namespace {

enum class Stage : u32 { kNone, kStarted, kRound, kAnswered, kReady, kRefused };

// The handshake of the starting CPU (requests) and the boot CPU (replies). Every change is a release, every read an
// acquire.
std::atomic<Stage> stage;
std::atomic<u64> boot_tsc;
Cpu* prepared[lib::kMaxCpus];
u32 prepared_count;

constexpr u32 kRounds = 12;

void await(Stage wanted) {
    u32 spins = 0;
    while (stage.load(std::memory_order_acquire) != wanted)
        if ((++spins & 255) == 0) pause();
}

// How far the boot CPU's TSC is ahead of this CPU's, by the round trip with the least uncertainty.
i64 measure_offset(u64& uncertainty) {
    i64 offset = 0;
    uncertainty = ~u64{0};
    for (u32 i = 0; i < kRounds; i++) {
        u64 before = read_tsc();
        stage.store(Stage::kRound, std::memory_order_release);
        await(Stage::kAnswered);
        u64 after = read_tsc();
        if (after - before < uncertainty) {
            uncertainty = after - before;
            offset = static_cast<i64>(boot_tsc.load(std::memory_order_relaxed) - before) -
                     static_cast<i64>((after - before) / 2);
        }
        if (uncertainty < time_scale.tsc_hz / 100'000) break;  // 10 us: good enough, and dear on a busy host
    }
    return offset;
}

// True once this CPU's TSC agrees with the boot CPU's within the uncertainty.
bool synchronise_tsc(Cpu& cpu) {
    for (u32 attempt = 0; attempt < 3; attempt++) {
        u64 uncertainty;
        i64 offset = measure_offset(uncertainty);
        cpu.tsc_offset = offset;
        u64 distance = static_cast<u64>(offset < 0 ? -offset : offset);
        // Half the round trip, and 1 us that no caller could tell.
        if (distance <= uncertainty / 2 + time_scale.tsc_hz / 1'000'000) return true;
        if (features.tsc_adjust)
            write_msr(kMsrTscAdjust, read_msr(kMsrTscAdjust) + static_cast<u64>(offset));
        else
            write_msr(kMsrTsc, read_tsc() + static_cast<u64>(offset));
    }
    return false;
}

// The boot CPU's side, until the starting CPU is ready, refuses, or `deadline` passes.
bool answer_until_ready(Nanoseconds deadline) {
    for (u32 spins = 0;;) {
        Stage s = stage.load(std::memory_order_acquire);
        if (s == Stage::kRound) {
            boot_tsc.store(read_tsc(), std::memory_order_relaxed);
            stage.store(Stage::kAnswered, std::memory_order_release);
        } else if (s == Stage::kReady || s == Stage::kRefused) {
            return s == Stage::kReady;
        }
        if ((++spins & 255) == 0) {
            pause();
            if (Machine::now().value > deadline.value) return false;
        }
    }
}

bool start(Cpu& cpu) {
    hal_starting_cpu = &cpu;
    stage.store(Stage::kNone, std::memory_order_release);
    send_init(cpu.apic_id);
    delay(Nanoseconds{10'000});
    for (u32 attempt = 0; attempt < 2; attempt++) {
        send_startup(cpu.apic_id, kTrampoline);
        // The second SIPI is for CPUs that missed the first; a slow host needs more time than hardware.
        Nanoseconds limit = Machine::now() + lib::milliseconds(attempt == 0 ? 20 : 20'000);
        for (u32 spins = 0; stage.load(std::memory_order_acquire) == Stage::kNone;)
            if ((++spins & 255) == 0) {
                pause();
                if (Machine::now().value > limit.value) break;
            }
        if (stage.load(std::memory_order_acquire) != Stage::kNone)
            return answer_until_ready(Machine::now() + lib::milliseconds(20'000));
    }
    return false;
}

}  // namespace

// Blocks and stacks for every CPU that could be started; the boot allocator closes after this.
u32 prepare_cpus() {
    u32 own = local_apic_id();
    for (u32 i = 0; i < platform.cpus; i++)
        if (platform.cpu_apic_ids[i] != own && prepared_count + 1 < lib::kMaxCpus) {
            prepared[prepared_count] = make_cpu(prepared_count + 1, platform.cpu_apic_ids[i]);
            prepared_count++;
        }
    return prepared_count + 1;
}

u32 Machine::start_cpus(u32 limit) {
    if (hal::cpu_count == 1 && prepared_count > 0 && limit > 1) {
        __builtin_memcpy(direct_map(PhysAddr{kTrampoline}), hal_trampoline_start,
                         static_cast<size_t>(hal_trampoline_end - hal_trampoline_start));
        // For CPUs whose INIT goes through the BIOS.
        out8(kCmosIndex, kCmosShutdown);
        out8(kCmosData, kShutdownWarmStart);
        *static_cast<u32*>(direct_map(PhysAddr{kWarmStartVector})) = static_cast<u32>(kTrampoline << 12);
        for (u32 i = 0; i < prepared_count && hal::cpu_count < limit; i++) {
            Cpu& cpu = *prepared[i];
            cpu.id = hal::cpu_count;
            cpu.root = hal_kernel_root;
            cpus[cpu.id] = &cpu;
            if (start(cpu)) {
                hal::cpu_count = hal::cpu_count + 1;
                stage.store(Stage::kNone, std::memory_order_release);  // lets it continue
                continue;
            }
            cpus[cpu.id] = nullptr;
            print("hal: CPU with APIC id {} left out: {}\n", cpu.apic_id,
                  stage.load(std::memory_order_acquire) == Stage::kRefused
                      ? "its time stamp counter cannot be synchronised"
                      : "it does not start");
            send_init(cpu.apic_id);  // whatever state it is in, it waits there
        }
    }
    // The identity mapping has served.
    hal_early_pml4[0] = 0;
    return hal::cpu_count;
}

}  // namespace hal

using namespace hal;

extern "C" [[noreturn]] void hal_ap_start(Cpu* cpu) {
    init_control_registers();
    init_cpu(*cpu);
    init_fpu();
    init_local_apic();
    init_timer();
    stage.store(Stage::kStarted, std::memory_order_release);
    bool agreed = synchronise_tsc(*cpu);
    stage.store(agreed ? Stage::kReady : Stage::kRefused, std::memory_order_release);
    if (!agreed)
        for (;;) asm volatile("cli; hlt");
    await(Stage::kNone);
    kernel_ap_main();
}
