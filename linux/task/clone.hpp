// SPDX-License-Identifier: MIT
// Making threads and processes (clone(2)).
#pragma once
#include "abi/linux/sched.hpp"
#include "linux/task/process.hpp"

namespace linux {

struct CloneRequest {
    u64 flags = 0;  // without the signal
    i32 exit_signal = 0;
    UserAddr stack{};  // the child's stack pointer; 0: the caller's
    UserAddr parent_tid{}, child_tid{};
    u64 tls = 0;
};

// The child's number. EINVAL, EAGAIN, ENOMEM; kRestartNoIntr: a signal came first. With kCloneVfork it waits for the child.
TaskResult do_clone(Caller& caller, CloneRequest r);

}  // namespace linux
