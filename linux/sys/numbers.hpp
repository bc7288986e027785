// SPDX-License-Identifier: MIT
// System call numbers of Linux x86_64 (arch/x86/entry/syscalls/syscall_64.tbl), resolved by architecture.
#pragma once
#include "abi/linux/syscall_x86_64.hpp"
