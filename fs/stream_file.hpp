// SPDX-License-Identifier: MIT
// The program's standard streams (port::streams) as files. When they are not a terminal they look like pipes to a program
// whose other end is outside: FIFOs that cannot be sought.
#pragma once
#include "fs/file.hpp"

namespace fs {

// Descriptor n (0, 1, 2) of the first process. kNxIo if the machine has no such stream.
Result<Ref<File>> open_standard_stream(int n);

}  // namespace fs
