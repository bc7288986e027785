// SPDX-License-Identifier: MIT
// Page faults: what a missing or protected page is to become.
//
// A private page is changed in place only while its slot in the AnonMap holds the only reference; else the writer gets a
// copy. When another CPU may still translate to what a private page was before (a copy has just replaced it, a fork has
// just protected it), nobody may write yet: a store through the new translation would not be seen through the old one. Such
// a fault maps the page read-only, waits until the old translations are gone, and only then grants the write.
#include <cstring>

#include "linux/mm/state.hpp"

namespace linux {

using port::Access;

// What a fault that cannot be resolved at once waits for.
struct AddressSpace::FaultWait {
    bool settle = false;
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

FaultKind failure(Errno e) { return e == Errno::kNoMem ? FaultKind::kNoMemory : FaultKind::kBusAddress; }

FaultKind map_one(port::Space& space, UserAddr at, fs::Page& page, port::Prot rights) {
    port::MapEntry entry{at, page.frame(), rights};
    return space.map({&entry, 1}).ok() ? FaultKind::kResolved : FaultKind::kNoMemory;
}

}  // namespace

// Linux: acct_stack_growth, expand_downwards.
Area* AddressSpace::grow_stack(UserAddr page_at, u64 stack_limit) {
    State& s = *state_;
    Area* a = s.areas.upper_bound(page_at);
    if (!a || !(a->flags & kAreaGrowsDown) || page_at.value < kMinAddress) return nullptr;
    if (a->end - page_at > stack_limit) return nullptr;
    if (Area* below = s.prev(*a))
        if (!(below->flags & kAreaGrowsDown) && below->rights(false).read && page_at - below->end < kStackGuard)
            return nullptr;
    s.account(*a, (a->start - page_at) >> lib::kPageShift, true);
    a->start = page_at;  // the order in the tree stays
    return a;
}

// Maps the page of a file that was asked for, and those of its neighbours that are in the cache.
FaultKind AddressSpace::map_around(Area& a, UserAddr page_at, fs::Page& page) {
    State& s = *state_;
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
            if (!p) continue;
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

FaultKind AddressSpace::resolve_private(Area& a, UserAddr page_at, Access access, bool settled, FaultWait& wait) {
    State& s = *state_;
    bool write = access == Access::kWrite;
    u64 page = page_at.value >> lib::kPageShift;
    if (a.mapping && beyond_end(a, page_at)) return FaultKind::kBusAddress;

    AnonMap::Chunk* c = s.anon.find_chunk(page / AnonMap::kChunkPages);
    if (c && c->has(page)) {
        fs::Page& mine = c->page_at(page % AnonMap::kChunkPages);
        bool several = s.space.shared_now();
        if (!write) return map_one(s.space, page_at, mine, a.rights(!several && !mine.shared()));
        if (several && !settled && s.space.stale()) {
            wait.settle = true;
            return FaultKind::kMustWait;
        }
        if (!mine.shared()) return map_one(s.space, page_at, mine, a.rights(true));
        auto fresh = fs::Page::allocate();
        if (!fresh.ok()) return FaultKind::kNoMemory;
        std::memcpy(fresh.value()->bytes(), mine.bytes(), kPageSize);
        fs::Page& copy = *fresh.value();
        // Before the slot changes: the map must not fail half-way. The old page lives until its reference is dropped.
        FaultKind k = map_one(s.space, page_at, copy, a.rights(!several));
        if (k != FaultKind::kResolved) return k;
        s.anon.replace(*c, page, fresh.take());
        wait.settle = several;
        return several ? FaultKind::kMustWait : FaultKind::kResolved;
    }

    Ref<fs::Page> held;
    fs::Page* source = nullptr;
    if (a.mapping) {
        source = a.mapping->peek(a.index(page_at));
        if (!source) {
            auto got = a.mapping->get(a.index(page_at));
            if (!got.ok()) {
                if (got.error() != Errno::kNeedsTask) return failure(got.error());
                wait.mapping = a.mapping;
                wait.index = a.index(page_at);
                return FaultKind::kMustWait;
            }
            held = got.take();
            source = held.get();
        }
        if (!write) return map_around(a, page_at, *source);
    }
    auto fresh = source ? fs::Page::allocate() : fs::Page::allocate_zeroed();
    if (!fresh.ok()) return FaultKind::kNoMemory;
    if (!c) c = s.anon.make_chunk(page / AnonMap::kChunkPages);
    if (!c) return FaultKind::kNoMemory;
    fs::Page& mine = *fresh.value();
    if (source) std::memcpy(mine.bytes(), source->bytes(), kPageSize);
    // A page of the file may be mapped here already, also on another CPU.
    bool several = source && s.space.shared_now();
    FaultKind k = map_one(s.space, page_at, mine, a.rights(!several));
    if (k != FaultKind::kResolved) return k;
    s.anon.put(*c, page, fresh.take());
    s.note_peak();
    wait.settle = several;
    return several ? FaultKind::kMustWait : FaultKind::kResolved;
}

FaultKind AddressSpace::resolve_shared(Area& a, UserAddr page_at, bool write, FaultWait& wait) {
    if (beyond_end(a, page_at)) return FaultKind::kBusAddress;
    u64 index = a.index(page_at);
    Ref<fs::Page> held;
    fs::Page* page = a.mapping->peek(index);
    if (!page) {
        auto got = a.mapping->get(index);
        if (!got.ok()) {
            if (got.error() != Errno::kNeedsTask) return failure(got.error());
            wait.mapping = a.mapping;
            wait.index = index;
            return FaultKind::kMustWait;
        }
        held = got.take();
        page = held.get();
    }
    if (!write) return map_around(a, page_at, *page);
    page->flags.fetch_or(fs::Page::kDirty, std::memory_order_relaxed);
    FaultKind k = map_one(*space_, page_at, *page, a.rights(true));
    if (gone(*page)) {
        port::UserRange range{page_at, page_at + kPageSize};
        space_->unmap({&range, 1});
    }
    return k;
}

FaultKind AddressSpace::resolve(UserAddr at, Access access, u64 stack_limit, bool settled, FaultWait& wait) {
    if (at.value >= fs::kUserEnd) return FaultKind::kSegvMapError;
    UserAddr page_at = at.down(kPageSize);
    rt::LockGuard guard(lock_);
    Area* a = state_->find(at);
    if (!a) [[unlikely]] {
        a = grow_stack(page_at, stack_limit);
        if (!a) return FaultKind::kSegvMapError;
    }
    if (!a->allows(access)) return FaultKind::kSegvAccess;
    // Written under the lock only.
    minor_faults.store(minor_faults.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (a->shared()) return resolve_shared(*a, page_at, access == Access::kWrite, wait);
    return resolve_private(*a, page_at, access, settled, wait);
}

FaultKind AddressSpace::fault(UserAddr at, Access access, u64 stack_limit) {
    FaultWait wait;
    return resolve(at, access, stack_limit, false, wait);
}

Task<FaultKind> AddressSpace::fault_task(UserAddr at, Access access, u64 stack_limit) {
    bool settled = false;
    for (;;) {
        FaultWait wait;
        FaultKind k = resolve(at, access, stack_limit, settled, wait);
        if (k != FaultKind::kMustWait) co_return k;
        if (wait.settle) {
            co_await space_->settle();
            settled = true;
        } else {
            auto page = co_await wait.mapping->read_page(wait.index);
            if (!page.ok()) co_return failure(page.error());
        }
    }
}

Accessible AddressSpace::fault_in_now(UserAddr at, u64 length, bool write, u64 stack_limit, bool* must_wait) {
    *must_wait = false;
    Access access = write ? Access::kWrite : Access::kRead;
    u64 done = 0;
    for (u32 pages = 0; done < length; ++pages) {
        FaultKind k = FaultKind::kMustWait;
        if (pages < kLongWork) k = fault(at + done, access, stack_limit);
        if (k == FaultKind::kMustWait) *must_wait = true;
        if (k != FaultKind::kResolved) break;
        done += kPageSize - ((at.value + done) & (kPageSize - 1));
    }
    return done < length ? done : length;
}

Task<Accessible> AddressSpace::fault_in(UserAddr at, u64 length, bool write, u64 stack_limit) {
    u64 done = 0;
    for (u32 pages = 0; done < length; ++pages) {
        if (pages % 128 == 127) co_await rt::Yield{};
        Access access = write ? Access::kWrite : Access::kRead;
        FaultKind k = fault(at + done, access, stack_limit);
        if (k == FaultKind::kMustWait) k = co_await fault_task(at + done, access, stack_limit);
        if (k != FaultKind::kResolved) break;
        done += kPageSize - ((at.value + done) & (kPageSize - 1));
    }
    co_return done < length ? done : length;
}

}  // namespace linux
