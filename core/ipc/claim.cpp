// SPDX-License-Identifier: MIT
// What changes only under a ThreadClaim (claim.hpp): how a native thread is configured, claims themselves, and what is
// done to a thread that stands still.
#include "core/ipc/claim.hpp"

#include "core/ipc/calls.hpp"
#include "core/system.hpp"

namespace core {

using hal::Machine;

void NativeThread::place_utcb(const ThreadClaim& claim, u64 address) {
    auto* page = static_cast<native::Utcb*>(Machine::phys_to_virt(utcb_memory->frame(0)));
    page->self = address;
    utcb.set(claim, page);
}

void NativeThread::configure(const ThreadClaim& claim, Configuration to) {
    set_space(claim, std::move(to.space));
    set_handler(claim, std::move(to.handler), to.handler_badge);
    redirect.set(claim, to.redirect);
    no_fpu.set(claim, to.no_fpu);
    abi = to.redirect ? &kRedirectAbi : &kNativeAbi;
    if (to.redirect) time_is_asked.store(1, std::memory_order_relaxed);
    slow_switch_reasons =
        to.redirect ? u8(slow_switch_reasons | kSlowTrapped) : u8(slow_switch_reasons & ~kSlowTrapped);
    // A kick was for what it was before.
    renew.fetch_and(u8(~kRenewKick), std::memory_order_relaxed);
    renew.fetch_or(kRenewEntry, std::memory_order_release);
}

void NativeThread::set_handler(const ThreadClaim& claim, ObjectRef<Endpoint> to, u64 badge) {
    handler.set(claim, std::move(to));
    handler_badge.set(claim, badge);
}

void NativeThread::set_space(const ThreadClaim& claim, ObjectRef<SpaceObject> to) {
    space = to->space;
    CapTable& table = to->caps;
    caps.set(claim, &table);
    cap_limit.set(claim, table.limit());
    cap_slots.set(claim, table.slots());
    space_object.set(claim, std::move(to));
}

void NativeThread::set_registers(const ThreadClaim& claim, const native::Registers& r) {
    restart_step = 0;
    restart_memory = {};
    hal::set_registers(context, r);
    set_bases(claim, hal::bases_of(r));
}

// They may be live in its home's registers: they are loaded from here when it runs next.
void NativeThread::set_bases(const ThreadClaim& claim, hal::ThreadBases to) {
    new_bases.set(claim, to);
    renew.fetch_or(kRenewBases, std::memory_order_release);
}

// --- Claims

ThreadClaim ThreadClaim::of_inactive(NativeThread& t) {
    u32 now = native::kStateInactive;
    // Acquire: pairs with what made it inactive. seq_cst, as in release().
    const bool ours = t.state.compare_exchange_strong(now, NativeThread::kStateClaimed, std::memory_order_seq_cst);
    return ThreadClaim{ours ? &t : nullptr, ours};
}

ThreadClaim ThreadClaim::of_claimed(NativeThread& t) { return ThreadClaim{&t, true}; }

ThreadClaim ThreadClaim::of_running(NativeThread& t) {
    RT_ASSERT(rt::Executor::current().running() == static_cast<rt::Schedulable*>(&t), "a thread that runs elsewhere");
    return ThreadClaim{&t, false};
}

void ThreadClaim::release() {
    NativeThread& t = *thread_;
    release_ = false;
    // seq_cst: pairs with ask(), which sets the request and then finds the thread claimed at its home. One sees the
    // other.
    t.state.exchange(native::kStateInactive, std::memory_order_seq_cst);
    if (t.control.load(std::memory_order_seq_cst) != 0) t.after_claim();
}

void ThreadClaim::release_at_home() {
    release_ = false;
    thread_->state.store(native::kStateInactive, std::memory_order_release);
}

void ThreadClaim::start() {
    NativeThread& t = *thread_;
    release_ = false;
    t.comes_alive();
    t.wake();  // at home it looks for requests before it runs
}

// --- A thread that stands still

namespace {

// For each first program: its threads that can go on.
constinit std::atomic<u32> alive[NativeThread::kPrograms] = {};

}  // namespace

// A program whose threads all stand still stays so: only another thread of it could change that, one that runs. (A redirected
// thread makes no native calls.)
void NativeThread::comes_alive() {
    if (alive_ || redirect || program == kNoProgram) return;
    alive_ = true;
    alive[program].fetch_add(1, std::memory_order_relaxed);
}

void NativeThread::stands_still() {
    if (!std::exchange(alive_, false)) return;
    if (alive[program].fetch_sub(1, std::memory_order_acq_rel) == 1) native_system->nobody_left(program);
}

// Nobody will answer it.
void NativeThread::give_up(Errno error) {
    drop_timeout();
    if (expects == Expects::kMessage) return wake_with(error);
    // Its handler is gone: no thread can decide how it continues. If it is resumed, the trap happens again.
    trap_again(expects);
    stop();
}

// This is the target, and its home. An answer that another CPU gives at the same time is given again (kAgainLater).
Result<i64> NativeThread::do_here(Work& work) {
    if (state.load(std::memory_order_acquire) == native::kStateAwaitingReply) {
        ReplySlot* const slot = ReplySlot::unmarked(owed.load(std::memory_order_acquire));
        if (!slot || !take_from(*this, *slot)) return kAgainLater;
        const Result<i64> r = work.run(*this, ThreadClaim::of_taken(*this), work);
        give_back(*this, *slot);
        return r;
    }
    const ThreadClaim claim = ThreadClaim::of_inactive(*this);
    if (!claim.ok()) {
        if (inactive()) return kAgainLater;
        REQUIRE(false, thread_not_running, kBusy);
        return work.run(*this, ThreadClaim::of_taken(*this), work);
    }
    return work.run(*this, claim, work);
}

Result<i64> NativeThread::do_at_home_of(NativeThread& target, Work work) {
    Errand& e = errand_;
    // This call's, or that of one before, which was not waited for.
    if (e.posted.load(std::memory_order_acquire)) return kAgainLater;
    if (restart_step == reinterpret_cast<u64>(&e)) return e.result;
    if (target.is_at_home(rt::Executor::current())) return target.do_here(work);
    e.target = ObjectRef<NativeThread>::of_found(&target);
    if (!e.target) return Errno::kBadF;  // only in a race: it was deleted
    e.work = std::move(work);
    restart_step = reinterpret_cast<u64>(&e);
    if (take(e) == Taken::kNow) target.home().post(e);
    return kAgainLater;
}

void NativeThread::run_errand(rt::Schedulable& s) {
    Errand& e = static_cast<Errand&>(static_cast<Job&>(s));
    NativeThread& target = *e.target;
    const bool here = target.is_at_home(rt::Executor::current());
    Result<i64> r = here ? target.do_here(e.work) : Result<i64>{kAgainLater};
    if (!r.ok() && r.error() == kAgainLater) return target.home().post(e);
    e.result = r;
    e.work = {};
    e.target = {};
    NativeThread& caller = e.owner;
    e.posted.store(false);  // pairs with do_at_home_of() and without_jobs()
    caller.unref();
}

}  // namespace core
