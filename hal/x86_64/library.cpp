// SPDX-License-Identifier: MIT
// What the standard library's headers call when a precondition is broken. Weak: a world may have better ones.
#include "hal/x86_64/internal.hpp"

namespace std {
[[gnu::weak]] void __throw_out_of_range_fmt(const char* what, ...) { hal::Machine::panic(what); }
[[gnu::weak]] void __throw_length_error(const char* what) { hal::Machine::panic(what); }
[[gnu::weak]] void __throw_logic_error(const char* what) { hal::Machine::panic(what); }
}  // namespace std

extern "C" [[gnu::weak]] void abort() { hal::Machine::panic("abort"); }
extern "C" [[gnu::weak, noreturn]] void __cxa_pure_virtual() { hal::Machine::panic("pure virtual function called"); }
