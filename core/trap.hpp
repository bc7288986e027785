// SPDX-License-Identifier: MIT
// The way out of a trap that does not change threads: straight back, or a look at what came meanwhile.
#pragma once
#include "core/thread.hpp"

namespace core {

// Something wants this CPU to look up before t goes on. Returns if t may go straight back; else hands the CPU on.
void leave_trap_slow(Thread& t);

// The end of every trap that stays with its thread. Returns if t may go straight back to user mode.
inline void leave_trap(Thread& t) {
    if (rt::Executor::current().needs_attention() || !hal::Machine::is_zero(t.kicked)) [[unlikely]]
        leave_trap_slow(t);
}

// The same after more than the result has changed: goes back with all registers.
[[noreturn]] void leave_trap_changed(Thread& t);

}  // namespace core
