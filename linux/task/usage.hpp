// SPDX-License-Identifier: MIT
// Resource usage as programs see it (getrusage(2)).
#pragma once
#include "abi/linux/task.hpp"
#include "linux/task/process.hpp"

namespace linux {

constexpr abi::Timeval to_timeval(u64 ns) { return {i64(ns / 1'000'000'000), i64(ns % 1'000'000'000 / 1000)}; }
inline abi::Rusage to_abi(const Usage& u) {
    abi::Rusage r{};
    r.user = to_timeval(u.times.user);
    r.system = to_timeval(u.times.system);
    r.maxrss = i64(u.max_rss_kib);
    r.minflt = i64(u.minor_faults);
    r.majflt = i64(u.major_faults);
    r.nvcsw = i64(u.voluntary_switches);
    r.nivcsw = i64(u.involuntary_switches);
    return r;
}

}  // namespace linux
