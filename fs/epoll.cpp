// SPDX-License-Identifier: MIT
// epoll sets. See epoll.hpp.
#include "fs/epoll.hpp"

#include <utility>

#include "fs/epoll_look.hpp"
#include "fs/file_locks.hpp"
#include "lib/format.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

constinit rt::SpinLock<rt::Rank::poll> epoll_lock;
constinit std::atomic<u32> EpollFile::slow_ends_{0};
constinit rt::TeardownList<File, &File::next_ended> EpollFile::ends_of_many{&EpollFile::end_holds};

namespace {

// The most paths that may lead from a file up to an outermost set, by their length (Linux, fs/eventpoll.c). Paths of
// length 0 are not bounded.
constexpr u32 kPathLimits[kMaxNests + 1] = {1000, 500, 100, 50, 10};
constexpr u32 kDropsPerLock = 64;  // items that go under one hold of the lock

// The memory of one item and of one waiter on it.
constexpr u64 kItemCost = sizeof(EpollItem) + sizeof(rt::Waiter);

constexpr u64 kUnset = ~u64{0};
constinit std::atomic<u64> watch_limit{kUnset};

u64 usual_watch_limit() { return rt::frame_total() * kPageSize / 25 / kItemCost; }
constexpr u64 kMostItems = ~u64{0} / kItemCost / 16;  // no sum overflows

// Of the file in work, the holds before this one have ended. While it is in the list none of them is the last to leave.
constinit union Mark {
    EpollHold hold{};
    constexpr Mark() {}
    ~Mark() {}
} ended_up_to;

constinit u64 walk RT_GUARDED_BY(epoll_lock) = 0;  // number of the last walk

void add_capped(u16& sum, u32 more, u32 limit) { sum = u16(sum + more > limit + 1 ? limit + 1 : sum + more); }

}  // namespace

u64 edge_state(File& f) {
    rt::Waiter room[QueueSet::kUsual];
    QueueSet queues{room, QueueSet::kUsual};
    f.queues(kPollIn | kPollOut, queues);
    u64 sum = 0;
    for (u32 i = 0; i < queues.count() && i < QueueSet::kUsual; ++i) sum += room[i].seen;
    // The next expiry of a timer moves with each expiry.
    Nanoseconds at = f.wake_time(port::Port::now());
    return at == Nanoseconds::never() ? sum : sum + at.value;
}

u64 epoll_watch_limit() {
    u64 limit = watch_limit.load(std::memory_order_relaxed);
    if (limit != kUnset) [[likely]]
        return limit;
    u64 usual = usual_watch_limit();
    watch_limit.compare_exchange_strong(limit, usual, std::memory_order_relaxed);
    return usual;
}
void set_epoll_watch_limit(u64 files) { watch_limit.store(files, std::memory_order_relaxed); }
u64 epoll_wait_limit() {
    constexpr u64 kWaitsPerItem = 3;
    const u64 limit = epoll_watch_limit(), usual = usual_watch_limit();
    // What is there already may be waited on, however low the limit is now.
    return (limit < usual ? usual : limit < kMostItems ? limit : kMostItems) * kWaitsPerItem * kItemCost;
}

// Takes the first item out of a set, or the first one of a file that is in sets. Null: there is none.
EpollItem* EpollFile::take_first(File& f) {
    EpollItem* item = f.kind() == FileKind::kEpoll ? static_cast<EpollFile&>(f).items_.first() : nullptr;
    if (!item) item = f.watchers;
    if (item) item->owner->take_out(*item);
    return item;
}

// Some of them. True: there are more.
bool EpollFile::drop_some(File& f) {
    for (rt::Stretch stretch; !stretch.over();) {
        rt::LockGuard guard{epoll_lock};
        for (u32 n = 0; n < kDropsPerLock; ++n) {
            EpollItem* item = take_first(f);
            if (!item) return false;
            delete item;
        }
    }
    return true;
}

