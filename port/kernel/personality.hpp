// SPDX-License-Identifier: MIT
// The personality whose threads run, for the trap path.
#pragma once
#include "port/bind.hpp"

namespace port {

inline constinit Personality<UserThread> personality{};  // set_personality()

inline UserThread& user_thread(core::Thread& t) { return static_cast<UserThread&>(t); }

}  // namespace port
