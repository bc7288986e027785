// SPDX-License-Identifier: MIT
#include "rt/slice.hpp"

#include <algorithm>

#include "rt/executor.hpp"

namespace rt {

void Slice::over(Timer& t) {
    Slice& slice = static_cast<Slice&>(t);
    Executor& ex = Executor::current();
    Priority waiting = ex.queue.best_user_level();
    if (waiting == kBackFromWait) waiting = Priority::kUser;  // for them they wait
    slice.last_end_ = hal::Machine::now();
    if (slice.in_order_ != 0)
        --slice.in_order_;
    else if (waiting != Priority::kBackground)
        slice.in_order_ = std::min(ex.queue.count(waiting), kMostInOrder);
    ex.attract(kAttnReschedule);
}

bool Slice::may_go_first() {
    // No slice has ended for a while: nobody waits any more.
    if (in_order_ != 0 && hal::Machine::now() - last_end_ > Nanoseconds{2 * kLength.value}) in_order_ = 0;
    return in_order_ == 0;
}

}  // namespace rt
