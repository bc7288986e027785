// SPDX-License-Identifier: MIT
// signalfd(2): pending signals as a file. A reader or poller sees its own signals, so both need the caller
// (File::read_for). An epoll set sees those of the process that made the file.
#pragma once
#include "linux/sys/file_calls.hpp"

namespace linux {

Leaf<Fd> sys_signalfd(Caller&, Fd fd, UserAddr mask, u64 size);
Leaf<Fd> sys_signalfd4(Caller&, Fd fd, UserAddr mask, u64 size, u32 flags);

}  // namespace linux
