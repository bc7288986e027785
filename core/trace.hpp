// SPDX-License-Identifier: MIT
// The trace buffer: per CPU a ring of records, one for each path through the kernel that was taken. Off, it costs the paths
// one predicted branch (they have a traced twin). Written by its own CPU only; read when tracing is stopped, or as a
// snapshot whose oldest records may be overwritten meanwhile.
#pragma once
#include <atomic>
#include <span>

#include "abi/trace.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace core::trace {

using Path = abi::trace::Path;
using Test = abi::trace::Test;
using Record = abi::trace::Record;

// Read on every path.
extern std::atomic<bool> on;

Result<void> start();  // allocates the rings on first use
void stop();
// Copies records of all CPUs, oldest first of each, and forgets them. The number copied.
size_t take(std::span<Record> out);

// A fastpath that went through, or gave up at `test`.
void fast_done(Path path, u64 thread, u64 partner, u64 start);
void fast_failed(Path path, Test test, u64 start);
// A slowpath begins on this CPU; it ends where its caller goes on, or another thread is entered, or the CPU has nothing to
// do: what comes after that is waiting.
void begin_slow(Path path, u64 thread, u64 detail);
void end_slow_now();
inline void end_slow() {
    if (on.load(std::memory_order_relaxed)) [[unlikely]]
        end_slow_now();
}

}  // namespace core::trace
