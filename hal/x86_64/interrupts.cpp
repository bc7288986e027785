// SPDX-License-Identifier: MIT
// Device vectors: which handler each belongs to. The same vector means the same on every CPU. A slot's handler is
// published last and withdrawn first; free_vector is called when the device can no longer interrupt.
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

struct Slot {
    std::atomic<InterruptHandler> handler{nullptr};  // pairs: allocate_vector's release, dispatch's acquire
    void* argument = nullptr;
};
constinit Slot slots[HAL_VECTOR_DEVICE_LAST - HAL_VECTOR_DEVICE_FIRST + 1];
TinyLock slot_lock;

}  // namespace

Result<u32> Machine::allocate_vector(InterruptHandler handler, void* argument) {
    TinyGuard hold(slot_lock);
    for (u32 i = 0; i < std::size(slots); i++) {
        if (slots[i].handler.load(std::memory_order_relaxed)) continue;
        slots[i].argument = argument;
        slots[i].handler.store(handler, std::memory_order_release);
        return HAL_VECTOR_DEVICE_FIRST + i;
    }
    return Errno::kNoSpc;
}

void Machine::free_vector(u32 vector) {
    TinyGuard hold(slot_lock);
    slots[vector - HAL_VECTOR_DEVICE_FIRST].handler.store(nullptr, std::memory_order_release);
}

// Fixed delivery to one CPU, edge (SDM vol. 3A, 11.11).
MsiMessage Machine::msi_message(u32 vector, CpuId cpu) {
    return {.address = kMsiAddress | (static_cast<u64>(cpus[cpu.value]->apic_id & 0xff) << kMsiDestinationShift),
            .data = vector};
}

void dispatch_device(u32 vector) {
    Slot& slot = slots[vector - HAL_VECTOR_DEVICE_FIRST];
    this_cpu_block().interrupts++;
    if (InterruptHandler handler = slot.handler.load(std::memory_order_acquire)) handler(slot.argument);
    end_of_interrupt();  // after the handler: a level-triggered line is quiet by then
}

}  // namespace hal
