// SPDX-License-Identifier: MIT
// What comes from outside the programs: their standard streams, which are the kernel's and reached by native calls, and the
// events that tell of changes.
#pragma once
#include "port/bind.hpp"

namespace port {

// Fills port::streams from the boot page.
void connect_streams();
// Bit n: stream n has changed; the rest as abi::server::Event says.
void server_events(u64 events);

}  // namespace port
