// SPDX-License-Identifier: MIT
// The end of a machine that cannot start. The host tool finds the line on the serial port and shows it as its own error.
#pragma once
#include "port/bind.hpp"

namespace boot {

[[noreturn]] inline void give_up(const char* what, Errno why) {
    if (why == Errno::kNoMem)
        port::logf("cannot start: {} (too little memory)", what);
    else
        port::logf("cannot start: {} (error {})", what, i32(why));
    hal::Machine::power_off(1);
}

}  // namespace boot
