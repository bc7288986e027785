// SPDX-License-Identifier: MIT
// A thread of the native interface.
//
// Ownership instead of a lock: what is not said to be atomic belongs to the thread's home CPU, whose kernel runs with
// interrupts off; other CPUs reach it by what they take out of a Waitable's queue or a ReplySlot (then the thread
// waits, and is theirs until they post it home), and ask for the rest with a control request that the home CPU carries
// out. An inactive thread has no owner: a CPU that changes it, its home included, claims it first. Its configuration is
// Owned: it changes only with a ThreadClaim (claim.hpp).
// Blocking is a state: no coroutine, no allocation, no kernel stack.
#pragma once
#include "core/cap/cap.hpp"
#include "core/ipc/claim.hpp"
#include "core/ipc/space.hpp"
#include "core/ipc/wait.hpp"
#include "core/thread.hpp"

namespace core {

class Sched;

class NativeThread final : public Thread, public Object {
public:
    NativeThread();
    ~NativeThread() override;
    bool end(u32& budget, Endings& more) override;

    // --- Read by the fastpaths, of this thread and of the one it talks to.

    Owned<CapTable*> caps;  // of its space
    // The same, for the fastpaths.
    Owned<u64> cap_limit;
    Owned<const std::atomic<Cap*>*> cap_slots;
    ReplySlot reply;  // the caller it owes an answer
    std::atomic<ReplySlot*> owed{nullptr};
    // In Thread::slow_switch_reasons: it has a timeout; its receives wait for a notification too; the machine cannot
    // switch TLS bases with single instructions; it may wait for the answer to a trap; it was kicked while it waited in a
    // queue.
    static constexpr u8 kSlowTimed = 2, kSlowBound = 4, kSlowBases = 8, kSlowTrapped = 16, kSlowKicked = 32;
    bool timed() const { return (slow_switch_reasons & kSlowTimed) != 0; }
    // No CPU goes from another thread to this one directly.
    bool takes_slowpath() const { return (slow_switch_reasons & (kSlowTimed | kSlowKicked)) != 0; }
    // With nothing but these in both threads, registers alone are switched.
    static constexpr u8 kQuickSwitch = kSlowBound | kSlowTrapped;
    // Whatever is pressing (Executor::pressing) keeps a CPU from switching to this thread: levels above its own,
    // attention.
    u64 gives_way_to = 0;
    enum class Expects : u8 { kMessage, kSyscall, kFault };
    // From its answer. Written by owe(); read by a thread that may answer, for which it is reliable only once it owns
    // the caller.
    Expects expects = Expects::kMessage;
    std::atomic<u8> fastpaths{native::kFastAll};
    bool queued_call = false;  // waits as a sender: wants an answer
    std::atomic<u32> state{native::kStateInactive};
    // A state in addition to native::ThreadState: inactive, and owned by the holder of the ThreadClaim.
    static constexpr u32 kStateClaimed = 0x100;
    u32 visible_state() const {
        const u32 now = state.load(std::memory_order_acquire);
        return now == kStateClaimed ? u32(native::kStateInactive) : now;
    }
    bool inactive() const { return visible_state() == native::kStateInactive; }
    // Called by its owner. From now on it is ready, or waits: one of the threads that its program goes on with, if it can
    // make native calls. stands_still(): no more; the last of a program tells native_system. Again without effect.
    void comes_alive();
    void stands_still();
    // The same, and it is inactive: anybody may claim it.
    void stop() {
        stands_still();
        state.store(native::kStateInactive, std::memory_order_release);
    }

    // The end of a call of its own in which a request stopped it, or ended it. The CPU is the executor's.
    [[noreturn]] void leave_stopped();

    static bool is_one(const rt::Schedulable& s) { return s.run == &NativeThread::run_native; }
    // On whose clock it runs: the thread at the bottom of the chain of calls that it works for, as far as it is on this
    // CPU.
    NativeThread& payer();
    bool has_budget() const;
    // As make_live(), in a few instructions if only TLS bases are to be switched.
    [[gnu::always_inline]] void go_live(rt::Executor& ex) {
        Thread* before = state_of(ex).fpu_owner;
        if (before == this) return;
        constexpr u8 kSlow = kSlowFpu | kSlowBases | kSlowOpenFpu;
        if (!before || ((before->slow_switch_reasons | slow_switch_reasons) & kSlow)) return make_live();
        hal::Machine::switch_thread_state(before->context, context);
        state_of(ex).fpu_owner = this;
    }

    // --- The rest

    // Is it in a queue? Stable under the lock of the object in waits_at.
    bool waits() const {
        u32 now = state.load(std::memory_order_acquire);
        return now == native::kStateSending || now == native::kStateReceiving || now == native::kStateWaiting;
    }
    // Where it waits, or waited last; changed only under the new object's lock.
    std::atomic<Waitable*> waits_at{nullptr};
    NativeThread *wait_next = nullptr, *wait_prev = nullptr;
    u64 badge = 0;  // waits as a sender: of the capability it used
    bool may_grant = false;
    u64 tag = 0;
    Expects queued_as = Expects::kMessage;
    lib::Trap fault;  // that is to be sent

