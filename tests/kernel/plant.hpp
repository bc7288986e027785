// SPDX-License-Identifier: MIT
// For tests: holds calls up where another CPU executes them, at a named step, until their home has detached and
// continued. So what happens to threads while their calls are in flight happens at that step, not by chance. Costs
// nothing where it is not asked for: it takes the place of functions that are called through pointers anyway.
#pragma once
#include <string_view>

namespace port::plant {

// before-serve   the server has found the word; it is pending
// after-serve    the call is done, and the home has not been notified
// before-queued  the call is about to be taken from its shard's queue (policies that queue)
// before-again   a call that blocked has been woken, and runs again
// after-again    it has run again
// `move-STEP`: the module fs is moved to another CPU meanwhile. Once, after route::configure. False: no such step.
bool hold_calls_at(std::string_view step);

}  // namespace port::plant
