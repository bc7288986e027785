// SPDX-License-Identifier: MIT
// epoll(7): a set of files of which some are ready.
//
// The set keeps no list of ready files: each is polled when the set is checked, and a waiter watches all their queues.
// An edge (EPOLLET) is a change of the sequences of a file's queues since the last report. A file is held weakly: its
// end takes it out of all sets. What is more than a few files is looked at by a task (fs/epoll_look.hpp). Lock:
// epoll_lock (Rank::poll, one, global) guards all sets and File::watchers; no file is asked anything under it.
#pragma once
#include "fs/file.hpp"
#include "lib/tree.hpp"
#include "rt/teardown.hpp"

namespace fs {

struct EpollItem {
    u64 key = 0;  // descriptor, then a number that makes it unique: the same descriptor may name a second file
    i32 fd = 0;
    lib::TreeHook hook;
    class EpollFile* owner = nullptr;
    File* file = nullptr;  // weak
    EpollItem* next_watcher RT_GUARDED_BY(epoll_lock) = nullptr;
    EpollItem** watcher_link RT_GUARDED_BY(epoll_lock) = nullptr;  // what points to this one in the file's list
    u32 events RT_GUARDED_BY(epoll_lock) = 0;
    u64 data RT_GUARDED_BY(epoll_lock) = 0;
    bool fresh RT_GUARDED_BY(epoll_lock) = true;  // report the first state as an edge
    u64 seen RT_GUARDED_BY(epoll_lock) = 0;       // sum of sequences at the last report
    // The last walk that counted the file's paths, if this is the first in its list; as visited_.
    u64 counted RT_GUARDED_BY(epoll_lock) = 0;
};

// A look of a waiter at a file whose queues it is in, in the file's list. It is no reference: the file ends without it
// (epoll_end), but its memory, with the queues, stays until the last one has left.
struct EpollHold {
    EpollHold* next RT_GUARDED_BY(epoll_lock) = nullptr;
    EpollHold** link RT_GUARDED_BY(epoll_lock) = nullptr;  // what points to this one
    bool ended RT_GUARDED_BY(epoll_lock) = false;          // the file has; whoever leaves as the last deletes it
    Ref<File> waited_on;                                   // the set that the waiter waits on; null: not in a list
    void put_at(EpollHold** place) RT_REQUIRES(epoll_lock) {
        link = place;
        next = *place;
        if (next) next->link = &next;
        *place = this;
    }
    void remove() RT_REQUIRES(epoll_lock) {
        if (next) next->link = link;
        *link = next;
    }
    void end() RT_REQUIRES(epoll_lock);  // the file has ended: the waiter is to look again
    // True: the caller deletes the file.
    [[nodiscard]] bool take_out(const File& file) RT_REQUIRES(epoll_lock) {
        remove();
        return ended && !file.holds;  // one that has not ended may be gone by now
    }
};

// How many files a user's sets may hold together (/proc/sys/fs/epoll/max_user_watches). At first as many as fit into 4
// % of memory.
u64 epoll_watch_limit();
void set_epoll_watch_limit(u64 files);
// How many bytes a user's threads may hold together to wait on sets: enough that some threads wait on as many files at
// a time as they may watch.
u64 epoll_wait_limit();

// Linux's bounds on sets in sets (fs/eventpoll.c): a walk goes down at most so far.
inline constexpr u32 kMaxNests = 4;
// Paths that lead up from a set to outermost ones, by their length; the count stops one above the limit.
struct EpollPaths {
    u16 count[kMaxNests + 1] = {};
    bool too_long = false;  // or one is longer
};

class EpollFile final : public File {
public:
    // `payer`: the account that its items are charged to; null: none.
    EpollFile(Ref<Inode> nameless, u32 flags, Ref<UserAccount> payer = {})
        : File(std::move(nameless), flags | kOpenTaskOnly), payer_(std::move(payer)) {
        kind_ = FileKind::kEpoll;
    }

    // EEXIST, ENOENT, ENOMEM, ENOSPC, ELOOP, EPERM as epoll_ctl(2); EINVAL: too many paths lead from the file through
    // sets.
    Result<void> add(i32 fd, File& file, u32 events, u64 data);
    Result<void> modify(i32 fd, File& file, u32 events, u64 data);
    Result<void> remove(i32 fd, File& file);

