// SPDX-License-Identifier: MIT
// signalfd(2): pending signals as a file. Who reads it gets his own signals, so a read needs the caller: it is done by
// transfer(), through read_signals().
#pragma once
#include "linux/sys/file_calls.hpp"

namespace linux {

Leaf<size_t> read_signals(Caller& c, fs::File& file, const fs::UserSpans& to);
Leaf<Fd> sys_signalfd(Caller&, Fd fd, UserAddr mask, u64 size);
Leaf<Fd> sys_signalfd4(Caller&, Fd fd, UserAddr mask, u64 size, u32 flags);

}  // namespace linux
