// SPDX-License-Identifier: MIT
// Futex queues: a fixed hash of buckets. A waiter's node is in its coroutine's frame; a waker unlinks it under the
// bucket's lock and posts the job, so the node is its own again once the waiter has held that lock.
//
// A wake with no waiter takes no lock: the waiter counts itself in the bucket before it reads the user's word, the
// waker's program changed the word before the call; both seq_cst (the pairing of futex(2)'s protocol).
#include "linux/task/futex.hpp"

#include "linux/task/thread.hpp"

namespace linux {

constinit FutexBucket futex_buckets[FutexBucket::kCount];

namespace {

using Waiter = FutexWaiter;
using Bucket = FutexBucket;

Bucket& bucket_of(const FutexKey& k) { return Bucket::of(k); }

void wake_waiter(Bucket& b, Waiter& w) RT_REQUIRES(b.lock) {
    w.hook.unlink();
    b.waiters.fetch_sub(1, std::memory_order_relaxed);
    w.woken = true;
    w.queue.wake_one();
}

// So many waiters of a bucket are visited, and woken or moved, at once. Where there are more the leaf leaves it to a
// task.
constexpr u32 kFew = 128;
bool is_long(const Bucket& b) { return b.waiters.load(std::memory_order_relaxed) > kFew; }

// Are those that a wake is for among the first of many?
[[gnu::cold, gnu::noinline]] bool found_soon(Bucket& b, const FutexKey& key, u32 limit, u32 bits) RT_REQUIRES(b.lock) {
    u32 found = 0, seen = 0;
    for (Waiter& w : b.list) {
        if (seen++ == kFew) return false;
        if (w.key == key && (w.bits & bits) && ++found == limit) break;
    }
    return true;
}

void requeue_waiter(Bucket& a, Bucket& b, Waiter& w, const FutexKey& to) RT_REQUIRES(a.lock, b.lock) {
    w.key = to;
    if (&a == &b) return;
    w.hook.unlink();
    a.waiters.fetch_sub(1, std::memory_order_relaxed);
    b.waiters.fetch_add(1, std::memory_order_seq_cst);
    w.bucket.store(&b, std::memory_order_release);
    b.list.push_back(w);
}

// A pass, in pieces, over the threads that wait for a word when it begins. Its ends are in the list, as waiters for
// nothing: others come and go concurrently.
class Pass {
public:
    Pass(Bucket& b, const FutexKey& key) : bucket_(b), key_(key) {}
    Pass(const Pass&) = delete;
    ~Pass() {
        rt::LockGuard guard{bucket_.lock};
        if (at_.hook.linked()) at_.hook.unlink(), end_.hook.unlink();
    }
    // These two are for the holder of the bucket's lock, under its name there.
    void begin() {
        bucket_.lock.assume_held();
        bucket_.list.push_front(at_);
        bucket_.list.push_back(end_);
    }
    // `each` may take the waiter out of the list, and says whether it wants more. False: all have been seen.
    template <class Each>
    bool go_on(Each each) {
        bucket_.lock.assume_held();
        Waiter* w = bucket_.list.next(at_);
        bool wanted = true;
        at_.hook.unlink();
        for (u32 n = 0; n < kFew && wanted && w != &end_; ++n) {
            Waiter& here = *w;
            w = bucket_.list.next(here);
            if (here.key == key_) wanted = each(here);
        }
        bucket_.list.insert_before(*w, at_);
        return wanted && w != &end_;
    }

private:
    Bucket& bucket_;
    const FutexKey key_;
    Waiter at_, end_;
};

u32 wake_in(Bucket& b, const FutexKey& key, u32 limit, u32 bits) RT_REQUIRES(b.lock) {
    u32 woken = 0;
    for (auto it = b.list.begin(); it != b.list.end() && woken < limit;) {
        Waiter& w = *it;
        ++it;
        if (!(w.key == key) || !(w.bits & bits)) continue;
        wake_waiter(b, w);
        if (++woken == limit) break;
    }
    return woken;
}

}  // namespace

Leaf<FutexKey> futex_key(Thread& t, UserAddr at, bool is_private) {
    if (at.value & 3) return Errno::kInval;
    if (!fs::UserMemory::inside(at, 4)) return Errno::kFault;
    if (is_private) return FutexKey{&t.mm(), at.value};
    // A word that several processes may map is identified by what is mapped.
    u32 word = TRY(t.user().load_u32(at));
    u64 object = 0, offset = 0;
    if (t.mm().shared_object(at, object, offset)) return FutexKey::shared(object, offset);
    // Memory that is private but may be shared by fork: Linux faults the page as for a write.
    if (!t.user().compare_exchange_u32(at, word, word).ok()) {
        AddressSpace::AreaView area;
        const bool found = t.mm().next_area(at, area) && area.start <= at;
        if (found && !(area.prot & kProtWrite)) return Errno::kFault;
    }
    // Another word than the one of private operations (FUT_OFF_MMSHARED).
    return FutexKey{&t.mm(), at.value | 1};
}

u32 futex_wake(const FutexKey& key, u32 limit, u32 bits) {
    Bucket& b = bucket_of(key);
    if (!b.has_waiters()) return 0;
    rt::LockGuard guard{b.lock};
    return wake_in(b, key, limit, bits);
}

[[gnu::cold, gnu::noinline]] static LeafError wake_later(Caller& c, const FutexKey& key, u32 limit, u32 bits) {
    return c.later(futex_wake_long(key, limit, bits));
}
Leaf<i64> futex_wake_in(Caller& c, FutexBucket& b, FutexKey key, u32 limit, u32 bits) {
    {
        rt::LockGuard guard{b.lock};
        if (!is_long(b) || found_soon(b, key, limit, bits)) [[likely]]
            return i64{wake_in(b, key, limit, bits)};
    }
    return wake_later(c, key, limit, bits);
}

Leaf<i64> futex_requeue(Thread& t, const FutexKey& from, const FutexKey& to, u32 wake, u32 requeue, UserAddr check_at,
                        const u32* expected) {
    Bucket& a = bucket_of(from);
    Bucket& b = bucket_of(to);
    rt::LockPair guard{a.lock, b.lock};
    if (is_long(a)) return kNeedsTask;
    if (expected && TRY(t.user().load_u32(check_at)) != *expected) return Errno::kAgain;
    u32 woken = 0, moved = 0;
    for (auto it = a.list.begin(); it != a.list.end();) {
        Waiter& w = *it;
        ++it;
        if (!(w.key == from)) continue;
        if (woken < wake) {
            wake_waiter(a, w);
            ++woken;
            continue;
        }
        if (moved >= requeue) break;
        ++moved;
        requeue_waiter(a, b, w, to);
    }
    return i64{woken + moved};
}

namespace {

// Changes the second word and compares its old value. Both locks held.
Leaf<bool> change_word(Thread& t, UserAddr at, u32 operation) {
    u32 op = (operation >> 28) & 7, compare = (operation >> 24) & 15;
    i32 argument = i32(operation << 8) >> 20, against = i32(operation << 20) >> 20;
    if (operation & kFutexOpArgumentShift) argument = i32(1u << (u32(argument) & 31));
    u32 old = TRY(t.user().load_u32(at));
    for (;;) {
        u32 next = 0;
        switch (op) {
            case kFutexOpSet: next = u32(argument); break;
            case kFutexOpAdd: next = old + u32(argument); break;
            case kFutexOpOr: next = old | u32(argument); break;
            case kFutexOpAndNot: next = old & ~u32(argument); break;
            case kFutexOpXor: next = old ^ u32(argument); break;
        }
        u32 found = TRY(t.user().compare_exchange_u32(at, old, next));
        if (found == old) break;
        old = found;
    }
    switch (compare) {
        case kFutexCompareEq: return i32(old) == against;
        case kFutexCompareNe: return i32(old) != against;
        case kFutexCompareLt: return i32(old) < against;
        case kFutexCompareLe: return i32(old) <= against;
        case kFutexCompareGt: return i32(old) > against;
        case kFutexCompareGe: return i32(old) >= against;
    }
    return Errno::kNoSys;  // after the operation, as in Linux
}
bool known_operation(u32 operation) { return ((operation >> 28) & 7) <= kFutexOpXor; }

}  // namespace

Leaf<i64> futex_wake_op(Thread& t, const FutexKey& first, const FutexKey& second, UserAddr second_at, u32 wake_first,
                        u32 wake_second, u32 operation) {
    if (!known_operation(operation)) return Errno::kNoSys;
    Bucket& a = bucket_of(first);
    Bucket& b = bucket_of(second);
    rt::LockPair guard{a.lock, b.lock};
    if (is_long(a) || is_long(b)) return kNeedsTask;
    const bool also = TRY(change_word(t, second_at, operation));
    u32 woken = wake_in(a, first, wake_first, ~0u);
    if (also) woken += wake_in(b, second, wake_second, ~0u);
    return i64{woken};
}

// ---- The same in pieces. Waiters that come after the first piece are not woken or moved: the word had changed. ----

namespace {

// A piece of a pass that has begun. False: enough are awake, or all have been seen.
bool wake_some(Bucket& b, Pass& pass, u32 limit, u32 bits, u32& woken) {
    if (limit == 0) return false;
    u32 before = woken;
    rt::LockGuard guard{b.lock};
    return pass.go_on([&](Waiter& w) {
        b.lock.assume_held();
        if (w.bits & bits) wake_waiter(b, w), ++woken;
        return woken - before < limit;
    });
}

}  // namespace

TaskResult futex_wake_long(FutexKey key, u32 limit, u32 bits) {
    Bucket& b = bucket_of(key);
    Pass pass(b, key);
    {
        rt::LockGuard guard{b.lock};
        pass.begin();
    }
    u32 woken = 0;
    while (wake_some(b, pass, limit - woken, bits, woken)) co_await rt::Yield{};
    co_return i64{woken};
}

TaskResult futex_requeue_long(Thread& t, FutexKey from, FutexKey to, u32 wake, u32 requeue, UserAddr check_at,
                              bool checks, u32 expected) {
    Bucket& a = bucket_of(from);
    Bucket& b = bucket_of(to);
    Pass pass(a, from);
    u32 woken = 0, moved = 0;
    for (bool more = true, first = true; more; first = false) {
        {
            rt::LockPair guard{a.lock, b.lock};
            if (first) {
                if (checks && CO_TRY(t.user().load_u32(check_at)) != expected) co_return Errno::kAgain;
                pass.begin();
            }
            more = pass.go_on([&](Waiter& w) {
                a.lock.assume_held();
                b.lock.assume_held();
                if (woken < wake) {
                    wake_waiter(a, w);
                    ++woken;
                } else if (moved < requeue) {
                    requeue_waiter(a, b, w, to);
                    ++moved;
                }
                return woken < wake || moved < requeue;
            });
        }
        if (more) co_await rt::Yield{};
    }
    co_return i64{woken + moved};
}

TaskResult futex_wake_op_long(Thread& t, FutexKey first, FutexKey second, UserAddr second_at, u32 wake_first,
                              u32 wake_second, u32 operation) {
    if (!known_operation(operation)) co_return Errno::kNoSys;
    Bucket& a = bucket_of(first);
    Bucket& b = bucket_of(second);
    Pass of_first(a, first), of_second(b, second);
    bool also;
    {
        rt::LockPair guard{a.lock, b.lock};
        also = CO_TRY(change_word(t, second_at, operation));
        of_first.begin();
        of_second.begin();
    }
    u32 woken = 0, also_woken = 0;
    while (wake_some(a, of_first, wake_first - woken, ~0u, woken)) co_await rt::Yield{};
    if (also)
        while (wake_some(b, of_second, wake_second - also_woken, ~0u, also_woken)) co_await rt::Yield{};
    co_return i64{woken + also_woken};
}

namespace {

// Puts w in the queue if the word is still `expected`. kAgain: it is not.
[[gnu::always_inline]] inline Leaf<void> enter_queue(Thread& t, Waiter& w, const FutexKey& key, UserAddr at,
                                                     u32 expected, u32 bits) {
    Bucket& b = bucket_of(key);
    b.waiters.fetch_add(1, std::memory_order_seq_cst);  // before the word is read: see the top of the file
    rt::LockGuard guard{b.lock};
    u32 now;
    if (!t.user().load_now(at, now)) [[unlikely]] {
        auto r = t.user().load_u32(at);
        if (!r.ok()) {
            b.waiters.fetch_sub(1, std::memory_order_relaxed);
            return r.error();
        }
        now = r.value();
    }
    if (now != expected) {
        b.waiters.fetch_sub(1, std::memory_order_relaxed);
        return Errno::kAgain;
    }
    w.key = key;
    w.bits = bits;
    w.woken = false;
    w.bucket.store(&b, std::memory_order_relaxed);
    b.list.push_back(w);
    return lib::kOk;
}

// Has a waker taken w out? With `leave`, it is out afterwards in any case. Once this returns true no other thread
// accesses w.
bool was_woken(Waiter& w, bool leave) {
    for (;;) {
        Bucket* b = w.bucket.load(std::memory_order_acquire);
        rt::LockGuard guard{b->lock};
        if (w.bucket.load(std::memory_order_relaxed) != b) continue;
        if (w.woken) return true;
        if (leave) {
            w.hook.unlink();
            b->waiters.fetch_sub(1, std::memory_order_relaxed);
        }
        return false;
    }
}

Leaf<i64> block_again(Thread& t, rt::Wake why);
Leaf<i64> block_on(Thread& t, u32 seen) {
    Thread::Blocked& b = t.blocked_leaf;  // no file is kept
    b.again = &block_again;
    b.queue = &t.futex_waiter.queue;
    b.seen = seen;
    b.what = "futex";
    return kNeedsTask;
}

Leaf<i64> block_again(Thread& t, rt::Wake why) {
    Waiter& w = t.futex_waiter;
    u32 seen = w.queue.sequence();
    if (was_woken(w, why == rt::Wake::kInterrupted)) return i64{0};
    if (why == rt::Wake::kInterrupted) return Errno::kRestartSys;
    return block_on(t, seen);
}

}  // namespace

Leaf<i64> futex_block(Thread& t, FutexKey key, UserAddr at, u32 expected, u32 bits) {
    u32 seen = t.futex_waiter.queue.sequence();
    TRY(enter_queue(t, t.futex_waiter, key, at, expected, bits));
    return block_on(t, seen);
}

Task<Leaf<void>> futex_wait(Thread& t, FutexKey key, UserAddr at, u32 expected, u32 bits, Nanoseconds deadline) {
    Waiter w;
    CO_TRY(enter_queue(t, w, key, at, expected, bits));
    for (;;) {
        u32 seen = w.queue.sequence();
        if (was_woken(w, false)) co_return lib::kOk;
        auto r = co_await rt::wait_on(w.queue, seen, "futex", deadline);
        if (r.ok()) continue;
        if (was_woken(w, true)) co_return lib::kOk;
        co_return r.error();
    }
}

}  // namespace linux
