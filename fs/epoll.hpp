// SPDX-License-Identifier: MIT
// epoll(7): a set of files of which some are ready.
//
// The set keeps no list of ready files: it asks each when somebody looks, and who waits watches all their queues. An edge
// (EPOLLET) is a change of the sequences of a file's queues since the last report. A file is held weakly: its end takes
// it out of all sets.
// Lock: epoll_lock (Rank::poll, one, global) guards all sets and File::watchers; no file is asked anything under it.
#pragma once
#include "fs/file.hpp"
#include "lib/tree.hpp"

namespace fs {

inline constexpr u32 kEpollExclusive = 1u << 28, kEpollWakeup = 1u << 29, kEpollOneShot = 1u << 30,
                     kEpollEdge = 1u << 31;

struct EpollItem {
    u64 key = 0;  // descriptor, then a number that makes it unique: the same descriptor may name a second file
    i32 fd = 0;
    lib::TreeHook hook;
    class EpollFile* owner = nullptr;
    File* file = nullptr;  // weak
    EpollItem* next_watcher = nullptr;
    EpollItem** watcher_link = nullptr;  // what points to this one in the file's list
    u32 events = 0;
    u64 data = 0;
    bool fresh = true;  // report the first state as an edge
    u64 seen = 0;       // sum of sequences at the last report
};

// How many files a user's sets may hold together (/proc/sys/fs/epoll/max_user_watches). At first as many as fit into 4 % of
// memory.
u64 epoll_watch_limit();
void set_epoll_watch_limit(u64 files);

// Linux's bounds on sets in sets (fs/eventpoll.c): a walk goes down at most so far.
inline constexpr u32 kMaxNests = 4;
// Paths that lead up from a set to outermost ones, by their length; no more is counted than is allowed, and one.
struct EpollPaths {
    u16 count[kMaxNests + 1] = {};
    bool too_long = false;  // or one is longer
};

class EpollFile final : public File {
public:
    // `payer`: to whom its items are charged; null: to nobody.
    EpollFile(Ref<Inode> nameless, u32 flags, Ref<UserAccount> payer = {})
        : File(std::move(nameless), flags), payer_(std::move(payer)) {
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
    // Up to `max` ready files. Nothing is changed until commit().
    u32 collect(Ready* out, u32 max);
    // Of a set of one file, if it is ready and its report changes nothing: no edge, no one-shot. Else no events.
    struct Plain {
        u64 data;
        u32 events;
    };
    Plain only_one();
    void commit(const Ready* ready, u32 count);
    // Has commit() anything to do if these are all?
    bool in_turn(u32 count) const { return count >= size() && start_after_ == 0; }
    u32 size() const { return count_.load(std::memory_order_relaxed); }

    u32 poll() override;
    void queues(u32 events, QueueSet& out) override;
    Nanoseconds wake_time(Nanoseconds after) override;
    bool pollable() const override { return true; }
    std::string_view label(std::span<char>) override { return "anon_inode:[eventpoll]"; }
    Leaf<u64> seek(i64, u32) override { return u64{0}; }

private:
    friend void epoll_end(File*);
    friend void epoll_closing(File&);
    struct View {
        u64 key, data, seen;
        u32 events;
        bool fresh;
        Ref<File> file;
    };
    EpollItem* find(i32 fd, const File& file);
    bool next_view(u64& cursor, View& out);  // the item after the cursor, which moves on to it
    static bool is_ready(const View& v, Ready& out);
    u32 levels_below(const EpollFile& adding, u32 depth);
    u32 levels_above(u32 depth);
    const EpollPaths& paths_above(u32 depth);
    bool crowds_paths();
    static bool too_many_paths(const File& file);
    bool charge();  // one item; false: the payer has as many as he may
    void take_out(EpollItem& item);
    void drop(EpollItem& item);
    static EpollItem* take_first(File& f);
    static bool drop_some(File& f);

    lib::Tree<EpollItem, &EpollItem::hook, lib::KeyMember<&EpollItem::key>> items_;
    std::atomic<u32> count_{0};
    u32 next_serial_ = 0;
    u64 visited_ = 0;  // the last walk of add() that came here; guarded by epoll_lock
    u32 levels_ = 0;   // what that walk found; the same
    u64 counted_ = 0;  // the last walk that counted paths_; the same
    EpollPaths paths_;
    const Ref<UserAccount> payer_;
    u64 start_after_ = 0;  // where the last look stopped, so that all get their turn
    rt::WaitQueue changed_;
};

// The last reference of a set, or of a file that is in sets, has gone: leaves all of them, and deletes it.
void epoll_end(File* file);
// A descriptor of it was closed: whoever waits on a set with it gives up the references it holds, and looks again.
void epoll_closing(File& file);

}  // namespace fs
