// SPDX-License-Identifier: MIT
// Power-off and reset. ACPI power-off needs the sleep type from AML (\_S5); without an interpreter the values that
// machines use are tried. A machine that obeys neither is reset.
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {

void Machine::power_off(int code) {
    asm volatile("cli");
    out8(kDebugExit, static_cast<u8>(code));
    if (platform.sleep_control) {
        u8 value = (5 << kSleepTypeShift) | kSleepEnable;
        if (platform.sleep_control_is_port)
            out8(static_cast<u16>(platform.sleep_control), value);
        else if (auto* reg =
                     static_cast<volatile u8*>(map_window(PhysAddr{platform.sleep_control}, 1, MemoryType::kDevice)))
            *reg = value;
        delay(lib::milliseconds(10));
    }
    if (platform.pm1a_control)
        for (u16 type : {0, 5, 7}) {
            u16 value = static_cast<u16>((type << kPm1SleepTypeShift) | kPm1SleepEnable);
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
    out8(kKeyboardCommand, kKeyboardReset);
    delay(lib::milliseconds(10));
    struct [[gnu::packed]] {
        u16 limit = 0;
        u64 base = 0;
    } none;
    asm volatile("lidt %0\n int3" ::"m"(none));  // triple fault
    for (;;) asm volatile("cli; hlt");
}

}  // namespace hal
