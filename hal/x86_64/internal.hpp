// SPDX-License-Identifier: MIT
// Declarations shared by the files of hal/x86_64 only.
#pragma once
#include "hal/bind.hpp"
#include "hal/x86_64/devices.hpp"
#include "lib/format.hpp"

// kernel.ld and boot.S
extern "C" {
extern char hal_image_start[], hal_entry_start[], hal_text_end[], hal_rodata_end[], hal_image_end[];
extern u64 hal_early_pml4[512];
extern char hal_trampoline_start[], hal_trampoline_end[];
extern char hal_vector_stubs[];
extern char hal_syscall_entry[];
extern u64 hal_kernel_root;         // physical; read by the trampoline
extern hal::Cpu* hal_starting_cpu;  // read by the trampoline: CPUs start one at a time
}

namespace hal {

inline constexpr u64 kTrampoline = 0x8000;  // boot.S

// A lock for a few lines of this layer; interrupts are off whenever it is held.
class TinyLock {
public:
    void lock() {
        u32 spins = 0;
        while (!try_lock())
            while (held_.load(std::memory_order_relaxed))
                if ((++spins & 1023) == 0) pause();
    }
    bool try_lock() { return !held_.exchange(true, std::memory_order_acquire); }  // pairs with unlock
    bool held() const { return held_.load(std::memory_order_relaxed); }
    void unlock() { held_.store(false, std::memory_order_release); }

private:
    std::atomic<bool> held_{false};
};
struct TinyGuard {
    explicit TinyGuard(TinyLock& l) : lock(l) { lock.lock(); }
    ~TinyGuard() { lock.unlock(); }
    TinyLock& lock;
};

// console.cpp
void init_console();
void print_args(std::string_view fmt, std::span<const lib::FormatArg> args);
template <class... A>
void print(const char* fmt, const A&... args) {
    const lib::FormatArg list[sizeof...(A) + 1] = {lib::format_arg(args)..., lib::FormatArg{}};
    print_args(fmt, std::span<const lib::FormatArg>(list, sizeof...(A)));
}

// cpu.cpp
void detect_features();
void patch_smap();              // while text is still writable
void init_control_registers();  // per CPU; after the final tables are loaded
void init_cpu(Cpu& cpu);        // GDT, TSS, IDT, GS, SYSCALL
void build_idt();
Cpu& early_cpu();  // CPU 0 before its stacks exist
void init_fpu();   // per CPU

// boot.cpp
PhysAddr early_pages(u64 count);  // zeroed, for ever; before kernel_main only

// paging.cpp
void build_kernel_tables(std::span<const PhysRange> ram);  // and loads them
void map_stack_pages(u64 va, u64 pages);
void close_boot_allocator();
void* map_window(PhysAddr at, size_t bytes, MemoryType type);  // never unmapped

// stacks of one CPU in the stack region (paging.cpp maps, cpu.cpp uses)
inline constexpr u64 kStackStride = 128 << 10;
inline constexpr u64 kIstBytes = 8 << 10;
inline constexpr u64 kKernelStackBytes = 16 << 10;
Cpu* make_cpu(u32 id, u32 apic_id);  // allocates the stacks and, beyond CPU 0, the block

// acpi.cpp
inline constexpr u32 kMaxIoApics = 4;
struct IoApicInfo {
    u32 address, gsi_base;
};
struct IsaOverride {
    u8 irq;
    bool active_low, level;
    u32 gsi;
};
struct PlatformInfo {
    u64 lapic_address = kLocalApicAddress;
    u32 cpu_apic_ids[lib::kMaxCpus] = {};
    u32 cpus = 0;
    IoApicInfo io_apics[kMaxIoApics] = {};
    u32 io_apic_count = 0;
    IsaOverride overrides[16] = {};
    u32 override_count = 0;
    u64 ecam = 0;
    u32 ecam_first_bus = 0, ecam_last_bus = 0;
    u16 pm_timer = 0;
    bool pm_timer_32 = false;
    u64 hpet = 0;
    u16 pm1a_control = 0, pm1b_control = 0;
    u64 sleep_control = 0;  // hardware-reduced ACPI: system memory or port
    bool sleep_control_is_port = false;
    u64 reset_address = 0;
    bool reset_is_port = false;
    u8 reset_value = 0;
    bool has_acpi = false;
};
extern PlatformInfo platform;
void read_acpi(PhysAddr rsdp);

// mptable.cpp: the older table, for machines without ACPI (microvm acpi=off, Firecracker)
bool read_mp_table();

// apic.cpp
void init_local_apic();  // per CPU
void init_io_apics();
u32 local_apic_id();
void end_of_interrupt();
void send_ipi(u32 apic_id, u32 vector);
void send_nmi_to_others();
void send_init(u32 apic_id);
void send_startup(u32 apic_id, u64 page);
void set_timer_count(u32 ticks);
u32 timer_count();

// interrupts.cpp
void dispatch_device(u32 vector);

// smp.cpp
u32 prepare_cpus();

// time.cpp
void calibrate();
void init_timer();  // per CPU
void delay(Nanoseconds t);

// panic.cpp
[[noreturn]] void panic_with_frame(const char* what, const KernelFrame& frame, u64 cr2);
void handle_nmi(Cpu& cpu, KernelFrame& frame);
bool safe_read(u64 at, u64& out);

// trap.cpp
bool apply_fixup(KernelFrame& frame);

}  // namespace hal