    Owned<native::Utcb*> utcb;  // through the direct map; null until it is mapped into its space
    OwnedRef<Memory> utcb_memory;
    OwnedRef<SpaceObject> space_object;
    OwnedRef<Endpoint> handler;
    Owned<u64> handler_badge;
    Owned<bool> redirect;
    Owned<bool> no_fpu;  // native::kNoFpu
    OwnedRef<Notification> bound;
    OwnedRef<Sched> sched;  // changed at home only
    u8 priority_number = native::kDefaultPriority;
    // The first program that it is a thread of, as its maker; kNoProgram: of none that ends by itself.
    static constexpr u8 kPrograms = 2, kNoProgram = 0xff;
    u8 program = kNoProgram;
    u64 number = 0;  // for traces and dumps

    void set_priority(u64 n) {
        priority_number = u8(n);
        priority = rt::Priority(u32(rt::Priority::kLowest) - u32(n));
        gives_way_to = ((u64{1} << u32(priority)) - 1) | ~u64{0} << 32;
    }

    // A new thread: its home, Sched and priority are those of its maker (at most the Sched's highest).
    void inherit(const NativeThread& maker);

    // Requests of others, carried out at home. A bit is cleared when its request is done.
    enum Control : u32 {
        kControlStop = 1,
        kControlMove = 2,
        kControlSave = 4,
        kControlEnd = 8,
        kControlEntry = 16,
        kControlKick = 32,
    };
    static constexpr u32 kControlAll = 63, kAgainShift = 8;  // above: requested again while it is carried out
    std::atomic<u32> control{0};
    // For kControlMove: all three together, from one call.
    void want(ObjectRef<Sched> with, u8 priority, CpuId cpu);
    // For kControlSave: the registers as they were at one moment since it was asked for. False: it was ready then.
    bool saved_registers(native::Registers& out);
    // For kControlEntry: `fastpaths` has changed. Which entry its calls take, by its kind and its fastpaths.
    void choose_entry();
    // For kControlKick: its next way to user mode is an exception. Noted first, from any CPU, and kept until then.
    void note_kick() { renew.fetch_or(kRenewKick, std::memory_order_seq_cst); }
    // Asks; only in a thread's call. True: done (this CPU is its home, or nothing was to be done). False: look at
    // `control` later.
    bool ask(u32 bits);
    // At home. `in_call_of`: the thread whose call it is that this CPU is in, if it is in one.
    [[nodiscard]] bool control_here(Thread* in_call_of = nullptr);  // true: it has ended, publish_end()
    void publish_end();
    bool without_jobs();
    // A claim of it was released: its home carries out what was requested in the meantime.
    void after_claim();

    // What it is configured with.
    struct Configuration {
        ObjectRef<SpaceObject> space;
        ObjectRef<Endpoint> handler;
        u64 handler_badge = 0;
        bool redirect = false, no_fpu = false;
    };
    void configure(const ThreadClaim& claim, Configuration to);
    void place_utcb(const ThreadClaim& claim, u64 address);  // where its memory is mapped already
    void set_handler(const ThreadClaim& claim, ObjectRef<Endpoint> to, u64 badge);
    void set_space(const ThreadClaim& claim, ObjectRef<SpaceObject> to);

    // What a call does to a thread that stands still (it is inactive, or waits for an answer), at that thread's home,
    // where no other CPU has any of it.
    struct Work {
        Result<i64> (*run)(NativeThread& target, const ThreadClaim& claim, Work& work) = nullptr;
        ObjectRef<Endpoint> endpoint{};
        ObjectRef<SpaceObject> object{};
        Ref<Space> space{};  // the caller's, for `address`
        u64 address = 0, size = 0;
    };
    // Part of a call of this thread, which is made again until it is done. kBusy: `target` runs, or waits for something
    // else.
    Result<i64> do_at_home_of(NativeThread& target, Work work);
    // What reply_slot.hpp asks of a caller.
    bool kick_noted() const { return (renew.load(std::memory_order_seq_cst) & kRenewKick) != 0; }
    void give_up(Errno error);

    // At `deadline` (0: never) `bits` are signalled to the bound notification. Called in a call of its own.
    void set_alarm(u64 deadline, u64 bits);

    // A trap that no handler answered happens again when the thread continues. Called by its owner.
    void trap_again(Expects kind);

    // Its wait is over: it continues at home with the result in its registers. The caller owns the end of the wait.
    void wake(bool front = false);
    // With its answer: before those of its priority that wait for their turn, or behind them (kBehind in `word`).
    void wake_answered(u64 word = 0);
    void wake_with(Errno error) {
        context.set_syscall_result(-i64(error));
        wake();
    }
    // Finds the queue that it waits in and runs then(Waitable&) -> bool under its lock. False: it waits in none. From
    // any CPU.
    template <class F>
    bool in_queue(F&& then);
    // Takes the thread out of the queue it waits in (if it is in `only` state). True: the caller owns the end of its
    // wait.
    bool claim(u32 only = 0);
    // Ends whatever wait it is in: true if the caller owns its end now.
    bool cancel();
    // The bases take effect when it runs next.
    void set_bases(const ThreadClaim& claim, hal::ThreadBases to);
    // At home, where another thread runs: they are what the next switch to it loads.
    void bases_now() {
        renew.fetch_and(u8(~kRenewBases), std::memory_order_relaxed);
        hal::set_bases(context, new_bases);
    }
    void set_registers(const ThreadClaim& claim, const native::Registers& r);
    void arm_timeout();
    void drop_timeout();

