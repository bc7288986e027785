// SPDX-License-Identifier: MIT
// Deferred reclamation: what nobody can see any more is taken apart later, in pieces, on the CPU of the module it belongs to.
//
//   reclaimer.free(node, frames)   takes over an object whose last user has gone; the node lies in the object: no allocation
//
// Before it hands an object over, the caller has made everything happen that another thread could see: mappings gone,
// translations invalidated, counters of file systems lowered, waiters woken. What is left is frames and slabs.
//
// Bounded: beyond an eighth of memory in the backlog, or while memory is low, the caller takes the object apart itself; of one
// that is larger than may be done at a stretch, the beginning.
// An allocation that has failed is repeated once all that waits has come back (wait_for_memory), and who shows numbers of
// free memory first has the backlog done (Settling) and counts what the epochs still hold (reclaim_pending).
//
// Lock: Rank::reclaim guards a reclaimer's queue. Steps run without it.
#pragma once
#include "rt/atomic.hpp"
#include "rt/executor.hpp"
#include "rt/spinlock.hpp"
#include "rt/task.hpp"

namespace rt {

class Module;

// Embedded in what is taken apart.
struct Reclaimable {
    Reclaimable* next = nullptr;
    // Frees about `most` frames. Yields what there is to go on with (this node or another one), or null: all has gone.
    // Takes no lock of a rank up to `reclaim`, waits for nothing. Sees to it that reclaim_settled() is told of each frame.
    Reclaimable* (*step)(Reclaimable&, u64 most) = nullptr;
};

class Reclaimer : Schedulable {
public:
    constexpr Reclaimer() : Schedulable(&Reclaimer::work, Priority::kBackground) {}
    // Whose place decides where the work is done. Before the first use; null: on the CPU that frees.
    void belong_to(Module* m) { module_ = m; }
    // Is the work done elsewhere or later? Else an object is worth it only if it is large.
    bool placed() const;
    // Is an object of so many frames better handed over?
    bool defers(u64 frames) const {
        if (frames < kWorthIt) [[likely]]
            return false;
        return placed() || (frames > kAtOnce && later.load(std::memory_order_relaxed));
    }
    // Takes the object over, or takes it apart now. Any locks below Rank::reclaim may be held.
    void free(Reclaimable& r, u64 frames) RT_EXCLUDES(lock_);
    // Takes apart about so many frames of what waits here; how many are left of them.
    u64 drain_some(u64 most) RT_EXCLUDES(lock_);
    // Takes apart all that waits here, now, on this CPU. False: there was nothing.
    bool drain() RT_EXCLUDES(lock_);

    // So many were left for later, and so many frames with them; so many were not, for want of room or memory.
    Atomic<u64> items{0}, frames{0}, refused{0};

    static constexpr u64 kWorthIt = 16;  // frames; less than that is cheaper freed than handed over
    static constexpr u64 kAtOnce = 256;  // frames; with the work on the CPU that frees: no longer at a stretch
    static constexpr u64 kPiece = 64;    // frames, about 3,000 instructions
    // May large objects wait on the CPU that frees? Where nobody runs the executors, they would stay.
    static Atomic<bool> later;

    // Unit tests: nobody uses it any more.
    void forget();

private:
    static void work(Schedulable& s);
    void enlist();
    Reclaimable* pop() RT_EXCLUDES(lock_);
    bool in_hand_now() RT_EXCLUDES(lock_);
    Executor* place() const;
    void schedule(Executor* where);

    friend bool reclaim_all();
    friend class Settling;
    Module* module_ = nullptr;
    SpinLock<Rank::reclaim> lock_;
    Reclaimable* first_ RT_GUARDED_BY(lock_) = nullptr;
    Reclaimable* last_ RT_GUARDED_BY(lock_) = nullptr;
    bool active_ RT_GUARDED_BY(lock_) = false;   // the work is queued or runs somewhere
    bool in_hand_ RT_GUARDED_BY(lock_) = false;  // it has an item that is in no queue
    Atomic<bool> enlisted_{false};
    Reclaimer* next_ = nullptr;  // of all that were ever used
};

// Frames that were handed over and are not free yet.
u64 reclaim_pending();
// So many of them are free now, or turned out to be somebody else's too.
void reclaim_settled(u64 frames);
// The backlogs of all reclaimers are taken apart now, but for pieces that other CPUs have in hand. False: there was nothing.
bool reclaim_all();
// The same in pieces, of what waits when it begins: frames that others hold too are told from those that come back only
// when it is their turn. Zeroed memory is one that has not begun.
class Settling {
public:
    // The next piece, of at most 20,000 instructions. False: call again, behind what else is ready. What another CPU has in
    // hand is waited for, up to a second.
    bool step();

private:
    u64 begun_ = 0, left_ = 0;  // frames
    Nanoseconds until_{};       // to wait for another CPU
};
// What waits in backlogs and epochs comes back, as far as other CPUs let it within half a second. Called when an
// allocation has failed and memory_is_low(). Holds no lock, no reference that keeps frames.
Task<void> wait_for_memory();
// The same without memory for a coroutine: a single push, after which the caller yields.
void push_for_memory();

}  // namespace rt
