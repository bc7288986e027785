// SPDX-License-Identifier: MIT
// Who is told of an open file by signals, and by which (fcntl(2), "Managing signals").
#pragma once
#include "linux/sys/table.hpp"

namespace linux {

// F_SETOWN, F_GETOWN, their _EX forms, F_SETSIG, F_GETSIG, F_GETOWNER_UIDS. EINVAL: another command.
Leaf<i64> owner_command(Caller& c, fs::File& file, u32 command, u64 argument);

}  // namespace linux
