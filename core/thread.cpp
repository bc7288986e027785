// SPDX-License-Identifier: MIT
// Entering user mode, and what a CPU keeps of the thread it ran last.
#include "core/thread.hpp"

#include "core/sched.hpp"
#include "rt/mem/slab.hpp"

namespace core {

constinit Live live[lib::kMaxCpus];

namespace {

using hal::Machine;

Live& mine() { return live[Machine::this_cpu().value]; }

void unbar(Live& l) {
    if (!l.barred) return;
    Machine::fpu_bar(false);
    l.barred = false;
}

}  // namespace

Thread::~Thread() {
    // Its home CPU destroys it (the last thing its job does), so no other CPU has its state live.
    for (Live& l : live) {
        if (l.current == this) l.current = nullptr;
        if (l.fpu == this) l.fpu = nullptr;
        if (l.tls == this) l.tls = nullptr;
    }
    if (context.fpu_area) rt::deallocate(context.fpu_area, Machine::fpu_area_size());
}

Result<void> Thread::allocate_fpu() {
    context.fpu_area = rt::allocate(Machine::fpu_area_size());
    if (!context.fpu_area) return Errno::kNoMem;
    Machine::fpu_init(context.fpu_area);
    return lib::kOk;
}

void Thread::save_state() {
    Live& l = mine();
    if (l.fpu == this) {
        unbar(l);
        l.current = nullptr;  // the next entry decides anew whether the FPU is barred
        Machine::fpu_save(context.fpu_area);
    }
    if (l.tls == this) Machine::save_thread_state(context);
}

void Thread::make_live() {
    Live& l = mine();
    if (l.current == this) return;
    if (l.tls != this) {
        if (l.tls) {
            Machine::save_thread_state(l.tls->context);
            ++switches;
        }
        Machine::load_thread_state(context);
        l.tls = this;
    }
    if (lazy_fpu) {
        if (!l.barred) {
            Machine::fpu_bar(true);
            l.barred = true;
        }
    } else {
        unbar(l);
        if (l.fpu != this) {
            if (l.fpu) Machine::fpu_save(l.fpu->context.fpu_area);
            Machine::fpu_restore(context.fpu_area);
            l.fpu = this;
        }
    }
    l.current = this;
}

void Thread::fpu_barred() {
    lazy_fpu = false;
    mine().current = nullptr;
    make_live();
}

void Thread::state_changed() {
    Live& l = mine();
    if (l.current == this) l.current = nullptr;
    if (l.fpu == this) l.fpu = nullptr;
    if (l.tls == this) l.tls = nullptr;
}

void Thread::leave_cpu() {
    save_state();
    state_changed();
}

void Thread::kick() {
    kicked.store(true, std::memory_order_seq_cst);  // pairs with the check in enter()
    // In a trap of its own it looks on its way out.
    rt::Executor& ex = home();
    if (&ex == &rt::Executor::current() && ex.running() == this) return;
    ex.attract(rt::kAttnInbox);
}

void Thread::make_ready(bool front) {
    rt::Executor& ex = home();
    if (front && &ex == &rt::Executor::current())
        ex.enqueue_front(*this);
    else
        ex.post(*this);
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
    // From here a sender that finds us in user state sends an IPI; what came before it is looked at once more.
    if (!ex.enter_user_state() || kicked.load(std::memory_order_seq_cst)) {
        ex.leave_user_state();
        account_user(Machine::now());
        if (kicked.load(std::memory_order_relaxed)) return abi->kicked(*this);
        ex.keep_out();
        return ex.enqueue_front(*this);
    }
    Machine::enter_user(context);
}

}  // namespace core
