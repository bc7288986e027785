// SPDX-License-Identifier: MIT
// The numbers and structures of Linux's ABI (abi/linux/) by their plain names in linux/, which implements it.
#pragma once

namespace abi {}
namespace linux {
using namespace abi;  // NOLINT: what this folder implements
}  // namespace linux
