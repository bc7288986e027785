// SPDX-License-Identifier: MIT
// What the test server does before its first program. The shipped server has servers/shipped/hooks.cpp, which does nothing:
// the kernel refuses the words of tests (boot/kernel/hooks.hpp). The test server has tests/server/hooks.cpp.
#pragma once
#include <string_view>

namespace servers::hooks {

// The personality is registered; the CPUs of the server have not been started.
void before_linux(std::string_view command_line);

}  // namespace servers::hooks
