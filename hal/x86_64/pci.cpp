// SPDX-License-Identifier: MIT
// PCI configuration space: memory-mapped (PCI Express 7.2.2) where MCFG describes it, ports CF8/CFC otherwise.
// pci_lock guards the port pair and the table of windows (one per two buses, 2 MiB).
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

TinyLock pci_lock;
volatile u8* windows[128];

volatile u8* ecam_register(u32 bus, u32 device, u32 function, u32 offset) {
    if (!platform.ecam || bus < platform.ecam_first_bus || bus > platform.ecam_last_bus || bus > 255) return nullptr;
    volatile u8*& window = windows[bus / 2];
    if (!window) {
        u64 at = platform.ecam + (static_cast<u64>(bus & ~1u) << 20);
        window = static_cast<volatile u8*>(map_window(PhysAddr{at}, 0x200000, MemoryType::kDevice));
        if (!window) return nullptr;
    }
    return window + ((bus & 1) << 20 | device << 15 | function << 12 | offset);
}

bool select(u32 bus, u32 device, u32 function, u32 offset) {
    if (offset > 255) return false;
    out32(kPciAddress, kPciEnable | bus << 16 | device << 11 | function << 8 | (offset & 0xfc));
    return true;
}

}  // namespace

bool Machine::has_pci() {
    if (platform.ecam) return true;
    TinyGuard hold(pci_lock);
    out32(kPciAddress, kPciEnable);
    return in32(kPciAddress) == kPciEnable;
}

u32 Machine::pci_read(u32 bus, u32 device, u32 function, u32 offset, u32 width) {
    TinyGuard hold(pci_lock);
    if (volatile u8* reg = ecam_register(bus, device, function, offset))
        return width == 1   ? *reg
               : width == 2 ? *reinterpret_cast<volatile u16*>(reg)
                            : *reinterpret_cast<volatile u32*>(reg);
    if (!select(bus, device, function, offset)) return ~0u;
    u16 port = static_cast<u16>(kPciData + (offset & 3));
    return width == 1 ? in8(port) : width == 2 ? in16(port) : in32(port);
}

void Machine::pci_write(u32 bus, u32 device, u32 function, u32 offset, u32 width, u32 value) {
    TinyGuard hold(pci_lock);
    if (volatile u8* reg = ecam_register(bus, device, function, offset)) {
        if (width == 1)
            *reg = static_cast<u8>(value);
        else if (width == 2)
            *reinterpret_cast<volatile u16*>(reg) = static_cast<u16>(value);
        else
            *reinterpret_cast<volatile u32*>(reg) = value;
        return;
    }
    if (!select(bus, device, function, offset)) return;
    u16 port = static_cast<u16>(kPciData + (offset & 3));
    if (width == 1)
        out8(port, static_cast<u8>(value));
    else if (width == 2)
        out16(port, static_cast<u16>(value));
    else
        out32(port, value);
}

}  // namespace hal
