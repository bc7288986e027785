// SPDX-License-Identifier: MIT
// The anonymous pages of one address space, by page number: what private mappings hold beyond the page cache. Areas do
// not own pages, so splitting, merging and protecting areas touch nothing here.
//
// A chunk covers 64 pages with one bitmap: holes cost nothing, and fork and unmap visit present pages only. Each
// present slot holds one reference to its page. Guarded by the address space's lock (Rank::address_space).
#pragma once
#include <bit>

#include "fs/page.hpp"
#include "lib/tree.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

class AnonMap {
public:
    static constexpr u64 kChunkPages = 64;

    struct Chunk {
        Chunk() {}  // NOLINT: `frame` stays undefined, `present` tells which are valid
        lib::TreeHook hook;
        u64 number = 0;   // first page number / kChunkPages
        u64 present = 0;  // bit: slot holds a reference
        u64 zero = 0;  // bit: the page of zeros may be mapped there (fault.cpp); the slot is empty, or was filled since
        rt::Reclaimable reclaim;  // taken out as a whole; `hook` leads to the next one
        u32 frame[kChunkPages];

        bool has(u64 page) const { return (present >> (page % kChunkPages)) & 1; }
        PhysAddr frame_at(u64 slot) const { return PhysAddr{u64{frame[slot]} << lib::kPageShift}; }
        fs::Page& page_at(u64 slot) const { return fs::Page::of(frame_at(slot)); }
        u64 first_page() const { return number * kChunkPages; }
    };

    AnonMap() = default;
    AnonMap(const AnonMap&) = delete;
    ~AnonMap() { clear(); }

    // The page at this page number, or null. No reference is taken.
    fs::Page* find(u64 page) const {
        const Chunk* c = find_chunk(page / kChunkPages);
        return c && c->has(page) ? &c->page_at(page % kChunkPages) : nullptr;
    }
    Chunk* find_chunk(u64 number) const {
        if (recent_ && recent_->number == number) [[likely]]
            return recent_;
        Chunk* c = chunks_.find(number);
        if (c) recent_ = c;
        return c;
    }
    // The chunk that covers the page number, made if missing; null: no memory.
    Chunk* make_chunk(u64 number);

    // The page of zeros is mapped at this page number.
    static void note_zero(Chunk& c, u64 page) { c.zero |= u64{1} << (page % kChunkPages); }
    static bool had_zero(const Chunk& c, u64 page) { return (c.zero >> (page % kChunkPages)) & 1; }

    // Puts a page into an empty slot of a chunk.
    void put(Chunk& c, u64 page, Ref<fs::Page> p) {
        u64 slot = page % kChunkPages;
        c.frame[slot] = frame_number(*p.release());
        c.present |= u64{1} << slot;
        ++count_;
    }
    // Replaces the page in a slot; the old reference is handed back.
    Ref<fs::Page> replace(Chunk& c, u64 page, Ref<fs::Page> p) {
        u64 slot = page % kChunkPages;
        fs::Page& old = c.page_at(slot);
        c.frame[slot] = frame_number(*p.release());
        return Ref<fs::Page>::adopt(&old);
    }

    // Puts the pages in `slots` of another map's chunk into the same, empty slots here, with references of their own.
    void share(const Chunk& from, Chunk& to, u64 slots) {
        to.present |= slots;
        count_ += u64(std::popcount(slots));
        for (; slots; slots &= slots - 1) {
            u64 slot = u64(std::countr_zero(slots));
            to.frame[slot] = from.frame[slot];
            from.page_at(slot).ref();
        }
    }

    // Drops the pages of [first, end): they must be unmapped already. Cannot fail. Returns how many. With a place for
    // the module, chunks that go as a whole are left to it, their pages with them.
    u64 drop(u64 first, u64 end);
    // The end of the first pages of [first, end) that are `most` to visit; each chunk counts as some more.
    u64 end_of(u64 first, u64 end, u64 most) const;
    // The first page of [first, end) in a chunk that has something there; `end` if there is none.
    u64 next(u64 first, u64 end) const {
        for (const Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end;
             c = chunks_.next(*c))
            if ((c->present | c->zero) & range_mask(*c, first, end))
                return c->first_page() > first ? c->first_page() : first;
        return end;
    }
    // Moving [first, end) to page number `to`: reserve() allocates what move() needs. False: no memory.
    bool reserve(u64 first, u64 end, u64 to);
    // Chunks of [first, end) stay though they are empty, until it is called again: (0, 0) for none.
    void keep(u64 first, u64 end) {
        kept_first_ = first;
        kept_end_ = end;
    }
    void move(u64 first, u64 end, u64 to);
    void clear();
    // The same in pieces, of a map that was handed over to a reclaimer: some of it. False: it is empty.
    bool reclaim_some(u64 most);

    u64 size() const { return count_; }
    // What it takes to clear it, in pages.
    u64 work() const { return count_ + chunk_count_; }

    // fn(Chunk&, mask of present slots inside the range) for each chunk of [first, end), in order.
    template <class F>
    void for_each(u64 first, u64 end, F&& fn) const {
        if (first >= end) return;
        for (Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end; c = chunks_.next(*c)) {
            u64 mask = c->present & range_mask(*c, first, end);
            if (mask) fn(*c, mask);
        }
    }
    // The same, and with slots where the page of zeros may be mapped.
    template <class F>
    void for_each_noted(u64 first, u64 end, F&& fn) const {
        for (const Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end;
             c = chunks_.next(*c))
            if (u64 mask = (c->present | c->zero) & range_mask(*c, first, end)) fn(*c, mask);
    }
    // The slots of a chunk that lie in [first, end).
    static u64 range_mask(const Chunk& c, u64 first, u64 end) {
        u64 base = c.first_page(), mask = ~u64{0};
        if (first > base) mask <<= first - base;
        if (end < base + kChunkPages) mask &= (u64{1} << (end - base)) - 1;
        return mask;
    }

private:
    static u32 frame_number(const fs::Page& p) { return u32(p.frame().value >> lib::kPageShift); }
    bool kept(const Chunk& c) const { return c.first_page() < kept_end_ && c.first_page() + kChunkPages > kept_first_; }
    u64 leave(u64 first, u64 end);
    static rt::Reclaimable* reclaim_chunk(rt::Reclaimable& r, u64 most);
    void remove(Chunk& c) {
        if (recent_ == &c) recent_ = nullptr;
        chunks_.remove(c);
        --chunk_count_;
        delete &c;
    }

    lib::Tree<Chunk, &Chunk::hook, lib::KeyMember<&Chunk::number>> chunks_;
    mutable Chunk* recent_ = nullptr;
    u64 count_ = 0, chunk_count_ = 0;
    u64 kept_first_ = 0, kept_end_ = 0;
};

}  // namespace linux
