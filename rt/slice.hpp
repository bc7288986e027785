// SPDX-License-Identifier: MIT
// The time slice of a CPU: a user thread's turn ends with it if others wait. One timer for each CPU, armed while a user thread
// runs and something else is ready there.
#pragma once
#include "lib/types.hpp"
#include "rt/timer.hpp"

namespace rt {

class Executor;

// On its own CPU only.
class Slice : public Timer {
public:
    static constexpr Nanoseconds kLength{4'000'000};  // as Debian's CONFIG_HZ=250 tick

    constexpr Slice() : Timer(&Slice::over) {}
    // May a thread that becomes ready on this CPU go before those that wait for their turn? Not as long as these would wait
    // for ever: when such threads have had the CPU for a slice, each that waits then has a slice.
    bool may_go_first();

private:
    static void over(Timer& t);
    static constexpr u32 kMostInOrder = 16;
    u32 in_order_ = 0;  // so many slices are to end before a thread may go first
    Nanoseconds last_end_{};
};

}  // namespace rt
