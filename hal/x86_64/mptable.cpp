// SPDX-License-Identifier: MIT
// Intel MultiProcessor Specification 1.4, chapter 4: CPUs and I/O APICs of machines without ACPI.
#include <iterator>

#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

template <class T>
T at(const u8* p, u32 offset) {
    T v;
    __builtin_memcpy(&v, p + offset, sizeof v);
    return v;
}

const u8* find_pointer(u64 from, u64 to) {
    const u8* p = static_cast<const u8*>(direct_map(PhysAddr{from}));
    for (u64 o = 0; o + 16 <= to - from; o += 16) {
        if (at<u32>(p, static_cast<u32>(o)) != 0x5f504d5f) continue;  // "_MP_"
        u8 sum = 0;
        for (u32 i = 0; i < 16; i++) sum = static_cast<u8>(sum + p[o + i]);
        if (sum == 0) return p + o;
    }
    return nullptr;
}

// As in ACPI: polarity in bits 0 and 1, trigger mode in bits 2 and 3; 3 is active low, and level.
void add_override(u8 irq, u32 gsi, u32 flags) {
    const bool active_low = (flags & 3) == 3, level = (flags >> 2 & 3) == 3;
    if ((gsi == irq && !active_low && !level) || platform.override_count == std::size(platform.overrides)) return;
    platform.overrides[platform.override_count++] = {.irq = irq, .active_low = active_low, .level = level, .gsi = gsi};
}

}  // namespace

bool read_mp_table() {
    const u8* pointer = find_pointer(0x9fc00, 0xa0000);
    if (!pointer) pointer = find_pointer(0xf0000, 0x100000);
    if (!pointer) pointer = find_pointer(0x80000, 0x9fc00);
    if (!pointer) return false;
    u32 table_at = at<u32>(pointer, 4);
    if (table_at == 0 || table_at + 44 > 0x100000) return false;
    const u8* table = static_cast<const u8*>(direct_map(PhysAddr{table_at}));
    if (at<u32>(table, 0) != 0x504d4350) return false;  // "PCMP"
    u32 length = at<u16>(table, 4), entries = at<u16>(table, 34);
    if (table_at + length > 0x100000) return false;
    platform.lapic_address = at<u32>(table, 36);
    u32 gsi = 0;
    u8 io_apic_ids[kMaxIoApics] = {};
    u32 isa_bus = ~0u;
    // Some firmware (qboot) leaves the count 0: then the length ends the table, and its padding is CPUs not enabled.
    for (u32 o = 44, i = 0; (entries == 0 || i < entries) && o + 8 <= length; i++) {
        u8 type = table[o];
        if (type == 0 && (table[o + 3] & 1) && platform.cpus < lib::kMaxCpus)
            platform.cpu_apic_ids[platform.cpus++] = table[o + 1];
        if (type == 2 && (table[o + 3] & 1) && platform.io_apic_count < kMaxIoApics) {
            io_apic_ids[platform.io_apic_count] = table[o + 1];
            platform.io_apics[platform.io_apic_count++] = {at<u32>(table, o + 4), gsi};
            gsi += 24;
        }
        // 4.3.2, 4.3.4: where the interrupts of the ISA bus are connected. Busses come first.
        if (type == 1 && table[o + 2] == 'I' && table[o + 3] == 'S' && table[o + 4] == 'A') isa_bus = table[o + 1];
        if (type == 3 && table[o + 1] == 0 && table[o + 4] == isa_bus && table[o + 5] < 16)
            for (u32 n = 0; n < platform.io_apic_count; n++)
                if (io_apic_ids[n] == table[o + 6])
                    add_override(table[o + 5], platform.io_apics[n].gsi_base + table[o + 7], at<u16>(table, o + 2));
        o += type == 0 ? 20 : 8;
    }
    return platform.cpus > 0;
}

}  // namespace hal