    // What its home has to do before it runs next: load `new_bases`; choose its entry; tell its handler of a kick.
    static constexpr u8 kRenewBases = 1, kRenewEntry = 2, kRenewKick = 4;
    std::atomic<u8> renew{0};
    // Somebody wants to know its time (kThreadTimes), or will: its clock is stopped and started at each switch. Else the
    // clock of another thread with the same scheduling object may count it.
    std::atomic<u8> time_is_asked{0};
    Owned<hal::ThreadBases> new_bases;
    // Of the call it makes, which is made again until it is through. How far it has come: 0 at first; the thread that
    // it has asked; its errand; bytes of the range that it maps, unmaps or protects; not 0: all is done but for ending objects.
    u64 restart_step = 0;
    Endings endings;                   // of what it deletes or revokes
    u32 last_block = 0;                // of the memory that it mapped last (Memory::block_at)
    ObjectRef<Memory> restart_memory;  // that it makes, not yet all of it

private:
    static void run_native(rt::Schedulable& s);
    static void timed_out(rt::Timer& t);
    bool alive_ = false;   // counted among those that can go on
    bool parked_ = false;  // ready, in no queue: its budget is used up, and its timer brings it back. Home only

    // Where it shall run next, and on whose budget.
    struct Wanted {
        ObjectRef<Sched> sched;
        u8 priority = native::kDefaultPriority;
        CpuId cpu{0};
        bool any = false;     // asked for, not yet done
        bool closed = false;  // it has ended
    };
    rt::Guarded<Wanted, rt::Rank::native_thread> wanted_;
    struct Saved {
        native::Registers registers{};
        bool valid = false;
    };
    rt::Guarded<Saved, rt::Rank::native_thread> saved_;

    void live_on(CpuId cpu);
    void settle();
    void stop_paying(Thread* in_call_of);
    bool move_here();
    bool save_here();
    enum class Stopped : u8 { kNo, kWasInactive, kOurs };
    Stopped stop_here(bool mine);
    bool end_here(ThreadClaim claim, bool mine, Thread* in_call_of);
    void renew_here(u8 what);
    bool raise_kick();
    bool kick_here();
    void ask_again();
    struct Job;
    // Whose it is to queue the job: the caller's (kNow; from now on the job keeps the thread, until it has run), or of
    // who was faster. kEnded: the thread has ended and its last reference is gone; the caller found it without one.
    enum class Taken : u8 { kNow, kByAnother, kEnded };
    Taken take(Job& job);

    struct Job : rt::Schedulable {
        Job(RunFn fn, NativeThread& t) : Schedulable(fn), owner(t) {}
        NativeThread& owner;
        std::atomic<bool> posted{false};
    };
    Job control_job_{&NativeThread::run_control, *this};
    static void run_control(rt::Schedulable& s);
    Job timeout_job_{&NativeThread::run_timeout, *this};
    static void run_timeout(rt::Schedulable& s);
    void time_out();
    Result<i64> do_here(Work& work);
    // do_at_home_of() on its way to another CPU. `posted`: the rest is that CPU's.
    struct Errand : Job {
        using Job::Job;
        ObjectRef<NativeThread> target;
        Work work;
        Result<i64> result = i64{0};
    } errand_{&NativeThread::run_errand, *this};
    static void run_errand(rt::Schedulable& s);
    struct Alarm : rt::Timer {
        explicit Alarm(NativeThread& t) : Timer(&NativeThread::alarm_rings), owner(t) {}
        NativeThread& owner;
        u64 bits = 0;              // while it is armed
        std::atomic<u64> rung{0};  // bits that are still to be signalled
    } alarm_{*this};
    Job alarm_job_{&NativeThread::run_alarm, *this};
    static void alarm_rings(rt::Timer& t);
    static void run_alarm(rt::Schedulable& s);
    struct Timeout : rt::Timer {
        explicit Timeout(NativeThread& t) : Timer(&NativeThread::timed_out), owner(t) {}
        NativeThread& owner;
    } timeout_{*this};
};

template <class F>
bool NativeThread::in_queue(F&& then) {
    for (;;) {
        // If it does not wait, the object in waits_at may have been freed. While it waits, the object lives, and for
        // this epoch section.
        if (!waits()) return false;
        Waitable* at = waits_at.load(std::memory_order_acquire);
        ObjectGuard guard{at->lock};
        if (waits_at.load(std::memory_order_relaxed) != at) continue;
        // Whoever takes it out of the queue leaves waits_at as it is; the state tells.
        return waits() && then(*at);
    }
}

extern const Abi kNativeAbi, kRedirectAbi;

}  // namespace core
