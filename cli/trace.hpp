// SPDX-License-Identifier: MIT
// Traces: what the kernel's buffer held (abi/trace.hpp) as JSON for viewers, and such a file as tables.
#pragma once
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "abi/trace.hpp"

namespace cli {

struct TraceInfo {
    std::string command;  // what was run
    std::string route;    // "native" for programs of the native interface
};

// What one CPU's ring held.
struct TraceBuffer {
    std::vector<abi::trace::Record> records;  // oldest first
    uint64_t lost = 0;                        // older ones
};
// Of each CPU. Throws Failure if `bytes` are no whole trace.
std::vector<TraceBuffer> read_trace(std::string_view bytes, uint64_t& cycle_hz);

struct TraceCounts {
    size_t records = 0;
    std::vector<uint64_t> lost;  // by CPU
};

// Writes the trace-event JSON of Chrome and Perfetto, in pieces. Throws Failure if `bytes` are no whole trace, before it
// has written anything.
TraceCounts write_trace_json(std::string_view bytes, const TraceInfo& info,
                             const std::function<void(std::string_view)>& out);

// Tables of such a file: per path, per call (the first `calls` by the cycles they took), per fastpath, and what was lost.
// Throws Failure for anything else; `name` is the file's.
std::string trace_summary(const std::string& json, const std::string& name, size_t calls = 20);

}  // namespace cli
