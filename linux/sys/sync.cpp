// SPDX-License-Identifier: MIT
// futex(2) and robust lists (get_robust_list(2)).
#include "abi/linux/stat.hpp"
#include "linux/sys/table.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/futex.hpp"
#include "linux/task/thread.hpp"
#include "linux/time.hpp"

namespace linux {
namespace {

using port::Module;

struct Op {
    u32 command;
    bool is_private, realtime;
};
Result<Op> decode(u32 op) {
    Op o{op & ~(kFutexPrivate | kFutexClockRealtime), (op & kFutexPrivate) != 0, (op & kFutexClockRealtime) != 0};
    if (o.realtime && o.command != kFutexWaitBitset && o.command != kFutexWaitRequeuePi && o.command != kFutexLockPi2)
        return Errno::kNoSys;
    return o;
}

// When FUTEX_WAIT and FUTEX_WAIT_BITSET give up, on the monotonic clock.
Leaf<Nanoseconds> deadline_of(Caller& c, const Op& o, UserIn<abi::Timespec> timeout) {
    if (!timeout) return Nanoseconds::never();
    u64 ns = TRY(duration_of(TRY(timeout.get(c.user()))));
    if (o.command == kFutexWait) return deadline_in(ns);
    if (o.realtime) return from_realtime(ns);
    return ns >= kForever ? Nanoseconds::never() : Nanoseconds{ns};
}

TaskResult wait_on_word(Caller& c, UserAddr at, u32 value, u32 bits, Nanoseconds deadline, bool is_private);

TaskResult resume_wait(Caller& c, Thread::RestartBlock& b) {
    return wait_on_word(c, UserAddr{b.data[0]}, u32(b.data[1]), u32(b.data[2]), Nanoseconds{b.data[3]}, b.data[4] != 0);
}

TaskResult wait_on_word(Caller& c, UserAddr at, u32 value, u32 bits, Nanoseconds deadline, bool is_private) {
    Thread& t = c.thread();
    FutexKey key = CO_TRY(futex_key(t, at, is_private));
    auto r = co_await futex_wait(t, key, at, value, bits, deadline);
    if (r.ok()) co_return i64{0};
    if (r.error() == Errno::kRestartSys && deadline != Nanoseconds::never()) {
        t.restart = {&resume_wait, {at.value, value, bits, deadline.value, is_private}};
        co_return Errno::kRestartBlock;
    }
    co_return r.error();
}

// Of operations on many waiters; arguments are checked.
TaskResult long_futex(Caller& c, Op o, UserAddr at, u32 value, u64 timeout, UserAddr second, u32 value3) {
    Thread& t = c.thread();
    FutexKey key = CO_TRY(futex_key(t, at, o.is_private));
    FutexKey other = CO_TRY(futex_key(t, second, o.is_private));
    if (o.command == kFutexWakeOp)
        co_return co_await futex_wake_op_long(t, key, other, second, value, u32(timeout), value3);
    co_return co_await futex_requeue_long(t, key, other, value, u32(timeout), at, o.command == kFutexCmpRequeue,
                                          value3);
}

// `timeout` is a number for the requeue operations: how many to move.
[[gnu::noinline]] Leaf<i64> any_futex(Caller& c, UserAddr at, u32 op, u32 value, u64 timeout, UserAddr second,
                                      u32 value3) {
    Op o = TRY(decode(op));
    Thread& t = c.thread();
    auto in_pieces = [&] { return long_futex(c, o, at, value, timeout, second, value3); };
    switch (o.command) {
        case kFutexWait:
        case kFutexWaitBitset: {
            const Nanoseconds deadline = TRY(deadline_of(c, o, {UserAddr{timeout}}));
            u32 bits = o.command == kFutexWait ? ~0u : value3;
            if (bits == 0) return Errno::kInval;
            FutexKey key = TRY(futex_key(t, at, o.is_private));
            if (!timeout) return futex_block(t, key, at, value, bits);
            if (TRY(c.user().load_u32(at)) != value) return Errno::kAgain;
            return c.later(wait_on_word(c, at, value, bits, deadline, o.is_private));
        }
        case kFutexWakeBitset:
        case kFutexWake: {
            u32 bits = o.command == kFutexWake ? ~0u : value3;
            if (bits == 0) return Errno::kInval;
            FutexKey key = TRY(futex_key(t, at, o.is_private));
            // At least one, as Linux does for counts of zero and below.
            FutexBucket& bucket = FutexBucket::of(key);
            if (!bucket.has_waiters()) return i64{0};
            return futex_wake_in(c, bucket, key, i32(value) > 0 ? value : 1, bits);
        }
        case kFutexRequeue:
        case kFutexCmpRequeue: {
            if (i32(value) < 0 || i32(timeout) < 0) return Errno::kInval;
            FutexKey from = TRY(futex_key(t, at, o.is_private));
            FutexKey to = TRY(futex_key(t, second, o.is_private));
            return c.or_later(
                futex_requeue(t, from, to, value, u32(timeout), at, o.command == kFutexCmpRequeue ? &value3 : nullptr),
                in_pieces);
        }
        case kFutexWakeOp: {
            FutexKey first = TRY(futex_key(t, at, o.is_private));
            FutexKey other = TRY(futex_key(t, second, o.is_private));
            return c.or_later(futex_wake_op(t, first, other, second, value, u32(timeout), value3), in_pieces);
        }
        default: return Errno::kNoSys;
    }
}

// The fast path of thread locks: waits and wakes of private futexes. A wake without waiters needs no stack.
Leaf<i64> sys_futex(Caller& c, UserAddr at, u32 op, u32 value, u64 timeout, UserAddr second, u32 value3) {
    if ((at.value & 3) == 0 && at.value < fs::kUserEnd) [[likely]] {
        if (op == (kFutexWake | kFutexPrivate)) {
            FutexKey key{&c.mm(), at.value};
            FutexBucket& bucket = FutexBucket::of(key);
            if (!bucket.has_waiters()) return 0;
            return futex_wake_in(c, bucket, key, i32(value) > 0 ? value : 1, ~0u);
        }
        if (op == (kFutexWait | kFutexPrivate) && timeout == 0)
            return futex_block(c.thread(), {&c.mm(), at.value}, at, value, ~0u);
    }
    return any_futex(c, at, op, value, timeout, second, value3);
}

Leaf<i64> sys_set_robust_list(Caller& c, UserAddr head, u64 size) {
    if (size != kRobustHeadSize) return Errno::kInval;
    c.thread().robust_list = head;
    return 0;
}
Leaf<i64> sys_get_robust_list(Caller& c, i32 pid, UserOut<u64> head, UserOut<u64> size) {
    u64 at;
    if (pid == 0) {
        at = c.thread().robust_list.value;
    } else {
        Ref<Thread> t = find_thread(Pid{pid});
        if (!t && !find_process(Pid{pid})) return Errno::kSrch;
        if (t ? !may_inspect(&c, view_of(t->process(), t.get()), AskedBy::kCall) : !c.creds().capable(kCapSysPtrace))
            return Errno::kPerm;
        at = t ? t->robust_list.value : 0;  // the kernel's init has no thread
    }
    TRY(size.put(c.user(), kRobustHeadSize));
    TRY(head.put(c.user(), at));
    return 0;
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_futex>(abi::kNrFutex, "futex", Module::kSync, "futex/simple_results"),
    row<&sys_set_robust_list>(abi::kNrSetRobustList, "set_robust_list", Module::kSync, "clone/robust_list"),
    row<&sys_get_robust_list>(abi::kNrGetRobustList, "get_robust_list", Module::kSync, "clone/robust_list"),
};
const std::span<const SyscallRow> sync_rows{kRows};

}  // namespace linux
