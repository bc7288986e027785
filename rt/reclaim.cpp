// SPDX-License-Identifier: MIT
// The queues of deferred reclamation and who works on them. See reclaim.hpp.
#include "rt/reclaim.hpp"

#include <algorithm>

#include "rt/atomic.hpp"
#include "rt/mem/pages.hpp"
#include "rt/remote/module.hpp"
#include "rt/wait.hpp"

namespace rt {
namespace {

constinit Atomic<u64> pending{0};
constinit Atomic<Reclaimer*> all_reclaimers{nullptr};

// A piece that another CPU has in hand is microseconds of work, but a host may hold that CPU up.
constexpr Nanoseconds kForOthers = lib::milliseconds(50);

// Does a backlog of so many frames do no harm?
bool bearable(u64 frames) {
    u64 limit = frame_total() / 8;
    return frames <= (limit > 512 ? limit : 512) && !memory_is_low();
}

}  // namespace

constinit Atomic<bool> Reclaimer::later{false};

u64 reclaim_pending() { return pending.load(std::memory_order_relaxed); }
void reclaim_settled(u64 frames) { pending.fetch_sub(frames, std::memory_order_relaxed); }

bool Reclaimer::placed() const { return module_ && module_->place.load(std::memory_order_relaxed) != 0; }
Executor* Reclaimer::place() const { return module_ ? module_->executor_for(this) : nullptr; }

// Once for each reclaimer: reclaim_all() knows it from now on.
void Reclaimer::enlist() {
    if (enlisted_.exchange(true, std::memory_order_acq_rel)) return;
    next_ = all_reclaimers.load(std::memory_order_relaxed);
    // Release: pairs with reclaim_all(), which follows next_.
    while (!all_reclaimers.compare_exchange_weak(next_, this, std::memory_order_release, std::memory_order_relaxed)) {
    }
}

void Reclaimer::free(Reclaimable& r, u64 n) {
    u64 all = pending.fetch_add(n, std::memory_order_relaxed) + n;
    Reclaimable* rest = &r;
    if (!bearable(all)) [[unlikely]] {
        refused.fetch_add(1, std::memory_order_relaxed);
        for (u64 done = 0; rest && done < kAtOnce; done += kPiece) rest = rest->step(*rest, kPiece);
        if (!rest) return;
    }
    enlist();
    items.fetch_add(1, std::memory_order_relaxed);
    frames.fetch_add(n, std::memory_order_relaxed);
    bool idle;
    {
        LockGuard guard{lock_};
        rest->next = nullptr;
        (first_ ? last_->next : first_) = rest;
        last_ = rest;
        idle = !active_;
        active_ = true;
    }
    if (idle) schedule(place());
}

// This CPU has made the reclaimer active: it is in no queue. Beside calls and programs if it has a CPU to serve them, among
// the kernel's work if it has none: a program that never stops would keep all that is left behind.
void Reclaimer::schedule(Executor* where) {
    priority = where ? Priority::kBackground : Priority::kKernel;
    (where ? *where : Executor::current()).post(*this);
}

Reclaimable* Reclaimer::pop() {
    LockGuard guard{lock_};
    Reclaimable* r = first_;
    if (r) first_ = r->next;
    return r;
}

// One piece. Others that are ready on this CPU have their turn before the next.
void Reclaimer::work(Schedulable& s) {
    auto& self = static_cast<Reclaimer&>(s);
    Executor* where = self.place();
    if (where && where != &Executor::current()) return self.schedule(where);  // the module has moved
    Reclaimable* r;
    {
        LockGuard guard{self.lock_};
        r = self.first_;
        if (r) self.first_ = r->next;
        self.in_hand_ = r != nullptr;
    }
    if (r) r = r->step(*r, kPiece);
    // Nothing but pieces may be left to do here, for long.
    Executor::current().let_interrupts_in();
    bool more;
    {
        LockGuard guard{self.lock_};
        self.in_hand_ = false;
        if (r) {
            r->next = self.first_;
            if (!self.first_) self.last_ = r;
            self.first_ = r;
        }
        more = self.active_ = self.first_ != nullptr;
    }
    // Without more it may be scheduled anew by another CPU at once: nothing of it is touched.
    if (more) self.schedule(where);
}

bool Reclaimer::drain() {
    bool any = false;
    Nanoseconds until{};
    for (;;) {
        while (Reclaimable* r = pop()) {
            any = true;
            while (r) r = r->step(*r, kPiece);
        }
        // One that another CPU has in hand comes back when its piece is done.
        if (!in_hand_now()) return any;
        Nanoseconds now = hal::Machine::now();
        if (until == Nanoseconds{}) until = now + kForOthers;
        if (now >= until) return any;
        hal::Machine::poll_mailbox();
    }
}

u64 Reclaimer::drain_some(u64 most) {
    while (most >= kPiece) {
        Reclaimable* r = pop();
        if (!r) break;
        while (r && most >= kPiece) {
            r = r->step(*r, kPiece);
            most -= kPiece;
        }
        if (!r) continue;
        bool idle;
        {
            LockGuard guard{lock_};
            r->next = first_;
            if (!first_) last_ = r;
            first_ = r;
            idle = !std::exchange(active_, true);  // the work may have found nothing meanwhile
        }
        if (idle) schedule(place());
    }
    return most;
}

bool Reclaimer::in_hand_now() {
    LockGuard guard{lock_};
    return in_hand_ || first_ != nullptr;
}

void Reclaimer::forget() {
    for (Reclaimer* r = all_reclaimers.load(); r; r = r->next_) {
        if (r->next_ == this) r->next_ = next_;
    }
    Reclaimer* self = this;
    all_reclaimers.compare_exchange_strong(self, next_);
    enlisted_ = false;
}

bool reclaim_all() {
    bool any = false;
    for (Reclaimer* r = all_reclaimers.load(std::memory_order_acquire); r; r = r->next_) any |= r->drain();
    return any;
}

bool Settling::step() {
    if (!begun_) {
        begun_ = 1;
        left_ = reclaim_pending();
    }
    if (left_ == 0) return true;
    constexpr u64 kMost = 384;
    // Others run meanwhile, so it may be longer than kForOthers: a busy host holds a CPU up for tenths of a second.
    constexpr Nanoseconds kPatience = lib::milliseconds(1000);
    u64 rest = kMost;
    bool in_hand = false;
    for (Reclaimer* r = all_reclaimers.load(std::memory_order_acquire); r; r = r->next_) {
        rest = r->drain_some(rest);
        in_hand |= r->in_hand_now();
    }
    if (rest == kMost) {  // nothing waits but, perhaps, what another CPU has taken: a piece, microseconds
        Nanoseconds now = hal::Machine::now();
        if (in_hand && until_ == Nanoseconds{}) until_ = now + kPatience;
        return !in_hand || now >= until_;
    }
    until_ = {};
    left_ -= std::min(left_, kMost - rest);
    return left_ == 0;
}

void push_for_memory() {
    reclaim_all();
    epoch_hurry_all();
}

Task<void> wait_for_memory() {
    // The host may keep a CPU from running for tens of milliseconds; what that CPU is to free is no reason to kill anybody.
    Nanoseconds limit = hal::Machine::now() + lib::milliseconds(500);
    // What is retired now is freed when its CPU is quiescent two epochs later. With backlogs that others fill all the
    // time, a few epochs must do.
    u64 wanted = epoch_now() + 3, enough = wanted + 16;
    for (u32 n = 0, rounds = 0; rounds < 3 && hal::Machine::now() < limit; ++n) {
        push_for_memory();
        if (n < 8) {
            co_await Yield{};
        } else {
            Wait wait{"memory to come back"};
            wait.until(hal::Machine::now() + Nanoseconds{50'000}).uninterruptible();
            (void)co_await wait;
        }
        u64 now = epoch_now();
        if (now >= wanted && ((reclaim_pending() == 0 && epoch_pending() == 0) || now >= enough)) ++rounds;
    }
}

}  // namespace rt
