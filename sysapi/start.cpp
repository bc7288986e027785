// SPDX-License-Identifier: MIT
// The entry point of a native program.
#include "sysapi/native.hpp"

extern "C" [[noreturn]] void _start() {
    if (native::boot_info().magic != native::kBootMagic) __builtin_trap();
    native::shut_down(native_main());
}
