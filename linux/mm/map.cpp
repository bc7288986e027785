// SPDX-License-Identifier: MIT
// mmap, munmap and brk, with the checks and their order as Linux has them (mm/mmap.c: do_mmap, mmap_region, do_munmap,
// brk).
#include "linux/mm/state.hpp"
#include "rt/mem/pages.hpp"

namespace linux {
namespace {

constexpr u32 kLegacyFlags = kMapShared | kMapPrivate | kMapFixed | kMapAnonymous | kMap32Bit | kMapGrowsDown |
                             kMapDenyWrite | kMapExecutable | kMapLocked | kMapNoReserve | kMapPopulate | kMapNonBlock |
                             kMapStack | kMapHugeTlb | kMapHugeSizes;

// The object of a mapping, looked up before the lock is taken.
struct Backing {
    Ref<fs::Mapping> mapping;
    u32 may = kAreaMayAll;
    bool shared = false;
    LeafError error = Errno::kOk;  // reported after the checks of address and length
};

Backing file_backing(const AddressSpace::MapRequest& r) {
    Backing b;
    fs::File& f = *r.file;
    u32 type = r.flags & kMapType;
    if (r.offset > (~u64{0} >> 1) - ((r.length + kPageSize - 1) & ~(kPageSize - 1))) {
        b.error = Errno::kOverflow;  // offsets are signed (file_mmap_ok)
        return b;
    }
    if (type == kMapSharedValidate && (r.flags & ~(kLegacyFlags | kMapSharedValidate))) {
        b.error = Errno::kOpNotSupp;
    } else if (type == kMapShared || type == kMapSharedValidate) {
        if ((r.prot & kProtWrite) && !f.writable()) {
            b.error = Errno::kAcces;
        } else {
            // Without write access it cannot become writable, and is no different from a private one but for its name.
            b.shared = true;
            if (!f.writable()) b.may &= ~kAreaMayWrite;
        }
    } else if (type != kMapPrivate) {
        b.error = Errno::kInval;
    }
    if (b.error != Errno::kOk) return b;
    if (!f.readable()) {
        b.error = Errno::kAcces;
        return b;
    }
    if (f.path().mount && (f.path().mount->flags.load(std::memory_order_relaxed) & fs::kMountNoExec)) {
        if (r.prot & kProtExec) {
            b.error = Errno::kPerm;
            return b;
        }
        b.may &= ~u32{kAreaMayExec};
    }
    auto source = f.map_source();
    if (!source.ok()) {
        b.error = source.error();
        return b;
    }
    if (r.flags & kMapGrowsDown) b.error = Errno::kInval;
    if (!source.value().anonymous) b.mapping = std::move(source.value().mapping);
    return b;
}

Backing anonymous_backing(const AddressSpace::MapRequest& r) {
    Backing b;
    switch (r.flags & kMapType) {
        case kMapShared:
            b.shared = true;
            if (r.flags & kMapGrowsDown) b.error = Errno::kInval;
            break;
        case kMapPrivate: break;
        default: b.error = Errno::kInval;
    }
    return b;
}

}  // namespace

// Overcommit as Linux's mode 0: only what can never be there is refused (Documentation/mm/overcommit-accounting.rst).
bool exceeds_memory(u64 pages) { return pages > 4096 && pages > rt::mem_stats().total_bytes >> lib::kPageShift; }

bool over_limits(u64 total_pages, u64 data_pages, u64 more, bool data, const MemoryLimits& l) {
    if (total_pages + more > l.address >> lib::kPageShift) return true;
    return data && data_pages + more > l.data >> lib::kPageShift;
}

Leaf<UserAddr> AddressSpace::change_map(const MapRequest& r, const MemoryLimits& l, Step step) {
    if (r.length == 0) return Errno::kInval;
    bool fixed = (r.flags & (kMapFixed | kMapFixedNoReplace)) != 0;
    u64 length = (r.length + kPageSize - 1) & ~(kPageSize - 1);
    if (length == 0) return Errno::kNoMem;
    if ((r.offset >> lib::kPageShift) + (length >> lib::kPageShift) > u64{1} << 52) return Errno::kOverflow;
    if (length > fs::kUserEnd) return Errno::kNoMem;
    UserAddr at = r.hint;
    if (fixed) {
        if (at.value > fs::kUserEnd - length) return Errno::kNoMem;
        if (!at.aligned(kPageSize)) return Errno::kInval;
        if (at.value < kMinAddress && !r.may_map_low) return Errno::kPerm;
    } else {
        at = at.down(kPageSize);
        if (at.value != 0 && at.value < kMinAddress) at = UserAddr{kMinAddress};
    }
    bool anonymous_object = false;
    Backing backing = r.file ? file_backing(r) : anonymous_backing(r);
    if (backing.error == Errno::kOk && backing.shared && !backing.mapping) {
        if (r.object) {
            backing.mapping = Ref<fs::Mapping>{r.object};
        } else {
            // Shared anonymous memory is an object of its own. Linux: shmem_zero_setup.
            if (!(r.flags & kMapNoReserve) && exceeds_memory(length >> lib::kPageShift)) return Errno::kNoMem;
            backing.mapping = TRY(rt::make_ref<fs::Mapping>());
            backing.mapping->size.store(length, std::memory_order_relaxed);
            anonymous_object = true;
        }
    }

    AreaSpec spec;
    spec.prot = r.prot & (kProtRead | kProtWrite | kProtExec);
    spec.flags = backing.may | (backing.shared ? u32{kAreaShared} : 0) |
                 (r.flags & kMapGrowsDown ? u32{kAreaGrowsDown} : 0) |
                 (r.flags & kMapNoReserve ? u32{kAreaNoReserve} : 0) | (r.flags & kMapLocked ? u32{kAreaLocked} : 0);

    DeadAreas dead;
    rt::Owned<Area> spare;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (step == Step::kLeaf && s.changing()) return kNeedsTask;
    spec.flags |= s.future_flags;
    if (s.area_count > kMaxAreas) return Errno::kNoMem;
    u64 pages = length >> lib::kPageShift, replaced = 0;
    bool occupied = false;
    if (!fixed) {
        at = TRY((r.flags & kMap32Bit) ? s.find_gap_low(at, length) : s.find_gap(at, length));
    } else if (s.overlaps(at, at + length)) {
        if (r.flags & kMapFixedNoReplace) return Errno::kExist;
        occupied = true;
    }
    UserAddr end = at + length;
    if ((spec.flags & kAreaLocked) && ((s.locked_pages + pages) << lib::kPageShift) > l.locked)
        return l.locked == 0 && (r.flags & kMapLocked) ? Errno::kPerm : Errno::kAgain;
    if (backing.error != Errno::kOk) return backing.error;
    bool data = !backing.shared && (r.prot & kProtWrite) && !(r.flags & kMapGrowsDown);
    if (occupied)
        for (Area* a = s.find_at_or_above(at); a && a->start < end; a = s.next(*a)) {
            UserAddr low = a->start > at ? a->start : at, high = a->end < end ? a->end : end;
            replaced += (high - low) >> lib::kPageShift;
        }
    if (over_limits(s.total_pages - replaced, s.data_pages, pages, data, l)) return Errno::kNoMem;
    if (data && !(r.flags & kMapNoReserve) && exceeds_memory(pages)) return Errno::kNoMem;
    if (occupied) {
        if (step == Step::kLeaf && (s.space.shared_now() || s.is_long(at, end))) return kNeedsTask;
        spare = rt::Owned<Area>(rt::make<Area>());
        if (!spare) return Errno::kNoMem;
        // Whatever the reason (mmap_region).
        if (!s.split_at(at).ok() || !s.split_at(end).ok()) return Errno::kNoMem;
        if (step == Step::kPrepare && s.is_long(at, end)) return kNeedsTask;
    }
    spec.start = at;
    spec.end = end;
    if (backing.mapping) {
        spec.mapping = std::move(backing.mapping);
        spec.base = anonymous_object ? at.value : at.value - r.offset;
        spec.file = r.file;
    }
    if (occupied) s.remove_range(at, end, dead);
    TRY(s.place(std::move(spec), dead, &spare));
    return at;
}

Leaf<void> AddressSpace::find_shared(MapRequest& request, Ref<fs::Mapping>& object, UserAddr& at) {
    constexpr u32 kSame =
        kAreaShared | kAreaGrowsDown | kAreaLocked | kAreaDontFork | kAreaDontDump | kAreaNoReserve | kAreaMayAll;
    const UserAddr end = request.hint + request.length;
    rt::LockGuard guard(lock_);
    const Area* first = state_->find(request.hint);
    if (!first || !first->shared()) return Errno::kInval;
    for (u32 count = 0; at < end; ++count) {
        if (count == kLongAreas) return kNeedsTask;
        const Area* a = state_->find(at);
        if (!a || a->mapping != first->mapping || a->file != first->file) return Errno::kInval;
        if (a->prot != first->prot || (a->flags & kSame) != (first->flags & kSame)) return Errno::kInval;
        at = a->end;
    }
    request.file = first->file;
    if (!first->file) {
        object = first->mapping;
        request.object = object.get();
    }
    request.prot = first->prot;
    if (first->flags & kAreaLocked) request.flags |= kMapLocked;
    return lib::kOk;
}

Leaf<void> AddressSpace::change_unmap(UserAddr at, u64 length, Step step) {
    if (!at.aligned(kPageSize) || at.value > fs::kUserEnd || length > fs::kUserEnd - at.value) return Errno::kInval;
    length = (length + kPageSize - 1) & ~(kPageSize - 1);
    if (length == 0) return Errno::kInval;
    UserAddr end = at + length;
    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (step == Step::kLeaf && s.changing()) return kNeedsTask;
    const Area* first = s.find_at_or_above(at);
    if (!first || first->start >= end) return lib::kOk;
    if (step == Step::kLeaf && (s.space.shared_now() || s.is_long(at, end))) return kNeedsTask;
    if (first->start != at || first->end != end) {  // most calls unmap a whole area
        TRY(s.split_at(at));
        TRY(s.split_at(end));
    }
    if (step == Step::kPrepare && s.is_long(at, end)) return kNeedsTask;
    s.remove_range(at, end, dead);
    return lib::kOk;
}

Leaf<UserAddr> AddressSpace::change_break(UserAddr to, const MemoryLimits& l, Step step) {
    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    if (step == Step::kLeaf && s.changing()) return kNeedsTask;
    UserAddr now = s.break_end;
    if (to < layout.break_start || to.value > fs::kUserEnd) return now;
    u64 data = layout.data_end - layout.data_start;
    if (l.data != ~u64{0} && (to - layout.break_start) + data > l.data) return now;
    UserAddr old_end = now.up(kPageSize), new_end = to.up(kPageSize);
    if (new_end == old_end) return s.break_end = to;
    if (new_end < old_end) {
        if (step == Step::kLeaf && (s.space.shared_now() || s.is_long(new_end, old_end))) return kNeedsTask;
        if (!s.split_at(new_end).ok() || !s.split_at(old_end).ok()) return now;
        if (step == Step::kPrepare && s.is_long(new_end, old_end)) return kNeedsTask;
        s.remove_range(new_end, old_end, dead);
        return s.break_end = to;
    }
    if (s.area_count > kMaxAreas) return now;
    Area* above = s.find_at_or_above(old_end);
    if (above && new_end + kPageSize > State::guarded_start(*above)) return now;
    u64 pages = (new_end - old_end) >> lib::kPageShift;
    if (over_limits(s.total_pages, s.data_pages, pages, true, l) || exceeds_memory(pages)) return now;
    if ((s.future_flags & kAreaLocked) && ((s.locked_pages + pages) << lib::kPageShift) > l.locked) return now;
    AreaSpec spec;
    spec.start = old_end;
    spec.end = new_end;
    spec.prot = kProtRead | kProtWrite;
    spec.flags = kAreaMayAll | s.future_flags;
    if (!s.place(std::move(spec), dead).ok()) return now;
    return s.break_end = to;
}

UserAddr AddressSpace::program_break() {
    rt::LockGuard guard(lock_);
    return state().break_end;
}

bool AddressSpace::remove_some(UserAddr& cursor, UserAddr end) {
    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    Area* first = s.find_at_or_above(cursor);
    if (!first || first->start >= end) return false;
    if (first->start > cursor) cursor = first->start;
    const UserAddr to = s.piece_end(cursor, end);
    if (to >= end) return false;
    if (s.split_at(to).ok())
        s.remove_range(cursor, to, dead);
    else
        s.zap(cursor, to);  // no memory for a border, or the area stays whole: it goes with the rest
    cursor = to;
    return true;
}

}  // namespace linux
