// SPDX-License-Identifier: MIT
// Off and again. ACPI power-off needs the sleep type from AML (\_S5); without an interpreter the values that machines
// use are tried. A machine that obeys neither is reset.
#include "hal/x86_64/internal.hpp"

namespace hal {

void Machine::power_off(int code) {
    asm volatile("cli");
    out8(0xf4, static_cast<u8>(code));  // isa-debug-exit, where there is one
    if (platform.sleep_control) {       // ACPI 4.8.3.7: SLP_TYP in bits 2 to 4, SLP_EN bit 5
        u8 value = (5 << 2) | (1 << 5);
        if (platform.sleep_control_is_port)
            out8(static_cast<u16>(platform.sleep_control), value);
        else if (auto* reg =
                     static_cast<volatile u8*>(map_window(PhysAddr{platform.sleep_control}, 1, MemoryType::kDevice)))
            *reg = value;
        delay(lib::milliseconds(10));
    }
    if (platform.pm1a_control)
        for (u16 type : {0, 5, 7}) {  // ACPI 4.8.3.2.1: SLP_TYP in bits 10 to 12, SLP_EN bit 13
            u16 value = static_cast<u16>((type << 10) | (1 << 13));
            out16(platform.pm1a_control, value);
            if (platform.pm1b_control) out16(platform.pm1b_control, value);
            delay(lib::milliseconds(10));
        }
    restart();
}

void Machine::restart() {
    asm volatile("cli");
    if (platform.reset_address) {
        if (platform.reset_is_port)
            out8(static_cast<u16>(platform.reset_address), platform.reset_value);
        else if (auto* reg =
                     static_cast<volatile u8*>(map_window(PhysAddr{platform.reset_address}, 1, MemoryType::kDevice)))
            *reg = platform.reset_value;
        delay(lib::milliseconds(10));
    }
    out8(0x64, 0xfe);  // keyboard controller
    delay(lib::milliseconds(10));
    struct [[gnu::packed]] {
        u16 limit = 0;
        u64 base = 0;
    } none;
    asm volatile("lidt %0\n int3" ::"m"(none));  // triple fault
    for (;;) asm volatile("cli; hlt");
}

}  // namespace hal
