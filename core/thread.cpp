// SPDX-License-Identifier: MIT
// Entering user mode, and what a CPU keeps of the thread it ran last.
#include "core/thread.hpp"

#include "core/sched.hpp"
#include "rt/mem/slab.hpp"

namespace core {

namespace {

using hal::Machine;

// The owner of the TLS bases in a CPU's registers when CpuState::fpu_owner was cleared. While that is set it is the thread
// for whom these and the FPU state are right. Touched by that CPU only.
struct alignas(64) Live {
    Thread* tls = nullptr;
    bool barred = false;
};
constinit Live live[lib::kMaxCpus];

Live& mine() { return live[Machine::this_cpu().value]; }

void unbar(Live& l) {
    if (!l.barred) return;
    Machine::fpu_bar(false);
    l.barred = false;
}

// The owner of the TLS bases in the registers; from here on `fpu_owner` is not valid.
Thread* give_up(Live& l) {
    rt::Executor& ex = rt::Executor::current();
    Thread*& fpu_owner = state_of(ex).fpu_owner;
    if (fpu_owner) l.tls = fpu_owner;
    fpu_owner = nullptr;
    return l.tls;
}

}  // namespace

Thread::~Thread() { release_machine(); }

void Thread::release_machine() {
    if (!context.fpu_area) return;  // it is over, or never ran
    // Its home CPU does it (the last thing its job does), so no other CPU has its state live.
    for (Live& l : live)
        if (l.tls == this) l.tls = nullptr;
    for (u32 i = 0; i < rt::executor_count(); ++i) {
        CpuState& cpu = state_of(rt::Executor::of(CpuId{i}));
        if (cpu.fpu_owner == this) cpu.fpu_owner = nullptr;
        if (cpu.fpu == this) cpu.fpu = nullptr;
    }
    rt::deallocate(std::exchange(context.fpu_area, nullptr), Machine::fpu_area_size());
    space = {};
}

Result<void> Thread::allocate_fpu() {
    context.fpu_area = rt::allocate(Machine::fpu_area_size());
    if (!context.fpu_area) return Errno::kNoMem;
    Machine::fpu_init(context.fpu_area);
    return lib::kOk;
}

void Thread::save_state() {
    Live& l = mine();
    if (give_up(l) == this) Machine::save_thread_state(context);  // the next entry decides anew what is to be loaded
    if (finds_fpu()) {
        unbar(l);
        Machine::fpu_save(context.fpu_area);
    }
}

void Thread::make_live() {
    rt::Executor& ex = rt::Executor::current();
    if (state_of(ex).fpu_owner == this) return;
    slow_switch_reasons &= u8(~kSlowOpenFpu);
    Live& l = mine();
    if (Thread* before = give_up(l); before != this) {
        if (before) {
            Machine::save_thread_state(before->context);
            ++switches;
        }
        Machine::load_thread_state(context);
        l.tls = this;
    }
    if (lazy_fpu()) {
        if (!l.barred) {
            Machine::fpu_bar(true);
            l.barred = true;
        }
    } else {
        unbar(l);
        if (Thread*& in = state_of(ex).fpu; in != this) {
            if (in) Machine::fpu_save(in->context.fpu_area);
            Machine::fpu_restore(context.fpu_area);
            in = this;
        }
    }
    state_of(ex).fpu_owner = this;
}

void Thread::fpu_barred() {
    slow_switch_reasons |= kSlowFpu;
    (void)give_up(mine());
    make_live();
}

void Thread::state_changed() {
    Live& l = mine();
    if (give_up(l) == this) l.tls = nullptr;
    if (Thread*& in = state_of(rt::Executor::current()).fpu; in == this) in = nullptr;
}

void Thread::leave_cpu() {
    lane_server.store(kNoCpu, std::memory_order_relaxed);
    save_state();
    state_changed();
}

void Thread::kick() { rt::kick(*this); }

void Thread::start_slice(rt::Executor& ex) { sched::start_any_slice(ex); }

void Thread::make_ready(bool front) {
    rt::Executor& ex = home();
    if (front && &ex == &rt::Executor::current())
        ex.enqueue_front(*this);
    else
        ex.post(*this);
}

void Thread::return_to_queue() {
    rt::Executor& ex = rt::Executor::current();
    // With one other ready thread it does not matter: that one's slice ends before long.
    if (&home() == &ex && ex.queue.count(rt::Priority::kUser) < 2) return make_ready();
    const u64 so_far = used(Machine::now());
    if (so_far - turn_from < rt::Slice::kLength.value && ex.slice.may_go_first()) {
        priority = rt::kBackFromWait;
        run_as_usual_ = std::exchange(run, &Thread::run_back_from_wait);
    } else {
        turn_from = so_far;
    }
    make_ready();
}

void Thread::run_back_from_wait(rt::Schedulable& s) {
    Thread& t = static_cast<Thread&>(s);
    t.priority = rt::Priority::kUser;
    t.run = t.run_as_usual_;
    t.run(t);
}

void Thread::run_user(rt::Schedulable& s) { static_cast<Thread&>(s).enter(); }

void Thread::enter(Thread& payer) {
    rt::Executor& ex = rt::Executor::current();
    if (!(affinity & sched::user_cpus()).has(ex.cpu())) [[unlikely]] {
        rt::Executor& to = sched::choose_home(affinity, ex);
        if (&to != &ex) {
            leave_cpu();
            set_home(to);
            to.post(*this);
            return;
        }
    }
    space->load();
    make_live();
    sched::start_slice(ex, priority);
    start_clock(ex, payer, Machine::now());
    ex.set_running(this);
    if (!rt::enter_user(ex, *this)) return;
    Machine::enter_user(context);
}

}  // namespace core
