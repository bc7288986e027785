// SPDX-License-Identifier: MIT
// Pages and the radix tree of a Mapping.
//
// The tree is read without a lock: slots are published with release, and nodes and pages that were taken out are freed
// one epoch later. A page at index 0 that is alone needs no node. Changes are made under Mapping::lock_.
#include "fs/page.hpp"

#include <cstring>
#include <utility>

#include "port/api/modules.hpp"
#include "rt/mem/slab.hpp"
#include "rt/teardown.hpp"

namespace fs {

namespace {

constexpr u64 kNone = ~u64{0};

Ref<Page> new_page(PhysAddr frame) {
    auto* p = new (rt::frame_info(frame).owner) Page;
    p->refs.store(1, std::memory_order_relaxed);
    p->flags.store(0, std::memory_order_relaxed);
    p->mapping = nullptr;
    p->index = 0;
    return Ref<Page>::adopt(p);
}

// Release: pairs with a fault that maps a page and then checks whether it is still in the mapping.
void leave_mapping(Page* p) { __atomic_store_n(&p->mapping, nullptr, __ATOMIC_RELEASE); }

// Pages between their removal and their release are chained through their FrameInfo.
Page* chain_next(Page* p) {
    rt::FrameInfo* next = rt::FrameInfo::of_owner(p).next;
    return next ? next->owner_as<Page>() : nullptr;
}
void chain_push(Page*& chain, Page* p) {
    rt::FrameInfo::of_owner(p).next = chain ? &rt::FrameInfo::of_owner(chain) : nullptr;
    chain = p;
}
void drop_chain(Page* chain) {
    PageDrop drop;
    while (chain) {
        Page* next = chain_next(chain);
        drop.unref(*chain);
        chain = next;
    }
}

}  // namespace

void Mapping::Node::retire() {
    retired.free = [](rt::Retired& r) {
        delete reinterpret_cast<Node*>(reinterpret_cast<std::byte*>(&r) - offsetof(Node, retired));
    };
    rt::retire(retired);
}

Result<Ref<Page>> Page::allocate() {
    PhysAddr f = TRY(rt::alloc_frame());
    return new_page(f);
}

Result<Ref<Page>> Page::allocate_zeroed() {
    PhysAddr f = TRY(rt::alloc_zeroed_frame());
    return new_page(f);
}

Ref<Page> Page::adopt_frame(PhysAddr frame) { return new_page(frame); }

void Page::last_ref() {
    auto free = [](rt::Retired& r) {
        Page* p = reinterpret_cast<Page*>(reinterpret_cast<std::byte*>(&r) - offsetof(Page, retired));
        rt::free_frame(p->frame());
    };
    retired = {.next = nullptr, .free = free};
    rt::retire(retired);
}

namespace {
constinit std::atomic<Page*> zeros{nullptr};
}
Page* zero_page() {
    Page* known = zeros.load(std::memory_order_acquire);
    if (known) [[likely]]
        return known;
    auto made = Page::allocate_zeroed();
    if (!made.ok()) return nullptr;
    Ref<Page> fresh = made.take();
    if (zeros.compare_exchange_strong(known, fresh.get(), std::memory_order_acq_rel)) return fresh.release();
    return known;
}

Mapping::~Mapping() = default;

Page* Mapping::peek_below(Node* n, u64 index) {
    for (;;) {
        void* s = n->at(index).load(std::memory_order_acquire);  // pairs with the release of insert()
        if (n->shift == 0 || !s) return static_cast<Page*>(s);
        n = static_cast<Node*>(s);
    }
}

Mapping::Run Mapping::peek_run(u64 index, u64 most) const {
    Page* first = peek(index);
    if (!first) return {};
    Run run{first->bytes(), 1};
    u64 root = root_.load(std::memory_order_acquire);
    if (!(root & kIsNode)) return run;
    auto* n = reinterpret_cast<Node*>(root & ~kIsNode);
    while (n->shift != 0) {
        n = static_cast<Node*>(n->at(index).load(std::memory_order_acquire));
        if (!n) return run;
    }
    // FrameInfos of adjacent frames are adjacent; that the frames are too is checked once, at the end.
    u64 at = index % Node::kSlots, limit = at + most < Node::kSlots ? at + most : Node::kSlots;
    auto* expected = reinterpret_cast<std::byte*>(first);
    for (u64 i = at + 1; i < limit; ++i) {
        expected += sizeof(rt::FrameInfo);
        if (n->slot[i].load(std::memory_order_acquire) != expected) break;
        ++run.pages;
    }
    if (run.pages > 1) {
        auto* last =
            reinterpret_cast<Page*>(reinterpret_cast<std::byte*>(first) + (run.pages - 1) * sizeof(rt::FrameInfo));
        if (last->frame() - first->frame() != (run.pages - 1) * kPageSize) run.pages = 1;
    }
    return run;
}

Ref<Page> Mapping::find(u64 index) const {
    for (;;) {
        Page* p = peek(index);
        if (!p) return {};
        // Within an epoch section the page cannot have become another one.
        if (p->try_ref()) [[likely]]
            return Ref<Page>::adopt(p);
    }
}

Leaf<Ref<Page>> Mapping::get(u64 index) {
    if (Ref<Page> p = find(index)) [[likely]]
        return p;
    Ref<Page> fresh = TRY(Page::allocate_zeroed());
    Page* now = TRY(insert(index, std::move(fresh)));
    if (now->try_ref()) [[likely]]
        return Ref<Page>::adopt(now);
    return get(index);
}

Task<Result<Ref<Page>>> Mapping::read_page(u64 index) { co_return get(index).ended(); }

// The slot for `index`, with all nodes above it made.
Result<std::atomic<void*>*> Mapping::make_slot(u64 index) {
    u64 root = root_.load(std::memory_order_relaxed);
    if (!(root & kIsNode)) {
        Node* n = rt::make<Node>();
        if (!n) return Errno::kNoMem;
        if (root) {
            n->slot[0].store(reinterpret_cast<void*>(root), std::memory_order_relaxed);
            n->used = 1;
        }
        root = reinterpret_cast<u64>(n) | kIsNode;
        root_.store(root, std::memory_order_release);
    }
    auto* n = reinterpret_cast<Node*>(root & ~kIsNode);
    while (!n->covers(index)) {
        Node* above = rt::make<Node>();
        if (!above) return Errno::kNoMem;
        above->shift = n->shift + Node::kSlotBits;
        above->used = 1;
        above->slot[0].store(n, std::memory_order_relaxed);
        root_.store(reinterpret_cast<u64>(above) | kIsNode, std::memory_order_release);
        n = above;
    }
    while (n->shift != 0) {
        std::atomic<void*>& slot = n->at(index);
        auto* below = static_cast<Node*>(slot.load(std::memory_order_relaxed));
        if (!below) {
            below = rt::make<Node>();
            if (!below) return Errno::kNoMem;
            below->shift = n->shift - Node::kSlotBits;
            slot.store(below, std::memory_order_release);
            ++n->used;
        }
        n = below;
    }
    std::atomic<void*>* slot = &n->at(index);
    if (!slot->load(std::memory_order_relaxed)) ++n->used;  // the caller fills it
    return slot;
}

Result<Page*> Mapping::insert(u64 index, Ref<Page> fresh) {
    if (!charge(1)) return Errno::kNoSpc;
    Page* earlier = nullptr;
    Errno error = Errno::kOk;
    {
        rt::LockGuard g(lock_);
        earlier = peek(index);
        if (!earlier) {
            fresh->mapping = this;
            fresh->index = index;
            u64 root = root_.load(std::memory_order_relaxed);
            if (index == 0 && !(root & kIsNode)) {
                root_.store(reinterpret_cast<u64>(fresh.get()), std::memory_order_release);
            } else if (auto slot = make_slot(index); slot.ok()) {
                slot.value()->store(fresh.get(), std::memory_order_release);
            } else {
                error = slot.error();
                fresh->mapping = nullptr;
            }
            if (error == Errno::kOk) {
                pages_.store(pages_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
                return fresh.release();
            }
        }
    }
    uncharge(1);
    if (error != Errno::kOk) return error;
    return earlier;
}

// Takes pages [first, last] out of the subtree at `n`, whose first index is `base`, and frees the nodes that became
// empty below it. Returns how many pages.
u64 Mapping::remove_from(Node& n, u64 base, u64 first, u64 last, Page*& chain) {
    u64 count = 0;
    u64 from = first > base ? (first - base) >> n.shift : 0;
    for (u64 i = from; i < Node::kSlots && n.used != 0; ++i) {
        u64 start = base + (i << n.shift);
        if (start > last) break;
        void* s = n.slot[i].load(std::memory_order_relaxed);
        if (!s) continue;
        if (n.shift == 0) {
            auto* p = static_cast<Page*>(s);
            n.slot[i].store(nullptr, std::memory_order_release);
            --n.used;
            leave_mapping(p);
            chain_push(chain, p);
            ++count;
        } else {
            auto* below = static_cast<Node*>(s);
            count += remove_from(*below, start, first, last, chain);
            if (below->used == 0) {
                n.slot[i].store(nullptr, std::memory_order_release);
                --n.used;
                below->retire();
            }
        }
    }
    return count;
}

// Takes pages [first, last] out of the tree; they come back chained, each with the tree's reference.
Page* Mapping::take_out(u64 first, u64 last, u64& count) {
    Page* chain = nullptr;
    u64 root = root_.load(std::memory_order_relaxed);
    if (root == 0) return nullptr;
    if (!(root & kIsNode)) {
        if (first > 0) return nullptr;
        root_.store(0, std::memory_order_release);
        auto* p = reinterpret_cast<Page*>(root);
        leave_mapping(p);
        chain_push(chain, p);
        count = 1;
    } else {
        auto* n = reinterpret_cast<Node*>(root & ~kIsNode);
        count = remove_from(*n, 0, first, last, chain);
        if (n->used == 0) {
            root_.store(0, std::memory_order_release);
            n->retire();
        }
    }
    pages_.store(pages_.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
    return chain;
}

void Mapping::drop_range(u64 first, u64 count) {
    if (count == 0 || (root_.load(std::memory_order_acquire) == 0 && !has_users())) return;
    u64 last = first + count - 1 < first ? kNone : first + count - 1;
    Page* chain = nullptr;
    u64 dropped = 0;
    {
        rt::LockGuard g(lock_);
        chain = take_out(first, last, dropped);
        if (is_mapped_widely(first, last)) [[unlikely]] {
            while (chain) {
                Page* next = chain_next(chain);
                chain_push(dropped_.chain, chain);
                chain = next;
            }
            dropped_.count += dropped;
            if (first < dropped_.first) dropped_.first = first;
            if (last > dropped_.last) dropped_.last = last;
            dropped_.cut = ++cuts_;
            dropped_.user = nullptr;
            dropped_waits_.store(true, std::memory_order_relaxed);
            return;
        }
        for (MappingUser& u : users_) u.unmap_pages(first, last - first + 1 == 0 ? kNone : last - first + 1);
    }
    if (dropped == 0) return;
    // The space is free from now on, even if the frames are not yet.
    uncharge(dropped);
    leave_behind(chain, dropped);
}

// Pages that were taken out together, each with the tree's reference, which keeps `retired` unused: the first one's
// words are the reclaimer's node.
void Mapping::leave_behind(Page* chain, u64 count) {
    rt::Reclaimer& fs = port::reclaimer(port::Module::kFs);
    if (!fs.defers(count)) [[likely]]
        return drop_chain(chain);
    chain->reclaim = {.next = nullptr, .step = &Mapping::reclaim_chain};
    fs.free(chain->reclaim, count);
}

rt::Reclaimable* Mapping::reclaim_chain(rt::Reclaimable& r, u64 most) {
    auto* p = reinterpret_cast<Page*>(reinterpret_cast<std::byte*>(&r) - offsetof(Page, reclaim));
    ReclaimDrop drop;
    for (; p && most != 0; --most) {
        Page* next = chain_next(p);
        drop.unref(*p);
        p = next;
    }
    if (!p) return nullptr;
    p->reclaim = {.next = nullptr, .step = &Mapping::reclaim_chain};
    return &p->reclaim;
}

// Would it take long to unmap the pages everywhere?
bool Mapping::is_mapped_widely(u64 first, u64 last) {
    constexpr u32 kUsers = 16;
    constexpr u64 kPages = 2048;
    if (!rt::Reclaimer::later.load(std::memory_order_relaxed)) return false;
    u32 users = 0;
    u64 pages = 0;
    for (const MappingUser& u : users_) {
        pages += u.pages_among(first, last);
        if (++users > kUsers || pages > kPages) return true;
    }
    return false;
}

// The user that has least done of the cuts. True: some of the pages may be mapped there still.
bool Mapping::unmap_dropped(MappingUser& u) {
    if (u.cut_ >= dropped_.cut) return false;
    if (std::exchange(dropped_.user, &u) != &u) dropped_.at = dropped_.first;
    return u.unmap_some(dropped_.at, dropped_.last);
}

// Nobody maps them any more.
void Mapping::release_dropped() {
    Dropped gone;
    {
        rt::LockGuard g(lock_);
        const MappingUser* u = users_.front();
        // Others have been dropped in the meantime, by a thread that continues with this.
        if (u && u->cut_ < dropped_.cut) return;
        gone = std::exchange(dropped_, {});
        dropped_waits_.store(false, std::memory_order_relaxed);
    }
    if (gone.count == 0) return;
    uncharge(gone.count);
    leave_behind(gone.chain, gone.count);
}

void Mapping::truncate_pages(u64 first_gone) { drop_range(first_gone, kNone - first_gone); }

u64 Mapping::begin_cut() {
    rt::LockGuard g(lock_);
    return ++cuts_;
}

bool Mapping::drop_some_copies(u64 cut) {
    rt::Stretch stretch;
    {
        rt::LockGuard g(lock_);
        const u64 end = lib::pages_for(size.load(std::memory_order_acquire));
        for (MappingUser* u; (u = users_.front()) && u->cut_ < cut;) {
            if (unmap_dropped(*u) || !u->drop_copies(end)) return true;
            u->cut_ = cuts_;
            users_.remove(*u);
            users_.push_back(*u);
            if (stretch.over()) return true;
        }
    }
    if (has_dropped()) release_dropped();
    return false;
}

void Mapping::add_user(MappingUser& u, MappingUser* like) {
    rt::LockGuard g(lock_);
    u.cut_ = like ? like->cut_ : cuts_;
    MappingUser* behind = like ? users_.next(*like) : nullptr;
    if (behind)
        users_.insert_before(*behind, u);
    else
        users_.push_back(u);
}

void Mapping::join_user(MappingUser& u, MappingUser& into) {
    rt::LockGuard g(lock_);
    if (u.cut_ < into.cut_) {
        users_.remove(into);
        users_.insert_before(u, into);
        into.cut_ = u.cut_;
    }
    users_.remove(u);
    dropped_.user = nullptr;  // `into` is another one from now on
}

void Mapping::remove_user(MappingUser& u) {
    rt::LockGuard g(lock_);
    users_.remove(u);
    if (dropped_.user == &u) dropped_.user = nullptr;  // the next one at this address has not come as far
}

u64 Mapping::next_resident(u64 from) const {
    u64 root = root_.load(std::memory_order_acquire);
    if (!(root & kIsNode)) return root && from == 0 ? 0 : kNone;
    for (u64 at = from;;) {
        auto* n = reinterpret_cast<Node*>(root & ~kIsNode);
        if (!n->covers(at)) return kNone;
        // Down by the first slot of each node from `at` on that holds something.
        for (;;) {
            const u64 start = at >> n->shift;
            u64 i = start % Node::kSlots;
            void* s;
            while (!(s = n->slot[i].load(std::memory_order_acquire)) && ++i < Node::kSlots) {
            }
            if (!s) break;
            if (i != start % Node::kSlots) at = (start - start % Node::kSlots + i) << n->shift;
            if (n->shift == 0) return at;
            n = static_cast<Node*>(s);
        }
        // Nothing in this node: continue after it.
        const u64 next = ((at >> n->shift) / Node::kSlots + 1) << (n->shift + Node::kSlotBits);
        if (next <= at) return kNone;
        at = next;
    }
}

u64 Mapping::end_of(u64 first, u64 end, u64 most) const {
    for (u64 at = next_resident(first); at < end; at = next_resident(at + 1))
        if (most-- == 0) return at;
    return end;
}

u64 Mapping::last_resident() const {
    u64 root = root_.load(std::memory_order_acquire);
    if (!(root & kIsNode)) return root ? 0 : kNone;
    auto* n = reinterpret_cast<Node*>(root & ~kIsNode);
    for (u64 base = 0;;) {
        u32 i = Node::kSlots;
        void* s = nullptr;
        while (i > 0 && !s) s = n->slot[--i].load(std::memory_order_acquire);
        if (!s) return kNone;  // only during a concurrent change
        base += u64{i} << n->shift;
        if (n->shift == 0) return base;
        n = static_cast<Node*>(s);
    }
}

u64 Mapping::next_data(u64 from, bool& more) const {
    u64 left = kSeekPages / 8;  // to the next page it may be a long way through the tree
    more = false;
    for (u64 at = next_resident(from); at != kNone; at = next_resident(at + 1)) {
        if (const Page* p = peek(at); p && !p->unwritten()) return at;
        more = --left == 0;
        if (more) return at + 1;
    }
    return kNone;
}

u64 Mapping::next_hole(u64 from, bool& more) const {
    u64 left = kSeekPages;
    more = false;
    for (const Page* p; !more && (p = peek(from)) && !p->unwritten(); more = --left == 0) ++from;
    return from;
}

// ---- The end of a mapping ----

// Lock-free readers may still look at the (empty) tree.
void Mapping::retire() {
    end_.retired = {};
    end_.retired.free = [](rt::Retired& r) {
        delete reinterpret_cast<Mapping*>(reinterpret_cast<std::byte*>(&r) - offsetof(Mapping, end_));
    };
    rt::retire(end_.retired);
}

// Frees some pages of a mapping without references: no other thread changes its tree. False: there are none.
bool Mapping::reap_some(u64 most) {
    u64 first = next_resident(0), count = 0;
    if (first == kNone) return false;
    lock_.assume_held();
    Page* chain = take_out(first, first + most - 1, count);
    ReclaimDrop drop;
    while (chain) {
        Page* next = chain_next(chain);
        drop.unref(*chain);
        chain = next;
    }
    return true;
}

rt::Reclaimable* Mapping::reclaim_step(rt::Reclaimable& r, u64 most) {
    auto* m = reinterpret_cast<Mapping*>(reinterpret_cast<std::byte*>(&r) - offsetof(Mapping, end_));
    if (m->reap_some(most)) return &r;
    m->retire();
    return nullptr;
}

void Mapping::last_ref(Mapping* m) {
    if (m->has_dropped()) m->release_dropped();
    u64 pages = m->page_count();
    rt::Reclaimer& fs = port::reclaimer(port::Module::kFs);
    if (!fs.defers(pages)) {
        m->truncate_pages(0);
        m->retire();
        return;
    }
    // The space is free from now on, even if the frames are not yet.
    m->uncharge(pages);
    m->end_.reclaim.step = &Mapping::reclaim_step;
    fs.free(m->end_.reclaim, pages);
}

}  // namespace fs
