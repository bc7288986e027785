// SPDX-License-Identifier: MIT
// Interval timers. The expiry of a machine timer may only post: the rest happens in a Schedulable of the timer's own.
//
// Real time is simply a deadline. CPU time cannot pass faster than the clock times the number of threads, so a CPU-time
// timer sleeps until it could have expired at the earliest, looks, and sleeps again.
// The real-time timer is not armed while its SIGALRM is pending: taking the signal arms it again (alarm_taken), on the grid of
// its interval. Else a period of 1 us would have the CPU do nothing but count periods that no thread sees. (Linux does the
// same: a signal that is ignored is never taken, and the timer stands still.)
// While a timer is armed, posted or held it holds a reference to its process.
#include "linux/task/itimer.hpp"

#include "linux/signal/signal.hpp"
#include "rt/mem/slab.hpp"

namespace linux {
namespace {

constexpr u32 kCpuLimit = kItimerKinds;  // RLIMIT_CPU is the fourth
constexpr u64 kSecond = 1'000'000'000;
constexpr u64 kLimitTick = 4'000'000;  // between signals of a limit that has long been exceeded
// From a signal that was taken to the next: otherwise a program whose period is shorter than a signal's delivery would
// do nothing but handle them.
constexpr u64 kLeastApart = 100'000;
constexpr u64 kFinestLook = 1'000'000;  // between two checks of CPU time

// A limit of CPU time in nanoseconds; kNever: none, or one that is not reached in 500 years.
constexpr u64 kNever = ~u64{0};
u64 limit_time(u64 seconds) { return seconds > kNever / kSecond ? kNever : seconds * kSecond; }

u64 cpu_time(Process& p, u32 kind) {
    CpuTimes t = p.usage().times;
    return kind == kItimerVirtual ? t.user : t.user + t.system;
}

}  // namespace

struct IntervalTimers {
    struct One : rt::Timer, rt::Schedulable {
        One() : Timer(&One::expired), Schedulable(&One::look, rt::Priority::kKernel) {}
        Process* process = nullptr;  // this and the kind are what they were before any other thread could know of it
        u32 kind = 0;
        bool pinned RT_GUARDED_BY(process->lock) = false;  // armed, posted or held
        u64 due RT_GUARDED_BY(process->lock) = 0;          // 0: disarmed; on the clock, or in CPU time
        u64 interval RT_GUARDED_BY(process->lock) = 0;
        // Of the real-time timer with an interval. kHeld: it has sent SIGALRM, which no thread has taken yet. Of
        // alarm_taken() and those that set the timer anew, the one that ends this has the timer. acq_rel throughout.
        enum class Stage : u8 { kRunning, kHeld, kTaken };
        std::atomic<Stage> stage{Stage::kRunning};

