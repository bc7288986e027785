// SPDX-License-Identifier: MIT
#include "hal/bind.hpp"

#include <cstring>

extern "C" i64 hal_native_call(u64 number, u64 a, u64 b, u64 c, u64 d) {
    i64 result = i64(number);
    register u64 r10 asm("r10") = d;
    asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

namespace hal {

namespace native = abi::server;

constinit void (*Machine::on_event)() = nullptr;
constinit void (*Machine::on_pause)() = nullptr;

Nanoseconds Machine::now() { return Nanoseconds{u64(hal_native_call(native::kClock, 0, 0, 0, 0))}; }

void Machine::wait_for_event() {
    if (on_event) on_event();
}

void Machine::early_print(std::string_view text) {
    hal_native_call(native::kLog, reinterpret_cast<u64>(text.data()), text.size(), 0, 0);
}

void Machine::panic(const char* what, std::source_location where) {
    early_print("server panic: ");
    early_print(what);
    early_print(" in ");
    early_print(where.function_name());
    hal_native_call(native::kExit, 0, 0, 0, 0);
    __builtin_unreachable();
}

}  // namespace hal
