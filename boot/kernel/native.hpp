// SPDX-License-Identifier: MIT
// Starts the first program of the native interface (`native=NAME` on the command line).
#pragma once
#include <span>
#include <string_view>

#include "hal/bind.hpp"
#include "lib/result.hpp"

namespace boot {

// `image`: an ELF program, in memory that stays. `words`: the command line it gets. Errors: what is wrong with it, or kNoMem.
Result<void> start_native(std::string_view words, std::span<const std::byte> image);
// `fastpath=` none, exception, ipc, notify, all; kInval for anything else.
Result<void> choose_fastpaths(std::string_view word);

}  // namespace boot
