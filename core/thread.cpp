// SPDX-License-Identifier: MIT
// Entering user mode, and what a CPU keeps of the thread it ran last.
#include "core/thread.hpp"

#include "core/sched.hpp"
#include "rt/mem/slab.hpp"

namespace core {
namespace {

using hal::Machine;

// Whose FPU state and TLS bases this CPU's registers hold. Touched by that CPU only.
struct alignas(64) Live {
    Thread* thread = nullptr;
};
constinit Live live[lib::kMaxCpus];

Live& mine() { return live[Machine::this_cpu().value]; }

}  // namespace

Thread::~Thread() {
    // Its home CPU destroys it (the last thing its job does), so no other CPU has its state live.
    for (Live& l : live)
        if (l.thread == this) l.thread = nullptr;
    if (context.fpu_area) rt::deallocate(context.fpu_area, Machine::fpu_area_size());
}

Result<void> Thread::allocate_fpu() {
    context.fpu_area = rt::allocate(Machine::fpu_area_size());
    if (!context.fpu_area) return Errno::kNoMem;
    Machine::fpu_init(context.fpu_area);
    return lib::kOk;
}

void Thread::save_state() {
    if (mine().thread != this) return;
    Machine::fpu_save(context.fpu_area);
    Machine::save_thread_state(context);
}

void Thread::make_live() {
    Live& l = mine();
    if (l.thread == this) return;
    if (l.thread) {
        l.thread->save_state();
        ++switches;
    }
    Machine::fpu_restore(context.fpu_area);
    Machine::load_thread_state(context);
    l.thread = this;
}

void Thread::state_changed() {
    if (mine().thread == this) mine().thread = nullptr;
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

void Thread::enter() {
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
    sched::start_slice(ex);
    entered_ = Machine::now();
    user_clock_.store((entered_.value - user_clock_.load(std::memory_order_relaxed)) | kRuns,
                      std::memory_order_relaxed);
    ex.set_running(this);
    // From here a sender that finds us in user state sends an IPI; what came before it is looked at once more.
    if (!ex.enter_user_state() || kicked.load(std::memory_order_seq_cst)) {
        ex.leave_user_state();
        account_user(Machine::now());
        if (kicked.load(std::memory_order_relaxed)) return abi->kicked(*this);
        return ex.enqueue_front(*this);
    }
    Machine::enter_user(context);
}

}  // namespace core
