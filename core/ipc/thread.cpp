// SPDX-License-Identifier: MIT
// The life of a native thread apart from its messages: running, stopping, moving, timeouts, its end.
#include "core/ipc/thread.hpp"

#include "core/ipc/counts.hpp"
#include "core/ipc/ipc.hpp"
#include "core/sched.hpp"
#include "core/trace.hpp"
#include "core/trap.hpp"

namespace core {

using hal::Machine;

namespace {

constinit std::atomic<u64> numbers{0};

void native_trap(Thread& th, const lib::Trap& trap) {
    NativeThread& t = static_cast<NativeThread&>(th);
    t.fault = trap;
    const bool fast = (t.fastpaths & native::kFastException) != 0;
    if (trace::on.load(std::memory_order_relaxed)) [[unlikely]] {
        if (fast) ipc::fast_fault_traced(t);
        trace::begin_slow(trace::Path::kSlowException, t.number, trace::call_of(trap));
    } else if (fast) {
        ipc::fast_fault(t);
    }
    if (ipc::counted) [[unlikely]]
        ipc::count_tried(t, trap.kind == lib::Trap::Kind::kPageFault ? ipc::Slow::kPageFault : ipc::Slow::kOtherTrap);
    ipc::raise(t, trap, NativeThread::Expects::kFault);
}

// Kicked: a control request found it running, or on its way home.
void native_kicked(Thread& th) {
    NativeThread& t = static_cast<NativeThread&>(th);
    t.kicked.store(false, std::memory_order_relaxed);
    rt::Executor::current().enqueue_front(t);
    if (t.control_here()) t.publish_end();
}

bool native_turn_over(Thread& th) {
    // Whoever pays for th: the clock that runs on its CPU.
    rt::Executor& ex = rt::Executor::current();
    auto& payer = static_cast<NativeThread&>(*state_of(ex).time_payer);
    if (!payer.has_budget()) return false;
    Nanoseconds now = Machine::now(), again;
    th.account_user(now);  // so that the time used until now counts
    Thread::start_clock(ex, payer, now);
    u64 left = payer.sched->left(now, again);
    if (left != 0) sched::end_turn_at(ex, now + Nanoseconds{left});
    return left == 0;
}

void native_charge(Thread& th, u64 ns) {
    Sched* s = static_cast<NativeThread&>(th).sched.get();
    if (!s) return;
    s->used.fetch_add(ns, std::memory_order_relaxed);
    if (!s->limited()) return;
    ObjectGuard guard{s->lock};
    s->spent += ns;
}

}  // namespace

void redirected_syscall(Thread& th) {
    NativeThread& t = static_cast<NativeThread&>(th);
    const bool fast = (t.fastpaths & native::kFastException) != 0;
    if (trace::on.load(std::memory_order_relaxed)) [[unlikely]] {
        if (fast) ipc::fast_exception_traced(t);
        trace::begin_slow(trace::Path::kSlowException, t.number, trace::call_of(t.context.syscall_number()));
    } else if (fast) {
        ipc::fast_exception(t);
    }
    if (ipc::counted) [[unlikely]]
        ipc::count_tried(t, ipc::Slow::kCall);
    ipc::raise(t, lib::Trap{.kind = lib::Trap::Kind::kSyscall}, NativeThread::Expects::kSyscall);
}

constinit const Abi kNativeAbi{&native_syscall, &native_trap, &native_kicked, &native_turn_over, &native_charge};
constinit const Abi kRedirectAbi{&redirected_syscall, &native_trap, &native_kicked, &native_turn_over, &native_charge};

NativeThread::NativeThread() : Object(native::kTypeThread) {
    run = &NativeThread::run_native;
    abi = &kNativeAbi;
    slow_switch_reasons = Machine::can_switch_thread_state() ? 0 : kSlowBases;
    fastpaths.store(u8(ipc::fastpaths_enabled), std::memory_order_relaxed);
    choose_entry();
    number = numbers.fetch_add(1, std::memory_order_relaxed) + 1;
    set_priority(native::kDefaultPriority);
    live_on(CpuId{0});
}

NativeThread::~NativeThread() {
    RT_ASSERT(!run_hook.linked() && !wait_next && !wait_prev, "a thread is freed in a queue");
    RT_ASSERT(owed.load(std::memory_order_relaxed) == nullptr, "a thread is freed that is owed an answer");
    RT_ASSERT(reply.found() == nullptr, "a thread is freed that owes an answer");
    RT_ASSERT(!timeout_.armed && !parked_, "a thread is freed that waits for its timer");
    RT_ASSERT(!control_job_.posted.load() && !timeout_job_.posted.load() && !errand_.posted.load() && !alarm_.armed &&
                  !alarm_job_.posted.load(),
              "a thread is freed while a job of it is under way");
    RT_ASSERT(endings.objects.empty(), "a thread is freed that has objects to end");
}

void NativeThread::inherit(const NativeThread& maker) {
    program = maker.program;
    // Nothing names it yet. The maker runs here, at its home, where alone its Sched changes.
    sched.set(ThreadClaim::of_taken(*this), ObjectRef<Sched>{maker.sched.get()});
    u64 most = sched ? sched->highest_priority.load(std::memory_order_relaxed) : 0;
    set_priority(maker.priority_number < most ? maker.priority_number : most);
    live_on(maker.home().cpu());
}

// The home last: whoever posts it there has seen it, and that CPU reads the rest.
void NativeThread::live_on(CpuId cpu) {
    affinity = CpuSet{1u << cpu.value};
    only_on = u8(cpu.value);
    set_home(rt::Executor::of(cpu));
}

void NativeThread::choose_entry() {
    hal::set_entry(context, fastpaths.load(std::memory_order_relaxed) != native::kFastAll ? hal::CallEntry::kGeneral
                            : redirect                                                    ? hal::CallEntry::kRedirected
                                                                                          : hal::CallEntry::kNative);
}

void NativeThread::wake(bool front) {
    state.store(native::kStateReady, std::memory_order_relaxed);  // published by the post
    make_ready(front);
}

void NativeThread::wake_answered(u64 word) {
    wake((word & native::kBehind) == 0 && rt::Executor::current().slice.may_go_first());
}

void NativeThread::renew_here(u8 what) {
    if (what & kRenewBases) {
        leave_cpu();
        hal::set_bases(context, new_bases);
    }
    if (what & kRenewEntry) choose_entry();
}

// At home, ready and in no queue. True: it waits for its handler now. Without one that it can tell there is no effect.
bool NativeThread::raise_kick() {
    slow_switch_reasons &= u8(~kSlowKicked);
    return ipc::raise_kick(*this);
}

// Makes sure that a ready thread looks at `renew` before it enters user mode; where it is entered otherwise than through
// run_native(), there is a look too, or one at what is marked here. False: it is in other hands for a moment.
bool NativeThread::kick_here() {
    if ((renew.load(std::memory_order_seq_cst) & kRenewKick) == 0) return true;  // it has looked
    switch (state.load(std::memory_order_acquire)) {
        case native::kStateReady: return true;  // this CPU has left user mode for the request
        case native::kStateSending:
        case native::kStateReceiving:
        case native::kStateWaiting:
            return in_queue([&](Waitable&) {
                slow_switch_reasons |= kSlowKicked;
                return true;
            });
        case native::kStateAwaitingReply: {
            ReplySlot* link = owed.load(std::memory_order_acquire);
            if (!link) return false;
            return ReplySlot::is_kicked(link) ||
                   owed.compare_exchange_strong(link, ReplySlot::kicked(link), std::memory_order_seq_cst);
        }
        default: return true;
    }
}

void NativeThread::trap_again(Expects kind) {
    if (kind == Expects::kSyscall) context.restart_syscall();
    if (kind == Expects::kFault && fault.kind == lib::Trap::Kind::kKick) note_kick();
}

NativeThread& NativeThread::payer() {
    NativeThread* payer = this;
    for (u32 depth = 0; depth < 16; ++depth) {
        NativeThread* caller = payer->reply.caller.load(std::memory_order_acquire);
        if (!caller || &caller->home() != &home()) break;
        payer = caller;
    }
    return *payer;
}

bool NativeThread::has_budget() const {
    Sched* s = sched.get();
    return s && s->limited();
}

void NativeThread::run_native(rt::Schedulable& s) {
    NativeThread& t = static_cast<NativeThread&>(static_cast<Thread&>(s));
    rt::Executor& ex = rt::Executor::current();
    if (&t.home() != &ex) [[unlikely]] {
        t.home().post(t);  // it has moved while this was under way
        return;
    }
    if (t.control.load(std::memory_order_relaxed) != 0) [[unlikely]] {
        ex.enqueue_front(t);
        if (t.control_here()) t.publish_end();
        return;
    }
    bool kicked = false;
    if (t.renew.load(std::memory_order_relaxed) != 0) [[unlikely]] {
        const u8 what = t.renew.exchange(0, std::memory_order_acq_rel);
        t.renew_here(what);
        kicked = (what & kRenewKick) != 0;
    }
    NativeThread& payer = t.payer();
    if (Sched* sched = payer.sched.get(); sched && sched->limited()) {
        Nanoseconds now = Machine::now(), again;
        u64 left = sched->left(now, again);
        if (left == 0) {
            // Its handler would run on its budget.
            if (kicked) t.note_kick();
            t.parked_ = true;  // the timer brings it back
            ex.timers().arm(t.timeout_, again);
            return;
        }
        sched::end_turn_at(ex, now + Nanoseconds{left});
    }
    if (kicked && t.raise_kick()) [[unlikely]]
        return;
    trace::enter(t.number);
    sched::start_any_slice(ex);
    t.enter(payer);
}

// --- Control

bool NativeThread::claim(u32 only) {
    return in_queue([&](Waitable& at) {
        at.lock.assume_held();
        if (only != 0 && state.load(std::memory_order_relaxed) != only) return false;
        at.take_out(*this);
        state.store(native::kStateReady, std::memory_order_relaxed);
        return true;
    });
}

bool NativeThread::cancel() {
    return state.load(std::memory_order_acquire) == native::kStateAwaitingReply ? ipc::withdraw(*this) : claim();
}

// A request that is made again while it is carried out is carried out again.
bool NativeThread::ask(u32 bits) {
    u32 now = control.load(std::memory_order_relaxed);
    // seq_cst: pairs with ThreadClaim::release(), which gives the state back and then looks here.
    while (!control.compare_exchange_weak(now, now | bits | (now & bits) << kAgainShift, std::memory_order_seq_cst)) {
    }
    if (&home() == &rt::Executor::current()) {
        // What runs here may be a job of the kernel's that ends objects, and no call.
        rt::Schedulable* const runs = rt::Executor::current().running();
        if (control_here(runs && is_one(*runs) ? static_cast<Thread*>(runs) : nullptr)) publish_end();
        return (control.load(std::memory_order_relaxed) & bits) == 0;
    }
    const Taken taken = take(control_job_);
    if (taken == Taken::kNow) home().post(control_job_);
    return taken == Taken::kEnded;
}

void NativeThread::run_control(rt::Schedulable& s) {
    Job& job = static_cast<Job&>(s);
    NativeThread& t = job.owner;
    if (&t.home() != &rt::Executor::current()) {
        t.home().post(job);
        return;
    }
    job.posted.store(false);
    bool ended = t.control_here();
    t.unref();  // before others may see the end: from then on only their references keep it
    if (ended) t.publish_end();
}

// Others free it from now on, one epoch later.
void NativeThread::publish_end() {
    state.store(native::kStateEnded, std::memory_order_release);
    control.store(0, std::memory_order_release);
}

// No job of it is under way on this CPU or to it.
bool NativeThread::without_jobs() {
    if (control_job_.posted.load()) return false;  // it ends the thread when it runs
    // Soon over, wherever they are: the request to end is made again until then.
    if (errand_.posted.load() || alarm_job_.posted.load()) return false;
    if (!timeout_job_.posted.load()) return true;
    // On its way here, or with a CPU that was its home: it looks for the request.
    if (!rt::Executor::current().queue.holds(timeout_job_)) return false;
    rt::Executor::current().queue.remove(timeout_job_);
    timeout_job_.posted.store(false);
    unref();
    return true;
}

void NativeThread::want(ObjectRef<Sched> with, u8 at, CpuId cpu) {
    ObjectRef<Sched> before;  // dropped without the lock
    auto w = wanted_.lock();
    if (w->closed) return;
    before = std::move(w->sched);
    w->sched = std::move(with);
    w->priority = at;
    w->cpu = cpu;
    w->any = true;
}

// At home, and unclaimed: the requested priority, CPU and Sched.
void NativeThread::settle() {
    ObjectRef<Sched> with;
    u8 level;
    CpuId to;
    {
        auto w = wanted_.lock();
        if (!w->any) return;
        w->any = false;
        with = std::move(w->sched);
        level = w->priority;
        to = w->cpu;
    }
    sched.set(ThreadClaim::of_taken(*this), std::move(with));
    set_priority(level);
    if (to == home().cpu()) return;
    // A path that goes to this thread may have looked at slow_switch_reasons before the thread had this home.
    if (renew.load(std::memory_order_relaxed) & kRenewKick)
        control.fetch_or(kControlKick | kControlKick << kAgainShift, std::memory_order_relaxed);
    leave_cpu();
    live_on(to);
}

// False: it is on its way home from another CPU, which may hold it in a queue of its own for a moment; run_native()
// sees the request. Or it is claimed: after_claim().
bool NativeThread::move_here() {
    switch (state.load(std::memory_order_acquire)) {
        case native::kStateReady:
            if (!parked_) return false;
            settle();
            return true;
        case native::kStateSending:
        case native::kStateReceiving:
        case native::kStateWaiting:
            return in_queue([&](Waitable& at) {
                at.lock.assume_held();
                // Whoever takes it from here on finds the new home.
                at.take_out(*this);
                settle();
                at.insert(*this);
                return true;
            });
        case native::kStateAwaitingReply: settle(); return true;
        case native::kStateEnded: return true;
        default: {
            ThreadClaim claim = ThreadClaim::of_inactive(*this);
            if (!claim.ok()) return false;
            settle();
            claim.release_at_home();
            return true;
        }
    }
}

// Takes down what its registers are; false: as move_here().
bool NativeThread::save_here() {
    Saved now;
    auto copy = [&] {
        save_state();
        now.valid = true;
        hal::get_registers(context, now.registers);
        if (renew.load(std::memory_order_relaxed) & kRenewBases) hal::set_bases(now.registers, new_bases);
    };
    switch (state.load(std::memory_order_acquire)) {
        case native::kStateReady:
        case native::kStateEnded: break;
        case native::kStateSending:
        case native::kStateReceiving:
        case native::kStateWaiting:
            if (!in_queue([&](Waitable&) {
                    copy();
                    return true;
                }))
                return false;
            break;
        case native::kStateAwaitingReply: {
            copy();
            // Who takes it from its slot writes to it afterwards, and it cannot wait again without this CPU: if it
            // still waits nothing was written. (An exchange that changes nothing: a load could overtake the copying.)
            ReplySlot* link = owed.load(std::memory_order_acquire);
            if (!link || !owed.compare_exchange_strong(link, link, std::memory_order_seq_cst)) return false;
            break;
        }
        default: {
            ThreadClaim claim = ThreadClaim::of_inactive(*this);
            if (!claim.ok()) return false;
            copy();
            claim.release_at_home();
        }
    }
    *saved_.lock() = now;
    return true;
}

bool NativeThread::saved_registers(native::Registers& out) {
    auto s = saved_.lock();
    if (s->valid) out = s->registers;
    return s->valid;
}

// It is in the hands of another CPU, which wakes it or receives from it: soon one can tell which.
void NativeThread::ask_again() {
    if (take(control_job_) == Taken::kNow) home().post(control_job_);
}

NativeThread::Taken NativeThread::take(Job& job) {
    if (job.posted.exchange(true)) return Taken::kByAnother;
    if (try_ref()) return Taken::kNow;
    job.posted.store(false);
    return Taken::kEnded;
}

void NativeThread::after_claim() { ask_again(); }

void NativeThread::leave_stopped() {
    if (state.load(std::memory_order_acquire) == kStateClaimed) const ThreadClaim over = ThreadClaim::of_claimed(*this);
    ipc::leave(*this);
}

// Stopped::kOurs: it is in no queue, ready, and this CPU's to change. kNo: in other hands for a moment.
NativeThread::Stopped NativeThread::stop_here(bool mine) {
    rt::Executor& ex = rt::Executor::current();
    const u32 now = state.load(std::memory_order_acquire);
    switch (now) {
        case native::kStateInactive:
        case kStateClaimed:
        case native::kStateEnded: return Stopped::kWasInactive;
        case native::kStateReady:
            if (ex.queue.holds(*this)) {
                ex.queue.remove(*this);
            } else if (parked_) {
                parked_ = false;
                rt::cancel_timer(timeout_);
            } else if (!mine) {
                return Stopped::kNo;  // in flight: run_native() will see the request
            }
            break;
        default: {
            // The object that it waits for, before that ends.
            const Expects kind = now == native::kStateAwaitingReply ? expects
                                 : now == native::kStateSending     ? queued_as
                                                                    : Expects::kMessage;
            if (!cancel()) return Stopped::kNo;
            // A trap that was not answered happens again: its registers stay what they were.
            if (kind == Expects::kMessage) context.set_syscall_result(-i64(Errno::kCanceled));
            trap_again(kind);
        }
    }
    drop_timeout();
    save_state();
    // The objects that it was about to end do not wait until it continues.
    caps::pass_on(endings, false);
    return Stopped::kOurs;
}

// Another thread of this CPU, the caller that ends or moves it perhaps, may run on its clock. Outside a call no clock runs.
void NativeThread::stop_paying(Thread* in_call_of) {
    rt::Executor& ex = rt::Executor::current();
    if (state_of(ex).time_payer != this) return;
    account_user(Machine::now());
    if (in_call_of)
        start_clock(ex, *in_call_of, Machine::now());
    else
        state_of(ex).time_payer = nullptr;
}

// Takes apart what only its home can. True: it has ended, publish_end().
bool NativeThread::end_here(ThreadClaim claim, bool mine, Thread* in_call_of) {
    rt::cancel_timer(alarm_);
    if (!without_jobs()) {
        if (mine)
            claim.keep();
        else
            claim.release_at_home();  // the job comes here
        return false;
    }
    if (!mine) stop_paying(in_call_of);
    state_changed();  // it will not run again: this CPU must not save its state into what will be freed
    abandon(reply, Errno::kIdRm);
    if (Notification* n = bound.get()) {
        ObjectGuard guard{n->lock};
        n->bound.store(nullptr, std::memory_order_relaxed);
    }
    bound.set(claim, {});
    handler.set(claim, {});
    ObjectRef<Sched> wanted;  // dropped without the lock
    {
        auto w = wanted_.lock();
        w->closed = true;
        w->any = false;
        wanted = std::move(w->sched);
    }
    caps::pass_on(endings, true);
    claim.keep();
    return true;
}

bool NativeThread::control_here(Thread* in_call_of) {
    bool ended = false;
    rt::Executor& ex = rt::Executor::current();
    // A CPU that had not seen the end has made another request: nothing is left to do, and repeating it would never
    // stop.
    if (state.load(std::memory_order_acquire) == native::kStateEnded) {
        control.store(0, std::memory_order_release);
        return false;
    }
    const u32 asked = control.load(std::memory_order_acquire) & kControlAll;
    u32 done = 0;
    if (asked & kControlEntry) {
        choose_entry();
        // If another CPU configures it in the meantime, its home chooses again.
        if (state.load(std::memory_order_acquire) != native::kStateReady)
            renew.fetch_or(kRenewEntry, std::memory_order_release);
        done |= kControlEntry;
    }
    if ((asked & kControlSave) && save_here()) done |= kControlSave;
    if ((asked & kControlKick) && kick_here()) done |= kControlKick;
    if (asked & (kControlStop | kControlEnd)) {
        const bool mine = ex.running() == static_cast<Schedulable*>(this) && !run_hook.linked();
        switch (stop_here(mine)) {
            case Stopped::kNo: break;
            case Stopped::kOurs:
                done |= kControlStop;
                stands_still();
                // From here on as if it had been claimed; the release makes it inactive.
                // One in a call of its own stays so until that is over (leave_stopped()): another CPU would make it ready.
                state.store(kStateClaimed, std::memory_order_relaxed);
                if (asked & kControlEnd)
                    ended = end_here(ThreadClaim::of_claimed(*this), mine, in_call_of);
                else if (!mine)
                    ThreadClaim::of_claimed(*this).release_at_home();
                break;
            case Stopped::kWasInactive:
                done |= kControlStop;
                if (asked & kControlEnd)
                    if (ThreadClaim claim = ThreadClaim::of_inactive(*this); claim.ok())
                        ended = end_here(std::move(claim), mine, in_call_of);
        }
    }
    if (ended) return true;
    const bool queued = (asked & kControlMove) && ex.queue.holds(*this);
    if (queued) ex.queue.remove(*this);
    if (queued) settle();
    // Elsewhere it cannot see who still runs on its clock here.
    if ((asked & kControlMove) && state.load(std::memory_order_acquire) == native::kStateAwaitingReply)
        stop_paying(in_call_of);
    if ((asked & kControlMove) && (queued || move_here())) done |= kControlMove;
    // Release: a CPU that finds its request done sees the effects.
    u32 now = control.load(std::memory_order_relaxed), again, left;
    do {
        again = now >> kAgainShift & done;
        left = (now & ~(done | done << kAgainShift)) | again;
    } while (!control.compare_exchange_weak(now, left, std::memory_order_acq_rel));
    // The end of a claim repeats the request. A kick that moved with the thread is for its new home.
    if (again != 0 || (left & ~asked & kControlKick) != 0 ||
        ((asked & ~done) != 0 && state.load(std::memory_order_acquire) != kStateClaimed))
        ask_again();
    if (queued) make_ready();
    return false;
}

bool NativeThread::end(u32& budget, Endings& more) {
    if (state.load(std::memory_order_acquire) != native::kStateEnded) {
        if (!ask(kControlEnd)) return false;
    }
    const ThreadClaim claim = ThreadClaim::of_taken(*this);
    if (Memory* m = utcb_memory.get()) {
        utcb.set(claim, nullptr);
        if (!m->end(budget, more)) return false;
        utcb_memory.set(claim, {});
    }
    // Now, not when it is freed an epoch later: what they are charged to is given back then.
    space_object.set(claim, {});
    sched.set(claim, {});
    restart_memory = {};
    return true;
}

u64 Sched::left(Nanoseconds now, Nanoseconds& again) {
    ObjectGuard guard{lock};
    if (now.value - period_start >= period) {
        period_start = now.value;
        spent = 0;
    }
    again = Nanoseconds{period_start + period};
    const u64 all = budget.load(std::memory_order_relaxed);
    return spent < all ? all - spent : 0;
}

}  // namespace core
