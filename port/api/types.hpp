// SPDX-License-Identifier: MIT
// The types of the interface between a personality and a port.
#pragma once
#include <span>

#include "lib/result.hpp"
#include "lib/types.hpp"
#include "lib/user.hpp"

namespace port {

using lib::Access;
using lib::MapEntry;
using lib::Prot;
using lib::Trap;
using lib::UserRange;

// What the trap path may call directly, without a coroutine (the second tier of a trap).
enum class LeafOutcome : u8 {
    kDone,         // registers hold the result: back to the program
    kNeedsTask,    // nothing changed: resume the thread's coroutine with the trap
    kDoneChanged,  // done, and more than the result has changed (a signal frame): back with all registers
    kBlocked,      // nothing changed: Personality::again() when the wait of block_on() is over; or as
                   // kNeedsTask, which needs no support of the port
};

// Modules a call can belong to (docs/remote-route.md). A route says where each of them runs.
enum class Module : u8 { kTask, kMm, kFs, kNet, kSync, kTime, kHome };
inline constexpr u32 kModules = 7;

}  // namespace port
