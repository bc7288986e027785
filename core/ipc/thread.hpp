// SPDX-License-Identifier: MIT
// A thread of the native interface.
//
// Ownership instead of a lock: what is not said to be atomic belongs to the thread's home CPU, whose kernel runs with
// interrupts off; other CPUs reach it by what they take out of a Waitable's queue or a ReplySlot (then the thread waits,
// and is theirs until they post it home), and ask for the rest with a control request that the home CPU carries out.
// Blocking is a state: no coroutine, no allocation, no kernel stack.
#pragma once
#include "core/cap/cap.hpp"
#include "core/ipc/space.hpp"
#include "core/ipc/wait.hpp"
#include "core/thread.hpp"

namespace core {

class Sched;

class NativeThread final : public Thread, public Object {
public:
    NativeThread();
    ~NativeThread() override;
    bool end(u32& budget) override;

    // --- Read by the fastpaths, of this thread and of the one it talks to.

    CapTable* caps = nullptr;  // of its space
    // The same, for the fastpaths.
    u64 cap_limit = 0;
    const std::atomic<Cap*>* cap_slots = nullptr;
    void use_caps(CapTable& table) {
        caps = &table;
        cap_limit = table.limit();
        cap_slots = table.slots();
    }
    ReplySlot reply;  // the caller it owes an answer
    std::atomic<ReplySlot*> owed{nullptr};
    // In Thread::odd: it has a timeout; its receives wait for a notification too; the machine cannot switch TLS bases with
    // single instructions; it may wait for the answer to a trap.
    static constexpr u8 kOddTimed = 2, kOddBound = 4, kOddBases = 8, kOddTrapped = 16;
    bool timed() const { return (odd & kOddTimed) != 0; }
    // Whatever is pressing (Executor::pressing) keeps a CPU from switching to this thread: levels above its own, attention.
    u64 gives_way_to = 0;
    enum class Expects : u8 { kMessage, kSyscall, kFault } expects = Expects::kMessage;  // from its answer
    u8 fastpaths = native::kFastAll;
    bool queued_call = false;  // waits as a sender: wants an answer
    std::atomic<u32> state{native::kStateInactive};

    static bool is_one(const rt::Schedulable& s) { return s.run == &NativeThread::run_native; }
    // On whose clock it runs: the thread at the bottom of the chain of calls that it works for, as far as it is on this CPU.
    NativeThread& payer();
    bool has_budget() const;
    // As make_live(), in a few instructions if only TLS bases are to be switched.
    [[gnu::always_inline]] void go_live(rt::Executor& ex) {
        auto* before = static_cast<Thread*>(ex.live);
        if (before == this) return;
        constexpr u8 kSlow = kOddFpu | kOddBases;
        if (!before || ((before->odd | odd) & kSlow)) return make_live();
        hal::Machine::switch_thread_state(before->context, context);
        ex.live = static_cast<Thread*>(this);
    }
    // Which entry its calls take, by its kind and its fastpaths.
    void choose_entry();

    // --- The rest

    // Is it in a queue? Stable under the lock of the object that waits_at says.
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

    native::Utcb* utcb = nullptr;  // through the direct map; null until it is mapped into its space
    ObjectRef<Memory> utcb_memory;
    ObjectRef<SpaceObject> space_object;
    ObjectRef<Endpoint> handler;
    u64 handler_badge = 0;
    bool redirect = false;
    ObjectRef<Notification> bound;
    ObjectRef<Sched> sched;
    u8 priority_number = native::kDefaultPriority;
    u64 number = 0;  // for traces and dumps

    void set_priority(u64 n) {
        priority_number = u8(n);
        wanted_priority.store(u8(n), std::memory_order_relaxed);
        priority = rt::Priority(u32(rt::Priority::kLowest) - u32(n));
        gives_way_to = ((u64{1} << u32(priority)) - 1) | ~u64{0} << 32;
    }

    // A new thread: its home, Sched and priority are those of its maker (at most the Sched's highest).
    void inherit(const NativeThread& maker);

    // What others ask of it; carried out at home. A bit is cleared when it is done.
    enum Control : u32 { kControlStop = 1, kControlMove = 2, kControlSave = 4, kControlEnd = 8 };
    std::atomic<u32> control{0};
    std::atomic<u32> wanted_cpu{0};
    std::atomic<u8> wanted_priority{native::kDefaultPriority};
    // Asks; only in a thread's call. True: done (this CPU is its home, or nothing was to be done). False: look at `control` later.
    bool ask(u32 bits);
    // At home. `in_call_of`: the thread whose call it is that this CPU is in, if it is in one.
    [[nodiscard]] bool control_here(Thread* in_call_of = nullptr);  // true: it has ended, publish_end()
    void publish_end();
    bool without_jobs();

    // Its wait is over: it goes on with the result in its registers, at home. The caller owns the end of the wait.
    void wake(bool front = false);
    void wake_with(Errno error) {
        context.set_syscall_result(-i64(error));
        wake();
    }
    // Takes the thread out of the queue it waits in (if it is in `only` state). True: the caller owns the end of its wait.
    bool claim(u32 only = 0);
    // Ends whatever wait it is in: true if the caller owns its end now.
    bool cancel();
    // While it waits or is inactive. The bases take effect when it runs next.
    void set_registers(const native::Registers& r);
    void arm_timeout();
    void drop_timeout();

    bool bases_changed = false;  // `new_fs`, `new_gs` are to be loaded
    u64 new_fs = 0, new_gs = 0;
    // Of the call it makes, which is made again until it is through. How far it has come: 0 at first; the thread that it has
    // asked; bytes of the range that it maps, unmaps or protects; not 0: all is done but for ending objects.
    u64 restart_step = 0;
    ObjectRef<Memory> restart_memory;  // that it makes, not yet all of it

private:
    static void run_native(rt::Schedulable& s);
    static void timed_out(rt::Timer& t);
    bool parked_ = false;  // ready, in no queue: its budget is used up, and its timer brings it back. Home only
    void settle();
    bool move_here();
    void ask_again();

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
    struct Timeout : rt::Timer {
        explicit Timeout(NativeThread& t) : Timer(&NativeThread::timed_out), owner(t) {}
        NativeThread& owner;
    } timeout_{*this};
};

extern const Abi kNativeAbi, kRedirectAbi;

}  // namespace core
