// SPDX-License-Identifier: MIT
// A program's thread from its making to its end, and its way through the tiers of a trap (docs/life-of-a-system-call.md), as
// port/kernel has them: a leaf, a leaf that waits for one queue, a coroutine.
#include <cstring>

#include "hal/trap.hpp"
#include "port/server/cpu.hpp"
#include "rt/mem/slab.hpp"

namespace port {

UserThread::UserThread() : job_(*this) {
    // System time is what the coroutine runs, without its waits.
    job_.set_on_switch([](rt::Job& job, bool runs) {
        UserThread& t = owner_of(job);
        const Nanoseconds now = hal::Machine::now();
        if (runs)
            t.working_since_ = now;
        else
            t.stop_clock(now);
    });
}

UserThread::~UserThread() { release(); }

// It will not run again, though it may be known to others for long: what the kernel has for it goes.
void UserThread::release() {
    if (thread_ == 0) return;
    ServerCpu::current().forget(*this);
    (void)native::remove(reply_);
    (void)native::remove(thread_);
    free_slot(reply_);
    free_slot(thread_);
    thread_ = reply_ = 0;
    space_->threads_.fetch_sub(1, std::memory_order_relaxed);
    space_ = {};
    if (fpu_) rt::deallocate(std::exchange(fpu_, nullptr), native::boot_info().fpu_size);
}

Result<void> UserThread::init(Ref<Space> in) {
    const native::Slot thread = new_slot(), reply = new_slot();
    auto make = [&]() -> Result<void> {
        if (thread == 0 || reply == 0) return Errno::kNoMem;
        TRY(native::create(native::kSlotPool, native::kTypeReply, reply));
        // 1: it needs no page for messages.
        TRY(native::create(native::kSlotPool, native::kTypeThread, thread, 1));
        return native::configure(thread, in->slot(), 0, 0, native::kRedirect);
    };
    if (auto r = make(); !r.ok()) {
        if (thread != 0) (void)native::remove(thread), free_slot(thread);
        if (reply != 0) (void)native::remove(reply), free_slot(reply);
        return r.error() == Errno::kBadF ? Errno::kNoMem : r.error();
    }
    thread_ = thread;
    reply_ = reply;
    space_ = std::move(in);
    space_->threads_.fetch_add(1, std::memory_order_relaxed);
    cpu_ = hal::Machine::this_cpu();
    return lib::kOk;
}

namespace {

// Where a new thread runs: where the fewest clients are, among equals where its maker is.
CpuId choose_cpu(CpuSet allowed) {
    const CpuId here = hal::Machine::this_cpu();
    CpuId best = here;
    u32 least = ~0u;
    for (u32 n = 0; n < hal::Machine::cpu_count(); ++n) {
        if (!allowed.has(CpuId{n})) continue;
        const u32 clients = 2 * ServerCpu::of(CpuId{n}).clients() + (n != here.value);
        if (clients < least) least = clients, best = CpuId{n};
    }
    return best;
}

constexpr u64 kClientPriority = native::kDefaultPriority;

}  // namespace

Result<void> UserThread::place(CpuId cpu) {
    TRY(native::do_call(native::kThreadHandler, thread_, ServerCpu::of(cpu).endpoint(), reinterpret_cast<u64>(this)));
    TRY(native::schedule(thread_, native::kSlotSched, kClientPriority, cpu.value));
    cpu_ = cpu;
    return lib::kOk;
}

CpuId UserThread::next_cpu(u32 clients_here) const {
    if (!affinity_.has(cpu_)) [[unlikely]]
        return choose_cpu(affinity_);
    if (clients_here < 2) [[likely]]
        return cpu_;
    // Two others are ready here: it goes where nobody is.
    const CpuId to = choose_cpu(affinity_);
    return ServerCpu::of(to).clients() == 0 ? to : cpu_;
}

bool UserThread::start(Task<void> root) {
    if (!place(choose_cpu(affinity_)).ok()) return false;
    return job_.start(std::move(root), rt::Executor::of(cpu_));
}

void UserThread::set_space(Ref<Space> to) {
    if (native::do_call(native::kThreadSpace, thread_, to->slot()).ok()) {
        space_->threads_.fetch_sub(1, std::memory_order_relaxed);
        to->threads_.fetch_add(1, std::memory_order_relaxed);
        space_ = std::move(to);
        return;
    }
    hal::Machine::panic("a thread that waits for the server has no other space");
}

// --- Registers and FPU state

void UserThread::fetch_registers() {
    if (!native::do_call(native::kThreadGetRegisters, thread_).ok())
        hal::Machine::panic("the registers of a thread that waits for the server");
    const hal::CallFrame call = context_.frame();
    const bool by_call = context_.entered_by_syscall();
    const native::Registers r = native::utcb().registers;
    hal::set_registers(context_, r);
    context_.restore_flags(r.rflags);
    hal::set_bases(context_, hal::bases_of(r));
    if (by_call) {
        context_.frame() = call;  // the result may be there already
        context_.cs = HAL_USER_CS | HAL_FROM_SYSCALL;
    }
    whole_ = true;
}

std::span<std::byte> UserThread::fpu_state() {
    const size_t size = native::boot_info().fpu_size;
    if (!fpu_) fpu_ = static_cast<std::byte*>(rt::allocate(size));
    return {fpu_, fpu_ ? size : 0};
}

void UserThread::save_fpu() {
    const auto to = fpu_state();
    if (!to.empty()) (void)native::do_call(native::kThreadGetFpu, thread_, u64(to.data()), to.size());
}

Result<void> UserThread::set_fpu_state(std::span<const std::byte> state) {
    return native::do_call(native::kThreadSetFpu, thread_, u64(state.data()), state.size());
}

void UserThread::reset_fpu() { (void)native::do_call(native::kThreadSetFpu, thread_, 0, 0); }

void UserThread::fork_state_from(UserThread& from) {
    context_ = from.regs();
    whole_ = true;
    affinity_ = from.affinity_;
    from.save_fpu();
    if (const auto state = from.fpu_state(); !state.empty()) (void)set_fpu_state(state);
}

// --- Kicks, affinity, time

void UserThread::kick() {
    // seq_cst: pairs with ServerCpu::prepare(), which says that it is in user mode and then looks here.
    kicked_.store(true, std::memory_order_seq_cst);
    if (in_user_.load(std::memory_order_seq_cst) && started_) (void)native::do_call(native::kThreadKick, thread_);
}

void UserThread::set_affinity(CpuSet cpus) {
    affinity_ = cpus;
    kick();  // looked at on the way to user mode
}

void UserThread::stop_clock(Nanoseconds now) {
    if (working_since_ == Nanoseconds{}) return;
    system_ns_.store(system_ns_.load(std::memory_order_relaxed) + (now - working_since_).value,
                     std::memory_order_relaxed);
    working_since_ = {};
}

// The kernel counts what the server does for it, until it has to wait, as the thread's own time.
UserThread::Times UserThread::times(Nanoseconds) const {
    const u64 system = system_ns_.load(std::memory_order_relaxed);
    if (thread_ == 0) return {user_ns_.load(std::memory_order_relaxed), system};
    auto all = native::make_call(native::kThreadTimes, thread_);
    u64 user = user_ns_.load(std::memory_order_relaxed);
    if (all.ok() && all.value() > system && all.value() - system > user) {
        user = all.value() - system;
        user_ns_.store(user, std::memory_order_relaxed);  // never back
    }
    return {user, system};
}

// --- The tiers

void UserThread::job_done(rt::Job& job) {
    owner_of(job).release();
    personality.ended(owner_of(job));
}

// Its coroutine has come to co_await user().
void UserThread::to_user() {
    ServerCpu& here = ServerCpu::current();
    if (!started_) return here.resume_new(*this);
    here.answer_soon(*this);
}

// Third tier. It runs until it waits, ends, or has the thread continue.
void UserThread::take_trap(Trap trap) {
    trap_ = trap;
    kicked_.store(false, std::memory_order_relaxed);  // the coroutine checks everything before it returns
    working_since_ = hal::Machine::now();
    job_.set_home(rt::Executor::current());
    job_.resume();  // the thread may be gone afterwards
}

void UserThread::finish(LeafOutcome outcome) {
    switch (outcome) {
        case LeafOutcome::kDone:
            whole_ = false;  // only the result has changed
            return ServerCpu::current().answer_soon(*this);
        case LeafOutcome::kDoneChanged: (void)regs(); return ServerCpu::current().answer_soon(*this);
        case LeafOutcome::kBlocked: return block(rt::Executor::current());
        case LeafOutcome::kNeedsTask: return take_trap(Trap{.kind = Trap::Kind::kSyscall});
    }
}

void UserThread::block(rt::Executor& ex) {
    job_.set_home(ex);
    while (!block_.begin(job_, &UserThread::woken)) {
        const LeafOutcome outcome = personality.again(*this, rt::Wake::kWoken);
        if (outcome != LeafOutcome::kBlocked) return finish(outcome);
    }
}

void UserThread::woken(rt::Schedulable& s) {
    UserThread& t = owner_of(static_cast<rt::Job&>(s));
    const rt::Wake why = t.block_.end(t.job_);
    t.finish(personality.again(t, why));
}

}  // namespace port
