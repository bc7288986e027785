// SPDX-License-Identifier: MIT
#include "rt/user_state.hpp"

namespace rt {

void OwnTurn::judge(Nanoseconds now, u64 user_ns) {
    if (kept_out_since_ != Nanoseconds{} && now - kept_out_since_ < kKeptOut) return;
    // What counts is the time between two calls of keep_out(): an interrupt that follows at once is no progress,
    // whatever the clock shows.
    bool starved = kept_out_since_ != Nanoseconds{} && user_ns - user_ns_then_ < times_ * kProgress;
    kept_out_since_ = now;
    times_ = 0;
    user_ns_then_ = user_ns;
    if (!starved || granted_) return;
    granted_ = true;
    until_ = {};
}

bool OwnTurn::look(TimerQueue& timers) {
    Nanoseconds now = hal::Machine::now();
    if (until_ == Nanoseconds{}) {
        until_ = now + kTurn;
        timers.arm(timer_, until_);
        return true;
    }
    if (now < until_) return true;
    granted_ = false;
    cancel_timer(timer_);
    kept_out_since_ = {};
    return false;
}

}  // namespace rt
