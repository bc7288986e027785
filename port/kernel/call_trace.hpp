// SPDX-License-Identifier: MIT
// What a thread of the personality leaves in the trace buffer: its calls, faults and requests from outside, in
// stretches of time in which a CPU works for it. Between two stretches it waits, and no cycles count.
//
// A CallTrace belongs to the owner of the thread, as its registers do. Used only if tracing was requested at boot:
// then threads take the traced twins of their paths (user_thread.cpp).
#pragma once
#include "core/trace.hpp"
#include "hal/bind.hpp"

namespace port {

class CallTrace {
public:
    using Path = core::trace::Path;
    using Reason = core::trace::Reason;
    using Context = hal::Machine::UserContext;
    // Before the first thread.
    static inline constinit bool enabled = false;

    void clear() { open_ = false; }
    // A trap, or a module's turn: the first stretch begins. `detail`: abi::trace.
    void begin(Path path, u32 thread, u64 detail, const Context& context, u32 partner = 0);
    // It ends for this reason; the next one begins at once.
    void go_on(Reason why, Path next);
    // A wait may be necessary, or another CPU takes over. If neither happens, the stretch continues.
    void pause() { paused_ = hal::Machine::cycles(); }
    void resume(Path next);
    // The thread continues to user mode, with what is in its registers.
    void finish(const Context& context) { finish_at(context, hal::Machine::cycles()); }
    // The same, which happened at `then`.
    void finish_late(const Context& context, Nanoseconds then);
    // A module's answer, before the thread's home sees it.
    void finish_served(i64 result);
    void finish_ended();

    // The caller's side of a call that another CPU executes. One of each CPU: the thread is in the other's hands.
    static void send(u32 thread, u64 number, u32 to);
    static void answered(i64 result);
    static void left();

private:
    void finish_at(const Context& context, u64 end);
    void write(u64 end, Reason reason, u64 error = 0);
    u64 start_, paused_, sum_, pc_, detail_;
    u32 thread_, partner_;
    Path path_;
    u8 cpu_;
    bool open_;
};

}  // namespace port
