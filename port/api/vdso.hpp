// SPDX-License-Identifier: MIT
// The shared object that a port gives to programs, where the build has put it (vdso/x86_64/image.S).
#pragma once
#include <cstddef>
#include <span>

extern "C" const std::byte farcall_vdso_start[], farcall_vdso_end[];

namespace port {

inline std::span<const std::byte> linked_vdso() { return {farcall_vdso_start, farcall_vdso_end}; }

}  // namespace port
