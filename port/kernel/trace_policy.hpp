// SPDX-License-Identifier: MIT
// Two policies for what a thread of the personality tells the trace buffer on its way through the kernel. The paths are
// written once, over a policy: NoTrace, of which nothing is left in the code, and BufferTrace (call_trace.hpp), which is in use
// if tracing was asked for at boot.
#pragma once
#include "port/bind.hpp"
#include "port/kernel/personality.hpp"

namespace port {

struct NoTrace {
    static void leaf_begins(UserThread&) {}
    static void fault_begins(UserThread&, const Trap&) {}
    static void needs_task(UserThread&) {}
    static void waits(UserThread&) {}
    static void runs_again(UserThread&) {}  // the leaf that waited
    static void ends(UserThread&) {}
    static void enters_user(UserThread&) {}
    static void kicked(UserThread&) {}
    // Its home, of a call that another CPU executes.
    static void sends(UserThread&, u64 number, CpuId to) {}
    static void answered(UserThread&) {}
    static void left() {}
    // The CPU that executes it. asked: the call word.
    static void serves(UserThread&, u64 asked, u32 queue) {}
    static void served(UserThread&) {}
};

struct BufferTrace {
    using Path = CallTrace::Path;
    using Reason = CallTrace::Reason;
    static void leaf_begins(UserThread& t) {
        const u64 number = u32(t.context.syscall_number());
        t.trace_.begin(Path::kLeaf, personality.number_of(t),
                       abi::trace::detail(number < abi::trace::kKick ? number : abi::trace::kNoCall), t.context);
    }
    static void fault_begins(UserThread& t, const Trap& trap) {
        const bool page = trap.kind == Trap::Kind::kPageFault;
        t.trace_.begin(Path::kFault, personality.number_of(t),
                       abi::trace::fault_detail(page ? abi::trace::kPageFault : abi::trace::kException,
                                                page ? trap.address.value : 0),
                       t.context);
    }
    static void needs_task(UserThread& t) { t.trace_.go_on(Reason::kNeedsTask, Path::kTask); }
    static void waits(UserThread& t) { t.trace_.pause(); }
    static void runs_again(UserThread& t) { t.trace_.resume(Path::kLeafAgain); }
    static void ends(UserThread& t) { t.trace_.finish(t.context); }
    static void enters_user(UserThread& t) { core::trace::enter(personality.number_of(t)); }
    static void kicked(UserThread& t) {
        t.trace_.finish_late(t.context, t.trapped_);
        t.trace_.begin(Path::kTask, personality.number_of(t), abi::trace::kKick, t.context);
    }
    static void sends(UserThread& t, u64 number, CpuId to) {
        CallTrace::send(personality.number_of(t), number, to.value);
    }
    static void answered(UserThread& t) { CallTrace::answered(t.context.syscall_result()); }
    static void left() { CallTrace::left(); }
    static void serves(UserThread& t, u64 asked, u32 queue) {
        const u64 number = (asked & rt::kCallFault) ? abi::trace::kPageFault : t.call_.frame.syscall_number();
        t.trace_.begin(Path::kService, personality.number_of(t), abi::trace::detail(number, queue), t.context,
                       t.home().cpu().value);
    }
    static void served(UserThread& t) { t.trace_.finish_served(t.call_.frame.syscall_result()); }
};

}  // namespace port
