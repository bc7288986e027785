// SPDX-License-Identifier: MIT
// The task forms of the mmap family: long ranges are emptied in pieces first, then the change is made at once, then the
// other CPUs' translations are waited for. A program that races with its own munmap may see zeros before it sees a fault.
#include "linux/mm/state.hpp"

namespace linux {

// Would a border there cut an area that must stay whole? Then the change will fail, and nothing may be emptied for it.
bool AddressSpace::would_cut(UserAddr start, UserAddr end) {
    rt::LockGuard guard(lock_);
    for (UserAddr at : {start, end})
        if (const Area* a = state_->find(at); a && a->special() && a->start != at) return true;
    return false;
}

Task<Result<UserAddr>> AddressSpace::map_task(MapRequest r, MemoryLimits l) {
    if ((r.flags & kMapFixed) && !(r.flags & kMapFixedNoReplace) && r.hint.aligned(kPageSize) &&
        r.length < fs::kUserEnd) {
        UserAddr cursor = r.hint, end = (r.hint + r.length).up(kPageSize);
        if (would_cut(cursor, end)) co_return Errno::kNoMem;
        while (thin_out_some(cursor, end)) co_await rt::Yield{};
    }
    auto done = change_map(r, l, true);
    MM_SETTLE(*space_);
    co_return done;
}

Task<Result<void>> AddressSpace::unmap_task(UserAddr at, u64 length) {
    if (at.aligned(kPageSize) && at.value <= fs::kUserEnd && length <= fs::kUserEnd - at.value) {
        UserAddr cursor = at, end = (at + length).up(kPageSize);
        if (would_cut(cursor, end)) co_return Errno::kInval;
        while (thin_out_some(cursor, end)) co_await rt::Yield{};
    }
    auto done = change_unmap(at, length, true);
    MM_SETTLE(*space_);
    co_return done;
}

Task<Result<void>> AddressSpace::protect_task(UserAddr at, u64 length, u32 prot) {
    auto done = change_protection(at, length, prot, true);
    MM_SETTLE(*space_);
    co_return done;
}

Task<Result<UserAddr>> AddressSpace::remap_task(RemapRequest r, MemoryLimits l) {
    auto done = change_remap(r, l, true);
    MM_SETTLE(*space_);
    co_return done;
}

Task<Result<void>> AddressSpace::advise_task(UserAddr at, u64 length, i32 advice) {
    constexpr i32 kDontNeed = 4;
    if (advice == kDontNeed && at.aligned(kPageSize) && at.value <= fs::kUserEnd && length <= fs::kUserEnd - at.value) {
        UserAddr cursor = at, end = (at + length).up(kPageSize);
        while (thin_out_some(cursor, end)) co_await rt::Yield{};
    }
    auto done = change_advice(at, length, advice, true);
    MM_SETTLE(*space_);
    co_return done;
}

Task<Result<UserAddr>> AddressSpace::set_break_task(UserAddr to, MemoryLimits l) {
    if (to >= layout.break_start && to < state_->break_end) {
        UserAddr cursor = to.up(kPageSize), end = state_->break_end.up(kPageSize);
        while (thin_out_some(cursor, end)) co_await rt::Yield{};
    }
    auto done = change_break(to, l, true);
    MM_SETTLE(*space_);
    co_return done;
}

}  // namespace linux
