// SPDX-License-Identifier: MIT
// Page and Mapping: the one page cache. A Mapping is the pages of one inode (or of one shared anonymous object), by
// index; it knows which areas of address spaces map it (the reverse map), so that truncation can unmap.
//
// Locks: Mapping::lock (Rank::mapping) guards changes of the tree of pages and the list of users; reading the tree
// takes no lock (its nodes are freed one epoch later). A Page is kept by references: the cache holds one, each
// anonymous map slot holds one, and code that uses its bytes across a suspension holds one.
// A page's frame is freed one epoch after the last reference went, because other CPUs may still translate to it.
//
// Truncation against faults: a page leaves the tree (mapping = null) before the users unmap it. A fault that maps a
// page found here enters it into the page table first and then reads page.mapping again: null means remove it again.
#pragma once
#include <cstddef>
#include <span>

#include "lib/list.hpp"
#include "lib/ref.hpp"
#include "lib/result.hpp"
#include "rt/epoch.hpp"
#include "rt/mem/pages.hpp"
#include "rt/reclaim.hpp"
#include "rt/spinlock.hpp"
#include "rt/task.hpp"

namespace fs {

class Mapping;

// Lives in the frame table (rt::FrameInfo's owner words): no allocation. Not constructed by hand: Page::allocate().
struct Page {
    std::atomic<u32> refs;
    std::atomic<u32> flags;  // kDirty...
    Mapping* mapping;        // null: anonymous or removed from its mapping
    u64 index;               // page offset in the mapping
    union {
        rt::Reclaimable reclaim;  // of the first of those that were taken out of a mapping together
        rt::Retired retired;      // once the last reference has gone
    };

    Page() : retired{} {}
    // kUnwritten: room that fallocate(2) has made. To SEEK_DATA it is a hole until a write or a fault takes the flag
    // away.
    enum Flags : u32 { kDirty = 1, kUnwritten = 2 };
    bool unwritten() const { return (flags.load(std::memory_order_relaxed) & kUnwritten) != 0; }
    void use() {
        if (unwritten()) [[unlikely]]
            flags.fetch_and(~u32{kUnwritten}, std::memory_order_relaxed);
    }

    static Result<Ref<Page>> allocate_zeroed();
    static Result<Ref<Page>> allocate();  // contents undefined: to be overwritten completely
    PhysAddr frame() const;
    std::byte* bytes() const;
    static Page& of(PhysAddr frame) { return *rt::frame_info(frame).owner_as<Page>(); }
    // A frame that already holds the contents and is the caller's (the initial RAM disk): takes it over.
    static Ref<Page> adopt_frame(PhysAddr frame);

