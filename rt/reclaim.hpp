// SPDX-License-Identifier: MIT
// Deferred reclamation: objects that no thread can reach any more are freed later, in pieces, on the CPU of their
// module.
//
//   reclaimer.free(node, frames)   takes over an object without users; the node is part of it: no allocation
//
// Before it hands an object over, the caller has done everything that another thread could observe: it has removed
// mappings, invalidated translations, lowered the counters of file systems and woken waiters. Only frames and slab
// objects are left.
//
// The backlog is bounded: if it exceeds an eighth of memory, or while memory is low, the caller frees the object
// itself; of an object too large to free at once, or of many that are freed together, it frees the beginning. An allocation that has failed is repeated
// after everything in the backlogs has been freed (wait_for_memory). Code that reports free memory first has the
// backlogs freed (Settling) and counts what the epochs still hold (reclaim_pending).
//
// Lock: Rank::reclaim guards a reclaimer's queue. Steps run without it.
#pragma once
#include "rt/atomic.hpp"
#include "rt/executor.hpp"
#include "rt/spinlock.hpp"
#include "rt/task.hpp"

namespace rt {

class Module;

// Embedded in each object that is freed by a reclaimer.
struct Reclaimable {
    Reclaimable* next = nullptr;
    // Frees about `most` frames. Returns the node to continue with (this one or another), or null when everything is
    // freed. Takes no lock of a rank up to `reclaim` and never blocks. It must report each frame through
    // reclaim_settled().
    Reclaimable* (*step)(Reclaimable&, u64 most) = nullptr;
};

class Reclaimer : Schedulable {
public:
    constexpr Reclaimer() : Schedulable(&Reclaimer::work, Priority::kBackground) {}
    // The module whose place decides where the work is done. Called before the first use; null: the work is done on the
    // CPU that frees.
    void belong_to(Module* m) { module_ = m; }
    // Is the work done on a CPU of the module? If not, only large objects are deferred.
    bool placed() const;
    // Should an object of this many frames be handed over to the reclaimer?
    bool defers(u64 frames) const {
        if (frames < kWorthIt) [[likely]]
            return false;
        return placed() || (later.load(std::memory_order_relaxed) && too_many(frames));
    }
    // Takes the object over, or frees it now. The caller may hold locks of ranks below Rank::reclaim. Allocates
    // nothing.
    void free(Reclaimable& r, u64 frames) RT_EXCLUDES(lock_);
    // Frees up to about `most` frames from the queue; returns how many of `most` are left.
    u64 drain_some(u64 most) RT_EXCLUDES(lock_);
    // Frees everything in the queue now, on this CPU. Returns false if there was nothing.
    bool drain() RT_EXCLUDES(lock_);

    // Statistics: objects deferred, their frames, and objects not deferred for lack of room in the backlog or of
    // memory.
    Atomic<u64> items{0}, frames{0}, refused{0};

    static constexpr u64 kWorthIt = 16;              // in frames; freeing fewer is cheaper than handing them over
    static constexpr u64 kAtOnce = 256;              // in frames; the most that is freed at once on the CPU that frees
    static constexpr Nanoseconds kTogether{20'000};  // objects that are freed within this time count as one
    static constexpr u64 kPiece = 64;                // in frames; about 3,000 instructions
    // May large objects be deferred on the CPU that frees? Where no executor runs, they would never be freed.
    static Atomic<bool> later;

    // Unit tests: removes an unused reclaimer from the list of all.
    void forget();

private:
    static void work(Schedulable& s);
    static bool too_many(u64 frames);
    void enlist();
    Reclaimable* pop() RT_EXCLUDES(lock_);
    bool in_hand_now() RT_EXCLUDES(lock_);
    Executor* place() const;
    void schedule(Executor* where);

    friend bool reclaim_all();
    friend bool push_for_memory();
    friend class Settling;
    Module* module_ = nullptr;
    SpinLock<Rank::reclaim> lock_;
    Reclaimable* first_ RT_GUARDED_BY(lock_) = nullptr;
    Reclaimable* last_ RT_GUARDED_BY(lock_) = nullptr;
    bool active_ RT_GUARDED_BY(lock_) = false;   // the work is queued or runs on some CPU
    bool in_hand_ RT_GUARDED_BY(lock_) = false;  // an item is being freed and is in no queue
    Atomic<bool> enlisted_{false};
    Reclaimer* next_ = nullptr;  // list of all reclaimers that were ever used
};

// The number of frames that were handed over and are not free yet.
u64 reclaim_pending();
// This many of them are free now, or turned out to have other users.
void reclaim_settled(u64 frames);
// Frees the backlogs of all reclaimers now, except for pieces in progress on other CPUs. Returns false if there was
// nothing.
bool reclaim_all();
// The same in pieces, for the backlog that exists when it begins. Whether a frame of the backlog has other users is
// known only when its turn comes. An object in zeroed memory has not begun.
class Settling {
public:
    // Frees the next piece, in at most 20,000 instructions. Returns false if there is more: the caller then lets other
    // work run and calls again. Waits up to a second for pieces in progress on other CPUs.
    bool step();

private:
    u64 begun_ = 0, left_ = 0;  // frames
    Nanoseconds until_{};       // when to stop waiting for another CPU
};
// Waits until what is in the backlogs and epochs is free, as far as other CPUs allow it within half a second. Called
// when an allocation has failed and memory_is_low(). The caller holds no lock and no reference that keeps frames
// allocated.
Task<void> wait_for_memory();
// The same without memory for a coroutine: some pieces, after which the caller yields. Does not block. False: there is more
// in the backlogs: it has freed some kPushedForMemory frames.
inline constexpr u64 kPushedForMemory = 4 * Reclaimer::kPiece;
bool push_for_memory();

}  // namespace rt
