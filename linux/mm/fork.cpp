// SPDX-License-Identifier: MIT
// fork(2): the areas are cloned, anonymous pages get a second reference, and the parent's private writable pages are
// write-protected. The child starts with empty page tables: most of what it touches it writes, and that needs a fault
// anyway; the rest is mapped by faults on adjacent pages.
//
// Areas are copied and pages shared in pieces, with the parent's lock released between them. Nothing changes the
// parent's areas during the fork (MM_CHANGE), so that each area of the child gets its pages and no others; a page that
// another thread writes or drops concurrently is copied in its old or its new state, as if the thread had done so
// before or after.
#include "linux/mm/state.hpp"
#include "rt/wait.hpp"

namespace linux {

// No program uses the child yet, but the files that its areas map refer to it, and a truncation drops pages of the
// child: therefore its lock. Returns whether there are more, from `from` on.
Result<bool> AddressSpace::fork_areas(AddressSpace& child, UserAddr& from) {
    rt::LockPair guard(lock_, child.lock_);
    State& s = state();
    State& to = child.state();
    if (from.value == 0) {
        child.layout = layout;
        to.mmap_base = s.mmap_base;
        to.scan_from = s.scan_from;
        to.largest_above = s.largest_above;
        to.break_end = s.break_end;
    }
    u32 count = 0;
    for (Area* a = s.find_at_or_above(from); a; a = s.next(*a)) {
        if (++count > kLongAreas) {
            from = a->start;
            return true;
        }
        if (a->flags & kAreaDontFork) {
            to.gap_opened(a->start, a->end);
            continue;
        }
        Area* copy = State::clone(*a, to);
        if (!copy) return Errno::kNoMem;
        copy->flags &= ~u32{kAreaLocked};
        to.insert(*copy, a);
        to.account(*copy, copy->size() >> lib::kPageShift, true);
    }
    return false;
}

// Shares the pages from a page number on, up to kLongWork of them. Returns where to continue, ~0 at the end.
Result<u64> AddressSpace::fork_some(AddressSpace& child, u64 from_page) {
    rt::LockPair guard(lock_, child.lock_);
    State& s = state();
    State& to = child.state();
    constexpr u64 kNowhere = ~u64{0};
    u64 shared = 0;
    u32 count = 0;
    for (Area* a = to.find_at_or_above(UserAddr{from_page << lib::kPageShift}); a; a = to.next(*a)) {
        u64 first = a->first_page() > from_page ? a->first_page() : from_page, end = a->end_page();
        if (++count > kLongAreas) return first;
        if (a->shared() || (a->flags & kAreaWipeOnFork)) continue;
        u64 low = kNowhere, high = 0, stopped_at = kNowhere;
        bool no_memory = false;
        s.anon.for_each(first, end, [&](AnonMap::Chunk& c, u64 mask) {
            if (no_memory || stopped_at != kNowhere) return;
            if (shared >= kLongWork) {
                stopped_at = c.first_page();
                return;
            }
            AnonMap::Chunk* copy = to.anon.make_chunk(c.number);
            if (!copy) {
                no_memory = true;
                return;
            }
            u64 missing = mask & ~copy->present;
            if (low == kNowhere) low = c.first_page() + u64(std::countr_zero(mask));
            high = c.first_page() + 64 - u64(std::countl_zero(mask));
            shared += 8 + u64(std::popcount(missing));
            to.anon.share(c, *copy, missing);
        });
        if (low < high && a->writable()) {
            port::UserRange range{UserAddr{low << lib::kPageShift}, UserAddr{high << lib::kPageShift}};
            s.space.protect({&range, 1}, a->rights(false));
        }
        if (no_memory) return Errno::kNoMem;
        if (stopped_at != kNowhere) return stopped_at > first ? stopped_at : first;
    }
    return kNowhere;
}

Task<Result<Ref<AddressSpace>>> AddressSpace::fork() {
    Ref<AddressSpace> child = CO_TRY(create());
    child->dumpable.store(dumpable.load(std::memory_order_relaxed), std::memory_order_relaxed);
    MM_CHANGE(*this);
    Errno error = Errno::kOk;
    for (UserAddr from{0}; error == Errno::kOk;) {
        auto more = fork_areas(*child, from);
        error = more.error();
        if (!more.ok() || !more.value()) break;
        co_await rt::Yield{};
    }
    for (u64 page = 0; error == Errno::kOk;) {
        auto next = fork_some(*child, page);
        if (!next.ok()) {
            error = next.error();
        } else if ((page = next.value()) == ~u64{0}) {
            break;
        } else {
            co_await rt::Yield{};
        }
    }
    // Nobody may write to a shared page through an old translation once the child runs.
    MM_SETTLE(*space_);
    if (error != Errno::kOk) {
        while (child->empty_some()) co_await rt::Yield{};
        co_return error;
    }
    {
        rt::LockGuard guard(child->lock_);
        child->state().note_peak();
    }
    co_return std::move(child);
}

}  // namespace linux