namespace {

// The end of a set of many files, or of a file in many sets, continues in a job. It replaces an item in the list.
struct LateEnd {
    rt::Teardown end;
    File* file;
};
static_assert(sizeof(LateEnd) <= sizeof(EpollItem) && offsetof(LateEnd, end) == 0);

}  // namespace

// What its items have cost is the user's again at once, however long they last.
void EpollFile::pay_back() {
    Ref<UserAccount> payer;  // let go of outside the lock
    rt::LockGuard guard{epoll_lock};
    payer = std::move(payer_);
    if (payer) payer->epoll_items.fetch_sub(count_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    guard.unlock();
}

void epoll_end(File* f) {
    if (f->kind() == FileKind::kEpoll) static_cast<EpollFile*>(f)->pay_back();
    f->hang_up();
    if (file_extras_exist()) release_file_locks(*f);
    while (EpollFile::drop_some(*f)) {
        if (!rt::Teardown::later()) continue;
        epoll_lock.lock();
        EpollItem* item = EpollFile::take_first(*f);
        epoll_lock.unlock();
        if (!item) break;
        auto* late = new (item) LateEnd{.file = f};
        return late->end.take_apart([](rt::Teardown& end) {
            auto* self = reinterpret_cast<LateEnd*>(&end);
            if (EpollFile::drop_some(*self->file)) return true;
            EpollFile::delete_unless_held(self->file);
            delete new (self) EpollItem;
            return false;
        });
    }
    EpollFile::delete_unless_held(f);
}

// Waiters may be in its queues: the last of them to leave deletes it. A new one cannot come. Many are woken later.
void EpollFile::delete_unless_held(File* f) {
    {
        rt::LockGuard guard{epoll_lock};
        u32 count = 0;
        for (EpollHold* hold = f->holds; hold && count <= kDropsPerLock; hold = hold->next) ++count;
        if (count > kDropsPerLock && rt::Teardown::later()) {
            guard.unlock();
            return ends_of_many.add(*f);
        }
        for (EpollHold* hold = f->holds; hold; hold = hold->next) hold->end();
        if (f->holds) return;
    }
    delete f;
}

// Some of them. True: there are more. One file at a time is in work.
bool EpollFile::end_holds(File& f) {
    EpollHold& mark = ended_up_to.hold;
    for (rt::Stretch stretch; !stretch.over();) {
        rt::LockGuard guard{epoll_lock};
        if (!mark.link) mark.put_at(&f.holds);
        for (u32 n = 0; n < kDropsPerLock; ++n) {
            EpollHold* hold = mark.next;
            mark.remove();
            if (!hold) {
                mark.link = nullptr;
                if (f.holds) return false;
                guard.unlock();
                delete &f;
                return false;
            }
            hold->end();
            mark.put_at(&hold->next);
        }
    }
    return true;
}

bool EpollFile::charge() {
    if (!payer_) return true;
    std::atomic<u64>& items = payer_->epoll_items;
    if (items.fetch_add(1, std::memory_order_relaxed) < epoll_watch_limit()) [[likely]]
        return true;
    items.fetch_sub(1, std::memory_order_relaxed);
    return false;
}

void EpollFile::take_out(EpollItem& item) {
    items_.remove(item);
    *item.watcher_link = item.next_watcher;
    if (item.next_watcher) item.next_watcher->watcher_link = item.watcher_link;
    if (payer_) payer_->epoll_items.fetch_sub(1, std::memory_order_relaxed);
    if (count_.fetch_sub(1, std::memory_order_relaxed) == kQuickEnd + 1)
        slow_ends_.fetch_sub(1, std::memory_order_relaxed);
    if (item.file->kind() == FileKind::kEpoll) sets_inside_.fetch_sub(1, std::memory_order_relaxed);
}
void EpollFile::drop(EpollItem& item) {
    take_out(item);
    delete &item;
}

EpollItem* EpollFile::find(i32 fd, const File& file) {
    for (EpollItem* i = items_.lower_bound(u64(u32(fd)) << 32); i && i->fd == fd; i = items_.next(*i))
        if (i->file == &file) return i;
    return nullptr;
}

// How many levels of sets are nested in this one; more than kMaxNests: too many, or `adding` is among them. Each set is
// looked into once in a walk.
u32 EpollFile::levels_below(const EpollFile& adding, u32 depth) {
    if (visited_ == walk) return levels_;
    u32 levels = 0;
    for (EpollItem& i : items_) {
        if (i.file->kind() != FileKind::kEpoll || i.file->ref_count() == 0) continue;
        auto& inner = static_cast<EpollFile&>(*i.file);
        if (&inner == &adding || depth > kMaxNests) return kMaxNests + 1;
        u32 n = inner.levels_below(adding, depth + 1) + 1;
        levels = n > levels ? n : levels;
        if (levels > kMaxNests) break;
    }
    visited_ = walk;
    return levels_ = levels;
}

// How many levels of sets lie around one; kMaxNests is as far as it looks: if that is too short for one set, it is too
// many for the first. Each set is looked at once in a walk.
u32 EpollFile::levels_above(u32 depth) {
    u32 levels = 0;
    if (visited_ == walk) return levels_;
    if (depth > kMaxNests) return 0;
    for (const EpollItem* i = watchers; i && levels <= kMaxNests; i = i->next_watcher) {
        u32 n = i->owner->levels_above(depth + 1) + 1;
        levels = n > levels ? n : levels;
    }
    visited_ = walk;
    return levels_ = levels;
}

// The paths up from this set, counted once in a walk.
const EpollPaths& EpollFile::paths_above(u32 depth) {
    static constexpr EpollPaths kTooLong{{}, true};
    if (counted_ == walk) return paths_;
    if (depth > kMaxNests) return kTooLong;
    paths_ = {};
    if (!watchers) paths_.count[0] = 1;
    for (const EpollItem* i = watchers; i && !paths_.too_long; i = i->next_watcher) {
        const EpollPaths& up = i->owner->paths_above(depth + 1);
        for (u32 n = 0; n < kMaxNests; ++n) add_capped(paths_.count[n + 1], up.count[n], kPathLimits[n + 1]);
        paths_.too_long = up.too_long || up.count[kMaxNests] != 0;
    }
    counted_ = walk;
    return paths_;
}

// Do more paths lead up from a file than may? A file is looked at once in a walk, under however many numbers a set has
// it: if there are too many, that ends the walk.
bool EpollFile::too_many_paths(const File& file) {
    if (file.watchers && std::exchange(file.watchers->counted, walk) == walk) return false;
    EpollPaths all;
    for (const EpollItem* i = file.watchers; i; i = i->next_watcher) {
        const EpollPaths& up = i->owner->paths_above(0);
        if (up.too_long) return true;
        for (u32 n = 1; n <= kMaxNests; ++n) {
            add_capped(all.count[n], up.count[n], kPathLimits[n]);
            if (all.count[n] > kPathLimits[n]) return true;
        }
    }
    return false;
}

// Do too many paths lead up from a file in this set or in one inside it? No deeper than loops() allows.
bool EpollFile::crowds_paths() {
    visited_ = walk;
    for (EpollItem& i : items_) {
        if (i.file->kind() != FileKind::kEpoll) {
            if (too_many_paths(*i.file)) return true;
            continue;
        }
        auto& inner = static_cast<EpollFile&>(*i.file);
        if (i.file->ref_count() != 0 && inner.visited_ != walk && inner.crowds_paths()) return true;
    }
    return false;
}

Result<void> EpollFile::add(i32 fd, File& file, u32 events, u64 data) {
    rt::Owned<EpollItem> item = TRY(rt::make_owned<EpollItem>());
    item->fd = fd;
    item->owner = this;
    item->file = &file;
    {
        rt::LockGuard guard{epoll_lock};
        const bool set = file.kind() == FileKind::kEpoll;
        ++walk;
        if (set) {
            u32 below = &file == this ? kMaxNests : static_cast<EpollFile&>(file).levels_below(*this, 0);
            ++walk;
            if (below >= kMaxNests || below + 1 + levels_above(0) > kMaxNests) return Errno::kLoop;
        }
        if (find(fd, file)) return Errno::kExist;
        if (!charge()) return Errno::kNoSpc;
        item->events = events | kPollErr | kPollHup;
        item->data = data;
        item->key = (u64(u32(fd)) << 32) | ++next_serial_;
        item->next_watcher = file.watchers;
        if (item->next_watcher) item->next_watcher->watcher_link = &item->next_watcher;
        item->watcher_link = &file.watchers;
        file.watchers = item.get();
        EpollItem& added = *item.release();
        items_.insert(added);
        if (count_.fetch_add(1, std::memory_order_relaxed) == kQuickEnd)
            slow_ends_.fetch_add(1, std::memory_order_relaxed);
        if (set) sets_inside_.fetch_add(1, std::memory_order_relaxed);
        ++walk;
        // Without a set around this one and without sets in it there is but one path more, of length 0.
        if (set ? static_cast<EpollFile&>(file).crowds_paths() : watchers && too_many_paths(file)) {
            drop(added);
            return Errno::kInval;
        }
    }
    changed_.wake_all();
    return lib::kOk;
}

Result<void> EpollFile::modify(i32 fd, File& file, u32 events, u64 data) {
    {
        rt::LockGuard guard{epoll_lock};
        EpollItem* i = find(fd, file);
        if (!i) return Errno::kNoEnt;
        if (i->events & kEpollExclusive) return Errno::kInval;
        i->events = events | kPollErr | kPollHup;
        i->data = data;
        i->fresh = true;
    }
    changed_.wake_all();
    return lib::kOk;
}

Result<void> EpollFile::remove(i32 fd, File& file) {
    rt::LockGuard guard{epoll_lock};
    EpollItem* i = find(fd, file);
    if (!i) return Errno::kNoEnt;
    drop(*i);
    return lib::kOk;
}

bool EpollFile::next_view(u64& cursor, u64 end, View& out, EpollLook* look) {
    out.file = {};  // released before the lock: it may be the last reference, whose end takes the lock
    rt::LockGuard guard{epoll_lock};
    EpollItem* i = items_.upper_bound(cursor);
    if (!i || i->key > end) return false;
    cursor = i->key;
    // A file whose last reference has gone is waiting for this lock, to leave the set.
    if (!i->file->try_ref()) return true;
    out = {i->key, i->data, i->seen, i->events, i->fresh, Ref<File>::adopt(i->file)};
    if (look) look->note_hold(*i->file);
    return true;
}

// A line for each item; `at` is the key of the last one.
bool EpollFile::show_info(lib::StringBuilder& out, u64& at) {
    constexpr u32 kAtOnce = 16;
    View v;
    for (u32 n = 0; n < kAtOnce; ++n) {
        if (!next_view(at, ~u64{0}, v)) return false;
        if (!v.file) continue;
        const Inode& inode = *v.file->inode();
        out.add("tfd: {:>8} events: {:>8x} data: {:>16x}  pos:{} ino:{:x} sdev:{:x}\n", v.key >> 32,
                v.events | kPollErr | kPollHup, v.data, v.file->position(), inode.number,
                inode.super ? abi::dev_major(inode.super->device) << 20 | abi::dev_minor(inode.super->device) : 0);
    }
    return true;
}

[[gnu::always_inline]] inline EpollFile::Answer EpollFile::is_ready(const View& v, Ready& out) {
    u32 wanted = v.events & 0xffff;  // none: a one-shot that has been shot
    if (v.events & kEpollEdge) [[unlikely]] {
        if (v.file->kind() == FileKind::kEpoll) return Answer::kLong;
        out.seen = edge_state(*v.file);  // before the check
        if (!v.fresh && out.seen == v.seen) return Answer::kNo;
    }
    u32 mask = v.file->poll();
    if (mask & kPollLong) [[unlikely]]
        return Answer::kLong;
    mask &= wanted;
    if (mask == 0) return Answer::kNo;
    out.key = v.key;
    out.data = v.data;
    out.events = mask;
    out.commit = (v.events & (kEpollEdge | kEpollOneShot)) != 0;
    return Answer::kYes;
}

EpollFile::Plain EpollFile::only_one() {
    if (size() != 1 || start_after_.load(std::memory_order_relaxed) != 0) return {0, 0};
    epoll_lock.lock();
    EpollItem* i = items_.first();
    u32 wanted = i ? i->events : kEpollEdge;
    if (wanted >= kEpollOneShot || !i->file->try_ref()) [[unlikely]] {
        epoll_lock.unlock();
        return {0, 0};
    }
    Ref<File> file = Ref<File>::adopt(i->file);
    u64 data = i->data;
    epoll_lock.unlock();
    return {data, file->poll() & wanted & 0xffff};
}

u32 EpollFile::collect(Ready* out, u32 max) {
    // In two passes, from where the last look stopped to the end, then from the start; by batches, for files are asked
    // without the lock.
    constexpr u32 kBatch = 4;
    struct Batch {
        union {
            View views[kBatch];
        };
        u32 count = 0;
        Batch() {}
        ~Batch() {
            for (u32 i = 0; i < count; ++i) views[i].~View();
        }
    };
    if (is_long()) return kLong;
    const u64 start = start_after_.load(std::memory_order_relaxed);
    u64 cursor = start, end = ~u64{0};
    u32 found = 0;
    for (;;) {
        Batch batch;
        bool pass_done;
        {
            rt::LockGuard guard{epoll_lock};
            EpollItem* i = cursor == 0 ? items_.first() : items_.upper_bound(cursor);
            for (; i && i->key <= end && batch.count < kBatch; i = items_.next(*i)) {
                cursor = i->key;
                // A file whose last reference has gone is waiting for this lock, to leave the set.
                if (!i->file->try_ref()) continue;
                new (&batch.views[batch.count++])
                    View{i->key, i->data, i->seen, i->events, i->fresh, Ref<File>::adopt(i->file)};
            }
            pass_done = !i || i->key > end;
        }
        for (u32 n = 0; n < batch.count && found < max; ++n) {
            const Answer answer = is_ready(batch.views[n], out[found]);
            if (answer == Answer::kLong) [[unlikely]]
                return kLong;
            found += answer == Answer::kYes;
        }
        if (found == max) return found;
        if (!pass_done) continue;
        if (start == 0 || end == start) return found;
        cursor = 0;
        end = start;
    }
}

void EpollFile::commit(const Ready* ready, u32 count) {
    bool any = !in_turn(count);
    for (u32 n = 0; n < count; ++n) any |= ready[n].commit;
    if (!any) [[likely]]
        return;
    commit_items(ready, count);
    pass_turn(ready, count);
}

void EpollFile::commit_items(const Ready* ready, u32 count) {
    rt::LockGuard guard{epoll_lock};
    for (u32 n = 0; n < count; ++n) {
        EpollItem* i = ready[n].commit ? items_.find(ready[n].key) : nullptr;
        if (!i) continue;
        i->fresh = false;
        i->seen = ready[n].seen;
        if (i->events & kEpollOneShot) i->events &= kEpollEdge | kEpollOneShot | kEpollExclusive | kEpollWakeup;
    }
}

// If not all were reported, the others are to be first next time.
void EpollFile::pass_turn(const Ready* ready, u32 count) {
    start_after_.store(count < size() ? ready[count - 1].key : 0, std::memory_order_relaxed);
}

u32 EpollFile::poll() {
    if (sets_inside_.load(std::memory_order_relaxed) != 0 || size() > kFewInside) return kPollLong;
    Ready r;
    const u32 found = collect(&r, 1);
    if (found == kLong) return kPollLong;
    return found != 0 ? kPollIn | kPollRdNorm : 0;
}

}  // namespace fs
