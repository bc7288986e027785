// SPDX-License-Identifier: MIT
// What the Linux server has counted of its messages, beside what the kernel has counted of its slowpaths, for the host's
// `--stats` (docs/control-channel.md).
#pragma once
#include "core/ipc/thread.hpp"
#include "lib/format.hpp"

namespace boot::server_counts {

// kServerCounts: takes the caller's counters, and the kernel's as of now. kInval: another size; kFault: the caller's memory.
Result<i64> take(core::NativeThread& t, u64 address, u64 size);
// A member `server` of an object, with a comma before it; nothing without a server's counters.
void report_json(lib::StringBuilder& out);

}  // namespace boot::server_counts
