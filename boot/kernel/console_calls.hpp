// SPDX-License-Identifier: MIT
// What a server has of the machine's console and control channel (abi::native::ConsoleOp).
#pragma once
#include "core/ipc/thread.hpp"

namespace boot {

// kInval: no such operation or stream; kFault: the caller's memory. Moves at most kConsoleBytes in one call.
// `badge`: of the caller's system capability.
Result<i64> console_call(core::NativeThread& t, u64 badge, u64 operation, u64 a, u64 b, u64 c);
inline constexpr u64 kConsoleBytes = 4096;
// Signals whoever has bound kConsoleDumps.
void ask_server_for_dump();

}  // namespace boot
