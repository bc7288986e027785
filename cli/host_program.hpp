// SPDX-License-Identifier: MIT
// The program of `run` and `oracle`: found in the root, or copied from the host with what it needs to start: a script's
// interpreter (and the program that env is to find), an ELF file's interpreter and shared libraries. Libraries are found as
// ld.so(8) finds them, by reading the files; no program of the host is run. What a program opens later (modules of Python,
// locales, plugins) is not copied.
#pragma once
#include <string>
#include <vector>

#include "cli/root.hpp"

namespace cli {

// Adds to `extra` what the root lacks of argv[0]; argv[0] may be rewritten. Throws Failure with status 127 if the program,
// an interpreter or a library is neither in the root nor on the host. What the root has is not replaced.
void provide_program(const RootImage& root, CpioWriter& extra, std::vector<std::string>& argv);

}  // namespace cli