    struct Ready {
        u64 key, data, seen;
        u32 events;
        bool commit;
    };
    // Up to `max` ready files. Nothing is changed until commit(). kLong: there are so many files to look at, or sets in
    // sets, that a task must look (EpollLook).
    static constexpr u32 kLong = ~0u;
    u32 collect(Ready* out, u32 max);
    bool is_long() const {
        return size() > (sets_inside_.load(std::memory_order_relaxed) == 0 ? kFewItems : kFewInside);
    }
    // Of a set of one file, if it is ready and its report changes nothing: no edge, no one-shot. Else no events.
    struct Plain {
        u64 data;
        u32 events;
    };
    Plain only_one();
    void commit(const Ready* ready, u32 count);
    // The same in parts: the items, some at a time; then, with all that were reported, whose turn is next.
    void commit_items(const Ready* ready, u32 count);
    void pass_turn(const Ready* ready, u32 count);
    // Has commit() anything to do if these are all?
    bool in_turn(u32 count) const { return count >= size() && start_after_.load(std::memory_order_relaxed) == 0; }
    u32 size() const { return count_.load(std::memory_order_relaxed); }
    // Takes its end longer than that of another file?
    static constexpr u32 kQuickEnd = 2;
    bool ends_slowly() const { return size() > kQuickEnd; }
    static bool any_ends_slowly() { return slow_ends_.load(std::memory_order_relaxed) != 0; }

    // Of a small set without sets in it; else kPollLong: ask an EpollLook.
    u32 poll() override;
    // What tells of changes of the set itself, not of its files.
    void queues(u32, QueueSet& out) override { out.add(changed_); }
    bool pollable() const override { return true; }
    std::string_view label(std::span<char>) override { return "anon_inode:[eventpoll]"; }
    Leaf<u64> seek(i64, u32) override { return u64{0}; }
    bool show_info(lib::StringBuilder& out, u64& at) override;

private:
    void pay_back() RT_EXCLUDES(epoll_lock);
    friend void epoll_end(File*);
    friend class EpollLook;
    // What a leaf looks at: items of a set without sets in it; items of another, and of each set in it.
    static constexpr u32 kFewItems = 256, kFewInside = 16;
    struct View {
        u64 key, data, seen;
        u32 events;
        bool fresh;
        Ref<File> file;
    };
    EpollItem* find(i32 fd, const File& file) RT_REQUIRES(epoll_lock);
    // The item after the cursor, which moves on to it; up to `end`. Without a file: one that is on its way out. A `look`
    // notes that it holds the file.
    bool next_view(u64& cursor, u64 end, View& out, class EpollLook* look = nullptr) RT_EXCLUDES(epoll_lock);
    enum class Answer : u8 { kNo, kYes, kLong };
    static Answer is_ready(const View& v, Ready& out);
    u32 levels_below(const EpollFile& adding, u32 depth) RT_REQUIRES(epoll_lock);
    u32 levels_above(u32 depth) RT_REQUIRES(epoll_lock);
    const EpollPaths& paths_above(u32 depth) RT_REQUIRES(epoll_lock);
    bool crowds_paths() RT_REQUIRES(epoll_lock);
    static bool too_many_paths(const File& file) RT_REQUIRES(epoll_lock);
    bool charge();  // one item; false: the payer has as many as he may
    void take_out(EpollItem& item) RT_REQUIRES(epoll_lock);
    void drop(EpollItem& item) RT_REQUIRES(epoll_lock);
    static EpollItem* take_first(File& f) RT_REQUIRES(epoll_lock);
    static bool drop_some(File& f) RT_EXCLUDES(epoll_lock);
    friend struct EpollHold;
    static void delete_unless_held(File* f) RT_EXCLUDES(epoll_lock);
    static bool end_holds(File& f) RT_EXCLUDES(epoll_lock);
    static rt::TeardownList<File, &File::next_ended> ends_of_many;  // files that many waiters hold

    lib::Tree<EpollItem, &EpollItem::hook, lib::KeyMember<&EpollItem::key>> items_ RT_GUARDED_BY(epoll_lock);
    static std::atomic<u32> slow_ends_;           // sets for which ends_slowly()
    std::atomic<u32> count_{0}, sets_inside_{0};  // items; those of them that are sets
    u32 next_serial_ RT_GUARDED_BY(epoll_lock) = 0;
    u64 visited_ RT_GUARDED_BY(epoll_lock) = 0;  // the last walk of add() that came here
    u32 levels_ RT_GUARDED_BY(epoll_lock) = 0;   // what that walk found
    u64 counted_ RT_GUARDED_BY(epoll_lock) = 0;  // the last walk that counted paths_
    EpollPaths paths_ RT_GUARDED_BY(epoll_lock);
    Ref<UserAccount> payer_;           // null also when the set ends: it has what was paid back
    std::atomic<u64> start_after_{0};  // where the last check stopped, so that every file is reported in time
    rt::WaitQueue changed_;
};

inline void EpollHold::end() {
    ended = true;
    static_cast<EpollFile&>(*waited_on).changed_.wake_all();
}

// What changes with each event of a file that is no set: an edge is a change of it.
u64 edge_state(File& file);

// The last reference of a set, or of a file that is in sets or looked at by waiters on sets, has gone: hangs up, leaves
// all sets, wakes the waiters, and deletes it.
void epoll_end(File* file);

}  // namespace fs
