// SPDX-License-Identifier: MIT
// What is printed on a panic, a timeout, or on request: CPUs, threads with the chain of awaits of each, lock holders.
// Lines go to the early console; the host tool turns addresses into names.
#pragma once

namespace boot {

void install_dump_hook();
// From any context, NMI included: takes no lock and may show torn data.
void dump_everything();

}  // namespace boot