    void ref() { refs.fetch_add(1, std::memory_order_relaxed); }
    // The last one retires the frame. acq_rel: the thread that frees it sees all earlier accesses.
    void unref() {
        if (refs.fetch_sub(1, std::memory_order_acq_rel) == 1) last_ref();
    }
    // A reference, unless the page is on its way out.
    bool try_ref() {
        u32 n = refs.load(std::memory_order_relaxed);
        while (n != 0)
            if (refs.compare_exchange_weak(n, n + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
        return false;
    }
    bool shared() const { return refs.load(std::memory_order_acquire) > 1; }

private:
    void last_ref();
};
static_assert(sizeof(Page) <= sizeof(rt::FrameInfo::owner));
inline PhysAddr Page::frame() const { return rt::FrameInfo::of_owner(const_cast<Page*>(this)).address(); }
inline std::byte* Page::bytes() const {
    return static_cast<std::byte*>(rt::FrameInfo::of_owner(const_cast<Page*>(this)).bytes());
}

// The shared page of zeros, for read-only mappings; it is never freed. Null: no memory for it yet.
Page* zero_page();

// Drops references to pages that are in no mapping any more. Those without other references are retired several at a
// time: an epoch item for each page would cost more than all the rest of unmapping it.
template <bool kReclaim>
class PageDropOf {
public:
    PageDropOf() = default;
    PageDropOf(const PageDropOf&) = delete;
    ~PageDropOf() {
        flush();
        if constexpr (kReclaim) rt::reclaim_settled(kept_);
    }
    void unref(Page& p) {
        // acq_rel: as Page::unref.
        if (p.refs.fetch_sub(1, std::memory_order_acq_rel) != 1) {
            if constexpr (kReclaim) ++kept_;
            return;
        }
        p.index = reinterpret_cast<u64>(first_);  // no other thread uses the page any more: its words link the batch
        first_ = &p;
        if (++count_ == kTogether) flush();
    }
    void flush() {
        if (!first_) return;
        first_->retired = {.next = nullptr, .free = &PageDropOf::free};
        rt::retire(first_->retired);
        first_ = nullptr;
        count_ = 0;
    }

private:
    static constexpr u32 kTogether = kReclaim ? 32 : 8;
    static void free(rt::Retired& r) {
        auto* p = reinterpret_cast<Page*>(reinterpret_cast<std::byte*>(&r) - offsetof(Page, retired));
        u64 n = 0;
        for (Page* next; p; p = next, ++n) {
            next = reinterpret_cast<Page*>(p->index);
            rt::free_frame(p->frame());
        }
        if constexpr (kReclaim) rt::reclaim_settled(n);
    }
    Page* first_ = nullptr;
    u32 count_ = 0;
    u64 kept_ = 0;  // others hold references
};
using PageDrop = PageDropOf<false>;
using ReclaimDrop = PageDropOf<true>;  // of frames that were handed over to an rt::Reclaimer

// Somebody that maps pages of a Mapping: an area of an address space (linux/mm). Called under Rank::mapping; may take
// only locks of higher rank (Rank::space).
class MappingUser {
public:
    // Pages [first, first + count) of the mapping are going away: unmap them here, now.
    virtual void unmap_pages(u64 first, u64 count) = 0;
    // The same in pieces, from page `first` on, which moves. False: all are unmapped.
    virtual bool unmap_some(u64& first, u64 last) {
        unmap_pages(first, last - first == ~u64{0} ? last : last - first + 1);
        return false;
    }
    // How many pages of [first, last] it may map.
    virtual u64 pages_among(u64 first, u64 last) const { return 0; }
    // The object has been cut off at page `first`: some private copies of what was beyond are dropped. False: there are
    // more, or a lock that comes before Rank::mapping was not free; release the mapping and try again.
    virtual bool drop_copies(u64 first) = 0;
    lib::ListHook mapping_hook;

private:
    friend class Mapping;
    // No private copies are left of what was beyond by this cut, see begin_cut(). Belongs to the mapping's lock.
    u64 cut_ = 0;

protected:
    ~MappingUser() = default;
};

class Mapping : public RefCounted<Mapping> {
    // `shift` is constant; `used` belongs to lock_.
    struct Node {
        static constexpr u32 kSlotBits = 6, kSlots = 1 << kSlotBits;
        rt::Retired retired;
        u32 shift = 0;
        u32 used = 0;
        std::atomic<void*> slot[kSlots] = {};

        bool covers(u64 index) const { return (index >> shift) < kSlots; }
        std::atomic<void*>& at(u64 index) { return slot[(index >> shift) & (kSlots - 1)]; }
        void retire();
    };
    static constexpr u64 kIsNode = 1;

public:
    Mapping() = default;
    virtual ~Mapping();

    // A number that no other mapping has, had or will have, given when it is first asked for: a name that outlives the
    // mapping.
    u64 serial() {
        u64 s = serial_.load(std::memory_order_relaxed);
        if (s != 0) [[likely]]
            return s;
        static constinit std::atomic<u64> last{0};
        const u64 fresh = last.fetch_add(1, std::memory_order_relaxed) + 1;
        return serial_.compare_exchange_strong(s, fresh, std::memory_order_relaxed) ? fresh : s;
    }

    // The page at `index` if it is in the cache.
    Ref<Page> find(u64 index) const;
    // The same without a reference: valid until the caller's next suspension (the end of its epoch section).
    Page* peek(u64 index) const {
        u64 root = root_.load(std::memory_order_acquire);  // pairs with the release of insert()
        if (!(root & kIsNode)) return index == 0 ? reinterpret_cast<Page*>(root) : nullptr;
        auto* n = reinterpret_cast<Node*>(root & ~kIsNode);
        if (!n->covers(index)) return nullptr;
        if (n->shift == 0) [[likely]]
            return static_cast<Page*>(n->slot[index].load(std::memory_order_acquire));
        return peek_below(n, index);
    }
    // How many of the pages [index, index + most) lie one after the other in memory; at least 1 if there is one at
    // index. A hole: 0 and no bytes.
    struct Run {
        std::byte* bytes = nullptr;
        u64 pages = 0;
    };
    Run peek_run(u64 index, u64 most) const;
    // The page, made if missing: zero-filled (tmpfs, shared anonymous). kNeedsTask: must be read from a device first
    // (then: co_await read_page(index)). kNoMem. kNoSpc: over the file system's limit.
    virtual Leaf<Ref<Page>> get(u64 index);
    virtual Task<Result<Ref<Page>>> read_page(u64 index);
    // Puts a page of the caller's in, if there is none yet; yields the one that is there now. kNoMem, kNoSpc.
    Result<Page*> insert(u64 index, Ref<Page> fresh) RT_EXCLUDES(lock_);

    // Drops pages at and beyond `first_gone`, unmapping them from every user first. Cannot fail. Nobody finds or maps
    // them afterwards, and what they counted has gone; many of them are reclaimed in pieces. Where many users may map
    // them, those have them until the caller has gone on with drop_some_copies().
    void truncate_pages(u64 first_gone) RT_EXCLUDES(lock_);
    // After `size` has become smaller: private copies of pages beyond the end go too, in pieces. Who has users begins a
    // cut and calls drop_some_copies() with its number until that yields false, giving way in between. What the file
    // has grown again by meanwhile is left alone. A user that is added is as far as `like` is, which it is a part or a
    // copy of; without one it has no copies.
    bool has_users() const RT_UNCHECKED_LOCKING {
        return !users_.empty();
    }  // without the lock: the thread that begins a cut checks again
    u64 begin_cut() RT_EXCLUDES(lock_);
    bool drop_some_copies(u64 cut) RT_EXCLUDES(lock_);
    // Drops pages [first, first+count) (hole punching); users as in truncate_pages(): has_dropped(), if some are left
    // for drop_some_copies().
    void drop_range(u64 first, u64 count) RT_EXCLUDES(lock_);
    bool has_dropped() const { return dropped_waits_.load(std::memory_order_relaxed); }

    void add_user(MappingUser& u, MappingUser* like = nullptr) RT_EXCLUDES(lock_);
    void remove_user(MappingUser& u) RT_EXCLUDES(lock_);
    // The same of one that has become a part of `into`.
    void join_user(MappingUser& u, MappingUser& into) RT_EXCLUDES(lock_);

    u64 page_count() const { return pages_.load(std::memory_order_relaxed); }  // resident pages
    u64 next_resident(u64 from) const;  // smallest resident index >= from, ~0 if none
    // The same of pages that are no room only (SEEK_DATA); the smallest index >= from that is not resident, or room
    // (SEEK_HOLE). They visit at most kSeekPages pages: `more` says that the search continues where they stopped.
    static constexpr u64 kSeekPages = 256;
    u64 next_data(u64 from, bool& more) const;
    u64 next_hole(u64 from, bool& more) const;
    // Where the first `most` resident pages of [first, end) end; `end` if there are no more than that.
    u64 end_of(u64 first, u64 end, u64 most) const;
    u64 last_resident() const;  // largest resident index, ~0 if none

    // Size in bytes of the object, as in the inode; faults at or beyond the page-rounded size are SIGBUS.
    std::atomic<u64> size{0};

    // What they counted goes at once; the pages too, unless there are many: then they are reclaimed in pieces.
    static void last_ref(Mapping* m);

protected:
    // Accounting by the file system that owns the pages. charge: false means no space.
    virtual bool charge(u64 pages) { return true; }
    virtual void uncharge(u64 pages) {}

private:
    static Page* peek_below(Node* n, u64 index);
    Result<std::atomic<void*>*> make_slot(u64 index) RT_REQUIRES(lock_);
    u64 remove_from(Node& n, u64 base, u64 first, u64 last, Page*& chain) RT_REQUIRES(lock_);
    Page* take_out(u64 first, u64 last, u64& count) RT_REQUIRES(lock_);
    bool reap_some(u64 most);
    void retire();
    static rt::Reclaimable* reclaim_step(rt::Reclaimable& r, u64 most);
    static rt::Reclaimable* reclaim_chain(rt::Reclaimable& r, u64 most);
    static void leave_behind(Page* chain, u64 count);
    bool is_mapped_widely(u64 first, u64 last) RT_REQUIRES(lock_);
    bool unmap_dropped(MappingUser& u) RT_REQUIRES(lock_);
    void release_dropped() RT_EXCLUDES(lock_);

    rt::SpinLock<rt::Rank::mapping> lock_;
    // In the order of the cuts they have applied: the first has most left to do. Copies come after the original.
    lib::List<MappingUser, &MappingUser::mapping_hook> users_ RT_GUARDED_BY(lock_);
    u64 cuts_ RT_GUARDED_BY(lock_) = 0;
    // Pages that were taken out, but may be mapped by users that have not done the cut yet.
    struct Dropped {
        Page* chain = nullptr;
        u64 count = 0, first = ~u64{0}, last = 0;
        u64 cut = 0;                  // a user that has applied this one maps none of them
        MappingUser* user = nullptr;  // the user in progress, and how far it is
        u64 at = 0;
    } dropped_ RT_GUARDED_BY(lock_);
    std::atomic<bool> dropped_waits_{false};
    // Radix tree of Page*, 64 ways. 0: empty. Without kIsNode: the page at index 0, the only one. Else a Node.
    std::atomic<u64> root_{0};
    std::atomic<u64> pages_{0};
    std::atomic<u64> serial_{0};  // 0: not asked for
    // One after the other.
    union End {
        constexpr End() : reclaim{} {}
        rt::Reclaimable reclaim;
        rt::Retired retired;
    } end_;
};

}  // namespace fs
