// SPDX-License-Identifier: MIT
// Clocks and durations of the ABI (clock_gettime(2)) in nanoseconds.
#pragma once
#include "abi/linux/stat.hpp"
#include "abi/linux/time.hpp"
#include "linux/task/process.hpp"

namespace linux {

inline constexpr u64 kNanosPerSecond = 1'000'000'000;
inline constexpr u64 kForever = u64{1} << 62;  // longer spans are cut: 146 years

inline bool is_valid(const abi::Timespec& t) {
    return t.seconds >= 0 && t.nanoseconds >= 0 && u64(t.nanoseconds) < kNanosPerSecond;
}
constexpr u64 nanos_of(i64 seconds, u64 nanoseconds) {
    return u64(seconds) >= kForever / kNanosPerSecond ? kForever : u64(seconds) * kNanosPerSecond + nanoseconds;
}
// EINVAL for what is no duration.
inline Result<u64> duration_of(const abi::Timespec& t) {
    if (!is_valid(t)) return Errno::kInval;
    return nanos_of(t.seconds, u64(t.nanoseconds));
}
inline Result<u64> duration_of(const abi::Timeval& t) {
    if (t.seconds < 0 || t.microseconds < 0 || t.microseconds >= 1'000'000) return Errno::kInval;
    return nanos_of(t.seconds, u64(t.microseconds) * 1000);
}
// The same as a division, for less than 2^63 (292 years, more than a clock shows): 2^93 / 10^9, rounded up, is less than
// 2^30 / 2^93 too much for each of them.
constexpr u64 whole_seconds(u64 ns) {
    using Wide = unsigned __int128;
    constexpr Wide kInverse = ((Wide{1} << 93) + kNanosPerSecond - 1) / kNanosPerSecond;
    static_assert(kInverse >> 64 == 0 && kInverse * kNanosPerSecond - (Wide{1} << 93) < (1 << 30));
    return u64((ns * kInverse) >> 93);
}
constexpr abi::Timespec to_timespec(u64 ns) { return {i64(ns / kNanosPerSecond), i64(ns % kNanosPerSecond)}; }
inline Nanoseconds deadline_in(u64 ns) {
    return ns >= kForever ? Nanoseconds::never() : port::Port::now() + Nanoseconds{ns};
}
inline u64 realtime_now() { return port::Port::now().value + port::Port::realtime_offset().value; }
// A CLOCK_REALTIME instant as one of the monotonic clock; the past becomes 1.
inline Nanoseconds from_realtime(u64 ns) {
    if (ns >= kForever) return Nanoseconds::never();
    u64 offset = port::Port::realtime_offset().value;
    return Nanoseconds{ns > offset ? ns - offset : 1};
}

}  // namespace linux
