// SPDX-License-Identifier: MIT
// What the test kernel does between the steps of boot_main. The shipped kernel has boot/shipped/hooks.cpp, which
// refuses the words of tests; the test kernel has tests/kernel/hooks.cpp (cmake/kernel.cmake). All run in the job
// "boot", on CPU 0.
#pragma once
#include "boot/kernel/cmdline.hpp"
#include "rt/task.hpp"

namespace boot::hooks {

// Words on the command line that only the test kernel takes.
inline constexpr std::string_view kTestWords[] = {"ktest", "check", "plant", "hold", "mutants", "mutant"};

// Before anything else: stops if a word is not for this kernel.
void check_words(const CommandLine& words);
// The routes are configured; there are no streams yet. May run tests instead of a program, and does not return then.
Task<void> before_streams(const CommandLine& words);
// Before the first program, of the native interface and of Linux. Stops if a word's value is wrong.
void before_native(const CommandLine& words);
Task<void> before_linux(const CommandLine& words);
// The first program of Linux is ready to run, and has not run yet.
void after_linux(const CommandLine& words);

}  // namespace boot::hooks
