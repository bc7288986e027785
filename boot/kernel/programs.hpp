// SPDX-License-Identifier: MIT
// The first programs of the native interface that a machine has: the Linux server, a native program, or both. One that has
// ended, or has died, is taken away with all that it made, while the other goes on; the machine ends with the last.
#pragma once
#include "core/cap/cap.hpp"
#include "core/ipc/thread.hpp"

namespace boot::programs {

enum class Kind : u8 { kNative, kLinuxServer };
inline constexpr u32 kKinds = 2;

// Of the system capabilities, which say whose they are. A native program alone may badge its own.
inline constexpr u64 kServerBadge = 1, kBesideBadge = 2;
Kind kind_of(u64 badge);

// The kernel's own capabilities for what a program is given: whatever that does with its copies, all that was derived from
// these can be found. Once for each program.
inline constexpr u32 kGivenSlots = 16;
Result<core::CapTable*> make_given();
// Before its first thread runs. `given`: at the slots at which the program has its copies.
void add(Kind kind, core::CapTable& given, core::SpaceObject& space, core::NativeThread& first);

// It ends with this wait(2) status; only the first of its ends counts. Of the Linux server: its first program has ended.
// From any CPU, also in a trap of one of its threads. The status of the machine is that of the Linux server, or if that is 0
// or there is none, of the native program.
void ended(Kind kind, i32 wait_status);
// kShutDown: for the Linux server that is a death.
void shut_down(u64 badge, i32 status);
// A thread without a handler has stopped at a trap. Fatal for the program if it is a server or if this is its first thread.
void thread_failed(core::NativeThread& t, const lib::Trap& trap);
// All threads of the program (a Kind) stand still, for ever: it ends, the native one with status kNobodyLeft.
inline constexpr i32 kNobodyLeft = 72;
void nobody_left(u8 kind);

}  // namespace boot::programs
