// SPDX-License-Identifier: MIT
// Starts the first program of the native interface (`native=NAME` on the command line).
#pragma once
#include <span>
#include <string_view>

#include "hal/bind.hpp"
#include "lib/result.hpp"

namespace boot {

struct FirstProgram {
    std::span<const std::byte> image;  // an ELF program, in memory that stays
    std::string_view words;            // the command line it gets
    // It serves programs of another system: it gets nearly all memory as one object, and the root archive in it.
    const hal::BootInfo* serves = nullptr;
    bool beside = false;  // another program runs too: each gets a part of the memory, and one that serves the most
};
// Errors: what is wrong with the image, or kNoMem.
Result<void> start_native(const FirstProgram& program);
// `fastpath=` none, exception, ipc, notify, all; kInval for anything else.
Result<void> choose_fastpaths(std::string_view word);

}  // namespace boot
