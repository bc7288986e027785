// SPDX-License-Identifier: MIT
// The trace buffer: per CPU a ring of records, one for each path through the kernel that was taken. Off, it costs the
// paths one predicted branch, or nothing: they have a traced twin. Written by its own CPU only; read when tracing is
// stopped, or as a snapshot whose oldest records may be overwritten concurrently.
#pragma once
#include <atomic>
#include <span>

#include "abi/trace.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"
#include "lib/user.hpp"

namespace core::trace {

using Path = abi::trace::Path;
using Reason = abi::trace::Reason;
using Test = abi::trace::Test;
using Record = abi::trace::Record;

// Read on every path.
extern std::atomic<bool> on;

// Allocates the rings on first use: so many records a CPU, rounded up to a power of two. kNoMem; kInval: too many.
inline constexpr u64 kUsualRecords = 16384, kMostRecords = u64{1} << 22;
Result<void> start(u64 records = kUsualRecords);
void stop();
// Copies records of one CPU, or of all, oldest first of each, and forgets them. The number copied.
size_t take(CpuId cpu, std::span<Record> out);
size_t take(std::span<Record> out);
// Those that take() will find, and those that were overwritten before it could.
struct Left {
    u64 records, lost;
};
Left left(CpuId cpu);
// For dumps, while others may write: calls show(record) for the last ones of a CPU, without forgetting them.
void last_records(CpuId cpu, u32 count, void (*show)(const Record&));

void add(const Record& record);

// A fastpath that went through, or gave up at `test`.
void fast_done(Path path, u64 thread, u64 partner, u64 detail, u64 start);
void fast_failed(Path path, Test test, u64 detail, u64 start);
// The detail of a program's call, as far as it can be told from the others.
inline u64 call_of(u64 number) { return number < abi::trace::kKick ? number : u64{abi::trace::kNoCall}; }
inline u64 call_of(const lib::Trap& trap) {
    return trap.kind == lib::Trap::Kind::kPageFault ? abi::trace::kPageFault
           : trap.kind == lib::Trap::Kind::kKick    ? abi::trace::kKick
                                                    : abi::trace::kException;
}
// A slowpath begins on this CPU; it ends where its caller continues, or another thread is entered, or the CPU has
// nothing to do: what comes after that is waiting.
void begin_slow(Path path, u64 thread, u64 detail);
void end_slow_now(Reason reason, i64 result = 0);
void enter_now(const u64& thread);
void interrupt_now(u32 vector);
// The CPU goes to another thread: what was under way ends. A moment for that, if it is another one than the last.
inline void enter(const u64& thread) {  // by reference: loaded only if tracing is on
    if (on.load(std::memory_order_relaxed)) [[unlikely]]
        enter_now(thread);
}
inline void end_slow(Reason reason) {
    if (on.load(std::memory_order_relaxed)) [[unlikely]]
        end_slow_now(reason);
}
inline void interrupt(u32 vector) {
    if (on.load(std::memory_order_relaxed)) [[unlikely]]
        interrupt_now(vector);
}

}  // namespace core::trace
