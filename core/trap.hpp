// SPDX-License-Identifier: MIT
// The way out of a trap that does not change threads: straight back, or after pending work was handled.
#pragma once
#include "core/thread.hpp"

namespace core {

// Work is pending on this CPU before t continues. Returns if t may return to user mode; otherwise switches to another
// thread.
void leave_trap_slow(Thread& t);

// The end of every trap that stays with its thread. Returns if t may go straight back to user mode.
inline void leave_trap(Thread& t) {
    if (rt::must_look_up(t)) [[unlikely]]
        leave_trap_slow(t);
}

// The same after more than the result has changed: goes back with all registers.
[[noreturn]] void leave_trap_changed(Thread& t);

}  // namespace core