        static void expired(rt::Timer& t) { rt::Executor::current().enqueue(static_cast<One&>(t)); }
        static void look(rt::Schedulable& s);
        u64 now() const { return kind == kItimerReal ? port::Port::now().value : cpu_time(*process, kind); }
        // Pinned.
        void sleep(u64 now) RT_REQUIRES(process->lock) {
            u64 wait = due > now ? due - now : 0;
            if (kind != kItimerReal) {
                wait /= process->live_threads ? process->live_threads : 1;
                if (wait < kFinestLook) wait = kFinestLook;
            }
            rt::Executor::current().timers().arm(*this, port::Port::now() + Nanoseconds{wait});
        }
        void fire(u64 now) RT_REQUIRES(process->lock);
        void enforce_limit(u64 now) RT_REQUIRES(process->lock);
        void next_period(u64 now) RT_REQUIRES(process->lock) {
            due += interval;
            if (due <= now) due += (now - due) / interval * interval + interval;
        }
        // A timer that is held has an interval, and nothing until its next expiry.
        ItimerValue value(u64 now) const RT_REQUIRES(process->lock) {
            if (due == 0 || stage.load(std::memory_order_relaxed) == Stage::kHeld) return {interval, 0};
            return {interval, due > now ? due - now : 1000};
        }
        // Keeps it from firing if it is armed or held; true: the reference that it had is the caller's.
        bool take_back() RT_REQUIRES(process->lock) {
            if (stage.exchange(Stage::kRunning, std::memory_order_acq_rel) != Stage::kHeld && !rt::cancel_timer(*this))
                return false;
            pinned = false;
            return true;
        }
        // Hands back what it was.
        ItimerValue set(ItimerValue to);
    };
    One one[kItimerKinds + 1];
};

namespace {

constexpr u32 kSignalOf[kItimerKinds] = {kSigAlrm, kSigVtalrm, kSigProf};

// Made once and kept as long as the process. Acquire: pairs with timers_of().
IntervalTimers* timers_if_any(Process& p) { return p.timers.load(std::memory_order_acquire); }

Result<IntervalTimers*> timers_of(Process& p) {
    if (IntervalTimers* t = timers_if_any(p)) return t;
    auto* made = rt::make<IntervalTimers>();
    if (!made) return Errno::kNoMem;
    for (u32 k = 0; k <= kItimerKinds; ++k) {
        made->one[k].process = &p;
        made->one[k].kind = k;
    }
    rt::LockGuard guard{p.lock};
    if (IntervalTimers* t = timers_if_any(p)) {
        guard.unlock();
        delete made;
        return t;
    }
    p.timers.store(made, std::memory_order_release);
    return made;
}

}  // namespace

ItimerValue IntervalTimers::One::set(ItimerValue to) {
    const u64 at = now();
    bool unpin = false;
    ItimerValue old;
    {
        rt::LockGuard guard{process->lock};
        old = value(at);
        unpin = take_back();
        interval = to.interval;
        due = to.value == 0 ? 0 : at + to.value;
        if (due != 0 && !pinned && process->state_seen() == Process::State::kLive) {
            pinned = true;
            if (unpin)
                unpin = false;
            else
                process->ref();
            sleep(at);
        }
    }
    if (unpin) process->unref();
    return old;
}

// The limit as it is now: it may have been changed since the timer was set.
void IntervalTimers::One::enforce_limit(u64 now) {
    RlimitValue& limit = process->rlimits.unguarded()[kRlimCpu];
    const u64 hard = limit_time(__atomic_load_n(&limit.hard, __ATOMIC_RELAXED));
    u64 soft = process->limit(kRlimCpu);
    if (limit_time(soft) > now) {
        due = limit_time(soft) == kNever ? 0 : limit_time(soft);
        return;
    }
    (void)send_signal(*process, kernel_signal(now >= hard ? kSigKill : kSigXcpu));
    // The limit grows by a second with each signal, as getrlimit(2) shows.
    (void)__atomic_compare_exchange_n(&limit.soft, &soft, soft + 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    const u64 next = limit_time(soft + 1);
    due = next > now ? next : now + kLimitTick;
}

void IntervalTimers::One::fire(u64 now) {
    if (kind == kCpuLimit) return enforce_limit(now);
    // Held before the signal is there to be taken.
    if (kind == kItimerReal && interval != 0) stage.store(Stage::kHeld, std::memory_order_release);
    (void)send_signal(*process, kernel_signal(kSignalOf[kind]));
    if (interval == 0) {
        due = 0;
        return;
    }
    if (kind == kItimerReal) return;
    next_period(now);
}

void IntervalTimers::One::look(rt::Schedulable& s) {
    One& t = static_cast<One&>(s);
    Process& p = *t.process;
    u64 now = t.now();
    {
        rt::LockGuard guard{t.process->lock};
        Stage taken = Stage::kTaken;
        if (t.stage.compare_exchange_strong(taken, Stage::kRunning, std::memory_order_acq_rel)) {
            if (t.due != 0) t.next_period(now + kLeastApart);
        } else if (t.due != 0 && now >= t.due) {
            t.fire(now);
            if (t.due != 0 && t.kind == kItimerReal) return;  // held: the thread that ends that owns the timer
        }
        if (t.due != 0 && p.state_seen() == Process::State::kLive) {
            t.sleep(now);
            return;
        }
        t.due = 0;
        t.pinned = false;
    }
    p.unref();
}

Result<ItimerValue> set_timer(Process& p, ItimerKind kind, ItimerValue to) {
    if (to.value == 0 && !timers_if_any(p)) return ItimerValue{};
    IntervalTimers* t = TRY(timers_of(p));
    return t->one[kind].set(to);
}

ItimerValue get_timer(Process& p, ItimerKind kind) {
    u64 now = kind == kItimerReal ? port::Port::now().value : cpu_time(p, kind);
    IntervalTimers* t = timers_if_any(p);
    if (!t) return {};
    IntervalTimers::One& one = t->one[kind];
    rt::LockGuard guard{one.process->lock};
    return one.value(now);
}

void alarm_taken(Process& p) {
    IntervalTimers* t = timers_if_any(p);
    if (!t) return;
    IntervalTimers::One& real = t->one[kItimerReal];
    auto held = IntervalTimers::One::Stage::kHeld;
    // Posted, not armed here: Process::lock comes before the lock of signals.
    if (real.stage.compare_exchange_strong(held, IntervalTimers::One::Stage::kTaken, std::memory_order_acq_rel))
        rt::Executor::current().post(real);
}

void stop_timers(Process& p) {
    IntervalTimers* timers = timers_if_any(p);
    if (!timers) return;
    for (IntervalTimers::One& t : timers->one) {
        bool unpinned;
        {
            rt::LockGuard guard{t.process->lock};
            t.due = 0;
            unpinned = t.take_back();
        }
        if (unpinned) p.unref();
    }
}

void destroy_timers(IntervalTimers* timers) { delete timers; }

Result<void> watch_cpu_limit(Process& p) {
    u64 limit = p.limit(kRlimCpu);
    if (limit == ~u64{0} && !timers_if_any(p)) return lib::kOk;
    IntervalTimers* t = TRY(timers_of(p));
    const u64 used = cpu_time(p, kItimerProf), at = limit_time(limit);
    t->one[kCpuLimit].set({0, at == kNever ? 0 : at > used ? at - used : 1});
    return lib::kOk;
}

}  // namespace linux
