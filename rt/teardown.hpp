// SPDX-License-Identifier: MIT
// The end of an object that consists of many parts, whose last reference has gone where nobody can give way: a job takes it
// apart, a piece a turn. Unlike a Reclaimer's, the pieces may take locks of any rank.
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

}  // namespace rt
