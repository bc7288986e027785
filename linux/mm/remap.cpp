// SPDX-License-Identifier: MIT
// mremap(2): shrinking, growing in place, moving. Checks and their order as in Linux (mm/mremap.c). What is long is
// done in pieces: faults on pages that are being moved wait until the change is over.
#include "linux/mm/state.hpp"
#include "rt/wait.hpp"

namespace linux {

// What mremap has yet to do in pieces.
struct AddressSpace::Move {
    port::UserRange drop{};     // a long range that goes, its ends are borders
    port::UserRange dropped{};  // the previous one, of which at most a short rest is left, or what could not be split
    UserAddr old{}, to{};       // pages from `old` on, `length` bytes, are being moved to `to`
    u64 length = 0, new_length = 0;
    UserAddr reserved{};  // there is room for what lies below
    UserAddr moved{};     // up to here
    UserAddr mapped{};
    u32 prot = 0;  // of the area
    bool keep = false, pages = false;
    bool searches = false;  // the search for a place is long: called again to continue
    rt::Owned<Area> fresh{};
};

namespace {

// Maps the anonymous pages of a moved range, so that they need not be faulted in one by one. Best effort: what cannot
// be mapped now will be.
void map_moved(AddressSpace::State& s, const Area& a, u64 first, u64 end) {
    constexpr u32 kBatch = 32;
    port::MapEntry entries[kBatch];
    u32 n = 0;
    port::Prot shared = a.rights(false), own = a.rights(true);
    s.anon.for_each(first, end, [&](AnonMap::Chunk& c, u64 mask) {
        for (; mask; mask &= mask - 1) {
            u64 slot = u64(std::countr_zero(mask));
            entries[n++] = {UserAddr{(c.first_page() + slot) << lib::kPageShift}, c.frame_at(slot),
                            c.page_at(slot).shared() ? shared : own};
            if (n < kBatch) continue;
            (void)s.space.map({entries, n});
            n = 0;
        }
    });
    if (n) (void)s.space.map({entries, n});
}

}  // namespace

Leaf<UserAddr> AddressSpace::change_remap(const RemapRequest& r, const MemoryLimits& l, Move* move) {
    if (r.flags & ~(kRemapMayMove | kRemapFixed | kRemapDontUnmap)) return Errno::kInval;
    bool may_move = r.flags & kRemapMayMove, fixed = r.flags & kRemapFixed, keep = r.flags & kRemapDontUnmap;
    if (fixed && !may_move) return Errno::kInval;
    if (keep && (!may_move || r.old_length != r.new_length)) return Errno::kInval;
    if (!r.old.aligned(kPageSize)) return Errno::kInval;
    u64 old_length = (r.old_length + kPageSize - 1) & ~(kPageSize - 1);
    u64 new_length = (r.new_length + kPageSize - 1) & ~(kPageSize - 1);
    if (new_length == 0) return Errno::kInval;
    UserAddr old = r.old, to = r.new_at;
    // A range that does not end within user memory cannot be unmapped (do_munmap: EINVAL); its end may even wrap
    // around.
    const bool old_inside = fs::UserMemory::inside(old, old_length);

    DeadAreas dead;
    rt::Owned<Area> fresh;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (!move && s.changing()) return kNeedsTask;
    Area* a = s.find(old);
    if (!a) return Errno::kFault;
    if (fixed || keep) {
        if (!to.aligned(kPageSize)) return Errno::kInval;
        if (new_length > fs::kUserEnd || to.value > fs::kUserEnd - new_length) return Errno::kInval;
        if (old + old_length > to && to + new_length > old) return Errno::kInval;
        if (s.area_count + 5 >= kMaxAreas) return Errno::kNoMem;
    }
    // From here on something is unmapped or moved, unless it only grows in place.
    bool grows_only = !fixed && !keep && old_length < new_length;
    bool must_not_race = s.space.shared_now();
    auto long_work = [&] {
        return (old_inside && s.is_long(old, old + old_length)) || (fixed && s.is_long(to, to + new_length));
    };
    // Drops a range, unless that is long: then the caller does most of it in pieces, and comes back.
    auto drop = [&](UserAddr from, UserAddr end) -> Leaf<void> {
        TRY(s.split_at(from));
        TRY(s.split_at(end));
        if (move && (from != move->dropped.start || end != move->dropped.end) && s.is_long(from, end)) {
            move->drop = {from, end};
            return kNeedsTask;
        }
        s.remove_range(from, end, dead);
        return lib::kOk;
    };
    if (!move && !grows_only && (must_not_race || long_work())) return kNeedsTask;

    if (!fixed && !keep && old_length >= new_length) {
        if (old_length == new_length) return old;
        if (!old_inside) return Errno::kInval;
        TRY(drop(old + new_length, old + old_length));
        return old;
    }
    if (fixed && s.overlaps(to, to + new_length)) {
        TRY(drop(to, to + new_length));
        a = s.find(old);
        if (!a) return Errno::kFault;
    }
    if (fixed && old_length > new_length) {
        if (!old_inside) return Errno::kInval;
        TRY(drop(old + new_length, old + old_length));
        old_length = new_length;
        a = s.find(old);
    }
    // Linux: vma_to_resize.
    if (old_length == 0 && !a->shared()) return Errno::kInval;
    if (keep && a->special()) return Errno::kInval;
    if (old_length > a->end - old) return Errno::kFault;
    u64 more = new_length > old_length ? (new_length - old_length) >> lib::kPageShift : 0;
    if (more) {
        if (a->special()) return Errno::kFault;
        if (a->mapping && (a->index(old) + (new_length >> lib::kPageShift)) > u64{1} << 52) return Errno::kInval;
        if ((a->flags & kAreaLocked) && (s.locked_pages + more) << lib::kPageShift > l.locked) return Errno::kAgain;
        if (over_limits(s.total_pages, s.data_pages, more, a->is_data(), l)) return Errno::kNoMem;
        if (a->is_data() && !(a->flags & kAreaNoReserve) && exceeds_memory(more)) return Errno::kNoMem;
    }
    // Both places count (MREMAP_DONTUNMAP).
    if (keep && over_limits(s.total_pages, s.data_pages, old_length >> lib::kPageShift, a->is_data(), l))
        return Errno::kNoMem;
    if (!fixed && !keep && old_length && old + old_length == a->end && new_length <= fs::kUserEnd - old.value) {
        Area* n = s.next(*a);
        if (!n || n->start >= old + new_length) {  // up to the very start of a stack, too (vma_expandable)
            s.account(*a, more, true);
            a->end = old + new_length;
            s.merge_with_next(*a, dead);
            return old;
        }
    }
    if (!may_move) return Errno::kNoMem;
    if (!move && (must_not_race || long_work())) return kNeedsTask;
    if (!fixed) {
        if (keep && to.value != 0 && to.value < kMinAddress && !r.may_map_low) return Errno::kPerm;
        auto room = s.find_gap(keep ? to : UserAddr{0}, new_length);
        if (move) move->searches = room.error() == kNeedsTask;
        to = TRY(room);
    }
    // What lay there is gone by then, as on Linux (mremap_to).
    if (to.value < kMinAddress && !r.may_map_low) return Errno::kPerm;
    if (s.area_count + 3 >= kMaxAreas) return Errno::kNoMem;
    // Everything that can fail.
    if (old_length) {
        TRY(s.split_at(old));
        TRY(s.split_at(old + old_length));
        a = s.find(old);
    }
    u64 first = old.value >> lib::kPageShift, end_page = first + (old_length >> lib::kPageShift);
    bool moves_pages = !a->shared() && old_length;
    fresh = rt::Owned<Area>(rt::make<Area>());
    if (!fresh) return Errno::kNoMem;
    const bool in_pieces = move && moves_pages && s.is_long(old, old + old_length);
    if (moves_pages && !in_pieces && !s.anon.reserve(first, end_page, to.value >> lib::kPageShift))
        return Errno::kNoMem;

    // Point of no return; not yet so if it is done in pieces.
    Move m{.old = old,
           .to = to,
           .length = old_length,
           .new_length = new_length,
           .reserved = old,
           .moved = old,
           .mapped = to,
           .prot = a->prot,
           .keep = keep,
           .pages = moves_pages,
           .fresh = std::move(fresh)};
    if (in_pieces) {
        a->flags |= kAreaMoving;
        a->prot = 0;
        s.anon.keep(to.value >> lib::kPageShift, (to.value + old_length) >> lib::kPageShift);
        *move = std::move(m);
        return kNeedsTask;
    }
    if (old_length) {
        port::UserRange range{old, old + old_length};
        s.space.unmap({&range, 1});
    }
    if (moves_pages) s.anon.move(first, end_page, to.value >> lib::kPageShift);
    finish_move_locked(m, dead);
    if (moves_pages)
        if (const Area* moved = s.find(to))
            map_moved(s, *moved, to.value >> lib::kPageShift, (to.value + old_length) >> lib::kPageShift);
    return to;
}

// The areas, when the pages have moved.
void AddressSpace::finish_move_locked(Move& m, DeadAreas& dead) {
    State& s = state();
    s.anon.keep(0, 0);
    Area* a = s.find(m.old);
    AreaSpec spec;
    spec.start = m.to;
    spec.end = m.to + m.new_length;
    spec.prot = m.prot;
    spec.flags = a->flags & ~u32{kAreaMoving};
    spec.mapping = a->mapping;
    spec.file = a->file;
    if (a->mapping) spec.base = a->base + (m.to.value - m.old.value);
    a->prot = m.prot;
    a->flags = spec.flags;
    if (!m.keep && m.length) s.remove_range(m.old, m.old + m.length, dead);
    if (m.keep) {
        const u64 pages = a->size() >> lib::kPageShift;
        s.account(*a, pages, false);
        a->flags &= ~u32{kAreaLocked};
        s.account(*a, pages, true);
    }
    (void)s.place(std::move(spec), dead, &m.fresh);  // cannot fail: it has a spare one
}

// Makes room for a piece at its new place: until it is moved, pages change only by truncation.
bool AddressSpace::reserve_some(Move& m, bool& no_memory) {
    rt::LockGuard guard(lock_);
    State& s = state();
    const UserAddr end = m.old + m.length, from = m.reserved;
    if (from >= end) return false;
    m.reserved = s.piece_end(from, end);
    no_memory = !s.anon.reserve(from.value >> lib::kPageShift, m.reserved.value >> lib::kPageShift,
                                (m.to.value + (from - m.old)) >> lib::kPageShift);
    return !no_memory && m.reserved < end;
}

// Nothing moves: the room is given back from the end, and the area is as it was.
bool AddressSpace::give_back_some(Move& m) {
    constexpr u64 kAtOnce = 64 * kLongWork * kPageSize;
    rt::LockGuard guard(lock_);
    State& s = state();
    s.anon.keep(0, 0);
    const UserAddr from = m.reserved - m.old > kAtOnce ? m.reserved - kAtOnce : m.old;
    s.anon.drop((m.to.value + (from - m.old)) >> lib::kPageShift,
                (m.to.value + (m.reserved - m.old)) >> lib::kPageShift);
    m.reserved = from;
    if (from > m.old) return true;
    Area* a = s.find(m.old);
    a->prot = m.prot;
    a->flags &= ~u32{kAreaMoving};
    return false;
}

bool AddressSpace::move_some(Move& m) {
    rt::LockGuard guard(lock_);
    State& s = state();
    const UserAddr end = m.old + m.length, from = m.moved;
    if (from >= end) return false;
    const UserAddr to = s.piece_end(from, end);
    const u64 first = from.value >> lib::kPageShift, last = to.value >> lib::kPageShift;
    const u64 target = (m.to.value + (from - m.old)) >> lib::kPageShift;
    port::UserRange range{from, to};
    s.space.unmap({&range, 1});
    s.anon.move(first, last, target);
    m.moved = to;
    if (m.keep) return to < end;
    // Nothing is left below: no fault fills it while the area is on its way.
    const Area* below = s.prev(*s.find(m.old));
    UserAddr floor = below ? below->end : UserAddr{0};
    if (s.tables_kept.end > floor && s.tables_kept.end <= from) floor = s.tables_kept.end;
    s.space.free_tables(range, floor < from ? floor : from, to);
    return to < end;
}

bool AddressSpace::map_some(Move& m) {
    rt::LockGuard guard(lock_);
    State& s = state();
    const Area* a = s.find(m.to);
    const UserAddr end = m.to + m.length, from = m.mapped;
    if (!a || from >= end) return false;
    m.mapped = s.piece_end(from, end);
    map_moved(s, *a, from.value >> lib::kPageShift, m.mapped.value >> lib::kPageShift);
    return m.mapped < end;
}

Task<Result<UserAddr>> AddressSpace::remap_task(RemapRequest r, MemoryLimits l) {
    MM_CHANGE(*this);
    for (port::UserRange dropped{};;) {
        Move m{.dropped = dropped};
        auto done = change_remap(r, l, &m);
        if (done.error() != kNeedsTask) {
            MM_SETTLE(*space_);
            co_return done.ended();
        }
        if (m.searches) {
            co_await rt::Yield{};
            continue;
        }
        if (m.drop.end > m.drop.start) {
            for (UserAddr cursor = m.drop.start; remove_some(cursor, m.drop.end);) co_await rt::Yield{};
            dropped = m.drop;
            continue;
        }
        bool no_memory = false;
        while (reserve_some(m, no_memory)) co_await rt::Yield{};
        if (no_memory) {
            while (give_back_some(m)) co_await rt::Yield{};
            co_return Errno::kNoMem;
        }
        while (move_some(m)) co_await rt::Yield{};
        {
            DeadAreas dead;
            rt::LockGuard guard(lock_);
            finish_move_locked(m, dead);
        }
        MM_SETTLE(*space_);
        while (map_some(m)) co_await rt::Yield{};
        co_return m.to;
    }
}

}  // namespace linux
