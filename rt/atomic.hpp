// SPDX-License-Identifier: MIT
// The atomic variables of rt/, and the places where the explorer can plant a fault.
//
// Atomic is std::atomic in every world but one: in the explorer (hal/explore, tests/explore) each access is a point where
// another CPU may go on, and plain stores wait in a store buffer.
#pragma once
#include "hal/bind.hpp"

namespace rt {

template <class T>
using Atomic = hal::Atomic<T>;

// Steps that a mutant leaves out, so that a test can show that the explorer misses them.
enum class Step : u32 {
    kNone,
    kAttentionLook,      // enter_user_state(): the attention bits, behind the store of the state
    kInboxLook,          // the inbox, behind the store of the state
    kLaneLook,           // enter_user_state(): the lanes, behind the store of the state
    kLaneLookAsleep,     // wait_for_work(): the same
    kTellServer,         // finish_call(): the server's state, behind the detaching
    kEpochFirst,         // quiescent() and epoch_leave_idle(): the epoch is read before the mailbox is polled
    kUnlinkVisible,      // retire(): what was unlinked is in memory before the epoch is read
    kHandlerLeavesIdle,  // an interrupt handler during sleep ends the idle state
    kWakeUnderPhase,     // Wait::suspend(): the interruption is looked for behind the store of the phase
    kHandoffExchange,    // await_handoff() closes by an exchange
    kShareTakeBack,      // CopyShare::take_back() decides by a compare-exchange
    kWaitSequence,       // WaitQueue::add(): the sequence is compared once more
    kKickLook,           // enter_user(): the thread's flag
    kTeardownLook,       // TeardownList::ends(): the list, behind the store of `working_`
};

// Constant false but in the explorer: nothing of it is in a kernel.
template <Step kStep, class M = hal::Machine>
constexpr bool left_out() {
    if constexpr (requires { M::left_out(u32(kStep)); })
        return M::left_out(u32(kStep));
    else
        return false;
}

}  // namespace rt
