// SPDX-License-Identifier: MIT
// The queues of pending signals, for linux/signal*.cpp. Each is of the owner's SignalState.
#pragma once
#include "linux/task/process.hpp"

namespace linux {

// kAgain: no room for a real-time one.
Result<void> enqueue_signal(Process& p, PendingSignals& q, const SignalInfo& info) RT_REQUIRES(p.signals.lock);
// Of those pending in one queue, at least one, the number that is taken first: those of faults, then the lowest.
inline u32 first_signal(u64 pending) {
    constexpr SignalSet kOfFaults = signals_of(kSigSegv, kSigBus, kSigIll, kSigTrap, kSigFpe, kSigSys);
    const u64 first = pending & kOfFaults.bits;
    return u32(__builtin_ctzll(first ? first : pending)) + 1;
}
void dequeue_signal(Process& p, PendingSignals& q, u32 sig, SignalInfo* out) RT_REQUIRES(p.signals.lock);
const SignalInfo* first_info(PendingSignals& q, u32 sig);  // null: it came without
// Has t, a thread of p, a signal to take?
bool has_deliverable(Process& p, Thread& t) RT_REQUIRES(p.signals.lock);
// Sends the news of a child to its parent.
void tell_parent(Process& child, i32 code, i32 status) RT_REQUIRES(process_tree);
// Forgets a pending signal everywhere: it is ignored from now on.
void flush_signal(Process& p, u32 sig) RT_REQUIRES(p.signals.lock);
// begin_group_exit by the holder of the lock.
void end_group_locked(Process& p, i32 wait_status) RT_REQUIRES(p.signals.lock);
// Some of the threads from signals.exit_next on learn that they are to end.
void tell_some_to_exit(Process& p) RT_REQUIRES(p.signals.lock);
// For each of these, which the process has pending, a thread other than `but` that takes it is told, if there is one.
void find_takers(Process& p, u64 signals, const Thread* but) RT_REQUIRES(p.signals.lock);
// A thread that was to stop has stopped, or ends.
void one_less_to_stop(Process& p) RT_REQUIRES(p.signals.lock);
// The thread takes no more signals; what it leaves goes to the others. Takes the lock itself.
void leave_signals(Thread& t);

}  // namespace linux
