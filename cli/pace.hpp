// SPDX-License-Identifier: MIT
// How slow this host is now, so that limits of tests end hangs and not slow runs. `farcall test` measures it at its start and
// every few seconds while its parts run; parts read it from memory that they share, other programs from FARCALL_PACE.
#pragma once

namespace cli {

// At least 1: so many times the reference host's time is allowed. 1 in commands that do not measure.
double pace();
// A limit of `seconds` on the reference host, for this one, in whole seconds and at least one.
int paced_seconds(double seconds);

// Starts measuring; before the first fork. Takes about a tenth of a second on an idle host.
void start_pace();
// Measures again if the last time is more than a few seconds ago. In the process that called start_pace.
void update_pace();

}  // namespace cli
