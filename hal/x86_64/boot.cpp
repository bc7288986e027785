// SPDX-License-Identifier: MIT
// From the early tables to kernel_main: reads the PVH start information, takes the boot allocator's pages from after
// the kernel image, and initialises the boot CPU. Everything the loader left is copied before memory is given away.
// Format: Xen public/arch-x86/hvm/start_info.h.
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

struct StartInfo {
    u32 magic;  // 0x336ec578
    u32 version;
    u32 flags;
    u32 module_count;
    u64 modules;
    u64 command_line;
    u64 rsdp;
    u64 memory_map;  // version 1
    u32 memory_map_entries;
    u32 reserved;
};
struct Module {
    u64 address, size, command_line, reserved;
};
struct MemoryMapEntry {
    u64 address, size;
    u32 type;  // as ACPI's E820: 1 RAM, 2 reserved, 3 ACPI tables, 4 ACPI NVS
    u32 reserved;
};

constexpr u64 kEarlyEnd = 1u << 30;  // what the early tables reach
constexpr u32 kMaxCommandLine = 4096;

BootInfo info;
char command_line[kMaxCommandLine];
PhysRange ram[kMaxMemoryRanges];  // ascending, RAM and ACPI tables in RAM
bool usable[kMaxMemoryRanges];
u32 ram_count;
u64 early_next, early_limit;
bool early_open = true;

template <class T>
const T& early(u64 at, u64 count = 1) {
    if (at == 0 || at + count * sizeof(T) > kEarlyEnd) Machine::panic("start information lies beyond the first GiB");
    return *static_cast<const T*>(direct_map(PhysAddr{at}));
}

void add_ram(u64 from, u64 to, bool free) {
    if (from >= to) return;
    if (ram_count == kMaxMemoryRanges) return print("hal: memory map too long, range at {:x} left out\n", from);
    u32 i = ram_count++;
    for (; i > 0 && ram[i - 1].start.value > from; i--) {
        ram[i] = ram[i - 1];
        usable[i] = usable[i - 1];
    }
    ram[i] = {PhysAddr{from}, PhysAddr{to}};
    usable[i] = free;
}

void read_start_info(u64 at) {
    const StartInfo& start = early<StartInfo>(at);
    if (start.magic != 0x336ec578) Machine::panic("no PVH start information");
    if (start.command_line != 0) {
        const char* text = &early<char>(start.command_line);
        u32 n = 0;
        while (n < kMaxCommandLine - 1 && text[n]) {
            command_line[n] = text[n];
            n++;
        }
        info.command_line = {command_line, n};
    }
    if (start.module_count > 0) {
        const Module& m = early<Module>(start.modules);
        info.initrd = {PhysAddr{m.address}, PhysAddr{m.address + m.size}};
    }
    if (start.version < 1 || start.memory_map_entries == 0) Machine::panic("the loader passes no memory map");
    const MemoryMapEntry* map = &early<MemoryMapEntry>(start.memory_map, start.memory_map_entries);
    for (u32 i = 0; i < start.memory_map_entries; i++) {
        if (map[i].type == 1) {
            add_ram((map[i].address + kPageSize - 1) & ~(kPageSize - 1),
                    (map[i].address + map[i].size) & ~(kPageSize - 1), true);
            info.total_memory += map[i].size;
        } else if (map[i].type == 3 || map[i].type == 4) {
            add_ram(map[i].address, map[i].address + map[i].size, false);
        }
    }
}

[[noreturn]] void too_little_memory() {
    print("farcall: cannot start: too little memory\n");
    Machine::power_off(1);
}

void open_boot_allocator() {
    u64 image_end = reinterpret_cast<u64>(hal_image_end) - HAL_IMAGE_BASE;
    early_next = image_end;
    for (u32 i = 0; i < ram_count; i++)
        if (usable[i] && ram[i].start.value <= image_end && image_end <= ram[i].end.value)
            early_limit = ram[i].end.value;
    if (info.initrd.size() && info.initrd.start.value >= image_end && info.initrd.start.value < early_limit)
        early_limit = info.initrd.start.value;
    if (early_limit > kEarlyEnd) early_limit = kEarlyEnd;
    if (early_limit <= early_next) too_little_memory();
}

// What the kernel may use: RAM without the first page, the trampoline, the image with the boot pages, and the initrd.
void publish_memory() {
    PhysRange taken[4] = {
        {PhysAddr{0}, PhysAddr{kPageSize}},
        {PhysAddr{kTrampoline}, PhysAddr{kTrampoline + kPageSize}},
        info.kernel_image,
        {info.initrd.start.down(kPageSize), info.initrd.end.up(kPageSize)},
    };
    for (u32 i = 0; i < ram_count; i++) {
        if (!usable[i]) continue;
        u64 at = ram[i].start.value, end = ram[i].end.value;
        while (at < end) {
            u64 stop = end, resume = end;
            for (const PhysRange& t : taken) {
                if (t.size() == 0 || t.end.value <= at || t.start.value >= stop) continue;
                stop = t.start.value > at ? t.start.value : at;
                resume = t.end.value;
            }
            if (stop > at && info.memory_count < kMaxMemoryRanges)
                info.memory[info.memory_count++] = {PhysAddr{at}, PhysAddr{stop}};
            at = resume > stop ? resume : stop;
        }
    }
}

}  // namespace

PhysAddr early_pages(u64 count) {
    if (!early_open) Machine::panic("boot memory is asked for after the boot");
    if (early_next + count * kPageSize > early_limit) too_little_memory();
    PhysAddr at{early_next};
    early_next += count * kPageSize;
    u64* words = static_cast<u64*>(direct_map(at));
    u64 n = count * kPageSize / 8;
    asm volatile("rep stosq" : "+D"(words), "+c"(n) : "a"(0ul) : "memory");
    return at;
}

}  // namespace hal

using namespace hal;

static void start_kernel(void*) { kernel_main(info); }

extern "C" [[noreturn]] void hal_boot(u64 start_info) {
    time_scale.tsc_base = read_tsc();
    detect_features();
    build_idt();
    init_cpu(early_cpu());  // without IST stacks yet, but a fault finds its way to panic
    init_console();
    patch_smap();

    read_start_info(start_info);
    open_boot_allocator();
    u64 rsdp = early<StartInfo>(start_info).rsdp;
    build_kernel_tables(std::span<const PhysRange>(ram, ram_count));
    init_control_registers();

    Cpu& cpu = *make_cpu(0, 0);
    cpu.root = hal_kernel_root;
    cpus[0] = &cpu;
    cpu_count = 1;
    init_cpu(cpu);
    init_fpu();

    read_acpi(PhysAddr{rsdp});
    if (platform.cpus == 0 && !read_mp_table()) platform.cpus = 1;
    init_local_apic();
    cpu.apic_id = local_apic_id();
    init_io_apics();
    calibrate();
    init_timer();

    info.cpus_present = prepare_cpus();
    close_boot_allocator();
    early_open = false;
    info.kernel_image = {PhysAddr{reinterpret_cast<u64>(hal_image_start) - HAL_IMAGE_BASE}, PhysAddr{early_next}};
    publish_memory();
    hal_on_fresh_stack(start_kernel, nullptr);
}
