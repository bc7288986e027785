// SPDX-License-Identifier: MIT
// Two policies for what a fastpath tells the trace buffer. The paths are written once, over a policy: NoTrace, of which
// nothing is left in the code, and BufferTrace, which the traced twins use. One object for each pass through a path, made
// where it begins. (Of threads of the personality: port/kernel/trace_policy.hpp.)
#pragma once
#include "core/trace.hpp"
#include "hal/bind.hpp"

namespace core::trace {

struct NoTrace {
    explicit NoTrace(Path, u64 = 0) {}
    // It gave up at `test`; the slowpath follows, and counts it (ipc/counts.hpp).
    [[gnu::always_inline]] void failed(Test test) const { hal::Machine::leave_note(u8(test)); }
    // It went through, from thread to thread (their numbers; 0: none).
    void done(u64, u64) const {}
    // The same, with what `carry` costs.
    template <class Carry>
    void done_with(u64, u64, Carry&&) const {}
};

class BufferTrace {
public:
    // `what`: of an exception, what for.
    explicit BufferTrace(Path path, u64 what = abi::trace::kNoCall) : path_(path), what_(u16(what)) {}
    void failed(Test test) const {
        hal::Machine::leave_note(u8(test));
        fast_failed(path_, test, what_, start_);
    }
    void done(u64 from, u64 to) const { fast_done(path_, from, to, what_, start_); }
    template <class Carry>
    void done_with(u64 from, u64 to, Carry&& carry) const {
        carry();
        done(from, to);
    }

private:
    Path path_;
    u16 what_;
    u64 start_ = hal::Machine::cycles();
};

}  // namespace core::trace
