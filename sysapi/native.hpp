// SPDX-License-Identifier: MIT
// The user side of the native interface (abi/native.hpp): one inline function per call. Errors are abi::Errno.
#pragma once
#include <span>
#include <string_view>

#include "abi/native.hpp"
#include "lib/result.hpp"

namespace sysapi {

// The machine's system-call instruction. hal/user supplies it: hal_native_call in hal/user/<arch>.
extern "C" i64 hal_native_call(u64 number, u64 a, u64 b, u64 c, u64 d);

inline Result<u64> call(abi::native::Call number, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0) {
    i64 r = hal_native_call(number, a, b, c, d);
    if (r < 0) return Errno(-r);
    return u64(r);
}

inline abi::native::Message& message() { return *reinterpret_cast<abi::native::Message*>(abi::native::kMessagePage); }
inline const abi::native::BootInfo& boot_info() {
    return *reinterpret_cast<const abi::native::BootInfo*>(abi::native::kBootInfo);
}

inline void log(std::string_view text) { (void)call(abi::native::kLog, u64(text.data()), text.size()); }
inline Nanoseconds now() { return Nanoseconds{call(abi::native::kClock).take()}; }

}  // namespace sysapi
