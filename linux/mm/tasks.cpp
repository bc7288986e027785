// SPDX-License-Identifier: MIT
// The tasks of the mmap family. Each has its turn to change areas (MM_CHANGE), which it keeps until no CPU uses what it
// removed: what is free is not given to others before. What is long is done in pieces. Page faults of other threads see
// the areas that are left.
#include "linux/mm/state.hpp"
#include "rt/wait.hpp"

namespace linux {

AddressSpace::Change::Change(AddressSpace& mm) : mm_(mm) {
    rt::LockGuard guard(mm.lock_);
    number_ = mm.state_->changes_asked++;
}
AddressSpace::Change::~Change() {
    {
        rt::LockGuard guard(mm_.lock_);
        ++mm_.state_->changes_over;
    }
    mm_.change_over_.wake_all();
}
bool AddressSpace::Change::has_its_turn() const {
    rt::LockGuard guard(mm_.lock_);
    return mm_.state_->changes_over == number_;
}

Task<Result<UserAddr>> AddressSpace::map_task(MapRequest r, MemoryLimits l) {
    MM_CHANGE(*this);
    auto done = change_map(r, l, Step::kPrepare);
    // Where the place is not given, it is the search for one that is long.
    const bool searches = (r.flags & (kMapFixed | kMapFixedNoReplace)) == 0;
    while (searches && done.error() == kNeedsTask) {
        co_await rt::Yield{};
        done = change_map(r, l, Step::kPrepare);
    }
    if (done.error() == kNeedsTask) {
        for (UserAddr cursor = r.hint, end = (r.hint + r.length).up(kPageSize); remove_some(cursor, end);)
            co_await rt::Yield{};
        done = change_map(r, l, Step::kFinish);
    }
    MM_SETTLE(*space_);
    co_return done.ended();
}

Task<Result<void>> AddressSpace::unmap_task(UserAddr at, u64 length) {
    MM_CHANGE(*this);
    auto done = change_unmap(at, length, Step::kPrepare);
    if (done.error() == kNeedsTask) {
        for (UserAddr cursor = at, end = (at + length).up(kPageSize); remove_some(cursor, end);) co_await rt::Yield{};
        done = change_unmap(at, length, Step::kFinish);
    }
    MM_SETTLE(*space_);
    co_return done.ended();
}

Task<Result<UserAddr>> AddressSpace::set_break_task(UserAddr to, MemoryLimits l) {
    MM_CHANGE(*this);
    auto done = change_break(to, l, Step::kPrepare);
    if (done.error() == kNeedsTask) {
        for (UserAddr cursor = to.up(kPageSize), end = program_break().up(kPageSize); remove_some(cursor, end);)
            co_await rt::Yield{};
        done = change_break(to, l, Step::kFinish);
    }
    MM_SETTLE(*space_);
    co_return done.ended();
}

Task<Result<void>> AddressSpace::protect_task(UserAddr at, u64 length, u32 prot, MemoryLimits l) {
    MM_CHANGE(*this);
    UserAddr cursor = at;
    auto done = change_protection(at, length, prot, l, &cursor);
    for (const UserAddr end = (at + length).up(kPageSize); done.ok() && cursor < end;) {
        co_await rt::Yield{};
        // Where the range begins has been decided: the first piece may have ended at `at` itself.
        done = change_protection(at, length, prot & ~(kProtGrowsDown | kProtGrowsUp), l, &cursor);
    }
    MM_SETTLE(*space_);
    co_return done.ended();
}

// A hole is an error, but only after the rest has been done.
Task<Result<void>> AddressSpace::advise_task(UserAddr at, u64 length, i32 advice) {
    MM_CHANGE(*this);
    UserAddr cursor = at;
    Errno error = Errno::kOk;
    for (const UserAddr end = (at + length).up(kPageSize);;) {
        Ref<fs::Mapping> removed;
        auto done = change_advice(at, length, advice, &cursor, &removed);
        if (removed)
            for (const u64 cut = removed->begin_cut(); removed->drop_some_copies(cut);) co_await rt::Yield{};
        if (!done.ok()) error = done.error().ended();
        if ((!done.ok() && done.error() != Errno::kNoMem) || cursor >= end) break;
        co_await rt::Yield{};
    }
    MM_SETTLE(*space_);
    if (error != Errno::kOk) co_return error;
    co_return lib::kOk;
}

Task<Result<void>> AddressSpace::set_locked_task(UserAddr at, u64 length, bool locked, MemoryLimits l) {
    MM_CHANGE(*this);
    const UserAddr start = at.down(kPageSize), end = (at + length).up(kPageSize);
    u64 there = 0;
    if (locked && end > start)
        for (UserAddr from = start; count_locked(from, end, there);) co_await rt::Yield{};
    UserAddr cursor = start;
    auto done = change_locked(at, length, locked, l, &cursor, there);
    while (done.ok() && cursor < end) {
        co_await rt::Yield{};
        done = change_locked(at, length, locked, l, &cursor);
    }
    co_return done.ended();
}

Task<Result<void>> AddressSpace::set_all_locked_task(bool current, bool future, MemoryLimits l) {
    MM_CHANGE(*this);
    UserAddr cursor{0};
    auto done = change_all_locked(current, future, l, &cursor);
    while (done.ok() && cursor.value < fs::kUserEnd) {
        co_await rt::Yield{};
        done = change_all_locked(current, future, l, &cursor);
    }
    co_return done.ended();
}

}  // namespace linux
