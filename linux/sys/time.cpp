// SPDX-License-Identifier: MIT
// Clocks, sleeping, interval timers (clock_gettime(2), nanosleep(2), setitimer(2)).
//
// CPU time is brought up to date when a thread leaves its leaf tier: calls that read it are tasks.
#include "linux/time.hpp"

#include "abi/linux/task.hpp"
#include "linux/sys/wait_set.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/thread.hpp"
#include "linux/task/usage.hpp"

namespace linux {
namespace {

using abi::Timespec;
using abi::Timeval;
using port::Module;

constexpr u64 kTick = kNanosPerSecond / 250;  // resolution of the coarse clocks (CONFIG_HZ of Debian)
constexpr u64 kUserTick = kNanosPerSecond / kTicksPerSecond;

u64 total(const CpuTimes& t) { return t.user + t.system; }

// CPU clocks, by name or by number (clock_getcpuclockid(3)): bits 0-1 which time, bit 2 a thread, the rest ~pid.
Result<u64> cpu_clock(Caller& c, i32 id) {
    if (id == kClockProcessCpu) return total(c.process().usage().times);
    if (id == kClockThreadCpu) return total(c.thread().cpu_times());
    u32 which = u32(id) & kCpuClockMask;
    if (which == kCpuClockFd) return Errno::kInval;
    i32 pid = ~(id >> kCpuClockShift);
    CpuTimes t;
    if (id & i32{kCpuClockPerThread}) {
        Ref<Thread> other = pid == 0 ? Ref<Thread>(&c.thread()) : find_thread(Pid{pid});
        if (!other || &other->process() != &c.process()) return Errno::kInval;
        t = other->cpu_times();
    } else {
        Ref<Process> other = pid == 0 ? Ref<Process>(&c.process()) : find_process(Pid{pid});
        if (!other) return Errno::kInval;
        t = other->usage().times;
    }
    return which == kCpuClockVirtual ? t.user : total(t);
}

bool is_cpu_clock(i32 id) { return id < 0 || id == kClockProcessCpu || id == kClockThreadCpu; }

Result<u64> wall_clock(i32 id) {
    switch (id) {
        case kClockRealtime:
        case kClockTai: return realtime_now();
        case kClockMonotonic:
        case kClockMonotonicRaw:
        case kClockBoottime: return port::Port::now().value;
        case kClockRealtimeCoarse: return realtime_now() / kTick * kTick;
        case kClockMonotonicCoarse: return port::Port::now().value / kTick * kTick;
        // The alarm clocks need a wake-up timer in hardware, which is not supported.
        default: return Errno::kInval;
    }
}

TaskResult put_cpu_clock(Caller& c, i32 id, UserOut<Timespec> to) {
    u64 now = CO_TRY(cpu_clock(c, id));
    CO_TRY(to.put(c.user(), to_timespec(now)));
    co_return i64{0};
}
[[gnu::noinline]] Leaf<i64> any_clock_gettime(Caller& c, i32 id, UserOut<Timespec> to) {
    if (is_cpu_clock(id)) return c.later(put_cpu_clock(c, id, to));
    u64 now = TRY(wall_clock(id));
    TRY(to.put(c.user(), to_timespec(now)));
    return 0;
}
// The fast path of the two common clocks, if the page is present; the rest is a separate function, so that this needs
// no stack.
Leaf<i64> sys_clock_gettime(Caller& c, i32 id, UserOut<Timespec> to) {
    if (u32(id) > kClockMonotonic) [[unlikely]]
        return any_clock_gettime(c, id, to);
    u64 now = port::Port::now().value;
    if (id == kClockRealtime) now += port::Port::realtime_offset().value;
    u64 seconds = whole_seconds(now);
    if (!c.user().store_now(to.at, seconds, now - seconds * kNanosPerSecond)) [[unlikely]]
        return any_clock_gettime(c, id, to);
    return 0;
}

TaskResult sys_clock_getres(Caller& c, i32 id, UserOut<Timespec> to) {
    CO_TRY(is_cpu_clock(id) ? cpu_clock(c, id) : wall_clock(id));
    // Of the CPU clocks by number those that are not the scheduler's too (Linux: posix_cpu_clock_getres).
    const bool ticks = id < 0 ? (u32(id) & kCpuClockMask) != kCpuClockSched
                              : id == kClockRealtimeCoarse || id == kClockMonotonicCoarse;
    if (to) CO_TRY(to.put(c.user(), to_timespec(ticks ? kTick : 1)));
    co_return i64{0};
}

Result<void> may_set_time(Caller& c) {
    return c.creds().capable(kCapSysTime) ? Result<void>(lib::kOk) : Result<void>(Errno::kPerm);
}
void set_realtime(u64 to) { port::Port::set_realtime_offset(Nanoseconds{to - port::Port::now().value}); }

Leaf<i64> sys_clock_settime(Caller& c, i32 id, UserIn<Timespec> from) {
    const bool by_number = id < 0 && (u32(id) & kCpuClockMask) != kCpuClockFd;
    if (id != kClockRealtime && !by_number) return Errno::kInval;
    Timespec t = TRY(from.get(c.user()));
    // CPU time is nobody's to set.
    if (by_number) return cpu_clock(c, id).ok() ? Errno::kPerm : Errno::kInval;
    if (!is_valid(t) || nanos_of(t.seconds, 0) >= kForever) return Errno::kInval;
    TRY(may_set_time(c));
    set_realtime(nanos_of(t.seconds, u64(t.nanoseconds)));
    return 0;
}

Leaf<i64> sys_gettimeofday(Caller& c, UserOut<Timeval> to, UserOut<abi::Timezone> zone) {
    if (to) TRY(to.put(c.user(), to_timeval(realtime_now())));
    if (zone) TRY(zone.put(c.user(), {0, 0}));
    return 0;
}
Leaf<i64> sys_settimeofday(Caller& c, UserIn<Timeval> from, UserIn<abi::Timezone> zone) {
    Timeval t{};
    if (from) {
        t = TRY(from.get(c.user()));
        if (t.microseconds < 0 || t.microseconds >= 1'000'000) return Errno::kInval;
    }
    abi::Timezone west{};
    if (zone) west = TRY(zone.get(c.user()));
    if (from && (t.seconds < 0 || nanos_of(t.seconds, 0) >= kForever)) return Errno::kInval;
    TRY(may_set_time(c));
    constexpr i32 kMostMinutes = 15 * 60;
    if (west.minutes_west > kMostMinutes || west.minutes_west < -kMostMinutes) return Errno::kInval;
    if (from) set_realtime(nanos_of(t.seconds, u64(t.microseconds) * 1000));
    return 0;
}
Leaf<i64> sys_time(Caller& c, UserOut<i64> to) {
    i64 now = i64(realtime_now() / kNanosPerSecond);
    if (to) TRY(to.put(c.user(), now));
    return now;
}

TaskResult sys_times(Caller& c, UserOut<abi::Tms> to) {
    if (to) {
        CpuTimes own = c.process().usage().times, children;
        {
            rt::LockGuard guard{process_tree};
            children = c.process().usage_children.times;
        }
        CO_TRY(to.put(c.user(), {i64(own.user / kUserTick), i64(own.system / kUserTick), i64(children.user / kUserTick),
                                 i64(children.system / kUserTick)}));
    }
    co_return i64(port::Port::now().value / kUserTick);
}

// ---- Sleeping ----

// Until an instant of the monotonic clock. kRestartSys when interrupted.
Task<Result<void>> sleep_until(Nanoseconds deadline) {
    rt::Wait wait{"sleep"};
    wait.until(deadline);
    switch (co_await wait) {
        case rt::Wake::kInterrupted:
            if (deadline <= port::Port::now()) co_return lib::kOk;
            co_return Errno::kRestartSys;
        default: co_return lib::kOk;
    }
}

TaskResult sleep_relative(Caller& c, Nanoseconds deadline, UserAddr remaining);

TaskResult resume_sleep(Caller& c, Thread::RestartBlock& b) {
    return sleep_relative(c, Nanoseconds{b.data[0]}, UserAddr{b.data[1]});
}

// The remaining time is returned when a signal comes; without a handler the sleep continues to the same instant.
TaskResult sleep_relative(Caller& c, Nanoseconds deadline, UserAddr remaining) {
    auto r = co_await sleep_until(deadline);
    if (r.ok()) co_return i64{0};
    if (r.error() != Errno::kRestartSys) co_return r.error();
    Nanoseconds now = port::Port::now();
    if (deadline <= now) co_return i64{0};
    if (remaining.value) {
        Timespec left = to_timespec((deadline - now).value);
        for (;;) {
            auto put = c.user().write(remaining, &left, sizeof left);
            if (put.ok()) break;
            if (put.error() != kNeedsFault) co_return put.error();
            CO_TRY(co_await fault_in_range(c.thread(), c.user().fault()));
        }
    }
    c.thread().restart = {&resume_sleep, {deadline.value, remaining.value}};
    co_return Errno::kRestartBlock;
}

TaskResult sys_nanosleep(Caller& c, UserIn<Timespec> request, UserAddr remaining) {
    u64 ns = CO_TRY(duration_of(CO_TRY(request.get(c.user()))));
    if (ns == 0) co_return i64{0};
    co_return co_await sleep_relative(c, deadline_in(ns), remaining);
}

TaskResult sys_clock_nanosleep(Caller& c, i32 id, i32 flags, UserIn<Timespec> request, UserAddr remaining) {
    switch (id) {
        case kClockRealtime:
        case kClockMonotonic:
        case kClockBoottime:
        case kClockTai: break;
        case kClockProcessCpu:
        case kClockThreadCpu:
        case kClockMonotonicRaw:
        case kClockRealtimeCoarse:
        case kClockMonotonicCoarse:
        case kClockRealtimeAlarm:
        case kClockBoottimeAlarm: co_return Errno::kOpNotSupp;
        default: co_return Errno::kInval;
    }
    u64 ns = CO_TRY(duration_of(CO_TRY(request.get(c.user()))));
    if (flags & kTimerAbsolute) {
        bool real = id == kClockRealtime || id == kClockTai;
        auto r = co_await sleep_until(real             ? from_realtime(ns)
                                      : ns >= kForever ? Nanoseconds::never()
                                                       : Nanoseconds{ns});
        if (r.error() == Errno::kRestartSys) co_return Errno::kRestartNoHand;
        if (!r.ok()) co_return r.error();
        co_return i64{0};
    }
    if (ns == 0) co_return i64{0};
    co_return co_await sleep_relative(c, deadline_in(ns), remaining);
}

// ---- Interval timers ----

Leaf<i64> sys_alarm(Caller& c, u32 seconds) {
    ItimerValue old = TRY(set_timer(c.process(), kItimerReal, {0, u64{seconds} * kNanosPerSecond}));
    // Rounded, but never to 0 while there is something left.
    u64 left = (old.value + kNanosPerSecond / 2) / kNanosPerSecond;
    return i64(old.value != 0 && left == 0 ? 1 : left);
}

abi::Itimerval to_abi(const ItimerValue& v) { return {to_timeval(v.interval), to_timeval(v.value)}; }

TaskResult sys_getitimer(Caller& c, u32 which, UserOut<abi::Itimerval> to) {
    if (which >= kItimerKinds) co_return Errno::kInval;
    CO_TRY(to.put(c.user(), to_abi(get_timer(c.process(), ItimerKind(which)))));
    co_return i64{0};
}
TaskResult sys_setitimer(Caller& c, u32 which, UserIn<abi::Itimerval> from, UserOut<abi::Itimerval> old) {
    ItimerValue to;
    if (from) {
        abi::Itimerval v = CO_TRY(from.get(c.user()));
        to = {CO_TRY(duration_of(v.interval)), CO_TRY(duration_of(v.value))};
    }
    if (which >= kItimerKinds) co_return Errno::kInval;
    // The timer is set even if the old value cannot be copied out.
    abi::Itimerval was = to_abi(CO_TRY(set_timer(c.process(), ItimerKind(which), to)));
    if (old) CO_TRY(co_await copy_to_program(c, old.at, &was, sizeof was));
    co_return i64{0};
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_clock_gettime>(abi::kNrClockGettime, "clock_gettime", Module::kTime, "clock/clocks_exist"),
    row<&sys_clock_getres>(abi::kNrClockGetres, "clock_getres", Module::kTime, "clock/clocks_exist"),
    row<&sys_clock_settime>(abi::kNrClockSettime, "clock_settime", Module::kTime, "clock/setting_the_clock"),
    row<&sys_gettimeofday>(abi::kNrGettimeofday, "gettimeofday", Module::kTime, "clock/clocks_agree"),
    row<&sys_settimeofday>(abi::kNrSettimeofday, "settimeofday", Module::kTime, "clock/setting_the_clock"),
    row<&sys_time>(abi::kNrTime, "time", Module::kTime, "clock/clocks_agree"),
    row<&sys_times>(abi::kNrTimes, "times", Module::kTime, "clock/cpu_time"),
    row<&sys_nanosleep>(abi::kNrNanosleep, "nanosleep", Module::kTime, "clock/sleep_errors"),
    row<&sys_clock_nanosleep>(abi::kNrClockNanosleep, "clock_nanosleep", Module::kTime, "clock/sleep_errors"),
    row<&sys_alarm>(abi::kNrAlarm, "alarm", Module::kTime, "calls/alarm"),
    row<&sys_getitimer>(abi::kNrGetitimer, "getitimer", Module::kTime, "interrupt/itimer_values"),
    row<&sys_setitimer>(abi::kNrSetitimer, "setitimer", Module::kTime, "interrupt/itimer_values"),
};
const std::span<const SyscallRow> time_rows{kRows};

}  // namespace linux
