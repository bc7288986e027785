// SPDX-License-Identifier: MIT
// What the standard library's headers call when a precondition is broken.
#include "hal/bind.hpp"

namespace std {
void __throw_out_of_range_fmt(const char* what, ...) { hal::Machine::panic(what); }
void __throw_length_error(const char* what) { hal::Machine::panic(what); }
void __throw_logic_error(const char* what) { hal::Machine::panic(what); }
}  // namespace std

extern "C" void abort() { hal::Machine::panic("abort"); }
extern "C" [[noreturn]] void __cxa_pure_virtual() { hal::Machine::panic("pure virtual function called"); }
