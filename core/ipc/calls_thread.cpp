// SPDX-License-Identifier: MIT
// The native calls by which a server of threads keeps them: another handler or address space, kicks, times, FPU state; and
// alarms.
#include "core/ipc/calls.hpp"
#include "hal/bind.hpp"

namespace core::calls {

using hal::Machine;

namespace {

Result<i64> thread_handler(NativeThread& t, const u64 (&a)[6]) {
    auto target = TRY(thread_at(t, a[0], native::kWriteRight));
    NativeThread::Work work{.run = [](NativeThread& n, const ThreadClaim& claim, NativeThread::Work& w) -> Result<i64> {
        n.set_handler(claim, std::move(w.endpoint), w.size);
        return i64{0};
    }};
    if (a[1] != 0) {
        auto e = TRY(hold<Endpoint>(*t.caps, a[1], native::kTypeEndpoint, native::kSendRight));
        REQUIRE(a[2] == 0 || e.cap->badge == 0, handler_keeps_badge, kPerm);
        work.size = a[2] != 0 ? a[2] : e.cap->badge;
        work.endpoint = std::move(e.ref);
    }
    return t.do_at_home_of(*target.object, std::move(work));
}

Result<i64> thread_space(NativeThread& t, const u64 (&a)[6]) {
    auto target = TRY(thread_at(t, a[0], native::kWriteRight));
    auto space = TRY(hold<SpaceObject>(*t.caps, a[1], native::kTypeSpace, native::kWriteRight));
    return t.do_at_home_of(*target.object,
                           {.run = [](NativeThread& n, const ThreadClaim& claim, NativeThread::Work& w) -> Result<i64> {
                                REQUIRE(n.utcb == nullptr, thread_without_utcb, kExist);
                                n.set_space(claim, std::move(w.object));
                                return i64{0};
                            },
                            .object = std::move(space.ref)});
}

Result<i64> thread_kick(NativeThread& t, u64 slot) {
    auto target = TRY(thread_at(t, slot, native::kWriteRight));
    NativeThread& n = *target.object;
    const u32 state = n.visible_state();
    if (state == native::kStateInactive || state == native::kStateEnded || !n.handler) return i64{0};
    n.note_kick();
    if (&n == &t) {
        t.context.set_syscall_result(0);
        requeue(t, NativeThread::kControlKick);
    }
    (void)n.ask(NativeThread::kControlKick);
    return i64{0};
}

Result<i64> thread_times(NativeThread& t, u64 slot) {
    auto target = TRY(thread_at(t, slot, native::kReadRight));
    target->time_is_asked.store(1, std::memory_order_relaxed);
    // A clock that runs counts from the moment at which it would have been 0. It is read before the time is, so that the
    // difference is never negative, but for what the clocks of two CPUs differ by.
    const i64 counted = i64(target->user_time(Nanoseconds{0}));
    if (counted >= 0) return counted;
    const i64 until_now = counted + i64(Machine::now().value);
    return until_now >= 0 ? until_now : i64{0};
}

// At the thread's home, where its state may be in the CPU's registers.
Result<i64> read_fpu(NativeThread& n, const ThreadClaim&, NativeThread::Work& w) {
    n.save_state();
    if (w.space->copy_out(UserAddr{w.address}, n.fpu_area(), w.size) != w.size) return Errno::kFault;
    return i64{0};
}

Result<i64> write_fpu(NativeThread& n, const ThreadClaim&, NativeThread::Work& w) {
    // From here on it is in no CPU's registers: what is read may be anything until it is made safe.
    n.leave_cpu();
    if (w.size == 0) {
        Machine::fpu_init(n.fpu_area());
        n.slow_switch_reasons &= u8(~NativeThread::kSlowFpu);  // until it uses it again
        return i64{0};
    }
    const bool whole = w.space->copy_in(n.fpu_area(), UserAddr{w.address}, w.size) == w.size;
    if (whole)
        Machine::fpu_sanitize(n.fpu_area());
    else
        Machine::fpu_init(n.fpu_area());
    n.slow_switch_reasons |= NativeThread::kSlowFpu;
    if (!whole) return Errno::kFault;
    return i64{0};
}

Result<i64> thread_fpu(NativeThread& t, const u64 (&a)[6], bool write) {
    auto target = TRY(thread_at(t, a[0], write ? native::kWriteRight : native::kReadRight));
    REQUIRE(a[2] == Machine::fpu_area_size() || (write && a[2] == 0), fpu_size, kInval);
    return t.do_at_home_of(*target.object,
                           {.run = write ? &write_fpu : &read_fpu, .space = t.space, .address = a[1], .size = a[2]});
}

Result<i64> alarm(NativeThread& t, u64 deadline, u64 bits) {
    if (deadline != 0) {
        REQUIRE(bits != 0, alarm_bits, kInval);
        REQUIRE(t.bound, alarm_bound, kInval);
    }
    t.set_alarm(deadline, bits);
    return i64{0};
}

}  // namespace

Result<i64> thread_call(NativeThread& t, u64 number, const u64 (&a)[6]) {
    switch (number) {
        case native::kThreadHandler: return thread_handler(t, a);
        case native::kThreadSpace: return thread_space(t, a);
        case native::kThreadKick: return thread_kick(t, a[0]);
        case native::kThreadTimes: return thread_times(t, a[0]);
        case native::kThreadGetFpu: return thread_fpu(t, a, false);
        case native::kThreadSetFpu: return thread_fpu(t, a, true);
        default: return alarm(t, a[0], a[1]);
    }
}

}  // namespace core::calls
