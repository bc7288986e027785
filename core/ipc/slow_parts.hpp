// SPDX-License-Identifier: MIT
// What the complete paths of IPC share (slowpath.cpp, notify.cpp).
#pragma once
#include "core/ipc/ipc.hpp"

namespace core::ipc {

// Takes the first of those that wait.
inline NativeThread* take_first(Waitable& at) RT_REQUIRES(at.lock) {
    NativeThread* t = at.first();
    if (!t) return nullptr;
    at.take_out(*t);
    t->state.store(native::kStateReady, std::memory_order_relaxed);  // not in a queue; ours
    return t;
}

// The result of a wait that ends with bits of a notification.
inline void deliver_bits(NativeThread& t, u64 bits) {
    hal::set_message(t.context, bits, native::make_tag(native::kLabelSignal, 0));
}

}  // namespace core::ipc
