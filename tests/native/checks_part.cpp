// SPDX-License-Identifier: MIT
// The names of the kernel's checks, in this program too.
#include "core/checks.cpp"
