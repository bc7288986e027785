// SPDX-License-Identifier: MIT
// Input and output of the programs: their standard streams, which belong to the kernel and are reached by native calls,
// and the events that tell of changes.
#pragma once
#include "port/bind.hpp"

namespace port {

// Fills port::streams from the boot page.
void connect_streams();
// Bit n: stream n has changed; the rest as abi::server::Event says.
void server_events(u64 events);

}  // namespace port
