// SPDX-License-Identifier: MIT
// The user side of the server's calls (abi/server.hpp). Errors are abi::Errno.
#pragma once
#include <span>
#include <string_view>

#include "abi/server.hpp"
#include "lib/result.hpp"

namespace sysapi {

// The machine's system call instruction (hal/user/machine.cpp).
extern "C" i64 hal_native_call(u64 number, u64 a, u64 b, u64 c, u64 d);

inline Result<u64> call(abi::server::Call number, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0) {
    i64 r = hal_native_call(number, a, b, c, d);
    if (r < 0) return Errno(-r);
    return u64(r);
}

// The page of messages that this server shares with the kernel.
inline abi::server::Message& message() { return *reinterpret_cast<abi::server::Message*>(abi::server::kMessagePage); }
inline const abi::server::BootInfo& boot_info() {
    return *reinterpret_cast<const abi::server::BootInfo*>(abi::server::kBootInfo);
}

// Writes to the kernel's log; errors are ignored.
inline void log(std::string_view text) { (void)call(abi::server::kLog, u64(text.data()), text.size()); }
// Time since boot.
inline Nanoseconds now() { return Nanoseconds{call(abi::server::kClock).take()}; }

}  // namespace sysapi
