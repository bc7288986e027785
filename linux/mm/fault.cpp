// SPDX-License-Identifier: MIT
// Page faults: what a missing or protected page is to become.
//
// A private page is changed in place only while its slot in the AnonMap holds the only reference; else the writer gets
// a copy. When another CPU may still translate to what a private page was before (a copy has just replaced it, a fork
// has just protected it), no thread may write yet: a store through the new translation would not be seen through the
// old one. Such a fault maps the page read-only, waits until the old translations are gone, and only then grants the
// write.
#include <cstring>

#include "abi/linux/resource.hpp"
#include "linux/mm/state.hpp"
#include "rt/wait.hpp"

namespace linux {

using port::Access;

// What a fault that cannot be resolved at once waits for.
struct AddressSpace::FaultWait {
    bool alone = false;  // in: the caller holds the right to change areas (Change), so no other thread changes them
    bool settle = false;
    bool change = false;       // of areas
    Ref<fs::Mapping> mapping;  // a page to be read
    u64 index = 0;
};

namespace {

// Pages of the cache that one read fault maps around the one it needs.
constexpr u64 kAround = 16;

// A fault on a page that is wholly beyond the end of the object (mmap(2), SIGBUS).
bool beyond_end(const Area& a, UserAddr at) {
    return a.index(at) >= lib::pages_for(a.mapping->size.load(std::memory_order_acquire));
}

// Did truncation take the page out after it was found? See fs/page.hpp.
bool gone(const fs::Page& p) { return __atomic_load_n(&p.mapping, __ATOMIC_ACQUIRE) == nullptr; }

FaultKind failure(LeafError e) { return e == Errno::kNoMem ? FaultKind::kNoMemory : FaultKind::kBusAddress; }

FaultKind map_one(port::Space& space, UserAddr at, fs::Page& page, port::Prot rights) {
    port::MapEntry entry{at, page.frame(), rights};
    return space.map({&entry, 1}).ok() ? FaultKind::kResolved : FaultKind::kNoMemory;
}

// A page of its own, zeroed, where the AnonMap has none. Without write access if another CPU may translate to what was
// there.
[[gnu::always_inline]] inline FaultKind map_fresh(AddressSpace::State& s, const Area& a, AnonMap::Chunk& c,
                                                  UserAddr page_at, bool write) {
    fs::Page* fresh;  // not a Result: nothing is left to destroy on the way out
    {
        auto made = fs::Page::allocate_zeroed();
        if (!made.ok()) [[unlikely]]
            return FaultKind::kNoMemory;
        fresh = made.take().release();
    }
    FaultKind k = map_one(s.space, page_at, *fresh, a.rights(write));
    if (k != FaultKind::kResolved) [[unlikely]] {
        (void)Ref<fs::Page>::adopt(fresh);
        return k;
    }
    s.anon.put(c, page_at.value >> lib::kPageShift, Ref<fs::Page>::adopt(fresh));
    s.note_peak();
    return k;
}

}  // namespace

// Linux: acct_stack_growth, expand_downwards.
[[gnu::cold, gnu::noinline]] Area* AddressSpace::grow_stack(UserAddr page_at, const RlimitValue* limits) {
    State& s = state();
    Area* a = s.areas.upper_bound(page_at);
    if (!a || !(a->flags & kAreaGrowsDown) || page_at.value < kMinAddress) return nullptr;
    if (!limits) return nullptr;
    auto limit = [&](abi::Rlimit which) { return __atomic_load_n(&limits[which].soft, __ATOMIC_RELAXED); };
    const u64 grow = (a->start - page_at) >> lib::kPageShift;
    if (s.total_pages + grow > limit(abi::kRlimAs) >> lib::kPageShift) return nullptr;
    if (a->end - page_at > limit(abi::kRlimStack)) return nullptr;
    if (Area* below = s.prev(*a))
        if (!(below->flags & kAreaGrowsDown) && below->rights(false).read && page_at - below->end < kStackGuard)
            return nullptr;
    s.account(*a, grow, true);
    a->start = page_at;  // the order in the tree stays
    return a;
}

FaultKind AddressSpace::must_settle(FaultWait* wait) {
    if (wait) wait->settle = true;
    return FaultKind::kMustWait;
}

// No area, or one that does not allow it: what another thread is changing may allow it later (Linux: mmap_lock).
[[gnu::cold, gnu::noinline]] FaultKind AddressSpace::not_allowed(UserAddr at, FaultKind kind, FaultWait* wait) {
    State& s = state();
    if (!s.changing() || (wait && wait->alone)) return kind;
    const Area* a = s.find(at);
    if (a && !(a->flags & kAreaMoving)) return kind;
    if (wait) wait->change = true;
    return FaultKind::kMustWait;
}

// A page of the mapping that is not in the cache.
FaultKind AddressSpace::page_from(Area& a, UserAddr page_at, Ref<fs::Page>& out, FaultWait* wait) {
    auto got = a.mapping->get(a.index(page_at));
    if (got.ok()) {
        out = got.take();
        return FaultKind::kResolved;
    }
    if (got.error() != kNeedsTask) return failure(got.error());
    if (wait) {
        wait->mapping = a.mapping;
        wait->index = a.index(page_at);
    }
    return FaultKind::kMustWait;
}

// Maps the requested page of a file, and the adjacent ones that are in the cache.
FaultKind AddressSpace::map_around(Area& a, UserAddr page_at, fs::Page& page) {
    State& s = state();
    fs::Mapping& m = *a.mapping;
    UserAddr from{page_at.value & ~(kAround * kPageSize - 1)}, to = from + kAround * kPageSize;
    if (from < a.start) from = a.start;
    if (to > a.end) to = a.end;
    // Slots that hold the area's own copies stay as they are. The window lies inside one chunk.
    const AnonMap::Chunk* c =
        a.shared() ? nullptr : s.anon.find_chunk(page_at.value / kPageSize / AnonMap::kChunkPages);
    u64 own = c ? c->present : 0;

    port::MapEntry entries[kAround];
    fs::Page* pages[kAround];
    u32 n = 0;
    port::Prot rights = a.rights(false);
    u64 index = a.index(from);
    for (UserAddr at = from; at < to; at += kPageSize, ++index) {
        fs::Page* p = &page;
        if (at != page_at) {
            if ((own >> (at.value / kPageSize % AnonMap::kChunkPages)) & 1) continue;
            p = m.peek(index);
            if (!p || p->unwritten()) continue;
        }
        bool dirty = a.shared() && (p->flags.load(std::memory_order_relaxed) & fs::Page::kDirty);
        entries[n] = {at, p->frame(), dirty ? a.rights(true) : rights};
        pages[n++] = p;
    }
    if (!s.space.map({entries, n}).ok()) return FaultKind::kNoMemory;
    for (u32 i = 0; i < n; ++i) {
        if (!gone(*pages[i])) [[likely]]
            continue;
        port::UserRange range{entries[i].at, entries[i].at + kPageSize};
        s.space.unmap({&range, 1});
    }
    return FaultKind::kResolved;
}

// A private page that the AnonMap has, or where the page of zeros is mapped.
[[gnu::noinline]] FaultKind AddressSpace::resolve_own(Area& a, AnonMap::Chunk& c, UserAddr page_at, bool write,
                                                      bool settled, FaultWait* wait) {
    State& s = state();
    u64 page = page_at.value >> lib::kPageShift;
    bool several = s.space.shared_now();
    if (!c.has(page)) [[unlikely]] {
        if (!write) return resolve_zero(a, c, page_at);
        FaultKind k = map_fresh(s, a, c, page_at, !several);
        return k == FaultKind::kResolved && several ? must_settle(wait) : k;
    }
    fs::Page& mine = c.page_at(page % AnonMap::kChunkPages);
    if (!write) return map_one(s.space, page_at, mine, a.rights(!several && !mine.shared()));
    // Also where no other CPU has the space loaded: one may still be writing that has found the page by the tables.
    if (!settled && s.space.stale()) return must_settle(wait);
    if (!mine.shared()) return map_one(s.space, page_at, mine, a.rights(true));
    auto fresh = fs::Page::allocate();
    if (!fresh.ok()) return FaultKind::kNoMemory;
    std::memcpy(fresh.value()->bytes(), mine.bytes(), kPageSize);
    // Before the slot changes: the map must not fail half-way. The old page lives until its reference is dropped.
    FaultKind k = map_one(s.space, page_at, *fresh.value(), a.rights(!several));
    if (k != FaultKind::kResolved) return k;
    s.anon.replace(c, page, fresh.take());
    return several ? must_settle(wait) : k;
}

// A private page of a file that the AnonMap does not have.
[[gnu::noinline]] FaultKind AddressSpace::resolve_file(Area& a, AnonMap::Chunk* c, UserAddr page_at, bool write,
                                                       FaultWait* wait) {
    State& s = state();
    Ref<fs::Page> held;
    fs::Page* source = a.mapping->peek(a.index(page_at));
    if (!source) [[unlikely]] {
        FaultKind k = page_from(a, page_at, held, wait);
        if (k != FaultKind::kResolved) return k;
        source = held.get();
    }
    source->use();
    if (!write) return map_around(a, page_at, *source);
    u64 page = page_at.value >> lib::kPageShift;
    auto fresh = fs::Page::allocate();
    if (!fresh.ok()) return FaultKind::kNoMemory;
    if (!c) c = s.anon.make_chunk(page / AnonMap::kChunkPages);
    if (!c) return FaultKind::kNoMemory;
    std::memcpy(fresh.value()->bytes(), source->bytes(), kPageSize);
    // The file's page may be mapped here already, also on another CPU.
    bool several = s.space.shared_now();
    FaultKind k = map_one(s.space, page_at, *fresh.value(), a.rights(!several));
    if (k != FaultKind::kResolved) return k;
    s.anon.put(*c, page, fresh.take());
    s.note_peak();
    return several ? must_settle(wait) : k;
}

// Reads of private memory that was never written share one page of zeros. It is in no slot and is not counted.
[[gnu::noinline]] FaultKind AddressSpace::resolve_zero(Area& a, AnonMap::Chunk& c, UserAddr page_at) {
    fs::Page* zero = fs::zero_page();
    if (!zero) return FaultKind::kNoMemory;
    AnonMap::note_zero(c, page_at.value >> lib::kPageShift);
    return map_one(state_->space, page_at, *zero, a.rights(false));
}

// Inlined: first touches of anonymous memory are most faults, and they end here.
[[gnu::always_inline]] inline FaultKind AddressSpace::resolve_private(Area& a, UserAddr page_at, bool write,
                                                                      bool settled, FaultWait* wait) {
    State& s = state();
    u64 page = page_at.value >> lib::kPageShift;
    AnonMap::Chunk* c = s.anon.find_chunk(page / AnonMap::kChunkPages);
    if (a.mapping) {
        if (beyond_end(a, page_at)) return FaultKind::kBusAddress;
        if (!c || !c->has(page)) return resolve_file(a, c, page_at, write, wait);
        return resolve_own(a, *c, page_at, write, settled, wait);
    }
    if (!c) {
        c = s.anon.make_chunk(page / AnonMap::kChunkPages);
        if (!c) return FaultKind::kNoMemory;
    } else if (((c->present | c->zero) >> (page % AnonMap::kChunkPages)) & 1) {
        return resolve_own(a, *c, page_at, write, settled, wait);
    }
    if (!write) [[unlikely]]
        return resolve_zero(a, *c, page_at);
    // Nothing was mapped here: no other CPU can hold an old translation.
    return map_fresh(s, a, *c, page_at, true);
}

[[gnu::noinline]] FaultKind AddressSpace::resolve_shared(Area& a, UserAddr page_at, bool write, FaultWait* wait) {
    if (beyond_end(a, page_at)) return FaultKind::kBusAddress;
    Ref<fs::Page> held;
    fs::Page* page = a.mapping->peek(a.index(page_at));
    if (!page) {
        FaultKind k = page_from(a, page_at, held, wait);
        if (k != FaultKind::kResolved) return k;
        page = held.get();
    }
    page->use();
    if (!write) return map_around(a, page_at, *page);
    page->flags.fetch_or(fs::Page::kDirty, std::memory_order_relaxed);
    FaultKind k = map_one(*space_, page_at, *page, a.rights(true));
    if (gone(*page)) {
        port::UserRange range{page_at, page_at + kPageSize};
        space_->unmap({&range, 1});
    }
    return k;
}

FaultKind AddressSpace::resolve(UserAddr at, Access access, const RlimitValue* limits, bool settled, FaultWait* wait) {
    if (at.value >= fs::kUserEnd) return FaultKind::kSegvMapError;
    UserAddr page_at = at.down(kPageSize);
    fs::File* written;
    {
        rt::LockGuard guard(lock_);
        Area* a = state_->find(at);
        if (!a) [[unlikely]] {
            // Areas grow when no other thread changes or copies them.
            if (!state_->changing() || (wait && wait->alone)) a = grow_stack(page_at, limits);
            if (!a) return not_allowed(at, FaultKind::kSegvMapError, wait);
        }
        if (!a->allows(access)) [[unlikely]]
            return not_allowed(at, FaultKind::kSegvAccess, wait);
        // Written under the lock only.
        minor_faults.store(minor_faults.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        if (!a->shared()) return resolve_private(*a, page_at, access == Access::kWrite, settled, wait);
        const FaultKind k = resolve_shared(*a, page_at, access == Access::kWrite, wait);
        if (k != FaultKind::kResolved || access != Access::kWrite || !a->file) return k;
        written = a->file.get();
        written->ref();
    }
    // Linux: fault_dirty_shared_page. The attributes' lock comes before the address space's.
    const auto file = Ref<fs::File>::adopt(written);
    if (fs::Inode* inode = file->inode()) inode->touch_modified();
    return FaultKind::kResolved;
}

FaultKind AddressSpace::fault(UserAddr at, Access access, const RlimitValue* limits) {
    return resolve(at, access, limits, false, nullptr);
}

Task<FaultKind> AddressSpace::fault_task(UserAddr at, Access access, const RlimitValue* limits) {
    bool settled = false;
    for (;;) {
        FaultWait wait;
        FaultKind k = resolve(at, access, limits, settled, &wait);
        if (wait.change) {
            // It checks again while it holds the right to change areas. Threads that released it first would wait for
            // each other for ever.
            MM_CHANGE(*this);
            wait.change = false;
            wait.alone = true;
            k = resolve(at, access, limits, settled, &wait);
        }
        if (k != FaultKind::kMustWait) co_return k;
        if (wait.settle) {
            MM_SETTLE(*space_);
            settled = true;
        } else {
            co_await port::at(port::Module::kFs);
            auto page = co_await wait.mapping->read_page(wait.index);
            co_await port::at(port::Module::kMm);
            if (!page.ok()) co_return failure(page.error());
        }
    }
}

u64 AddressSpace::open_to_others(UserAddr at, u64 length, bool write) {
    rt::LockGuard guard(lock_);
    const Area* a = state_->find(at);
    if (!a || a->device() || !(a->prot & (write ? kProtWrite : kProtRead))) return 0;
    return length < a->end - at ? length : a->end - at;
}

// Pages that are faulted in at once: some 900 instructions each, most of them to clear it.
constexpr u32 kFaultsAtOnce = 80;

Accessible AddressSpace::fault_in_now(UserAddr at, u64 length, bool write, const RlimitValue* limits, bool* must_wait) {
    *must_wait = false;
    Access access = write ? Access::kWrite : Access::kRead;
    u64 done = 0;
    for (u32 pages = 0; done < length; ++pages) {
        FaultKind k = FaultKind::kMustWait;
        if (pages < kFaultsAtOnce) k = fault(at + done, access, limits);
        if (k == FaultKind::kMustWait) *must_wait = true;
        if (k != FaultKind::kResolved) return {done, k == FaultKind::kNoMemory};
        done += kPageSize - ((at.value + done) & (kPageSize - 1));
    }
    return length;
}

Task<Accessible> AddressSpace::fault_in(UserAddr at, u64 length, bool write, const RlimitValue* limits) {
    u64 done = 0;
    for (u32 pages = 0; done < length; ++pages) {
        if (pages % kFaultsAtOnce == kFaultsAtOnce - 1) co_await rt::Yield{};
        Access access = write ? Access::kWrite : Access::kRead;
        FaultKind k = fault(at + done, access, limits);
        if (k == FaultKind::kMustWait) k = co_await fault_task(at + done, access, limits);
        if (k != FaultKind::kResolved) co_return Accessible{done, k == FaultKind::kNoMemory};
        done += kPageSize - ((at.value + done) & (kPageSize - 1));
    }
    co_return length;
}

Task<FaultKind> AddressSpace::populate(UserAddr at, u64 length, const RlimitValue* limits) {
    const UserAddr end = (at + length).up(kPageSize);
    u32 pages = 0;
    for (UserAddr page = at.down(kPageSize); page < end; page += kPageSize) {
        if (++pages % kFaultsAtOnce == 0) co_await rt::Yield{};
        Access access = Access::kRead;
        {
            rt::LockGuard guard(lock_);
            const Area* a = state_->find(page);
            if (!a) co_return FaultKind::kSegvMapError;
            if (a->writable() && !a->shared()) access = Access::kWrite;
        }
        FaultKind k = fault(page, access, limits);
        if (k == FaultKind::kMustWait) {
            auto wait = fault_task(page, access, limits);
            k = FaultKind::kNoMemory;
            if (wait.valid()) k = co_await wait;
        }
        if (k != FaultKind::kResolved) co_return k;
    }
    co_return FaultKind::kResolved;
}

}  // namespace linux
