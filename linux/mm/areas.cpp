// SPDX-License-Identifier: MIT
// Areas: finding free ranges, splitting, joining, taking out. Linux's rules of joining are visible in /proc/PID/maps
// and in the limit of 65530 areas, so they are followed. Everything runs under Rank::address_space.
#include <atomic>

#include "linux/mm/state.hpp"
#include "rt/teardown.hpp"

namespace linux {

void Area::unmap_pages(u64 first, u64 count) {
    // Under Rank::mapping only (see area.hpp): the ends are read once each.
    u64 low = std::atomic_ref(start.value).load(std::memory_order_relaxed);
    u64 high = std::atomic_ref(end.value).load(std::memory_order_relaxed);
    u64 first_here = (low - base) >> lib::kPageShift;
    u64 end_here = first_here + ((high - low) >> lib::kPageShift);
    u64 last = count > ~first ? ~u64{0} : first + count;
    if (high <= low || last <= first_here || first >= end_here) return;
    u64 from = first > first_here ? first : first_here;
    u64 to = last < end_here ? last : end_here;
    port::UserRange range{UserAddr{low + ((from - first_here) << lib::kPageShift)},
                          UserAddr{low + ((to - first_here) << lib::kPageShift)}};
    space->unmap({&range, 1});
}

Area::Pages Area::pages_now() const {
    // As above: under Rank::mapping only.
    u64 low = std::atomic_ref(const_cast<u64&>(start.value)).load(std::memory_order_relaxed);
    u64 high = std::atomic_ref(const_cast<u64&>(end.value)).load(std::memory_order_relaxed);
    u64 first = (low - base) >> lib::kPageShift;
    return {low, first, high > low ? first + ((high - low) >> lib::kPageShift) : first};
}

u64 Area::pages_among(u64 first, u64 last) const {
    const Pages here = pages_now();
    const u64 from = first > here.first ? first : here.first, to = last < here.end ? last + 1 : here.end;
    return from < to ? to - from : 0;
}

bool Area::unmap_some(u64& first, u64 last) {
    constexpr u64 kStep = u64{256} << 20;  // no table may be there, and that is found out entry by entry
    constexpr u32 kTables = 2;
    const Pages here = pages_now();
    const u64 stop = last < here.end ? last + 1 : here.end;
    if (first < here.first) first = here.first;
    for (rt::Stretch stretch; first < stop;) {
        const UserAddr from{here.low + ((first - here.first) << lib::kPageShift)};
        UserAddr to{here.low + ((stop - here.first) << lib::kPageShift)};
        if (to - from > kStep) to = from + kStep;
        const port::UserRange piece{from, space->end_of_tables(from, to, kTables)};
        space->unmap({&piece, 1});
        first += (piece.end - piece.start) >> lib::kPageShift;
        if (stretch.over()) break;
    }
    return first < stop;
}

// Under Rank::mapping, which comes after the address space's lock: that one is only tried. While the area is
// registered, its address space is there.
bool Area::drop_copies(u64 first) { return shared() || owner->drop_copies(*this, first); }

bool AddressSpace::drop_copies(const Area& a, u64 first) {
    if (!lock_.try_lock()) return false;
    constexpr u32 kChunksAtOnce = 4;
    const u64 low = a.index(a.start), end = a.end_page();
    u64 page = first < low + (end - a.first_page()) ? a.first_page() + (first > low ? first - low : 0) : end;
    for (u32 n = 0; page < end && n <= kChunksAtOnce; ++n) {
        page = state_->anon.next(page, end);
        if (page == end || n == kChunksAtOnce) break;
        const u64 chunk_end = (page / AnonMap::kChunkPages + 1) * AnonMap::kChunkPages,
                  to = chunk_end < end ? chunk_end : end;
        state_->zap(UserAddr{page << lib::kPageShift}, UserAddr{to << lib::kPageShift});
        page = to;
    }
    lock_.unlock();
    return page == end;
}

Leaf<UserAddr> AddressSpace::State::find_gap_low(UserAddr hint, u64 length) {
    constexpr UserAddr kBegin{u64{1} << 30}, kEnd{u64{1} << 31};  // find_start_end in arch/x86/kernel/sys_x86_64.c
    if (length > kEnd.value) return Errno::kNoMem;
    if (hint.value != 0 && hint <= kEnd - length) {
        Area* a = find_at_or_above(hint);
        if (!a || guarded_start(*a) >= hint + length) return hint;
    }
    scan_low.begin = kBegin;
    scan_low.limit = kEnd;
    return find_gap_up(scan_low, length);
}

Leaf<UserAddr> AddressSpace::State::find_gap_up(UpwardScan& scan, u64 length) {
    if (length <= scan.largest || scan.from < scan.begin) {
        scan.from = scan.begin;
        scan.largest = 0;
    }
    u32 looked_at = 0;
    for (Area* a = find_at_or_above(scan.from);; a = next(*a)) {
        UserAddr until = a ? guarded_start(*a) : scan.limit;
        if (until > scan.limit) until = scan.limit;
        if (until > scan.from) {
            const u64 room = until - scan.from;
            if (room >= length) return scan.from;
            if (room > scan.largest) scan.largest = room;
        }
        if (!a || a->end >= scan.limit) return Errno::kNoMem;
        scan.from = a->end;
        if (++looked_at == kLongSearch) return kNeedsTask;
    }
}

Leaf<UserAddr> AddressSpace::State::find_gap(UserAddr hint, u64 length) {
    if (length > fs::kUserEnd) return Errno::kNoMem;
    if (hint.value >= kMinAddress && hint.value <= fs::kUserEnd - length) {
        Area* above = find_at_or_above(hint);
        if (!above || guarded_start(*above) >= hint + length) return hint;
    }
    // Everything above scan_from is too small unless the length fits largest_above.
    if (length <= largest_above) {
        scan_from = mmap_base;
        largest_above = 0;
    }
    UserAddr top = scan_from;
    Area* below = top.value ? areas.floor(top - 1) : nullptr;
    Area* above = below ? next(*below) : areas.first();
    if (above && guarded_start(*above) < top) top = guarded_start(*above);
    for (u32 looked_at = 0;; ++looked_at) {
        UserAddr bottom = below ? below->end : UserAddr{kMinAddress};
        u64 room = top > bottom ? top - bottom : 0;
        if (room >= length) {
            scan_from = top;
            return top - length;
        }
        if (room > largest_above) largest_above = room;
        if (!below) break;
        top = guarded_start(*below);
        below = prev(*below);
        if (looked_at < kLongSearch) continue;
        scan_from = top;
        return kNeedsTask;
    }
    scan_from = UserAddr{0};
    // Nothing below mmap_base: bottom-up above it, as Linux falls back.
    scan_high.begin = mmap_base;
    scan_high.limit = UserAddr{fs::kUserEnd};
    return find_gap_up(scan_high, length);
}

void AddressSpace::State::gap_opened(UserAddr start, UserAddr end) {
    if (start < scan_low.from) scan_low.from = {};
    if (start < scan_high.from && end > scan_high.begin) scan_high.from = {};
    if (end <= scan_from) return;
    // The free range that `start` and `end` are now part of begins above or across the point where the search starts.
    Area* above = areas.upper_bound(start);
    UserAddr top = above ? guarded_start(*above) : mmap_base;
    if (top > mmap_base) top = mmap_base;
    if (top > scan_from) scan_from = top;
}

Area* AddressSpace::State::clone(const Area& a, State& in) {
    Area* copy = rt::make<Area>();
    if (!copy) return nullptr;
    copy->start = a.start;
    copy->end = a.end;
    copy->base = a.base;
    copy->prot = a.prot;
    copy->flags = a.flags;
    copy->mapping = a.mapping;
    copy->file = a.file;
    copy->space = &in.space;
    copy->owner = &in.owner;
    return copy;
}

Result<void> AddressSpace::State::split_at(UserAddr at) {
    Area* a = find(at);
    if (!a || a->start == at) return lib::kOk;
    if (a->special()) return Errno::kInval;
    if (area_count >= kMaxAreas) return Errno::kNoMem;
    Area* upper = clone(*a, *this);
    if (!upper) return Errno::kNoMem;
    upper->start = at;
    if (a->flags & kAreaGrowsDown) upper->flags = a->flags;  // Linux keeps VM_GROWSDOWN on both
    // Both are registered for a moment: a concurrent unmap of pages of the file finds each page in at least one of
    // them.
    insert(*upper, a);
    a->end = at;
    return lib::kOk;
}

Result<void> AddressSpace::State::place(AreaSpec&& spec, DeadAreas& dead, rt::Owned<Area>* spare) {
    Area* below = areas.floor(spec.start);
    auto fits = [&](const Area& a) {
        return a.prot == spec.prot && a.flags == spec.flags && a.base == spec.base && a.mapping == spec.mapping &&
               a.file == spec.file;
    };
    u64 pages = (spec.end - spec.start) >> lib::kPageShift;
    if (below && below->end == spec.start && fits(*below)) {
        account(*below, pages, true);
        below->end = spec.end;
        merge_with_next(*below, dead);
        return lib::kOk;
    }
    Area* above = below ? next(*below) : areas.first();
    if (above && above->start == spec.end && fits(*above)) {
        account(*above, pages, true);
        above->start = spec.start;  // the order in the tree stays
        return lib::kOk;
    }
    Area* a = spare ? spare->release() : nullptr;
    if (!a) {
        if (area_count > kMaxAreas) return Errno::kNoMem;  // a new one may be one too many (do_mmap)
        a = rt::make<Area>();
        if (!a) return Errno::kNoMem;
    }
    a->start = spec.start;
    a->end = spec.end;
    a->base = spec.base;
    a->prot = spec.prot;
    a->flags = spec.flags;
    a->mapping = std::move(spec.mapping);
    a->file = std::move(spec.file);
    a->space = &space;
    a->owner = &owner;
    account(*a, pages, true);
    insert(*a);
    return lib::kOk;
}

void AddressSpace::State::merge_with_next(Area& a, DeadAreas& dead) {
    Area* n = next(a);
    if (!n || n->start != a.end || !alike(a, *n)) return;
    a.end = n->end;  // both are registered for a moment: unmapping twice is harmless
    take_out(*n, dead, &a);
}

void AddressSpace::State::merge_range(UserAddr start, UserAddr end, DeadAreas& dead) {
    Area* a = start.value ? areas.floor(start - 1) : nullptr;
    if (!a) a = areas.first();
    while (a && a->end <= end) {  // an area that ended after the range has no border in it
        Area* n = next(*a);
        if (!n) return;
        if (n->start != a->end || !alike(*a, *n)) {
            a = n;
            continue;
        }
        a->end = n->end;  // as in merge_with_next()
        take_out(*n, dead, a);
    }
}

void AddressSpace::State::zap(UserAddr start, UserAddr end) {
    port::UserRange range{start, end};
    space.unmap({&range, 1});
    anon.drop(start.value >> lib::kPageShift, end.value >> lib::kPageShift);
}

void AddressSpace::State::remove_range(UserAddr start, UserAddr end, DeadAreas& dead) {
    Area* a = find_at_or_above(start);
    if (!a || a->start >= end) return;
    zap(start, end);
    while (a && a->start < end) {
        Area* n = next(*a);
        account(*a, a->size() >> lib::kPageShift, false);
        take_out(*a, dead);
        a = n;
    }
    gap_opened(start, end);
    if (start < tables_kept.start || end > tables_kept.end) areas_gone(start, end);
}

// Tables that cover a bit of an area, or of tables_kept, stay; of what lies between two of those all others go, the
// upper levels too. Every table has an area over it or lies in tables_kept: one that is freed holds no other one.
void AddressSpace::State::free_tables(UserAddr start, UserAddr end) {
    Area* above = find_at_or_above(start);
    Area* below = above ? prev(*above) : areas.last();
    UserAddr floor = below ? below->end : UserAddr{0}, ceiling = above ? above->start : UserAddr{fs::kUserEnd};
    if (tables_kept.end <= start && tables_kept.end > floor) floor = tables_kept.end;
    if (tables_kept.start >= end && tables_kept.start < ceiling && tables_kept.end > tables_kept.start)
        ceiling = tables_kept.start;
    if (start < floor) start = floor;
    if (end > ceiling) end = ceiling;
    if (start < end) space.free_tables({start, end}, floor, ceiling);
}

void AddressSpace::State::areas_gone(UserAddr start, UserAddr end) {
    constexpr u64 kSpan = port::Space::kTableBytes;
    const port::UserRange whole{start.down(kSpan), end.up(kSpan)};
    const port::UserRange earlier = std::exchange(tables_kept, whole);
    // Areas may be there by now: table by table.
    for (UserAddr at = earlier.start; at < earlier.end; at += kSpan) {
        if (at >= whole.start && at < whole.end) continue;
        if (!overlaps(at, at + kSpan)) free_tables(at, at + kSpan);
    }
    if (whole.end - whole.start <= kTablesKept * kSpan) return;
    tables_kept = {};
    free_tables(start, end);
}

UserAddr AddressSpace::State::piece_end(UserAddr start, UserAddr asked) {
    // Behind the last address of a program there is nothing, however far the caller's length reaches.
    const UserAddr last{fs::kUserEnd};
    UserAddr end = asked < last ? asked : last;
    if (start >= end) return asked;
    u32 count = 0;
    for (Area* a = find_at_or_above(start); a && a->start < end; a = next(*a)) {
        if (++count > kLongAreas) {
            end = a->start;
            break;
        }
    }
    if (end - start > kLongWork * kPageSize)
        end = UserAddr{anon.end_of(start.value >> lib::kPageShift, end.value >> lib::kPageShift, kLongWork)
                       << lib::kPageShift};
    if (end - start > kLongTables * kPageSize)
        end = space.end_of_tables(start, end, kLongTables * kPageSize / port::Space::kTableBytes);
    return end == last ? asked : end;
}

// What is mapped from files is an estimate, by the first kCountedAreas: inspecting a program must not take long.
constexpr u32 kCountedAreas = 2048;
u64 AddressSpace::State::resident_pages() {
    if (area_count > kCountedAreas) [[unlikely]]
        return resident_pages_of_some();
    u64 n = anon.size();
    for (Area& a : areas) {
        if (!a.mapping) continue;
        u64 cached = a.mapping->page_count(), own = a.size() >> lib::kPageShift;
        n += cached < own ? cached : own;
    }
    return n;
}
[[gnu::cold, gnu::noinline]] u64 AddressSpace::State::resident_pages_of_some() {
    u64 n = anon.size();
    Area* a = areas.first();
    for (u32 left = kCountedAreas; left > 0; --left, a = areas.next(*a)) {
        if (!a->mapping) continue;
        u64 cached = a->mapping->page_count(), own = a->size() >> lib::kPageShift;
        n += cached < own ? cached : own;
    }
    return n;
}

}  // namespace linux
