// SPDX-License-Identifier: MIT
// The user's choice of where system calls are executed, checked before a guest is started. Each function throws Failure
// with one line that says what is wrong.
#pragma once
#include <string>

namespace cli {

// inline, remote, server, adaptive, or MODULE:PLACE,... with `inline`, `2` or `2+3` as a place and `*` for all other
// modules.
void check_route(const std::string& route, int cpus);
// CPU:FRACTION,...: 1, or 0.001 to 0.999; each CPU at most once.
void check_capacity(const std::string& capacity, int cpus);
// The CPUs that this process may use.
int host_cpus();

}  // namespace cli
