// SPDX-License-Identifier: MIT
#include "hal/bind.hpp"

#include "lib/format.hpp"

namespace hal {

constinit void (*Machine::on_event)() = nullptr;
constinit void (*Machine::on_pause)() = nullptr;
constinit void (*Machine::on_wake)(CpuId) = nullptr;

void Machine::early_print(std::string_view text) {
    (void)native::raw_call(native::kConsole, native::kSlotSystem, native::kConsoleLog, u64(text.data()), text.size());
}

void Machine::panic(const char* what, std::source_location where) {
    char line[256];
    early_print({line, lib::format_to({line, sizeof line}, "server failure: {} in {} ({}:{})", what,
                                      where.function_name(), where.file_name(), where.line())});
    // The watcher learns of it, or before there is one, the kernel.
    __builtin_trap();
}

}  // namespace hal
