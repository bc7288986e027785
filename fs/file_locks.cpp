// SPDX-License-Identifier: MIT
// Advisory file locks (fcntl(2), flock(2)). See file_locks.hpp.
//
// POSIX and OFD locks are ranges: setting one replaces the same owner's locks there, merges with adjacent ones of its
// type and splits what it only overlaps (POSIX.1-2017, fcntl). flock locks cover the file and conflict only among
// themselves. The locks of an owner on a file are a group: those for reading and those for writing, by ascending start,
// none overlaps another. Groups of a file are in the order of their first lock. F_GETLK names the first lock of that
// order that is in the way (fs/locks.c, posix_lock_inode).
//
// No operation visits all locks of an owner at once: replacing many is done in pieces (LongLock), and a group that
// goes as a whole is taken apart by a job. The owners of one file are gone through.
#include "fs/file_locks.hpp"

#include <cstddef>
#include <utility>

#include "fs/dentry.hpp"
#include "rt/mem/slab.hpp"
#include "rt/teardown.hpp"

namespace fs {

struct HeldLock {
    lib::TreeHook hook;
    lib::ListHook pending_hook;
    u64 start = 0, end = 0;
    i32 pid = -1;
    bool write = false;
};

namespace {

using Held = HeldLock;
using Ranges = lib::Tree<Held, &Held::hook, lib::KeyMember<&Held::start>>;
constexpr u32 kFew = 128;  // locks that are removed at once

// Belongs to the table's lock, until it is taken out.
struct Group {
    lib::ListHook hook, owner_hook;
    Inode* inode;  // the owner's open file keeps it alive
    const void* owner;
    LockKind kind;
    Ranges reads, writes;
    lib::List<Held, &Held::pending_hook> pending;  // of LongLocks: they are held already
    u32 count = 0, write_count = 0;                // of those in the trees
    rt::Teardown end;
    Ranges& ranges(bool write) { return write ? writes : reads; }
    bool empty() const { return count == 0; }
};

// By file and by file and owner.
struct Bucket {
    lib::List<Group, &Group::hook> groups;
    lib::List<Group, &Group::owner_hook> of_owners;
    u32 writes = 0;  // locks for writing in `groups`, pending ones too
};
struct Table {
    static constexpr u32 kBuckets = 256;
    rt::SpinLock<rt::Rank::file_locks> lock;
    Bucket buckets[kBuckets] RT_GUARDED_BY(lock);
    // Those that wait for a POSIX lock. Of one owner the latest is last.
    lib::Tree<LockWaiter, &LockWaiter::hook, lib::KeyMember<&LockWaiter::owner>> waiters RT_GUARDED_BY(lock);

