// SPDX-License-Identifier: MIT
// Advisory file locks (fcntl(2), flock(2)). See file_locks.hpp.
//
// POSIX and OFD locks are ranges: setting one replaces what the same owner has there, joins neighbours of its type and
// splits what it only overlaps (POSIX.1-2017, fcntl). flock locks cover the file and conflict only among themselves.
// Of one file, the locks of an owner stand together, by ascending start; owners in the order of their first lock. F_GETLK
// names the first lock of that order that is in the way (fs/locks.c, posix_lock_inode).
#include "fs/file_locks.hpp"

#include "fs/dentry.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

struct Held {
    lib::ListHook hook;
    Inode* inode;  // the owner's open file keeps it alive
    FileLock lock;
};

struct Table {
    rt::SpinLock<rt::Rank::file_locks> lock;
    lib::List<Held, &Held::hook> held RT_GUARDED_BY(lock);
    lib::List<LockWaiter, &LockWaiter::hook> waiters RT_GUARDED_BY(lock);
    std::atomic<u32> count{0};
};
constinit Table table;
constexpr u32 kQueueBits = 6;
constinit rt::WaitQueue changed[1 << kQueueBits];

bool same_class(LockKind a, LockKind b) { return (a == LockKind::kFlock) == (b == LockKind::kFlock); }

Held* conflict(Inode& inode, const FileLock& want) RT_REQUIRES(table.lock) {
    for (Held& h : table.held) {
        if (h.inode != &inode || !same_class(h.lock.kind, want.kind)) continue;
        if (h.lock.owner == want.owner && h.lock.kind == want.kind) continue;
        if (h.lock.start > want.end || want.start > h.lock.end) continue;
        if (h.lock.write || want.write) return &h;
    }
    return nullptr;
}

void drop(Held& h) RT_REQUIRES(table.lock) {
    h.hook.unlink();
    table.count.fetch_sub(1, std::memory_order_relaxed);
    delete &h;
}

bool same_owner(const Held& h, const Inode& inode, const FileLock& l) {
    return h.inode == &inode && h.lock.kind == l.kind && h.lock.owner == l.owner;
}

// Before `next`; null: at the end.
void insert(Held& h, Held* next) RT_REQUIRES(table.lock) {
    if (next)
        table.held.insert_before(*next, h);
    else
        table.held.push_back(h);
}

// Where a new lock belongs: behind those of its owner that start before it. `behind_group`: what stood behind all of the
// owner's, before some of them went; null: the end.
void insert_sorted(Held& fresh, Held* behind_group) RT_REQUIRES(table.lock) {
    for (Held& h : table.held) {
        if (!same_owner(h, *fresh.inode, fresh.lock) || h.lock.start < fresh.lock.start) continue;
        return insert(fresh, &h);
    }
    insert(fresh, behind_group);
}
Held* behind_locks_of(const Inode& inode, const FileLock& l) RT_REQUIRES(table.lock) {
    Held* last = nullptr;
    for (Held& h : table.held)
        if (same_owner(h, inode, l)) last = &h;
    return last ? table.held.next(*last) : nullptr;
}

// Cuts [start, end] out of what the owner holds. `spare` is used if one lock becomes two. False: he holds nothing there.
bool cut(Inode& inode, const FileLock& range, Held*& spare) RT_REQUIRES(table.lock) {
    bool any = false;
    for (Held *h = table.held.front(), *next; h; h = next) {
        next = table.held.next(*h);
        if (!same_owner(*h, inode, range)) continue;
        if (h->lock.start > range.end || range.start > h->lock.end) continue;
        any = true;
        bool before = h->lock.start<range.start, after = h->lock.end> range.end;
        if (before && after) {
            *spare = *h;
            spare->hook = {};
            spare->lock.start = range.end + 1;
            insert(*spare, table.held.next(*h));
            table.count.fetch_add(1, std::memory_order_relaxed);
            spare = nullptr;
            h->lock.end = range.start - 1;
        } else if (before) {
            h->lock.end = range.start - 1;
        } else if (after) {
            h->lock.start = range.end + 1;
        } else {
            drop(*h);
        }
    }
    return any;
}

// True: the owner had one.
bool drop_flock(Inode& inode, const FileLock& l) RT_REQUIRES(table.lock) {
    for (Held& h : table.held) {
        if (!same_owner(h, inode, l)) continue;
        drop(h);
        return true;
    }
    return false;
}

