// SPDX-License-Identifier: MIT
// A check of an epoll set and of all sets nested in it, in pieces that give way in between.
//
// A set is gone through once in a look, however many paths lead to it, and a file is asked for its queues once, however
// many items name it. Of each item the queues are noted before the file is polled (rt/wait.hpp).
// A set that is changed in the meantime wakes its watchers, so an outdated result only causes another check.
#pragma once
#include "fs/epoll.hpp"

namespace fs {

// The memory that one call holds to wait on sets, charged to a user: it grows with the sets, and each thread has its own.
class WaitMemory {
public:
    // `payer`: null: none.
    explicit WaitMemory(Ref<UserAccount> payer) : payer_(std::move(payer)) {}
    WaitMemory(WaitMemory&&) = default;
    ~WaitMemory() {
        if (payer_ && charged_ != 0) payer_->epoll_waits.fetch_sub(charged_, std::memory_order_relaxed);
    }
    // False: the user has as much as he may (epoll_wait_limit()).
    [[nodiscard]] bool take(u64 bytes) {
        used_ += bytes;
        if (used_ <= kFree + charged_ || charge()) [[likely]]
            return true;
        used_ -= bytes;
        return false;
    }
    // For the same call to take again: it is the user's when the call ends.
    void give(u64 bytes) { used_ -= bytes; }

private:
    // What a short wait has counts as a part of its thread; more is charged some at a time.
    static constexpr u64 kFree = 4096, kStep = 16384;
    bool charge();
    Ref<UserAccount> payer_;
    u64 used_ = 0, charged_ = 0;
};

class EpollLook {
public:
    enum class Step : u8 { kDone, kMore, kNoMem };
    // `payer`: to whom the memory of the look is charged; null: none.
    explicit EpollLook(Ref<UserAccount> payer = {}) : memory_(std::move(payer)) {}
    EpollLook(const EpollLook&) = delete;
    // What is not forgotten yet goes later, if it is much. No waiter is in a queue.
    ~EpollLook();

    // A new check, after forget(). `watch` takes the queues whose changes may change the outcome, and they last until
    // forget(), if their files end or not; null: none. `now`: see wake_time().
    void start(QueueSet* watch, Nanoseconds now) {
        watch_ = watch;
        now_ = now;
        wake_ = Nanoseconds::never();
        depth_ = 0;
    }
    // Up to `max` ready files of a set, as EpollFile::collect(). kMore: to be called again with the same, after others
    // have run.
    Step collect(EpollFile& set, EpollFile::Ready* out, u32 max, u32& found);
    // What poll(2) reports of a set; the same.
    Step poll(EpollFile& set, u32& mask);
    // The first time after `now` at which time alone changes what is watched.
    Nanoseconds wake_time() const { return wake_; }
    // Gives up what the look holds, a piece at a time: false: call again.
    bool forget() { return nodes_.empty() || forget_some(nodes_, memory_); }
    // What else the call takes for its wait.
    WaitMemory& memory() { return memory_; }

private:
    friend class EpollFile;
    // Items and files in a piece: one costs up to 500 instructions, and some pieces follow one another at once.
    static constexpr u32 kPiece = 48;
    // Sets in sets, the outermost with them; deeper ones were made during the look.
    static constexpr u32 kDeepest = kMaxNests + 2;
    // What was found out about a file.
    struct Node {
        lib::TreeHook hook;
        u64 key = 0;  // its address
        File* file = nullptr;
        EpollHold hold;      // in the file's list if its queues are watched for a set with it
        Ref<File> kept;      // else, or if it is the set that is waited on, a reference
        bool timed = false;  // its wake_time() counts
        u32 watched = 0;     // kPollIn: its queues are in the set; kPollOut: also those for writing
        enum class Known : u8 { kNothing, kMask, kSum } known = Known::kNothing;  // the rest is for sets
        bool entered = false;
        u32 mask = 0;
        u64 sum = 0;  // of the sequences of all that it waits for
    };
    struct Frame {
        EpollFile* set;
        Node* node;  // null: the one whose ready files are collected
        u64 cursor, end, wrapped;
        bool sums;
        u32 mask;
        u64 sum;
    };
    using Nodes = lib::Tree<Node, &Node::hook, lib::KeyMember<&Node::key>>;
    struct LateForget;
    // True: none is left.
    static bool forget_some(Nodes& nodes, WaitMemory& memory) RT_EXCLUDES(epoll_lock);
    static File* take_out(Nodes& nodes, Node& node) RT_REQUIRES(epoll_lock);
    Node* make_node();
    Node* node_of(const Ref<File>& file);
    // A set has just given the look a reference to a file; there is a spare node.
    void note_hold(File& file) RT_REQUIRES(epoll_lock);
    void watch(Node& node, u32 events);
    void enter(EpollFile& set, Node* node, bool sums);
    void leave();
    void ask(Frame& frame, const EpollFile::View& item, const Node* inner);
    Step go_on();

    QueueSet* watch_ = nullptr;
    rt::Owned<Node> spare_;  // while files are watched: the next one's
    Nanoseconds now_{}, wake_{};
    WaitMemory memory_;
    Nodes nodes_;
    u32 depth_ = 0;
    EpollFile::Ready* out_ = nullptr;
    u32 max_ = 0, found_ = 0;
    Frame frames_[kDeepest];
};

}  // namespace fs
