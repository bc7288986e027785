// SPDX-License-Identifier: MIT
// What changes only under a ThreadClaim (claim.hpp): how a native thread is configured, and claims themselves.
#include "core/ipc/claim.hpp"

#include "core/ipc/thread.hpp"

namespace core {

using hal::Machine;

void NativeThread::place_utcb(const ThreadClaim& claim, u64 address) {
    auto* page = static_cast<native::Utcb*>(Machine::phys_to_virt(utcb_memory->frame(0)));
    page->self = address;
    utcb.set(claim, page);
}

void NativeThread::configure(const ThreadClaim& claim, Configuration to) {
    space = to.space.space;
    CapTable& table = to.space.caps;
    caps.set(claim, &table);
    cap_limit.set(claim, table.limit());
    cap_slots.set(claim, table.slots());
    space_object.set(claim, std::move(to.space_ref));
    handler.set(claim, std::move(to.handler));
    handler_badge.set(claim, to.handler_badge);
    redirect.set(claim, to.redirect);
    abi = to.redirect ? &kRedirectAbi : &kNativeAbi;
    slow_switch_reasons =
        to.redirect ? u8(slow_switch_reasons | kSlowTrapped) : u8(slow_switch_reasons & ~kSlowTrapped);
    renew.fetch_or(kRenewEntry, std::memory_order_release);
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
    t.wake();  // at home it looks for requests before it runs
}

}  // namespace core
