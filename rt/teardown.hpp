// SPDX-License-Identifier: MIT
// Deferred destruction of an object with many parts, whose last reference was dropped in code that cannot yield: it is
// destroyed later, one piece at a time. Unlike the steps of a Reclaimer, the pieces may take locks of any rank.
//
//   Teardown      embedded in the object (56 bytes): each object is queued by itself
//   TeardownList  for all objects of a type, which need one pointer each; they are destroyed one after the other
//
// Invariants of a TeardownList:
// - `working_` is true from before the list is put in a run queue until a turn has found nothing left. So the list is
//   in at most one queue, and one CPU at a time takes objects out.
// - Only a turn takes objects out, always the first one. So during take() no object leaves the list and no link
//   changes, whatever other CPUs add: its compare-exchange cannot mistake one object for another (ABA).
// - No object is left behind: a thread that adds an object reads `working_` afterwards, and a turn that finds nothing
//   clears `working_` and then reads the list once more. These four accesses are sequentially consistent, so one side
//   sees the other.
// - Objects are destroyed newest first; an object that has been begun is finished before the next.
#pragma once
#include "rt/executor.hpp"
#include "rt/reclaim.hpp"

namespace rt {

// Limits the length of a piece whose parts have an unknown cost: when over() returns true, no new part is begun. The
// first call always returns false, so that each piece makes progress on a slow machine too.
class Stretch {
public:
    bool over() { return asked_++ != 0 && hal::Machine::now() >= end_; }

private:
    static constexpr Nanoseconds kLength{20'000};
    u32 asked_ = 0;
    const Nanoseconds end_ = hal::Machine::now() + kLength;
};

// Embedded in the object that is destroyed.
class Teardown : Schedulable {
public:
    // Destroys some of the object. Returns false when nothing is left and the object itself has been freed.
    using Piece = bool (*)(Teardown&);
    constexpr Teardown() : Schedulable(&Teardown::turn) {}
    // Do executors run jobs? If not, long work must be done at once.
    static bool later() { return Reclaimer::later.load(std::memory_order_relaxed); }
    // The object has no other references. Allocates nothing and does not block; locks of a rank below `timer` may be held
    // (Executor::post).
    void take_apart(Piece piece) {
        piece_ = piece;
        Executor::current().post(*this);
    }

private:
    static void turn(Schedulable& s) {
        auto& self = static_cast<Teardown&>(s);
        self.priority = Priority::kKernel;
        if (self.piece_(self)) Executor::current().give_way(self);
    }
    Piece piece_ = nullptr;
};

// `Link` is a pointer in each object that is unused from add() on.
template <class T, T* T::* Link>
class TeardownList : Schedulable {
public:
    // Destroys some of the object. Returns false when nothing is left and the object itself has been freed.
    using Piece = bool (*)(T&);
    constexpr explicit TeardownList(Piece piece) : Schedulable(&TeardownList::turn), piece_(piece) {}
    TeardownList(const TeardownList&) = delete;
    // From any CPU. The object has no references. Allocates nothing and does not block; locks of a rank below `timer` may
    // be held (Executor::post).
    void add(T& object) {
        T* first = first_.load(std::memory_order_relaxed);
        do {
            object.*Link = first;
        } while (!first_.compare_exchange_weak(first, &object, std::memory_order_seq_cst));
        if (!working_.exchange(true, std::memory_order_seq_cst)) Executor::current().post(*this);
    }

private:
    static void turn(Schedulable& s) {
        auto& self = static_cast<TeardownList&>(s);
        if (!self.in_work_) self.in_work_ = self.take();
        if (self.in_work_ && !self.piece_(*self.in_work_)) self.in_work_ = nullptr;
        if (!self.in_work_ && self.ends()) return;
        Executor::current().give_way(self);
    }
    T* take() {
        T* first = first_.load(std::memory_order_acquire);
        while (first && !first_.compare_exchange_weak(first, first->*Link, std::memory_order_acq_rel)) {
        }
        return first;
    }
    // Is there nothing to do? Then the next add() queues the list again.
    bool ends() {
        if (first_.load(std::memory_order_acquire)) return false;
        working_.store(false, std::memory_order_seq_cst);
        if (left_out<Step::kTeardownLook>()) return true;
        return !first_.load(std::memory_order_seq_cst) || working_.exchange(true, std::memory_order_seq_cst);
    }

    const Piece piece_;
    Atomic<T*> first_{nullptr};
    Atomic<bool> working_{false};
    T* in_work_ = nullptr;  // used by turn() only
};

}  // namespace rt
