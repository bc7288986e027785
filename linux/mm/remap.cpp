// SPDX-License-Identifier: MIT
// mremap(2): shrinking, growing in place, moving. Checks and their order as in Linux (mm/mremap.c).
#include "linux/mm/state.hpp"

namespace linux {
namespace {

// Maps the anonymous pages of a moved range, so that they need not be faulted in one by one. Best effort: what cannot be
// mapped now will be.
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

Leaf<UserAddr> AddressSpace::change_remap(const RemapRequest& r, const MemoryLimits& l, bool task) {
    if (r.flags & ~(kRemapMayMove | kRemapFixed | kRemapDontUnmap)) return Errno::kInval;
    bool may_move = r.flags & kRemapMayMove, fixed = r.flags & kRemapFixed, keep = r.flags & kRemapDontUnmap;
    if (fixed && !may_move) return Errno::kInval;
    if (keep && (!may_move || r.old_length != r.new_length)) return Errno::kInval;
    if (!r.old.aligned(kPageSize)) return Errno::kInval;
    u64 old_length = (r.old_length + kPageSize - 1) & ~(kPageSize - 1);
    u64 new_length = (r.new_length + kPageSize - 1) & ~(kPageSize - 1);
    if (new_length == 0) return Errno::kInval;
    UserAddr old = r.old, to = r.new_at;
    // A range that does not end within user memory cannot be unmapped (do_munmap: EINVAL); its end may even wrap around.
    const bool old_inside = fs::UserMemory::inside(old, old_length);

    DeadAreas dead;
    rt::Owned<Area> fresh;
    rt::LockGuard guard(lock_);
    State& s = *state_;
    Area* a = s.find(old);
    if (!a) return Errno::kFault;
    if (fixed || keep) {
        if (!to.aligned(kPageSize)) return Errno::kInval;
        if (new_length > fs::kUserEnd || to.value > fs::kUserEnd - new_length) return Errno::kInval;
        if (old + old_length > to && to + new_length > old) return Errno::kInval;
        if (s.area_count + 2 >= kMaxAreas) return Errno::kNoMem;
    }
    // From here on something is unmapped or moved, unless it only grows in place.
    bool grows_only = !fixed && !keep && old_length < new_length;
    bool must_not_race = s.space.shared_now();
    auto long_work = [&] {
        return (old_inside && s.long_drop(old, old + old_length)) || (fixed && s.long_drop(to, to + new_length));
    };
    if (!task && !grows_only && (must_not_race || long_work())) return Errno::kNeedsTask;

    if (!fixed && !keep && old_length >= new_length) {
        if (old_length == new_length) return old;
        if (!old_inside) return Errno::kInval;
        TRY(s.split_at(old + new_length));
        TRY(s.split_at(old + old_length));
        s.remove_range(old + new_length, old + old_length, dead);
        return old;
    }
    if (fixed && s.overlaps(to, to + new_length)) {
        TRY(s.split_at(to));
        TRY(s.split_at(to + new_length));
        s.remove_range(to, to + new_length, dead);
        a = s.find(old);
        if (!a) return Errno::kFault;
    }
    if (fixed && old_length > new_length) {
        if (!old_inside) return Errno::kInval;
        TRY(s.split_at(old + new_length));
        TRY(s.split_at(old + old_length));
        s.remove_range(old + new_length, old + old_length, dead);
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
    if (!fixed && !keep && old_length && old + old_length == a->end && new_length <= fs::kUserEnd - old.value) {
        Area* n = s.next(*a);
        if (!n || State::guarded_start(*n) >= old + new_length) {
            s.account(*a, more, true);
            a->end = old + new_length;
            s.merge_with_next(*a, dead);
            return old;
        }
    }
    if (!may_move) return Errno::kNoMem;
    if (!task && (must_not_race || long_work())) return Errno::kNeedsTask;
    if (!fixed) {
        // The hint of MREMAP_DONTUNMAP is honoured only with MREMAP_FIXED, as on Linux.
        to = TRY(s.find_gap(keep ? to : UserAddr{0}, new_length));
    }
    if (s.area_count + 3 >= kMaxAreas) return Errno::kNoMem;
    // Everything that can fail.
    if (old_length) {
        TRY(s.split_at(old));
        TRY(s.split_at(old + old_length));
        a = s.find(old);
    }
    u64 first = old.value >> lib::kPageShift, end_page = first + (old_length >> lib::kPageShift);
    bool moves_pages = !a->shared() && old_length;
    if (moves_pages && !s.anon.reserve(first, end_page, to.value >> lib::kPageShift)) return Errno::kNoMem;
    fresh = rt::Owned<Area>(rt::make<Area>());
    if (!fresh) return Errno::kNoMem;

    // Point of no return.
    AreaSpec spec;
    spec.start = to;
    spec.end = to + new_length;
    spec.prot = a->prot;
    spec.flags = a->flags;
    spec.mapping = a->mapping;
    spec.file = a->file;
    if (a->mapping) spec.base = a->base + (to.value - old.value);
    if (old_length) {
        port::UserRange range{old, old + old_length};
        s.space.unmap({&range, 1});
    }
    if (moves_pages) s.anon.move(first, end_page, to.value >> lib::kPageShift);
    if (!keep && old_length) s.remove_range(old, old + old_length, dead);
    if (keep) a->flags &= ~u32{kAreaLocked};
    TRY(s.place(std::move(spec), dead, &fresh));
    if (moves_pages)
        if (const Area* moved = s.find(to))
            map_moved(s, *moved, to.value >> lib::kPageShift, (to.value + old_length) >> lib::kPageShift);
    return to;
}

}  // namespace linux
