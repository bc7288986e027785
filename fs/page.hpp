// SPDX-License-Identifier: MIT
// Page and Mapping: the one page cache. A Mapping is the pages of one inode (or of one shared anonymous object), by index;
// it knows which areas of address spaces map it (the reverse map), so that truncation can unmap.
//
// Locks: Mapping::lock (Rank::mapping) guards the tree of pages and the list of users. A Page is kept by references: the
// cache holds one, each anonymous map slot holds one, and whoever works with its bytes outside a lock holds one.
// A page's frame is freed one epoch after the last reference went, because other CPUs may still translate to it.
#pragma once
#include <span>

#include "lib/list.hpp"
#include "lib/ref.hpp"
#include "lib/result.hpp"
#include "rt/epoch.hpp"
#include "rt/mem/pages.hpp"
#include "rt/spinlock.hpp"

namespace fs {

class Mapping;

// Lives in the frame table (rt::FrameInfo's owner words): no allocation. Not constructed by hand: Page::allocate().
struct Page {
    std::atomic<u32> refs;
    std::atomic<u32> flags;   // kDirty...
    Mapping* mapping;         // null: anonymous or removed from its mapping
    u64 index;                // page offset in the mapping

    enum Flags : u32 { kDirty = 1 };

    static Result<Ref<Page>> allocate_zeroed();
    static Result<Ref<Page>> allocate();  // contents undefined: to be overwritten completely
    PhysAddr frame() const;
    std::byte* bytes() const;
    static Page& of(PhysAddr frame);

    void ref() { refs.fetch_add(1, std::memory_order_relaxed); }
    void unref();  // the last one retires the frame
    bool shared() const { return refs.load(std::memory_order_acquire) > 1; }
};

// Somebody that maps pages of a Mapping: an area of an address space (linux/mm). Called under Rank::mapping; may take
// only locks of higher rank (Rank::space).
class MappingUser {
public:
    // Pages [first, first + count) of the mapping are going away: unmap them here, now.
    virtual void unmap_pages(u64 first, u64 count) = 0;
    lib::ListHook mapping_hook;

protected:
    ~MappingUser() = default;
};

class Mapping : public RefCounted<Mapping> {
public:
    Mapping() = default;
    virtual ~Mapping();

    // The page at `index` if it is in the cache.
    Ref<Page> find(u64 index);
    // The page, made if missing: zero-filled (tmpfs, shared anonymous). kNeedsTask: must be read from a device first
    // (then: co_await read_page(index)). kNoMem. kNoSpc: over the file system's limit.
    virtual Leaf<Ref<Page>> get(u64 index);
    virtual Task<Result<Ref<Page>>> read_page(u64 index);

    // Drops pages at and beyond `first_gone`, unmapping them from every user first. Cannot fail.
    void truncate_pages(u64 first_gone);
    // Drops pages [first, first+count) (hole punching).
    void drop_range(u64 first, u64 count);

    void add_user(MappingUser& u);
    void remove_user(MappingUser& u);

    u64 page_count() const;  // resident pages
    u64 next_resident(u64 from);  // smallest resident index >= from, ~0 if none (SEEK_DATA)

    // Size in bytes of the object, as the inode says; faults at or beyond the page-rounded size are SIGBUS.
    std::atomic<u64> size{0};

protected:
    rt::SpinLock<rt::Rank::mapping> lock_;
    lib::List<MappingUser, &MappingUser::mapping_hook> users_;
    struct Tree* tree_ = nullptr;  // radix tree of Page*, fs/page.cpp
};

}  // namespace fs
