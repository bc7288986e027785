// SPDX-License-Identifier: MIT
// Routes: where each module's calls are executed. Set once at boot from the command line's `route=`.
//
//   inline                  every call on the core that trapped
//   remote                  every call on the last CPU, which then runs no user threads
//   fs:1,task:2,*:inline    per module; a CPU named here still runs user threads
#pragma once
#include <string_view>

#include "port/api/types.hpp"
#include "rt/executor.hpp"

namespace port::route {

// kInval: malformed, an unknown module, a CPU that is not there, `remote` with one CPU. Nothing has changed then.
// Call after all CPUs have started and before the first thread.
Result<void> configure(std::string_view spec);

// Null: inline.
rt::Executor* executor_of(Module m);
bool any_remote();
void count_remote();
u64 remote_calls();  // so far, all CPUs

}  // namespace port::route
