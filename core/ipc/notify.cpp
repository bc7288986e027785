// SPDX-License-Identifier: MIT
// Notifications: signals to them, and who is woken.
#include "core/ipc/calls.hpp"
#include "core/ipc/slow_parts.hpp"

namespace core {
namespace ipc {

void notify(Notification& n, u64 bits) {
    NativeThread* waiter;
    {
        ObjectGuard guard{n.lock};
        waiter = take_first(n);
        // seq_cst: pairs with receive_from(), which queues first and looks at the bits then.
        u64 all = n.bits.fetch_or(bits, std::memory_order_seq_cst) | bits;
        if (waiter) {
            n.bits.store(0, std::memory_order_relaxed);
            bits = all;
        }
    }
    if (waiter) {
        waiter->drop_timeout();
        deliver_bits(*waiter, bits);
        waiter->wake();
        return;
    }
    NativeThread* bound = n.bound.load(std::memory_order_seq_cst);
    if (!bound || !bound->claim(native::kStateReceiving)) return;
    bound->drop_timeout();
    // Ours; it may have been bound to another notification since.
    if (u64 now = bound->bound.get() == &n ? n.bits.exchange(0, std::memory_order_seq_cst) : 0) {
        deliver_bits(*bound, now);
        bound->wake();
    } else {
        // Our bits were taken with another signal's by a receive that has ended since, or are not for it: it waits
        // again. What came before the wait in its call is done: the answer is given, the caller saved.
        constexpr u64 kBefore = native::kCallMask | native::kSaveOwed | native::kAnswerSaved;
        hal::set_call_word(bound->context, (hal::call_word(bound->context) & ~kBefore) | native::kReceive);
        bound->context.restart_syscall();
        bound->wake();
    }
}

Result<i64> signal(NativeThread& t) {
    auto n = TRY(calls::find<Notification>(*t.caps, hal::call_capability(t.context), native::kTypeNotification,
                                           native::kSendRight));
    u64 bits = hal::message_tag(t.context);
    notify(*n.object, bits != 0 ? bits : n.cap->badge);
    return i64{0};
}

}  // namespace ipc

}  // namespace core
