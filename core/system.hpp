// SPDX-License-Identifier: MIT
// What the core needs of the boot code that started it, for the calls of abi/native.hpp that reach beyond it.
#pragma once
#include <span>

#include "core/ipc/thread.hpp"

namespace core {

struct System {
    size_t (*write)(std::span<const std::byte> bytes);  // the number taken
    // The program whose system capability has this badge ends, and the machine with the last program. Returns.
    void (*shut_down)(u64 badge, i32 status);
    bool (*irq_line_exists)(u64 line);
    Result<void> (*irq_bind)(u64 line, ObjectRef<Notification> to, u64 bits);  // empty: unbind
    Result<void> (*irq_ack)(u64 line);
    Result<i64> (*trace)(NativeThread& t, u64 operation, u64 address, u64 size);
    // kConsole: native::ConsoleOp and its arguments. `badge`: of the system capability that was used.
    Result<i64> (*console)(NativeThread& t, u64 badge, u64 operation, u64 a, u64 b, u64 c);
    // A trap of a thread that has no handler: it has stopped.
    void (*thread_failed)(NativeThread& t, const lib::Trap& trap);
    // The first program (NativeThread::program) has no thread left that can go on. From any CPU, with no lock held.
    void (*nobody_left)(u8 program);
};
extern const System* native_system;  // set before the first native thread runs

}  // namespace core
