// SPDX-License-Identifier: MIT
// Anonymous pages by page number: making, dropping and moving ranges. See anon_map.hpp.
#include "linux/mm/anon_map.hpp"

#include <cstddef>
#include <utility>

#include "port/api/modules.hpp"

namespace linux {

AnonMap::Chunk* AnonMap::make_chunk(u64 number) {
    if (Chunk* c = find_chunk(number)) return c;
    Chunk* c = rt::make<Chunk>();
    if (!c) return nullptr;
    c->number = number;
    chunks_.insert(*c);
    ++chunk_count_;
    recent_ = c;
    return c;
}

static constexpr u64 kWorthLeaving = 16;  // pages of a chunk

u64 AnonMap::drop(u64 first, u64 end) {
    if (first >= end) return 0;
    u64 dropped = 0, left = 0;
    if (end - first >= kWorthLeaving && count_ >= kWorthLeaving && port::reclaimer(port::Module::kMm).placed())
        [[unlikely]]
        left = leave(first, end);
    fs::PageDrop pages;
    for (Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end;) {
        Chunk* next = chunks_.next(*c);
        const u64 range = range_mask(*c, first, end);
        u64 mask = c->present & range;
        c->present &= ~range;
        c->zero &= ~range;
        dropped += u64(std::popcount(mask));
        for (; mask; mask &= mask - 1) pages.unref(c->page_at(u64(std::countr_zero(mask))));
        if (!(c->present | c->zero) && !kept(*c)) remove(*c);
        c = next;
    }
    count_ -= dropped;
    // The frames are freed early for a program that maps and unmaps in a loop: it finds them in the CPU's cache.
    if (dropped >= kChunkPages) {
        pages.flush();
        rt::epoch_hurry();
    }
    return dropped + left;
}

// Chunks that are freed as a whole are passed on with their pages.
u64 AnonMap::leave(u64 first, u64 end) {
    u64 left = 0;
    Chunk* chain = nullptr;
    for (Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end;) {
        Chunk* next = chunks_.next(*c);
        u64 n = u64(std::popcount(c->present));
        if (((c->present | c->zero) & ~range_mask(*c, first, end)) == 0 && n >= kWorthLeaving && !kept(*c)) {
            left += n;
            if (recent_ == c) recent_ = nullptr;
            chunks_.remove(*c);
            --chunk_count_;
            c->hook.left = reinterpret_cast<lib::TreeHook*>(chain);
            chain = c;
        }
        c = next;
    }
    if (!chain) return 0;
    count_ -= left;
    chain->reclaim.step = &AnonMap::reclaim_chunk;
    port::reclaimer(port::Module::kMm).free(chain->reclaim, left);
    return left;
}

// At least one chunk of a chain.
rt::Reclaimable* AnonMap::reclaim_chunk(rt::Reclaimable& r, u64 most) {
    auto* c = reinterpret_cast<Chunk*>(reinterpret_cast<std::byte*>(&r) - offsetof(Chunk, reclaim));
    fs::ReclaimDrop pages;
    for (u64 done = 0; done < most;) {
        done += u64(std::popcount(c->present));
        for (u64 mask = c->present; mask; mask &= mask - 1) pages.unref(c->page_at(u64(std::countr_zero(mask))));
        auto* next = reinterpret_cast<Chunk*>(c->hook.left);
        delete std::exchange(c, next);
        if (!c) return nullptr;
    }
    c->reclaim.step = &AnonMap::reclaim_chunk;
    return &c->reclaim;
}

bool AnonMap::reclaim_some(u64 most) {
    fs::ReclaimDrop pages;
    recent_ = nullptr;
    for (u64 done = 0; done < most;) {
        Chunk* c = chunks_.first();
        if (!c) return false;
        done += 1 + u64(std::popcount(c->present));
        for (u64 mask = c->present; mask; mask &= mask - 1) pages.unref(c->page_at(u64(std::countr_zero(mask))));
        remove(*c);
    }
    return true;
}

u64 AnonMap::end_of(u64 first, u64 end, u64 most) const {
    constexpr u64 kForChunk = 4;
    u64 n = 0;
    for (const Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end; c = chunks_.next(*c)) {
        n += kForChunk + u64(std::popcount((c->present | c->zero) & range_mask(*c, first, end)));
        if (n > most && c->first_page() > first) return c->first_page();
    }
    return end;
}

bool AnonMap::reserve(u64 first, u64 end, u64 to) {
    for (Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end; c = chunks_.next(*c)) {
        u64 mask = c->present & range_mask(*c, first, end);
        if (!mask) continue;
        // A chunk's slots land in at most two chunks.
        u64 low = c->first_page() + u64(std::countr_zero(mask)) - first + to;
        u64 high = c->first_page() + 63 - u64(std::countl_zero(mask)) - first + to;
        if (!make_chunk(low / kChunkPages) || !make_chunk(high / kChunkPages)) return false;
    }
    return true;
}

void AnonMap::move(u64 first, u64 end, u64 to) {
    for (Chunk* c = chunks_.lower_bound(first / kChunkPages); c && c->first_page() < end;) {
        Chunk* next = chunks_.next(*c);
        u64 mask = c->present & range_mask(*c, first, end);
        c->present &= ~mask;
        c->zero &= ~range_mask(*c, first, end);
        for (; mask; mask &= mask - 1) {
            u64 slot = u64(std::countr_zero(mask));
            u64 page = c->first_page() + slot - first + to;
            Chunk* target = find_chunk(page / kChunkPages);
            target->frame[page % kChunkPages] = c->frame[slot];
            target->present |= u64{1} << (page % kChunkPages);
        }
        // An emptied chunk may be the target of a later one: those are removed by the next drop() or clear().
        if (!(c->present | c->zero) && !kept(*c) &&
            (c->first_page() + kChunkPages <= to || c->first_page() >= to + (end - first)))
            remove(*c);
        c = next;
    }
}

void AnonMap::clear() {
    fs::PageDrop pages;
    while (Chunk* c = chunks_.first()) {
        for (u64 mask = c->present; mask; mask &= mask - 1) pages.unref(c->page_at(u64(std::countr_zero(mask))));
        remove(*c);
    }
    count_ = 0;
}

}  // namespace linux
