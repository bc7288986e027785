// SPDX-License-Identifier: MIT
// The root coroutine of a thread: run user code, take the trap, do what it asks for, deliver signals, again.
#include "linux/thread.hpp"

#include "linux/arch/machine.hpp"
#include "linux/sys/table.hpp"
#include "rt/reclaim.hpp"

namespace linux {
namespace {

// The signal that an exception means (signal(7), the fault numbers of sigaction(2)).
SignalInfo signal_of(Thread& t, const port::Trap& trap) {
    using Kind = port::Trap::Kind;
    SignalInfo i;
    u64 at = t.regs().pc().value;
    switch (trap.kind) {
        case Kind::kDivide: i.signo = kSigFpe, i.code = kFpeIntDiv; break;
        case Kind::kFloat: i.signo = kSigFpe, i.code = arch::float_code(t, trap); break;
        case Kind::kIllegal: i.signo = kSigIll, i.code = kIllIllOpn; break;
        case Kind::kBreakpoint: i.signo = kSigTrap, i.code = kSiKernel, at = 0; break;
        case Kind::kStep: i.signo = kSigTrap, i.code = kTrapTrace; break;
        case Kind::kAlignment: i.signo = kSigBus, i.code = kBusAdrAln, at = 0; break;
        case Kind::kStack: i.signo = kSigBus, i.code = kSiKernel, at = 0; break;
        default: i.signo = kSigSegv, i.code = kSiKernel, at = 0; break;
    }
    i.fault.address = at;
    return i;
}

void fail_fault(Thread& t, const port::Trap& trap, FaultKind kind) {
    SignalInfo i;
    i.fault.address = trap.address.value;
    switch (kind) {
        case FaultKind::kSegvMapError: i.signo = kSigSegv, i.code = kSegvMapErr; break;
        case FaultKind::kSegvAccess: i.signo = kSigSegv, i.code = kSegvAccErr; break;
        case FaultKind::kBusAddress: i.signo = kSigBus, i.code = kBusAdrErr; break;
        default:
            port::logf("out of memory: killed process {} ({})", t.process().pid, std::string_view(t.comm));
            begin_group_exit(t.process(), kSigKill);
            return;
    }
    force_signal(t, i);
}

// An allocation has failed while memory is low: what was left behind by others (rt/reclaim.hpp, epochs) is awaited, and the
// call or fault that needs it is tried again so often.
constexpr u32 kMemoryTries = 3;

// A page fault that found no memory.
Task<FaultKind> patient_fault(Thread& t, port::Trap trap) {
    FaultKind kind = FaultKind::kNoMemory;
    for (u32 n = 0; kind == FaultKind::kNoMemory && n < kMemoryTries; ++n) {
        auto memory = rt::wait_for_memory();
        if (memory.valid()) co_await memory;
        auto wait = t.mm().fault_task(trap.address, trap.access, t.process().limit(kRlimStack));
        if (wait.valid()) kind = co_await wait;
    }
    co_return kind;
}

}  // namespace

FaultIn fault_in_now(Thread& t, const fs::UserMemory::Fault& range) {
    bool must_wait = false;
    u64 n = t.mm().fault_in_now(range.start, range.size, range.write, t.process().limit(kRlimStack), &must_wait);
    if (n >= range.size) return FaultIn::kReady;
    return must_wait ? FaultIn::kMustWait : FaultIn::kBad;
}

Task<Result<void>> fault_in_range(Thread& t, fs::UserMemory::Fault range) {
    auto wait = t.mm().fault_in(range.start, range.size, range.write, t.process().limit(kRlimStack));
    if (!wait.valid()) co_return Errno::kNoMem;
    u64 n = co_await wait;
    if (n < range.size) co_return Errno::kFault;
    co_return lib::kOk;
}

Task<Result<void>> put_u32(Thread& t, UserAddr at, u32 value) {
    for (;;) {
        auto r = t.user().write(at, &value, sizeof value);
        if (r.error() != Errno::kNeedsFault) co_return r;
        if (fault_in_now(t, t.user().fault()) == FaultIn::kReady) continue;
        CO_TRY(co_await fault_in_range(t, t.user().fault()));
    }
}

void finish_syscall(Thread& t, Result<i64> r) {
    if (r.ok()) {
        t.regs().set_syscall_result(r.value());
    } else if (u32(r.error()) >= u32(Errno::kRestartSys) && u32(r.error()) <= u32(Errno::kRestartBlock)) {
        // Signals decide what becomes of it.
        t.restart_kind = r.error();
        t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
    } else {
        t.regs().set_syscall_result(-i64(r.error()));
    }
}

Task<void> thread_main(Thread& t) {
    if (t.set_child_tid.value != 0) {
        auto put = put_u32(t, t.set_child_tid, u32(t.tid.value));
        if (put.valid()) (void)co_await put;
    }
    for (;;) {
        // Before user mode: signals, stops, the end. Everything that could be to do has set a bit in `work`.
        while (t.work.load(std::memory_order_relaxed) != 0) {
            co_await t.at_home();
            Attend what = attend(t);
            if (what == Attend::kExit) {
                if (!exit_user_memory_now(t)) {
                    auto last = exit_user_memory(t);
                    if (last.valid()) co_await last;
                }
                co_await t.at_home();
                exit_thread(t);
                co_return;
            }
            if (what == Attend::kStopped) {
                for (;;) {
                    u32 seen = t.process().signals.resumed.sequence();
                    if (!is_stopped(t)) break;
                    auto wait = rt::wait_on(t.process().signals.resumed, seen, "stopped: SIGCONT");
                    wait.uninterruptible();
                    (void)co_await wait;
                }
                t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
            } else if (what == Attend::kFault) {
                auto wait = fault_in_range(t, t.user().fault());
                if (!wait.valid() || !(co_await wait).ok()) signal_frame_failed(t);
                t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
            }
        }

        port::Trap trap = co_await t.port::UserThread::user();

        if (trap.kind == port::Trap::Kind::kSyscall) {
            Errno outcome = std::exchange(t.leaf_outcome, Errno::kOk);
            if (outcome == Errno::kOk) continue;  // finished in the leaf tier; signals are waiting
            if (u32(outcome) < u32(Errno::kNeedsTask) && outcome != Errno::kNoMem) {
                t.forget_file();
                finish_syscall(t, outcome);
                continue;
            }
            u64 number = u32(t.regs().syscall_number());  // the upper half does not count
            const SyscallRow* row =
                number < kSyscallLimit && syscall_table[number].name ? &syscall_table[number] : nullptr;
            if (!row) {
                note_unknown_call(t, number);
                t.regs().set_syscall_result(-i64(Errno::kNoSys));
                continue;
            }
            t.syscall_number = number;
            Result<i64> r = outcome;
            bool given_up = false;  // the range could not be had as a whole: the task form, if any, has its own way
            u32 memory_tries = 0;
            for (;;) {
                if (r.error() == Errno::kNoMem) {
                    if (memory_tries++ == kMemoryTries || !rt::memory_is_low()) break;
                    auto memory = rt::wait_for_memory();
                    if (memory.valid()) co_await memory;
                    given_up = false;
                    t.blocked_leaf.again = nullptr;
                    r = Errno::kNeedsTask;
                    if (row->leaf) r = row->leaf(t, t.regs().frame());
                    if (r.ok()) break;
                    continue;
                }
                if (r.error() == Errno::kNeedsFault) {
                    FaultIn in = fault_in_now(t, t.user().fault());
                    if (in == FaultIn::kMustWait) {
                        auto wait = fault_in_range(t, t.user().fault());
                        Result<void> got = Errno::kNoMem;
                        if (wait.valid()) got = co_await wait;
                        if (!got.ok()) in = FaultIn::kBad;
                        if (got.error() == Errno::kNoMem) {
                            r = Errno::kNoMem;
                            continue;
                        }
                    }
                    // Perhaps for want of memory, which is told from other failures by another try.
                    if (in == FaultIn::kBad && memory_tries < kMemoryTries && rt::memory_is_low()) {
                        r = Errno::kNoMem;
                        continue;
                    }
                    if (in == FaultIn::kBad) {
                        if (given_up || !row->task) {
                            r = Errno::kFault;
                            break;
                        }
                        given_up = true;
                        r = Errno::kNeedsTask;
                    } else if (row->leaf && !given_up) {
                        r = row->leaf(t, t.regs().frame());
                    } else {
                        r = Errno::kNeedsTask;
                    }
                }
                if (r.error() == Errno::kNeedsTask && t.blocked_leaf.again) {
                    // The port does not block leaves, or this one was run from here.
                    Thread::Blocked b = t.blocked_leaf;
                    t.blocked_leaf.again = nullptr;
                    auto wait = rt::wait_on(*b.queue, b.seen, b.what);
                    r = b.again(t, (co_await wait).ok() ? rt::Wake::kWoken : rt::Wake::kInterrupted);
                    if (r.error() == Errno::kNeedsTask || r.error() == Errno::kNeedsFault || r.error() == Errno::kNoMem)
                        continue;
                    break;
                }
                if (r.error() == Errno::kNeedsTask) {
                    if (!row->task) {
                        port::logf("{}: leaf form must wait, but there is no task form", row->name);
                        r = Errno::kNoSys;
                        break;
                    }
                    r = co_await row->task(t, t.regs().frame());
                }
                if (r.error() == Errno::kNoMem) continue;
                if (r.error() != Errno::kNeedsFault) break;
                if (t.work.load(std::memory_order_relaxed) & kWorkExit) {
                    r = Errno::kFault;
                    break;
                }
            }
            t.forget_file();
            if (t.regs().entered_by_syscall()) finish_syscall(t, std::move(r));
        } else if (trap.kind == port::Trap::Kind::kPageFault) {
            FaultKind kind = t.leaf_fault;
            for (bool patient = false;
                 kind == FaultKind::kMustWait || (kind == FaultKind::kNoMemory && !patient && rt::memory_is_low());) {
                patient = kind == FaultKind::kNoMemory;
                auto wait = patient ? patient_fault(t, trap)
                                    : t.mm().fault_task(trap.address, trap.access, t.process().limit(kRlimStack));
                kind = FaultKind::kNoMemory;
                if (wait.valid()) kind = co_await wait;
            }
            if (kind != FaultKind::kResolved) {
                t.last_fault = trap;
                fail_fault(t, trap, kind);
            }
        } else if (trap.kind != port::Trap::Kind::kKick) {
            t.last_fault = trap;
            force_signal(t, signal_of(t, trap));
        }
    }
}

}  // namespace linux
