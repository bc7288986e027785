// SPDX-License-Identifier: MIT
// The queues of pending signals, for linux/signal*.cpp. The owner's SignalState::lock is held throughout.
#pragma once
#include "linux/process.hpp"

namespace linux {

Result<void> enqueue_signal(Process& p, PendingSignals& q,
                            const SignalInfo& info);  // kAgain: no room for a real-time one
void dequeue_signal(Process& p, PendingSignals& q, u32 sig, SignalInfo* out);
const SignalInfo* first_info(PendingSignals& q, u32 sig);  // null: it came without
// Forgets a pending signal everywhere: it is ignored from now on.
void flush_signal(Process& p, u32 sig);
// begin_group_exit with the lock held.
void end_group_locked(Process& p, i32 wait_status);
// Some of the threads from signals.exit_next on learn that they are to end.
void tell_some_to_exit(Process& p);
// The thread takes no more signals; what it leaves goes to the others. Takes the lock itself.
void leave_signals(Thread& t);

}  // namespace linux
