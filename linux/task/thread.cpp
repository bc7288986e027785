// SPDX-License-Identifier: MIT
// The root coroutine of a thread: run user code, take the trap, handle it, deliver signals, repeat.
#include "linux/task/thread.hpp"

#include "fs/walk.hpp"
#include "linux/arch/machine.hpp"
#include "linux/call_attempt.hpp"

namespace linux {
namespace {

// The signal that an exception means (signal(7), the fault numbers of sigaction(2)).
SignalInfo signal_of(Thread& t, const port::Trap& trap) {
    using Kind = port::Trap::Kind;
    SignalInfo i;
    u64 at = t.call_regs().pc().value;
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

// A page fault that found no memory.
Task<FaultKind> patient_fault(Thread& t, port::Trap trap) {
    FaultKind kind = FaultKind::kNoMemory;
    for (u32 n = 0; kind == FaultKind::kNoMemory && n < kMemoryTries; ++n) {
        auto memory = rt::wait_for_memory();
        if (memory.valid()) co_await memory;
        auto wait = t.mm().fault_task(trap.address, trap.access, t.process().stack_limits());
        if (wait.valid()) kind = co_await wait;
    }
    co_return kind;
}

}  // namespace

FaultIn fault_in_now(Thread& t, const fs::UserMemory::Fault& range) {
    bool must_wait = false;
    auto got = t.mm().fault_in_now(range.start, range.size, range.write, t.process().stack_limits(), &must_wait);
    if (got >= range.size) return FaultIn::kReady;
    return must_wait || got.no_memory ? FaultIn::kMustWait : FaultIn::kBad;
}

Task<Accessible> fault_in_patiently(Thread& t, fs::UserMemory::Fault range) {
    for (u32 in_vain = 0;; ++in_vain) {
        auto wait = t.mm().fault_in(range.start, range.size, range.write, t.process().stack_limits());
        Accessible got{Errno::kNoMem};
        if (wait.valid()) got = co_await wait;
        if (!got.no_memory || in_vain == kMostEnds) co_return got;
        ForMemory outcome;
        FIND_MEMORY(t, outcome);
        if (outcome != ForMemory::kTryAgain) co_return got;
    }
}

Task<Result<void>> fault_in_range(Thread& t, fs::UserMemory::Fault range) {
    auto wait = fault_in_patiently(t, range);
    if (!wait.valid()) co_return Errno::kNoMem;
    const Accessible got = co_await wait;
    if (got < range.size) co_return got.no_memory ? Errno::kNoMem : Errno::kFault;
    co_return lib::kOk;
}

Task<Result<void>> put_u32(Thread& t, UserAddr at, u32 value) {
    for (;;) {
        auto r = t.user().write(at, &value, sizeof value);
        if (r.error() != kNeedsFault) co_return r.ended();
        if (fault_in_now(t, t.user().fault()) == FaultIn::kReady) continue;
        CO_TRY(co_await fault_in_range(t, t.user().fault()));
    }
}

void finish_syscall(Thread& t, Result<i64> r) {
    if (r.ok()) {
        t.call_regs().set_syscall_result(r.value());
    } else if (u32(r.error()) >= u32(Errno::kRestartSys) && u32(r.error()) <= u32(Errno::kRestartBlock)) {
        // Signals decide what becomes of it.
        t.restart_kind = r.error();
        t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
    } else {
        t.call_regs().set_syscall_result(-i64(r.error()));
    }
}

namespace {

// The row of the call that the thread has made; null: there is none, and it has its answer.
const SyscallRow* row_of_call(Thread& t) {
    const u64 number = u32(t.call_regs().syscall_number());  // the upper half does not count
    if (number < kSyscallLimit && syscall_table[number].name) {
        t.syscall_number = number;
        return &syscall_table[number];
    }
    note_unknown_call(t, number);
    t.call_regs().set_syscall_result(-i64(Errno::kNoSys));
    return nullptr;
}

// The row of a call that the leaf tier could not finish; null: nothing is left to do. `outcome`: what it said.
const SyscallRow* unfinished_call(Thread& t, LeafError& outcome) {
    outcome = std::exchange(t.leaf_outcome, Errno::kOk);
    if (outcome == Errno::kOk) return nullptr;  // signals are waiting
    if (!outcome.needs_more() && outcome != Errno::kNoMem) {
        t.forget_file();
        finish_syscall(t, outcome.ended());
        return nullptr;
    }
    return row_of_call(t);
}

Task<void> run_call(Thread& t, const SyscallRow& row, LeafError outcome) {
    using Step = CallAttempt::Step;
    CallAttempt call{t, row, outcome};
    for (Step step; (step = call.next()) != Step::kDone;) {
        switch (step) {
            case Step::kMemory: {
                auto memory = rt::wait_for_memory();
                if (memory.valid()) co_await memory;
                call.memory_came();
                break;
            }
            case Step::kEndOne: {
                ForMemory outcome;
                FIND_MEMORY(t, outcome);
                outcome == ForMemory::kTryAgain ? call.memory_came() : call.nobody_ended();
                break;
            }
            case Step::kFaultIn: {
                if (fs::walk_was_paused(static_cast<Caller*>(&t))) {
                    co_await rt::Yield{};
                    call.faulted_in(lib::kOk);
                    break;
                }
                FaultIn now = fault_in_now(t, t.user().fault());
                Result<void> got = now == FaultIn::kReady ? Result<void>{lib::kOk} : Errno::kFault;
                if (now == FaultIn::kMustWait) {
                    auto wait = fault_in_range(t, t.user().fault());
                    got = Errno::kNoMem;
                    if (wait.valid()) got = co_await wait;
                }
                call.faulted_in(got);
                break;
            }
            case Step::kWait: {
                Thread::Blocked b = std::exchange(t.blocked_leaf, {});
                auto wait = rt::wait_on(*b.queue, b.seen, b.what);
                call.came_back(b.again(t, (co_await wait).ok() ? rt::Wake::kWoken : rt::Wake::kInterrupted));
                break;
            }
            case Step::kTask: {
                TaskResult task = std::move(t.unfinished);
                t.user().hope_again();  // it faults in itself what it needs
                call.came_back(co_await task);
                break;
            }
            case Step::kDone: break;
        }
    }
    fs::forget_walks(static_cast<Caller*>(&t));
    t.forget_file();
    if (t.call_regs().entered_by_syscall()) finish_syscall(t, call.result());
}

// A page fault that the leaf tier could not resolve, for `kind`.
Task<void> resolve_fault(Thread& t, port::Trap trap, FaultKind kind) {
    RanOut ran_out;
    const port::Trap fault = trap;
    if (kind == FaultKind::kSegvAccess && trap.access == port::Access::kExec && !trap.present) {
        // As Linux (access_error): a page that is not there is fetched from as it is read, and refused when it is there.
        trap.access = port::Access::kRead;
        kind = t.mm().fault(trap.address, trap.access, t.process().stack_limits());
    }
    for (bool patient = false;
         kind == FaultKind::kMustWait || (kind == FaultKind::kNoMemory && !patient && RanOut::lately());) {
        patient = kind == FaultKind::kNoMemory;
        auto wait =
            patient ? patient_fault(t, trap) : t.mm().fault_task(trap.address, trap.access, t.process().stack_limits());
        kind = FaultKind::kNoMemory;
        if (wait.valid()) kind = co_await wait;
    }
    for (u32 ends = 0; kind == FaultKind::kNoMemory && ends < kMostEnds && ran_out.since(); ++ends) {
        ForMemory outcome;
        FIND_MEMORY(t, outcome);
        if (outcome == ForMemory::kEnding) co_return;
        if (outcome == ForMemory::kNobody) break;
        ran_out = {};
        auto again = patient_fault(t, trap);
        if (again.valid()) kind = co_await again;
    }
    if (kind == FaultKind::kResolved) co_return;
    t.last_fault = fault;
    fail_fault(t, fault, kind);
}

void raise_exception(Thread& t, const port::Trap& trap) {
    t.last_fault = trap;
    force_signal(t, signal_of(t, trap));
}

// A call whose coroutine has no memory, not even after waiting for some.
void give_up_call(Thread& t) {
    fs::forget_walks(static_cast<Caller*>(&t));
    t.forget_plans();
    t.forget_file();
    finish_syscall(t, Errno::kNoMem);
}

// What a thread has at its end goes a piece at a time. Takes no memory and cannot fail; after LEAVE_USER_MEMORY, at home.
class Departure {
public:
    explicit Departure(Thread& t) : thread_(t) {}
    // True: give way, then call it again. False: all has gone.
    bool more() {
        if (!thread_gone_) {
            if (thread_.files_use() && thread_.files().empty_some()) return true;
            if (thread_.mm_ref() && thread_.mm().many_areas()) {
                leave_files(thread_);
                memory_ = leave_address_space(thread_);
            }
            if (memory_ && memory_->empty_some()) return true;
            memory_ = {};
            if (!exit_thread(thread_)) return false;
            thread_gone_ = true;
        }
        return exit_process(thread_, look_);
    }

private:
    Thread& thread_;
    Ref<AddressSpace> memory_;
    bool thread_gone_ = false;
    u64 look_ = 0;
};

// In a coroutine of `t`, which is stopped: until it is no more.
#define AWAIT_RESUMED(t)                                                                    \
    for (u32 seen_; seen_ = (t).process().signals.resumed.sequence(), is_stopped(t);) {     \
        auto wait_ = rt::wait_on((t).process().signals.resumed, seen_, "stopped: SIGCONT"); \
        wait_.uninterruptible();                                                            \
        (void)co_await wait_;                                                               \
    }

// In a coroutine of `t`: makes a coroutine with `make` and awaits it; if there is no memory for its frame, finds some and
// tries again. `found` is kTryAgain if it ran. A macro, because it must not need memory for a coroutine of its own.
#define AWAIT_WITH_MEMORY(t, found, make)                               \
    do {                                                                \
        found = ForMemory::kTryAgain;                                   \
        for (u32 tries_ = 0; found == ForMemory::kTryAgain; ++tries_) { \
            auto made_ = make;                                          \
            if (made_.valid()) {                                        \
                co_await made_;                                         \
                break;                                                  \
            }                                                           \
            found = ForMemory::kNobody;                                 \
            if (tries_ < kMostEnds) FIND_MEMORY(t, found);              \
        }                                                               \
    } while (false)

}  // namespace

Task<void> thread_main(Thread& t) {
    if (t.set_child_tid.value != 0) {
        auto put = put_u32(t, t.set_child_tid, u32(t.tid.value));
        if (put.valid()) (void)co_await put;
    }
    for (;;) {
        // Before user mode: signals, stops, the end. All work to do has set a bit in `work`.
        while (t.work.load(std::memory_order_relaxed) != 0) {
            co_await t.at_home();
            switch (deliver_signals(t)) {
                case SignalOutcome::kExit:
                    LEAVE_USER_MEMORY(t);
                    co_await t.at_home();
                    for (Departure departure{t}; departure.more();) co_await rt::Yield{};
                    co_return;
                case SignalOutcome::kMore: co_await rt::Yield{}; break;
                case SignalOutcome::kStopped:
                    AWAIT_RESUMED(t);
                    t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
                    break;
                case SignalOutcome::kFault: {
                    auto wait = fault_in_range(t, t.user().fault());
                    if (!wait.valid() || !(co_await wait).ok()) signal_frame_failed(t);
                    t.work.fetch_or(kWorkSignal, std::memory_order_relaxed);
                    break;
                }
                default: break;
            }
        }

        port::Trap trap = co_await t.port::UserThread::user();
        ForMemory found;
        switch (trap.kind) {
            case port::Trap::Kind::kSyscall: {
                LeafError outcome = Errno::kOk;
                const SyscallRow* row = unfinished_call(t, outcome);
                if (!row) break;
                AWAIT_WITH_MEMORY(t, found, run_call(t, *row, outcome));
                if (found != ForMemory::kTryAgain) give_up_call(t);
                break;
            }
            case port::Trap::Kind::kPageFault:
                AWAIT_WITH_MEMORY(t, found, resolve_fault(t, trap, t.leaf_fault));
                if (found == ForMemory::kNobody) fail_fault(t, trap, FaultKind::kNoMemory);
                break;
            case port::Trap::Kind::kKick: break;
            default: raise_exception(t, trap); break;
        }
    }
}

}  // namespace linux
