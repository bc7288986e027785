// SPDX-License-Identifier: MIT
// Making threads and processes (clone(2)).
#pragma once
#include "linux/task/process.hpp"

namespace linux {

inline constexpr u64 kCloneSignalMask = 0xff, kCloneVm = 0x100, kCloneFs = 0x200, kCloneFiles = 0x400,
                     kCloneSighand = 0x800, kClonePidfd = 0x1000, kClonePtrace = 0x2000, kCloneVfork = 0x4000,
                     kCloneParent = 0x8000, kCloneThread = 0x10000, kCloneNewNs = 0x20000, kCloneSysvSem = 0x40000,
                     kCloneSetTls = 0x80000, kCloneParentSetTid = 0x100000, kCloneChildClearTid = 0x200000,
                     kCloneDetached = 0x400000, kCloneUntraced = 0x800000, kCloneChildSetTid = 0x1000000,
                     kCloneNewCgroup = 0x2000000, kCloneNewUts = 0x4000000, kCloneNewIpc = 0x8000000,
                     kCloneNewUser = 0x10000000, kCloneNewPid = 0x20000000, kCloneNewNet = 0x40000000,
                     kCloneIo = 0x80000000, kCloneClearSighand = 0x100000000, kCloneIntoCgroup = 0x200000000,
                     kCloneNewTime = 0x80;

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
