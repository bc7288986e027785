// SPDX-License-Identifier: MIT
// The queues of deferred reclamation and the work on them. See reclaim.hpp.
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

// A piece in progress on another CPU is microseconds of work, but a host may stop that CPU for longer.
constexpr Nanoseconds kForOthers = lib::milliseconds(50);

// Is a backlog of this many frames harmless?
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

// A program's end may leave hundreds of objects that are not large.
bool Reclaimer::too_many(u64 n) {
    if (n > kAtOnce) return true;
    FreedAtOnce& f = Executor::current().freed_at_once;
    const Nanoseconds now = hal::Machine::now();
    if (now - f.since >= kTogether) f = {now, 0};
    if (f.frames + n > kAtOnce) return true;
    f.frames += n;
    return false;
}

// Called when a reclaimer is first used: from now on reclaim_all() includes it.
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
        for (u64 done = 0; rest && done < kAtOnce && !too_many(kPiece); done += kPiece)
            rest = rest->step(*rest, kPiece);
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

// Called by the CPU that has made the reclaimer active: it is in no queue. If the module has a CPU of its own, the work
// runs there at background priority; otherwise it is ordinary kernel work, because at background priority a program
// that never stops would delay it for ever.
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

// Frees one piece. Other ready nodes of this CPU run before the next piece.
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
    // There may be nothing but pieces to run here for a long time.
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
    // If nothing is left, another CPU may schedule the reclaimer again at once, so nothing of it is touched here.
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
        // An item that another CPU works on comes back when its piece is done.
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
            idle = !std::exchange(active_, true);  // the work may have found the queue empty in between
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
    // Other work runs in between, so this may be longer than kForOthers: a busy host stops a CPU for tenths of a
    // second.
    constexpr Nanoseconds kPatience = lib::milliseconds(1000);
    u64 rest = kMost;
    bool in_hand = false;
    for (Reclaimer* r = all_reclaimers.load(std::memory_order_acquire); r; r = r->next_) {
        rest = r->drain_some(rest);
        in_hand |= r->in_hand_now();
    }
    if (rest == kMost) {  // nothing waits, except perhaps a piece in progress on another CPU: microseconds
        Nanoseconds now = hal::Machine::now();
        if (in_hand && until_ == Nanoseconds{}) until_ = now + kPatience;
        return !in_hand || now >= until_;
    }
    until_ = {};
    left_ -= std::min(left_, kMost - rest);
    return left_ == 0;
}

bool push_for_memory() {
    u64 rest = kPushedForMemory;
    for (Reclaimer* r = all_reclaimers.load(std::memory_order_acquire); r; r = r->next_) rest = r->drain_some(rest);
    epoch_push();
    epoch_hurry_all();
    return rest >= Reclaimer::kPiece;
}

Task<void> wait_for_memory() {
    // The host may stop a CPU for tens of milliseconds; what that CPU is about to free is no reason to kill a process.
    Nanoseconds limit = hal::Machine::now() + lib::milliseconds(500);
    // What is retired now is freed when its CPU is quiescent two epochs later. If other CPUs keep filling their
    // backlogs, a few epochs must suffice.
    u64 wanted = epoch_now() + 3, enough = wanted + 16;
    for (u32 n = 0, rounds = 0; rounds < 3 && hal::Machine::now() < limit;) {
        if (!push_for_memory()) {
            co_await Yield{};
            continue;
        }
        if (n++ < 8) {
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