template <class Matches>
void release_matching(const Inode& inode, Matches matches) {
    bool any = false;
    {
        rt::LockGuard guard{table.lock};
        for (Held *h = table.held.front(), *next; h; h = next) {
            next = table.held.next(*h);
            if (!matches(*h)) continue;
            drop(*h);
            any = true;
        }
    }
    if (any) file_locks_changed(inode).wake_all();
}

}  // namespace

bool file_locks_exist() { return table.count.load(std::memory_order_relaxed) != 0; }
rt::WaitQueue& file_locks_changed(const Inode& inode) {
    return changed[(reinterpret_cast<u64>(&inode) * detail::kHashFactor) >> (64 - kQueueBits)];
}

bool find_conflict(Inode& inode, const FileLock& want, FileLock& found) {
    rt::LockGuard guard{table.lock};
    Held* h = conflict(inode, want);
    if (h) found = h->lock;
    return h != nullptr;
}

Result<void> set_lock(Inode& inode, const FileLock& want) {
    Held* fresh = rt::make<Held>();
    Held* spare = rt::make<Held>();
    Result<void> result = lib::kOk;
    bool less = false;  // the owner holds less than before
    if (!fresh || !spare) {
        result = Errno::kNoMem;
    } else {
        rt::LockGuard guard{table.lock};
        if (conflict(inode, want)) {
            result = Errno::kAgain;
            // A flock is converted by giving the old lock up first: it is lost if the new one is not to be had (flock(2)).
            if (want.kind == LockKind::kFlock) less = drop_flock(inode, want);
        } else {
            fresh->inode = &inode;
            fresh->lock = want;
            // A neighbour of the same type becomes part of the new one.
            for (Held& h : table.held) {
                if (h.inode != &inode || h.lock.kind != want.kind || h.lock.owner != want.owner) continue;
                if (h.lock.write != want.write) continue;
                bool touches = (h.lock.end == ~u64{0} || h.lock.end + 1 >= want.start) &&
                               (want.end == ~u64{0} || want.end + 1 >= h.lock.start);
                if (!touches) continue;
                fresh->lock.start = fresh->lock.start < h.lock.start ? fresh->lock.start : h.lock.start;
                fresh->lock.end = fresh->lock.end > h.lock.end ? fresh->lock.end : h.lock.end;
            }
            Held* behind = behind_locks_of(inode, want);
            less = cut(inode, fresh->lock, spare) && !want.write;  // a write lock may have become one for reading
            insert_sorted(*fresh, behind);
            table.count.fetch_add(1, std::memory_order_relaxed);
            fresh = nullptr;
        }
    }
    delete fresh;
    delete spare;
    if (less) file_locks_changed(inode).wake_all();
    return result;
}

Result<void> clear_lock(Inode& inode, const FileLock& range) {
    Held* spare = rt::make<Held>();
    if (!spare) return Errno::kNoMem;
    bool any;
    {
        rt::LockGuard guard{table.lock};
        any = cut(inode, range, spare);
    }
    delete spare;
    if (any) file_locks_changed(inode).wake_all();
    return lib::kOk;
}

bool would_deadlock(Inode& inode, const FileLock& want) {
    if (want.kind != LockKind::kPosix) return false;
    rt::LockGuard guard{table.lock};
    Held* h = conflict(inode, want);
    const void* at = h ? h->lock.owner : nullptr;
    for (u32 steps = 0; at && steps < 10; ++steps) {  // as many as Linux looks at (fs/locks.c, MAX_DEADLK_ITERATIONS)
        if (at == want.owner) return true;
        const void* next = nullptr;
        for (LockWaiter& w : table.waiters)
            if (w.owner == at) next = w.blocker;
        at = next;
    }
    return false;
}

void announce_wait(LockWaiter& w, const void* owner, const void* blocker) {
    rt::LockGuard guard{table.lock};
    w.owner = owner;
    w.blocker = blocker;
    if (!w.hook.linked()) table.waiters.push_back(w);
}

void end_wait(LockWaiter& w) {
    rt::LockGuard guard{table.lock};
    if (w.hook.linked()) w.hook.unlink();
}

void release_posix_locks(File& file, const void* owner) {
    release_matching(*file.inode(), [&](const Held& h) {
        return h.inode == file.inode() && h.lock.kind == LockKind::kPosix && h.lock.owner == owner;
    });
}

void release_file_locks(File& file) {
    release_matching(*file.inode(),
                     [&](const Held& h) { return h.lock.kind != LockKind::kPosix && h.lock.owner == &file; });
}

}  // namespace fs
