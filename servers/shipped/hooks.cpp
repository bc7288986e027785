// SPDX-License-Identifier: MIT
// The shipped server has no tests in it.
#include "servers/linux/hooks.hpp"

namespace servers::hooks {

void before_linux(std::string_view) {}

}  // namespace servers::hooks
