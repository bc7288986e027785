// SPDX-License-Identifier: MIT
// Limits, usage, priorities and scheduling parameters (getrlimit(2), getrusage(2), sched(7)).
//
// All threads are scheduled equally so far: nice values and policies are kept, checked and reported, without effect.
#include "abi/linux/task.hpp"
#include "linux/sys/wait_set.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"
#include "linux/task/usage.hpp"
#include "rt/teardown.hpp"

namespace linux {
namespace {

using port::Module;

// ---- Limits ----

// Another process's limits: the same ids, or CAP_SYS_RESOURCE (prlimit(2)).
Result<void> may_see_limits(Caller& c, Process& p, Thread* t) {
    if (t == &c.thread() || c.creds().capable(fs::kCapSysResource)) return lib::kOk;
    const fs::Creds& mine = c.creds();
    Ref<const fs::Creds> theirs = t ? t->credentials() : p.credentials();
    const fs::Creds& o = *theirs;
    if (mine.uid == o.euid && mine.uid == o.suid && mine.uid == o.uid && mine.gid == o.egid && mine.gid == o.sgid &&
        mine.gid == o.gid)
        return lib::kOk;
    return Errno::kPerm;
}

Result<void> set_limit(Caller& c, Process& p, u32 which, const abi::Rlimit64& to) {
    if (to.soft > to.hard) return Errno::kInval;
    if (which == kRlimNofile && to.hard > kMaxDescriptors) return Errno::kPerm;
    {
        auto limits = p.rlimits.lock();
        RlimitValue& l = (*limits)[which];
        if (to.hard > l.hard && !c.creds().capable(fs::kCapSysResource)) return Errno::kPerm;
        __atomic_store_n(&l.hard, to.hard, __ATOMIC_RELAXED);
        __atomic_store_n(&l.soft, to.soft, __ATOMIC_RELAXED);
    }
    if (which == kRlimCpu) return watch_cpu_limit(p);
    return lib::kOk;
}

struct LimitCall {
    Ref<Process> process;
    u32 which;
    bool change;
    abi::Rlimit64 to;
    static Leaf<LimitCall> decode(Caller& c, i32 pid, u32 which, UserIn<abi::Rlimit64> to) {
        abi::Rlimit64 wanted{};
        if (to) wanted = TRY(to.get(c.user()));
        Ref<Process> p{&c.process()};
        Ref<Thread> t{&c.thread()};
        if (pid != 0 && pid != t->tid.value) {
            t = find_thread(Pid{pid});
            p = t ? Ref<Process>(&t->process()) : find_process(Pid{pid});
            if (!p) return Errno::kSrch;
        }
        TRY(may_see_limits(c, *p, t.get()));
        if (which >= kRlimCount) return Errno::kInval;
        if (to && wanted.soft > wanted.hard) return Errno::kInval;
        return LimitCall{std::move(p), which, bool(to), wanted};
    }
    abi::Rlimit64 old() const {
        auto limits = process->rlimits.lock();
        return {(*limits)[which].soft, (*limits)[which].hard};
    }
};

Leaf<i64> sys_prlimit64(Caller& c, i32 pid, u32 which, UserIn<abi::Rlimit64> to, UserOut<abi::Rlimit64> old) {
    LimitCall call = TRY(LimitCall::decode(c, pid, which, to));
    Leaf<void> told;
    if (old) told = old.put(c.user(), call.old());
    if (told.error() == kNeedsFault) return told.error();
    // The limit is set even if the old one cannot be copied out.
    if (call.change) TRY(set_limit(c, *call.process, which, call.to));
    TRY(told);
    return 0;
}
Leaf<i64> sys_getrlimit(Caller& c, u32 which, UserOut<abi::Rlimit64> to) {
    if (which >= kRlimCount) return Errno::kInval;
    RlimitValue l;
    {
        auto limits = c.process().rlimits.lock();
        l = (*limits)[which];
    }
    TRY(to.put(c.user(), {l.soft, l.hard}));
    return 0;
}
Leaf<i64> sys_setrlimit(Caller& c, u32 which, UserIn<abi::Rlimit64> from) {
    abi::Rlimit64 to = TRY(from.get(c.user()));
    if (which >= kRlimCount) return Errno::kInval;
    TRY(set_limit(c, c.process(), which, to));
    return 0;
}

TaskResult sys_getrusage(Caller& c, i32 who, UserOut<abi::Rusage> to) {
    Usage u;
    switch (who) {
        case kRusageSelf: u = c.process().usage(); break;
        case kRusageChildren: {
            rt::LockGuard guard{process_tree};
            u = c.process().usage_children;
            break;
        }
        case kRusageThread:
            u = c.thread().usage;
            u.times = c.thread().cpu_times();
            u.max_rss_kib = c.process().usage().max_rss_kib;
            break;
        default: co_return Errno::kInval;
    }
    CO_TRY(to.put(c.user(), to_abi(u)));
    co_return i64{0};
}

// ---- Nice values ----

bool same_user(Caller& c, Thread& t) {
    if (&t == &c.thread()) return true;
    Ref<const fs::Creds> theirs = t.credentials();
    return c.creds().euid == theirs->uid || c.creds().euid == theirs->euid;
}

// Every thread that (which, who) names. `each` returns false to stop.
struct Selection {
    Caller& c;
    i32 which;
    u32 who;
    void (*each)(Selection&, Thread&, const fs::Creds& of_thread);
    i32 nice = 0;
    i32 best = 21;  // of getpriority: the lowest nice value
    bool any = false;
    Errno error = Errno::kOk;
};

// Of a user (PRIO_USER) or, without one, all.
void select_threads(Selection& s, Process& p, const u32* user = nullptr) {
    rt::LockGuard guard{p.lock};
    for (Thread& t : p.threads) {
        if (user && t.own_creds()->uid != *user) continue;
        s.any = true;
        s.each(s, t, *t.own_creds());
    }
}

// More processes than this are visited in pieces: all of them, also for a large group.
constexpr u32 kFewProcesses = 64;

Task<Result<void>> select_long(Selection& s) {
    const bool of_user = s.which == kPriorityUser;
    if (s.who == 0) s.who = of_user ? s.c.creds().uid : u32(s.c.process().group_seen().value);
    i32 from = 1;
    for (bool more = true; more;) {
        rt::Stretch stretch;
        while (Ref<Process> p = next_process(from)) {
            from = p->pid.value + 1;
            bool wanted = of_user;
            if (!of_user) {
                rt::LockGuard guard{process_tree};
                wanted = p->group.value == i32(s.who);
            }
            if (wanted) select_threads(s, *p, of_user ? &s.who : nullptr);
            if (stretch.over()) break;
        }
        more = stretch.over();
        if (more) co_await rt::Yield{};
    }
    co_return lib::kOk;
}

Leaf<void> select(Selection& s) {
    Caller& c = s.c;
    const i32 group = s.who ? i32(s.who) : c.process().group_seen().value;
    if (s.which == kPriorityUser && process_count() > kFewProcesses) return kNeedsTask;
    if (s.which == kPriorityGroup && has_more_members(group, kFewProcesses)) return kNeedsTask;
    switch (s.which) {
        case kPriorityProcess: {  // one thread
            if (s.who == 0) {
                s.any = true;
                s.each(s, c.thread(), c.creds());
            } else if (Ref<Thread> t = find_thread(Pid{i32(s.who)})) {
                s.any = true;
                s.each(s, *t, *t->credentials());
            } else if (find_process(Pid{i32(s.who)})) {
                // A process without threads (pid 1): it is root's.
                s.any = true;
                if (s.best > 0) s.best = 0;
                if (!c.creds().capable(fs::kCapSysNice)) s.error = Errno::kPerm;
            }
            return lib::kOk;
        }
        case kPriorityGroup: {
            rt::LockGuard guard{process_tree};
            PidEntry* e = pid_entry(group);
            if (e)
                for (Process& p : e->members) select_threads(s, p);
            return lib::kOk;
        }
        case kPriorityUser: {
            if (s.who == 0) s.who = c.creds().uid;
            for_each_process([&s](Process& p) {
                select_threads(s, p, &s.who);
                return true;
            });
            return lib::kOk;
        }
        default: return Errno::kInval;
    }
}

Selection lowest_of(Caller& c, i32 which, u32 who) {
    return {c, which, who, [](Selection& sel, Thread& t, const fs::Creds&) {
                if (t.nice < sel.best) sel.best = t.nice;
            }};
}
Result<i64> lowest(const Selection& s) {
    if (!s.any) return Errno::kSrch;
    return i64{20 - s.best};
}
TaskResult getpriority_long(Caller& c, i32 which, u32 who) {
    Selection s = lowest_of(c, which, who);
    CO_TRY(co_await select_long(s));
    co_return lowest(s);
}
Leaf<i64> sys_getpriority(Caller& c, i32 which, u32 who) {
    Selection s = lowest_of(c, which, who);
    auto selected = select(s);
    if (selected.error() == kNeedsTask) return c.later(getpriority_long(c, which, who));
    TRY(selected);
    return lowest(s);
}

Selection change_of(Caller& c, i32 which, u32 who, i32 nice) {
    Selection s{c, which, who, [](Selection& sel, Thread& t, const fs::Creds& theirs) {
                    const fs::Creds& mine = sel.c.creds();
                    bool own = &t == &sel.c.thread() || mine.euid == theirs.uid || mine.euid == theirs.euid;
                    if (!own && !mine.capable(fs::kCapSysNice)) {
                        sel.error = Errno::kPerm;
                    } else if (sel.nice < t.nice && !mine.capable(fs::kCapSysNice) &&
                               u64(i64{20 - sel.nice}) > t.process().limit(kRlimNice)) {
                        sel.error = Errno::kAcces;
                    } else {
                        t.nice = sel.nice;
                    }
                }};
    s.nice = nice < -20 ? -20 : nice > 19 ? 19 : nice;
    return s;
}
Result<i64> changed(const Selection& s) {
    if (!s.any) return Errno::kSrch;
    if (s.error != Errno::kOk) return s.error;
    return i64{0};
}
TaskResult setpriority_long(Caller& c, i32 which, u32 who, i32 nice) {
    Selection s = change_of(c, which, who, nice);
    CO_TRY(co_await select_long(s));
    co_return changed(s);
}
Leaf<i64> sys_setpriority(Caller& c, i32 which, u32 who, i32 nice) {
    Selection s = change_of(c, which, who, nice);
    auto selected = select(s);
    if (selected.error() == kNeedsTask) return c.later(setpriority_long(c, which, who, nice));
    TRY(selected);
    return changed(s);
}

// ---- Scheduling policies and affinity ----

bool realtime(u32 policy) { return policy == kSchedFifo || policy == kSchedRoundRobin; }
bool known(u32 policy) { return policy <= kSchedBatch || policy == kSchedIdle; }

Result<Ref<Thread>> thread_of(Caller& c, i32 pid) {
    if (pid < 0) return Errno::kInval;
    Ref<Thread> t = pid == 0 ? Ref<Thread>(&c.thread()) : find_thread(Pid{pid});
    if (!t) return Errno::kSrch;
    return t;
}

// `flags`: of sched_setattr(2). EOPNOTSUPP: there are no clamps of utilisation.
Result<void> set_policy(Caller& c, i32 pid, u32 policy, i32 priority, u64 flags) {
    Ref<Thread> t = TRY(thread_of(c, pid));
    bool reset = false;
    if (flags & kSchedFlagKeepPolicy) {
        policy = t->sched_policy;
        reset = t->reset_on_fork;
    } else {
        reset = policy & kSchedResetOnFork;
        policy &= ~kSchedResetOnFork;
        if (!known(policy)) return Errno::kInval;
    }
    if (priority < 0 || priority > kSchedMaxPriority || realtime(policy) != (priority != 0)) return Errno::kInval;
    if (!c.creds().capable(fs::kCapSysNice)) {
        if (realtime(policy)) {
            u64 limit = t->process().limit(kRlimRtprio);
            if (policy != t->sched_policy && limit == 0) return Errno::kPerm;
            if (u32(priority) > t->sched_priority && u64(priority) > limit) return Errno::kPerm;
        }
        if (t->sched_policy == kSchedIdle && policy != kSchedIdle &&
            u64(i64{20 - t->nice}) > t->process().limit(kRlimNice))
            return Errno::kPerm;
        if (!same_user(c, *t)) return Errno::kPerm;
        if (t->reset_on_fork && !reset) return Errno::kPerm;
    }
    if (flags & kSchedFlagUtilClamp) return Errno::kOpNotSupp;
    t->reset_on_fork = reset;
    if (flags & kSchedFlagKeepParams) return lib::kOk;  // and the policy too (Linux: __sched_setscheduler)
    t->sched_policy = policy;
    t->sched_priority = u32(priority);
    return lib::kOk;
}

Leaf<i64> sys_sched_setscheduler(Caller& c, i32 pid, i32 policy, UserIn<i32> parameter) {
    if (policy < 0 || !parameter || pid < 0) return Errno::kInval;
    i32 priority = TRY(parameter.get(c.user()));
    TRY(set_policy(c, pid, u32(policy), priority, 0));
    return 0;
}
Leaf<i64> sys_sched_setparam(Caller& c, i32 pid, UserIn<i32> parameter) {
    if (!parameter || pid < 0) return Errno::kInval;
    i32 priority = TRY(parameter.get(c.user()));
    TRY(set_policy(c, pid, 0, priority, kSchedFlagKeepPolicy));
    return 0;
}
Leaf<i64> sys_sched_getscheduler(Caller& c, i32 pid) {
    Ref<Thread> t = TRY(thread_of(c, pid));
    return i64{t->sched_policy | (t->reset_on_fork ? kSchedResetOnFork : 0)};
}
Leaf<i64> sys_sched_getparam(Caller& c, i32 pid, UserOut<i32> to) {
    if (!to || pid < 0) return Errno::kInval;
    Ref<Thread> t = TRY(thread_of(c, pid));
    TRY(to.put(c.user(), i32(t->sched_priority)));
    return 0;
}
Leaf<i64> sys_sched_get_priority_max(Caller&, u32 policy) {
    if (realtime(policy)) return kSchedMaxPriority;
    return known(policy) || policy == kSchedDeadline ? Leaf<i64>(i64{0}) : Leaf<i64>(Errno::kInval);
}
Leaf<i64> sys_sched_get_priority_min(Caller&, u32 policy) {
    if (realtime(policy)) return kSchedMinPriority;
    return known(policy) || policy == kSchedDeadline ? Leaf<i64>(i64{0}) : Leaf<i64>(Errno::kInval);
}
Leaf<i64> sys_sched_rr_get_interval(Caller& c, i32 pid, UserOut<abi::Timespec> to) {
    Ref<Thread> t = TRY(thread_of(c, pid));
    // Round robin: 100 ms; FIFO: none; the others: their time slice.
    i64 slice = t->sched_policy == kSchedRoundRobin ? 100'000'000 : t->sched_policy == kSchedFifo ? 0 : 4'000'000;
    TRY(to.put(c.user(), {0, slice}));
    return 0;
}

// E2BIG, and the size that is known: a size that is none, or something in fields that are not known.
Leaf<abi::SchedAttr> read_attributes(Caller& c, UserAddr at) {
    abi::SchedAttr a{};
    u32 size = 0;
    TRY(c.user().read(&size, at, sizeof size));
    if (size == 0) size = kSchedAttrSize0;
    bool known = size >= kSchedAttrSize0 && size <= kPageSize;
    for (u32 done = sizeof a; known && done < size;) {
        u8 rest[256];
        const u32 n = size - done < sizeof rest ? size - done : sizeof rest;
        TRY(c.user().read(rest, at + done, n));
        for (u32 i = 0; i < n; ++i) known &= rest[i] == 0;
        done += n;
    }
    if (!known) {
        const u32 ours = sizeof a;
        auto told = c.user().write(at, &ours, sizeof ours);
        return told.error() == kNeedsFault ? told.error() : Errno::k2Big;
    }
    TRY(c.user().read(&a, at, size < sizeof a ? size : sizeof a));
    if ((a.flags & kSchedFlagUtilClamp) && size < sizeof a) return Errno::kInval;
    return a;
}

Leaf<i64> sys_sched_setattr(Caller& c, i32 pid, UserAddr at, u32 flags) {
    if (at.value == 0 || pid < 0 || flags != 0) return Errno::kInval;
    abi::SchedAttr a = TRY(read_attributes(c, at));
    if (i32(a.policy) < 0 || (a.flags & ~kSchedFlagAll)) return Errno::kInval;
    Ref<Thread> t = TRY(thread_of(c, pid));
    if (a.flags & kSchedFlagKeepPolicy) a.policy = t->sched_policy;
    if (!known(a.policy)) return Errno::kInval;
    if (a.flags & kSchedFlagKeepParams) {
        if (realtime(t->sched_policy))
            a.priority = t->sched_priority;
        else
            a.nice = t->nice;
    }
    i32 nice = a.nice < -20 ? -20 : a.nice > 19 ? 19 : a.nice;
    if (!realtime(a.policy) && nice < t->nice && !c.creds().capable(fs::kCapSysNice) &&
        u64(i64{20 - nice}) > t->process().limit(kRlimNice))
        return Errno::kPerm;
    TRY(set_policy(c, pid, a.policy | ((a.flags & kSchedFlagResetOnFork) ? kSchedResetOnFork : 0), i32(a.priority),
                   a.flags));
    if (!realtime(a.policy) && !(a.flags & kSchedFlagKeepParams)) t->nice = nice;
    return 0;
}
Leaf<i64> sys_sched_getattr(Caller& c, i32 pid, UserAddr to, u32 size, u32 flags) {
    if (to.value == 0 || pid < 0 || size > kPageSize || size < kSchedAttrSize0 || flags != 0) return Errno::kInval;
    Ref<Thread> t = TRY(thread_of(c, pid));
    abi::SchedAttr a{};
    a.size = size < sizeof a ? size : sizeof a;
    a.policy = t->sched_policy;
    a.flags = t->reset_on_fork ? kSchedFlagResetOnFork : 0;
    if (realtime(a.policy))
        a.priority = t->sched_priority;
    else
        a.nice = t->nice;
    TRY(c.user().write(to, &a, a.size));
    return 0;
}

// A CPU that a module owns is the last, and not among them.
CpuSet user_cpus() { return CpuSet::first(port::Port::cpu_count()); }

// The kernel's mask is whole words (sched_getaffinity(2), "C library/kernel differences").
Leaf<i64> sys_sched_getaffinity(Caller& c, i32 pid, u32 size, UserAddr to) {
    if (size * 8 < lib::kMaxCpus || (size & 7)) return Errno::kInval;
    if (pid < 0) return Errno::kSrch;
    Ref<Thread> t = TRY(thread_of(c, pid));
    u64 mask = (t->allowed_cpus() & user_cpus()).bits;
    TRY(c.user().write(to, &mask, sizeof mask));
    return i64{sizeof mask};
}
Leaf<i64> sys_sched_setaffinity(Caller& c, i32 pid, u32 size, UserAddr from) {
    u64 mask = 0;
    TRY(c.user().read(&mask, from, size < sizeof mask ? size : sizeof mask));
    if (pid < 0) return Errno::kSrch;
    Ref<Thread> t = TRY(thread_of(c, pid));
    if (!same_user(c, *t) && !c.creds().capable(fs::kCapSysNice)) return Errno::kPerm;
    CpuSet wanted = CpuSet{u32(mask)} & user_cpus();
    if (wanted.empty()) return Errno::kInval;
    t->set_affinity(wanted);
    return 0;
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_prlimit64>(abi::kNrPrlimit64, "prlimit64", Module::kTask, "misc/limit_rules"),
    row<&sys_getrlimit>(abi::kNrGetrlimit, "getrlimit", Module::kTask, "misc/limit_rules"),
    row<&sys_setrlimit>(abi::kNrSetrlimit, "setrlimit", Module::kTask, "badptr/processes"),
    row<&sys_getrusage>(abi::kNrGetrusage, "getrusage", Module::kTask, "badptr/processes"),
    row<&sys_getpriority>(abi::kNrGetpriority, "getpriority", Module::kTask, "misc/priorities"),
    row<&sys_setpriority>(abi::kNrSetpriority, "setpriority", Module::kTask, "misc/priorities"),
    row<&sys_sched_setscheduler>(abi::kNrSchedSetscheduler, "sched_setscheduler", Module::kTask, "misc/scheduling"),
    row<&sys_sched_getscheduler>(abi::kNrSchedGetscheduler, "sched_getscheduler", Module::kTask, "misc/scheduling"),
    row<&sys_sched_setparam>(abi::kNrSchedSetparam, "sched_setparam", Module::kTask, "calls/scheduling_parameters"),
    row<&sys_sched_getparam>(abi::kNrSchedGetparam, "sched_getparam", Module::kTask, "misc/scheduling"),
    row<&sys_sched_get_priority_max>(abi::kNrSchedGetPriorityMax, "sched_get_priority_max", Module::kTask,
                                     "misc/scheduling"),
    row<&sys_sched_get_priority_min>(abi::kNrSchedGetPriorityMin, "sched_get_priority_min", Module::kTask,
                                     "misc/scheduling"),
    row<&sys_sched_rr_get_interval>(abi::kNrSchedRrGetInterval, "sched_rr_get_interval", Module::kTask,
                                    "badptr/processes"),
    row<&sys_sched_setattr>(abi::kNrSchedSetattr, "sched_setattr", Module::kTask, "calls/scheduling_parameters"),
    row<&sys_sched_getattr>(abi::kNrSchedGetattr, "sched_getattr", Module::kTask, "calls/scheduling_parameters"),
    row<&sys_sched_getaffinity>(abi::kNrSchedGetaffinity, "sched_getaffinity", Module::kTask, "misc/affinity"),
    row<&sys_sched_setaffinity>(abi::kNrSchedSetaffinity, "sched_setaffinity", Module::kHome, "misc/affinity"),
};
const std::span<const SyscallRow> resource_rows{kRows};

}  // namespace linux
