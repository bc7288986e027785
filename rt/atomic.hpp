// SPDX-License-Identifier: MIT
// The atomic variables of rt/, and the places where the explorer can plant a fault.
//
// Atomic is std::atomic in every world except the explorer (hal/explore, tests/explore), where other CPUs may run at
// each access and plain stores wait in a store buffer.
#pragma once
#include "hal/bind.hpp"

namespace rt {

template <class T>
using Atomic = hal::Atomic<T>;

// Steps that a mutant leaves out. A test shows that the explorer finds each mutant.
enum class Step : u32 {
    kNone,
    kAttentionLook,      // enter_user_state(): the attention bits are read after the store of the state
    kInboxLook,          // the inbox is read after the store of the state
    kLaneLook,           // enter_user_state(): the lanes are read after the store of the state
    kLaneLookAsleep,     // wait_for_work(): the same
    kTellServer,         // finish_call(): the server's state is read after the detach
    kEpochFirst,         // quiescent() and epoch_leave_idle(): the epoch is read before the mailbox is polled
    kUnlinkVisible,      // retire(): the unlinking is visible before the epoch is read
    kHandlerLeavesIdle,  // an interrupt handler during sleep ends the idle state
    kWakeUnderPhase,     // Wait::suspend(): the check for an interruption follows the store of the phase
    kHandoffExchange,    // await_handoff() closes by an exchange
    kShareTakeBack,      // CopyShare::take_back() decides by compare-exchange
    kWaitSequence,       // WaitQueue::add(): the sequence is compared once more under the lock
    kKickLook,           // enter_user(): the flag of the thread
    kTeardownLook,       // TeardownList::ends(): the list is read after the store of `working_`
    kAboveLook,          // gives_way(): the queue is looked at after others were made ready
    kForgetSlot,         // lane_forget(): the slot that has the word
    kForgetOwn,          // lane_forget(): only if it still has it
    kForgetFiller,       // lane_forget(): it is not left empty
    // core/ipc/reply_slot.hpp
    kLinkVisible,    // give_back(): the link is visible before the slot is read
    kSlotLook,       // give_back(): the slot is read after the link is set
    kSlotLookAgain,  // give_back(): the slot is read once more by the caller's owner
    kTakenLook,      // take_if(): what the caller is now
    kSavedLook,      // save_in(): the slot is read after the link is set
};

// False at compile time except in the explorer: no kernel contains any of it.
template <Step kStep, class M = hal::Machine>
constexpr bool left_out() {
    if constexpr (requires { M::left_out(u32(kStep)); })
        return M::left_out(u32(kStep));
    else
        return false;
}

}  // namespace rt