    static u32 hash(const void* a, const void* b) {
        const u64 h = (reinterpret_cast<u64>(a) + reinterpret_cast<u64>(b) * 31) * detail::kHashFactor;
        return u32(h >> 56);
    }
    Bucket& of(const Inode& inode) RT_REQUIRES(lock) { return buckets[hash(&inode, nullptr)]; }
    Bucket& of(const Inode& inode, const void* owner) RT_REQUIRES(lock) { return buckets[hash(&inode, owner)]; }
};
static_assert(Table::kBuckets == 256);
constinit Table table;
constexpr u32 kQueueBits = 6;
constinit rt::WaitQueue changed[1 << kQueueBits];

bool same_class(LockKind a, LockKind b) { return (a == LockKind::kFlock) == (b == LockKind::kFlock); }

Group* group_of(const Inode& inode, LockKind kind, const void* owner) RT_REQUIRES(table.lock) {
    for (Group& g : table.of(inode, owner).of_owners)
        if (g.inode == &inode && g.kind == kind && g.owner == owner) return &g;
    return nullptr;
}

// The first lock that overlaps [start, end].
Held* first_in(const Ranges& ranges, u64 start, u64 end) RT_REQUIRES(table.lock) {
    if (ranges.empty()) return nullptr;
    if (Held* h = ranges.floor(start); h && h->end >= start) return h;
    Held* h = ranges.upper_bound(start);
    return h && h->start <= end ? h : nullptr;
}

Held* first_in_the_way(Group& g, const FileLock& want) RT_REQUIRES(table.lock) {
    Held* first = first_in(g.writes, want.start, want.end);
    if (want.write)
        if (Held* h = first_in(g.reads, want.start, want.end); h && (!first || h->start < first->start)) first = h;
    for (Held& h : g.pending)
        if ((h.write || want.write) && h.start <= want.end && h.end >= want.start && (!first || h.start < first->start))
            first = &h;
    return first;
}

bool conflict(Inode& inode, const FileLock& want, FileLock* found = nullptr) RT_REQUIRES(table.lock) {
    Bucket& b = table.of(inode);
    if (!want.write && b.writes == 0) return false;
    for (Group& g : b.groups) {
        if (g.inode != &inode || !same_class(g.kind, want.kind)) continue;
        if (g.owner == want.owner && g.kind == want.kind) continue;
        const Held* h = first_in_the_way(g, want);
        if (!h) continue;
        if (found) *found = {g.kind, h->write, g.owner, h->pid, h->start, h->end};
        return true;
    }
    return false;
}

void count_one(Group& g, bool write, i32 by) RT_REQUIRES(table.lock) {
    g.count += u32(by);
    file_extras.fetch_add(u32(by), std::memory_order_relaxed);
    if (!write) return;
    g.write_count += u32(by);
    table.of(*g.inode).writes += u32(by);
}
void insert(Group& g, Held& h) RT_REQUIRES(table.lock) {
    g.ranges(h.write).insert(h);
    count_one(g, h.write, 1);
}
void drop(Group& g, Held& h) RT_REQUIRES(table.lock) {
    g.ranges(h.write).remove(h);
    count_one(g, h.write, -1);
    delete &h;
}

void enter(Group& g) RT_REQUIRES(table.lock) {
    table.of(*g.inode).groups.push_back(g);
    table.of(*g.inode, g.owner).of_owners.push_back(g);
}
void leave(Group& g) RT_REQUIRES(table.lock) {
    g.hook.unlink();
    g.owner_hook.unlink();
}
void leave_if_empty(Group& g) RT_REQUIRES(table.lock) {
    if (!g.empty() || !g.pending.empty()) return;
    leave(g);
    delete &g;
}

// Are there so many locks in a range that they have to go in pieces?
bool many_in(Group& g, u64 start, u64 end) RT_REQUIRES(table.lock) {
    if (g.count <= kFew) return false;
    u32 n = 0;
    for (const Ranges* r : {&g.reads, &g.writes}) {
        for (Held* h = first_in(*r, start, end); h && h->start <= end; h = r->next(*h))
            if (++n > kFew) return true;
    }
    return false;
}

// Cuts [start, end] out of what the owner holds, of at most `most` locks. `spare` is used if one lock becomes two.
struct Cut {
    bool any = false;   // he held something there
    bool more = false;  // and still does
};
Cut cut(Group& g, u64 start, u64 end, Held*& spare, u32 most) RT_REQUIRES(table.lock) {
    Cut done;
    for (bool write : {false, true}) {
        Ranges& ranges = g.ranges(write);
        while (Held* h = first_in(ranges, start, end)) {
            if (most-- == 0) return {done.any, true};
            done.any = true;
            const bool before = h->start<start, after = h->end> end;
            if (before && after) {
                *spare = {.start = end + 1, .end = h->end, .pid = h->pid, .write = write};
                h->end = start - 1;
                insert(g, *spare);
                spare = nullptr;
            } else if (before) {
                h->end = start - 1;
            } else if (after) {
                h->start = end + 1;  // the order stays
            } else {
                drop(g, *h);
            }
        }
    }
    return done;
}

// An adjacent lock of the same type becomes part of the new one.
void join_neighbours(Group& g, Held& fresh) RT_REQUIRES(table.lock) {
    constexpr u64 kMax = ~u64{0};
    Ranges& ranges = g.ranges(fresh.write);
    if (Held* h = ranges.floor(fresh.start); h && (h->end == kMax || h->end + 1 >= fresh.start)) fresh.start = h->start;
    if (Held* h = ranges.floor(fresh.end == kMax ? kMax : fresh.end + 1); h && h->end > fresh.end) fresh.end = h->end;
}

// All locks of an owner on a file. The rest of a long group is deleted by a job.
bool delete_some(Group& g, u32 most) {
    for (Ranges* r : {&g.reads, &g.writes}) {
        while (Held* h = r->first()) {
            if (most-- == 0) return true;
            r->remove(*h);
            delete h;
        }
    }
    delete &g;
    return false;
}
void end_group(Group& g) {
    if (!rt::Teardown::later()) {
        delete_some(g, ~u32{0});
    } else if (delete_some(g, kFew)) {
        g.end.take_apart([](rt::Teardown& end) {
            return delete_some(*reinterpret_cast<Group*>(reinterpret_cast<std::byte*>(&end) - offsetof(Group, end)),
                               kFew);
        });
    }
}

bool take_group(const Inode& inode, LockKind kind, const void* owner) RT_EXCLUDES(table.lock) {
    Group* g;
    {
        rt::LockGuard guard{table.lock};
        g = group_of(inode, kind, owner);
        if (!g) return false;
        leave(*g);
        while (Held* h = g->pending.pop_front()) table.of(inode).writes -= h->write;
        table.of(inode).writes -= g->write_count;
        file_extras.fetch_sub(g->count, std::memory_order_relaxed);
    }
    end_group(*g);
    return true;
}

}  // namespace

constinit std::atomic<u32> file_extras{0};
rt::WaitQueue& file_locks_changed(const Inode& inode) {
    return changed[(reinterpret_cast<u64>(&inode) * detail::kHashFactor) >> (64 - kQueueBits)];
}

bool find_conflict(Inode& inode, const FileLock& want, FileLock& found) {
    rt::LockGuard guard{table.lock};
    return conflict(inode, want, &found);
}

// ---- Setting and clearing ----

void LongLock::begin(Inode& inode, const FileLock& want, void* group) RT_REQUIRES(table.lock) {
    inode_ = &inode;
    kind_ = want.kind;
    owner_ = want.owner;
    *pending_ = {.start = want.start, .end = want.end, .pid = want.pid, .write = want.write};
    static_cast<Group*>(group)->pending.push_back(*pending_);
    table.of(inode).writes += want.write;
}
// False: it was not held.
bool LongLock::forget() RT_REQUIRES(table.lock) {
    if (!pending_ || !pending_->pending_hook.linked()) return false;
    pending_->pending_hook.unlink();
    table.of(*inode_).writes -= pending_->write;
    return true;
}
LongLock::~LongLock() {
    if (!pending_) return;
    if (inode_) {
        bool held;
        {
            rt::LockGuard guard{table.lock};
            held = forget();
            if (Group* g = group_of(*inode_, kind_, owner_)) leave_if_empty(*g);
        }
        if (held) file_locks_changed(*inode_).wake_all();
    }
    delete pending_;
}

Leaf<void> set_lock(Inode& inode, const FileLock& want, LongLock* in_pieces) {
    rt::Owned<Held> fresh{rt::make<Held>()}, spare_room{rt::make<Held>()};
    rt::Owned<Group> group_room{rt::make<Group>()};
    if (!fresh || !spare_room || !group_room) return Errno::kNoMem;
    if (in_pieces && !in_pieces->pending_ && !(in_pieces->pending_ = rt::make<Held>())) return Errno::kNoMem;
    *fresh = {.start = want.start, .end = want.end, .pid = want.pid, .write = want.write};
    bool less = false;  // the owner holds less than before
    Leaf<void> result = [&]() -> Leaf<void> {
        rt::LockGuard guard{table.lock};
        Group* g = group_of(inode, want.kind, want.owner);
        const bool held = in_pieces && in_pieces->pending_ && in_pieces->pending_->pending_hook.linked();
        if (!held && conflict(inode, want)) {
            // A flock is converted by releasing the old lock first: it is lost if the new one cannot be taken
            // (flock(2)).
            if (want.kind == LockKind::kFlock && g) {
                Held* none = nullptr;
                less = cut(*g, 0, ~u64{0}, none, kFew).any;
                leave_if_empty(*g);
            }
            return Errno::kAgain;
        }
        if (!g) {
            g = group_room.release();
            g->inode = &inode;
            g->owner = want.owner;
            g->kind = want.kind;
            enter(*g);
        }
        join_neighbours(*g, *fresh);
        Held* spare = spare_room.release();
        const bool more = many_in(*g, want.start, want.end);
        if (more && in_pieces) {
            if (!held) in_pieces->begin(inode, want, g);
            (void)cut(*g, want.start, want.end, spare, kFew);
        } else if (!more) {
            const bool any = cut(*g, fresh->start, fresh->end, spare, ~u32{0}).any;
            less = (any || held) && !want.write;  // write locks may have become one for reading, in earlier pieces too
            if (in_pieces) (void)in_pieces->forget();
            insert(*g, *fresh.release());
        }
        spare_room = rt::Owned<Held>{spare};
        return more ? Leaf<void>{kNeedsTask} : Leaf<void>{lib::kOk};
    }();
    if (less) file_locks_changed(inode).wake_all();
    return result;
}

Leaf<void> clear_lock(Inode& inode, const FileLock& range) {
    rt::Owned<Held> spare_room{rt::make<Held>()};
    if (!spare_room) return Errno::kNoMem;
    Cut done;
    {
        rt::LockGuard guard{table.lock};
        if (Group* g = group_of(inode, range.kind, range.owner)) {
            Held* spare = spare_room.release();
            done = cut(*g, range.start, range.end, spare, kFew);
            spare_room = rt::Owned<Held>{spare};
            leave_if_empty(*g);
        }
    }
    if (done.any) file_locks_changed(inode).wake_all();
    return done.more ? Leaf<void>{kNeedsTask} : Leaf<void>{lib::kOk};
}

// ---- Circles of waiters ----

namespace {
bool is_blocked(const LockWaiter& w) RT_REQUIRES(table.lock) {
    Group* g = group_of(*w.inode, LockKind::kPosix, w.blocker);
    return g && first_in_the_way(*g, w.wanted);
}
// Whom an owner waits for now: its latest waiter that still waits. Who was woken and has not looked again yet waits for
// nobody; it is not looked at twice, and of `most` at most.
const void* blocker_of(const void* owner, u32& most) RT_REQUIRES(table.lock) {
    for (LockWaiter* w; most != 0 && (w = table.waiters.floor(owner)) && w->owner == owner; --most) {
        if (is_blocked(*w)) return w->blocker;
        table.waiters.remove(*w);
    }
    return nullptr;
}
}  // namespace

LockWait begin_wait(LockWaiter& w, Inode& inode, const FileLock& want) {
    rt::LockGuard guard{table.lock};
    FileLock found;
    if (!conflict(inode, want, &found)) return LockWait::kFree;
    if (want.kind != LockKind::kPosix) return LockWait::kWaits;
    const void* at = found.kind == LockKind::kPosix ? found.owner : nullptr;
    u32 most = kFew;
    for (u32 steps = 0; at && steps < 10; ++steps) {  // as many as Linux looks at (fs/locks.c, MAX_DEADLK_ITERATIONS)
        if (at == want.owner) return LockWait::kCircle;
        at = blocker_of(at, most);
    }
    if (most == 0) return LockWait::kMore;
    if (w.hook.linked()) table.waiters.remove(w);
    w.inode = &inode;
    w.wanted = want;
    w.owner = want.owner;
    w.blocker = found.owner;
    if (found.kind == LockKind::kPosix) table.waiters.insert(w);
    return LockWait::kWaits;
}

void end_wait(LockWaiter& w) {
    rt::LockGuard guard{table.lock};
    if (w.hook.linked()) table.waiters.remove(w);
}

// ---- The end of owners ----

void release_posix_locks(File& file, const void* owner) {
    if (take_group(*file.inode(), LockKind::kPosix, owner)) file_locks_changed(*file.inode()).wake_all();
}

void release_file_locks(File& file) {
    const bool range = take_group(*file.inode(), LockKind::kOpenFile, &file);
    if (take_group(*file.inode(), LockKind::kFlock, &file) || range) file_locks_changed(*file.inode()).wake_all();
}

}  // namespace fs
