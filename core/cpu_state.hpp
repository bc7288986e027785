// SPDX-License-Identifier: MIT
// What the core keeps for each CPU, in the place that the executor has for the layer above it. The CPU's own.
#pragma once
#include "rt/executor.hpp"

namespace core {

class Thread;
class Space;

struct CpuState {
    Thread* fpu_owner;   // whose FPU state and TLS bases are in the CPU
    Space* space;        // the address space that is loaded
    Thread* time_payer;  // the thread whose clock counts this CPU's user time
    Thread* fpu;         // whose FPU state is in the registers, which may be barred
};

inline CpuState& state_of(rt::Executor& ex) { return ex.above<CpuState>(); }

}  // namespace core
