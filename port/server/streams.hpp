// SPDX-License-Identifier: MIT
// The program's standard streams, which are the kernel's: reached by native calls, changes come as events.
#pragma once
#include "port/bind.hpp"

namespace port {

// Fills port::streams from the boot page.
void connect_streams();
// Bit n: stream n has changed.
void server_stream_events(u64 events);

}  // namespace port
