// SPDX-License-Identifier: MIT
// A user thread as the machine sees it: registers, address space, FPU state, a place in a run queue.
//
// What a trap does is a property of the thread (its `Abi`): the Linux personality's leaf tier, the native interface, or
// redirection to a handler by IPC. The trap path calls it directly; nothing here depends on which it is.
//
// A thread runs on its home CPU. Its FPU state and TLS bases may be live in that CPU while another thread's kernel work
// is done; they are saved when another thread is entered there, or before the thread moves.
#pragma once
#include "core/cpu_state.hpp"
#include "core/space.hpp"
#include "hal/bind.hpp"
#include "rt/user_entry.hpp"

namespace core {

class Thread;

// What happens when a thread of this kind traps.
struct Abi {
    // Return normally to go straight back to the thread, or do not return (hand the CPU on). Called at the top of the
    // kernel stack, interrupts off, the executor in user state.
    std::atomic<void (*)(Thread&)> syscall;
    std::atomic<void (*)(Thread&, const lib::Trap&)> trap;
    // The thread is about to enter user mode but was kicked: lets its owner handle the reason. It must not be in a
    // queue, and may be gone afterwards. Returns; the caller then runs what is ready.
    void (*kicked)(Thread&);
    // Its time slice is over: true if it must give up the CPU even if no other thread waits. Null: never.
    bool (*turn_over)(Thread&) = nullptr;
    // It has used so much user time. Null: not needed.
    void (*charge)(Thread&, u64 ns) = nullptr;
};

class Thread : public rt::Schedulable {
public:
    Thread() : Schedulable(&Thread::run_user, rt::Priority::kUser) {
        hal::set_entry(context, hal::CallEntry::kGeneral);
    }
    ~Thread();
    Thread(const Thread&) = delete;

    // Registers. First member after the base so that the trap path finds the thread from the context by a constant.
    hal::Machine::UserContext context;
    static Thread& of(hal::Machine::UserContext& c) {
        return *reinterpret_cast<Thread*>(reinterpret_cast<std::byte*>(&c) - offsetof(Thread, context));
    }

    const Abi* abi = nullptr;
    Ref<Space> space;

    // Set by kick(), from any CPU; looked at on every way back to user mode (rt/user_entry.hpp).
    std::atomic<bool> kicked{false};
    void kick();
    void handle_kick() { abi->kicked(*this); }
    void start_slice(rt::Executor& ex);
    bool gives_turn(rt::Executor& ex, bool slice_over);
    void turn_ended(Nanoseconds now) { turn_from = used(now); }

    rt::Executor& home() const { return home_.get(); }
    rt::Executor& home_seen_now() const { return home_.seen_now(); }
    bool is_at_home(rt::Executor& ex) const { return hal::Machine::equals(home_.word(), &ex); }
    void set_home(rt::Executor& ex) { home_.set(ex); }
    // Makes the thread runnable on its home CPU, from any CPU. At the front of the queue: it continues its time slice.
    void make_ready(bool front = false);
    CpuSet affinity{~0u};
    // What it had used when its turn began: what it uses from there on it takes from its time slice.
    u64 turn_from = 0;
    // Ends its turn: a value of turn_from from which any use is more than a slice.
    static constexpr u64 kTurnOver = u64{1} << 63;
    // Of a thread of priority kUser that has waited, from any CPU: as make_ready(), but it runs before those that wait
    // for their turn if it has not used its own up.
    void return_to_queue();
    // The CPU whose lane from this thread's home has the thread's call word (port/kernel), or kNoCpu. Here, because it
    // is over when the thread leaves its CPU. Written by that CPU, and set to kNoCpu by a former home
    // (rt::Claim::lost).
    static constexpr u8 kNoCpu = 0xfd;
    std::atomic<u8> lane_server{kNoCpu};

    // FPU state. allocate once; the others only on the home CPU. A thread with `lazy_fpu` is entered with the FPU
    // barred until it first uses it; from then on its state is switched as every thread's.
    // What keeps others from going to this thread by registers alone, in one load: that it uses the FPU; the rest is
    // for those above.
    // kSlowOpenFpu: it does not use the FPU, whose registers it was entered with as they were (native::kNoFpu).
    static constexpr u8 kSlowFpu = 1, kSlowOpenFpu = 64;
    u8 slow_switch_reasons = kSlowFpu;
    bool lazy_fpu() const { return (slow_switch_reasons & kSlowFpu) == 0; }
    void fpu_barred();  // it used it
    Result<void> allocate_fpu();
    // It will not run again, and no CPU holds its state: what only a running thread needs goes, though it may be known to
    // others for long.
    void release_machine();
    void save_state();     // the area and the TLS bases in `context` are current afterwards
    void state_changed();  // the area or the TLS bases in `context` were changed: load them before the next entry
    void make_live();      // this CPU, which has its space, holds its state
    // Its FPU state is in this CPU's registers.
    bool finds_fpu() const { return state_of(rt::Executor::current()).fpu == this; }
    // Its state is in this CPU's registers, ready for use.
    bool holds_fpu() const { return !lazy_fpu() && state_of(rt::Executor::current()).fpu_owner == this; }
    void leave_cpu();  // saves the state; called before the thread gets another home
    void* fpu_area() const { return context.fpu_area; }

    // Accounting, nanoseconds. Read by any CPU; the user clock is written by the home CPU, the system clock by the CPU
    // that works for the thread.
    u64 user_time(Nanoseconds now) const {
        u64 v = user_clock_.load(std::memory_order_relaxed);
        return (v & kRuns) ? now.value - (v & ~kRuns) : v;
    }
    u64 system_time() const { return system_clock_.load(std::memory_order_relaxed); }
    u64 used(Nanoseconds now) const { return user_time(now) + system_time(); }
    void add_system(Nanoseconds t) {
        system_clock_.store(system_clock_.load(std::memory_order_relaxed) + t.value, std::memory_order_relaxed);
    }
    u64 switches = 0;

    // Called on the home CPU: stop the clock that counts user time. That of the thread the executor entered: a thread
    // that was reached from there by IPC runs on its caller's time.
    void account_user(Nanoseconds now) {
        rt::Executor& ex = rt::Executor::current();
        Thread& t = *state_of(ex).time_payer;
        u64 before = t.user_time(t.entered_), after = t.user_time(now);
        t.user_clock_.store(after, std::memory_order_relaxed);
        ex.times.add_user(after - before);
        if (t.abi->charge) t.abi->charge(t, after - before);
    }
    // The clock of `payer` counts from now on.
    static void start_clock(rt::Executor& ex, Thread& payer, Nanoseconds now) {
        payer.entered_ = now;
        payer.user_clock_.store((now.value - payer.user_clock_.load(std::memory_order_relaxed)) | kRuns,
                                std::memory_order_relaxed);
        state_of(ex).time_payer = &payer;
    }

    // User mode, now; called by the executor. Returns only if the thread cannot go there: it was kicked, or moves.
    void enter() { enter(*this); }
    void enter(Thread& payer);

private:
    // Stopped: the time so far. Running: kRuns and the moment at which it would have been zero.
    static constexpr u64 kRuns = u64{1} << 63;
    std::atomic<u64> user_clock_{0}, system_clock_{0};
    Nanoseconds entered_{};
    static void run_user(rt::Schedulable& s);
    static void run_back_from_wait(rt::Schedulable& s);
    RunFn run_as_usual_ = nullptr;  // `run`, while that is run_back_from_wait
    rt::Home home_;
};

}  // namespace core
