// SPDX-License-Identifier: MIT
// What a driver needs of the machine. Registers are mapped permanently; DMA memory is frames of rt/mem.
#pragma once
#include <cstddef>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace port {

struct PciAddress {
    u8 bus = 0, device = 0, function = 0;
};
bool has_pci();
u32 pci_read(PciAddress at, u32 offset, u32 width);  // width 1, 2, 4; ~0 if absent
void pci_write(PciAddress at, u32 offset, u32 width, u32 value);

// Null if there is no room.
volatile void* map_registers(PhysAddr at, size_t bytes);

using InterruptHandler = void (*)(void* argument);
struct Interrupt {
    u32 vector;
    u64 msi_address;
    u32 msi_data;
};
// The handler runs with interrupts off and may wake and post. Delivered to CPU `cpu`.
Result<Interrupt> allocate_interrupt(InterruptHandler handler, void* argument, CpuId cpu);
// Routes a global line interrupt (virtio-mmio) to it.
bool route_line(u32 line, const Interrupt& to, CpuId cpu, bool level, bool active_low);

}  // namespace port
