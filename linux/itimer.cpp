// SPDX-License-Identifier: MIT
// Interval timers. The expiry of a machine timer may only post: the rest happens in a Schedulable of the timer's own.
//
// Real time is simply a deadline. CPU time cannot pass faster than the clock times the number of threads, so a CPU-time
// timer sleeps until it could have expired at the earliest, looks, and sleeps again.
// While a timer is armed or posted it holds a reference to its process. Everything is guarded by Process::lock.
#include "linux/itimer.hpp"

#include "linux/signal.hpp"
#include "rt/mem/slab.hpp"

namespace linux {
namespace {

constexpr u32 kCpuLimit = kItimerKinds;  // RLIMIT_CPU is the fourth
constexpr u64 kSecond = 1'000'000'000;
constexpr u64 kFinestLook = 1'000'000;  // between two looks at CPU time

u64 cpu_time(Process& p, u32 kind) {
    CpuTimes t = p.usage().times;
    return kind == kItimerVirtual ? t.user : t.user + t.system;
}

}  // namespace

struct IntervalTimers {
    struct One : rt::Timer, rt::Schedulable {
        One() : Timer(&One::expired), Schedulable(&One::look, rt::Priority::kKernel) {}
        Process* process = nullptr;
        u32 kind = 0;
        bool pinned = false;  // armed or posted
        u64 due = 0;          // 0: disarmed; on the clock, or in CPU time
        u64 interval = 0;

        static void expired(rt::Timer& t) { rt::Executor::current().enqueue(static_cast<One&>(t)); }
        static void look(rt::Schedulable& s);
        u64 now() const { return kind == kItimerReal ? port::Port::now().value : cpu_time(*process, kind); }
        // Lock held, pinned.
        void sleep(u64 now) {
            u64 wait = due > now ? due - now : 0;
            if (kind != kItimerReal) {
                wait /= process->live_threads ? process->live_threads : 1;
                if (wait < kFinestLook) wait = kFinestLook;
            }
            rt::Executor::current().timers().arm(*this, port::Port::now() + Nanoseconds{wait});
        }
        void fire(u64 now);
    };
    One one[kItimerKinds + 1];
};

namespace {

constexpr u32 kSignalOf[kItimerKinds] = {kSigAlrm, kSigVtalrm, kSigProf};

Result<IntervalTimers*> timers_of(Process& p) {
    {
        rt::LockGuard guard{p.lock};
        if (p.timers) return p.timers;
    }
    auto* made = rt::make<IntervalTimers>();
    if (!made) return Errno::kNoMem;
    for (u32 k = 0; k <= kItimerKinds; ++k) {
        made->one[k].process = &p;
        made->one[k].kind = k;
    }
    rt::LockGuard guard{p.lock};
    if (p.timers) {
        guard.unlock();
        delete made;
        return p.timers;
    }
    p.timers = made;
    return made;
}

// Sets one timer; hands back what it was.
ItimerValue set_one(Process& p, IntervalTimers::One& t, ItimerValue to) {
    u64 now = t.now();
    bool unpin = false;
    ItimerValue old;
    {
        rt::LockGuard guard{p.lock};
        if (t.due != 0) old = {t.interval, t.due > now ? t.due - now : 1000};
        if (rt::cancel_timer(t)) {
            t.pinned = false;
            unpin = true;
        }
        t.interval = to.interval;
        t.due = to.value == 0 ? 0 : now + to.value;
        if (t.due != 0 && !t.pinned && p.state == Process::State::kLive) {
            t.pinned = true;
            if (unpin)
                unpin = false;
            else
                p.ref();
            t.sleep(now);
        }
    }
    if (unpin) p.unref();
    return old;
}

}  // namespace

// Lock held.
void IntervalTimers::One::fire(u64 now) {
    if (kind == kCpuLimit) {
        u64 hard = process->rlimits.unguarded()[kRlimCpu].hard;
        (void)send_signal(*process, kernel_signal(hard != ~u64{0} && now >= hard * kSecond ? kSigKill : kSigXcpu));
        due = now + kSecond;
        return;
    }
    (void)send_signal(*process, kernel_signal(kSignalOf[kind]));
    if (interval == 0) {
        due = 0;
        return;
    }
    due += interval;
    if (due <= now) due += (now - due) / interval * interval + interval;
}

void IntervalTimers::One::look(rt::Schedulable& s) {
    One& t = static_cast<One&>(s);
    Process& p = *t.process;
    u64 now = t.now();
    {
        rt::LockGuard guard{p.lock};
        if (t.due != 0 && now >= t.due) t.fire(now);
        if (t.due != 0 && p.state == Process::State::kLive) {
            t.sleep(now);
            return;
        }
        t.due = 0;
        t.pinned = false;
    }
    p.unref();
}

Result<ItimerValue> set_timer(Process& p, ItimerKind kind, ItimerValue to) {
    if (to.value == 0) {
        rt::LockGuard guard{p.lock};
        if (!p.timers) return ItimerValue{};
    }
    IntervalTimers* t = TRY(timers_of(p));
    return set_one(p, t->one[kind], to);
}

ItimerValue get_timer(Process& p, ItimerKind kind) {
    u64 now = kind == kItimerReal ? port::Port::now().value : cpu_time(p, kind);
    rt::LockGuard guard{p.lock};
    if (!p.timers) return {};
    IntervalTimers::One& t = p.timers->one[kind];
    if (t.due == 0) return {t.interval, 0};
    return {t.interval, t.due > now ? t.due - now : 1000};
}

void stop_timers(Process& p) {
    if (!p.timers) return;
    u32 unpinned = 0;
    {
        rt::LockGuard guard{p.lock};
        for (IntervalTimers::One& t : p.timers->one) {
            t.due = 0;
            if (rt::cancel_timer(t)) {
                t.pinned = false;
                ++unpinned;
            }
        }
    }
    while (unpinned--) p.unref();
}

void destroy_timers(IntervalTimers* timers) { delete timers; }

Result<void> watch_cpu_limit(Process& p) {
    u64 limit = p.limit(kRlimCpu);
    if (limit == ~u64{0}) {
        rt::LockGuard guard{p.lock};
        if (!p.timers) return lib::kOk;
    }
    IntervalTimers* t = TRY(timers_of(p));
    u64 used = cpu_time(p, kItimerProf);
    u64 at = limit > ~u64{0} / kSecond ? 0 : limit * kSecond;
    set_one(p, t->one[kCpuLimit], {0, limit == ~u64{0} ? 0 : at > used ? at - used : 1});
    return lib::kOk;
}

}  // namespace linux
