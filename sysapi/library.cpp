// SPDX-License-Identifier: MIT
// Functions that the standard library's headers need at link time. Each ends the program with status 127.
#include "sysapi/native.hpp"

namespace {
[[noreturn]] void fail(const char* what) {
    native::write(what);
    native::write("\n");
    native::shut_down(127);
}
}  // namespace

extern "C" void __cxa_pure_virtual() { fail("pure virtual call"); }

namespace std {
void __throw_out_of_range_fmt(const char* text, ...) { fail(text); }
void __throw_length_error(const char* text) { fail(text); }
void __throw_logic_error(const char* text) { fail(text); }
}  // namespace std
