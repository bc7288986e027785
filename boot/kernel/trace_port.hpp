// SPDX-License-Identifier: MIT
// The trace buffer at both ends of a run: `trace=RECORDS` switches it on before the first user thread, and at the end
// the records leave over a port of their own, farcall.trace. docs/tracing.md has the format.
#pragma once
#include <string_view>

#include "port/bind.hpp"

namespace boot::trace_port {

// Before routes are set. kInval: no number from 1 to 4,194,304; kNoMem.
Result<void> start(std::string_view records);
bool started();
void use(port::Stream* port);
// Stops tracing and sends all records, then calls `then(status)`. A host that takes nothing any more does not hold that
// up for more than two seconds. False: there is nothing to be sent, or no memory for it; `then` is not called.
bool send_all(void (*then)(i32 status), i32 status);
// Records that were sent are not kept.
bool sending();
// The last 16 records of each CPU, for people. From any context.
void print_last(void (*print)(std::string_view line));

}  // namespace boot::trace_port
