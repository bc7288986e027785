// SPDX-License-Identifier: MIT
// The kernel's half of every address space: direct map of all RAM, W^X image, device windows, stacks with guard pages.
// All top-level entries it will ever need exist before the first user space copies them; nothing is ever unmapped.
// Table pages come from the boot allocator until kernel_main runs, then from a small reserve. window_lock guards them.
#include "hal/x86_64/internal.hpp"

u64 hal_kernel_root;

namespace hal {
namespace {

constexpr u64 kP = Entry::kPresent, kW = Entry::kWrite, kNx = Entry::kNoExec, kL = Entry::kLarge, kG = Entry::kGlobal;
constexpr u32 kReserve = 16;

PhysAddr reserve[kReserve];
u32 reserve_left;
bool booted;  // the boot allocator is closed
TinyLock window_lock;
u64 window_next = HAL_DEVICE_BASE;

PhysAddr table_page() {
    if (!booted) return early_pages(1);
    return reserve_left ? reserve[--reserve_left] : PhysAddr{0};
}

// The table below `entry`, made if missing; null if there is no page.
u64* below(u64& entry) {
    if (!(entry & kP)) {
        PhysAddr page = table_page();
        if (page.value == 0) return nullptr;
        entry = page.value | kP | kW | Entry::kAccessed;
    }
    return PageTable::entries(PhysAddr{entry & Entry::kAddress});
}

// One page of the kernel half, at level 1 (4 KiB), 2 (2 MiB) or 3 (1 GiB).
bool map_kernel(u64 va, u64 pa, u64 bits, unsigned level) {
    u64* table = PageTable::entries(PhysAddr{hal_kernel_root});
    for (unsigned l = 4; l > level; l--) {
        table = below(table[PageTable::index(va, l)]);
        if (!table) return false;
    }
    table[PageTable::index(va, level)] = pa | bits | kP | Entry::kAccessed | Entry::kDirty | kG | (level > 1 ? kL : 0);
    return true;
}

void map_image(const char* from, const char* to, u64 bits) {
    for (u64 va = reinterpret_cast<u64>(from); va < reinterpret_cast<u64>(to); va += kPageSize)
        map_kernel(va, va - HAL_IMAGE_BASE, bits, 1);
}

}  // namespace

void build_kernel_tables(std::span<const PhysRange> ram) {
    hal_kernel_root = early_pages(1).value;
    u64 done = 0;
    u64 sealed_start = reinterpret_cast<u64>(hal_image_start) - HAL_IMAGE_BASE;
    u64 sealed_end = reinterpret_cast<u64>(hal_rodata_end) - HAL_IMAGE_BASE;
    auto map_range = [&](u64 at, u64 end) {
        at = at & ~u64{0x1fffff};
        end = (end + 0x1fffff) & ~u64{0x1fffff};
        if (at < done) at = done;
        while (at < end) {
            if (at < sealed_end && at + 0x200000 > sealed_start) {
                // No writable alias of text and constants.
                for (u64 p = at; p < at + 0x200000; p += kPageSize)
                    map_kernel(HAL_DIRECT_MAP + p, p, p >= sealed_start && p < sealed_end ? kNx : kW | kNx, 1);
                at += 0x200000;
                continue;
            }
            bool gib = features.gib_pages && (at & 0x3fffffff) == 0 && end - at >= 0x40000000 && at >= sealed_end;
            map_kernel(HAL_DIRECT_MAP + at, at, kW | kNx, gib ? 3 : 2);
            at += gib ? 0x40000000 : 0x200000;
        }
        if (end > done) done = end;
    };
    map_range(0, 0x100000);  // firmware tables
    for (const PhysRange& r : ram) map_range(r.start.value, r.end.value);
    map_image(hal_image_start, hal_text_end, 0);
    map_image(hal_text_end, hal_rodata_end, kNx);
    map_image(hal_rodata_end, hal_image_end, kW | kNx);
    u64* root = PageTable::entries(PhysAddr{hal_kernel_root});
    below(root[PageTable::index(HAL_DEVICE_BASE, 4)]);
    below(root[PageTable::index(HAL_STACK_BASE, 4)]);
    write_cr3(hal_kernel_root);
}

void map_stack_pages(u64 va, u64 pages) {
    PhysAddr at = early_pages(pages);
    for (u64 i = 0; i < pages; i++) map_kernel(va + i * kPageSize, at.value + i * kPageSize, kW | kNx, 1);
}

void close_boot_allocator() {
    for (u32 i = 0; i < kReserve; i++) reserve[i] = early_pages(1);
    reserve_left = kReserve;
    booted = true;
}

void* map_window(PhysAddr at, size_t bytes, MemoryType type) {
    TinyGuard hold(window_lock);
    u64 bits = kW | kNx | Entry::type(type);
    bool large = bytes >= 0x200000 && at.aligned(0x200000);
    u64 page = large ? 0x200000 : kPageSize;
    u64 from = at.value & ~(page - 1), to = (at.value + bytes + page - 1) & ~(page - 1);
    window_next = (window_next + page - 1) & ~(page - 1);
    u64 start = window_next;
    for (u64 pa = from; pa < to; pa += page, window_next += page)
        // PAT's bit of a large entry is elsewhere, but the types used here do not need it.
        if (!map_kernel(window_next, pa, bits, large ? 2 : 1)) return nullptr;
    return reinterpret_cast<void*>(start + (at.value - from));
}

void* Machine::map_device(PhysAddr at, size_t bytes, MemoryType type) { return map_window(at, bytes, type); }
PhysAddr Machine::kernel_root() { return PhysAddr{hal_kernel_root}; }

void KernelTables::fill_root(PhysAddr root) {
    u64* to = PageTable::entries(root) + 256;
    const u64* from = PageTable::entries(PhysAddr{hal_kernel_root}) + 256;
    u64 count = 256;
    asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory");
}

// --- Mailbox: flushes asked for by other CPUs

void serve_mailbox(Cpu& cpu) {
    // The IPI flag falls first: a request after this point sends a new one.
    cpu.flush_signalled.store(0, std::memory_order_seq_cst);
    // Pairs with request_flush: the table changes made before the request are visible to walks after the flush.
    u64 wanted = cpu.flush_wanted.load(std::memory_order_seq_cst);
    write_cr3(cpu.root);
    cpu.flush_done.store(wanted, std::memory_order_release);
}

void Machine::kick_flush(CpuId target) {
    Cpu& cpu = *cpus[target.value];
    if (cpu.flush_signalled.exchange(1, std::memory_order_seq_cst) == 0) send_ipi(cpu.apic_id, HAL_VECTOR_FLUSH);
}

}  // namespace hal
