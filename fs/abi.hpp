// SPDX-License-Identifier: MIT
// The numbers and structures of Linux's ABI (abi/linux/) by their plain names in fs/, whose interfaces take them.
#pragma once

namespace abi {}
namespace fs {
using namespace abi;  // NOLINT: what this folder implements
}  // namespace fs
