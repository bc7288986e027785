// SPDX-License-Identifier: MIT
// Waiting for children (wait(2)).
#pragma once
#include "abi/linux/wait.hpp"
#include "linux/task/process.hpp"

namespace linux {

struct WaitRequest {
    enum class Which : u8 { kAny, kPid, kGroup } which = Which::kAny;
    i32 number = 0;
    u32 options = 0;
    const Thread* maker = nullptr;  // __WNOTHREAD: only what this thread has made
};
struct WaitReport {
    i32 pid = 0;  // 0: WNOHANG, and no child is ready
    u32 uid = 0;
    i32 code = 0;    // CLD_*
    i32 status = 0;  // as wait4 stores it
    Usage usage;
};

// One look at the children. The sink copies the report to the program while nothing has been consumed yet; an error of
// its that asks for more (kNeedsFault) leaves the child as it is. kChild: none to wait for; kNeedsTask: none is ready.
using WaitSink = lib::FunctionRef<Leaf<void>(const WaitReport& r)>;
// Of many children a call visits some: kNeedsTask, and the cursor, if there is one, holds where to continue.
struct WaitCursor {
    Ref<Process> next;  // null: all have been looked at
    bool any = false;   // one of the wanted kind was among those before
};
Leaf<i32> try_wait(Process& p, const WaitRequest& request, WaitSink sink, WaitCursor* cursor = nullptr);

}  // namespace linux
