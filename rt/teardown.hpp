// SPDX-License-Identifier: MIT
// The end of an object that consists of many parts, whose last reference has gone where the caller cannot give way: it is taken
// apart later, a piece a turn. Unlike a Reclaimer's, the pieces may take locks of any rank.
//
//   Teardown      embedded in the object (56 bytes): each object is queued by itself
//   TeardownList  for all objects of a kind, which need a pointer each; one after the other is taken apart
//
// Invariants of a TeardownList:
// - `working_` is true from before the list is put in a run queue until it has found nothing left in a turn. So it is in at
//   most one queue, and one CPU at a time takes objects out.
// - Only a turn takes objects out, always the first one. So the first stays what it is until it is out, whatever is added
//   concurrently, and its link is not written.
// - Nothing stays: who adds an object looks at `working_` afterwards, and a turn that finds nothing clears `working_` and then
//   looks at the list once more. These four accesses are sequentially consistent: one of the two sees the other.
// - Objects are taken apart newest first; the one that has been begun is finished before the next.
#pragma once
#include "rt/executor.hpp"
#include "rt/reclaim.hpp"

namespace rt {

// How long a piece may be of which nobody knows beforehand what its parts cost: no new part is begun afterwards. Whoever asks
// before a part does one at least, however slow the machine is.
class Stretch {
public:
    bool over() { return asked_++ != 0 && hal::Machine::now() >= end_; }

private:
    static constexpr Nanoseconds kLength{20'000};
    u32 asked_ = 0;
    const Nanoseconds end_ = hal::Machine::now() + kLength;
};

// Embedded in what is taken apart.
class Teardown : Schedulable {
public:
    // Takes some of it apart. False: nothing is left, the object has gone too.
    using Piece = bool (*)(Teardown&);
    constexpr Teardown() : Schedulable(&Teardown::turn) {}
    // Do jobs run? Else what is long has to be taken apart at once.
    static bool later() { return Reclaimer::later.load(std::memory_order_relaxed); }
    // Nobody else refers to the object any more. Allocates nothing; any locks may be held.
    void take_apart(Piece piece) {
        piece_ = piece;
        Executor::current().enqueue(*this);
    }

private:
    static void turn(Schedulable& s) {
        auto& self = static_cast<Teardown&>(s);
        self.priority = Priority::kKernel;
        if (self.piece_(self)) Executor::current().give_way(self);
    }
    Piece piece_ = nullptr;
};

// `Link` is a pointer in each object that is free from add() on.
template <class T, T* T::* Link>
class TeardownList : Schedulable {
public:
    // Takes some of the object apart. False: nothing is left, the object has gone too.
    using Piece = bool (*)(T&);
    constexpr explicit TeardownList(Piece piece) : Schedulable(&TeardownList::turn), piece_(piece) {}
    TeardownList(const TeardownList&) = delete;
    // From any CPU: no thread refers to the object any more. Allocates nothing; any locks may be held.
    void add(T& object) {
        T* first = first_.load(std::memory_order_relaxed);
        do {
            object.*Link = first;
        } while (!first_.compare_exchange_weak(first, &object, std::memory_order_seq_cst));
        if (!working_.exchange(true, std::memory_order_seq_cst)) Executor::current().enqueue(*this);
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
    T* in_work_ = nullptr;  // the turn's
};

}  // namespace rt
