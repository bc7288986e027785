// SPDX-License-Identifier: MIT
// Futex queues: a fixed hash of buckets. A waiter's node is in its coroutine's frame; a waker unlinks it under the bucket's
// lock and posts the job, so the node is its own again once the waiter has held that lock.
//
// A wake with no waiter takes no lock: the waiter counts itself in the bucket before it reads the user's word, the waker's
// program changed the word before the call; both seq_cst (the pairing of futex(2)'s protocol).
#include "linux/futex.hpp"

#include "linux/thread.hpp"

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
    // A word that several may map is named by what is mapped.
    u32 word = TRY(t.user().load_u32(at));
    u64 object = 0, offset = 0;
    if (t.mm().shared_object(at, object, offset)) return FutexKey::shared(object, offset);
    // Memory that is private but may become others' by fork: Linux takes the page as if to write to it.
    if (!t.user().compare_exchange_u32(at, word, word).ok()) {
        AddressSpace::AreaView area;
        const bool found = t.mm().next_area(at, area) && area.start <= at;
        if (found && !(area.prot & kProtWrite) && !area.file) return Errno::kFault;
    }
    return FutexKey{&t.mm(), at.value};
}

u32 futex_wake(const FutexKey& key, u32 limit, u32 bits) {
    Bucket& b = bucket_of(key);
    if (!b.has_waiters()) return 0;
    rt::LockGuard guard{b.lock};
    return wake_in(b, key, limit, bits);
}

Leaf<i64> futex_wake_in(FutexBucket& b, FutexKey key, u32 limit, u32 bits) {
    rt::LockGuard guard{b.lock};
    return i64{wake_in(b, key, limit, bits)};
}

Leaf<i64> futex_requeue(Thread& t, const FutexKey& from, const FutexKey& to, u32 wake, u32 requeue, UserAddr check_at,
                        const u32* expected) {
    Bucket& a = bucket_of(from);
    Bucket& b = bucket_of(to);
    rt::LockPair guard{a.lock, b.lock};
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
        w.key = to;
        if (&a == &b) continue;
        w.hook.unlink();
        a.waiters.fetch_sub(1, std::memory_order_relaxed);
        b.waiters.fetch_add(1, std::memory_order_seq_cst);
        w.bucket.store(&b, std::memory_order_release);
        b.list.push_back(w);
    }
    return i64{woken + moved};
}

Leaf<i64> futex_wake_op(Thread& t, const FutexKey& first, const FutexKey& second, UserAddr second_at, u32 wake_first,
                        u32 wake_second, u32 operation) {
    u32 op = (operation >> 28) & 7, compare = (operation >> 24) & 15;
    i32 argument = i32(operation << 8) >> 20, against = i32(operation << 20) >> 20;
    if (operation & 0x80000000) argument = i32(1u << (u32(argument) & 31));  // FUTEX_OP_OPARG_SHIFT
    if (op > 4) return Errno::kNoSys;
    Bucket& a = bucket_of(first);
    Bucket& b = bucket_of(second);
    rt::LockPair guard{a.lock, b.lock};
    u32 old = TRY(t.user().load_u32(second_at));
    for (;;) {
        u32 next = 0;
        switch (op) {
            case 0: next = u32(argument); break;
            case 1: next = old + u32(argument); break;
            case 2: next = old | u32(argument); break;
            case 3: next = old & ~u32(argument); break;
            case 4: next = old ^ u32(argument); break;
        }
        u32 found = TRY(t.user().compare_exchange_u32(second_at, old, next));
        if (found == old) break;
        old = found;
    }
    if (compare > 5) return Errno::kNoSys;  // after the operation, as in Linux
    u32 woken = wake_in(a, first, wake_first, ~0u);
    bool also = false;
    switch (compare) {
        case 0: also = i32(old) == against; break;
        case 1: also = i32(old) != against; break;
        case 2: also = i32(old) < against; break;
        case 3: also = i32(old) <= against; break;
        case 4: also = i32(old) > against; break;
        case 5: also = i32(old) >= against; break;
    }
    if (also) woken += wake_in(b, second, wake_second, ~0u);
    return i64{woken};
}

namespace {

// Puts w in the queue if the word is still `expected`. kAgain: it is not.
[[gnu::always_inline]] inline Leaf<void> enter_queue(Thread& t, Waiter& w, const FutexKey& key, UserAddr at,
                                                     u32 expected, u32 bits) {
    Bucket& b = bucket_of(key);
    b.waiters.fetch_add(1, std::memory_order_seq_cst);  // before the word is read: see the file's head
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

// Has a waker taken w out? With `leave`, it is out afterwards in any case. Once this says true nobody touches w any more.
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
    return Errno::kNeedsTask;
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

Task<Result<void>> futex_wait(Thread& t, FutexKey key, UserAddr at, u32 expected, u32 bits, Nanoseconds deadline) {
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
