// SPDX-License-Identifier: MIT
// The request queue that drivers share: requests wait in the order of arrival, adjacent ones are merged into commands,
// and at most `depth` commands are with the device. A device has one queue, or one for each CPU.
//
// The lock (Rank::device) guards the queue and the part of the device that belongs to it (Channel). Ends are collected
// under the lock and reported after it, because Request::ended() may submit.
#pragma once
#include "block/device.hpp"
#include "rt/spinlock.hpp"

namespace block {

// What /proc/diskstats shows of one kind of transfer (Linux Documentation/admin-guide/iostats.rst).
struct OpStats {
    u64 done = 0, merged = 0, sectors = 0, nanoseconds = 0;
};
inline constexpr u32 kOps = 4;
struct Stats {
    OpStats of[kOps];  // by Op
    u64 errors = 0;
    u64 in_flight = 0;             // submitted and not ended
    u64 busy_nanoseconds = 0;      // with at least one in flight; the most of all queues
    u64 weighted_nanoseconds = 0;  // summed over all in flight
};

// One or more adjacent requests of one kind, as the device gets them.
struct Command {
    RequestList requests;
    Op op = Op::kRead;
    u64 sector = 0, sectors = 0;
    u32 pieces = 0;
    u32 merged = 0;  // requests beyond the first
};

// Requests that have ended, to be reported without a lock.
class Ended {
public:
    Ended() = default;
    Ended(const Ended&) = delete;
    ~Ended() { report(); }
    void add(Request& r, Errno result) {
        r.result = result;
        list_.push_back(r);
    }
    void report() {
        while (Request* r = list_.pop_front()) r->ended(*r);
    }

private:
    RequestList list_;
};

// A driver's side of one queue. Called with the queue's lock held.
class Channel {
public:
    // Gives command `slot`, below the queue's depth and not with the device, to the device. False: there is no room for it
    // until another one ends; nothing has happened.
    virtual bool start(u32 slot, Command& command) = 0;
    // One or more commands were started: the device is to look.
    virtual void notify() = 0;

protected:
    ~Channel() = default;
};

// kOk, or with what result a request ends that a device with these limits cannot be given.
Errno check_request(const Limits& limits, const Request& r);

class Queue {
public:
    static constexpr u32 kMostDepth = 64;
    // How many waiting requests are looked at for one that is adjacent to a command.
    static constexpr u32 kMergeWindow = 32;

    Queue() = default;
    Queue(const Queue&) = delete;
    ~Queue();

    // Before use. `limits` and `channel` outlive the queue; depth: 1 to kMostDepth. kNoMem.
    Result<void> init(Channel& channel, const Limits& limits, u32 depth);

    // Takes all of `list`. What cannot be given to the device ends at once.
    void submit(RequestList& list) RT_EXCLUDES(lock);

    // The device has done command `slot`, which is with it. The caller then calls start_more().
    void end(u32 slot, Errno result, Ended& out) RT_REQUIRES(lock);
    // Starts what waits, as far as there is room.
    void start_more() RT_REQUIRES(lock);
    bool is_with_device(u32 slot) const RT_REQUIRES(lock) { return slot < depth_ && (busy_ >> slot & 1) != 0; }
    // The device can no longer access memory and will do nothing any more: everything ends with kIo, also what is submitted
    // from now on. At most kFailedAtOnce requests end in one call, and are reported in it. False: call it again.
    bool fail() RT_EXCLUDES(lock);
    static constexpr u32 kFailedAtOnce = 64;  // beyond the last command's

    // Adds this queue's counters.
    void add_stats(Stats& out) RT_EXCLUDES(lock);

    rt::SpinLock<rt::Rank::device> lock;

private:
    void gather(Command& c) RT_REQUIRES(lock);
    bool fits(const Command& c, const Request& r) const;
    void account_busy(Nanoseconds now) RT_REQUIRES(lock);
    void end_request(Request& r, Errno result, Nanoseconds now, Ended& out) RT_REQUIRES(lock);

    Channel* channel_ = nullptr;
    const Limits* limits_ = nullptr;
    Command* commands_ = nullptr;
    u32 depth_ = 0;
    u64 busy_ RT_GUARDED_BY(lock) = 0;  // a bit for each command that is with the device
    RequestList waiting_ RT_GUARDED_BY(lock);
    bool failed_ RT_GUARDED_BY(lock) = false;
    Stats stats_ RT_GUARDED_BY(lock);
    Nanoseconds accounted_ RT_GUARDED_BY(lock){};  // up to when the times in stats_ are
};

}  // namespace block
