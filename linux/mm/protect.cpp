// SPDX-License-Identifier: MIT
// mprotect, madvise, mlock, mincore, msync: what changes or tells the state of existing areas. Order of checks as in
// Linux (mm/mprotect.c, madvise.c, mlock.c, mincore.c, msync.c).
#include <cstring>

#include "linux/mm/state.hpp"

namespace linux {
constexpr u64 kHugePageSize = 2u << 20;

// Where the piece of [start, end) ends that a call with `cursor` does: a border of areas, if there is memory for it.
UserAddr AddressSpace::State::cut_piece(UserAddr start, UserAddr end) {
    UserAddr piece = piece_end(start, end);
    if (piece == end || split_at(piece).ok()) return piece;
    const Area* a = find(piece);
    return a && a->end < end ? a->end : end;
}

Leaf<void> AddressSpace::change_protection(UserAddr at, u64 length, u32 prot, const MemoryLimits& l, UserAddr* cursor) {
    u32 grows = prot & (kProtGrowsDown | kProtGrowsUp);
    if (grows == (kProtGrowsDown | kProtGrowsUp)) return Errno::kInval;
    if (!at.aligned(kPageSize)) return Errno::kInval;
    if (length == 0) return lib::kOk;
    length = (length + kPageSize - 1) & ~(kPageSize - 1);
    if (at.value + length <= at.value) return Errno::kNoMem;
    prot &= ~grows;
    if (prot & ~(kProtRead | kProtWrite | kProtExec | kProtSem)) return Errno::kInval;
    prot &= ~kProtSem;
    UserAddr start = cursor ? *cursor : at, end = at + length;

    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (!cursor && s.changing()) return kNeedsTask;
    Area* first = s.find_at_or_above(start);
    if (!first) return Errno::kNoMem;
    if ((grows & kProtGrowsDown) && start == at) {
        if (first->start >= end) return Errno::kNoMem;
        if (!(first->flags & kAreaGrowsDown)) return Errno::kInval;
        start = first->start;
    } else {
        if (first->start > start) return Errno::kNoMem;
        if (grows && start == at) return Errno::kInval;  // no area grows up here
    }
    if (cursor) {
        end = *cursor = s.cut_piece(start, end);
        first = s.find(start);
    }
    // How far the change reaches before the first error, and which rights it removes.
    Errno error = Errno::kOk;
    UserAddr good = start;
    bool takes_away = false, changes = false;
    u32 count = 0;
    for (Area* a = first; good < end; a = s.next(*a)) {
        if (!a || a->start > good) {
            error = Errno::kNoMem;
            break;
        }
        if (!cursor && ++count > kLongAreas) return kNeedsTask;
        if (prot & ~(a->flags >> kAreaMayShift)) {
            error = Errno::kAcces;
            break;
        }
        u64 pages = ((a->end < end ? a->end : end) - good) >> lib::kPageShift;
        if ((prot & kProtWrite) && !a->writable()) {
            // mprotect_fixup: a limit counts only for what was not over it before.
            const bool data = (a->flags & (kAreaShared | kAreaGrowsDown)) == 0;
            if ((data && over_limits(s.total_pages, s.data_pages, pages, true, l) &&
                 !over_limits(s.total_pages, s.data_pages, pages, false, l)) ||
                (!(a->flags & (kAreaShared | kAreaNoReserve)) && exceeds_memory(pages))) {
                error = Errno::kNoMem;
                break;
            }
        }
        takes_away |= (a->prot & ~prot) != 0;
        changes |= a->prot != prot;
        good = a->end < end ? a->end : end;
    }
    if (changes) {
        if (takes_away && !cursor && (s.space.shared_now() || s.is_long(start, good))) return kNeedsTask;
        TRY(s.split_at(start));
        TRY(s.split_at(good));
        for (Area* a = s.find(start); a && a->start < good; a = s.next(*a)) {
            u32 lost = a->prot & ~prot;
            u64 pages = a->size() >> lib::kPageShift;
            s.account(*a, pages, false);
            a->prot = prot;
            s.account(*a, pages, true);
            // What is granted comes by faults. Write is never put back here: the page may be shared or clean.
            if (!lost) continue;
            port::UserRange range{a->start, a->end};
            s.space.protect({&range, 1}, a->rights(false));
        }
    }
    if (changes || cursor) s.merge_range(start, good, dead);
    if (error != Errno::kOk) return error;
    return lib::kOk;
}

Leaf<void> AddressSpace::change_advice(UserAddr at, u64 length, i32 advice, UserAddr* cursor,
                                       Ref<fs::Mapping>* removed) {
    if (advice < 0 || (advice > kMadvDontNeed && advice < kMadvFree) || advice > kMadvCollapse) return Errno::kInval;
    if (!at.aligned(kPageSize)) return Errno::kInval;
    u64 bytes = (length + kPageSize - 1) & ~(kPageSize - 1);
    if (length != 0 && bytes == 0) return Errno::kInval;
    if (at.value + bytes < at.value) return Errno::kInval;
    if (bytes == 0) return lib::kOk;
    UserAddr from = cursor ? *cursor : at, end = at + bytes;
    if (cursor) *cursor = end;  // nothing more after an error

    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    bool drops =
        advice == kMadvDontNeed || advice == kMadvDontNeedLocked || advice == kMadvFree || advice == kMadvRemove;
    const UserAddr piece = s.piece_end(from, end);
    if (!cursor && (s.changing() || piece < end || (drops && s.space.shared_now()))) return kNeedsTask;
    const bool last = piece == end;
    end = piece;
    const UserAddr start = from;
    u32 set = 0, clear = 0;
    switch (advice) {
        case kMadvDontFork: set = kAreaDontFork; break;
        case kMadvDoFork: clear = kAreaDontFork; break;
        case kMadvDontDump: set = kAreaDontDump; break;
        case kMadvDoDump: clear = kAreaDontDump; break;
        case kMadvWipeOnFork: set = kAreaWipeOnFork; break;
        case kMadvKeepOnFork: clear = kAreaWipeOnFork; break;
        default: break;
    }
    Errno error = Errno::kOk;
    for (Area* a = s.find_at_or_above(from);; a = s.find_at_or_above(from)) {
        if (!a || a->start >= end) {
            error = Errno::kNoMem;
            break;
        }
        if (a->start > from) {
            error = Errno::kNoMem;  // a hole: the rest is done all the same
            from = a->start;
        }
        UserAddr to = a->end < end ? a->end : end;
        if (set | clear) {
            if (advice == kMadvWipeOnFork && (a->mapping || a->shared())) return Errno::kInval;
            if (a->special() && (advice == kMadvDoDump || (advice == kMadvDoFork && a->device()))) return Errno::kInval;
            if (((a->flags | set) & ~clear) != a->flags) {
                TRY(s.split_at(from));
                TRY(s.split_at(to));
                a = s.find(from);
                a->flags = (a->flags | set) & ~clear;
            }
        } else if (drops) {
            if (a->special() && (a->device() || advice == kMadvRemove)) return Errno::kInval;
            if ((a->flags & kAreaLocked) && advice != kMadvDontNeedLocked) return Errno::kInval;
            if (advice == kMadvFree && (a->mapping || a->shared())) return Errno::kInval;
            if (advice == kMadvRemove) {
                if (!a->mapping) return Errno::kInval;
                if (!a->shared() || !(a->flags & kAreaMayWrite)) return Errno::kAcces;
                // Pages that are mapped nowhere count too.
                const u64 first = a->index(from), all = (to - from) >> lib::kPageShift;
                const u64 part = a->mapping->end_of(first, first + all, kLongWork) - first;
                if (!cursor) return kNeedsTask;
                end = to = from + part * kPageSize;  // of one file at a time
                a->mapping->drop_range(first, part);
                if (a->mapping->has_dropped()) *removed = a->mapping;
            }
            s.zap(from, to);
        } else if (advice == kMadvPopulateRead || advice == kMadvPopulateWrite) {
            if ((a->prot & (advice == kMadvPopulateRead ? kProtRead : kProtWrite)) == 0) return Errno::kInval;
        } else if (advice == kMadvCollapse) {
            // Where no huge page fits. (Where one does, the small pages stay what they are: there are no others.)
            const UserAddr huge = a->end.down(kHugePageSize);
            if (huge.value < kHugePageSize || huge - kHugePageSize < a->start) return Errno::kInval;
        } else if ((advice == kMadvCold || advice == kMadvPageOut) && ((a->flags & kAreaLocked) || a->device())) {
            return Errno::kInval;
        }
        from = to;
        if (from >= end) break;
    }
    if (set | clear) s.merge_range(start, end, dead);
    if (cursor && !(last && end == piece)) *cursor = end;
    if (error != Errno::kOk) return error;
    return lib::kOk;
}

// Which pages of a file are in memory tells what others do with it (Linux: can_do_mincore).
static bool may_see_resident(const Area& a, const fs::Creds& asker) {
    if (!a.file) return true;
    fs::Inode& inode = *a.file->inode();
    return asker.fsuid == inode.peek_attributes().uid || asker.capable(fs::kCapFowner) ||
           fs::check_access(inode, fs::kMayWrite, asker).ok();
}

Leaf<void> AddressSpace::resident(UserAddr at, u64 length, std::span<u8> out, const fs::Creds& asker) {
    rt::LockGuard guard(lock_);
    State& s = state();
    std::memset(out.data(), 0, length >> lib::kPageShift);
    // Page `n` of the address space is out[n - first].
    const u64 first = at.value >> lib::kPageShift;
    for (UserAddr end = at + length; at < end;) {
        const Area* a = s.find(at);
        if (!a) return Errno::kNoMem;
        const UserAddr to = a->end < end ? a->end : end;
        const u64 from = at.value >> lib::kPageShift, until = to.value >> lib::kPageShift;
        if (a->special() || !may_see_resident(*a, asker)) {
            std::memset(&out[from - first], 1, until - from);
            at = to;
            continue;
        }
        if (!a->shared()) {
            s.anon.for_each_noted(from, until, [&](const AnonMap::Chunk& c, u64 mask) {
                for (; mask; mask &= mask - 1) out[c.first_page() + u64(std::countr_zero(mask)) - first] = 1;
            });
        }
        if (a->mapping) {
            const u64 index = a->index(at), past = index + (until - from);
            for (u64 i = index; (i = a->mapping->next_resident(i)) < past; ++i) out[from - first + (i - index)] = 1;
        }
        at = to;
    }
    return lib::kOk;
}

Leaf<void> AddressSpace::sync(UserAddr& at, UserAddr end, u32 flags, bool& hole) {
    for (u32 count = 0; at < end; ++count) {
        if (count == kLongAreas) return kNeedsTask;
        Ref<fs::File> file;  // synced without the lock
        rt::LockGuard guard(lock_);
        Area* a = state_->find_at_or_above(at);
        if (!a || a->start >= end) return Errno::kNoMem;
        hole |= a->start > at;
        if ((flags & kSyncInvalidate) && (a->flags & kAreaLocked)) return Errno::kBusy;
        if ((flags & kSyncNow) && a->shared()) file = a->file;
        at = a->end;
        guard.unlock();
        if (file) TRY(file->sync());
    }
    return hole ? Result<void>(Errno::kNoMem) : lib::kOk;
}

bool AddressSpace::count_locked(UserAddr& from, UserAddr end, u64& pages) {
    rt::LockGuard guard(lock_);
    u32 count = 0;
    for (Area* a = state_->find_at_or_above(from); a && a->start < end; a = state_->next(*a)) {
        if (++count > kLongAreas) return true;
        const UserAddr low = a->start > from ? a->start : from, high = a->end < end ? a->end : end;
        if (a->flags & kAreaLocked) pages += (high - low) >> lib::kPageShift;
        from = high;
    }
    return false;
}

Leaf<void> AddressSpace::change_locked(UserAddr at, u64 length, bool locked, const MemoryLimits& l, UserAddr* cursor,
                                       u64 locked_there) {
    length = (length + at.value % kPageSize + kPageSize - 1) & ~(kPageSize - 1);
    UserAddr start = at.down(kPageSize), end = start + length;
    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (!cursor && s.changing()) return kNeedsTask;
    if (!cursor || *cursor == start) {
        if (locked && (((s.locked_pages - locked_there) << lib::kPageShift) + length) > l.locked) return Errno::kNoMem;
        if (end < start) return Errno::kInval;
        if (end == start) return lib::kOk;
    } else {
        start = *cursor;
    }
    if (!cursor && s.many_areas_in(start, end)) return kNeedsTask;
    u32 count = 0;
    UserAddr from = start;
    for (Area* a = s.find(start); from < end; a = s.find(from)) {
        if (cursor && ++count > kLongAreas) break;
        if (!a) return Errno::kNoMem;
        UserAddr to = a->end < end ? a->end : end;
        if (((a->flags & kAreaLocked) != 0) != locked && !a->special()) {
            TRY(s.split_at(from));
            TRY(s.split_at(to));
            a = s.find(from);
            u64 pages = a->size() >> lib::kPageShift;
            s.account(*a, pages, false);
            a->flags = locked ? a->flags | kAreaLocked : a->flags & ~u32{kAreaLocked};
            s.account(*a, pages, true);
        }
        from = to;
    }
    if (cursor) *cursor = from;
    s.merge_range(start, from, dead);
    return lib::kOk;
}

Leaf<void> AddressSpace::change_all_locked(bool current, bool future, const MemoryLimits& l, UserAddr* cursor) {
    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (!cursor && (s.changing() || s.area_count > kLongAreas)) return kNeedsTask;
    const UserAddr start = cursor ? *cursor : UserAddr{0};
    if (start.value == 0) {
        if (current && s.total_pages << lib::kPageShift > l.locked) return Errno::kNoMem;
        s.future_flags = future ? u32{kAreaLocked} : 0;
    }
    UserAddr from{fs::kUserEnd};
    if (current || !future) {
        u32 count = 0;
        for (Area* a = s.find_at_or_above(start); a; a = s.next(*a)) {
            if (++count > kLongAreas) {
                from = a->start;
                break;
            }
            if (a->special() || ((a->flags & kAreaLocked) != 0) == current) continue;
            const u64 pages = a->size() >> lib::kPageShift;
            s.account(*a, pages, false);
            a->flags ^= kAreaLocked;
            s.account(*a, pages, true);
        }
        s.merge_range(start, from, dead);
    }
    if (cursor) *cursor = from;
    return lib::kOk;
}

// As it is at some moment: a single word.
bool AddressSpace::locks_future() const { return __atomic_load_n(&state_->future_flags, __ATOMIC_RELAXED) != 0; }

}  // namespace linux
