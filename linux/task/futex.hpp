// SPDX-License-Identifier: MIT
// Futexes (futex(2)): sleeping on a word of user memory.
#pragma once
#include "abi/linux/futex.hpp"
#include "linux/task/process.hpp"

namespace linux {

// kFault: not a user address; kInval: not aligned; kNeedsFault: a shared one must be looked at first.
Leaf<FutexKey> futex_key(Thread& t, UserAddr at, bool is_private);

// How many were woken. The second form: in the key's bucket, which has waiters; of many it makes a task (Caller::later).
// kNeedsTask of the next two: there are many, use the long form, which gives way. kNeedsFault: nothing was changed.
u32 futex_wake(const FutexKey& key, u32 limit, u32 bits);
Leaf<i64> futex_wake_in(Caller& c, FutexBucket& bucket, FutexKey key, u32 limit, u32 bits);
Leaf<i64> futex_requeue(Thread& t, const FutexKey& from, const FutexKey& to, u32 wake, u32 requeue, UserAddr check_at,
                        const u32* expected);
Leaf<i64> futex_wake_op(Thread& t, const FutexKey& first, const FutexKey& second, UserAddr second_at, u32 wake_first,
                        u32 wake_second, u32 operation);
TaskResult futex_wake_long(FutexKey key, u32 limit, u32 bits);
TaskResult futex_requeue_long(Thread& t, FutexKey from, FutexKey to, u32 wake, u32 requeue, UserAddr check_at,
                              bool checks, u32 expected);
TaskResult futex_wake_op_long(Thread& t, FutexKey first, FutexKey second, UserAddr second_at, u32 wake_first,
                              u32 wake_second, u32 operation);
// kAgain: the word is not `expected`; kTimedOut; kRestartSys. The deadline is on the monotonic clock.
// Without a deadline, as a leaf: kNeedsTask, and the thread's blocked_leaf is set; kNeedsFault.
Leaf<i64> futex_block(Thread& t, FutexKey key, UserAddr at, u32 expected, u32 bits);
Task<Leaf<void>> futex_wait(Thread& t, FutexKey key, UserAddr at, u32 expected, u32 bits, Nanoseconds deadline);

}  // namespace linux
